"""HAADF contrast: how concentrations become the signal of the HAADF detector.

A contrast is a sum over elements, s = sum_i k_i x_i^gamma. With k_i = Z_i^gamma it is that of
Schwartz et al., Nat. Commun. 15, 3555 (2024), Eq. 1, :class:`PowerLaw`; with the exponent 1 it is
that of thin specimens imaged incoherently, whose atoms add up (Pennycook and Jesson,
Ultramicroscopy 37, 14 (1991)), :class:`LinearLaw`. The two differ in voxels that are partly filled.
With factors fitted to the data, :class:`FittedLaw`, neither scales nor cross-sections need be
known.

The compiled loops of the solver, ``power_sum`` and ``volume_step`` of each device, implement that
form for any k_i >= 0 and 1 <= gamma <= 2: a law that differs in its factors, its exponent or the
counts of vacuum is one more class. A law of another form needs its own version of these two loops
on every device that it is to run on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput
from .settings import ContrastName, LawName, SolverSettings
from .tiltseries import TiltSeries

Array = NDArray[np.float32]
Values = NDArray[np.float64]


class Contrast(Protocol):
    """A HAADF contrast s = sum_i k_i x_i^gamma, as simulation and solver use it."""

    @property
    def gamma(self) -> float:
        """Exponent of a concentration, 1 to 2."""

    def factors(self, atomic_numbers: Sequence[int]) -> NDArray[np.float64]:
        """Return the factor k_i >= 0 of each element.

        Parameters
        ----------
        atomic_numbers : one per element.

        Returns
        -------
        array : (element,), float64.
        """

    def vacuum(self, series: TiltSeries) -> float | Values:
        """Return the HAADF counts of a ray without specimen: one number, or (angle,).

        Parameters
        ----------
        series : measured counts, in whose unit the result is.
        """

    def holds_for(self, facts: Mapping[str, float | str]) -> bool:
        """Check whether the HAADF scale of a tilt series is of this contrast.

        Parameters
        ----------
        facts : of the tilt series.
        """

    def of_volumes(self, volumes: Array, atomic_numbers: Sequence[int]) -> Array:
        """Compute the contrast that is simulated.

        Parameters
        ----------
        volumes : concentrations, (element, z, y, x).
        atomic_numbers : one per element.

        Returns
        -------
        array : (z, y, x), float32.
        """


@dataclass(frozen=True)
class PowerLaw:
    """Linear incoherent imaging, s = sum_i (Z_i x_i)^gamma.

    Parameters
    ----------
    gamma : exponent: 2 for Rutherford scattering, 1.4 to 2 in practice.

    Examples
    --------
    >>> PowerLaw(2.0).factors((8, 79))
    array([  64., 6241.])
    """

    gamma: float

    def factors(self, atomic_numbers: Sequence[int]) -> NDArray[np.float64]:
        """See :class:`Contrast`: Z_i^gamma."""
        powers: NDArray[np.float64] = np.asarray(atomic_numbers, np.float64) ** self.gamma
        return powers

    def vacuum(self, series: TiltSeries) -> Values:
        """See :class:`Contrast`: the level and the film that the series records."""
        return series.haadf_vacuum

    def holds_for(self, facts: Mapping[str, float | str]) -> bool:
        """See :class:`Contrast`: only a simulated series records its law and exponent."""
        return _recorded(facts) in (None, (POWER, self.gamma))

    def of_volumes(self, volumes: Array, atomic_numbers: Sequence[int]) -> Array:
        """See :class:`Contrast`."""
        # element by element: one volume of temporaries
        contrast = np.zeros(volumes.shape[1:], np.float32)
        for z, volume in zip(atomic_numbers, volumes, strict=True):
            contrast += (np.float32(z) * volume) ** np.float32(self.gamma)
        return contrast


@dataclass(frozen=True)
class LinearLaw:
    """Contrast linear in concentration, s = sum_i Z_i^p x_i.

    Parameters
    ----------
    power : exponent p of the atomic number: 2 for Rutherford scattering, 1.4 to 2 in practice.

    Examples
    --------
    >>> LinearLaw(2.0).factors((8, 79))
    array([  64., 6241.])
    """

    power: float

    @property
    def gamma(self) -> float:
        """See :class:`Contrast`: 1, whatever the exponent of the atomic number."""
        return 1.0

    def factors(self, atomic_numbers: Sequence[int]) -> NDArray[np.float64]:
        """See :class:`Contrast`: Z_i^p."""
        powers: NDArray[np.float64] = np.asarray(atomic_numbers, np.float64) ** self.power
        return powers

    def vacuum(self, series: TiltSeries) -> Values:
        """See :class:`Contrast`: the level and the film that the series records."""
        return series.haadf_vacuum

    def holds_for(self, facts: Mapping[str, float | str]) -> bool:
        """See :class:`Contrast`: only a simulated series records its law and exponent."""
        return _recorded(facts) in (None, (LINEAR, self.power))

    def of_volumes(self, volumes: Array, atomic_numbers: Sequence[int]) -> Array:
        """See :class:`Contrast`."""
        contrast = np.zeros(volumes.shape[1:], np.float32)
        for factor, volume in zip(self.factors(atomic_numbers), volumes, strict=True):
            contrast += np.float32(factor) * volume
        return contrast


@dataclass(frozen=True)
class FittedLaw:
    """Contrast with factors fitted to the data, s = sum_i k_i x_i^gamma.

    Parameters
    ----------
    gamma : exponent.
    coefficients : k_i, HAADF counts per voxel of concentration 1, one per element; empty before
        they are fitted (:mod:`tomoatlas.recon_core.solver.haadf_fit`).

    Examples
    --------
    >>> FittedLaw(1.2, (3.0, 250.0)).factors((8, 79))
    array([  3., 250.])
    >>> FittedLaw(1.2).holds_for({})
    False
    """

    gamma: float
    coefficients: tuple[float, ...] = ()

    def factors(self, atomic_numbers: Sequence[int]) -> NDArray[np.float64]:
        """See :class:`Contrast`.

        Raises
        ------
        ValueError : the coefficients have not been fitted, or are those of other elements.
        """
        if len(self.coefficients) != len(atomic_numbers):
            raise ValueError(
                f"{len(self.coefficients)} coefficients, {len(atomic_numbers)} elements"
            )
        return np.asarray(self.coefficients, np.float64)

    def vacuum(self, series: TiltSeries) -> Values:
        """See :class:`Contrast`: the level and the film that the series records."""
        return series.haadf_vacuum

    def holds_for(self, facts: Mapping[str, float | str]) -> bool:
        """See :class:`Contrast`: fitted coefficients are counts, of scale 1, of their series."""
        del facts  # fitted to the very series
        return bool(self.coefficients)

    def of_volumes(self, volumes: Array, atomic_numbers: Sequence[int]) -> Array:
        """See :class:`Contrast`."""
        contrast = np.zeros(volumes.shape[1:], np.float32)
        for factor, volume in zip(self.factors(atomic_numbers), volumes, strict=True):
            contrast += np.float32(factor) * volume ** np.float32(self.gamma)
        return contrast


POWER: LawName = "power"
LINEAR: LawName = "linear"
FITTED: ContrastName = "fitted"

LAWS: dict[LawName, Callable[[float], Contrast]] = {POWER: PowerLaw, LINEAR: LinearLaw}
"""The laws that data can be simulated by, each made of the ``gamma`` beside its name."""


def contrast_of(settings: SolverSettings) -> Contrast:
    """Return the contrast with which a reconstruction is made.

    Parameters
    ----------
    settings : with the law and its exponent.

    Returns
    -------
    Contrast : for ``fitted`` a law without coefficients yet, which holds for no series.
    """
    if settings.contrast == "fitted":
        return FittedLaw(settings.gamma)
    return LAWS[settings.contrast](settings.gamma)


def _recorded(facts: Mapping[str, float | str]) -> tuple[str, float] | None:
    """Law and exponent that a series was simulated with; None for a measured one."""
    if "gamma" not in facts:
        return None
    # files that are older than the choice of laws
    return str(facts.get("contrast", POWER)), float(facts["gamma"])


def relative_factors(series: TiltSeries, contrast: Contrast) -> tuple[Array, float]:
    """Return the factors relative to their mean.

    Parameters
    ----------
    series : for its elements.
    contrast : of the reconstruction.

    Returns
    -------
    factors : (element,), float32, with mean 1.
    mean : what they were divided by.
    """
    # divided by their mean: s stays near 1 whatever the elements
    # x is in units: k_i (unit x)^gamma = k_i unit^gamma x^gamma
    factors = contrast.factors(series.atomic_numbers) * np.array(series.unit) ** contrast.gamma
    return (factors / factors.mean()).astype(np.float32), float(factors.mean())


def signal_below_vacuum(series: TiltSeries) -> BadInput:
    """Return the error of a series whose HAADF signal no contrast with positive factors explains.

    Parameters
    ----------
    series : with the level of its vacuum.
    """
    top = float(series.chemical.max(initial=0.0))
    if 0 < top <= 1 and (series.chemical % 1).any():
        return BadInput(
            "the maps are no X-ray counts, which their likelihood takes them for: divided or "
            "normalised",
            key="chemical/projections",
            value=f"at most {top:.4g}",
            accepted="counts as they were recorded",
        )
    return BadInput(
        "the HAADF signal does not rise above its background where the specimen is",
        key="haadf/background",
        value=series.haadf_background,
        accepted="counts of the vacuum, and maps in counts",
    )
