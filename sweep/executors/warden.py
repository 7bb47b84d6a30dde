"""A thread that holds trials to their limits, whatever the manager is busy with."""

from __future__ import annotations

import threading

from sweep.executors.child import Child

IDLE_SECONDS = 0.5
"""Between two looks for what has been submitted; the most that a trial overruns its time."""


class Warden:
    """Looks at children until it is dismissed, and kills those whose trial is over a limit."""

    def __init__(self) -> None:
        self._children: frozenset[Child] = frozenset()
        self._dismissed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="warden")
        self._thread.start()

    def watch(self, child: Child) -> None:
        """Look at ``child`` from now on."""
        self._children |= {child}

    def release(self, child: Child) -> None:
        """Look at ``child`` no more."""
        self._children -= {child}

    def dismiss(self) -> None:
        """Stop; returns when no child is looked at any more."""
        self._dismissed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._dismissed.wait(self._pause()):
            for child in self._children:
                child.check()

    def _pause(self) -> float:
        return max(0.001, min([IDLE_SECONDS, *(c.until_check() for c in self._children)]))
