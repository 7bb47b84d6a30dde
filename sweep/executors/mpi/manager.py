"""Rank 0: sends trials to the ranks and takes their results."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import replace

from ...study import Study, Task
from ...study.trial import Trial, TrialResult, TrialStatus
from .. import trials_each
from ..batches import Waiting
from ..child import CannotStart
from ..local import ProcessExecutor
from .worker import Report, Tag, Transport, naps, unfit

FAREWELL_SECONDS = 15.0
"""For a rank to end its child and report it."""

SILENCE_SECONDS = 45.0
"""A rank with a trial is given up when it has been silent for so long: it or its node is frozen. It
should be heard every :data:`.worker.BEAT_SECONDS`, whatever its child does."""

ABSENCE_SECONDS = 1.0
"""Time counts as silence only up to here between two looks of the manager: it may have been frozen
itself, or waiting for a disk."""


class MpiExecutor:
    """Evaluates a trial on each rank, its own, 0, included; see :func:`run_ranks`.

    If a rank is lost, its trial comes back as crashed, and there is one slot less. So it is with a
    rank that falls silent, until its trial ends after all; that result is dropped, as the trial is
    another's by then. The trial of a rank on which no process can start waits for another rank.
    Ranks that take several trials at a time share out what waits; those of a rank that is lost with
    several are evaluated singly.

    Parameters
    ----------
    transport : the messages of rank 0.
    worker : this rank's own child.
    """

    def __init__(self, transport: Transport, worker: ProcessExecutor) -> None:
        self._transport, self._own = transport, worker
        self._workers = set(range(transport.size))
        # Rank 0 last: its own trials share a processor with the manager.
        self._idle = list(range(transport.size))
        self._running: dict[int, list[Task]] = {}
        self.trials_each = trials_each(worker)
        self._waiting = Waiting(self.trials_each)
        self._heard: dict[int, float] = {}
        self._listened = time.monotonic()
        self._found: deque[tuple[Trial, TrialResult]] = deque()
        self._closed = False
        self.silent: set[int] = set()
        self.devices = worker.devices

    @property
    def slots(self) -> int:
        """Number of ranks that can evaluate trials, times the trials that each takes."""
        return len(self._workers) * self.trials_each

    def submit(self, study: Study, trial: Trial) -> None:
        """Send the trial to an idle rank, or to the next; where it takes several, on collecting."""
        self._waiting.add((study, trial))
        if self.trials_each == 1:
            self._place()

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for the first rank that is done, or lost."""
        until = None if timeout is None else time.monotonic() + timeout
        for nap in naps():
            left = nap if until is None else min(nap, max(0.0, until - time.monotonic()))
            self._look(left)
            if self._found:
                return self._found.popleft()
            if not self._workers:
                raise CannotStart("no rank can evaluate trials any more")
            if until is not None and time.monotonic() >= until:
                break
            # Nothing is under way, and without a time limit nothing would ever end the wait.
            if until is None and not (self._running or self._waiting):
                break
        return None

    def close(self) -> None:
        """End the children of all ranks; ``silent`` then holds the ranks that do not answer."""
        if self._closed:
            return
        self._closed = True
        self._own.close()
        self.silent = set(range(1, self._transport.size)) - self._transport.lost
        for rank in self.silent:
            self._transport.send(rank, Tag.TASK, None)
        self._await_farewells()

    def dismiss(self, code: int) -> None:
        """Let all ranks end, which have waited for this: so MPI is finalised on all at once.

        Parameters
        ----------
        code : how the run ended; every rank exits with it.
        """
        for rank in set(range(1, self._transport.size)) - self._transport.lost:
            self._transport.send(rank, Tag.LEAVE, code)
        # With a silent rank all are aborted at once: nothing is worth the wait.
        self._transport.flush(0.0 if self.silent else FAREWELL_SECONDS)

    def _await_farewells(self) -> None:
        until = time.monotonic() + FAREWELL_SECONDS
        for nap in naps():
            # A large message occupies its sender until it is received, and the farewell comes
            # behind it.
            while self._transport.receive(Tag.RESULT) is not None:
                pass
            if (farewell := self._transport.receive(Tag.CLOSED)) is not None:
                self.silent.discard(farewell[0])
                continue
            self.silent -= self._transport.lost
            if not self.silent or time.monotonic() > until:
                return
            time.sleep(nap)

    def _place(self) -> None:
        """Send waiting trials to idle ranks."""
        while self._waiting and self._idle:
            tasks = self._waiting.take(len(self._idle))
            self._start(self._idle.pop(), tasks)

    def _start(self, rank: int, tasks: list[Task]) -> None:
        self._running[rank] = tasks
        self._heard[rank] = time.monotonic()
        if rank > 0:
            self._transport.send(rank, Tag.TASK, tasks)
            return
        for study, trial in tasks:
            self._own.submit(study, trial)

    def _look(self, nap: float) -> None:
        """Take in the messages that have come; without any, wait for ``nap`` seconds."""
        # Results before losses: a rank may have sent its last one and then gone.
        while (message := self._transport.receive(Tag.RESULT)) is not None:
            self._take_in(*message)
            nap = 0.0
        for rank in self._transport.lost & self._workers:
            self._give_up(rank, f"lost rank {rank}")
        for rank in self._silent_ranks():
            self._give_up(rank, f"no answer from rank {rank} for {SILENCE_SECONDS:g} s")
        self._place()
        if 0 in self._running:
            self._look_at_own(nap)
        else:
            time.sleep(nap)

    def _silent_ranks(self) -> list[int]:
        """The ranks with a trial that have not been heard for too long."""
        now = time.monotonic()
        # While nobody listened no rank could be heard: that time is added to when each was.
        if (absence := now - self._listened - ABSENCE_SECONDS) > 0:
            self._heard = {rank: heard + absence for rank, heard in self._heard.items()}
        self._listened = now
        while (message := self._transport.receive(Tag.ALIVE)) is not None:
            self._heard[message[0]] = now
        # Rank 0 is this one.
        return [r for r in self._running if r and now - self._heard[r] > SILENCE_SECONDS]

    def _look_at_own(self, nap: float) -> None:
        try:
            finished = self._own.collect(nap)
        except CannotStart as error:
            self._take_in(0, unfit(error))
        else:
            if finished is not None:
                left = len(self._running[0]) - 1
                self._take_in(0, Report(finished[1], trial=finished[0], left=left))

    def _give_up(self, rank: int, error: str) -> None:
        self._take_in(rank, Report(TrialResult(TrialStatus.CRASHED, error=error), fit=False))

    def _take_in(self, rank: int, report: Report) -> None:
        """End a rank's trial; use the rank again if it is fit, even if it was given up before."""
        self._settle(rank, self._running.pop(rank, []), report)
        if report.left:
            return
        self._idle = [idle for idle in self._idle if idle != rank]
        self._workers.discard(rank)
        if report.fit:
            self._idle.append(rank)
            self._workers.add(rank)

    def _settle(self, rank: int, tasks: list[Task], report: Report) -> None:
        """Sort what a rank had: its results, what it still has, and what waits for another."""
        if report.result is None:
            print(f"warning: rank {rank} gets no more trials: {report.why}", file=sys.stderr)
            self._waiting.put_back(tasks)
            return
        ended = [t for t in tasks if report.trial is None or t[1] == report.trial]
        # Which of several brought the rank down cannot be known; one at a time they show it.
        if len(ended) > 1:
            self._waiting.add_singly(ended)
            return
        result = replace(report.result, worker=str(rank))
        self._found.extend((trial, result) for _, trial in ended)
        if report.left and tasks:
            self._running[rank] = [task for task in tasks if task not in ended]
