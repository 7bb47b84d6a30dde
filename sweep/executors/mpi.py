"""Trials on MPI ranks: rank 0 manages, every other rank evaluates. Importing this starts MPI."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numba
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from sweep.evaluate import evaluate
from sweep.executors.base import Evaluate
from sweep.study import Study
from sweep.trial import Trial, TrialResult

T = TypeVar("T")

POLL_SECONDS = 0.002
LAST_WORDS_SECONDS = 1.0
"""Before an abort: launchers drop what ranks have printed and they have not read yet."""

TASK, RESULT = 1, 2


def ranks() -> int:
    """Number of MPI ranks; one alone has nobody to hand trials to."""
    return MPI.COMM_WORLD.Get_size()


def run_ranks(
    manage: Callable[[MpiExecutor], T],
    evaluate: Evaluate = evaluate,
    comm: MPI.Intracomm = MPI.COMM_WORLD,
) -> T | None:
    """Call ``manage`` on rank 0 with an executor over all other ranks, which evaluate meanwhile.

    Every rank calls this; the others return None when ``manage`` is done. Where it leaves trials in
    flight, raising or not, all ranks are ended at once, for a rank cannot be made to stop: so
    ``manage`` does its own reporting. An interrupted run ends with exit code 130.
    """
    others = comm.Split(color=int(comm.Get_rank() > 0), key=comm.Get_rank())
    if comm.Get_rank() > 0:
        # Ctrl-C reaches all ranks; rank 0 alone decides what ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with _or_abort(comm):
            _share_cores(others)
            _serve(comm, evaluate)
        return None
    executor = MpiExecutor(comm)
    try:
        outcome = manage(executor)
    except BaseException:
        if executor.in_flight:
            _abort(comm, 1)
        raise
    finally:
        executor.close()
    if executor.in_flight:
        _abort(comm, 130)
    return outcome


class MpiExecutor:
    """Evaluates a trial on each rank of ``comm`` but its own, rank 0; see :func:`run_ranks`."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self._idle = list(range(comm.Get_size() - 1, 0, -1))
        self._running: dict[int, Trial] = {}
        self._closed = False
        self.slots = len(self._idle)

    @property
    def in_flight(self) -> int:
        """Trials submitted and not collected."""
        return len(self._running)

    def submit(self, study: Study, trial: Trial) -> None:
        """Send the trial to an idle rank."""
        rank = self._idle.pop()
        self._running[rank] = trial
        self._comm.send((study, trial), dest=rank, tag=TASK)

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for the first rank that is done."""
        rank = _await(self._comm, MPI.ANY_SOURCE, RESULT, timeout)
        if rank is None:
            return None
        result: TrialResult = self._comm.recv(source=rank, tag=RESULT)
        self._idle.append(rank)
        return self._running.pop(rank), result

    def close(self) -> None:
        """Send the idle ranks home; those at work are :func:`run_ranks`' to end."""
        if self._closed:
            return
        self._closed = True
        for rank in self._idle:
            self._comm.send(None, dest=rank, tag=TASK)


def _serve(comm: MPI.Intracomm, evaluate: Evaluate) -> None:
    while True:
        _await(comm, 0, TASK)
        task: tuple[Study, Trial] | None = comm.recv(source=0, tag=TASK)
        if task is None:
            return
        comm.send(evaluate(*task), dest=0, tag=RESULT)


def _await(comm: MPI.Intracomm, source: int, tag: int, timeout: float | None = None) -> int | None:
    """Rank of the next message; sleeps between looks, as a blocking receive burns a core."""
    status = MPI.Status()
    end = math.inf if timeout is None else time.monotonic() + timeout
    while not comm.iprobe(source=source, tag=tag, status=status):
        if time.monotonic() >= end:
            return None
        time.sleep(POLL_SECONDS)
    return status.Get_source()


def _share_cores(workers: MPI.Comm) -> None:
    """Use this rank's part of the cores that the workers of this node may use together."""
    node = workers.Split_type(MPI.COMM_TYPE_SHARED)
    cores: set[int] = set().union(*node.allgather(os.sched_getaffinity(0)))
    threads = max(1, len(cores) // node.Get_size())
    numba.set_num_threads(min(threads, numba.get_num_threads()))
    threadpool_limits(threads)


@contextmanager
def _or_abort(comm: MPI.Intracomm) -> Iterator[None]:
    """End all ranks when this one fails: rank 0 would wait for it forever."""
    try:
        yield
    except BaseException:
        _abort(comm, 1)
        raise


def _abort(comm: MPI.Intracomm, code: int) -> None:
    if sys.exc_info()[0] is not None:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(LAST_WORDS_SECONDS)
    comm.Abort(code)
