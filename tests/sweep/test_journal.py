from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.recon_core.errors import BadInput, Trouble
from tomoatlas.sweep.record.journal import KEPT, Journal, take_in
from tomoatlas.sweep.study.trial import Record

RECORDS = [{"trial_id": f"{i}", "error": "ü\n" * i, "nrmse": None} for i in range(4)]


def read_records(path: Path) -> list[Record]:
    with Journal(path) as journal:
        return journal.records()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "trials.jsonl"
    with Journal(path) as journal:
        for record in RECORDS:
            journal.append(record)
    return path


def test_what_was_appended_is_there_when_opened_again(journal: Path) -> None:
    with Journal(journal) as again:
        assert again.records() == RECORDS


def test_a_new_journal_is_empty(tmp_path: Path) -> None:
    with Journal(tmp_path / "none.jsonl") as journal:
        assert journal.records() == []


@given(cut=st.integers(0, 200))
def test_a_torn_end_loses_the_torn_record_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "trials.jsonl"
    with Journal(path) as journal:
        for record in RECORDS:
            journal.append(record)
    whole = path.read_bytes()[: max(0, path.stat().st_size - cut)]
    path.write_bytes(whole)
    complete = whole.count(b"\n") + (whole.rpartition(b"\n")[2].endswith(b"}"))
    with Journal(path) as journal:
        assert journal.records() == RECORDS[:complete]
        journal.append({"trial_id": "new"})
    assert read_records(path) == [*RECORDS[:complete], {"trial_id": "new"}]


@pytest.mark.parametrize("end", [b"", b'{"trial_id": "torn'])
def test_what_was_kept_without_an_end_hides_nothing_of_the_next_file(
    tmp_path: Path, end: bytes
) -> None:
    lines = [f'{{"trial_id": "{name}", "number": 0}}\n'.encode() for name in "ab"]
    for number, text in enumerate((lines[0].rstrip() if not end else lines[0] + end, lines[1])):
        (tmp_path / f"trials{KEPT}{number}.jsonl").write_bytes(text)
    with Journal(tmp_path / "trials.jsonl") as journal:
        assert take_in(journal) == 2
        assert [record["trial_id"] for record in journal.records()] == ["a", "b"]


@pytest.mark.parametrize("garbage", [b"\0" * 50, b'{"torn', b"7", b"", b"\xff\xfe", b"[1]"])
@pytest.mark.parametrize("line", [2, 4])
def test_a_line_that_is_no_record_is_stepped_over_and_stays(
    journal: Path, garbage: bytes, line: int
) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:line], garbage + b"\n", *lines[line:]])
    journal.write_bytes(damaged)
    with Journal(journal) as again:
        assert again.records() == RECORDS
        again.append({"trial_id": "new"})
    assert journal.read_bytes().startswith(damaged)
    assert read_records(journal) == [*RECORDS, {"trial_id": "new"}]


def test_zeros_and_marks_around_a_record_do_not_hide_it(journal: Path) -> None:
    first, *lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"\xef\xbb\xbf" + first + b"\0" * 4096 + b"".join(lines) + b"\0" * 99)
    assert read_records(journal) == RECORDS


def test_half_a_line_is_left_and_the_next_begins_anew(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write, calls = journal.read_bytes(), os.write, iter([1, 1, 0, 0])

    def fills(file: int, data: bytes) -> int:
        if next(calls):
            return write(file, data if len(data) < 30 else data[:30])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    new = [{"trial_id": "new"}, {"trial_id": "newer", "error": "x" * 40}, {"trial_id": "newest"}]
    with Journal(journal) as again:
        with monkeypatch.context() as patch:
            patch.setattr("tomoatlas.sweep.record.journal.os.write", fills)
            with pytest.raises(Trouble, match="No space"):
                again.append(*new)
        assert again.written == 1
        assert journal.read_bytes().startswith(before)
        again.append(*new[again.written :])
        again.append()
        assert again.written == 3
    assert read_records(journal) == [*RECORDS, *new]


def test_what_was_written_when_an_append_was_interrupted_counts(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: int) -> None:
        raise KeyboardInterrupt

    with Journal(journal) as again:
        with monkeypatch.context() as patch:
            patch.setattr("tomoatlas.sweep.record.journal.os.fsync", interrupted)
            with pytest.raises(KeyboardInterrupt):
                again.append({"trial_id": "new"})
        assert again.written == 1
        again.append({"trial_id": "newer"})
    assert read_records(journal) == [*RECORDS, {"trial_id": "new"}, {"trial_id": "newer"}]


def test_a_second_writer_is_refused_until_the_first_is_closed(journal: Path) -> None:
    with Journal(journal), pytest.raises(BadInput) as refused:
        Journal(journal)
    assert refused.value.source == journal
    with Journal(journal) as again:
        again.close()


def test_a_killed_writer_leaves_no_lock(journal: Path) -> None:
    script = f"""
import os, signal
from tomoatlas.sweep.record.journal import Journal
from tomoatlas.sweep.study.trial import Record
journal = Journal({str(journal)!r})
print("locked", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"locked\n"
        with pytest.raises(BadInput) as refused:
            Journal(journal)
        assert refused.value.source == journal
        writer.kill()
    Journal(journal).close()


def test_a_lock_is_waited_for(
    journal: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dying = Journal(journal)
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        dying.close()

    monkeypatch.setattr("tomoatlas.sweep.record.lock.time.sleep", sleep)
    Journal(journal, patience=180.0).close()
    assert sleeps == [1.0]
    assert "another run is writing here; waiting 180 s" in capsys.readouterr().err


@pytest.mark.parametrize(("writes", "kind"), [(True, BadInput), (False, Trouble)])
def test_a_lock_that_is_never_given_up_is_a_refusal_only_where_its_owner_lives(
    journal: Path, monkeypatch: pytest.MonkeyPatch, writes: bool, kind: type[Exception]
) -> None:
    with Journal(journal) as other:

        def sleep(seconds: float) -> None:
            other.append(*([{"trial_id": "x"}] if writes else []))

        monkeypatch.setattr("tomoatlas.sweep.record.lock.time.sleep", sleep)
        with pytest.raises(kind, match=str(journal)):
            Journal(journal, patience=0.01)


def test_numbers_that_json_cannot_hold_are_not_written(journal: Path) -> None:
    with Journal(journal) as again, pytest.raises(ValueError, match="JSON"):
        again.append({"nrmse": float("nan")})
    assert read_records(journal) == RECORDS


def test_a_full_disk_is_said_in_one_line(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal(journal) as again:
        monkeypatch.setattr("tomoatlas.sweep.record.journal.os.write", full)
        with pytest.raises(Trouble, match=r"trials\.jsonl: cannot be written: No space"):
            again.append({"trial_id": "new"})


def test_a_short_write_is_made_again_as_a_whole(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, lengths = os.write, iter([3, 1000])
    with Journal(journal) as again, monkeypatch.context() as patch:
        patch.setattr(
            "tomoatlas.sweep.record.journal.os.write",
            lambda file, data: write(file, data[: next(lengths)]),
        )
        again.append({"trial_id": "new"})
    assert read_records(journal)[-1] == {"trial_id": "new"}


def test_a_journal_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput) as refused:
        Journal(tmp_path / "file" / "trials.jsonl")
    assert refused.value.source == tmp_path / "file" / "trials.jsonl"
