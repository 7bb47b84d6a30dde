"""Executors of this machine: child processes, or this process itself.

A child that dies costs the trial it was evaluating, no more; in this process nothing is protected.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait

from ...recon_core.machine import usable_cores
from ..evaluate import clear_caches, evaluate
from ..study import Study
from ..study.trial import Trial, TrialResult
from . import Evaluate, Limits, attempt, signed
from .batches import SINGLY, Batching, Waiting
from .child import CannotStart, Child
from .serve import worker_environment

STARTS = 5
"""Starts in a row that fail in one slot before it is given up."""

PAUSE_SECONDS = 2.0
"""After a start that failed; twice as long after each further one in that slot."""


class Slots:
    """Numbered slots for children, with pauses after starts that fail.

    A start that fails is tried again if any child has ever started, or if the machine only had no
    room for a process. Otherwise the installation is broken: no child ever would start.

    Parameters
    ----------
    count : number of slots; it shrinks as slots are given up.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count))
        self._failures: Counter[int] = Counter()
        self._lost: list[CannotStart] = []
        self._warned = 0
        self._proven = False
        self._next_start = -math.inf

    @property
    def free(self) -> int:
        """Number of slots without a child that may be started now."""
        return len(self._free) if self.until_start() <= 0.0 else 0

    def take(self) -> int | None:
        """Take a free slot to start a child in now; None if there is none, or a pause lasts."""
        return self._free.pop(0) if self._free and self.until_start() <= 0.0 else None

    def release(self, slot: int) -> None:
        """Free the slot of a child that had started and has ended."""
        self._free.append(slot)

    def confirm(self, slot: int) -> None:
        """Note that a child has started."""
        self._proven = True
        self._failures.pop(slot, None)
        self._warn()

    def fail(self, slot: int, error: CannotStart) -> None:
        """Note that a child could not start: its slot is free again after a pause, or given up."""
        self._failures[slot] += 1
        if (self._proven or error.may_pass) and self._failures[slot] < STARTS:
            self._free.append(slot)
            # One pause for all slots: what is short, memory or processes, is short for all of them.
            self._next_start = time.monotonic() + PAUSE_SECONDS * 2 ** (self._failures[slot] - 1)
            return
        self.count -= 1
        self._lost.append(error)
        self._warn()

    def check(self) -> None:
        """Do nothing while there are slots.

        Raises
        ------
        CannotStart : all are given up.
        """
        if self._lost and not self.count:
            raise self._lost[-1]

    def until_start(self) -> float:
        """Seconds until a start may be tried; infinite if no slot is free."""
        return max(0.0, self._next_start - time.monotonic()) if self._free else math.inf

    def _warn(self) -> None:
        """Report lost slots. If no worker ever started, the final error is sufficient."""
        if self._proven and self.count:
            for error in self._lost[self._warned :]:
                print(f"warning: {error}; workers left: {self.count}", file=sys.stderr)
            self._warned = len(self._lost)


IDLE_SECONDS = 0.5
"""Longest time between two checks of all children; the most that a trial overruns its limit."""


class Watchdog:
    """A thread that kills children whose trial is over a limit.

    It is a thread of its own because the executor's owner may be busy, making proposals or
    writing, when a limit is reached. The set of children is replaced, never changed, so that the
    thread can go through it without a lock.
    """

    def __init__(self) -> None:
        self._children: frozenset[Child] = frozenset()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True, name="watchdog")
        self._thread.start()

    def watch(self, child: Child) -> None:
        """Check ``child`` from now on."""
        self._children |= {child}

    def release(self, child: Child) -> None:
        """Check ``child`` no more."""
        self._children -= {child}

    def stop(self) -> None:
        """End the thread; no child is checked any more when this returns."""
        self._stopped.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopped.wait(self._pause()):
            for child in self._children:
                child.check()

    def _pause(self) -> float:
        # Not 0: a child over its limit asks for no pause until its owner has taken in the verdict.
        return max(0.001, min([IDLE_SECONDS, *(c.until_check() for c in self._children)]))


