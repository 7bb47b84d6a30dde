"""Studies that this computer's memory does not hold are refused before a trial starts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tomoatlas.jobs import workers as memory
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.workers import check_memory
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.memory import GIB, SolveSize, fused_bytes
from tomoatlas.sweep.estimate import data_bytes, trial_bytes
from tomoatlas.sweep.study import Study, parse_study

STUDY = """
[study]
name = "large"
[specimen]
kind = "nanocubes"
size = 256
[axes]
"acquisition.haadf_tilts" = [5, 47]
"""
GPU = {"CUDA_VISIBLE_DEVICES": "0"}


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY)


def free(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: int(gib * GIB))


def gpus(monkeypatch: pytest.MonkeyPatch, folder: Path, rows: str) -> None:
    """An nvidia-smi that says ``rows``."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{rows}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_as_many_workers_as_fit(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    each = max(trial_bytes(study.at(cell)) for cell in study.cells()) / GIB
    free(monkeypatch, 3.01 * each)
    check_memory(study, [{}] * 3, "cpu")
    with pytest.raises(BadInput) as caught:
        check_memory(study, [{}] * 4, "cpu")
    error = caught.value
    assert (error.key, error.value, error.accepted) == ("--workers", 4, "at most 3")
    assert f"{4 * each:.3g} GiB" in error.problem
    assert f"{3.01 * each:.3g} GiB" in error.problem


def test_run_refuses_in_one_line_and_writes_nothing(
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Callable[..., BadInput],
) -> None:
    free(monkeypatch, 1e-4)
    out = tmp_path / "out"
    argv = ["run", str(study_file), "--out", str(out), "--workers", "2", "--device", "cpu"]
    error = refusal(*argv)
    assert "0.0001 GiB" in error.problem
    assert "specimen.size" in str(error.accepted)
    assert not out.exists()


def test_check_warns(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(study_file)]) == 0
    assert capsys.readouterr().err == ""
    free(monkeypatch, 1e-4)
    assert main(["check", str(study_file)]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: 1 worker needs 0.0")
    assert said.endswith("tomoatlas run would refuse it on this computer's CPU\n")
    assert main(["check", str(study_file), "--nodes", "2"]) == 0
    assert capsys.readouterr().err == ""


def test_gpus_are_asked_for_their_own_memory(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = fused_bytes(SolveSize((4, 256, 256, 256), 47, 9)) / 2**20
    gpus(monkeypatch, tmp_path, f"0, GPU-a, {needed + 1:.0f}\\n1, GPU-b, {2 * needed:.0f}\\n")
    check_memory(study, [GPU, {"CUDA_VISIBLE_DEVICES": "GPU-b"}], "cuda")
    with pytest.raises(BadInput) as caught:
        check_memory(study, [GPU, GPU], "cuda")
    assert (caught.value.value, caught.value.accepted) == (2, "at most 1")
    assert "GPU 0" in caught.value.problem
    gpus(monkeypatch, tmp_path, f"0, GPU-a, {0.9 * needed:.0f}\\n")
    check_memory(study, [GPU], "cuda-half")
    with pytest.raises(BadInput) as caught:
        check_memory(study, [GPU], "cuda")
    assert caught.value.value == 1
    assert "specimen.size" in str(caught.value.accepted)


def test_workers_on_gpus_keep_the_data_here(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, tmp_path, "[N/A], broken\\n")
    kept = max(data_bytes(study.at(cell)) for cell in study.cells()) / GIB
    free(monkeypatch, 2.01 * kept)
    check_memory(study, [GPU, {"CUDA_VISIBLE_DEVICES": "1"}], "cuda")
    with pytest.raises(BadInput) as caught:
        check_memory(study, [GPU] * 3, "cuda")
    assert (caught.value.value, caught.value.accepted) == (3, "at most 2")
