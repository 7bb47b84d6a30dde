"""Journals that went wrong before a run or under it: nothing finished is lost, nothing refused."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from sweep_fakes import SMALL, atlas_of, bowl, raising_bowl, read_records, small_study

from tomoatlas.analysis.journal import JournalReader
from tomoatlas.recon_core.errors import BadInput, Trouble
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.record.journal import Journal, JournalLost
from tomoatlas.sweep.record.lock import FolderLock
from tomoatlas.sweep.record.merging import merge
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import load_study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult


def changed(line: str, changes: Mapping[str, object]) -> str:
    return json.dumps(json.loads(line) | changes)


DAMAGES: dict[str, dict[str, object]] = {
    "identity": {"trial_id": "0" * 64},
    "weights": {"weights": {"haadf": 0.5, "tv": 0.5}},
    "name of a weight": {"weights": {"hadf": 0.5}},
    "weight with the hash of 4": {"weights": {"haadf": 0.5, "tv": 2**63}},
    "infinite weight": {"weights": {"haadf": math.inf, "tv": 1.0}},
    "cell": {"cell": {"acquisition.haadf_tilts": 6}},
    "no cell": {"cell": None},
    "method": {"method": "fuse"},
    "number as text": {"number": "x"},
    "number true": {"number": True},
    "number of nothing": {"number": 10**9},
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_line_is_passed_over_reported_and_evaluated_again(
    tmp_path: Path, name: str
) -> None:
    study = small_study()
    notes: list[str] = []
    run(study, tmp_path, InlineExecutor(bowl))
    whole, journal = atlas_of(tmp_path / "trials.jsonl"), tmp_path / "trials.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    damaged = changed(first, DAMAGES[name]) + "\n"
    journal.write_text("".join([damaged, "\n", *rest]))
    summary = run(study, tmp_path, InlineExecutor(bowl), on_note=notes.append)
    assert (summary.resumed, summary.done, len(notes)) == (23, 24, 1)
    assert journal.read_text().startswith(damaged)
    (tmp_path / "sound").write_text(journal.read_text().removeprefix(damaged))
    assert atlas_of(tmp_path / "sound") == whole
    assert run(study, tmp_path, InlineExecutor(raising_bowl)).resumed == 24


@pytest.mark.parametrize("score", ["0.1", -5.0, True, 2.1, math.inf])
def test_a_score_that_is_none_counts_as_none(tmp_path: Path, score: object) -> None:
    study = small_study()
    run(study, tmp_path, InlineExecutor(bowl))
    journal = tmp_path / "trials.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([changed(first, {"nrmse": score}) + "\n", *rest]))
    notes: list[str] = []
    again = run(study, tmp_path, InlineExecutor(raising_bowl), on_note=notes.append)
    assert (again.done, again.failed, again.resumed, len(notes)) == (24, 1, 24, 1)
    assert len(JournalReader(tmp_path).notes) == 1


def test_texts_of_a_journal_are_printable_and_name_no_columns(tmp_path: Path) -> None:
    run(small_study(), tmp_path, InlineExecutor(bowl))
    journal = tmp_path / "trials.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    evil = {"host": "\x1b[2J", "nrmse_by_element": {"=cmd|' /C calc'!A0": 0.2, "Co": 0.3}}
    journal.write_text("".join([changed(first, evil) + "\n", *rest]))
    trials = JournalReader(tmp_path).trials
    assert trials["host"][0] == "\\x1b[2J"
    assert [name for name in trials if name.startswith("nrmse_")] == ["nrmse_Co"]


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "\u202eevil", " ", "x" * 1000, "\0"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_study(SMALL.replace('name = "small"', f"name = {json.dumps(name)}"))
    assert refused.value.key == "study.name"
    assert str(refused.value).isprintable()


NO_FILES: dict[str, Callable[[Path], object]] = {
    "device": lambda path: path.symlink_to("/dev/full"),
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("what", NO_FILES)
def test_a_journal_that_is_no_file_is_refused_by_all_who_read_it(tmp_path: Path, what: str) -> None:
    study, folder = small_study(), tmp_path / "run"
    run(study, folder, InlineExecutor(bowl))
    journal = folder / "trials.jsonl"
    journal.unlink()
    NO_FILES[what](journal)
    readers: tuple[Callable[[], object], ...] = (
        lambda: run(study, folder, InlineExecutor(raising_bowl)),
        lambda: JournalReader(folder),
        lambda: merge([folder], tmp_path / "merged"),
    )
    for read in readers:
        with pytest.raises(BadInput, match=r"trials\.jsonl"):
            read()
    assert not (tmp_path / "merged" / "trials.jsonl").exists()


def test_what_is_no_file_beside_a_journal_stops_no_run(tmp_path: Path) -> None:
    study = small_study()
    os.mkfifo(tmp_path / "runs.jsonl")
    os.mkfifo(tmp_path / "trials.kept-1.jsonl")
    assert run(study, tmp_path, InlineExecutor(bowl)).done == 24


@pytest.mark.parametrize("text", ["", "no TOML", SMALL.replace("5, 9", "5, 10")])
def test_a_study_changed_under_a_run_is_put_back_and_kept(tmp_path: Path, text: str) -> None:
    study, notes = small_study(), list[str]()
    file = tmp_path / "study.toml"

    def change(trial: Trial, result: TrialResult) -> None:
        file.unlink(missing_ok=True)
        if text:
            file.write_text(text)

    run(study, tmp_path, InlineExecutor(bowl), change, on_note=notes.append)
    assert load_study(file) == study
    (note,) = notes
    assert "was changed while this run wrote" in note
    assert [path.read_text() for path in tmp_path.glob("study.changed-*")] == [text] * bool(text)
    assert run(study, tmp_path, InlineExecutor(raising_bowl)).done == 24


@pytest.mark.parametrize("value", ["2026-11-29", "07:32:00", "1979-05-27T07:32:00Z"])
def test_a_date_is_neither_a_number_nor_a_text(value: str) -> None:
    for key, text in {
        "study.name": f"[study]\nname = {value}",
        "axes.acquisition.chemical_tilts": f'{SMALL}"acquisition.chemical_tilts" = [{value}]',
    }.items():
        with pytest.raises(BadInput, match="a text in quotes") as refused:
            parse_study(text)
        assert refused.value.key == key


@pytest.mark.parametrize(
    "text",
    ["[x]\na = " + "[" * 3000 + "]" * 3000, ".".join("a" * 500) + " = 1", "a = " + "9" * 5000],
)
def test_toml_that_no_reader_can_follow_is_refused(text: str) -> None:
    for damaged in (f"{SMALL}\n{text}", text):
        with pytest.raises(BadInput):
            parse_study(damaged)


def test_what_is_no_file_of_a_study_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(1 << 40)
    for name in ("pipe.toml", "large.toml"):
        with pytest.raises(BadInput):
            load_study(tmp_path / name)


def test_two_results_of_one_trial_are_named_and_the_first_counts(tmp_path: Path) -> None:
    study = small_study()
    notes: list[str] = []
    run(study, tmp_path, InlineExecutor(bowl))
    journal = tmp_path / "trials.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    same, other = lines[3], changed(lines[4], {"nrmse": 0.0001}) + "\n"
    journal.write_text("".join([*lines, same, other]))
    run(study, tmp_path, InlineExecutor(raising_bowl), on_note=notes.append)
    (note,) = notes
    assert "line 26" in note
    assert JournalReader(tmp_path).notes == (note,)
    assert JournalReader(tmp_path).trials["nrmse"].min() > 0.1


@pytest.mark.parametrize("place", [0, 40])
def test_a_carriage_return_in_a_line_hides_no_other_line(tmp_path: Path, place: int) -> None:
    study = small_study()
    run(study, tmp_path, InlineExecutor(bowl))
    journal = tmp_path / "trials.jsonl"
    first, *rest = journal.read_bytes().splitlines(keepends=True)
    torn = first[:place] + b"x\r" + first[place:]
    journal.write_bytes(torn + b"".join(rest))
    reader = JournalReader(tmp_path)
    assert len(reader.trials) == run(study, tmp_path, InlineExecutor(bowl)).resumed == 23
    assert reader.read()
    assert len(reader.trials) == 24


@pytest.mark.parametrize("how", ["removed", "replaced", "cut", "overwritten", "moved"])
def test_a_journal_changed_under_a_run_costs_no_result(tmp_path: Path, how: str) -> None:
    study, folder = small_study(), tmp_path / "run"
    run(study, tmp_path / "whole", InlineExecutor(bowl))
    whole = atlas_of(tmp_path / "whole" / "trials.jsonl")
    journal = folder / "trials.jsonl"
    done: list[Trial] = []

    def spoil(trial: Trial, result: TrialResult) -> None:
        done.append(trial)
        if len(done) != 9:
            return
        if how == "removed":
            journal.unlink()
        elif how == "replaced":
            (folder / "new").write_bytes(journal.read_bytes())
            (folder / "new").replace(journal)
        elif how == "cut":
            os.truncate(journal, journal.stat().st_size // 2)
        elif how == "overwritten":
            journal.write_bytes(b"x" * journal.stat().st_size)
        else:
            folder.rename(tmp_path / "moved")

    with pytest.raises(JournalLost) as lost:
        run(study, folder, InlineExecutor(bowl), spoil)
    (kept,) = folder.glob("*kept*")
    assert str(kept) in str(lost.value)
    assert str(journal) in str(lost.value)
    known = {trial.trial_id for trial in done}
    assert known <= {record["trial_id"] for record in read_records(kept)}
    notes: list[str] = []
    again = run(study, folder, InlineExecutor(bowl), on_note=notes.append)
    assert again.resumed >= len(done)
    assert atlas_of(journal) == whole
    assert not list(folder.glob("*kept*"))
    assert len(read_records(journal)) == 24


RUN = """
import fcntl, sys, time
from pathlib import Path
def flock(file, how):
    if {number}:
        raise OSError({number}, "No locks available")
