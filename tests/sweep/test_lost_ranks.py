"""Ranks are killed, under an MPI that survives it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from sweep_fakes import HANGING, SMALL, read_records
from sweep_launch import (
    SCRIPT,
    finished,
    group_is_gone,
    lines,
    open_mpi,
    rank_processes,
    wait_for,
)

from tomoatlas.sweep.study.trial import is_final

pytestmark = pytest.mark.mpi

ULFM = ("--with-ft", "ulfm")


@pytest.mark.parametrize(("lost", "code", "done"), [((1, 3), 0, 24), ((0,), 1, None)])
def test_a_run_survives_its_workers_and_ends_without_its_manager(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: tuple[int, ...],
    code: int,
    done: int | None,
) -> None:
    study, journal = tmp_path / "study.toml", tmp_path / "run" / "trials.jsonl"
    study.write_text(SMALL.replace("initial = 3", "initial = 6"))
    monkeypatch.setenv(HANGING, str(tmp_path))
    command = SCRIPT, study, journal.parent, "hanging_bowl", "mpi"
    started = open_mpi().start(4, *command, options=ULFM)
    wait_for(lambda: len(rank_processes(started)) == 4 or started.poll() is not None)
    ranks = rank_processes(started)
    busy = [tmp_path / str(ranks[rank]) for rank in lost]
    for called in busy:
        called.touch()
    for called in busy:
        hangs = called.with_suffix(".hangs")
        wait_for(lambda hangs=hangs: hangs.exists() or started.poll() is not None)
    wait_for(lambda: lines(journal) >= 3 or started.poll() is not None)
    for rank in lost:
        os.kill(ranks[rank], signal.SIGKILL)
    ended = finished(started)
    assert ended.returncode == code, ended.stderr
    wait_for(lambda: group_is_gone(started.pid))
    records = read_records(journal)
    assert done is None or len([r for r in records if is_final(r)]) == done
    again = {record["error"] for record in records if not is_final(record)}
    assert again == ({f"lost rank {rank}" for rank in lost} if done else set())
