"""What acquisitions of one specimen let one expect of others: a response surface, and intervals.

The logarithm of the NRMSE is fitted by a quadratic in the logarithms of dose, maps, images and
share (Box and Wilson, J. R. Stat. Soc. B 13, 1 (1951)), which takes the noise of single trials out
of a choice. What is promised is not a property of the fit but the spread of repetitions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from ..recon_core.errors import Trouble
from .style import CHEMICAL_TILTS, DOSE, HAADF_TILTS, SHARE

Values = NDArray[np.float64]

LEVEL = 0.9
"""Share of repetitions that an interval is to hold."""
STEP = 1  # below the most that was tried: images are chosen in steps of two
ROUNDED = 1e-9  # of a dose that is a step of a ratio


@dataclass(frozen=True)
class Choice:
    """An acquisition.

    Parameters
    ----------
    dose : of all images and maps, e/Å².
    maps, images : chemical tilts and HAADF tilts.
    share : of the dose for HAADF.
    """

    dose: float
    maps: int
    images: int
    share: float

    def values(self) -> dict[str, float]:
        """Key of a study → its value."""
        return {
            DOSE: self.dose,
            CHEMICAL_TILTS: self.maps,
            HAADF_TILTS: self.images,
            SHARE: self.share,
        }


@dataclass(frozen=True)
class Expected:
    """An accuracy with the interval that nine of ten repetitions lie in.

    Parameters
    ----------
    nrmse : expected.
    low, high : bounds of the interval.
    """

    nrmse: float
    low: float
    high: float


@dataclass(frozen=True)
class Surface:
    """log NRMSE as a quadratic in the logarithms of dose, maps, images and share.

    Parameters
    ----------
    coefficients : of :func:`_terms`.
    scatter : standard deviation of log NRMSE around it.
    """

    coefficients: Values
    scatter: float

    @classmethod
    def fitted(cls, choices: Sequence[Choice], scores: Values) -> Surface:
        """The surface of some results; those that are not finite are left out.

        Parameters
        ----------
        choices : n acquisitions.
        scores : (n,) NRMSE.

        Raises
        ------
        Trouble : too few results.
        """
        known = np.isfinite(scores)
        terms = _terms(choices)[known]
        left = int(known.sum()) - int(np.linalg.matrix_rank(terms)) if known.any() else 0
        if left < 1:
            raise Trouble(f"only {int(known.sum())} of {len(scores)} trials have a result")
        logs = np.log(scores[known])
        found = np.linalg.lstsq(terms, logs, rcond=None)[0]
        off = logs - terms @ found
        return cls(np.asarray(found, float), float(np.sqrt(np.square(off).sum() / left)))

    def nrmse(self, choices: Sequence[Choice]) -> Values:
        """Expected of some acquisitions, (n,).

        Parameters
        ----------
        choices : n of them, within the design.
        """
        return np.asarray(np.exp(_terms(choices) @ self.coefficients))


def _terms(choices: Sequence[Choice]) -> Values:
    """Columns of a quadratic without the square of the share, which has two levels."""
    rows = np.log([[c.dose, c.maps, c.images, c.share] for c in choices])
    columns = [np.ones(len(rows)), *rows.T]
    pairs = itertools.combinations_with_replacement(range(4), 2)
    columns += [rows[:, i] * rows[:, j] for i, j in pairs if (i, j) != (3, 3)]
    return np.stack(columns, axis=1)


def dose_label(dose: float) -> str:
    """A dose to three digits, without an exponent where it is that of a specimen.

    Parameters
    ----------
    dose : e/Å².

    Examples
    --------
    >>> dose_label(1234.5), dose_label(1e5)
    ('1230', '100000')
    """
    return f"{float(f'{dose:.3g}'):g}"


def at_edges(choice: Choice, tried: Sequence[Choice]) -> tuple[str, ...]:
    """What of a choice is the least or the most that was tried, in words.

    Parameters
    ----------
    choice : the acquisition.
    tried : the design.

    Examples
    --------
    >>> at_edges(Choice(1e4, 4, 31, 0.2), [Choice(1e4, 4, 15, 0.05), Choice(4e4, 20, 61, 0.2)])
    ('the dose is the lowest', 'maps are the fewest', "HAADF's share is the highest")
    """
    found = []
    for name, what, low, high in (
        ("dose", "the dose is", "the lowest", "the highest"),
        ("maps", "maps are", "the fewest", "the most"),
        ("images", "HAADF images are", "the fewest", "the most"),
        ("share", "HAADF's share is", "the lowest", "the highest"),
    ):
        least, most = _at_ends(name, choice, tried, STEP if name == "images" else 0)
        if least or most:
            found.append(f"{what} {low if least else high}")
    return tuple(found)


def edge_notes(choice: Choice, tried: Sequence[Choice]) -> list[str]:
    """On a choice at the border of what was tried, beyond which there may be better ones.

    Parameters
    ----------
    choice : the acquisition.
    tried : the design.

    Examples
    --------
    >>> edge_notes(Choice(1e4, 4, 31, 0.1), [Choice(1e4, 4, 15, 0.1), Choice(1e4, 20, 61, 0.1)])
    ['fewer maps than 4 were not tried, and may do']
    """
    notes = []
    for name, words in (("maps", "maps"), ("images", "HAADF images")):
        least, most = _at_ends(name, choice, tried, STEP)
        if least:
            notes.append(f"fewer {words} than {getattr(choice, name)} were not tried, and may do")
        elif most:
            highest = max(getattr(each, name) for each in tried)
            notes.append(f"more {words} than {highest} were not tried, and may be better")
    return notes


def _at_ends(name: str, choice: Choice, tried: Sequence[Choice], step: int) -> tuple[bool, bool]:
    """Whether a part of a choice is the least, or within a step of the most, that was tried."""
    levels, here = [getattr(each, name) for each in tried], getattr(choice, name)
    return here <= min(levels) * (1 + ROUNDED), here >= (max(levels) - step) * (1 - ROUNDED)


def interval(scores: Values) -> Expected:
    """What a further repetition is to be expected to give, from those that were made.

    Student's prediction interval of the logarithm: that of one more, not of their mean.

    Parameters
    ----------
    scores : (n,) NRMSE of repetitions; those that are not finite are left out.

    Raises
    ------
    Trouble : fewer than two have a result.

    Examples
    --------
    >>> found = interval(np.array([0.19, 0.20, 0.21, 0.20]))
    >>> f"{found.nrmse:.2f}, {found.low:.2f} to {found.high:.2f}"
    '0.20, 0.18 to 0.22'
    """
    logs = np.log(scores[np.isfinite(scores)])
    if len(logs) < 2:
        raise Trouble(f"only {len(logs)} of {len(scores)} repetitions have a result")
    quantile = t.ppf(0.5 + LEVEL / 2, len(logs) - 1)
    off = quantile * logs.std(ddof=1) * np.sqrt(1 + 1 / len(logs))
    low, middle, high = np.exp(logs.mean() + off * np.array([-1, 0, 1]))
    return Expected(float(middle), float(low), float(high))
