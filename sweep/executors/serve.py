"""The child's side: its environment, and the loop that evaluates what comes through a pipe."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from ..launchers import without_launcher
from ..study import Task
from ..study.trial import TrialResult, TrialStatus
from . import Evaluate, EvaluateTogether, attempt, checked

THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "DUCC0_NUM_THREADS",  # of a pool that ducc0 starts whether or not it is asked for threads
)


def worker_environment(
    threads: int,
    extra: Mapping[str, str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """All environment variables of a child, which finds the modules that this process finds.

    Parameters
    ----------
    threads : that it may use.
    extra : variables of its own, such as the mask of its device.
    environment : of this process; the variables of MPI launchers are left out.
    """
    counts = dict.fromkeys(THREAD_VARIABLES, str(threads))
    modules = {"PYTHONPATH": os.pathsep.join(_module_paths())}
    return {**without_launcher(environment), **counts, **modules, **(extra or {})}


def _module_paths() -> list[str]:
    """Where this process finds modules; its working folder, as of ``python -c``, comes last.

    An empty entry means the working folder: first, it would let files there hide modules.
    """
    here = [str(Path.cwd())] if "" in sys.path else []
    return [*filter(None, sys.path), *here]


IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Terminals and schedulers send these to a whole job; the manager alone decides what ends."""

OOM_SCORE = "800"
"""Of 1000: when memory runs out, the kernel should kill a trial and not the manager."""


def serve(tasks: int, lifeline: int) -> None:
    """Evaluate trials until the parent is gone.

    Parameters
    ----------
    tasks : file descriptor of a pipe; first come the functions that evaluate one trial and several,
        with the name of the device, then trials, some at a time.
    lifeline : file descriptor of a pipe that nobody writes to; it closes with the parent.
    """
    _die_with(lifeline)
    ignore_signals()
    # the parent has started this process with them blocked
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)
    _prefer_as_victim()
    os.set_inheritable(tasks, False)
    connection = Connection(tasks)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        evaluate, together, device = connection.recv()
        connection.send(None)
        while True:
            for found in _evaluated(evaluate, together, connection.recv(), device):
                last = any(may_be_poisoned(result) for _, result in found)
                connection.send((found, last))
                if last:
                    return


def _evaluated(
    evaluate: Evaluate, together: EvaluateTogether | None, tasks: Sequence[Task], device: str
) -> Iterator[list[tuple[int, TrialResult]]]:
    """Results with their places among the tasks, as they come."""
    if together is None or len(tasks) == 1:
        for place, (study, trial) in enumerate(tasks):
            yield [(place, attempt(evaluate, study, trial, device))]
        return
    for found in together(tasks, device):
        yield [(place, checked(result, tasks[place][0])) for place, result in found]


def may_be_poisoned(result: TrialResult) -> bool:
    """Whether later trials may fail in this process too.

    An error of a GPU stays in its context, and memory that was lost stays lost.
    """
    failed = result.status is TrialStatus.FAILED and result.device != "cpu"
    return failed or result.status is TrialStatus.CRASHED


def _die_with(lifeline: int) -> None:
    """Kill this process when the parent's end of the lifeline closes.

    Linux does so itself. A thread that waits, as elsewhere, does not run while native code hangs
    with the interpreter's lock; and PR_SET_PDEATHSIG looks at the thread that started this process,
    not at the process.
    """
    import fcntl

    os.set_inheritable(lifeline, False)
    if not hasattr(fcntl, "F_SETSIG"):  # macOS: SIGIO is all a pipe can send, and it is ignored
        threading.Thread(target=_end_after, args=(lifeline,), daemon=True).start()
        return
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _end_after(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def ignore_signals() -> None:
    """Ignore what terminals and schedulers send to a whole job, from here on."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _prefer_as_victim() -> None:
    # Without such a file, or in a container that forbids it, the kernel chooses by size.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
