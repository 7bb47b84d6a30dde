"""Cells of a map, trials, their results and the record of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ...recon_core.methods import Method, Weights
from ..versions import Provenance, provenance

Scalar = bool | int | float | str
Record = dict[str, Any]

GAMMA = "gamma"
"""The exponent of the HAADF contrast, among the weights of a trial that searches it."""


@dataclass(frozen=True)
class Cell:
    """One condition of a study.

    Parameters
    ----------
    index : place among the study's cells, from 0.
    values : (axis path, value) for every axis, in the order of the axes.
    """

    index: int
    values: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True)
class Proposal:
    """How a search over many cells came to a trial.

    Parameters
    ----------
    number : place in the one order of all trials of the search, from 0.
    known : number of results, the first ones of that order, that it was made from.
    gain : relative improvement that was expected of it; None where it was not asked for.
    before : number of results of another study that the search began with.
    """

    number: int
    known: int
    gain: float | None = None
    before: int = 0


@dataclass(frozen=True)
class Scale:
    """What a trial is solved on, and for how long.

    Parameters
    ----------
    size : voxels per edge of the specimen; None of a volume from a file.
    max_iterations : limit of the solver's work.
    reduced : whether this is cheaper than the study asks for: such trials guide a search, and count
        in no map.
    """

    size: int | None = None
    max_iterations: int | None = None
    reduced: bool = False


@dataclass(frozen=True)
class Trial:
    """One reconstruction to be made and scored.

    Parameters
    ----------
    cell : the condition.
    method : what to reconstruct with.
    number : place in the sequence of proposals of its cell and method, from 0.
    weights : of the method's terms.
    trial_id : hash of all parameters that decide the result; see
        :meth:`tomoatlas.sweep.study.Study.trial`.
    proposal : of a search over many cells; None of one that searches its cell alone.
    scale : what it is solved on.
    """

    cell: Cell
    method: Method
    number: int
    weights: Weights
    trial_id: str
    # Not compared: a trial is what it computes, however the search came to it.
    proposal: Proposal | None = field(default=None, compare=False)
    scale: Scale = field(default=Scale(), compare=False)

    def weights_record(self) -> dict[str, float]:
        """The weights that the method has, by name."""
        return weights_of(self.method, self.weights)


@dataclass(frozen=True)
class WeightsAndGamma(Weights):
    """Weights, and the exponent of the HAADF contrast that was searched beside them.

    Parameters
    ----------
    gamma : the exponent, in place of ``solver.gamma``.
    """

    gamma: float = 2.0


def weights_named(values: Mapping[str, float]) -> Weights:
    """The weights of a record or a proposal.

    Parameters
    ----------
    values : weight → value; with ``gamma`` where that is searched.

    Raises
    ------
    TypeError : another name.

    Examples
    --------
    >>> weights_named({"haadf": 0.1, "tv": 2.0, "gamma": 1.6})
    WeightsAndGamma(haadf=0.1, tv=2.0, gamma=1.6)
    """
    return WeightsAndGamma(**values) if GAMMA in values else Weights(**values)


class TrialStatus(StrEnum):
    """How an attempt of a trial ended; after a crash or timeout it may be retried."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CRASHED = "crashed"

    @property
    def may_be_chance(self) -> bool:
        """Whether the same trial may succeed when it is retried, elsewhere or later."""
        # A failed solve is deterministic; a crash or a timeout may be due to the machine.
        return self in (TrialStatus.CRASHED, TrialStatus.TIMEOUT)


@dataclass(frozen=True)
class TrialResult:
    """The outcome of a trial.

    Parameters
    ----------
    status : how the attempt ended.
    nrmse : mean over elements; NaN unless ``status`` is ok.
    nrmse_by_element : element → NRMSE.
    iterations : work of the solver, in pairs of projections of each modality.
    seconds : wall time.
    device : what it was computed on.
    started : ISO 8601, UTC.
    error : one line; None if ok.
    solver_status : how the solver ended; None if it did not.
    relative_error : mean over elements of ||x - truth|| / ||truth||.
    stoichiometry : element → mean and sigma of its cation fraction.
    stoichiometry_inside : the same one voxel from the boundary, and the truth's own mean as
        ``true``.
    totals : element → reconstructed amount over the true one.
    haze : element → fraction of it away from its particles.
    level : element → mean inside its particles over the true one.
    worker : who evaluated the trial: a slot of the executor, a rank, or a Dask worker; None if
        unknown. Nothing depends on it.
    host : the node it ran on; None if unknown. Nothing depends on it.
    code : version, commit and revision that evaluated it; None if it did not end.
    """

    status: TrialStatus
    nrmse: float = math.nan
    nrmse_by_element: Mapping[str, float] = field(default_factory=dict)
    iterations: float = 0.0
    seconds: float = 0.0
    device: str = "cpu"
    started: str = ""
    error: str | None = None
    solver_status: str | None = None
    relative_error: float = math.nan
    stoichiometry: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    stoichiometry_inside: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    totals: Mapping[str, float] = field(default_factory=dict)
    haze: Mapping[str, float] = field(default_factory=dict)
    level: Mapping[str, float] = field(default_factory=dict)
    worker: str | None = None
    host: str | None = None
    code: Provenance | None = None


def proposal_of(record: Mapping[str, Any]) -> Proposal | None:
    """The proposal that a record names; None where it names none.

    Parameters
    ----------
    record : a line of a journal, parsed.
    """
    found = record.get("proposal")
    if not isinstance(found, dict):
        return None
    number, known = found.get("number"), found.get("known")
    # By type, not isinstance: True is an int, and a damaged line may say it.
    if type(number) is not int or type(known) is not int or not 0 <= known <= number:
        return None
    before = found.get("before", 0)
    return Proposal(number, known, found.get("gain"), before if type(before) is int else 0)


