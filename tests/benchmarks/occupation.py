"""How busy workers are kept, seen by the manager's clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tomoatlas.sweep.study.trial import Trial, TrialResult


@dataclass
class Occupation:
    """When each worker was busy; workers are told apart by the error of their results."""

    intervals: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def note(self, trial: Trial, result: TrialResult) -> None:
        """Take in a result as it comes back."""
        now = time.monotonic()
        who = result.error or "?"
        self.intervals.setdefault(who, []).append((now - result.seconds, now))

    def utilisation(self) -> float:
        """Busy part of the workers' time.

        Each counts from the start of its first trial; all end when the first of them has had its
        last one, for then there was nothing left to hand out.
        """
        end = min(spans[-1][1] for spans in self.intervals.values())
        busy = sum(
            min(stop, end) - start
            for s in self.intervals.values()
            for start, stop in s
            if start < end
        )
        there = sum(end - spans[0][0] for spans in self.intervals.values())
        return busy / there
