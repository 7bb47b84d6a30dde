"""Executors by name: shipped ones, a file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tomoatlas.jobs.workers import EXECUTORS, Workers, executor_of
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.executors.local import InlineExecutor, ProcessExecutor
from tomoatlas.sweep.study import parse_study

STUDY = """
[study]
name = "t"
[specimen]
kind = "nanocubes"
size = 8
"""


@pytest.mark.parametrize(
    ("name", "kind"),
    [("auto", ProcessExecutor), ("local", ProcessExecutor), ("inline", InlineExecutor)],
)
def test_an_executor_by_name(name: str, kind: type) -> None:
    wish = Workers(1, device="cpu", executor=name)
    with executor_of(parse_study(STUDY), wish) as executor:
        assert isinstance(executor, kind)
        executor.close()


def test_shipped_names() -> None:
    assert EXECUTORS.shipped() == ("local", "dask", "inline")


def test_an_unknown_executor_is_one_line(tmp_path: Path, refusal) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    argv = ["run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]
    error = refusal(*argv, "--executor", "dsk")
    assert (error.key, error.value) == ("--executor", "dsk")
    assert "dask" in error.problem
    with pytest.raises(BadInput) as caught, executor_of(parse_study(STUDY), Workers(executor="x")):
        pass
    assert (caught.value.key, caught.value.value) == ("--executor", "x")
