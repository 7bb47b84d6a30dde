from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, get_args

import pytest

from tomoatlas.jobs import run as running
from tomoatlas.jobs.batch import SCHEDULERS, SchedulerName
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.exits import SignalHandler
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.executors.child import CannotStart
from tomoatlas.sweep.executors.local import InlineExecutor


@pytest.mark.parametrize(("option", "value"), [("--dask", "local"), ("--executor", "dask")])
def test_a_dask_cluster_without_dask_is_refused_in_one_line(
    option: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Callable[..., BadInput],
) -> None:
    monkeypatch.delitem(sys.modules, "tomoatlas.sweep.executors.dask", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    error = refusal("run", "quickstart", "--out", tmp_path / "run", option, value)
    assert (error.key, error.value) == (option, value)
    assert "tomoatlas[dask]" in str(error.accepted)
    assert not (tmp_path / "run").exists()


def test_a_dask_scheduler_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., BadInput]
) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr("tomoatlas.sweep.executors.dask.CONNECT_SECONDS", 0.5)
    error = refusal("run", "quickstart", "--out", tmp_path / "run", "--dask", "127.0.0.1:9")
    assert (error.key, error.value) == ("--dask", "127.0.0.1:9")
    assert error.accepted


def test_a_site_may_name_every_scheduler() -> None:
    assert set(get_args(SchedulerName)) == set(SCHEDULERS)


def test_only_a_job_of_a_scheduler_waits_for_the_lock() -> None:
    assert running.lock_patience({}) == 0.0
    for scheduler in SCHEDULERS.values():
        job = {scheduler.job_id: "12", scheduler.folder: "/home/a"}
        assert running.lock_patience(job) == 180.0
    assert running.lock_patience({"JOB_ID": "12"}) == 0.0, "a name that others use too"


class Broken(InlineExecutor):
    def collect(self, timeout: float | None = None) -> NoReturn:
        raise CannotStart("a worker process cannot start, exit code 1")


def test_workers_that_cannot_start_end_the_run_in_one_line_and_with_its_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def broken(*args: object) -> Iterator[Broken]:
        yield Broken()

    monkeypatch.setattr(running, "executor_of", broken)
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "-q"]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "run: a worker process cannot start, exit code 1; finished trials are kept" in line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("wrong"), 2),
        (CannotStart("nothing starts"), 5),
        (OSError(errno.EIO, "Input/output error"), 5),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError(), 1),
    ],
)
def test_every_error_of_a_rank_is_printed_and_has_a_code_before_mpi_ends(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> NoReturn:
        raise error

    assert running.rank_exit_code(fail, SignalHandler()) == code
    assert bool(capsys.readouterr().err) == (code != 130)


@pytest.fixture
def job_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of Slurm, 77, whose time is up."""
    for name in ("SLURM_JOB_ID", "SLURM_SUBMIT_DIR"):
        monkeypatch.setenv(name, "77")
    monkeypatch.setattr(running, "seconds_left", lambda: 0.0)


@pytest.mark.usefixtures("job_without_time")
def test_a_run_whose_job_has_no_time_left_names_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "-q", "--workers", "1"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "the time of this job is up: 0 of " in line


@pytest.mark.usefixtures("job_without_time")
def test_a_run_says_unless_quiet_and_records_what_it_computes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    argv = ["run", "quickstart", "--out", str(out), "--workers", "2", "--device", "cpu"]
    assert main(argv) == 4
    assert capsys.readouterr().out.startswith("computing on 2 CPU workers (")
    assert main([*argv, "-q"]) == 4
    assert capsys.readouterr().out == ""
    runs = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert [run["devices"].startswith("2 CPU workers (") for run in runs] == [True, True]
    assert runs[0]["job"] == "77"
