"""The protocol of the ranks, and the worker rank: it takes trials from rank 0, has its child
evaluate them, and sends results back. Nothing here starts MPI.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from ...study import Task
from ...study.trial import Trial, TrialResult
from ..child import CannotStart
from ..local import ProcessExecutor
from ..serve import ignore_signals

# A result waits for its manager by a few milliseconds at most; 250 polls a second are no load.
NAP_SECONDS, LONGEST_NAP_SECONDS = 0.0005, 0.004


class Tag(IntEnum):
    """What a message is.

    A worker gets trials until ``TASK`` brings None, ends its children, answers ``CLOSED`` and waits
    for ``LEAVE``: so MPI is finalised on all ranks at once, when no child is left anywhere.
    """

    TASK = 1
    """To a worker: trials with their studies; None when there are no more."""
    RESULT = 2
    """To the manager: a :class:`Report`."""
    CLOSED = 3
    """To the manager: this rank's children are ended."""
    LEAVE = 4
    """To a worker: end, with this exit code."""
    ALIVE = 5
    """To the manager, every :data:`BEAT_SECONDS` during a trial: this rank is not frozen."""


class Transport(Protocol):
    """Carries the messages of one rank and never waits.

    See :class:`~tomoatlas.sweep.executors.mpi.ranks.MpiTransport`.
    """

    @property
    def size(self) -> int:
        """Number of ranks."""

    @property
    def lost(self) -> set[int]:
        """Ranks that are known to be gone."""

    def send(self, to: int, tag: Tag, content: object) -> None:
        """Begin to send a message.

        Parameters
        ----------
        to : rank that shall get it.
        tag : what it is.
        content : anything that can be pickled.
        """

    def receive(self, tag: Tag, source: int | None = None) -> tuple[int, Any] | None:
        """Take a message with this tag, from one rank or any: its sender and content, or None."""

    def flush(self, seconds: float) -> bool:
        """Wait until everything is sent, ``seconds`` at most; whether it is."""


def naps() -> Iterator[float]:
    """Seconds to sleep between polls, longer and longer: a blocking receive burns a core."""
    nap = NAP_SECONDS
    while True:
        yield nap
        nap = min(2 * nap, LONGEST_NAP_SECONDS)


POLL_SECONDS = 0.1
"""Between two polls for the end, which rank 0 may call while a trial is being evaluated."""

BEAT_SECONDS = 10.0
"""Between two signs of life to rank 0, which takes in those of thousands."""


class ManagerLost(RuntimeError):
    """Rank 0 is gone, and nobody is left to record a result."""


@dataclass(frozen=True)
class Report:
    """What a rank sends to rank 0 after a trial.

    Parameters
    ----------
    result : of the trial; None if it was not evaluated, nor those that the rank still has.
    fit : whether this rank can evaluate further trials.
    why : the reason if it cannot.
    trial : that has ended; None for all that the rank has.
    left : number of trials that it still has.
    """

    result: TrialResult | None
    fit: bool = True
    why: str = ""
    trial: Trial | None = None
    left: int = 0


def work(transport: Transport, worker: ProcessExecutor) -> int:
    """Evaluate trials, as rank 0 sends them, until it ends the run; return when all may leave.

    Parameters
    ----------
    transport : the messages of this rank.
    worker : this rank's own child.

    Returns
    -------
    int : the exit code of rank 0, which is that of every rank.

    Raises
    ------
    ManagerLost : rank 0 is gone; the children are ended.
    """
    # Schedulers and terminals signal all ranks; rank 0 alone decides what ends.
    ignore_signals()
    try:
        while (tasks := _awaited(transport, Tag.TASK)) is not None:
            if not _evaluated(transport, worker, tasks):
                break
    finally:
        worker.close()
    # Only now: it says that no child of this rank is left.
    transport.send(0, Tag.CLOSED, None)
    code: int = _awaited(transport, Tag.LEAVE)
    return code


def _awaited(transport: Transport, tag: Tag) -> Any:
    """The next message from rank 0; meanwhile this rank sleeps, as waiting in MPI burns a core."""
    pauses = naps()
    while (message := transport.receive(tag, source=0)) is None:
        if 0 in transport.lost:
            raise ManagerLost("rank 0 is lost")
        time.sleep(next(pauses))
    return message[1]


def _evaluated(transport: Transport, worker: ProcessExecutor, tasks: Sequence[Task]) -> bool:
    """Evaluate trials and send a report on each; False if rank 0 ended the run meanwhile."""
    for study, trial in tasks:
        worker.submit(study, trial)
    beat, left = time.monotonic(), len(tasks)
    # A rank with trials is sent no others, so whatever comes now is the end.
    while transport.receive(Tag.TASK, source=0) is None:
        try:
            finished = worker.collect(POLL_SECONDS)
        except CannotStart as error:
            transport.send(0, Tag.RESULT, unfit(error))
            return True
        if finished is not None:
            left -= 1
            report = Report(finished[1], trial=finished[0], left=left)
            transport.send(0, Tag.RESULT, report)
            if not left:
                return True
        if 0 in transport.lost:
            raise ManagerLost("rank 0 is lost")
        if time.monotonic() - beat >= BEAT_SECONDS:
            beat = time.monotonic()
            transport.send(0, Tag.ALIVE, None)
    return False


def unfit(error: CannotStart) -> Report:
    """The report of a rank on which nothing can be evaluated."""
    return Report(None, fit=False, why=f"{error} on {os.uname().nodename}")
