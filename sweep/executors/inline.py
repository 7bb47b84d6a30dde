"""Trials one after the other, in this process."""

from __future__ import annotations

from collections import deque

from sweep.evaluate import evaluate
from sweep.executors.base import Evaluate
from sweep.study import Study
from sweep.trial import Trial, TrialResult


class InlineExecutor:
    """Evaluates each trial in this process when it is collected."""

    slots = 1

    def __init__(self, evaluate: Evaluate = evaluate) -> None:
        self._evaluate = evaluate
        self._queue: deque[tuple[Study, Trial]] = deque()

    def submit(self, study: Study, trial: Trial) -> None:
        """Keep the trial until it is collected."""
        self._queue.append((study, trial))

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:  # noqa: ARG002
        """Evaluate the trial submitted first, however long that takes; None if there is none."""
        if not self._queue:
            return None
        study, trial = self._queue.popleft()
        return trial, self._evaluate(study, trial)

    def close(self) -> None:
        """Drop what was submitted."""
        self._queue.clear()
