"""Where trials are evaluated: the protocol of executors, and the limits of a trial."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ...recon_core.errors import BadInput
from ..study import Study, Task
from ..study.trial import SCORES, Score, Trial, TrialResult, TrialStatus, score_of

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Hard limits of a trial; one that exceeds them is killed.

    Parameters
    ----------
    seconds : wall time from the moment the trial is in its process, None for no limit. Beyond it
        the status is timeout.
    memory_bytes : resident memory of the process, with what it caches; None for no limit. Beyond
        it the status is crashed, as for a trial that itself meets a MemoryError: with more memory
        it might end well.

    Raises
    ------
    BadInput : a limit that is not positive.
    """

    seconds: float | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput("out of range", key=name, value=value, accepted="number > 0")

    @classmethod
    def of(cls, study: Study) -> Limits:
        """The ``[limits]`` of a study."""
        return cls(study.limits.trial_seconds, study.limits.memory_bytes)

    @classmethod
    def together(cls, limits: Sequence[Limits]) -> Limits:
        """What several trials may take together: as much as one after the other."""
        seconds, memory = [x.seconds for x in limits], [x.memory_bytes for x in limits]
        return cls(
            None if None in seconds else math.fsum(filter(None, seconds)),
            None if None in memory else sum(filter(None, memory)),
        )


Evaluate = Callable[[Study, Trial, str], TrialResult]
"""Evaluates a trial of a study on the device of that name, see
:func:`tomoatlas.sweep.evaluate.evaluate`; a failure is a status of the result, not an exception."""


EvaluateTogether = Callable[[Sequence[Task], str], Iterator[list[tuple[int, TrialResult]]]]
"""Evaluates several trials on the device of that name and yields results with their places among
them, see :func:`tomoatlas.sweep.evaluate.evaluate_together`."""


class Executor(Protocol):
    """Evaluates up to ``slots`` trials at a time, in any order, and loses none.

    A trial whose worker dies comes back as crashed, one over its time as timeout; the reason is in
    the result's ``error``. The caller decides whether to try it again. Every result names its
    worker, by the same name for as long as the executor lives; no two work at once by one name. It
    may say what it computes on (:func:`devices_of`) and that a worker holds several trials
    (:func:`trials_each`).
    """

    @property
    def slots(self) -> int:
        """Number of trials it can hold now; shrinks as workers are lost, grows as they join."""

    def submit(self, study: Study, trial: Trial) -> None:
        """Hand over a trial of ``study``; fewer than ``slots`` may be in flight."""

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for a submitted trial to end.

        Parameters
        ----------
        timeout : seconds to wait; None waits for as long as a trial is in flight.

        Returns
        -------
        tuple : the trial and its result; None if no trial ended in time.

        Raises
        ------
        Trouble : no worker can start.
        """

    def close(self) -> None:
        """End all workers and drop what is in flight; closing twice does nothing."""


def devices_of(executor: Executor) -> str:
    """What an executor computes on, in a few words; empty if it has no attribute ``devices``."""
    return str(getattr(executor, "devices", ""))


def trials_each(executor: Executor) -> int:
    """Most trials that a worker has at a time; 1 if it has no attribute ``trials_each``."""
    return int(getattr(executor, "trials_each", 1))


def signed(result: TrialResult, worker: str) -> TrialResult:
    """Add the name of the worker and of this host to a result."""
    return replace(result, worker=worker, host=os.uname().nodename)


def attempt(evaluate: Evaluate, study: Study, trial: Trial, device: str) -> TrialResult:
    """Evaluate a trial; an exception out of ``evaluate``, a fault of the program, fails the trial.

    Parameters
    ----------
    evaluate : evaluates a trial.
    study, trial, device : its arguments.

    Returns
    -------
    TrialResult : of the trial; failed after an exception, whose traceback is printed, and for a
        score that is not finite; crashed after a MemoryError, which may not happen again.
    """
    try:
        result = evaluate(study, trial, device)
    except Exception as error:  # noqa: BLE001 - one trial must not end the study
        traceback.print_exc()
        # One line, whatever the message: it becomes a field of the journal and a line of a table.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        chance = isinstance(error, MemoryError)
        return TrialResult(TrialStatus.CRASHED if chance else TrialStatus.FAILED, error=reason)
    return checked(result, study)


def checked(result: TrialResult, study: Study) -> TrialResult:
    """A result that has the score of its study, or a failed one."""
    if result.status is not TrialStatus.OK:
        return result
    score: Score = study.search.score
    if not math.isfinite(result.nrmse):
        error = f"the score is {result.nrmse}"
    elif not math.isfinite(score_of(score, result)):
        error = f"the {SCORES[score].label} is not known"
    else:
        return result
    return replace(result, status=TrialStatus.FAILED, error=error)
