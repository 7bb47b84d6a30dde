"""The run of a study: hand out trials, record what comes back, until nothing is left to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sweep.executors.base import Executor
from sweep.folder import StudyFolder
from sweep.journal import Journal
from sweep.ledger import Ledger, Summary
from sweep.study import Study
from sweep.trial import Trial, TrialResult, is_final
from sweep.watch import Watch

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
    watch: Watch | None = None,
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
        ledger = Ledger(study, journal.records())
        home.keep(study)
        if on_start is not None:
            on_start(ledger.done, ledger.total)
        intake = _Intake(ledger, journal, on_result)
        watch = watch or Watch()
        try:
            _work(ledger, executor, intake, watch)
        except KeyboardInterrupt:
            intake.settle()
            return ledger.summary(interrupted=True)
        finally:
            watch.close()
    return ledger.summary()


def _work(ledger: Ledger, executor: Executor, intake: _Intake, watch: Watch) -> None:
    """Keep the executor full; while it has nothing to say, make the trials that it will want."""
    while not (ledger.finished or watch.over):
        ledger.hand_out(executor, watch)
        if not (ledger.in_flight or ledger.startable(watch)):
            return
        landed = executor.collect(0.0)
        if landed is None and not (ledger.made < executor.slots and ledger.make()):
            landed = executor.collect(min(PATIENCE_SECONDS, max(watch.left, 0.0)))
        intake.take(landed, executor)
    if not ledger.finished:
        _stop(ledger, executor, intake, watch)


def _stop(ledger: Ledger, executor: Executor, intake: _Intake, watch: Watch) -> None:
    """Time is up: what has come meanwhile counts, and what has had its time is an attempt."""
    intake.take(executor.collect(0.0), executor)
    for trial, result in ledger.given_up(watch):
        intake.hold(trial, result)
    intake.settle()


class _Intake:
    """Results on their way into the journal: all that are there share one write to the disk."""

    def __init__(self, ledger: Ledger, journal: Journal, on_result: OnResult | None) -> None:
        self._ledger, self._journal, self._on_result = ledger, journal, on_result
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
        records = [self._ledger.record(trial, result) for trial, result in self._held]
        # An interruption may come when they are written, and before anything tells so but this.
        if self._journal.written == self._settled:
            self._journal.append(*records)
        self._settled, held, self._held = self._journal.written, self._held, []
        for (trial, result), record in zip(held, records, strict=True):
            final = is_final(record)
            self._ledger.take_in(trial, result, final)
            if final and self._on_result is not None:
                self._on_result(trial, result)
