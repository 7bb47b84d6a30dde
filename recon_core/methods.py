"""The methods of reconstruction: one table with all that differs between them, and their weights.

Pure Python without dependencies, so that the command line can name methods at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .errors import BadInput


class Method(StrEnum):
    """The ways to reconstruct; every map shows all four."""

    FUSED = "fused"
    CHEMISTRY_TV = "chemistry-tv"
    ML = "ml"
    ML_STOPPED = "ml-stopped"

    @property
    def traits(self) -> MethodTraits:
        """The row of this method in :data:`METHODS`."""
        return METHODS[self]

    @property
    def weight_names(self) -> tuple[str, ...]:
        """Names of the weights this method has."""
        return METHODS[self].weights


def method_named(name: Method | str) -> Method:
    """The method of a name.

    Raises
    ------
    BadInput : no method has this name.
    """
    if name not in list(Method):
        accepted = ", ".join(Method)
        raise BadInput("no such method", key="method", value=str(name), accepted=accepted)
    return Method(name)


@dataclass(frozen=True)
class MethodTraits:
    """What one method is, costs and looks like.

    Parameters
    ----------
    weights : names of the weights that it has.
    voxel_work : work of an iteration on a voxel of one element besides projections (TV, powers,
        filter, updates, the oracle's score), in projected voxels.
    iterations : of a typical trial at the default tolerance.
    column : of the atlas, with the mean NRMSE of the best trial.
    label : in figures and tables.
    colour : in figures, of Okabe and Ito's colour-blind-safe set.
    marker : in figures, as matplotlib names it.
    """

    weights: tuple[str, ...]
    voxel_work: int
    iterations: int
    column: str
    label: str
    colour: str
    marker: str


METHODS: dict[Method, MethodTraits] = {
    Method.ML: MethodTraits((), 30, 190, "nrmse_ml", "ML, converged", "#999999", "s"),
    Method.ML_STOPPED: MethodTraits(
        (), 26, 25, "nrmse_ml_stopped", "ML, best-stopped (oracle)", "#E69F00", "D"
    ),
    Method.CHEMISTRY_TV: MethodTraits(
        ("tv",), 45, 130, "nrmse_chemistry_tv", "Chemistry + TV", "#56B4E9", "^"
    ),
    Method.FUSED: MethodTraits(("haadf", "tv"), 67, 180, "nrmse", "Fused", "#0072B2", "o"),
}
"""Every method, in the order of display.

Work was measured at 64³ with 4 elements: 6.5, 5.5, 9.5 and 14 ms an iteration. ML is best stopped
near 15 iterations, and goes on for 10 more to be sure.
"""


@dataclass(frozen=True)
class Weights:
    """Scale-free weights of the HAADF and the TV term; the chemical term has weight 1.

    ``haadf`` multiplies ||r||²/(2 sigma²), sigma² the HAADF noise variance: 1 is the statistical
    (maximum a posteriori) weight. ``tv`` multiplies the sum over voxels of the isotropic TV of
    concentrations. A method without a weight ignores it.

    Examples
    --------
    >>> Weights(haadf=0.05, tv=0.8)
    Weights(haadf=0.05, tv=0.8)
    """

    haadf: float = 0.0
    tv: float = 0.0


DEFAULT_WEIGHTS = Weights(haadf=0.02, tv=1.0)
"""A sound pair for most data: where none is given, and the first trial of every search."""

WEIGHT_BOUNDS = (1e-15, 1e15)  # between them products and squares fit a float32
ACCEPTED_WEIGHT = "0, or 1e-15 to 1e15"


def is_weight(value: float) -> bool:
    """Whether a number can be a weight: 0, or inside the bounds."""
    return value == 0 or WEIGHT_BOUNDS[0] <= value <= WEIGHT_BOUNDS[1]
