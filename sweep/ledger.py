"""Which trials of a study are finished, in flight and still to come."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from recon_core.errors import BadInput
from recon_core.settings import Method, Weights
from sweep.executors.base import Executor
from sweep.line import Line
from sweep.pace import Pace
from sweep.strand import Strand
from sweep.study import Study
from sweep.trial import Record, Trial, TrialResult, TrialStatus, is_final, to_record
from sweep.turns import Turns
from sweep.watch import Watch

Key = tuple[object, Method]

Begun = tuple[Trial, float, float]
"""A trial in flight, the seconds that the run had left when it began, and those it should take."""

LEAST_LIMIT_SECONDS, LIMIT_MARGIN = 600.0, 20.0
"""The time limit of a trial where its study sets none: this long, or this many times what it should
take. A trial that hangs must not take the whole walltime of every job."""


@dataclass(frozen=True)
class Summary:
    """What a run leaves behind: trials in all, finished, of these failed and of earlier runs.

    ``drained``: it ended before the study did, for want of time or asked to.
    """

    total: int
    done: int
    failed: int
    resumed: int
    interrupted: bool = False
    drained: bool = False


class Ledger:
    """Hands out the trials of a study, strand by strand in turn, and counts what returns.

    Trials can be made ahead of demand: what a trial is depends on the results before it in its
    strand alone, so it is the same whenever it is made.

    Raises
    ------
    BadInput : a record that is none of the study's trials.
    """

    def __init__(self, study: Study, records: Iterable[Record] = ()) -> None:
        self._retries = study.limits.retries
        self._strands = {_key(strand): strand for strand in strands(study)}
        self.total = sum(strand.budget for strand in self._strands.values())
        self.in_flight = self.done = self.failed = 0
        self._pace = Pace()
        self._attempts: Counter[tuple[Key, int]] = Counter()
        self._line = Line(self._pace)
        self._begun: dict[tuple[Key, int], Begun] = {}
        for record in records:
            self._resume(record)
        self.resumed = self.done
        self._turns = Turns(self._strands.values(), self._pace.estimate)

    @property
    def finished(self) -> bool:
        """Whether every trial has its outcome."""
        return self.done >= self.total

    @property
    def made(self) -> int:
        """Trials made and not handed out yet."""
        return self._line.waiting

    def make(self) -> bool:
        """Make the next trial of the strand whose turn it is; False where all wait for results."""
        strand = self._turns.take()
        if strand is None:
            return False
        self._line.add(strand, strand.next_trial())
        self._turns.add(strand)
        return True

    def hand_out(self, executor: Executor, watch: Watch) -> None:
        """Submit trials until the executor is full, or all that is left must wait, or is too long.

        A trial that cannot end before the run must is left for the next run.
        """
        made = self.made + self._line.aside
        self._turns.see(self.total - self.done - self.in_flight - made, executor.slots)
        while self.in_flight < executor.slots and self.startable(watch):
            strand, trial = self._line.start()
            expected = self._pace.expected(strand)
            executor.submit(_limited(strand.study, expected), trial)
            self._begun[self._attempt_key(trial)] = trial, watch.left, expected
            self.in_flight += 1

    def startable(self, watch: Watch) -> bool:
        """Whether a trial can be started now; the first of those made then is such a one."""
        while not (watch.draining or self._line.startable(watch)):
            if not (self.make() or self._line.recall(watch)):
                return False
        return not watch.draining

    def record(self, trial: Trial, result: TrialResult) -> Record:
        """The journal's record of what came back."""
        attempt = self._attempts[self._attempt_key(trial)] + 1
        again = result.status.may_be_chance and attempt <= self._retries
        return to_record(trial, result, attempt, final=not again)

    def take_in(self, trial: Trial, result: TrialResult, final: bool) -> None:
        """Count what came back of a trial that was handed out, or put it in line once more."""
        self.in_flight -= 1
        self._begun.pop(self._attempt_key(trial), None)
        strand = self._strands[trial.cell.values, trial.method]
        self._attempts[self._attempt_key(trial)] += 1
        self._line.end(strand, trial, again=not final)
        if not final:
            return
        ok = result.status is TrialStatus.OK
        self._count(strand, trial.number, trial.weights, result.nrmse if ok else None)
        self._learn(strand, result.seconds if ok else None)
        self._turns.add(strand)

    def given_up(self, watch: Watch) -> list[tuple[Trial, TrialResult]]:
        """What becomes of the trials in flight when time is up: one that has had its time may hang.

        The others are no attempts; the next run makes them again.
        """
        spent = [(trial, left - watch.left, due) for trial, left, due in self._begun.values()]
        return [(trial, _over(seconds)) for trial, seconds, due in spent if seconds >= due]

    def summary(self, interrupted: bool = False) -> Summary:
        """The counts so far."""
        drained = not interrupted and not self.finished
        return Summary(self.total, self.done, self.failed, self.resumed, interrupted, drained)

    def _attempt_key(self, trial: Trial) -> tuple[Key, int]:
        return (trial.cell.values, trial.method), trial.number

    def _resume(self, record: Record) -> None:
        try:
            key = tuple(record["cell"].items()), Method(record["method"])
            strand, number = self._strands[key], int(record["number"])
            weights = Weights(**record["weights"])
            score = record["nrmse"] if record["status"] == TrialStatus.OK else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _foreign(record) from error
        known = strand.trial(number, weights)
        if known.trial_id != record.get("trial_id"):
            raise _foreign(record)
        if number in strand.scores:
            return
        self._attempts[key, number] += 1
        if is_final(record):
            self._count(strand, number, weights, score)
            self._learn(strand, None if score is None else record.get("seconds"))

    def _learn(self, strand: Strand, seconds: float | None) -> None:
        if seconds:
            self._pace.learn(strand, seconds)

    def _count(self, strand: Strand, number: int, weights: Weights, score: float | None) -> None:
        ok = score is not None and math.isfinite(score)
        strand.finish(number, weights, score if ok else None)
        self.done += 1
        self.failed += not ok


def strands(study: Study) -> list[Strand]:
    """Every method in every cell, in the order of the cells."""
    at = [(cell, study.at(cell)) for cell in study.cells()]
    return [Strand(there, cell, method) for cell, there in at for method in study.search.methods]


def _limited(study: Study, expected: float) -> Study:
    """The study of a trial with a time limit, its own or one that only a trial that hangs meets."""
    if study.limits.trial_seconds is not None:
        return study
    seconds = max(LEAST_LIMIT_SECONDS, LIMIT_MARGIN * expected)
    return study.model_copy(
        update={"limits": study.limits.model_copy(update={"trial_seconds": seconds})}
    )


def _over(seconds: float) -> TrialResult:
    error = f"given up when time was up, after {seconds:.0f} s"
    return TrialResult(TrialStatus.TIMEOUT, seconds=seconds, error=error)


def _key(strand: Strand) -> Key:
    return strand.cell.values, strand.method


def _foreign(record: Record) -> BadInput:
    return BadInput(
        "holds a trial that is not the study's",
        source="trials.jsonl",
        key="trial_id",
        value=record.get("trial_id"),
        accepted="the trials of this study and its data; otherwise a new folder",
    )
