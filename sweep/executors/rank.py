"""A worker rank: it takes trials from rank 0, has its child evaluate them, and sends results."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from sweep.executors.child import CannotStart
from sweep.executors.post import BYE, LEAVE, RESULT, TASK, Post, naps
from sweep.executors.processes import ProcessExecutor
from sweep.executors.serve import DEAF_TO
from sweep.study import Study
from sweep.trial import Trial, TrialResult

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


def work(mail: Post, crew: ProcessExecutor) -> None:
    """Evaluate trials, one at a time, until rank 0 says that it is over, and that all may leave.

    Raises
    ------
    ManagerLost : rank 0 is gone; the children are ended.
    """
    # Schedulers and terminals signal all ranks; rank 0 alone decides what ends.
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    try:
        while (task := _awaited(mail, TASK)) is not None:
            report = _evaluated(mail, crew, *task)
            if report is None:
                break
            mail.send(0, RESULT, report)
    finally:
        crew.close()
    mail.send(0, BYE, None)
    _awaited(mail, LEAVE)


def _awaited(mail: Post, tag: int) -> tuple[Study, Trial] | None:
    """What rank 0 sends next; while it does not, this rank sleeps, as waiting MPI burns a core."""
    pauses = naps()
    while (message := mail.receive(tag, source=0)) is None:
        if 0 in mail.lost:
            raise ManagerLost("rank 0 is lost")
        time.sleep(next(pauses))
    content: tuple[Study, Trial] | None = message[1]
    return content


def _evaluated(mail: Post, crew: ProcessExecutor, study: Study, trial: Trial) -> Report | None:
    """The report on a trial, or None where the end was called meanwhile."""
    crew.submit(study, trial)
    while mail.receive(TASK, source=0) is None:
        try:
            finished = crew.collect(LOOK_SECONDS)
        except CannotStart as error:
            return unfit(error)
        if finished is not None:
            return Report(finished[1])
        if 0 in mail.lost:
            raise ManagerLost("rank 0 is lost")
    return None


def unfit(error: CannotStart) -> Report:
    """The report of a rank on which nothing can be evaluated."""
    return Report(None, fit=False, why=f"{error} on {os.uname().nodename}")
