"""The scheduler: which trials are finished, in flight and still to come, and which starts next."""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...recon_core.errors import BadInput
from ...recon_core.methods import Method, Weights
from ..estimate import DurationModel
from ..executors import Executor
from ..search import Search
from ..study import Study
from ..study.trial import Record, Trial, TrialResult, TrialStatus, is_final, to_record
from .deadline import Deadline

Made = tuple[Search, Trial]


class ReadyQueue:
    """Trials in the order in which they are to be started.

    One that is too long for the time left stands aside, and comes back when more is known. As long
    as nothing is known of a method, and nothing of it is under way, its shortest trial is started
    however long the estimate: that knows no device, and a trial can still be given up with the run.

    Parameters
    ----------
    pace : how long a trial will take.
    """

    def __init__(self, durations: DurationModel) -> None:
        self._pace = durations
        self._waiting: deque[Made] = deque()
        self._aside: list[Made] = []
        self._scouts: set[Trial] = set()
        self._out: Counter[Method] = Counter()
        self._news = True

    @property
    def waiting(self) -> int:
        """Trials in line, those aside left out."""
        return len(self._waiting)

    @property
    def aside(self) -> int:
        """Trials that were too long when their turn came."""
        return len(self._aside)

    def add(self, search: Search, trial: Trial) -> None:
        """Put a trial at the end."""
        self._waiting.append((search, trial))

    def start(self) -> Made:
        """The first trial, which is under way from now on."""
        search, trial = self._waiting.popleft()
        self._out[trial.method] += 1
        return search, trial

    def end(self, search: Search, trial: Trial, again: bool) -> None:
        """A trial has come back; ``again`` puts it in front of all."""
        self._out[trial.method] -= 1
        self._news = True
        if again:
            self._waiting.appendleft((search, trial))

    def startable(self, deadline: Deadline) -> bool:
        """Whether the first trial can be started now, once those that cannot are aside."""
        while self._waiting:
            if self._fits(self._waiting[0], deadline):
                return True
            self._aside.append(self._waiting.popleft())
            self._news = True
        return False

    def recall(self, deadline: Deadline) -> bool:
        """Put those back in line that may start by now; whether there are any."""
        if not self._news:
            return False
        self._news = False
        back = [made for made in self._aside if self._fits(made, deadline)] or self._chosen_scouts()
        gone = {trial for _, trial in back}
        self._aside = [made for made in self._aside if made[1] not in gone]
        self._waiting.extend(back)
        return bool(back)

    def _fits(self, made: Made, deadline: Deadline) -> bool:
        search, trial = made
        expected = self._pace.expected(search)
        return deadline.endless or trial in self._scouts or deadline.allows(expected)

    def _chosen_scouts(self) -> list[Made]:
        """The shortest trial of every method of which nothing is known or under way."""
        shortest: dict[Method, Made] = {}
        for search, trial in sorted(self._aside, key=lambda made: self._pace.expected(made[0])):
            if not (self._pace.knows(trial.method) or self._out[trial.method]):
                shortest.setdefault(trial.method, (search, trial))
        self._scouts.update(trial for _, trial in shortest.values())
        return list(shortest.values())


LAST_ROUNDS = 6
"""Trials left for every worker when the end decides the order: 4 are too late for it, 12 no better
(1,000 workers, trials of 4 to 100 s)."""

PORTIONS = 4
"""In which the map fills. The trials of a cell in one portion follow each other, so that a worker
finds the data of its last trial again: to simulate them takes as long as a trial on a GPU."""

Turn = tuple[float, int, Search]


