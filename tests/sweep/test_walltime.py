"""Runs that end in time, and trials that are tried again."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_fakes import SMALL, atlas_of, bowl, read_records

from tomoatlas.analysis.journal import load_trials
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.estimate import OTHERS_MARGIN, OWN_MARGIN, DurationModel, trial_seconds
from tomoatlas.sweep.executors import Limits
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run import Deadline
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.run.scheduler import Scheduler, Summary
from tomoatlas.sweep.search import searches
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

DESIGNED = SMALL.replace("trials = 6\ninitial = 3", "trials = 6\ninitial = 6")
FUSED = DESIGNED.replace("[axes]", 'methods = ["fused"]\n[axes]')


class TimedExecutor:
    """``slots`` workers whose trials take ``seconds`` of a clock that only they move."""

    def __init__(self, slots: int, seconds: float, evaluate=bowl) -> None:
        self.slots, self._seconds, self._evaluate = slots, seconds, evaluate
        self.now = 0.0
        self.started: list[float] = []
        self.events: list[float] = []
        self._running: list[tuple[float, int, Study, Trial]] = []
        self.watch: Deadline | None = None
        self.drain_at = float("inf")

    def submit(self, study: Study, trial: Trial) -> None:
        self.started.append(self.now)
        entry = (self.now + self._seconds, len(self.started), study, trial)
        heapq.heappush(self._running, entry)

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        assert timeout is not None
        if not self._running or self._running[0][0] > self.now + timeout:
            self._advance(self.now + timeout)
            return None
        end, _, study, trial = heapq.heappop(self._running)
        self._advance(max(self.now, end))
        return trial, dataclasses.replace(self._evaluate(study, trial), seconds=self._seconds)

    def _advance(self, now: float) -> None:
        self.now = now
        if now >= self.drain_at and self.watch is not None:
            self.watch.drain()

    def close(self) -> None:
        pass


def timed(folder: Path, walltime: float, executor: TimedExecutor, text: str = DESIGNED) -> Summary:
    executor.watch = Deadline(walltime, clock=lambda: executor.now)
    return run(parse_study(text), folder, executor, deadline=executor.watch)


@given(seconds=st.floats(0.1, 50.0), walltime=st.floats(1.0, 300.0), slots=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_nothing_is_started_that_cannot_finish(
    tmp_path_factory: pytest.TempPathFactory, seconds: float, walltime: float, slots: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    executor = TimedExecutor(slots, seconds)
    summary = timed(folder, walltime, executor, FUSED)
    learnt = [start for start in executor.started if start >= seconds]
    assert all(start + seconds <= walltime + 1e-9 for start in learnt)
    assert executor.now <= walltime + 1e-9 or not summary.drained
    assert summary.drained == (summary.done < summary.total)
    finals = [r for r in read_records(folder / "trials.jsonl") if r["final"]]
    assert len(finals) == summary.done


def test_runs_cut_by_their_walltime_end_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    jobs = 0
    while timed(tmp_path / "cut", 20.0, TimedExecutor(3, 5.0), SMALL).drained:
        jobs += 1
        assert jobs < 20
    run(parse_study(SMALL), tmp_path / "whole", InlineExecutor(bowl))
    assert jobs >= 2
    assert atlas_of(tmp_path / "cut" / "trials.jsonl") == atlas_of(
        tmp_path / "whole" / "trials.jsonl"
    )


def test_a_trial_that_outlasts_the_run_is_given_up_in_time(tmp_path: Path) -> None:
    executor = TimedExecutor(2, 1000.0)
    summary = timed(tmp_path, 60.0, executor)
    assert (summary.done, summary.drained) == (0, True)
    assert 60.0 <= executor.now <= 61.0


LARGE = FUSED.replace("size = 16", "size = 512")
"""Trials of 28 and 29 minutes on one core, by the estimate."""


def test_an_estimate_that_is_far_off_keeps_no_study_from_starting(tmp_path: Path) -> None:
    executor = TimedExecutor(8, 60.0)
    summary = timed(tmp_path, 600.0, executor, LARGE)
    assert (summary.done, summary.drained) == (12, False)
    assert sorted(executor.started) == [0.0] + 8 * [60.0] + 3 * [120.0]


def test_of_each_unknown_method_one_trial_is_tried_the_shortest(tmp_path: Path) -> None:
    executor = TimedExecutor(99, 10_000.0)
    tried: list[Trial] = []
    executor.submit = lambda study, trial: (  # type: ignore[method-assign]
        tried.append(trial), TimedExecutor.submit(executor, study, trial)
    )[1]  # fmt: skip
    text = DESIGNED.replace("size = 16", "size = 512").replace("= [5, 9]", "= [9, 5]")
    summary = timed(tmp_path, 60.0, executor, text)
    assert (summary.done, summary.drained) == (0, True)
    assert 60.0 <= executor.now <= 61.0
    assert Counter(t.method for t in tried) == Counter(parse_study(text).search.methods)
    (fused,) = [t for t in tried if t.method is Method.FUSED]
    assert dict(fused.cell.values) == {"acquisition.haadf_tilts": 5}


def test_a_trial_that_is_tried_and_lost_is_tried_again(tmp_path: Path) -> None:
    executor = TimedExecutor(4, 10.0, Unlucky(1, TrialStatus.CRASHED, number=0))
    summary = timed(tmp_path, 600.0, executor, LARGE)
    assert (summary.done, summary.failed) == (12, 0)


def test_what_is_too_long_for_the_time_left_is_not_tried_once_it_is_known(tmp_path: Path) -> None:
    executor = TimedExecutor(2, 50.0)
    summary = timed(tmp_path, 120.0, executor, LARGE)
    assert executor.started == [0.0, 50.0, 50.0]
    assert (summary.done, summary.drained, executor.now) == (3, True, 100.0)


def test_asked_to_drain_it_keeps_what_is_in_flight_and_starts_no_more(tmp_path: Path) -> None:
    executor = TimedExecutor(2, 10.0)
    executor.drain_at = 25.0
    summary = timed(tmp_path, float("inf"), executor)
    assert max(executor.started) <= 25.0
    assert (summary.done, summary.drained, executor.now) == (6, True, 30.0)


def test_a_finished_study_is_not_drained(tmp_path: Path) -> None:
    executor = TimedExecutor(2, 1.0)
    executor.drain_at = 12.0
    summary = timed(tmp_path, 1000.0, executor)
    assert (summary.done, summary.drained) == (24, False)


def test_the_duration_is_the_estimate_until_something_is_known() -> None:
    study = parse_study(DESIGNED)
    first, *_, other = [s for s in searches(study) if s.method is Method.FUSED]
    ml = next(s for s in searches(study) if s.method is Method.ML)
    durations = DurationModel()
    estimates = {s: trial_seconds(s.study, s.method) for s in (first, other, ml)}
    assert durations.expected(other) == pytest.approx(OTHERS_MARGIN * estimates[other])
    durations.learn(first, 10 * estimates[first])
    durations.learn(first, 30 * estimates[first])
    assert durations.expected(first) == pytest.approx(OWN_MARGIN * 30 * estimates[first])
    assert durations.expected(other) == pytest.approx(OTHERS_MARGIN * 20 * estimates[other])
    assert durations.expected(ml) == pytest.approx(OTHERS_MARGIN * 20 * estimates[ml])
    durations.learn(ml, 2 * estimates[ml])
    other_ml = [s for s in searches(study) if s.method is Method.ML][1]
    expected = OTHERS_MARGIN * 2 * trial_seconds(other_ml.study, Method.ML)
    assert durations.expected(other_ml) == pytest.approx(expected)


def test_no_trial_lasts_longer_than_its_limit() -> None:
    search = searches(parse_study(DESIGNED + "[limits]\ntrial_seconds = 0.001\n"))[0]
    durations = DurationModel()
    durations.learn(search, 50.0)
    assert durations.expected(search) == 0.001


class Unlucky:
    """Ends the first ``times`` attempts of every trial ``number`` with ``status``."""

    def __init__(self, times: int, status: TrialStatus, number: int = 1) -> None:
        self._times, self._status, self._number = times, status, number
        self._tried: Counter[tuple[str, int]] = Counter()

    def __call__(self, study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
        self._tried[trial.trial_id, trial.number] += 1
        again = self._tried[trial.trial_id, trial.number] <= self._times
        if trial.number == self._number and again:
            return TrialResult(self._status, error="chance", seconds=1.0)
        return bowl(study, trial)


def limited(retries: int, **limits: object) -> Study:
    lines = "".join(f"{key} = {value}\n" for key, value in limits.items())
    return parse_study(f"{SMALL}[limits]\nretries = {retries}\n{lines}")


@pytest.mark.parametrize("status", [TrialStatus.CRASHED, TrialStatus.TIMEOUT])
def test_what_may_be_chance_is_tried_again_and_only_the_outcome_counts(
    tmp_path: Path, status: TrialStatus
) -> None:
    seen: list[Trial] = []
    executor = InlineExecutor(Unlucky(2, status))
    summary = run(limited(2), tmp_path / "run", executor, lambda t, _: seen.append(t))
    run(limited(2), tmp_path / "lucky", InlineExecutor(bowl))
    records = read_records(tmp_path / "run" / "trials.jsonl")
    assert (summary.done, summary.failed, len(seen), len(records)) == (24, 0, 24, 24 + 2 * 4)
    mine = [r for r in records if r["number"] == 1 and r["cell"] == records[0]["cell"]]
    fused = [r for r in mine if r["method"] == "fused"]
    assert [(r["attempt"], r["final"], r["status"]) for r in fused] == [
        (1, False, status), (2, False, status), (3, True, "ok"),
    ]  # fmt: skip
    journals = [tmp_path / name / "trials.jsonl" for name in ("run", "lucky")]
    finals, lucky = (load_trials(journal.parent) for journal in journals)
    columns = ["trial_id", "number", "status", "nrmse"]
    order = ["method", "acquisition.haadf_tilts", "number"]
    finals, lucky = (t.sort_values(order)[columns] for t in (finals, lucky))
    assert finals.reset_index(drop=True).equals(lucky.reset_index(drop=True))


def test_a_failure_of_the_trial_itself_is_not_tried_again(tmp_path: Path) -> None:
    summary = run(limited(3), tmp_path, InlineExecutor(Unlucky(9, TrialStatus.FAILED)))
    assert (summary.done, summary.failed) == (24, 4)
    assert len(read_records(tmp_path / "trials.jsonl")) == 24


def test_retries_end(tmp_path: Path) -> None:
    summary = run(limited(2), tmp_path, InlineExecutor(Unlucky(9, TrialStatus.CRASHED)))
    records = read_records(tmp_path / "trials.jsonl")
    assert (summary.done, summary.failed, len(records)) == (24, 4, 24 + 2 * 4)
    assert sum(r["final"] for r in records) == 24


@pytest.mark.parametrize("kept", range(1, 33, 5))
def test_a_resumed_run_knows_the_attempts_of_earlier_ones(tmp_path: Path, kept: int) -> None:
    study = limited(2)
    run(study, tmp_path, InlineExecutor(Unlucky(9, TrialStatus.CRASHED)))
    journal = tmp_path / "trials.jsonl"
    whole = {(r["trial_id"], r["number"], r["attempt"]) for r in read_records(journal)}
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:kept]))
    summary = run(study, tmp_path, InlineExecutor(Unlucky(9, TrialStatus.CRASHED)))
    records = read_records(journal)
    assert {(r["trial_id"], r["number"], r["attempt"]) for r in records} == whole
    assert len(records) == len(whole)
    assert summary.resumed == sum(r["final"] for r in records[:kept])


def test_fewer_retries_than_attempts_still_give_an_outcome(tmp_path: Path) -> None:
    run(limited(3), tmp_path, InlineExecutor(Unlucky(9, TrialStatus.CRASHED)))
    journal = tmp_path / "trials.jsonl"
    lines = [
        line for line in journal.read_bytes().splitlines(keepends=True) if b'"final": false' in line
    ]
    journal.write_bytes(b"".join(lines))
    summary = run(limited(0), tmp_path, InlineExecutor(bowl))
    assert (summary.done, summary.failed, summary.resumed) == (24, 0, 0)


def test_limits_are_no_part_of_a_trial_and_may_change(tmp_path: Path) -> None:
    plain, other = parse_study(SMALL), limited(5, trial_seconds=9.5, trial_memory_gb=2)
    assert plain.study_hash() == other.study_hash()
    first, same = ([s.next_trial() for s in searches(study)] for study in (plain, other))
    assert first == same
    assert other.limits.memory_bytes == 2 * 2**30
    run(plain, tmp_path, InlineExecutor(bowl))
    assert run(other, tmp_path, InlineExecutor(bowl)).resumed == 24
    assert parse_study((tmp_path / "study.toml").read_text()) == other


class Elastic(InlineExecutor):
    """Has no slots at first, and loses and regains them later."""

    def __init__(self) -> None:
        super().__init__(bowl)
        self._looks = 0

    @property
    def slots(self) -> int:  # type: ignore[override]
        return (self._looks // 3) % 2

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        self._looks += 1
        return super().collect(0.0)


def test_a_run_waits_for_workers_that_are_not_there_yet(tmp_path: Path) -> None:
    assert run(parse_study(DESIGNED), tmp_path, Elastic()).done == 24


class Late(TimedExecutor):
    """The last results land just when the time is up."""

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        if timeout and self._running and self.now < self._running[0][0] <= self.now + timeout:
            self._advance(self._running[0][0])
            return None
        return super().collect(timeout)


def test_results_that_land_as_time_runs_out_are_kept(tmp_path: Path) -> None:
    summary = timed(tmp_path, 30.0, Late(2, 30.0))
    assert (summary.done, summary.drained) == (2, True)


def test_a_trial_that_hangs_until_the_walltime_is_an_attempt_and_in_the_end_an_outcome(
    tmp_path: Path,
) -> None:
    first = timed(tmp_path, 60.0, TimedExecutor(2, 1000.0))
    second = timed(tmp_path, 60.0, TimedExecutor(2, 1000.0))
    records = read_records(tmp_path / "trials.jsonl")
    assert (first.done, second.done, second.failed) == (0, 2, 2)
    assert [(r["attempt"], r["final"], r["status"]) for r in records] == [
        *[(1, False, "timeout")] * 2, *[(2, True, "timeout")] * 2,
    ]  # fmt: skip
    assert records[0]["error"] == "given up when time was up, after 60 s"


def test_a_trial_that_was_not_given_its_time_is_no_attempt(tmp_path: Path) -> None:
    study = parse_study(DESIGNED)
    longest = max(OTHERS_MARGIN * trial_seconds(s.study, s.method) for s in searches(study))
    executor = TimedExecutor(2, 1000.0)
    executor.watch = Deadline(longest * 1.01, clock=lambda: executor.now)
    scheduler = Scheduler(study)
    scheduler.hand_out(executor, executor.watch)
    executor.now = longest / 1000
    assert scheduler.given_up(executor.watch) == []
    executor.now = longest * 1.01
    assert len(scheduler.given_up(executor.watch)) == 2


class Recording(InlineExecutor):
    def submit(self, study: Study, trial: Trial) -> None:
        self.limits = [*getattr(self, "limits", []), Limits.of(study)]
        super().submit(study, trial)


@pytest.mark.parametrize(
    ("limits", "slowest", "seconds"),
    [
        ("", 0.01, 600.0),
        ("", 100.0, 100.0 * OWN_MARGIN * 20),
        ("trial_seconds = 9.5\n", 100.0, 9.5),
    ],
)
def test_every_trial_has_a_time_limit(
    tmp_path: Path, limits: str, slowest: float, seconds: float
) -> None:
    text = FUSED.replace("[5, 9]", "[5]") + f"[limits]\nretries = 0\n{limits}"

    def timed_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
        return dataclasses.replace(bowl(study, trial), seconds=slowest)

    executor = Recording(timed_bowl)
    run(parse_study(text), tmp_path, executor)
    assert executor.limits[-1].seconds == pytest.approx(seconds)
    assert None not in {limit.seconds for limit in executor.limits}
