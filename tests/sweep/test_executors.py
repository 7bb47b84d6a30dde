from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sweep_conformance import CHECKS, collected, some_trials
from sweep_fakes import (
    EVALUATIONS,
    SMALL,
    deadly_bowl,
    environment_seen,
    raising_bowl,
    small_study,
    weights_seen,
)

from sweep.driver import run
from sweep.executors.inline import InlineExecutor
from sweep.executors.launch import launched_under_mpi
from sweep.executors.processes import THREAD_VARIABLES, ProcessExecutor
from sweep.journal import read_records
from sweep.trial import TrialStatus

HERE = Path(__file__).parent
Check = Callable[[str], None]


def mpiexec(ranks: int, *command: object) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name("mpiexec")
    program = str(beside) if beside.exists() else shutil.which("mpiexec")
    if program is None:
        pytest.skip("no mpiexec beside the interpreter or on PATH: install the extra `mpi`")
    return subprocess.run(
        [program, "-n", str(ranks), sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def on_ranks() -> dict[str, str]:
    done = mpiexec(3, HERE / "sweep_conformance.py")
    assert done.returncode == 0, done.stderr
    failures: dict[str, str] = json.loads(done.stdout)
    return failures


@pytest.fixture(params=["inline", "processes", pytest.param("mpi", marks=pytest.mark.mpi)])
def conform(request: pytest.FixtureRequest) -> Iterator[Check]:
    def check(name: str) -> None:
        if request.param == "mpi":
            failures = request.getfixturevalue("on_ranks")
            assert not failures[name], failures[name]
            return
        function, evaluation = CHECKS[name]
        evaluate = EVALUATIONS[evaluation]
        inline = request.param == "inline"
        executor = InlineExecutor(evaluate) if inline else ProcessExecutor(3, evaluate)
        with closing(executor):
            function(executor)

    return check


class TestConformance:
    @pytest.mark.parametrize("name", CHECKS)
    def test_executor(self, conform: Check, name: str) -> None:
        conform(name)


def test_a_killed_child_costs_its_own_trial_and_is_replaced(tmp_path: Path) -> None:
    study = small_study(trials=3, initial=3, methods='["fused"]')
    summary = run(study, tmp_path / "run", ProcessExecutor(2, deadly_bowl))
    assert (summary.done, summary.failed) == (6, 2)
    crashed = [
        r for r in read_records(tmp_path / "run" / "trials.jsonl") if r["status"] == "crashed"
    ]
    assert {(r["number"], r["error"]) for r in crashed} == {(1, "the worker ended with SIGKILL")}


def test_an_evaluation_that_raises_is_a_crash(capfd: pytest.CaptureFixture[str]) -> None:
    study = small_study()
    trial = some_trials(study, 1)[0]
    with closing(ProcessExecutor(1, raising_bowl)) as executor:
        executor.submit(study, trial)
        result = collected(executor)[1]
    assert result.status is TrialStatus.CRASHED
    assert result.error == "the worker ended with exit code 1"
    assert "an evaluation that raises" in capfd.readouterr().err


def test_children_share_the_cores_and_the_parents_environment_is_left_alone() -> None:
    study = small_study()
    before = dict(os.environ)
    cores = len(os.sched_getaffinity(0))
    with closing(ProcessExecutor(1, environment_seen)) as executor:
        executor.submit(study, some_trials(study, 1)[0])
        assert collected(executor)[1].error == ",".join([str(cores)] * len(THREAD_VARIABLES))
    assert dict(os.environ) == before


def test_a_child_that_died_while_idle_is_replaced() -> None:
    study = small_study()
    first, second = some_trials(study, 2)
    with closing(ProcessExecutor(1, weights_seen)) as executor:
        executor.submit(study, first)
        executor.collect()
        executor._idle[0]._process.kill()
        executor._idle[0]._process.join()
        executor.submit(study, second)
        trial, result = collected(executor)
    assert trial == second
    assert result.nrmse == weights_seen(study, second).nrmse


def test_a_child_that_cannot_start_ends_the_run_at_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study()
    with closing(ProcessExecutor(1, weights_seen)) as executor:
        monkeypatch.setattr("sys.path", [])
        executor.submit(study, some_trials(study, 1)[0])
        with pytest.raises(RuntimeError, match="cannot start"):
            executor.collect()


def test_closing_kills_what_is_in_flight() -> None:
    study = small_study()
    executor = ProcessExecutor(2, weights_seen)
    for trial in some_trials(study, 2):
        executor.submit(study, trial)
    children = [worker._process.pid for worker in executor._busy]
    executor.close()
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@pytest.mark.mpi
def test_a_rank_that_fails_ends_all_ranks(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(SMALL)
    script = HERE / "run_study.py"
    done = mpiexec(2, script, tmp_path / "study.toml", tmp_path / "run", "raising_bowl", "mpi")
    assert done.returncode != 0
    assert "an evaluation that raises" in done.stderr


@pytest.mark.mpi
def test_a_refused_folder_ends_all_ranks(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(SMALL)
    (tmp_path / "file").touch()
    script = HERE / "run_study.py"
    done = mpiexec(2, script, tmp_path / "study.toml", tmp_path / "file", "bowl", "mpi")
    assert done.returncode != 0
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, False),
        ({"PMI_RANK": "0", "PMI_SIZE": "3"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1"}, True),
        ({"PMIX_RANK": "0"}, True),
        ({"PALS_RANKID": "5"}, True),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, False),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "0"}, True),
        ({"PMI_SIZE": "many"}, False),
    ],
)
def test_mpi_is_told_from_the_environment(environment: dict[str, str], several: bool) -> None:
    assert launched_under_mpi(environment) is several


def test_a_plain_run_starts_neither_mpi_nor_what_only_proposals_need() -> None:
    script = "import sys, sweep.driver, sweep.executors.processes, sweep.executors.launch\n"
    script += "sys.exit(' '.join({'mpi4py', 'skopt', 'scipy.stats'} & set(sys.modules)) or 0)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
