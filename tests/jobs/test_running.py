from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import pytest

from jobs.cli import main
from jobs.running import _run
from recon_core.errors import BadInput
from sweep.executors.child import CannotStart
from sweep.executors.inline import InlineExecutor
from sweep.study import parse_study
from sweep.watch import Watch

STUDY = """
[study]
name = "limited"
[specimen]
kind = "nanocubes"
size = 16
"""


def test_a_dask_cluster_without_dask_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "sweep.executors.dask", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "--dask", "local"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--dask = 'local'" in line
    assert "accepted: pip install 'tomoatlas[dask]'" in line
    assert not (tmp_path / "run").exists()


def test_a_dask_scheduler_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr("sweep.executors.dask.CONNECT_SECONDS", 0.5)
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "--dask", "127.0.0.1:9"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--dask = '127.0.0.1:9': ")
    assert line.endswith("accepted: host:port of a running Dask scheduler, or local")


class Broken(InlineExecutor):
    def collect(self, timeout: float | None = None) -> NoReturn:
        raise CannotStart("a worker process cannot start, exit code 1")


def test_workers_that_cannot_start_end_the_run_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"run: a worker process cannot start.*same command resumes"):
        _run(parse_study(STUDY), tmp_path / "run", Broken(), True, Watch())
