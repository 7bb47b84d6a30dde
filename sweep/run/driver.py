"""The run of a study: hand out trials, record what comes back, until nothing is left to do.

The order of the trials is explained in :mod:`tomoatlas.sweep.run.scheduler`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from ..estimate import Share
from ..executors import Executor, devices_of
from ..record import StudyFolder
from ..record.journal import Journal, JournalLost, take_in
from ..record.lines import TrialLines
from ..study import Study
from ..study.trial import Record, Trial, TrialResult, is_final
from ..versions import revision_note, revision_of
from . import Deadline
from .scheduler import Scheduler, Summary

OnResult = Callable[[Trial, TrialResult], None]
OnStart = Callable[[int, int], None]
OnNote = Callable[[str], None]

PATIENCE_SECONDS = 0.5
"""Longest wait for a result before the deadline and the number of slots are looked at again."""


def run(
    study: Study,
    folder: str | Path,
    executor: Executor,
    on_result: OnResult | None = None,
    on_start: OnStart | None = None,
    deadline: Deadline | None = None,
    patience: float = 0.0,
    on_note: OnNote | None = None,
    share: Share | None = None,
) -> Summary:
    """Run what is left of ``study`` and record it in ``folder``; closes the executor.

    The trials do not depend on the executor. A failed trial is recorded and the run goes on; an
    interruption (Ctrl-C) ends it and the next call resumes.

    Parameters
    ----------
    study : what to run.
    folder : the study folder; made if need be.
    executor : evaluates the trials.
    on_result : called with every trial and its outcome, after it was recorded.
    on_start : called with the numbers of finished trials and of all; once more where a search has
        ended by itself, and all are fewer or more than was expected.
    deadline : when the run has to end: no trial is started that would last longer, and what is
        still in flight then is given up. None: the run takes as long as it takes.
    patience : seconds to wait for another run that is writing in the folder to end.
    on_note : called with one line for everything that is unusual about the folder: lines that are
        no trials of the study and are passed over, trials of another revision of the algorithm, or
        a study that somebody has changed meanwhile.
    share : the cells to run, where several managers divide them; None for all.

    Returns
    -------
    Summary : counts of trials, and how the run ended.

    Raises
    ------
    BadInput : the folder belongs to another study or run, or cannot be written.
    Trouble : no worker can start any more, the disk is full or fails.
    JournalLost : something else changed the journal meanwhile; names the file that holds the
        results.
    """
    home = StudyFolder(folder)
    with closing(executor), home.open_or_create(study, patience) as journal:
        scheduler, notes = _resumed(study, journal, share)
        home.keep(study)
        home.note_run(devices_of(executor))

        def tell(note: str) -> None:
            if note and on_note is not None:
                on_note(note)

        for note in notes:
            tell(note)
        expected = scheduler.expected
        if on_start is not None:
            on_start(scheduler.done, expected)
        deadline = deadline or Deadline()
        running = _Run(scheduler, executor, deadline, journal, on_result)
        try:
            summary = _worked(running, scheduler, journal)
            tell(home.restore(study))
            if on_start is not None and summary.total != expected:
                on_start(summary.done, summary.total)
            return summary
        except JournalLost:
            # The folder may have gone with the journal; the next run must know what it was of.
            tell(home.restore(study))
            raise
        finally:
            deadline.close()


def _worked(running: _Run, scheduler: Scheduler, journal: Journal) -> Summary:
    """Work to the end, or to an interruption; nothing may have become of the journal by then."""
    interrupted = False
    try:
        running.work()
    except KeyboardInterrupt:
        interrupted = True
        running.settle()
    journal.check(whole=True)
    return scheduler.summary(interrupted)


def _resumed(study: Study, journal: Journal, share: Share | None) -> tuple[Scheduler, list[str]]:
    """The scheduler of what is left to do, and one line on everything unusual in the journal."""
    lines, revisions = TrialLines(study), Counter[int]()
    cells = study.cells() if share is None else share.cells(study)
    wanted = {cell.values for cell in cells}

    def records() -> Iterator[Record]:
        for record in filter(None, map(lines.take, journal.lines())):
            # Attempts that were retried have no score that another revision could have moved.
            revisions[revision_of(record)] += is_final(record)
            if tuple(record["cell"].items()) in wanted:
                yield record

    taken = take_in(journal)
    scheduler = Scheduler(study, records(), cells)
    notes = [*lines.notes, *scheduler.notes]
    if scheduler.done:
        # A search over many cells learns that it has ended when it is asked for a trial. Asked
        # now, what it will not make is not announced.
        scheduler.make()
    if taken:
        notes.append(f"{taken} results that a run had kept beside its journal are in it again.")
    if (note := revision_note(revisions)) is not None:
        notes.append(note)
    return scheduler, notes


class _Run:
    """One run: trials go from the scheduler to the executor, results to the journal and back."""

    def __init__(
        self,
        scheduler: Scheduler,
        executor: Executor,
        deadline: Deadline,
        journal: Journal,
        on_result: OnResult | None,
    ) -> None:
        self._scheduler, self._executor, self._deadline = scheduler, executor, deadline
        self._journal, self._on_result = journal, on_result
        self._held: list[tuple[Trial, TrialResult]] = []
        self._settled = journal.written

    def work(self) -> None:
        """Keep the executor full; while it is busy, make the trials that it will want next."""
        scheduler, executor, deadline = self._scheduler, self._executor, self._deadline
        while not (scheduler.finished or deadline.over):
            scheduler.hand_out(executor, deadline)
            if not (scheduler.in_flight or scheduler.startable(deadline)):
                return
            landed = executor.collect(0.0)
            if landed is None and not (scheduler.made < executor.slots and scheduler.make()):
                landed = executor.collect(min(PATIENCE_SECONDS, max(deadline.left, 0.0)))
            self._take(landed)
        if not scheduler.finished:
            self._stop()

    def settle(self) -> None:
        """Record, count and report the results that are held.

        Idempotent: a call cut short by Ctrl-C is completed by the next.
        """
        records = [self._scheduler.record(trial, result) for trial, result in self._held]
        # An earlier call may have been cut short when some were written and nothing else was done.
        self._journal.append(*records[self._journal.written - self._settled :])
        self._settled, held, self._held = self._journal.written, self._held, []
        for (trial, result), record in zip(held, records, strict=True):
            final = is_final(record)
            self._scheduler.take_in(trial, result, final)
            if final and self._on_result is not None:
                self._on_result(trial, result)

    def _take(self, landed: tuple[Trial, TrialResult] | None) -> None:
        """Settle a result and all others that are there: they share one write to the disk."""
        while landed is not None:
            self._held.append(landed)
            landed = self._executor.collect(0.0)
        self.settle()

    def _stop(self) -> None:
        """Time is up: results that came meanwhile count, trials that had their time timed out."""
        self._take(self._executor.collect(0.0))
        self._held.extend(self._scheduler.given_up(self._deadline))
        self.settle()