def weights_of(method: Method, weights: Weights) -> dict[str, float]:
    """The weights that a method has, by name, and the exponent where it is searched.

    Parameters
    ----------
    method : the method.
    weights : all weights.

    Examples
    --------
    >>> weights_of(Method.CHEMISTRY_TV, Weights(haadf=0.1, tv=2.0))
    {'tv': 2.0}
    """
    found = {name: float(getattr(weights, name)) for name in method.weight_names}
    if isinstance(weights, WeightsAndGamma) and takes_gamma(method):
        found[GAMMA] = float(weights.gamma)
    return found


def takes_gamma(method: Method) -> bool:
    """Whether the exponent of the HAADF contrast has an effect on a method.

    Parameters
    ----------
    method : the method.
    """
    return method.sees_haadf


def to_record(trial: Trial, result: TrialResult, attempt: int = 1, final: bool = True) -> Record:
    """The journal's record of one attempt of a trial; numbers that are not finite become None.

    Parameters
    ----------
    trial : the trial.
    result : the outcome of the attempt.
    attempt : number of the attempt, from 1.
    final : False if the trial is going to be retried; the result then counts nowhere.
    """
    # A rank that is lost or killed says nothing; the manager has the same revision and version.
    code = result.code or provenance()
    return {
        "trial_id": trial.trial_id,
        "cell": dict(trial.cell.values),
        "method": str(trial.method),
        "number": trial.number,
        "proposal": trial.proposal and asdict(trial.proposal),
        **asdict(trial.scale),
        "attempt": attempt,
        "final": final,
        "weights": trial.weights_record(),
        "status": str(result.status),
        "nrmse": _finite(result.nrmse),
        "nrmse_by_element": _finite_all(result.nrmse_by_element),
        "iterations": _finite(result.iterations),
        "seconds": result.seconds,
        "device": result.device,
        "started": result.started,
        "error": result.error,
        "solver_status": result.solver_status,
        "relative_error": _finite(result.relative_error),
        "stoichiometry": _finite_phases(result.stoichiometry),
        "stoichiometry_inside": _finite_phases(result.stoichiometry_inside),
        **{name: _finite_all(getattr(result, name)) for name in ("totals", "haze", "level")},
        "worker": result.worker,
        "host": result.host,
        "revision": code.revision,
        "version": code.version,
        "commit": code.commit,
    }


def is_reduced(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a trial that only guides a search; see :class:`Scale`.

    Parameters
    ----------
    record : a line of a journal, parsed.
    """
    return record.get("reduced") is True


def is_final(record: Mapping[str, Any]) -> bool:
    """Whether a record is a trial's outcome, not an attempt that was retried.

    Parameters
    ----------
    record : a line of a journal, parsed.
    """
    # Journals of early versions lack the key: all their records are outcomes.
    return record.get("final") is not False


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _finite_all(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in values.items()}


def _finite_phases(
    phases: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float | None]]:
    return {element: _finite_all(phase) for element, phase in phases.items()}


class Score(StrEnum):
    """What a search minimises; see :data:`SCORES`."""

    NRMSE = "nrmse"
    RELATIVE_ERROR = "relative-error"
    TOTALS = "totals"
    LEVEL = "level"
    HAZE = "haze"
    STOICHIOMETRY = "stoichiometry"


@dataclass(frozen=True)
class ScoreTraits:
    """What a score is made of, and what it is called.

    Parameters
    ----------
    label : name in figures, tables and sentences.
    key : of a record that holds its parts: a number, or one for every element.
    error : of one part, 0 where that is right.
    """

    label: str
    key: str
    error: Callable[[Any], float] = float


def _beside_one(ratio: float) -> float:
    return abs(ratio - 1.0)


def _beside_truth(phase: Mapping[str, float]) -> float:
    return abs(phase["mean"] - phase["true"])


SCORES: dict[Score, ScoreTraits] = {
    Score.NRMSE: ScoreTraits("⟨NRMSE⟩", "nrmse"),
    Score.RELATIVE_ERROR: ScoreTraits("relative error", "relative_error"),
    Score.TOTALS: ScoreTraits("error of the totals", "totals", _beside_one),
    Score.LEVEL: ScoreTraits("error of the level inside", "level", _beside_one),
    Score.HAZE: ScoreTraits("haze", "haze"),
    Score.STOICHIOMETRY: ScoreTraits(
        "error of the stoichiometry inside", "stoichiometry_inside", _beside_truth
    ),
}
"""Every score that a search can minimise: 0 is perfect, and each is a mean over the elements."""


def score_of(score: Score, result: TrialResult | Record) -> float:
    """The score of a result.

    Parameters
    ----------
    score : which.
    result : of a trial, or its record in a journal.

    Returns
    -------
    Mean over the elements that have it; NaN where none has, or the record is damaged.

    Examples
    --------
    >>> score_of(Score.TOTALS, TrialResult(TrialStatus.OK, 0.4, totals={"Co": 1.5, "Au": 0.75}))
    0.375
    """
    row = SCORES[score]
    found = result.get(row.key) if isinstance(result, dict) else getattr(result, row.key)
    parts = found.values() if isinstance(found, Mapping) else (found,)
    try:
        errors = [row.error(part) for part in parts if part is not None]
    except (TypeError, ValueError, KeyError):
        return math.nan
    known = [error for error in errors if math.isfinite(error)]
    # fsum: the order in which a record lists the elements must not move the mean.
    return math.fsum(known) / len(known) if known else math.nan
