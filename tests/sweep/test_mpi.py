from __future__ import annotations

import os
import signal
import subprocess
import sys
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
from tomoatlas.sweep.study.trial import is_final
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


def test_tasks_of_srun_that_do_not_know_of_each_other_are_refused_in_one_line(
    study: Path, tmp_path: Path
) -> None:
    # srun without --mpi, where the site's default is none: every task is rank 0 of 1.
    tasks = [
        subprocess.Popen(
            [sys.executable, "-m", "tomoatlas", "run", study, "--out", tmp_path / "run"],
            env={**os.environ, "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "2")
    ]
    (said, silent) = [task.communicate()[1] for task in tasks]
    assert [task.returncode for task in tasks] == [2, 2]
    (line,) = said.splitlines()
    assert "SLURM_STEP_NUM_TASKS = 4: " in line
    assert "--mpi" in line
    assert not silent
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


FREEZING = """
import os, signal, subprocess, sys

from run_study import main
from tomoatlas.sweep.executors.mpi import manager, ranks, worker

manager.SILENCE_SECONDS, manager.FAREWELL_SECONDS, worker.BEAT_SECONDS = 3.0, 0.5, 0.2
thaw = sys.argv.pop()
receive = ranks.MpiTransport.receive

def freezing(transport, tag, source=None):
    message = receive(transport, tag, source)
    if transport.rank == 2 and tag == worker.Tag.TASK and message:
        ranks.MpiTransport.receive = receive
        subprocess.Popen(["sh", "-c", thaw, "sh", str(os.getpid()), f"{sys.argv[2]}/trials.jsonl"])
        os.kill(os.getpid(), signal.SIGSTOP)
    return message

ranks.MpiTransport.receive = freezing
main(*sys.argv[1:])
"""
LATE = "until grep -qs crashed $2; do kill -0 $1 || exit; sleep 0.05; done; kill -CONT $1"
"""A shell line that lets a process $1 go on when its trial has been given up in the journal $2."""


@pytest.mark.parametrize("thaw", [LATE, "true"], ids=["late", "never"])
def test_the_trial_of_a_frozen_rank_goes_elsewhere(
    thaw: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script, journal = tmp_path / "freezing.py", tmp_path / "run" / "trials.jsonl"
    script.write_text(FREEZING)
    done = mpiexec(3, script, study, journal.parent, "slow_bowl", "mpi", thaw)
    assert done.returncode == 0, done.stderr
    records = read_records(journal)
    finished = [record["trial_id"] for record in records if is_final(record)]
    assert len(finished) == len(set(finished)) == 24
    (given_up,) = (record for record in records if not is_final(record))
    assert (given_up["worker"], given_up["status"]) == ("2", "crashed")
    assert given_up["trial_id"] in finished
