"""What a surrogate sees of a cell: the columns of its context, and which cells share a surrogate.

A number that varies between the cells is a column, on the scale on which accuracy follows it. What
is no number has no place on a scale: cells that differ in it have surrogates of their own. A seed
has none either, but its cells are of one kind: they share a surrogate, in which each cell has a
term of its own. What is HAADF's alone counts only where HAADF is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...recon_core.methods import Method
from ..study.axes import HAADF_TILTS, NOISE_SEED, OF_HAADF
from ..study.trial import Scalar

Array = NDArray[np.float64]

SPECIMEN_SEED = "specimen.seed"
SEEDS = frozenset({SPECIMEN_SEED, NOISE_SEED})
"""Keys that repeat a condition: with another specimen of the kind, or with other noise."""

SCALES: dict[str, Callable[[float], float]] = {
    # Of 1 + tilts: a cell without HAADF has a place too.
    HAADF_TILTS: math.log1p,
    "acquisition.chemical_snr": lambda snr: math.log(snr - 1.0),
}
"""Key → its scale; of all others, and what is below them, the logarithm where all are positive.
An SNR of maps is 1 + mean counts: 1 is no signal."""

Values = Sequence[tuple[str, Scalar]]
"""Dotted path and value of every axis of a cell."""


def uses_haadf(method: Method, haadf_tilts: int) -> bool:
    """Whether a method uses HAADF.

    Parameters
    ----------
    method : the method.
    haadf_tilts : number of HAADF projections in the data.
    """
    return method.sees_haadf and haadf_tilts > 0


def is_number(value: object) -> bool:
    """Whether a value of a key is a number, and no switch.

    Parameters
    ----------
    value : as a study has it.

    Examples
    --------
    >>> is_number(9), is_number(True)
    (True, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def surrogate_key(values: Values, haadf: bool) -> tuple[Scalar, ...]:
    """What cells must have in common to share a surrogate.

    Parameters
    ----------
    values : of a cell.
    haadf : whether HAADF is used.

    Examples
    --------
    >>> surrogate_key([("specimen.kind", "composite"), ("acquisition.chemical_tilts", 9)], True)
    ('composite',)
    """
    # A bool equals a number in Python: as text it does not.
    return tuple(str(v) for path, v in values if counts(path, haadf) and not is_number(v))


def columns(cells: Iterable[Values], haadf: bool) -> Array:
    """The context of cells that share a surrogate, (cells, columns): what varies between them.

    Parameters
    ----------
    cells : values of each.
    haadf : whether HAADF is used.

    Examples
    --------
    >>> columns([[("acquisition.chemical_tilts", 5)], [("acquisition.chemical_tilts", 9)]], False)
    array([[1.60943791],
           [2.19722458]])
    """
    rows = [[(p, v) for p, v in cell if counts(p, haadf) and scaled(p, v)] for cell in cells]
    if not rows or not rows[0]:
        return np.zeros((len(rows), 0))
    paths = [path for path, _ in rows[0]]
    table = np.array([[float(value) for _, value in row] for row in rows])
    found = [_on_scale(path, column) for path, column in zip(paths, table.T, strict=True)]
    # Two that vary alike are one: the SNR of every element often is.
    varied = {column.round(9).tobytes(): column for column in found if np.ptp(column) > 0}
    return np.array(list(varied.values())).reshape(len(varied), len(rows)).T


def counts(path: str, haadf: bool) -> bool:
    """Whether a key has an effect.

    Parameters
    ----------
    path : dotted path of the key.
    haadf : whether HAADF is used.
    """
    return haadf or path not in OF_HAADF


def scaled(path: str, value: object) -> bool:
    """Whether a value has a place on a scale.

    Parameters
    ----------
    path : dotted path of its key.
    value : as a study has it.
    """
    return path not in SEEDS and is_number(value)


def _on_scale(path: str, values: Array) -> Array:
    scale = scale_of(path, values)
    return np.array([scale(value) for value in values])


def scale_of(path: str, values: Array) -> Callable[[float], float]:
    """The scale on which accuracy follows the numbers of a key.

    Parameters
    ----------
    path : dotted path of the key.
    values : all that it has.

    Examples
    --------
    >>> scale_of("acquisition.chemical_snr.Co", np.array([2.0, 5.0]))(2.0)
    0.0
    """
    names = (path, path.rpartition(".")[0])
    scale = next((SCALES[name] for name in names if name in SCALES), None)
    if scale is None:
        scale = math.log if (values > 0).all() else float
    return scale