fcntl.flock = flock
from sweep_fakes import bowl, small_study
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
def slow(study, trial, device="cpu"):
    time.sleep(0.02)
    return bowl(study, trial)
try:
    summary = run(small_study(), sys.argv[1], InlineExecutor(slow))
except BadInput as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("number", [errno.ENOLCK, 0])
def test_of_three_runs_at_once_without_working_locks_one_works(tmp_path: Path, number: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent)])}
    command = [sys.executable, "-c", RUN.format(number=number), str(tmp_path / "run")]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    said = [run.communicate(timeout=600)[0] for run in runs]
    codes = sorted(run.returncode for run in runs)
    # A run that starts when another has ended finds nothing to do.
    assert codes[0] == 0
    assert set(codes) <= {0, 2}
    assert all("another run is writing here (host" in line for line in said if line)
    assert len(read_records(tmp_path / "run" / "trials.jsonl")) == 24
    assert not list((tmp_path / "run").glob("*lock*"))


class Lockless:
    """A file system whose locks hold nothing."""

    @pytest.fixture(autouse=True)
    def _no_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def flock(file: int, how: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", flock)


class Clock:
    """A clock that sleeping moves on, and what happens at some of its times."""

    def __init__(self) -> None:
        self.at: dict[float, Callable[[], object]] = {}
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        for when in [when for when in self.at if when <= self._now]:
            self.at.pop(when)()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tomoatlas.sweep.record.lock.time", clock)
    return clock


class TestLockFile(Lockless):
    def test_the_holder_is_named_and_the_lock_goes_with_it(self, tmp_path: Path) -> None:
        path = tmp_path / "trials.jsonl"
        with Journal(path), pytest.raises(BadInput, match=f"process {os.getpid()}"):
            Journal(path)
        assert [file.name for file in tmp_path.iterdir()] == ["trials.jsonl"]
        Journal(path).close()

    def test_a_dead_process_of_this_node_holds_nothing(self, tmp_path: Path) -> None:
        holder = lock_of(tmp_path, process=2**22 + 1)
        Journal(tmp_path / "trials.jsonl").close()
        assert not holder.exists()

    def test_a_process_number_that_is_used_again_holds_nothing(self, tmp_path: Path) -> None:
        lock_of(tmp_path, process=os.getpid(), began="1")
        Journal(tmp_path / "trials.jsonl").close()

    def test_of_another_node_the_sign_of_life_decides(self, tmp_path: Path) -> None:
        lock_of(tmp_path, namespace="another", host="node7")
        with pytest.raises(BadInput, match=r"node7.*gives way 60 s after its last sign of life"):
            Journal(tmp_path / "trials.jsonl")

    @pytest.mark.parametrize(
        ("age", "watched"),
        [(20.0, 60.0), (61.0, 20.0), (1e7, 20.0), (-3600.0, 60.0), (-1e9, 60.0)],
        ids=["missed", "old", "clock set on", "clock set back", "out of the future"],
    )
    def test_a_holder_of_another_node_that_gives_no_sign_is_dead(
        self, tmp_path: Path, clock: Clock, age: float, watched: float
    ) -> None:
        holder = lock_of(tmp_path, namespace="another", host="node7")
        os.utime(holder, (0, time.time() - age))
        begun = clock.monotonic()
        Journal(tmp_path / "trials.jsonl").close()
        assert clock.monotonic() - begun == pytest.approx(watched, abs=1.0)
        assert not holder.exists()

    @pytest.mark.parametrize("age", [20.0, 61.0, 1e7, -3600.0, -1e9])
    def test_a_holder_of_another_node_that_gives_a_sign_is_alive_whatever_the_clock(
        self, tmp_path: Path, clock: Clock, age: float
    ) -> None:
        holder = lock_of(tmp_path, namespace="another", host="node7")
        os.utime(holder, (0, time.time() - age))
        clock.at[9.0] = lambda: os.utime(holder)
        with pytest.raises(BadInput, match="node7"):
            Journal(tmp_path / "trials.jsonl")
        assert holder.exists()

    def test_a_sign_that_grows_old_while_it_is_looked_at_is_waited_for_to_the_end(
        self, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        holder = lock_of(tmp_path, namespace="another", host="node7")
        looks = itertools.count(35.0, 0.7)
        monkeypatch.setattr(FolderLock, "_quiet", lambda lock: next(looks))
        Journal(tmp_path / "trials.jsonl").close()
        assert not holder.exists()

    def test_what_is_no_file_in_place_of_a_lock_holds_up_no_run(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        for make in (os.mkfifo, os.mkdir):
            holder = tmp_path / "trials.jsonl.lock"
            make(holder)
            os.utime(holder, (0, time.time() - 61.0))
            Journal(tmp_path / "trials.jsonl").close()
            assert not holder.exists()

    def test_half_a_lock_file_is_somebodys_unless_it_is_old(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        holder = tmp_path / "trials.jsonl.lock"
        holder.write_text('{"tok')
        with pytest.raises(BadInput) as refused:
            Journal(tmp_path / "trials.jsonl")
        assert refused.value.source == tmp_path / "trials.jsonl"
        os.utime(holder, (0, time.time() - 61.0))
        Journal(tmp_path / "trials.jsonl").close()

    def test_a_lock_that_another_run_has_taken_stops_the_first(self, tmp_path: Path) -> None:
        path = tmp_path / "trials.jsonl"
        with Journal(path) as journal:
            journal.append({"trial_id": "a"})
            lock_of(tmp_path, token="other", host="node7")
            with pytest.raises(JournalLost, match="node7"):
                journal.append({"trial_id": "b"})
        (kept,) = tmp_path.glob("*kept*")
        assert [record["trial_id"] for record in read_records(kept)] == ["a", "b"]
        assert (tmp_path / "trials.jsonl.lock").exists(), "it is the other's"

    def test_a_second_writer_is_noticed(self, tmp_path: Path) -> None:
        path = tmp_path / "trials.jsonl"
        with Journal(path) as journal:
            journal.append({"trial_id": "a"})
            with path.open("ab") as other:
                other.write(b"no record\n")
            journal.append({"trial_id": "b"})
            with path.open("ab") as other:
                other.write(b'{"trial_id": "c"}\n')
            with pytest.raises(Trouble, match=str(path)):
                journal.append({"trial_id": "d"})
        assert [record["trial_id"] for record in read_records(path)] == ["a", "b", "c", "d"]

    def test_a_line_that_another_writer_is_in_the_middle_of_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "trials.jsonl"
        path.write_bytes(b'{"trial_id": "a"}\n{"trial')
        with Journal(path) as journal, path.open("ab") as other:
            other.write(b'_id": "b"}\n')
            other.flush()
            journal.append({"trial_id": "c"})
        assert [record["trial_id"] for record in read_records(path)] == ["a", "b", "c"]


def lock_of(folder: Path, **changes: object) -> Path:
    """The lock file of somebody who differs from this process."""
    path = folder / "trials.jsonl"
    lock = folder / "trials.jsonl.lock"
    if not lock.exists():
        with Journal(path):
            holder = json.loads(lock.read_text())
    else:
        holder = json.loads(lock.read_text())
    lock.write_text(json.dumps(holder | changes))
    return lock
