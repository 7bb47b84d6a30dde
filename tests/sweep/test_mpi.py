from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from sweep_fakes import SMALL, atlas_of, bowl, read_records
from sweep_launch import (
    SCRIPT,
    Launcher,
    finished,
    group_is_gone,
    launcher,
    lines,
    mpiexec,
    open_mpi,
    rank_zero,
    wait_for,
)

from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.versions import REVISION

# Nothing in the designed part needs a proposal.
DESIGNED = SMALL.replace("initial = 3", "initial = 6")

pytestmark = pytest.mark.mpi


@pytest.fixture(params=[launcher, open_mpi], ids=["mpiexec", "open_mpi"])
def anywhere(request: pytest.FixtureRequest) -> Launcher:
    found: Launcher = request.param()
    return found


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(DESIGNED)
    return path


def test_all_ranks_evaluate_and_leave_nothing_behind(
    anywhere: Launcher, study: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "run" / "trials.jsonl"
    started = anywhere.start(3, SCRIPT, study, journal.parent, "whose_bowl", "mpi")
    done = finished(started)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: group_is_gone(started.pid))
    assert len({record["error"] for record in read_records(journal)}) == 3, "a child on each rank"
    (began,) = read_records(journal.with_name("runs.jsonl"))
    assert str(began["devices"]).startswith("3 CPU ranks (")
    run(parse_study(DESIGNED), tmp_path / "one", InlineExecutor(bowl))
    assert atlas_of(journal) == atlas_of(tmp_path / "one" / "trials.jsonl")


def test_an_mpi_without_matched_probes_will_do(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPI4PY_RC_RECV_MPROBE", "0")
    done = mpiexec(2, SCRIPT, study, tmp_path / "run", "bulky_bowl", "mpi")
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "run" / "trials.jsonl") == 24


def test_an_interrupted_run_leaves_with_its_code(
    anywhere: Launcher, study: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "run" / "trials.jsonl"
    started = anywhere.start(3, SCRIPT, study, tmp_path / "run", "slow_bowl", "mpi")
    wait_for(lambda: lines(journal) >= 2 or started.poll() is not None)
    os.kill(rank_zero(started), signal.SIGINT)
    done = finished(started)
    assert done.returncode == 130, done.stderr
    wait_for(lambda: group_is_gone(started.pid))
    assert 2 <= lines(journal) < 24


def test_a_refused_folder_ends_all_ranks(study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = mpiexec(2, SCRIPT, study, tmp_path / "file", "bowl", "mpi")
    assert done.returncode != 0
    assert "cannot be written" in done.stderr


def test_ranks_that_cannot_use_their_gpu_refuse_it_in_one_line(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    # Cupy may be installed here, a GPU is not what it then finds.
    (tmp_path / "cupy.py").write_text("raise ImportError('no cupy here')\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = ["-m", "tomoatlas", "run", study, "--out", tmp_path / "run", "-q", "--device"]
    done = mpiexec(2, *run, "cuda")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "ranks 0, 1: --device = 'cuda': cupy cannot be imported" in line
    assert not (tmp_path / "run").exists()


OTHER_CODE = """
import sys
from dataclasses import replace

from mpi4py import MPI
from tomoatlas.jobs.cli import main
from tomoatlas.sweep.executors.mpi import ranks

here = replace(ranks.provenance(), revision=ranks.provenance().revision + MPI.COMM_WORLD.Get_rank())
ranks.provenance = lambda: here
sys.exit(main(sys.argv[1:]))
"""


def test_ranks_of_another_revision_are_refused_in_one_line(study: Path, tmp_path: Path) -> None:
    script = tmp_path / "other_code.py"
    script.write_text(OTHER_CODE)
    done = mpiexec(2, script, "run", study, "--out", tmp_path / "run", "-q")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.count(f" on {os.uname().nodename}") == 2
    assert f"revision {REVISION}," in line
    assert f"revision {REVISION + 1}," in line
    assert not (tmp_path / "run").exists()
