"""Settings of the solver: the ``[solver]`` table of a study."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from .errors import BadInput

LawName = Literal["power", "linear"]
"""Laws that data are simulated by."""

ContrastName = Literal[LawName, "fitted"]
"""Laws to reconstruct with."""

LikelihoodName = Literal["poisson", "least-squares"]
ProjectorName = Literal["sparse", "astra"]
NoiseName = Literal["counts", "residual"]
UnitsName = Literal["percentile", "noise"]
BackgroundName = Literal["given", "vacuum"]

RegulariserName = Literal["tv", "guided"]
StartName = Literal["trial", "series"]

GUIDED: RegulariserName = "guided"

RECORD_EVERY = 10
"""Iterations between two evaluations of the objective."""

EXPONENTS: dict[ContrastName, tuple[float, float]] = {
    "power": (1.4, 2.0),
    "linear": (1.0, 2.0),
    "fitted": (1.0, 2.0),
}
"""Bounds of ``gamma`` for each law."""


# pydantic validates in the order of the fields: the law is there already
def _allowed(gamma: float, info: ValidationInfo) -> float:
    low, high = EXPONENTS[info.data.get("contrast", "power")]
    if not low <= gamma <= high:
        raise BadInput("out of range", accepted=f"number >= {low:g} and <= {high:g}")
    return gamma


def _for_fitted(film: bool, info: ValidationInfo) -> bool:
    if film and info.data.get("contrast") != "fitted":
        raise BadInput("a film is fitted with the contrast fitted alone", accepted="false")
    return film


class SolverSettings(BaseModel):
    """Settings of the solver, the ``[solver]`` table of a study.

    Parameters
    ----------
    contrast : HAADF contrast in the reconstruction: ``power``, (Z x)^gamma, ``linear``, Z^gamma x,
        or ``fitted``, k x^gamma with a factor k of each element, and a vacuum level, fitted to the
        data.
    gamma : its exponent, 1.4 to 2; of ``linear`` and ``fitted`` 1 to 2.
    tolerance : stop when the objective changes by less than this fraction over ten iterations, and
        volumes and coupling have settled accordingly.
    max_iterations : limit of the work, in pairs of projections of each modality.
    chemistry : likelihood of the chemical counts, ``poisson`` or ``least-squares``.
    regulariser : what the TV weight weighs: ``tv``, or ``guided``, TV that spares the edges which
        HAADF has found; without HAADF they are the same.
    totals : whether the volumes of each element hold as much as its counts above background add up
        to; coefficients of the contrast ``fitted`` are brought to those levels.
    noise : unit of the HAADF weight: ``counts``, over the mean as the variance of counts, or
        ``residual``, over noise times residual of the chemistry + TV start, whatever the detector.
    units : of the volumes while they are solved, hence of the TV weight: ``percentile``,
        concentrations, where the scale is unknown of the largest; or ``noise`` of each element.
    background : of the maps: ``given``, or ``vacuum``, where the data give 0 what the maps hold
        where HAADF is darkest.
    projector : ``sparse``, this project's own matrix or kernels, or ``astra``, on the CPU only.
    start : of a fused trial: ``trial``, at its own weights, or ``series``, at the usual ones, the
        same for every trial of a tilt series; the guide of ``guided`` comes from there.
    film : whether HAADF holds the signal of a supporting film, 1/cos(tilt), to be fitted too; with
        ``fitted`` alone.

    Examples
    --------
    >>> SolverSettings(gamma=1.7).max_iterations
    400
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contrast: ContrastName = "power"
    gamma: Annotated[float, AfterValidator(_allowed)] = 2.0
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    max_iterations: Annotated[int, Field(ge=1, le=1_000_000)] = 400
    chemistry: LikelihoodName = "poisson"
    regulariser: RegulariserName = "tv"
    totals: bool = False
    projector: ProjectorName = "sparse"
    noise: NoiseName = "counts"
    units: UnitsName = "percentile"
    background: BackgroundName = "given"
    start: StartName = "trial"
    film: Annotated[bool, AfterValidator(_for_fitted)] = False


_SECOND: dict[str, object] = {
    "contrast": "fitted",
    "gamma": 1.0,
    "regulariser": "guided",
    "totals": True,
    "noise": "residual",
    "units": "noise",
    "background": "vacuum",
}

SOLVER_EDITIONS: dict[int, dict[str, object]] = {
    1: {},
    2: _SECOND,
    3: _SECOND | {"start": "series"},
}
"""Edition of a study → the defaults of ``[solver]`` that differ from the first edition's; one that
is not here has those of the edition before.

An edition that was released never changes; a better default is a new edition.
"""


def newest_settings() -> SolverSettings:
    """Return the defaults of the newest edition.

    Examples
    --------
    >>> newest_settings().contrast
    'fitted'
    """
    return SolverSettings.model_validate(SOLVER_EDITIONS[max(SOLVER_EDITIONS)])
