from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_fakes import (
    SMALL,
    Atlas,
    ShuffledExecutor,
    atlas_of,
    bowl,
    failing_bowl,
    raising_bowl,
    read_records,
    small_study,
)
from sweep_launch import HANG_SECONDS, ended, lines, wait_for

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Weights
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.record.journal import Journal
from tomoatlas.sweep.run import Deadline
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.run.scheduler import Scheduler
from tomoatlas.sweep.search.propose import Scored, Space
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.identity import seed_from
from tomoatlas.sweep.study.trial import Record, Trial, TrialResult

HERE = Path(__file__).parent
QUICK = SMALL.replace("initial = 3", "initial = 5")


@pytest.fixture
def hashed_proposals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Proposals that change with everything they are told; the lengths of what that was."""
    calls: list[tuple[int, int]] = []

    def hashed(
        space: Space, told: Scored, pending: Sequence[Weights], seed: int, surrogate: str
    ) -> Weights:
        calls.append((len(told), len(pending)))
        known = [[w.haadf, w.tv, s] for w, s in told]
        mark = seed_from(known, [[w.haadf, w.tv] for w in pending], seed) / 2**63
        return Weights(**{n: low + mark * (high - low) for n, (low, high) in space.items()})

    monkeypatch.setattr("tomoatlas.sweep.search.propose", hashed)
    return calls


def undisturbed(study: Study, folder: Path) -> Atlas:
    run(study, folder, InlineExecutor(bowl))
    return atlas_of(folder / "trials.jsonl")


def test_a_run_does_every_trial_once(
    tmp_path: Path, hashed_proposals: list[tuple[int, int]]
) -> None:
    study = small_study()
    started: list[tuple[int, int]] = []
    seen: list[str] = []
    summary = run(
        study,
        tmp_path / "run",
        InlineExecutor(bowl),
        lambda trial, result: seen.append(trial.trial_id),
        lambda done, total: started.append((done, total)),
    )
    records = read_records(tmp_path / "run" / "trials.jsonl")
    assert (summary.total, summary.done, summary.failed, summary.resumed) == (24, 24, 0, 0)
    assert started == [(0, 24)]
    assert seen == [r["trial_id"] for r in records]
    assert len(set(seen)) == 24
    fused = [r for r in records if r["method"] == "fused" and r["cell"] == records[0]["cell"]]
    assert [r["number"] for r in fused] == list(range(6))


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    slots=st.integers(1, 9),
    seed=st.integers(0, 9),
    lag=st.integers(1, 8),
    initial=st.integers(1, 8),
)
def test_trials_do_not_depend_on_workers_or_order(
    tmp_path_factory: pytest.TempPathFactory,
    hashed_proposals: list[tuple[int, int]],
    slots: int,
    seed: int,
    lag: int,
    initial: int,
) -> None:
    study = small_study(trials=9, initial=initial, lag=lag)
    folder = tmp_path_factory.mktemp("runs")
    executor = ShuffledExecutor(slots, seed)
    run(study, folder / "shuffled", executor)
    assert atlas_of(folder / "shuffled" / "trials.jsonl") == undisturbed(study, folder / "one")
    assert executor.most <= slots
    assert executor.closed


@pytest.mark.parametrize("lag", [1, 3, 5])
def test_proposals_know_all_but_the_lag(
    tmp_path: Path, hashed_proposals: list[tuple[int, int]], lag: int
) -> None:
    study = small_study(trials=8, initial=2, lag=lag, methods='["fused"]')
    run(study, tmp_path / "run", ShuffledExecutor(16, 0))
    expected = [(max(0, t - lag + 1), min(t, lag - 1)) for t in range(2, 8)]
    assert sorted(hashed_proposals) == sorted(2 * expected)


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(kept=st.integers(0, 24), seed=st.integers(0, 9), torn=st.integers(0, 40))
def test_any_part_of_a_record_is_resumed_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory,
    hashed_proposals: list[tuple[int, int]],
    kept: int,
    seed: int,
    torn: int,
) -> None:
    study = small_study(trials=6, initial=3, lag=2)
    folder = tmp_path_factory.mktemp("runs")
    whole = undisturbed(study, folder / "one")
    lines = (folder / "one" / "trials.jsonl").read_bytes().splitlines(keepends=True)
    # What a killed run leaves: any prefix, of which trials in flight are missing, and a torn end.
    run(study, folder / "two", ShuffledExecutor(3, seed))
    partial = (folder / "two" / "trials.jsonl").read_bytes().splitlines(keepends=True)[:kept]
    (folder / "two" / "trials.jsonl").write_bytes(b"".join(partial) + lines[0][:torn])
    summary = run(study, folder / "two", ShuffledExecutor(3, seed + 1))
    assert summary.resumed == len(partial)
    assert atlas_of(folder / "two" / "trials.jsonl") == whole
    assert len(read_records(folder / "two" / "trials.jsonl")) == len(whole)


@pytest.mark.usefixtures("hashed_proposals")
def test_a_record_that_names_no_workers_is_resumed_to_the_same_end(tmp_path: Path) -> None:
    whole = undisturbed(small_study(), tmp_path / "run")
    journal = tmp_path / "run" / "trials.jsonl"
    old = [
        {k: v for k, v in r.items() if k not in ("worker", "host")} for r in read_records(journal)
    ]
    journal.write_text("".join(json.dumps(record) + "\n" for record in old[:10]))
    assert run(small_study(), tmp_path / "run", InlineExecutor(bowl)).resumed == 10
    assert atlas_of(journal) == whole
    assert [r.get("worker") for r in read_records(journal)] == [None] * 10 + ["0"] * 14


def test_a_grown_budget_goes_on_with_the_sequence(
    tmp_path: Path, hashed_proposals: list[tuple[int, int]]
) -> None:
    small, large = small_study(trials=5, initial=3), small_study(trials=8, initial=3)
    whole = undisturbed(large, tmp_path / "large")
    first = undisturbed(small, tmp_path / "grown")
    assert first < whole
    assert run(large, tmp_path / "grown", InlineExecutor(bowl)).resumed == len(first)
    assert atlas_of(tmp_path / "grown" / "trials.jsonl") == whole


def test_grown_axes_keep_all_trials_and_end_like_a_study_of_that_size(
    tmp_path: Path, hashed_proposals: list[tuple[int, int]]
) -> None:
    large = parse_study(SMALL.replace("[5, 9]", "[3, 5, 7, 9]").replace("trials = 6", "trials = 7"))
    whole = undisturbed(large, tmp_path / "large")
    first = undisturbed(small_study(), tmp_path / "grown")
    assert first < whole
    summary = run(large, tmp_path / "grown", ShuffledExecutor(3, 0))
    assert (summary.resumed, summary.done) == (24, len(whole))
    assert atlas_of(tmp_path / "grown" / "trials.jsonl") == whole


def test_results_that_are_there_together_share_one_write(
    tmp_path: Path, hashed_proposals: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    append = Journal.append

    def counted(journal: Journal, *records: Record) -> None:
        batches.append(len(records))
        append(journal, *records)

    monkeypatch.setattr(Journal, "append", counted)
    run(small_study(), tmp_path / "run", ShuffledExecutor(8, 0))
    assert sum(batches) == 24
    assert max(batches) == 8


def handed_out(scheduler: Scheduler, slots: int) -> list[Trial]:
    """What an executor of ``slots`` slots is given."""
    given: list[Trial] = []
    executor = ShuffledExecutor(slots, 0)
    executor.submit = lambda study, trial: given.append(trial)  # type: ignore[method-assign]
    scheduler.hand_out(executor, Deadline())
    return given


def test_trials_made_ahead_are_those_made_when_they_are_wanted() -> None:
    study = small_study(trials=6, initial=6)
    ahead, one = Scheduler(study), Scheduler(study)
    first = handed_out(ahead, 2)
    while ahead.make():
        pass
    assert ahead.made == ahead.total - 2
    made = [*first, *handed_out(ahead, ahead.total)]
    wanted = []
    while not one.finished:
        (trial,) = handed_out(one, 1)
        wanted.append(trial)
        one.take_in(trial, bowl(study, trial), final=True)
    assert set(made) == set(wanted)
    assert len(made) == len(wanted) == one.total


def test_failed_trials_are_recorded_and_the_run_goes_on(
    tmp_path: Path, hashed_proposals: list[tuple[int, int]]
) -> None:
    study = small_study()
    summary = run(study, tmp_path / "run", InlineExecutor(failing_bowl))
    assert (summary.done, summary.failed) == (24, 4)
    records = read_records(tmp_path / "run" / "trials.jsonl")
    failed = [r for r in records if r["status"] == "failed"]
    assert {(r["number"], r["nrmse"], r["error"]) for r in failed} == {(1, None, "diverged")}
    again = run(study, tmp_path / "run", InlineExecutor(raising_bowl))
    assert (again.done, again.failed, again.resumed) == (24, 4, 24)


class Interrupted(InlineExecutor):
    """Ctrl-C at the given trial."""

    closed = False

    def __init__(self, at: int) -> None:
        super().__init__(bowl)
        self._left = at

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        if self._left == 0:
            raise KeyboardInterrupt
        landed = super().collect(timeout)
        self._left -= landed is not None
        return landed

    def close(self) -> None:
        self.closed = True


def test_an_interruption_keeps_what_is_done(
    tmp_path: Path, hashed_proposals: list[tuple[int, int]]
) -> None:
    study = small_study()
    executor = Interrupted(7)
    summary = run(study, tmp_path / "run", executor)
    assert summary.interrupted
    assert (summary.done, executor.closed) == (7, True)
    assert not run(study, tmp_path / "run", InlineExecutor(bowl)).interrupted
    whole = undisturbed(study, tmp_path / "one")
    assert atlas_of(tmp_path / "run" / "trials.jsonl") == whole


def change(record: dict[str, object], **changes: object) -> str:
    return json.dumps(record | changes) + "\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"trial_id": "0" * 64},
        {"weights": {"haadf": 0.5, "tv": 0.5}},
    ],
)
def test_a_record_that_is_not_the_studys_is_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    study = small_study()
    executor = Interrupted(3)
    run(study, tmp_path, executor)
    journal = tmp_path / "trials.jsonl"
    record = read_records(journal)[0]
    before = change(record, **changes)
    journal.write_text(before)
    executor = Interrupted(3)
    with pytest.raises(BadInput) as refused:
        run(study, tmp_path, executor)
    assert (refused.value.key, refused.value.value) == ("trial_id", (record | changes)["trial_id"])
    assert executor.closed
    assert journal.read_text() == before


def test_a_refused_folder_closes_the_executor(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    executor = Interrupted(0)
    with pytest.raises(BadInput):
        run(small_study(), tmp_path / "file", executor)
    assert executor.closed


def start(
    folder: Path,
    evaluation: str,
    executor: str,
    stdout: int = subprocess.DEVNULL,
    text: str = QUICK,
) -> subprocess.Popen[bytes]:
    study = folder.parent / "study.toml"
    study.write_text(text)
    return subprocess.Popen(
        [sys.executable, HERE / "run_study.py", study, folder, evaluation, executor],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=stdout,
    )


@pytest.mark.parametrize("strategy", ["per-cell", "contextual"])
def test_a_study_started_on_three_killed_twice_and_finished_on_five_is_the_same(
    tmp_path: Path, strategy: str
) -> None:
    text = QUICK.replace("[search]", f'[search]\nstrategy = "{strategy}"\nlag = 2')
    study = parse_study(text)
    journal = tmp_path / "run" / "trials.jsonl"
    rng = random.Random(5)
    for executor in ("threads:3", "threads:3"):
        goal = lines(journal) + rng.randrange(1, 7)
        process = start(tmp_path / "run", "uneven_bowl", executor, text=text)
        wait_for(lambda p=process, g=goal: lines(journal) >= g or p.poll() is not None)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
    summary = run(study, tmp_path / "run", ShuffledExecutor(5, 1))
    assert summary.resumed >= 2
    whole = undisturbed(study, tmp_path / "one")
    assert len(read_records(journal)) == summary.total == len(whole)
    assert atlas_of(journal) == whole


def test_children_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    with start(tmp_path / "run", "endless_bowl", "processes", subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: ended(child))


def test_ctrl_c_ends_children_and_keeps_what_is_done(tmp_path: Path) -> None:
    journal = tmp_path / "run" / "trials.jsonl"
    # Slow trials: it must be in the middle of them when it is interrupted.
    process = start(tmp_path / "run", "slow_bowl", "processes")
    wait_for(lambda: lines(journal) >= 4 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=HANG_SECONDS) == 0
    done = lines(journal)
    assert 4 <= done < 24
    assert run(parse_study(QUICK), tmp_path / "run", InlineExecutor(bowl)).resumed == done


class CutShort(Journal):
    """Ctrl-C comes when the third batch of records is on the disk, before the driver knows."""

    calls = 0

    def append(self, *records: Record) -> None:
        super().append(*records)
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt


def test_an_interruption_just_after_writing_records_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoatlas.sweep.record.Journal", CutShort)
    summary = run(parse_study(QUICK), tmp_path, InlineExecutor(bowl))
    records = read_records(tmp_path / "trials.jsonl")
    assert summary.interrupted
    assert len({r["trial_id"] for r in records}) == len(records) == summary.done == 3


def test_a_folder_whose_records_are_refused_is_left_as_it_was(tmp_path: Path) -> None:
    run(parse_study(QUICK), tmp_path, InlineExecutor(bowl))
    journal = tmp_path / "trials.jsonl"
    journal.write_text(journal.read_text().replace('"trial_id": "', '"trial_id": "x'))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BadInput) as refused:
        run(parse_study(QUICK.replace("trials = 6", "trials = 7")), tmp_path, InlineExecutor(bowl))
    assert refused.value.key == "trial_id"
    assert str(refused.value.value).startswith("x")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
