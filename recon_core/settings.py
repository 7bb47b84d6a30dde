"""Settings of the solver: the ``[solver]`` table of a study."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ProjectorName = Literal["sparse", "astra"]


class SolverSettings(BaseModel):
    """Settings of the solver, the ``[solver]`` table of a study.

    Parameters
    ----------
    gamma : exponent of the HAADF contrast in the reconstruction, 1.4 to 2.
    tolerance : stop when the objective changes by less than this fraction over ten iterations.
    max_iterations : limit of the work, in pairs of projections of each modality.
    chemistry : likelihood of the chemical counts, ``poisson`` or ``least-squares``.
    projector : ``sparse``, this project's own matrix or kernels, or ``astra``, on the CPU only.

    Examples
    --------
    >>> SolverSettings(gamma=1.7).max_iterations
    400
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gamma: Annotated[float, Field(ge=1.4, le=2.0)] = 2.0
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    max_iterations: Annotated[int, Field(ge=1, le=1_000_000)] = 400
    chemistry: Literal["poisson", "least-squares"] = "poisson"
    projector: ProjectorName = "sparse"
