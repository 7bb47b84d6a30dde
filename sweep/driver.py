"""The run of a study: hand out trials, record what comes back, until nothing is left to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from recon_core.errors import BadInput
from recon_core.settings import Method, Weights
from sweep.executors.base import Executor
from sweep.folder import StudyFolder
from sweep.strand import Strand
from sweep.study import Study
from sweep.trial import Record, Trial, TrialResult, TrialStatus, to_record

OnResult = Callable[[Trial, TrialResult], None]
OnStart = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """What a run leaves behind: trials in all, finished, of these failed and of earlier runs."""

    total: int
    done: int
    failed: int
    resumed: int
    interrupted: bool = False


def run(
    study: Study,
    folder: str | Path,
    executor: Executor,
    on_result: OnResult | None = None,
    on_start: OnStart | None = None,
) -> Summary:
    """Run what is left of ``study`` and record it in ``folder``; closes the executor.

    The trials do not depend on the executor. A failed trial is recorded and the run goes on; an
    interruption (Ctrl-C) ends it and the next call resumes.

    Parameters
    ----------
    study : what to run.
    folder : where; made if need be.
    executor : who evaluates the trials.
    on_result : called with every trial and its result, after it was recorded.
    on_start : called once with the finished and all trials.

    Raises
    ------
    BadInput : the folder belongs to another study or run, or cannot be written.
    """
    with closing(executor), StudyFolder(folder).open_or_create(study) as journal:
        ledger = Ledger(study, journal.records())
        if on_start is not None:
            on_start(ledger.done, ledger.total)
        try:
            while not ledger.finished:
                ledger.hand_out(executor)
                finished = executor.collect()
                if finished is None:
                    continue
                trial, result = finished
                journal.append(to_record(trial, result))
                ledger.take_in(trial, result)
                if on_result is not None:
                    on_result(trial, result)
        except KeyboardInterrupt:
            return ledger.summary(interrupted=True)
    return ledger.summary()


class Ledger:
    """Which trials of a study are finished, in flight and still to come.

    Raises
    ------
    BadInput : a record that is none of the study's trials.
    """

    def __init__(self, study: Study, records: Iterable[Record] = ()) -> None:
        self._strands = {(s.cell.values, s.method): s for s in strands(study)}
        self.total = sum(strand.budget for strand in self._strands.values())
        self._in_flight = 0
        self.done = self.failed = 0
        for record in records:
            self._resume(record)
        self.resumed = self.done

    @property
    def finished(self) -> bool:
        """Whether every trial has its result."""
        return self.done >= self.total

    def hand_out(self, executor: Executor) -> None:
        """Submit trials until the executor is full or all that is left waits for results."""
        while self._in_flight < executor.slots and (strand := self._furthest_behind()):
            trial = strand.next_trial()
            executor.submit(strand.study, trial)
            self._in_flight += 1

    def take_in(self, trial: Trial, result: TrialResult) -> None:
        """Count the result of a trial that was handed out."""
        self._in_flight -= 1
        ok = result.status is TrialStatus.OK
        strand = self._strands[trial.cell.values, trial.method]
        self._count(strand, trial.number, trial.weights, result.nrmse if ok else None)

    def summary(self, interrupted: bool = False) -> Summary:
        """The counts so far."""
        return Summary(self.total, self.done, self.failed, self.resumed, interrupted)

    def _furthest_behind(self) -> Strand | None:
        ready = (strand for strand in self._strands.values() if strand.ready)
        return min(ready, key=lambda strand: (strand.progress, strand.cell.index), default=None)

    def _resume(self, record: Record) -> None:
        try:
            key = tuple(record["cell"].items()), Method(record["method"])
            strand, number = self._strands[key], int(record["number"])
            weights = Weights(**record["weights"])
            score = record["nrmse"] if record["status"] == TrialStatus.OK else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _foreign(record) from error
        known = strand.study.trial(strand.cell, strand.method, number, weights)
        if known.trial_id != record.get("trial_id"):
            raise _foreign(record)
        if number not in strand.scores:
            self._count(strand, number, weights, score)

    def _count(self, strand: Strand, number: int, weights: Weights, score: float | None) -> None:
        ok = score is not None and math.isfinite(score)
        strand.finish(number, weights, score if ok else None)
        self.done += 1
        self.failed += not ok


def strands(study: Study) -> list[Strand]:
    """Every method in every cell, in the order of the cells."""
    at = [(cell, study.at(cell)) for cell in study.cells()]
    return [Strand(there, cell, method) for cell, there in at for method in study.search.methods]


def _foreign(record: Record) -> BadInput:
    return BadInput(
        "holds a trial that is not the study's",
        source="trials.jsonl",
        key="trial_id",
        value=record.get("trial_id"),
        accepted="the trials of this study and its data; otherwise a new folder",
    )
