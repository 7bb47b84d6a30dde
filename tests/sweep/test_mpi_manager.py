"""Rank 0 without MPI: its messages are carried by lists."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from sweep_conformance import some_trials
from sweep_fakes import faulty, small_study

from tomoatlas.sweep.executors.child import CannotStart
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.executors.mpi import manager
from tomoatlas.sweep.executors.mpi.manager import MpiExecutor
from tomoatlas.sweep.executors.mpi.worker import ManagerLost, Report, Tag, work
from tomoatlas.sweep.executors.serve import IGNORED_SIGNALS
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

STUDY = small_study()
SILENCE = manager.SILENCE_SECONDS
OK = TrialResult(TrialStatus.OK, nrmse=0.5)


class Lists:
    """The messages of rank 0 and its workers."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lost: set[int] = set()
        self.sent: list[tuple[int, int, Any]] = []
        self.came: dict[int, deque[tuple[int, Any]]] = {tag: deque() for tag in Tag}

    def send(self, to: int, tag: int, content: object) -> None:
        self.sent.append((to, tag, content))

    def receive(self, tag: int, source: int | None = None) -> tuple[int, Any] | None:
        return self.came[tag].popleft() if self.came[tag] else None

    def flush(self, seconds: float) -> bool:
        return True

    def tasks(self) -> dict[int, Trial]:
        return {to: content[0][1] for to, tag, content in self.sent if tag == Tag.TASK and content}


@pytest.fixture
def transport() -> Lists:
    return Lists(4)


@pytest.fixture
def executor(transport: Lists) -> MpiExecutor:
    executor = MpiExecutor(transport, InlineExecutor(faulty))  # type: ignore[arg-type]
    for trial in some_trials(STUDY, 3):
        executor.submit(STUDY, trial)
    return executor


def test_the_other_ranks_are_given_trials_first(executor: MpiExecutor, transport: Lists) -> None:
    assert set(transport.tasks()) == {1, 2, 3}
    assert executor.slots == 4
    assert executor.collect(0.0) is None


def test_a_rank_that_is_done_is_given_the_next_trial(
    executor: MpiExecutor, transport: Lists
) -> None:
    executor.submit(STUDY, some_trials(STUDY, 4)[3])
    own = executor.collect(0.0)
    assert own is not None, "rank 0 evaluates as well"
    assert own[1].worker == "0"
    transport.came[Tag.RESULT].append((2, Report(OK)))
    assert executor.collect(0.0) == (transport.tasks()[2], replace(OK, worker="2"))


def test_a_lost_rank_costs_its_trial_and_a_slot(executor: MpiExecutor, transport: Lists) -> None:
    transport.lost.add(2)
    finished = executor.collect(0.0)
    assert finished is not None
    assert finished[0] == transport.tasks()[2]
    assert (finished[1].status, finished[1].error) == (TrialStatus.CRASHED, "lost rank 2")
    assert finished[1].worker == "2"
    assert executor.slots == 3
    assert executor.collect(0.0) is None, "a loss is reported once"


def test_a_rank_lost_after_its_result_came_loses_nothing(
    executor: MpiExecutor, transport: Lists
) -> None:
    transport.came[Tag.RESULT].append((2, Report(OK)))
    transport.lost.add(2)
    assert executor.collect(0.0) == (transport.tasks()[2], replace(OK, worker="2"))
    assert executor.slots == 3
    assert executor.collect(0.0) is None


def test_results_that_came_together_all_count_before_a_rank_is_given_up(
    executor: MpiExecutor, transport: Lists
) -> None:
    transport.came[Tag.RESULT].extend([(1, Report(OK)), (2, Report(OK))])
    transport.lost.add(2)
    back = [executor.collect(0.0) for _ in range(2)]
    assert back == [(transport.tasks()[rank], replace(OK, worker=str(rank))) for rank in (1, 2)]
    assert executor.slots == 3
    assert executor.collect(0.0) is None


