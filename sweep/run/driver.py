"""The run of a study: hand out trials, record what comes back, until nothing is left to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ..executors import Executor
from ..record import StudyFolder
from ..record.journal import Journal
from ..study import Study
from ..study.trial import Trial, TrialResult, is_final
from .deadline import Deadline
from .scheduler import Scheduler, Summary

OnResult = Callable[[Trial, TrialResult], None]
OnStart = Callable[[int, int], None]

PATIENCE_SECONDS = 0.5
"""Between looks at the watch and at the number of slots, where no result comes."""


def run(
    study: Study,
    folder: str | Path,
    executor: Executor,
    on_result: OnResult | None = None,
    on_start: OnStart | None = None,
    deadline: Deadline | None = None,
    patience: float = 0.0,
) -> Summary:
    """Run what is left of ``study`` and record it in ``folder``; closes the executor.

    The trials do not depend on the executor. A failed trial is recorded and the run goes on; an
    interruption (Ctrl-C) ends it and the next call resumes.

    Parameters
    ----------
    study : what to run.
    folder : where; made if need be.
    executor : who evaluates the trials.
    on_result : called with every trial and its outcome, after it was recorded.
    on_start : called once with the finished and all trials.
    watch : when the run has to end: nothing is started that would last longer, and what is still in
        flight then is given up. Without one the run takes as long as it takes.
    patience : seconds to wait for another run that is writing in the folder to be gone.

    Raises
    ------
    BadInput : the folder belongs to another study or run, or cannot be written.
    Trouble : no worker can start any more, the disk is full or fails.
    """
    home = StudyFolder(folder)
    with closing(executor), home.open_or_create(study, patience) as journal:
        scheduler = Scheduler(study, journal.records())
        home.keep(study)
        if on_start is not None:
            on_start(scheduler.done, scheduler.total)
        intake = _Intake(scheduler, journal, on_result)
        deadline = deadline or Deadline()
        try:
            _work(scheduler, executor, intake, deadline)
        except KeyboardInterrupt:
            intake.settle()
            return scheduler.summary(interrupted=True)
        finally:
            deadline.close()
    return scheduler.summary()


def _work(scheduler: Scheduler, executor: Executor, intake: _Intake, deadline: Deadline) -> None:
    """Keep the executor full; while it has nothing to say, make the trials that it will want."""
    while not (scheduler.finished or deadline.over):
        scheduler.hand_out(executor, deadline)
        if not (scheduler.in_flight or scheduler.startable(deadline)):
            return
        landed = executor.collect(0.0)
        if landed is None and not (scheduler.made < executor.slots and scheduler.make()):
            landed = executor.collect(min(PATIENCE_SECONDS, max(deadline.left, 0.0)))
        intake.take(landed, executor)
    if not scheduler.finished:
        _stop(scheduler, executor, intake, deadline)


def _stop(scheduler: Scheduler, executor: Executor, intake: _Intake, deadline: Deadline) -> None:
    """Time is up: what has come meanwhile counts, and what has had its time is an attempt."""
    intake.take(executor.collect(0.0), executor)
    for trial, result in scheduler.given_up(deadline):
        intake.hold(trial, result)
    intake.settle()


class _Intake:
    """Results on their way into the journal: all that are there share one write to the disk."""

    def __init__(self, scheduler: Scheduler, journal: Journal, on_result: OnResult | None) -> None:
        self._scheduler, self._journal, self._on_result = scheduler, journal, on_result
        self._held: list[tuple[Trial, TrialResult]] = []
        self._settled = journal.written

    def take(self, landed: tuple[Trial, TrialResult] | None, executor: Executor) -> None:
        """Settle what has landed, and all else that is there."""
        while landed is not None:
            self.hold(*landed)
            landed = executor.collect(0.0)
        self.settle()

    def hold(self, trial: Trial, result: TrialResult) -> None:
        """Keep a result until it is settled."""
        self._held.append((trial, result))

    def settle(self) -> None:
        """Record, count and report what is held; an interrupted call is made good by the next."""
        records = [self._scheduler.record(trial, result) for trial, result in self._held]
        # An interruption may come when they are written, and before anything tells so but this.
        if self._journal.written == self._settled:
            self._journal.append(*records)
        self._settled, held, self._held = self._journal.written, self._held, []
        for (trial, result), record in zip(held, records, strict=True):
            final = is_final(record)
            self._scheduler.take_in(trial, result, final)
            if final and self._on_result is not None:
                self._on_result(trial, result)