class PriorityOrder:
    """The searchs whose next trial can be made, in order.

    Every search gets a portion of its trials before any gets its next, so that a run that ends
    early leaves an even map. In the last rounds the search with the most work left is next, so
    that no worker is left alone with a long row of long trials.

    Parameters
    ----------
    searchs : all; those of a cell in a row.
    seconds : expected time of a trial of a search.
    """

    def __init__(self, searches: Iterable[Search], seconds: Callable[[Search], float]) -> None:
        self._seconds, self._ending = seconds, False
        self._place = {search: i for i, search in enumerate(searches)}
        self._waiting: set[Search] = set()
        self._turns: list[Turn] = []
        for search in self._place:
            self.add(search)

    def add(self, search: Search) -> None:
        """Put a search in line, if its next trial can be made and it is not in line yet."""
        if search.ready and search not in self._waiting:
            self._waiting.add(search)
            heapq.heappush(self._turns, self._turn(search))

    def take(self) -> Search | None:
        """The search whose turn it is, out of line; None where all wait for results."""
        if not self._turns:
            return None
        search = heapq.heappop(self._turns)[-1]
        self._waiting.discard(search)
        return search

    def see(self, left: int, slots: int) -> None:
        """Take note of the trials still to be made and of the workers that there are for them."""
        if not self._ending and left <= LAST_ROUNDS * slots:
            self._ending = True
            self._turns = [self._turn(search) for search in self._waiting]
            heapq.heapify(self._turns)

    def _turn(self, search: Search) -> Turn:
        if self._ending:
            return -search.left * self._seconds(search), self._place[search], search
        return int(PORTIONS * search.progress), self._place[search], search


Key = tuple[object, Method]

Begun = tuple[Trial, float, float]
"""A trial in flight, the seconds that the run had left when it began, and those it should take."""

LEAST_LIMIT_SECONDS, LIMIT_MARGIN = 600.0, 20.0
"""The time limit of a trial where its study sets none: this long, or this many times what it should
take. A trial that hangs must not take the whole walltime of every job."""


@dataclass(frozen=True)
class Summary:
    """What a run leaves behind: trials in all, finished, of these failed and of earlier runs.

    ``drained``: it ended before the study did, for want of time or asked to.
    """

    total: int
    done: int
    failed: int
    resumed: int
    interrupted: bool = False
    drained: bool = False