def test_a_rank_that_cannot_evaluate_passes_its_trial_on_and_is_given_nothing_more(
    executor: MpiExecutor, transport: Lists, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Report(None, fit=False, why="a worker process cannot start on node 7")
    handed_out = transport.tasks()
    transport.came[Tag.RESULT].append((1, broken))
    finished = executor.collect(0.0) or executor.collect(0.0)
    assert finished is not None, "rank 0 was idle"
    assert (finished[0], finished[1].status) == (handed_out[1], TrialStatus.OK)
    assert "rank 1 gets no more trials: a worker process cannot start on node 7" in (
        capsys.readouterr().err
    )
    for rank in (0, 2, 3):
        assert executor.slots > 0
        transport.came[Tag.RESULT].append((rank, broken))
    with pytest.raises(CannotStart, match="no rank"):
        [executor.collect(0.0) for _ in range(3)]
    assert executor.slots == 0


class Roomless(InlineExecutor):
    def collect(self, timeout: float | None = None) -> NoReturn:
        raise CannotStart("a worker process cannot start: no room", may_pass=True)


@pytest.mark.usefixtures("signals_restored")
def test_a_worker_that_cannot_start_a_child_says_so_and_waits_for_the_end() -> None:
    transport = Lists(2)
    transport.came[Tag.TASK].append((0, [(STUDY, some_trials(STUDY, 1)[0])]))
    transport.came[Tag.LEAVE].append((0, 0))
    receive = transport.receive
    transport.receive = lambda tag, source=None: (  # type: ignore[method-assign]
        receive(tag) or ((0, None) if tag == Tag.TASK and transport.sent else None)
    )
    work(transport, Roomless(faulty))  # type: ignore[arg-type]
    (_, tag, report), farewell = transport.sent
    assert (tag, report.result, report.fit) == (Tag.RESULT, None, False)
    assert "no room on " in report.why
    assert farewell[1] == Tag.CLOSED


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The manager's time, which passes when it is told to."""
    clock = SimpleNamespace(now=time.monotonic(), sleep=time.sleep)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(manager, "time", clock)
    return clock


@pytest.fixture
def watched(clock: SimpleNamespace, executor: MpiExecutor) -> Callable[[float], list[Any]]:
    """What comes back while the manager listens for so many seconds."""

    def listen(seconds: float) -> list[Any]:
        found = []
        for _ in range(round(2 * seconds)):
            clock.now += 0.5
            found += [executor.collect(0.0)]
        return [result for result in found if result]

    return listen


Watched = Callable[[float], list[Any]]


def test_a_frozen_rank_is_given_up_and_may_come_back(
    executor: MpiExecutor, transport: Lists, watched: Watched
) -> None:
    assert watched(SILENCE - 1) == []
    given_up = watched(5)
    assert [f[1].status for f in given_up] == [TrialStatus.CRASHED] * 3
    assert executor.slots == 1
    transport.came[Tag.RESULT].append((3, Report(OK)))
    assert watched(1) == [], "its trial has been given up"
    assert executor.slots == 2


def test_a_rank_that_gives_signs_of_life_is_waited_for(
    executor: MpiExecutor, transport: Lists, watched: Watched
) -> None:
    for _ in range(3):
        transport.came[Tag.ALIVE].extend([(1, None), (2, None)])
        back = watched(SILENCE - 2)
    assert back == []
    assert executor.slots == 3, "rank 3 was never heard"


def test_a_manager_that_was_frozen_itself_gives_nobody_up(
    executor: MpiExecutor, clock: SimpleNamespace, watched: Watched
) -> None:
    clock.now += 10 * SILENCE
    assert watched(SILENCE - 1) == []
    assert len(watched(5)) == 3


def test_closing_waits_for_farewells_and_names_the_silent(
    executor: MpiExecutor, transport: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "FAREWELL_SECONDS", 0.02)
    transport.lost.add(1)
    transport.came[Tag.CLOSED].append((2, None))
    executor.close()
    executor.close()
    assert executor.silent == {3}
    assert [to for to, tag, content in transport.sent if tag == Tag.TASK and content is None] == [
        2,
        3,
    ]
    executor.dismiss(4)
    assert [(to, code) for to, tag, code in transport.sent if tag == Tag.LEAVE] == [(2, 4), (3, 4)]


@pytest.fixture
def signals_restored() -> Iterator[None]:
    """A worker ignores signals; afterwards they work as before."""
    before = {number: signal.getsignal(number) for number in IGNORED_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_restored")
def test_a_worker_ends_when_the_run_does_or_it_is_left_alone() -> None:
    transport, worker = Lists(2), InlineExecutor(faulty)
    trial = some_trials(STUDY, 1)[0]
    transport.came[Tag.TASK].append((0, [(STUDY, trial)]))
    transport.came[Tag.LEAVE].append((0, 3))
    ended = deque([None, (0, None)])
    receive = transport.receive
    # The end is called when the result has been sent, and no sooner.
    transport.receive = lambda tag, source=None: (  # type: ignore[method-assign]
        receive(tag) or (ended.popleft() if tag == Tag.TASK and ended else None)
    )
    code = work(transport, worker)  # type: ignore[arg-type]
    assert code == 3, "that of rank 0"
    assert [(to, tag) for to, tag, _ in transport.sent] == [(0, Tag.RESULT), (0, Tag.CLOSED)]
    transport.lost.add(0)
    with pytest.raises(ManagerLost):
        work(transport, worker)  # type: ignore[arg-type]


class Several(InlineExecutor):
    """Takes three trials at a time."""

    trials_each = 3


def several(count: int) -> tuple[Lists, MpiExecutor]:
    """Three ranks that take three trials at most, and have been offered so many."""
    transport = Lists(3)
    executor = MpiExecutor(transport, Several(faulty))  # type: ignore[arg-type]
    for trial in some_trials(STUDY, count):
        executor.submit(STUDY, trial)
    assert transport.sent == [], "they are shared out when all are there"
    executor.collect(0.0)
    return transport, executor


def batches(transport: Lists) -> list[list[Trial]]:
    return [[t for _, t in content] for _, tag, content in transport.sent if tag == Tag.TASK]


@pytest.mark.parametrize(("count", "sizes"), [(9, [3, 3]), (6, [2, 2]), (4, [2, 1]), (2, [1, 1])])
def test_ranks_share_what_waits(count: int, sizes: list[int]) -> None:
    transport, executor = several(count)
    assert executor.slots == 9
    assert [len(batch) for batch in batches(transport)] == sizes


def test_a_rank_is_given_more_when_the_last_of_its_trials_has_ended() -> None:
    transport, executor = several(9)
    more = some_trials(STUDY, 10)[9]
    executor.submit(STUDY, more)
    had = batches(transport)[0]
    for place, trial in enumerate(had):
        assert len(batches(transport)) == 2
        transport.came[Tag.RESULT].append((2, Report(OK, trial=trial, left=2 - place)))
    found = [executor.collect(0.0) for _ in range(4)]
    assert [trial for trial, result in filter(None, found) if result.worker == "2"] == had
    assert batches(transport)[2:] == [[more]]


def test_a_rank_lost_with_several_trials_says_nothing_of_any() -> None:
    transport, executor = several(9)
    first, second = batches(transport)
    transport.lost.add(2)
    for place, trial in enumerate(second):
        transport.came[Tag.RESULT].append((1, Report(OK, trial=trial, left=2 - place)))
    found = [executor.collect(0.0) for _ in range(4)]
    assert executor.slots == 6
    assert not {trial for trial, _ in filter(None, found)} & set(first)
    assert batches(transport)[2:] == [[first[0]]], "singly"
    transport.lost.add(1)
    found = [executor.collect(0.0) for _ in range(9)]
    errors = {trial: result.error for trial, result in filter(None, found)}
    assert errors[first[0]] == "lost rank 1", "alone, it is to blame"
    assert errors[first[1]] is None
    assert errors[first[2]] is None


def test_a_rank_given_up_with_several_trials_is_used_when_it_has_ended_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport, executor = several(9)
    had = batches(transport)[0]
    with monkeypatch.context() as frozen:
        frozen.setattr(manager, "SILENCE_SECONDS", -1.0)
        executor.collect(0.0)
    assert executor.slots == 3
    for left in (2, 1, 0):
        transport.came[Tag.RESULT].append((2, Report(OK, trial=had[2 - left], left=left)))
        executor.collect(0.0)
        assert executor.slots == (3 if left else 6)
