"""Trials one after the other, in this process."""

from __future__ import annotations

import time
from collections import deque

from ..evaluate import evaluate
from ..study import Study
from ..study.trial import Trial, TrialResult
from . import Evaluate, attempt, signed


class InlineExecutor:
    """Evaluates each trial in this process when it is collected.

    No limit is enforced here: for limits, and for a trial that may kill its process, use
    :class:`~tomoatlas.sweep.executors.local.ProcessExecutor` with one worker.

    Parameters
    ----------
    evaluate : evaluates a trial.
    device : name of what to compute on.
    """

    slots = 1

    def __init__(self, evaluate: Evaluate = evaluate, device: str = "cpu") -> None:
        self._evaluate, self._device = evaluate, device
        self._queue: deque[tuple[Study, Trial]] = deque()

    def submit(self, study: Study, trial: Trial) -> None:
        """Keep the trial until it is collected."""
        self._queue.append((study, trial))

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Evaluate the trial submitted first, however long it takes; else wait ``timeout``."""
        if not self._queue:
            time.sleep(timeout or 0.0)
            return None
        study, trial = self._queue.popleft()
        return trial, signed(attempt(self._evaluate, study, trial, self._device), "0")

    def close(self) -> None:
        """Drop what was submitted."""
        self._queue.clear()
