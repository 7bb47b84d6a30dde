"""What the driver asks of those who evaluate trials."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from sweep.study import Study
from sweep.trial import Trial, TrialResult, TrialStatus

Evaluate = Callable[[Study, Trial], TrialResult]
"""Evaluates a trial in its study; a failure is a status of the result, not an exception."""


class Executor(Protocol):
    """Evaluates up to ``slots`` trials at a time, in any order, and loses none.

    A trial whose worker dies comes back as crashed, one over its time as timeout; the reason is in
    the result's ``error``. Whether it is tried again is the caller's to decide. Every result names
    its worker, by the same name for as long as the executor lives; no two work at once by one name.
    """

    @property
    def slots(self) -> int:
        """Trials it can hold at once now; shrinks as workers are lost, grows as they join."""

    def submit(self, study: Study, trial: Trial) -> None:
        """Hand over a trial of ``study``; fewer than ``slots`` may be in flight."""

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """One submitted trial with its result, or None when ``timeout`` seconds brought none.

        Without a timeout it waits for as long as a trial is in flight.

        Raises
        ------
        Trouble : no worker can start.
        """

    def close(self) -> None:
        """End all workers and drop what is in flight; closing twice does nothing."""


def signed(result: TrialResult, worker: str) -> TrialResult:
    """``result`` with the name of the worker, which is on this host."""
    return replace(result, worker=worker, host=os.uname().nodename)


def attempt(evaluate: Evaluate, study: Study, trial: Trial) -> TrialResult:
    """The result of a trial; an exception that gets out of ``evaluate`` is a failure of the trial.

    Its traceback is printed, for it is a fault of the program. So is a score that is no number. For
    want of memory the trial has crashed.
    """
    try:
        result = evaluate(study, trial)
    except Exception as error:  # noqa: BLE001 - one trial must not end the study
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        chance = isinstance(error, MemoryError)
        return TrialResult(TrialStatus.CRASHED if chance else TrialStatus.FAILED, error=reason)
    if result.status is TrialStatus.OK and not math.isfinite(result.nrmse):
        return replace(result, status=TrialStatus.FAILED, error=f"the score is {result.nrmse}")
    return result
