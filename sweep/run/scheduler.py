"""Which trial starts next, and why.

A study is one search for each cell and method, and a search makes its trials one after another
(:mod:`tomoatlas.sweep.search`): what trial number 7 is depends on earlier results of its search,
not on when it is made or where it runs. So the order below decides when a study ends, and how even
its map is if it ends early, but never what is in it.

Whenever a worker is free, the first trial of the *ready* queue starts. The queue is filled so:

1. Retry. A trial that was lost by chance goes to the front (:meth:`Scheduler.take_in`).
2. Portions. When the queue is empty, the next search makes a trial (:meth:`Scheduler.make`). Each
   search gets a quarter of its trials before any gets its second quarter, so that a run that ends
   early leaves an even map; within a portion the searches go cell by cell, so that a worker finds
   the data of its last trial again. A search whose next trial needs a result that is still missing
   is passed over until it has come (:class:`PriorityOrder`).
3. Last rounds. When few trials per worker are left to be made, the search with the most work left
   goes first, so that no worker is left alone with a long row of long trials.
4. Deadline. A trial that is expected to outlast the run is *deferred* when its turn comes. Deferred
   trials are looked at again once a result has changed what is known of durations, and nothing
   else is ready. If no trial of a method has finished or is running, its shortest one starts
   anyway: the a-priori estimate ignores the device, and the trial can still be abandoned.
5. Draining. Nothing starts any more.

While all workers are busy the driver makes trials ahead, as many as there are workers, in this same
order. Making one and handing one out take O(log n) of the number of searches.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ...recon_core.methods import Method
from ..estimate import DurationModel
from ..executors import Executor, trials_each
from ..search import Search, key_of, recognised, searches
from ..search.plans import Plan, plans
from ..study import Study
from ..study.trial import (
    Cell,
    Record,
    Trial,
    TrialResult,
    TrialStatus,
    is_final,
    score_of,
    to_record,
)
from . import Deadline

LAST_ROUNDS = 6
"""Trials left for every worker when the end decides the order: 4 are too late for it, 12 no better
(1,000 workers, trials of 4 to 100 s)."""

PORTIONS = 4
"""In which the map fills. The trials of a cell in one portion follow each other, so that a worker
finds the data of its last trial again: to simulate them takes as long as a trial on a GPU."""

LEAST_LIMIT_SECONDS, LIMIT_MARGIN = 600.0, 20.0
"""The time limit of a trial where its study sets none: this long, or this many times its expected
duration. A trial that hangs must not take the whole walltime of every job."""


class PriorityOrder:
    """The plans that can make a trial now, in the order in which they shall.

    Parameters
    ----------
    plans : all; those of a cell in a row.
    seconds : expected duration of a trial of a search.
    """

    def __init__(self, plans: Iterable[Plan], seconds: Callable[[Search], float]) -> None:
        self._seconds, self._ending = seconds, False
        self._place = {plan: i for i, plan in enumerate(plans)}
        self._queued: set[Plan] = set()
        self._heap: list[tuple[float, int, Plan]] = []
        for plan in self._place:
            self.add(plan)

    def add(self, plan: Plan) -> None:
        """Queue a plan, if its next trial can be made and it is not queued yet."""
        if plan.ready and plan not in self._queued:
            self._queued.add(plan)
            heapq.heappush(self._heap, self._entry(plan))

    def take(self) -> Plan | None:
        """Remove the first plan and return it; None if all wait for results."""
        if not self._heap:
            return None
        plan = heapq.heappop(self._heap)[-1]
        self._queued.discard(plan)
        return plan

    def update(self, left: int, slots: int) -> None:
        """Begin the last rounds when it is time to.

        Parameters
        ----------
        left : number of trials still to be made.
        slots : number of workers.
        """
        if not self._ending and left <= LAST_ROUNDS * slots:
            self._ending = True
            self._heap = [self._entry(plan) for plan in self._queued]
            heapq.heapify(self._heap)

    def _entry(self, plan: Plan) -> tuple[float, int, Plan]:
        # No two plans have one place, so plans themselves are never compared.
        if self._ending:
            # One in the middle of its cells stands for all: which the next trial will be is not
            # known yet.
            middle = plan.searches[len(plan.searches) // 2]
            return -plan.left * self._seconds(middle), self._place[plan], plan
        return int(PORTIONS * plan.progress), self._place[plan], plan


@dataclass(frozen=True)
class Summary:
    """Counts of a run.

    Parameters
    ----------
    total : trials of the study, as far as is known.
    done : finished ones.
    failed : of these, without a score.
    resumed : of these, from earlier runs.
    interrupted : whether Ctrl-C ended the run.
    drained : whether it ended before the study did, because time was up or a signal asked for it.
    """

    total: int
    done: int
    failed: int
    resumed: int
    interrupted: bool = False
    drained: bool = False


@dataclass(frozen=True)
class Planned:
    """A trial that was made.

    Parameters
    ----------
    search : that made it.
    trial : to be evaluated.
    probe : whether it starts however long it may take, to learn how long its method takes.
    """

    search: Search
    trial: Trial
    probe: bool = False


@dataclass(frozen=True)
class Running:
    """A trial in flight.

    Parameters
    ----------
    plan : the trial.
    left : seconds that the run had left when it started.
    expected : seconds within which it should be back.
    """

    plan: Planned
    left: float
    expected: float


class ReadyQueue:
    """Trials that were made and have not started: those next in line, and those put aside.

    Parameters
    ----------
    durations : what is known of them, which decides which trials fit before the deadline.
    """

    def __init__(self, durations: DurationModel) -> None:
        self._durations = durations
        self._ready: deque[Planned] = deque()
        self._deferred: list[Planned] = []
        self._reconsider = True

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def waiting(self) -> int:
        """Number of trials, those put aside among them."""
        return len(self._ready) + len(self._deferred)

    def add(self, plan: Planned) -> None:
        """Queue a trial behind the others."""
        self._ready.append(plan)

    def retry(self, plan: Planned) -> None:
        """Queue a trial before all others."""
        self._ready.appendleft(plan)

    def take(self) -> Planned:
        """Remove the first trial and return it."""
        return self._ready.popleft()

    def reconsider(self) -> None:
        """Note that what is known of durations has changed, so that deferred trials may fit."""
        self._reconsider = True

    def defer(self, fits: Callable[[Planned], bool]) -> None:
        """Put aside trials at the front of the queue that would outlast the deadline.

        Parameters
        ----------
        fits : whether a trial ends before the deadline.
        """
        while self._ready and not fits(self._ready[0]):
            self._deferred.append(self._ready.popleft())
            self._reconsider = True

    def recall(self, fits: Callable[[Planned], bool], running: Collection[Trial]) -> bool:
        """Queue deferred trials that fit after all, or else a probe of each unknown method.

        Parameters
        ----------
        fits : whether a trial ends before the deadline.
        running : trials in flight.
        """
        if not self._reconsider:  # nothing has changed since the last look
            return False
        self._reconsider = False
        back = [plan for plan in self._deferred if fits(plan)] or self._probes(running)
        trials = {plan.trial for plan in back}
        self._deferred = [plan for plan in self._deferred if plan.trial not in trials]
        self._ready.extend(back)
        return bool(back)

    def _probes(self, running: Collection[Trial]) -> list[Planned]:
        """The shortest deferred trial of every method without a finished or running one."""
        durations, started = self._durations, {trial.method for trial in running}
        shortest: dict[Method, Planned] = {}
        for plan in sorted(self._deferred, key=lambda p: durations.expected(p.search)):
            method = plan.trial.method
            if not (durations.knows(method) or method in started):
                shortest.setdefault(method, Planned(plan.search, plan.trial, probe=True))
        return list(shortest.values())


class Scheduler:
    """Makes the trials of a study, hands them out in order, and counts what comes back.

    Parameters
    ----------
    study : with its axes.
    records : of earlier runs.
    cells : those whose trials are wanted; None for all.

    Raises
    ------
    BadInput : a record that is none of the study's trials.
    """

    def __init__(
        self, study: Study, records: Iterable[Record] = (), cells: Iterable[Cell] | None = None
    ) -> None:
        self._retries, self._score = study.limits.retries, study.search.score
        self._searches = {search.key: search for search in searches(study, cells)}
        self._plans = plans(list(self._searches.values()))
        self._plan_of = {search: plan for plan in self._plans for search in plan.searches}
        # Searches of one cell make all of their trials: only the others are asked again and again.
        self._surveys = [plan for plan in self._plans if not isinstance(plan, Search)]
        self._sure = sum(plan.budget for plan in self._plans if isinstance(plan, Search))
        self.done = self.failed = 0
        self._durations, self._each = DurationModel(), 1
        self._attempts: Counter[Trial] = Counter()
        self._queue = ReadyQueue(self._durations)
        self._running: dict[Trial, Running] = {}
        known, self._passed_over = recognised(self._searches, records)
        for search, trial, record in known:
            if not self._plan_of[search].knows(trial):
                self._resume(search, trial, record)
        self.resumed = self.done
        self._order = PriorityOrder(self._plans, self._durations.estimate)

    @property
    def total(self) -> int:
        """Trials of the study; at most so many, as long as a search may end by itself."""
        return self._sure + sum(survey.budget for survey in self._surveys)

    @property
    def expected(self) -> int:
        """Trials that the study will have had at its end, as far as can be said now."""
        return self._sure + sum(survey.likely for survey in self._surveys)

    @property
    def finished(self) -> bool:
        """Whether every trial has its outcome."""
        return self.done >= self.total

    @property
    def in_flight(self) -> int:
        """Number of trials that executors have now."""
        return len(self._running)

    @property
    def made(self) -> int:
        """Number of trials that are ready to start."""
        return len(self._queue)

    # What starts next.

    def hand_out(self, executor: Executor, deadline: Deadline) -> None:
        """Submit trials until the executor is full, or no further trial can start now."""
        self._each = trials_each(executor)
        made = self.in_flight + self._queue.waiting
        self._order.update(self.expected - self.done - made, executor.slots)
        while self.in_flight < executor.slots and self.startable(deadline):
            plan = self._queue.take()
            expected = self._durations.expected(plan.search)
            executor.submit(_limited(plan.search.study, expected), plan.trial)
            # it may have to wait for the others that its worker has
            self._running[plan.trial] = Running(plan, deadline.left, self._each * expected)

    def startable(self, deadline: Deadline) -> bool:
        """Bring a trial that can start now to the front of the queue; whether there is one."""

        def fits(plan: Planned) -> bool:
            if deadline.endless or plan.probe:
                return True
            return deadline.allows(self._each * self._durations.expected(plan.search))

        while not deadline.draining:
            self._queue.defer(fits)
            if self._queue:
                return True
            if not (self.make() or self._queue.recall(fits, self._running)):
                return False
        return False

    def make(self) -> bool:
        """Have the next plan make a trial and queue it; False if all plans wait."""
        while (plan := self._order.take()) is not None:
            trial = plan.next_trial()
            self._order.add(plan)
            if trial is not None:
                self._queue.add(Planned(self._searches[key_of(trial)], trial))
                return True
        return False

    # What has come back.

    def record(self, trial: Trial, result: TrialResult) -> Record:
        """The journal's record of a result, which says whether it is final."""
        attempt = self._attempts[trial] + 1
        again = result.status.may_be_chance and attempt <= self._retries
        return to_record(trial, result, attempt, final=not again)

    def take_in(self, trial: Trial, result: TrialResult, final: bool) -> None:
        """Count the result of a trial in flight, or queue the trial again.

        Parameters
        ----------
        trial : as it was handed out.
        result : of this attempt.
        final : whether it is the trial's outcome; otherwise the trial starts again, first of all.
        """
        plan = self._running.pop(trial).plan
        self._attempts[trial] += 1
        self._queue.reconsider()
        if not final:
            self._queue.retry(plan)
            return
        ok = result.status is TrialStatus.OK
        score, seconds = (score_of(self._score, result), result.seconds) if ok else (None, None)
        self._count(plan.search, trial, score, seconds)
        self._order.add(self._plan_of[plan.search])

    def given_up(self, deadline: Deadline) -> list[tuple[Trial, TrialResult]]:
        """Results of the trials in flight at the deadline that have had their expected time.

        Such a trial may hang: it has timed out. The others count as no attempt, and the next run
        makes them again.
        """
        left = deadline.left
        spent = ((trial, r.left - left, r.expected) for trial, r in self._running.items())
        return [(trial, _over(seconds)) for trial, seconds, due in spent if seconds >= due]

    def summary(self, interrupted: bool = False) -> Summary:
        """The counts so far."""
        drained = not interrupted and not self.finished
        return Summary(self.expected, self.done, self.failed, self.resumed, interrupted, drained)

    @property
    def notes(self) -> tuple[str, ...]:
        """What earlier runs left that is no trial of the study, in one sentence if any."""
        if not self._passed_over:
            return ()
        return (
            f"{self._passed_over} trials of the journal do not have the identity of their "
            "settings: passed over.",
        )

    def _resume(self, search: Search, trial: Trial, record: Record) -> None:
        self._attempts[trial] += 1
        if is_final(record):
            ok = record["status"] == TrialStatus.OK
            score = score_of(self._score, record) if ok else None
            self._count(search, trial, score, None if score is None else record.get("seconds"))

    def _count(
        self, search: Search, trial: Trial, score: float | None, seconds: float | None
    ) -> None:
        ok = score is not None and math.isfinite(score)
        self._plan_of[search].take_in(trial, score if ok else None)
        self.done += 1
        self.failed += not ok
        # A record without a duration would promise trials that take no time.
        if seconds:
            self._durations.learn(search, seconds)


def _limited(study: Study, expected: float) -> Study:
    """The study of a trial with a time limit: its own, or one that only a hanging trial meets."""
    if study.limits.trial_seconds is not None:
        return study
    seconds = max(LEAST_LIMIT_SECONDS, LIMIT_MARGIN * expected)
    return study.model_copy(
        update={"limits": study.limits.model_copy(update={"trial_seconds": seconds})}
    )


def _over(seconds: float) -> TrialResult:
    error = f"given up when time was up, after {seconds:.0f} s"
    return TrialResult(TrialStatus.TIMEOUT, seconds=seconds, error=error)
