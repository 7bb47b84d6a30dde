"""What the driver asks of those who evaluate trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sweep.study import Study
from sweep.trial import Trial, TrialResult

Evaluate = Callable[[Study, Trial], TrialResult]
"""Evaluates a trial in its study; never raises, a failure is a status of the result."""


class Executor(Protocol):
    """Evaluates up to ``slots`` trials at a time, in any order."""

    @property
    def slots(self) -> int:
        """Trials that it can hold at once now; may shrink and grow."""

    def submit(self, study: Study, trial: Trial) -> None:
        """Hand over a trial of ``study``; there must be a free slot."""

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for one submitted trial and return it with its result.

        None where none came within ``timeout`` seconds; without one it waits for as long as it
        takes. No submitted trial is ever lost: a dead worker's comes back as crashed.
        """

    def close(self) -> None:
        """End all workers and drop what is in flight; closing twice does nothing."""
