from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sweep_conformance import (
    LIMITS,
    NAMES,
    collected,
    failures,
    some_trials,
    trial_number,
)
from sweep_fakes import (
    HANGS,
    SMALL,
    bowl,
    deadly_bowl,
    device_or_death,
    environment_seen,
    faulty,
    read_records,
    small_study,
)
from sweep_launch import ended, mpiexec, wait_for

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.machine import usable_cores
from tomoatlas.sweep.executors import Limits, attempt, child, local
from tomoatlas.sweep.executors.child import CannotStart
from tomoatlas.sweep.executors.local import InlineExecutor, ProcessExecutor
from tomoatlas.sweep.executors.serve import THREAD_VARIABLES, worker_environment
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def on_inline() -> dict[str, str]:
    return failures(InlineExecutor(faulty), in_children=False)


@pytest.fixture(scope="module")
def on_processes() -> dict[str, str]:
    return failures(ProcessExecutor(2, faulty, LIMITS))


@pytest.fixture(scope="module")
def on_mpi() -> dict[str, str]:
    done = mpiexec(2, HERE / "sweep_conformance.py")
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


class TestConformance:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        "executor", ["inline", "processes", pytest.param("mpi", marks=pytest.mark.mpi)]
    )
    def test_executor(self, request: pytest.FixtureRequest, executor: str, name: str) -> None:
        found = request.getfixturevalue(f"on_{executor}")
        if name not in found:
            pytest.skip("nothing can end a trial in this process")
        assert not found[name], found[name]


def test_closing_kills_what_is_in_flight() -> None:
    study = small_study()
    executor = ProcessExecutor(2, faulty)
    for trial in some_trials(study, 2):
        executor.submit(study, trial)
    children = executor.pids
    assert len(children) == 2
    executor.close()
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_children_ignore_signals_for_the_whole_job() -> None:
    study = small_study()
    trial = trial_number(study, 0)
    with closing(ProcessExecutor(1, faulty, LIMITS)) as executor:
        executor.submit(study, trial)
        (child,) = executor.pids
        # At once, while the child has not yet come to ignoring them.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(child, number)
        assert collected(executor)[1].nrmse == bowl(study, trial).nrmse
        executor.submit(study, trial_number(study, HANGS))
        assert executor.collect(0.3) is None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(child, number)
        assert collected(executor)[1].error == "over its limit of 4 s"


def test_children_share_the_cores_and_the_parents_environment_is_left_alone() -> None:
    study = small_study()
    before = dict(os.environ)
    cores = usable_cores()
    with closing(ProcessExecutor(1, environment_seen)) as executor:
        executor.submit(study, some_trials(study, 1)[0])
        assert collected(executor)[1].error == ",".join([str(cores)] * len(THREAD_VARIABLES))
    assert dict(os.environ) == before


def test_each_child_has_its_own_place_which_its_successor_takes_over() -> None:
    study = small_study()
    places = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    with closing(ProcessExecutor(2, device_or_death, environments=places)) as executor:
        for trial in (trial_number(study, 1), trial_number(study, 0)):
            executor.submit(study, trial)
        first = {collected(executor)[1].error for _ in places}
        for trial in some_trials(study, 4)[2:]:
            executor.submit(study, trial)
        second = {collected(executor)[1].error for _ in places}
    assert first == {"the worker ended with SIGKILL", "1"}
    assert second == {"0", "1"}


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_a_failure(score: float) -> None:
    trial = trial_number(small_study(), 0)
    result = attempt(lambda *_: TrialResult(TrialStatus.OK, score), small_study(), trial, "cpu")
    assert (result.status, result.error) == (TrialStatus.FAILED, f"the score is {score}")


def test_a_result_without_the_score_of_its_study_is_a_failure() -> None:
    study = small_study(score='"haze"')
    trial = trial_number(study, 0)
    for haze, status in (({"Co": 0.1}, TrialStatus.OK), ({}, TrialStatus.FAILED)):
        scored = TrialResult(TrialStatus.OK, 0.4, haze=haze)
        assert attempt(lambda *_, scored=scored: scored, study, trial, "cpu").status is status


def test_a_child_joins_no_mpi_and_finds_the_same_modules() -> None:
    inherited = {
        "PATH": "/bin",
        "PMI_RANK": "3",
        "PMIX_NAMESPACE": "a",
        "OMPI_COMM_WORLD_SIZE": "9",
        "SLURM_PROCID": "3",
        "MPI_LOCALRANKID": "1",
        "OMP_NUM_THREADS": "64",
    }
    kept = worker_environment(2, {"CUDA_VISIBLE_DEVICES": "5"}, inherited)
    assert kept == {
        "PATH": "/bin",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CUDA_VISIBLE_DEVICES": "5",
        **dict.fromkeys(THREAD_VARIABLES, "2"),
    }


def test_a_child_that_died_while_idle_is_replaced() -> None:
    study = small_study()
    first, second = some_trials(study, 2)
    with closing(ProcessExecutor(1, faulty)) as executor:
        executor.submit(study, first)
        collected(executor)
        (child,) = executor.pids
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: ended(child))
        executor.submit(study, second)
        assert collected(executor)[1].nrmse == bowl(study, second).nrmse