class Scheduler:
    """Hands out the trials of a study, search by search in turn, and counts what returns.

    Trials can be made ahead of demand: what a trial is depends on the results before it in its
    search alone, so it is the same whenever it is made.

    Raises
    ------
    BadInput : a record that is none of the study's trials.
    """

    def __init__(self, study: Study, records: Iterable[Record] = ()) -> None:
        self._retries = study.limits.retries
        self._searches = {_key(search): search for search in searches(study)}
        self.total = sum(search.budget for search in self._searches.values())
        self.in_flight = self.done = self.failed = 0
        self._pace = DurationModel()
        self._attempts: Counter[tuple[Key, int]] = Counter()
        self._line = ReadyQueue(self._pace)
        self._begun: dict[tuple[Key, int], Begun] = {}
        for record in records:
            self._resume(record)
        self.resumed = self.done
        self._turns = PriorityOrder(self._searches.values(), self._pace.estimate)

    @property
    def finished(self) -> bool:
        """Whether every trial has its outcome."""
        return self.done >= self.total

    @property
    def made(self) -> int:
        """Trials made and not handed out yet."""
        return self._line.waiting

    def make(self) -> bool:
        """Make the next trial of the search whose turn it is; False where all wait for results."""
        search = self._turns.take()
        if search is None:
            return False
        self._line.add(search, search.next_trial())
        self._turns.add(search)
        return True

    def hand_out(self, executor: Executor, deadline: Deadline) -> None:
        """Submit trials until the executor is full, or all that is left must wait, or is too long.

        A trial that cannot end before the run must is left for the next run.
        """
        made = self.made + self._line.aside
        self._turns.see(self.total - self.done - self.in_flight - made, executor.slots)
        while self.in_flight < executor.slots and self.startable(deadline):
            search, trial = self._line.start()
            expected = self._pace.expected(search)
            executor.submit(_limited(search.study, expected), trial)
            self._begun[self._attempt_key(trial)] = trial, deadline.left, expected
            self.in_flight += 1

    def startable(self, deadline: Deadline) -> bool:
        """Whether a trial can be started now; the first of those made then is such a one."""
        while not (deadline.draining or self._line.startable(deadline)):
            if not (self.make() or self._line.recall(deadline)):
                return False
        return not deadline.draining

    def record(self, trial: Trial, result: TrialResult) -> Record:
        """The journal's record of what came back."""
        attempt = self._attempts[self._attempt_key(trial)] + 1
        again = result.status.may_be_chance and attempt <= self._retries
        return to_record(trial, result, attempt, final=not again)

    def take_in(self, trial: Trial, result: TrialResult, final: bool) -> None:
        """Count what came back of a trial that was handed out, or put it in line once more."""
        self.in_flight -= 1
        self._begun.pop(self._attempt_key(trial), None)
        search = self._searches[trial.cell.values, trial.method]
        self._attempts[self._attempt_key(trial)] += 1
        self._line.end(search, trial, again=not final)
        if not final:
            return
        ok = result.status is TrialStatus.OK
        self._count(search, trial.number, trial.weights, result.nrmse if ok else None)
        self._learn(search, result.seconds if ok else None)
        self._turns.add(search)

    def given_up(self, deadline: Deadline) -> list[tuple[Trial, TrialResult]]:
        """What becomes of the trials in flight when time is up: one that has had its time may hang.

        The others are no attempts; the next run makes them again.
        """
        spent = [(trial, left - deadline.left, due) for trial, left, due in self._begun.values()]
        return [(trial, _over(seconds)) for trial, seconds, due in spent if seconds >= due]

    def summary(self, interrupted: bool = False) -> Summary:
        """The counts so far."""
        drained = not interrupted and not self.finished
        return Summary(self.total, self.done, self.failed, self.resumed, interrupted, drained)

    def _attempt_key(self, trial: Trial) -> tuple[Key, int]:
        return (trial.cell.values, trial.method), trial.number

    def _resume(self, record: Record) -> None:
        try:
            key = tuple(record["cell"].items()), Method(record["method"])
            search, number = self._searches[key], int(record["number"])
            weights = Weights(**record["weights"])
            score = record["nrmse"] if record["status"] == TrialStatus.OK else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _foreign(record) from error
        known = search.trial(number, weights)
        if known.trial_id != record.get("trial_id"):
            raise _foreign(record)
        if number in search.scores:
            return
        self._attempts[key, number] += 1
        if is_final(record):
            self._count(search, number, weights, score)
            self._learn(search, None if score is None else record.get("seconds"))

    def _learn(self, search: Search, seconds: float | None) -> None:
        if seconds:
            self._pace.learn(search, seconds)

    def _count(self, search: Search, number: int, weights: Weights, score: float | None) -> None:
        ok = score is not None and math.isfinite(score)
        search.finish(number, weights, score if ok else None)
        self.done += 1
        self.failed += not ok


def searches(study: Study) -> list[Search]:
    """Every method in every cell, in the order of the cells."""
    at = [(cell, study.at(cell)) for cell in study.cells()]
    return [Search(there, cell, method) for cell, there in at for method in study.search.methods]


def _limited(study: Study, expected: float) -> Study:
    """The study of a trial with a time limit, its own or one that only a trial that hangs meets."""
    if study.limits.trial_seconds is not None:
        return study
    seconds = max(LEAST_LIMIT_SECONDS, LIMIT_MARGIN * expected)
    return study.model_copy(
        update={"limits": study.limits.model_copy(update={"trial_seconds": seconds})}
    )


def _over(seconds: float) -> TrialResult:
    error = f"given up when time was up, after {seconds:.0f} s"
    return TrialResult(TrialStatus.TIMEOUT, seconds=seconds, error=error)


def _key(search: Search) -> Key:
    return search.cell.values, search.method


def _foreign(record: Record) -> BadInput:
    return BadInput(
        "holds a trial that is not the study's",
        source="trials.jsonl",
        key="trial_id",
        value=record.get("trial_id"),
        accepted="the trials of this study and its data; otherwise a new folder",
    )