class ProcessExecutor:
    """Evaluates trials in child processes, which stay warm between trials.

    A child that is killed, crashes or goes over its limits is replaced; the reason is in the result
    of its trial. One that cannot start is tried again a few times, then there is a slot less: its
    trial waits for another child. Children that take several trials at a time share out what waits;
    those of a child that dies or takes too long with several are evaluated singly.

    Parameters
    ----------
    workers : number of children; each is started with its first trial.
    evaluate : evaluates a trial; a function that can be imported by its name.
    limits : what a trial may take; by default the limits of its study.
    environments : for each worker the variables of its own, such as the mask of its device.
    threads : of each child; by default the workers share the cores evenly.
    names : of the workers; by default their numbers, from 0. A child that replaces another has its
        name, as it has its slot.
    device : name of what the children compute on.
    batching : how many trials a child takes at a time.

    Raises
    ------
    CannotStart : on :meth:`collect`, when no slot is left.
    """

    devices = ""

    def __init__(
        self,
        workers: int,
        evaluate: Evaluate = evaluate,
        limits: Limits | None = None,
        environments: Sequence[Mapping[str, str]] | None = None,
        threads: int | None = None,
        names: Sequence[str] | None = None,
        device: str = "cpu",
        batching: Batching = SINGLY,
    ) -> None:
        self._evaluate, self._limits, self._device = evaluate, limits, device
        self._batching = batching
        self._names = names or [str(number) for number in range(workers)]
        self._environments = environments or [{}] * workers
        self._slots = Slots(workers)
        self._threads = threads or max(1, usable_cores() // workers)
        self._idle: list[Child] = []
        self._busy: list[Child] = []
        self._waiting = Waiting(batching.size)
        self._found: deque[tuple[Trial, TrialResult]] = deque()
        self._slot_of: dict[Child, int] = {}
        self._watchdog = Watchdog()

    @property
    def slots(self) -> int:
        """Number of children that there can be, times the trials that each takes."""
        return self._slots.count * self._batching.size

    @property
    def trials_each(self) -> int:
        """Most trials that a child takes at a time."""
        return self._batching.size

    @property
    def pids(self) -> list[int]:
        """Ids of the child processes that there are now."""
        return [child.pid for child in self._slot_of]

    def submit(self, study: Study, trial: Trial) -> None:
        """Hand the trial to an idle child, or to a new one; with others, when it is collected."""
        self._waiting.add((study, trial))
        if self._batching.size == 1:
            self._place()

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for the first child that is done, or gone."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._busy or self._waiting or self._found:
            self._place()
            if self._found:
                return self._found.popleft()
            self._slots.check()
            ready = wait([child.connection for child in self._busy], self._pause(until))
            if not ready:
                if until is not None and time.monotonic() >= until:
                    return None
                continue
            self._take_in(next(c for c in self._busy if c.connection in ready))
        time.sleep(timeout or 0.0)
        return None

    def close(self) -> None:
        """Kill all children; results not collected are lost."""
        self._watchdog.stop()
        # Killed, not asked: a child may be in native code for minutes, and its trial counts no
        # more.
        for child in [*self._busy, *self._idle]:
            child.end()
        self._busy, self._idle, self._slot_of = [], [], {}
        self._waiting.clear()
        self._found.clear()

    def _pause(self, until: float | None) -> float | None:
        """Seconds to wait for a child: until time is up, or a waiting trial may get one started."""
        left = math.inf if until is None else max(0.0, until - time.monotonic())
        left = min(left, self._slots.until_start()) if self._waiting else left
        return left if math.isfinite(left) else None

    def _place(self) -> None:
        """Give waiting trials to idle children, and to new ones."""
        while self._waiting:
            # counted before one is taken: each gets an even share
            free = len(self._idle) + self._slots.free
            child = self._idle.pop() if self._idle else self._started()
            if child is None:
                return
            tasks = self._waiting.take(free)
            # Assume a new child is busy; its first answer reports a failed start.
            if child.take(tasks) or not child.proven:
                self._busy.append(child)
            else:
                self._waiting.put_back(tasks)
                self._slots.release(self._end(child))

    def _started(self) -> Child | None:
        slot = self._slots.take()
        if slot is None:
            return None
        environment = worker_environment(self._threads, self._environments[slot])
        try:
            together = self._batching.evaluate
            child = Child(self._evaluate, self._device, environment, self._limits, together)
        except CannotStart as error:
            self._slots.fail(slot, error)
            return None
        self._slot_of[child] = slot
        self._watchdog.watch(child)
        return child

    def _take_in(self, child: Child) -> None:
        """Take what a child has answered, and see what becomes of it."""
        tasks = child.tasks
        try:
            found = child.answer()
        except CannotStart as error:
            self._busy.remove(child)
            self._waiting.put_back(tasks)
            self._slots.fail(self._end(child), error)
            return
        slot = self._slot_of[child]
        if child.proven:
            self._slots.confirm(slot)
        self._found.extend((trial, signed(result, self._names[slot])) for trial, result in found)
        # It has more of its share to do, and answers each as it ends.
        if child.tasks and child.alive:
            return
        self._busy.remove(child)
        if child.alive:
            self._idle.append(child)
            return
        self._waiting.add_singly(child.tasks)
        self._slots.release(self._end(child))

    def _end(self, child: Child) -> int:
        """End a child; the slot that it had."""
        self._watchdog.release(child)
        child.end()
        return self._slot_of.pop(child)


class InlineExecutor:
    """Evaluates each trial in this process when it is collected.

    No limit is enforced here: for limits, and for a trial that may kill its process, use
    :class:`~tomoatlas.sweep.executors.local.ProcessExecutor` with one worker.

    Parameters
    ----------
    evaluate : evaluates a trial.
    device : name of what to compute on.
    """

    slots = 1
    devices = ""

    def __init__(self, evaluate: Evaluate = evaluate, device: str = "cpu") -> None:
        self._evaluate, self._device = evaluate, device
        self._queue: deque[tuple[Study, Trial]] = deque()

    def submit(self, study: Study, trial: Trial) -> None:
        """Keep the trial until it is collected."""
        self._queue.append((study, trial))

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Evaluate the trial submitted first, however long it takes; else wait ``timeout``."""
        if not self._queue:
            time.sleep(timeout or 0.0)
            return None
        study, trial = self._queue.popleft()
        return trial, signed(attempt(self._evaluate, study, trial, self._device), "0")

    def close(self) -> None:
        """Drop what was submitted, and the data kept for a next trial."""
        self._queue.clear()
        clear_caches()
