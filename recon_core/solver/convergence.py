"""What a solve says of a trial every few iterations, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..result import History, Reconstruction, Status

Array = NDArray[np.float32]

CALM = 100.0  # times the tolerance: relative change per iteration of volumes that do not oscillate
DIVERGED = 1e3  # times the first objective


@dataclass(frozen=True)
class Record:
    """One trial at one step: work so far, weighted terms, relative residuals and change."""

    work: float
    haadf: float
    chemistry: float
    tv: float
    primal: float
    dual: float
    change: float

    @property
    def objective(self) -> float:
        """Sum of the three terms."""
        return self.haadf + self.chemistry + self.tv


def record_of(work: float, row: Sequence[np.float64]) -> Record:
    """The record of three terms, two residuals and the change of the volumes."""
    # one NaN, so that equal histories are equal
    return Record(work, *(float(value) if value == value else np.nan for value in row))


def status_of(records: Sequence[Record], tolerance: float) -> Status:
    """How a trial stands at its last record; iteration-limit is "not yet"."""
    first, before, last = records[0], records[-2], records[-1]
    value = last.objective
    if not np.isfinite(value) or value > DIVERGED * first.objective:
        return Status.DIVERGED
    settled = abs(before.objective - value) < tolerance * value and last.change < CALM * tolerance
    if last.primal == last.primal:  # NaN where nothing is split
        settled = settled and max(last.primal, last.dual) < 10.0 * tolerance
    return Status.CONVERGED if settled else Status.ITERATION_LIMIT


def result_of(
    volumes: Array, status: Status, records: Sequence[Record], unit: float
) -> Reconstruction:
    """What a trial ends with; ``unit`` is the work of an iteration."""
    work = records[-1].work / unit
    return Reconstruction(volumes, status, work, _history(records, unit), _REMEDY[status])


def _history(records: Sequence[Record], unit: float) -> History:
    return History(
        iterations=tuple(r.work / unit for r in records),
        haadf=tuple(r.haadf for r in records),
        chemistry=tuple(r.chemistry for r in records),
        tv=tuple(r.tv for r in records),
        primal=tuple(r.primal for r in records),
        dual=tuple(r.dual for r in records),
        change=tuple(r.change for r in records),
    )


_REMEDY = {
    Status.CONVERGED: "",
    Status.ITERATION_LIMIT: "not converged: raise max_iterations or tolerance",
    Status.DIVERGED: "the objective grew without bound: check counts, backgrounds and scales",
}
