"""Cells of a map, trials, their results and the record of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ...recon_core.methods import Method, Weights
from ..versions import Provenance, provenance

Scalar = bool | int | float | str
Record = dict[str, Any]


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
    """

    cell: Cell
    method: Method
    number: int
    weights: Weights
    trial_id: str

    def weights_record(self) -> dict[str, float]:
        """The weights that the method has, by name."""
        return weights_of(self.method, self.weights)


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
    totals : element → reconstructed amount over the true one.
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
    totals: Mapping[str, float] = field(default_factory=dict)
    worker: str | None = None
    host: str | None = None
    code: Provenance | None = None


def weights_of(method: Method, weights: Weights) -> dict[str, float]:
    """The weights that a method has, by name.

    Parameters
    ----------
    method : the method.
    weights : all weights.

    Examples
    --------
    >>> weights_of(Method.CHEMISTRY_TV, Weights(haadf=0.1, tv=2.0))
    {'tv': 2.0}
    """
    return {name: float(getattr(weights, name)) for name in method.weight_names}


def to_record(trial: Trial, result: TrialResult, attempt: int = 1, final: bool = True) -> Record:
    """The journal's record of one attempt of a trial; numbers that are not finite become None.

    Parameters
    ----------
    trial : the trial.
    result : the outcome of the attempt.
    attempt : number of the attempt, from 1.
    final : False if the trial is going to be retried; the result then counts nowhere.
    """
    code = result.code or provenance()
    return {
        "trial_id": trial.trial_id,
        "cell": dict(trial.cell.values),
        "method": str(trial.method),
        "number": trial.number,
        "attempt": attempt,
        "final": final,
        "weights": trial.weights_record(),
        "status": str(result.status),
        "nrmse": _finite(result.nrmse),
        "nrmse_by_element": {e: _finite(v) for e, v in result.nrmse_by_element.items()},
        "iterations": _finite(result.iterations),
        "seconds": result.seconds,
        "device": result.device,
        "started": result.started,
        "error": result.error,
        "solver_status": result.solver_status,
        "relative_error": _finite(result.relative_error),
        "stoichiometry": {
            e: {name: _finite(v) for name, v in s.items()} for e, s in result.stoichiometry.items()
        },
        "totals": {e: _finite(v) for e, v in result.totals.items()},
        "worker": result.worker,
        "host": result.host,
        "revision": code.revision,
        "version": code.version,
        "commit": code.commit,
    }


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
