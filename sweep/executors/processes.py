"""Trials in local child processes: one that dies costs the trial it was evaluating, no more."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from sweep.evaluate import evaluate
from sweep.executors.base import Evaluate
from sweep.study import Study
from sweep.trial import Trial, TrialResult, TrialStatus

THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)

_SPAWN = multiprocessing.get_context("spawn")


class ProcessExecutor:
    """Evaluates trials in ``workers`` child processes that share the cores evenly.

    A child that is killed or crashes is replaced; its trial has the status crashed.

    Raises
    ------
    RuntimeError : on :meth:`collect`, when a child cannot even start.
    """

    def __init__(self, workers: int, evaluate: Evaluate = evaluate) -> None:
        self.slots = workers
        self._evaluate = evaluate
        self._threads = max(1, len(os.sched_getaffinity(0)) // workers)
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    def submit(self, study: Study, trial: Trial) -> None:
        """Hand the trial to an idle child, or to a new one."""
        worker = self._idle.pop() if self._idle else self._started()
        if not worker.take(study, trial):
            worker.end()
            worker = self._started()
            worker.take(study, trial)
        self._busy.append(worker)

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for the first child that is done, or gone."""
        while ready := wait([worker.connection for worker in self._busy], timeout):
            worker = next(w for w in self._busy if w.connection in ready)
            result = worker.answer()
            if result is not None:
                return self._release(worker), result
        return None

    def close(self) -> None:
        """Kill all children; results not collected are lost."""
        for worker in [*self._busy, *self._idle]:
            worker.end()
        self._busy, self._idle = [], []

    def _started(self) -> _Worker:
        with _threads(self._threads):
            return _Worker(self._evaluate)

    def _release(self, worker: _Worker) -> Trial:
        self._busy.remove(worker)
        if worker.alive:
            self._idle.append(worker)
        else:
            worker.end()
        return worker.trial


class _Worker:
    """A child process and the pipe to it."""

    trial: Trial

    def __init__(self, evaluate: Evaluate) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self._process: BaseProcess = _SPAWN.Process(
            target=_serve, args=(theirs, evaluate), daemon=True
        )
        self._process.start()
        # Only with one holder left does the pipe end when the child does.
        theirs.close()
        self._started = False
        self.alive = True

    def take(self, study: Study, trial: Trial) -> bool:
        """Send a trial; False where the child has died meanwhile."""
        self.trial = trial
        try:
            self.connection.send((study, trial))
        except OSError:
            return False
        return True

    def answer(self) -> TrialResult | None:
        """What the child has to say: a result, or None for having started."""
        try:
            result: TrialResult | None = self.connection.recv()
        except (EOFError, OSError):
            return self._crashed()
        self._started = True
        return result

    def end(self) -> None:
        """Kill the child and forget it."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()

    def _crashed(self) -> TrialResult:
        self.alive = False
        self._process.join()
        code = self._process.exitcode or 0
        if not self._started and code >= 0:
            raise RuntimeError(f"a worker process cannot start, exit code {code}")
        error = f"the worker ended with {_ending(code)}"
        return TrialResult(TrialStatus.CRASHED, error=error)


def _serve(connection: Connection, evaluate: Evaluate) -> None:
    """Evaluate what comes through the pipe until its other end is closed."""
    # Signals reach the whole group; the parent alone decides what ends.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(ending, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(None)
        while True:
            study, trial = connection.recv()
            connection.send(evaluate(study, trial))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _end_with_parent() -> None:
    """End this process at once when its parent is gone; a long trial would go on for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Children started meanwhile use ``count`` threads; read only once, when libraries load."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
