"""Workers that cost nothing to start."""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor

from tomoatlas.sweep.executors import Evaluate
from tomoatlas.sweep.study import Study
from tomoatlas.sweep.study.trial import Trial, TrialResult


class Threads:
    """An executor of ``workers`` threads: results come in any order and often together."""

    def __init__(self, workers: int, evaluate: Evaluate) -> None:
        self.slots, self._evaluate = workers, evaluate
        self._pool = ThreadPoolExecutor(workers)
        self._landed: queue.SimpleQueue[tuple[Trial, TrialResult]] = queue.SimpleQueue()

    def submit(self, study: Study, trial: Trial) -> None:
        """Evaluate the trial in a thread."""
        self._pool.submit(lambda: self._landed.put((trial, self._evaluate(study, trial, "cpu"))))

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """The next to end."""
        try:
            return self._landed.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Wait for the threads."""
        self._pool.shutdown()
