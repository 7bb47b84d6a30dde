"""A run of a study: the time it has, which trial starts next, and the loop that drives both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Deadline:
    """The time a run has left, and whether it may still start trials.

    Parameters
    ----------
    seconds : from now until the trials must be over; by default the run has no limit.
    clock : monotonic, in seconds; jumps of the wall clock must not matter.
    """

    def __init__(
        self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self.draining = self.closed = False

    @property
    def left(self) -> float:
        """Seconds left."""
        return self._end - self._clock()

    @property
    def endless(self) -> bool:
        """Whether no walltime is known."""
        return math.isinf(self._end)

    @property
    def over(self) -> bool:
        """Whether trials in flight have to be given up."""
        return self.left <= 0.0

    def drain(self) -> None:
        """Start nothing from now on."""
        self.draining = True

    def close(self) -> None:
        """The run has ended: from now on it only clears away and writes what it leaves behind."""
        self.closed = True

    def allows(self, seconds: float) -> bool:
        """Whether a trial that takes ``seconds`` may be started now."""
        return not self.draining and seconds <= self.left
