"""What ranks say to each other, and the worker rank: it takes trials from rank 0, has its child
evaluate them, and sends results. Nothing here starts MPI.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ...study import Study
from ...study.trial import Trial, TrialResult
from ..child import CannotStart
from ..local import ProcessExecutor
from ..serve import DEAF_TO

TASK, RESULT, BYE, LEAVE = 1, 2, 3, 4
"""To a worker: a trial, or None when there are no more. To the manager: a report; the children are
ended. To a worker: end."""

NAP_SECONDS, LONGEST_NAP_SECONDS = 0.0005, 0.004


class Transport(Protocol):
    """Carries the messages of one rank, never waiting; see
    :class:`~tomoatlas.sweep.executors.mpi.transport.Mail`.
    """

    @property
    def size(self) -> int:
        """Number of ranks."""

    @property
    def lost(self) -> set[int]:
        """Ranks that are known to be gone."""

    def send(self, to: int, tag: int, content: object) -> None:
        """Begin to send."""

    def receive(self, tag: int, source: int | None = None) -> tuple[int, Any] | None:
        """A message that has come, with its sender, if any."""

    def flush(self, seconds: float) -> bool:
        """Wait until everything is sent, ``seconds`` at most; whether it is."""


def naps() -> Iterator[float]:
    """Seconds to sleep between looks, longer and longer: a blocking receive burns a core."""
    nap = NAP_SECONDS
    while True:
        yield nap
        nap = min(2 * nap, LONGEST_NAP_SECONDS)


LOOK_SECONDS = 0.1
"""Between two looks for an end that rank 0 has called while a trial is being evaluated."""


class ManagerLost(RuntimeError):
    """Rank 0 is gone, and nobody is left to record a result."""


@dataclass(frozen=True)
class Report:
    """What a rank says of its trial on its way to rank 0.

    ``result``: None where the trial was not evaluated. ``fit``: False where no further trial can
    be, for the reason ``why``.
    """

    result: TrialResult | None
    fit: bool = True
    why: str = ""


def work(transport: Transport, worker: ProcessExecutor) -> None:
    """Evaluate trials, one at a time, until rank 0 says that it is over, and that all may leave.

    Raises
    ------
    ManagerLost : rank 0 is gone; the children are ended.
    """
    # Schedulers and terminals signal all ranks; rank 0 alone decides what ends.
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    try:
        while (task := _awaited(transport, TASK)) is not None:
            report = _evaluated(transport, worker, *task)
            if report is None:
                break
            transport.send(0, RESULT, report)
    finally:
        worker.close()
    transport.send(0, BYE, None)
    _awaited(transport, LEAVE)


def _awaited(transport: Transport, tag: int) -> tuple[Study, Trial] | None:
    """What rank 0 sends next; while it does not, this rank sleeps, as waiting MPI burns a core."""
    pauses = naps()
    while (message := transport.receive(tag, source=0)) is None:
        if 0 in transport.lost:
            raise ManagerLost("rank 0 is lost")
        time.sleep(next(pauses))
    content: tuple[Study, Trial] | None = message[1]
    return content


def _evaluated(
    transport: Transport, worker: ProcessExecutor, study: Study, trial: Trial
) -> Report | None:
    """The report on a trial, or None where the end was called meanwhile."""
    worker.submit(study, trial)
    while transport.receive(TASK, source=0) is None:
        try:
            finished = worker.collect(LOOK_SECONDS)
        except CannotStart as error:
            return unfit(error)
        if finished is not None:
            return Report(finished[1])
        if 0 in transport.lost:
            raise ManagerLost("rank 0 is lost")
    return None


def unfit(error: CannotStart) -> Report:
    """The report of a rank on which nothing can be evaluated."""
    return Report(None, fit=False, why=f"{error} on {os.uname().nodename}")
