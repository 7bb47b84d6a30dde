"""Study folders and data files for the commands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tomoatlas.jobs.cli import main
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

# Fakes are a module beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

TINY = """
[study]
name = "tiny"
[specimen]
kind = "nanocubes"
size = 16
[acquisition]
chemical_snr = 3.0
[solver]
max_iterations = 20
[search]
trials = 2
initial = 2
chemistry_tv_trials = 1
[limits]
retries = 0
[axes]
"acquisition.haadf_tilts" = [5, 9]
"""


def scored(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A score without a reconstruction; the first fused trial of a cell fails."""
    if trial.method == "fused" and trial.number == 0:
        return TrialResult(TrialStatus.CRASHED, error="the worker ended with SIGKILL", seconds=1.0)
    score = 0.4 if trial.method == "fused" else 0.8
    return TrialResult(TrialStatus.OK, score, {"Co": score}, 10.0, 2.0)


@pytest.fixture(scope="session")
def tiny() -> str:
    """The text of a study of ten trials."""
    return TINY


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished study with one failure per cell, evaluated by :func:`scored`."""
    run(parse_study(TINY), tmp_path / "done", InlineExecutor(scored))
    return tmp_path / "done"


@pytest.fixture(scope="session")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "specimen.h5"
    assert main(["phantom", "nanocubes", "--size", "16", "--out", str(path), "-q"]) == 0
    return path


@pytest.fixture(scope="session")
def tilts(specimen: Path) -> Path:
    path = specimen.with_name("tilts.h5")
    counts = ["--haadf-tilts", "9", "--chemical-tilts", "5"]
    assert main(["simulate", str(specimen), *counts, "--out", str(path), "-q"]) == 0
    return path
