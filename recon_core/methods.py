"""The methods of reconstruction and their weights: one table of everything that differs among them.

Pure Python without dependencies, so that the command line can list the methods at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .errors import BadInput


class Method(StrEnum):
    """The ways to reconstruct; every map shows all four.

    Examples
    --------
    >>> Method("fused").weight_names
    ('haadf', 'tv')
    >>> Method.ML.traits.label
    'ML, converged'
    """

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
        """Names of the weights this method takes."""
        return METHODS[self].weights

    @property
    def sees_haadf(self) -> bool:
        """Whether HAADF has an effect on it: its weight is among those it takes."""
        return "haadf" in self.weight_names


def method_named(name: Method | str) -> Method:
    """Look up a method by its name.

    Parameters
    ----------
    name : a method, or its name: ``fused``, ``chemistry-tv``, ``ml``, ``ml-stopped``.

    Raises
    ------
    BadInput : no method has this name.

    Examples
    --------
    >>> method_named("chemistry-tv")
    <Method.CHEMISTRY_TV: 'chemistry-tv'>
    """
    # Method(name) would raise a ValueError that names no alternative
    if name not in list(Method):
        accepted = ", ".join(Method)
        raise BadInput("no such method", key="method", value=str(name), accepted=accepted)
    return Method(name)


@dataclass(frozen=True)
class MethodTraits:
    """What a method is, what it costs and how it is drawn.

    Parameters
    ----------
    weights : names of the weights it takes.
    voxel_work : work per iteration and voxel of one element besides projections (TV, powers,
        filter, updates, the oracle's score), in projected voxels.
    iterations : number in a typical trial at the default tolerance.
    column : column of the atlas that holds the mean NRMSE of its best trial.
    label : name in figures and tables.
    colour : in figures, from Okabe and Ito's colour-blind-safe set.
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

Work was measured at 64³ with 4 elements: 6.5, 5.5, 9.5 and 14 ms per iteration. ML scores best near
15 iterations and is stopped 10 later.
"""


@dataclass(frozen=True)
class Weights:
    """Scale-free weights of the HAADF and the TV term; the chemical term has weight 1.

    Only the ratios of the weights of Eq. 1 in Schwartz et al., Nat. Commun. 15, 3555 (2024),
    determine the minimum, so two are free. A method ignores a weight it does not take.

    Parameters
    ----------
    haadf : factor of ||r||²/(2 sigma²), sigma² the noise variance of HAADF: 1 is the statistical
        (maximum a posteriori) weight, 0 leaves HAADF out. With ``solver.noise = "residual"`` sigma²
        is noise times residual of the chemistry + TV start.
    tv : factor of the isotropic total variation of the concentrations, summed over the voxels; with
        ``solver.units = "noise"`` of the concentrations in units of each element's noise.

    Examples
    --------
    >>> DEFAULT_WEIGHTS
    Weights(haadf=0.02, tv=1.0)
    """

    haadf: float = 0.0
    tv: float = 0.0


_USUAL_HAADF = {"counts": 0.02, "residual": 0.3}  # by solver.noise
_USUAL_TV = {"percentile": 1.0, "noise": 1.4}  # by solver.units


def default_weights(noise: str, units: str) -> Weights:
    """Return a sound pair for most data: used if none is given, and first in every search.

    Parameters
    ----------
    noise, units : what a weight of 1 means, as :class:`~tomoatlas.SolverSettings` has them.

    Examples
    --------
    >>> default_weights("residual", "noise")
    Weights(haadf=0.3, tv=1.4)
    """
    return Weights(_USUAL_HAADF[noise], _USUAL_TV[units])


DEFAULT_WEIGHTS = default_weights("counts", "percentile")
"""Those of the first edition's units."""

WEIGHT_BOUNDS = (1e-15, 1e15)  # products and squares of such weights fit a float32
ACCEPTED_WEIGHT = "0, or 1e-15 to 1e15"


def is_weight(value: float) -> bool:
    """Check whether a number can be a weight.

    Parameters
    ----------
    value : any number, NaN included.

    Returns
    -------
    bool : True for 0 and inside :data:`WEIGHT_BOUNDS`.

    Examples
    --------
    >>> is_weight(0.02), is_weight(-1.0), is_weight(float("nan"))
    (True, False, False)
    """
    # False for NaN, negative and infinite values alike
    return value == 0 or WEIGHT_BOUNDS[0] <= value <= WEIGHT_BOUNDS[1]