def test_a_child_that_cannot_start_ends_the_run_at_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = small_study()
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    (tmp_path / "numpy.py").write_text("raise ImportError('a broken installation')")
    with closing(ProcessExecutor(1, faulty)) as executor:
        executor.submit(study, some_trials(study, 1)[0])
        with pytest.raises(CannotStart, match="cannot start, exit code 1"):
            executor.collect()


FEW = parse_study(
    SMALL.replace("trials = 6\ninitial = 3", 'trials = 2\ninitial = 2\nmethods = ["fused"]')
    + "[limits]\nretries = 0\n"
)


class Starts:
    """Starts of children, some of which fail: there is no room for one, or it ends at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, roomless: set[int], ends: set[int]) -> None:
        self.count = 0
        self._roomless, self._ends, self._start = roomless, ends, child.start_process
        monkeypatch.setattr(child, "start_process", self)
        monkeypatch.setattr(local, "PAUSE_SECONDS", 0.001)

    def __call__(self, pipes: Sequence[int], environment: Mapping[str, str]) -> child.Process:
        self.count += 1
        if self.count in self._roomless:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        if self.count in self._ends:
            return subprocess.Popen(["/bin/sh", "-c", "exit 1"], pass_fds=pipes)
        return self._start(pipes, environment)


@pytest.mark.parametrize("kind", ["roomless", "ends"])
def test_a_start_that_fails_is_tried_again_and_costs_no_trial(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    failing = {"roomless": set[int](), "ends": set[int](), kind: {2, 3}}
    starts = Starts(monkeypatch, **failing)
    executor = ProcessExecutor(1, deadly_bowl)
    summary = run(FEW, tmp_path / "run", executor)
    assert (summary.done, summary.failed, executor.slots) == (4, 2, 1)
    assert starts.count == 4
    errors = {record["error"] for record in read_records(tmp_path / "run" / "trials.jsonl")}
    assert errors == {None, "the worker ended with SIGKILL"}


def test_a_place_where_nothing_starts_any_more_is_given_up_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Starts(monkeypatch, roomless=set(range(2, 2 + local.STARTS)), ends=set())
    executor = ProcessExecutor(2, bowl)
    assert run(FEW, tmp_path / "run", executor).done == 4
    assert executor.slots == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: a worker process cannot start: Resource temporarily")
    assert line.endswith("workers left: 1")


def test_without_any_place_left_the_run_ends_and_leaves_no_file_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts = Starts(monkeypatch, roomless=set(range(100)), ends=set())
    study, before = small_study(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with closing(ProcessExecutor(2, faulty)) as executor:
        for trial in some_trials(study, 2):
            executor.submit(study, trial)
        with pytest.raises(CannotStart, match="Resource temporarily unavailable"):
            executor.collect()
    assert starts.count == 2 * local.STARTS
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - others' may be closed


def test_a_broken_installation_ends_the_run_without_a_second_try(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    starts, study = Starts(monkeypatch, roomless=set(), ends=set(range(100))), small_study()
    with closing(ProcessExecutor(2, faulty)) as executor:
        for trial in some_trials(study, 2):
            executor.submit(study, trial)
        with pytest.raises(CannotStart, match="exit code 1"):
            executor.collect()
    assert starts.count == 2
    assert capsys.readouterr().err == ""


def test_children_die_with_a_parent_that_is_killed_while_native_code_holds_the_lock() -> None:
    script = """
import os, signal
from sweep_conformance import trial_number
from sweep_fakes import deaf_and_dumb, small_study
from tomoatlas.sweep.executors.local import ProcessExecutor
executor = ProcessExecutor(1, deaf_and_dumb)
executor.submit(small_study(), trial_number(small_study(), 0))
executor.collect(30)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.kill()
        # The child holds the other end of the pipe; it ends with the last of them.
        assert parent.stdout.read() == b""


@pytest.mark.parametrize("limits", [{"seconds": 0.0}, {"seconds": -1.0}, {"memory_bytes": 0}])
def test_limits_are_positive(limits: dict[str, float]) -> None:
    with pytest.raises(BadInput) as refused:
        Limits(**limits)  # type: ignore[arg-type]
    assert [(refused.value.key, refused.value.value)] == list(limits.items())


def test_a_plain_run_starts_neither_mpi_nor_what_only_proposals_need() -> None:
    script = "import sys, tomoatlas.sweep.run.driver, tomoatlas.sweep.launchers\n"
    script += "import tomoatlas.sweep.executors.local\n"
    script += "unneeded = {'mpi4py', 'skopt', 'scipy.stats', 'tomoatlas.sweep.search.survey'}\n"
    script += "sys.exit(' '.join(unneeded & set(sys.modules)) or 0)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def test_the_working_folder_does_not_hide_modules_from_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", "/first", "/second"])
    found = worker_environment(1, environment={})["PYTHONPATH"].split(os.pathsep)
    assert found == ["/first", "/second", str(tmp_path)]
