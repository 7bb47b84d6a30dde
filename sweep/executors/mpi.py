"""Trials on MPI ranks: rank 0 manages, and every rank evaluates. Importing this starts MPI."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from mpi4py import MPI

from sweep.devices import Request
from sweep.evaluate import evaluate
from sweep.executors.base import Evaluate
from sweep.executors.child import CannotStart
from sweep.executors.crew import make_crew
from sweep.executors.mail import BYE, RESULT, TASK, Mail, naps
from sweep.executors.processes import ProcessExecutor
from sweep.executors.rank import ManagerLost, Report, unfit, work
from sweep.limits import Limits
from sweep.study import Study
from sweep.trial import Trial, TrialResult, TrialStatus

FAREWELL_SECONDS = 15.0


def ranks() -> int:
    """Number of MPI ranks."""
    return MPI.COMM_WORLD.Get_size()


def run_ranks(
    manage: Callable[[MpiExecutor], int],
    evaluate: Evaluate = evaluate,
    limits: Limits | None = None,
    request: Request = Request(),  # noqa: B008 - frozen
    comm: MPI.Intracomm = MPI.COMM_WORLD,
) -> int:
    """Call ``manage`` on rank 0 with an executor over all ranks; the exit code of this rank.

    Every rank calls this. Each has one device and one child process on it, rank 0 as well, so that
    N ranks use N devices. What ``manage`` leaves in flight, raising or not, is dropped and the
    other ranks are sent home.

    Parameters
    ----------
    manage : the run of a study; its return value is the exit code of rank 0.
    evaluate : evaluates a trial; a function that can be imported by its name.
    limits : what a trial may take; by default the limits of its study.
    request : what the ranks compute on.
    comm : the ranks.

    Raises
    ------
    BadInput : on all ranks, where the devices do not do; see :func:`sweep.devices.check_devices`.
    """
    crew = make_crew(comm, evaluate, limits, request)
    mail = Mail(comm)
    if mail.rank > 0:
        return _serve(mail, crew)
    executor = MpiExecutor(mail, crew)
    try:
        code = manage(executor)
    finally:
        executor.close()
    if executor.silent:
        print(f"ranks {sorted(executor.silent)} do not answer", file=sys.stderr)
        mail.abort(code)
    return code


def _serve(mail: Mail, crew: ProcessExecutor) -> int:
    """Work for rank 0; where that cannot go on, all ranks end, for it would wait forever."""
    try:
        work(mail, crew)
    except ManagerLost as error:
        print(f"rank {mail.rank} ends: {error}", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - told and ended by the abort
        traceback.print_exc()
    else:
        return 0
    mail.abort(1)
    return 1


def leave(code: int) -> int:
    """Finalise MPI, after which nothing can hang; ``code`` for ``sys.exit``.

    A rank whose MPI does not come back is ended at once with ``code``, without further clean-up:
    the record is closed and the streams are flushed by now, so nothing is lost but the wait.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    overdue = threading.Timer(FAREWELL_SECONDS, os._exit, [code])
    overdue.daemon = True
    overdue.start()
    MPI.Finalize()
    overdue.cancel()
    return code


class MpiExecutor:
    """Evaluates a trial on each rank, its own, 0, included; see :func:`run_ranks`.

    A rank that is lost gives its trial back as crashed, and there is one slot less; so does a rank
    on which no process can start.

    Parameters
    ----------
    mail : the messages of rank 0.
    crew : this rank's own worker.
    """

    def __init__(self, mail: Mail, crew: ProcessExecutor) -> None:
        self._mail, self._own = mail, crew
        self._workers = set(range(mail.size))
        # Rank 0 last: its own trials share a processor with the manager.
        self._idle = list(range(mail.size))
        self._running: dict[int, Trial] = {}
        self._found: deque[tuple[Trial, TrialResult]] = deque()
        self._closed = False
        self.silent: set[int] = set()

    @property
    def slots(self) -> int:
        """Ranks that can evaluate trials."""
        return len(self._workers)

    def submit(self, study: Study, trial: Trial) -> None:
        """Send the trial to an idle rank."""
        rank = self._idle.pop()
        self._running[rank] = trial
        if rank == 0:
            self._own.submit(study, trial)
        else:
            self._mail.send(rank, TASK, (study, trial))

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
            if until is None and not self._running:
                break
        return None

    def close(self) -> None:
        """Send all ranks home; those that do not answer are in ``silent`` then."""
        if self._closed:
            return
        self._closed = True
        self._own.close()
        self.silent = set(range(1, self._mail.size)) - self._mail.lost
        for rank in self.silent:
            self._mail.send(rank, TASK, None)
        self._await_farewells()
        self._mail.flush(FAREWELL_SECONDS if not self.silent else 0.0)

    def _await_farewells(self) -> None:
        until = time.monotonic() + FAREWELL_SECONDS
        for nap in naps():
            while self._mail.receive(RESULT) is not None:
                pass
            if (farewell := self._mail.receive(BYE)) is not None:
                self.silent.discard(farewell[0])
                continue
            self.silent -= self._mail.lost
            if not self.silent or time.monotonic() > until:
                return
            time.sleep(nap)

    def _look(self, nap: float) -> None:
        """Take in what has come; where nothing has, wait for it or for ``nap`` seconds."""
        message = self._mail.receive(RESULT)
        if message is not None:
            self._take_in(*message)
            nap = 0.0
        for rank in self._mail.lost & self._workers:
            error = f"lost rank {rank}"
            self._take_in(rank, Report(TrialResult(TrialStatus.CRASHED, error=error), fit=False))
        if 0 in self._running:
            self._look_at_own(nap)
        else:
            time.sleep(nap)

    def _look_at_own(self, nap: float) -> None:
        try:
            finished = self._own.collect(nap)
        except CannotStart as error:
            self._take_in(0, unfit(error))
        else:
            if finished is not None:
                self._take_in(0, Report(finished[1]))

    def _take_in(self, rank: int, report: Report) -> None:
        if rank in self._running:
            self._found.append((self._running.pop(rank), report.result))
            self._idle.append(rank)
        if not report.fit:
            self._workers.discard(rank)
            self._idle.remove(rank)
