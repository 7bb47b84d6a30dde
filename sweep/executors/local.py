"""Trials in local child processes: one that dies costs the trial it was evaluating, no more."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait

from ..evaluate import evaluate
from ..study import Study
from ..study.trial import Trial, TrialResult
from . import Evaluate, Limits, signed
from .child import CannotStart, Child, Task
from .serve import worker_environment

STARTS = 5
"""In a row that fail at one place before it is given up."""

PAUSE_SECONDS = 2.0
"""After a start that failed; twice as long after each further one at that place."""


class Slots:
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


IDLE_SECONDS = 0.5
"""Between two looks for what has been submitted; the most that a trial overruns its time."""


class Watchdog:
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


class ProcessExecutor:
    """Evaluates trials in ``workers`` child processes, which are kept warm between trials.

    A child that is killed, crashes or goes over its limits is replaced; its trial tells why. One
    that cannot start is tried again a few times, then there is a slot less: its trial waits for
    another child.

    Parameters
    ----------
    workers : number of children; each is started with its first trial.
    evaluate : evaluates a trial; a function that can be imported by its name.
    limits : what a trial may take; by default the limits of its study.
    places : for each worker the variables of its own, such as the mask of its device.
    threads : of each child; by default the workers share the cores evenly.
    names : of the workers; by default their numbers, from 0. A child that replaces another has its
        name, as it has its place.
    device : name of what the children compute on.

    Raises
    ------
    CannotStart : on :meth:`collect`, when no slot is left.
    """

    def __init__(
        self,
        workers: int,
        evaluate: Evaluate = evaluate,
        limits: Limits | None = None,
        places: Sequence[Mapping[str, str]] | None = None,
        threads: int | None = None,
        names: Sequence[str] | None = None,
        device: str = "cpu",
    ) -> None:
        self._evaluate, self._limits, self._device = evaluate, limits, device
        self._names = names or [str(number) for number in range(workers)]
        self._places = places or [{}] * workers
        self._free = Slots(workers)
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // workers)
        self._idle: list[Child] = []
        self._busy: list[Child] = []
        self._waiting: deque[Task] = deque()
        self._seats: dict[Child, int] = {}
        self._warden = Watchdog()

    @property
    def slots(self) -> int:
        """Children that there can be."""
        return self._free.count

    def submit(self, study: Study, trial: Trial) -> None:
        """Hand the trial to an idle child, or to a new one."""
        self._waiting.append((study, trial))
        self._place()

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for the first child that is done, or gone."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._busy or self._waiting:
            self._place()
            self._free.check()
            ready = wait([child.connection for child in self._busy], self._pause(until))
            if not ready:
                if until is not None and time.monotonic() >= until:
                    return None
                continue
            finished = self._answered(next(c for c in self._busy if c.connection in ready))
            if finished is not None:
                return finished
        time.sleep(timeout or 0.0)
        return None

    def close(self) -> None:
        """Kill all children; results not collected are lost."""
        self._warden.dismiss()
        for child in [*self._busy, *self._idle]:
            child.end()
        self._busy, self._idle, self._seats = [], [], {}
        self._waiting.clear()

    def _pause(self, until: float | None) -> float | None:
        """Seconds to wait for a child: until time is up, or a waiting trial may get one started."""
        left = math.inf if until is None else max(0.0, until - time.monotonic())
        left = min(left, self._free.until_start()) if self._waiting else left
        return left if math.isfinite(left) else None

    def _place(self) -> None:
        """Give the trials that wait to children, as far as there are some."""
        while self._waiting and (child := self._idle.pop() if self._idle else self._started()):
            # What becomes of a child that has just been started, its answer tells.
            if child.take(*self._waiting[0]) or not child.proven:
                self._busy.append(child)
                self._waiting.popleft()
            else:
                self._free.leave(self._end(child))

    def _started(self) -> Child | None:
        seat = self._free.take()
        if seat is None:
            return None
        environment = worker_environment(self._threads, self._places[seat])
        try:
            child = Child(self._evaluate, self._device, environment, self._limits)
        except CannotStart as error:
            self._free.fail(seat, error)
            return None
        self._seats[child] = seat
        self._warden.watch(child)
        return child

    def _answered(self, child: Child) -> tuple[Trial, TrialResult] | None:
        task = child.task
        try:
            result = child.answer()
        except CannotStart as error:
            self._busy.remove(child)
            self._waiting.extendleft([task] if task else [])
            self._free.fail(self._end(child), error)
            return None
        if child.proven:
            self._free.prove(self._seats[child])
        if task is None or result is None:
            return None
        self._busy.remove(child)
        result = signed(result, self._names[self._seats[child]])
        if child.alive:
            self._idle.append(child)
        else:
            self._free.leave(self._end(child))
        return task[1], result

    def _end(self, child: Child) -> int:
        """End a child; the place that it had."""
        self._warden.release(child)
        child.end()
        return self._seats.pop(child)
