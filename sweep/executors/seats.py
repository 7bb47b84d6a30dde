"""The places of child processes: which are free, which are given up, when to try a start again."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter

from sweep.executors.child import CannotStart

STARTS = 5
"""In a row that fail at one place before it is given up."""

PAUSE_SECONDS = 2.0
"""After a start that failed; twice as long after each further one at that place."""


class Seats:
    """Places for ``count`` children, from 0; ``count`` shrinks as places are given up.

    Where a child has ever started, or there was only no room for one, a start is tried again.
    Otherwise what cannot start now never will.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._vacant = list(range(count))
        self._failures: Counter[int] = Counter()
        self._lost: list[CannotStart] = []
        self._told = 0
        self._proven = False
        self._after = -math.inf

    def take(self) -> int | None:
        """A free place for a child to be started now; None where there is none, or not yet."""
        return self._vacant.pop(0) if self._vacant and self.until_start() <= 0.0 else None

    def leave(self, seat: int) -> None:
        """A child has ended that had started."""
        self._vacant.append(seat)

    def prove(self, seat: int) -> None:
        """A child has started."""
        self._proven = True
        self._failures.pop(seat, None)
        self._tell()

    def fail(self, seat: int, error: CannotStart) -> None:
        """A child could not start: its place is free again after a pause, or given up."""
        self._failures[seat] += 1
        if (self._proven or error.may_pass) and self._failures[seat] < STARTS:
            self._vacant.append(seat)
            self._after = time.monotonic() + PAUSE_SECONDS * 2 ** (self._failures[seat] - 1)
            return
        self.count -= 1
        self._lost.append(error)
        self._tell()

    def check(self) -> None:
        """Do nothing while there are places.

        Raises
        ------
        CannotStart : all are given up.
        """
        if self._lost and not self.count:
            raise self._lost[-1]

    def until_start(self) -> float:
        """Seconds until a start may be tried; infinite where no place is free."""
        return max(0.0, self._after - time.monotonic()) if self._vacant else math.inf

    def _tell(self) -> None:
        """Where nothing ever started, the error that ends the run tells enough."""
        if self._proven and self.count:
            for error in self._lost[self._told :]:
                print(f"warning: {error}; workers left: {self.count}", file=sys.stderr)
            self._told = len(self._lost)
