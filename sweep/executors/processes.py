"""Trials in local child processes: one that dies costs the trial it was evaluating, no more."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait

from sweep.evaluate import evaluate
from sweep.executors.base import Evaluate, signed
from sweep.executors.child import Child
from sweep.executors.environment import child_environment
from sweep.executors.warden import Warden
from sweep.limits import Limits
from sweep.study import Study
from sweep.trial import Trial, TrialResult


class ProcessExecutor:
    """Evaluates trials in ``workers`` child processes, which are kept warm between trials.

    A child that is killed, crashes or goes over its limits is replaced; its trial tells why.

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
    CannotStart : on :meth:`collect`, when a child cannot even start.
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
        self.slots = workers
        self._evaluate, self._limits = evaluate, limits
        self._names = names or [str(number) for number in range(workers)]
        self._places = places or [{}] * workers
        self._vacant = list(range(workers))
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // workers)
        self._idle: list[Child] = []
        self._busy: list[Child] = []
        self._seats: dict[Child, int] = {}
        self._warden = Warden()

    @property
    def busy(self) -> int:
        """Trials submitted and not collected."""
        return len(self._busy)

    def submit(self, study: Study, trial: Trial) -> None:
        """Hand the trial to an idle child, or to a new one."""
        child = self._idle.pop() if self._idle else self._started()
        if not child.take(study, trial):
            self._end(child)
            child = self._started()
            child.take(study, trial)
        self._busy.append(child)

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for the first child that is done, or gone."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._busy:
            left = None if until is None else max(0.0, until - time.monotonic())
            ready = wait([child.connection for child in self._busy], left)
            if not ready:
                return None
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

    def _started(self) -> Child:
        seat = self._vacant.pop(0)
        environment = child_environment(self._threads, self._places[seat])
        child = Child(self._evaluate, environment, self._limits)
        self._seats[child] = seat
        self._warden.watch(child)
        return child

    def _answered(self, child: Child) -> tuple[Trial, TrialResult] | None:
        trial = child.trial
        result = child.answer()
        if trial is None or result is None:
            return None
        self._busy.remove(child)
        result = signed(result, self._names[self._seats[child]])
        if child.alive:
            self._idle.append(child)
        else:
            self._end(child)
        return trial, result

    def _end(self, child: Child) -> None:
        self._warden.release(child)
        self._vacant.append(self._seats.pop(child))
        child.end()
