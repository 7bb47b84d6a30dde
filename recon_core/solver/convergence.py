"""The convergence record of a trial and the stopping rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..result import History, Reconstruction, Status

Array = NDArray[np.float32]

CALM = 40.0  # times the tolerance: largest relative change per iteration of settled volumes
COUPLED = 12.0  # times the tolerance: largest residual of a settled coupling
DIVERGED = 1e3  # times the first objective: a trial above it has diverged
BLOWN_UP = 100.0  # times its ceiling: a chemical term above it has diverged, settled or not


@dataclass(frozen=True)
class ConvergenceRecord:
    """One trial at one recorded step.

    Parameters
    ----------
    work : projections so far, tilts times volumes, a pair counting once.
    haadf, chemistry, tv : weighted terms of the objective.
    primal, dual : relative residuals of the coupling; NaN without HAADF.
    change : change of the volumes in the last iteration, relative to their norm.
    """

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


def record_of(work: float, row: Sequence[np.float64]) -> ConvergenceRecord:
    """Make the record of a trial from one row of numbers.

    Parameters
    ----------
    work : projections so far.
    row : three terms, two residuals and the change of the volumes, (6,).
    """
    # one NaN, so that equal histories are equal
    return ConvergenceRecord(work, *(float(value) if value == value else np.nan for value in row))


def status_of(
    records: Sequence[ConvergenceRecord], tolerance: float, ceiling: float = np.inf
) -> Status:
    """Judge a trial by its records.

    It has settled where the objective has changed by less than the tolerance since the record
    before, the volumes moved by less than :data:`CALM` tolerances in the last iteration of both,
    and both residuals of the coupling are below :data:`COUPLED` tolerances. The objective alone
    says little about the volumes: it is flat where they still gather noise. The factors are those
    of ``tests/benchmarks/stopping.py``.

    Parameters
    ----------
    records : two or more, oldest first.
    tolerance : relative; 0 never converges.
    ceiling : chemical term above which a settled trial has diverged
        (:mod:`tomoatlas.recon_core.solver.multiresolution`).

    Returns
    -------
    Status : ``iteration-limit`` means "not yet converged".
    """
    first, before, last = records[0], records[-2], records[-1]
    value = last.objective
    # NaN, and any growth without bound
    if not np.isfinite(value) or value > DIVERGED * first.objective:
        return Status.DIVERGED
    # the first record may itself be that of a start that blew up: the ceiling is the counts' own
    if last.chemistry > BLOWN_UP * ceiling:
        return Status.DIVERGED
    if not _settled(before, last, tolerance):
        return Status.ITERATION_LIMIT
    return Status.CONVERGED if last.chemistry <= ceiling else Status.DIVERGED


def _settled(before: ConvergenceRecord, last: ConvergenceRecord, tolerance: float) -> bool:
    flat = abs(before.objective - last.objective) < tolerance * last.objective
    # at two records: an oscillation may stand still at one of them
    calm = before.change < CALM * tolerance and last.change < CALM * tolerance
    # the objective can stall while HAADF and chemistry still disagree; NaN without HAADF
    alone = last.primal != last.primal
    coupled = alone or max(last.primal, last.dual) < COUPLED * tolerance
    return flat and calm and coupled


def result_of(
    volumes: Array, status: Status, records: Sequence[ConvergenceRecord], unit: float
) -> Reconstruction:
    """Assemble the result of a trial.

    Parameters
    ----------
    volumes : concentrations, (element, z, y, x), on the host.
    status : how it ended.
    records : oldest first; the last is the state of ``volumes``.
    unit : work of an iteration.

    Returns
    -------
    Reconstruction : work in iterations, and the remedy for its status as message; what is not
        finite in diverged volumes is 0.
    """
    if status is Status.DIVERGED:
        volumes = np.where(np.isfinite(volumes), volumes, np.float32(0))
    work = records[-1].work / unit
    return Reconstruction(volumes, status, work, _history(records, unit), _REMEDY[status])


def _history(records: Sequence[ConvergenceRecord], unit: float) -> History:
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
    Status.DIVERGED: "the objective grew without bound, or the maps are fitted worse than at the "
    "start: check counts, backgrounds and scales, or lower the HAADF weight",
}
