"""Trials in local child processes: one that dies costs the trial it was evaluating, no more."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait

from sweep.evaluate import evaluate
from sweep.executors.base import Evaluate, signed
from sweep.executors.child import CannotStart, Child, Task
from sweep.executors.environment import child_environment
from sweep.executors.seats import Seats
from sweep.executors.warden import Warden
from sweep.limits import Limits
from sweep.study import Study
from sweep.trial import Trial, TrialResult


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
    ) -> None:
        self._evaluate, self._limits = evaluate, limits
        self._names = names or [str(number) for number in range(workers)]
        self._places = places or [{}] * workers
        self._free = Seats(workers)
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // workers)
        self._idle: list[Child] = []
        self._busy: list[Child] = []
        self._waiting: deque[Task] = deque()
        self._seats: dict[Child, int] = {}
        self._warden = Warden()

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
        environment = child_environment(self._threads, self._places[seat])
        try:
            child = Child(self._evaluate, environment, self._limits)
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
