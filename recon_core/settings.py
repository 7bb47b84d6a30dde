"""What a person chooses of a reconstruction: method, weights, solver settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Method(StrEnum):
    """The ways to reconstruct; every map shows all four."""

    FUSED = "fused"
    CHEMISTRY_TV = "chemistry-tv"
    ML = "ml"
    ML_STOPPED = "ml-stopped"

    @property
    def weight_names(self) -> tuple[str, ...]:
        """Names of the weights this method has."""
        return _WEIGHTS_OF[self]


_WEIGHTS_OF = {
    Method.FUSED: ("haadf", "tv"),
    Method.CHEMISTRY_TV: ("tv",),
    Method.ML: (),
    Method.ML_STOPPED: (),
}


@dataclass(frozen=True)
class Weights:
    """Scale-free weights of the HAADF and the TV term; the chemical term has weight 1.

    ``haadf`` multiplies ||r||²/(2 sigma²), sigma² the HAADF noise variance: 1 is the statistical
    (maximum a posteriori) weight. ``tv`` multiplies the sum over voxels of the isotropic TV of
    concentrations. A method without a weight ignores it.
    """

    haadf: float = 0.0
    tv: float = 0.0


WEIGHT_BOUNDS = (1e-15, 1e15)  # between them products and squares fit a float32
ACCEPTED_WEIGHT = "0, or 1e-15 to 1e15"


def is_weight(value: float) -> bool:
    """Whether a number can be a weight: 0, or inside the bounds."""
    return value == 0 or WEIGHT_BOUNDS[0] <= value <= WEIGHT_BOUNDS[1]


class SolverSettings(BaseModel):
    """Settings of the solver, the ``[solver]`` table of a study.

    ``gamma``: exponent of the HAADF contrast in the reconstruction. ``tolerance``: stop when the
    objective changes by less than this fraction over ten iterations. ``max_iterations``: in work,
    one pair of projections of each modality. ``chemistry``: log-likelihood of the chemical counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gamma: Annotated[float, Field(ge=1.4, le=2.0)] = 2.0
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    max_iterations: Annotated[int, Field(ge=1, le=1_000_000)] = 400
    chemistry: Literal["poisson", "least-squares"] = "poisson"
