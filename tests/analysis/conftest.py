"""Study folders with a journal of an analytic response instead of reconstructions."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tomoatlas.analysis.figures import render
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

STUDY = """
[study]
name = "synthetic <study>"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 5
initial = 5
chemistry_tv_trials = 3
[axes]
"acquisition.haadf_tilts" = [9, 35, 71]
"acquisition.chemical_tilts" = [5, 9, 18]
"""

LEVEL = {Method.ML: 1.2, Method.ML_STOPPED: 0.8, Method.CHEMISTRY_TV: 0.5, Method.FUSED: 0.3}
ELEMENTS = ("Co", "Cu", "O", "Au")


def analytic(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """Scores with a minimum over the weights, better with more tilts."""
    at = study.at(trial.cell) if study.axes else study
    tilts = at.acquisition.chemical_tilts + at.acquisition.haadf_tilts / 10
    off = sum((math.log10(w) + 0.5) ** 2 for w in trial.weights_record().values())
    score = LEVEL[trial.method] + 0.5 / math.sqrt(tilts) + 0.02 * off
    return TrialResult(
        TrialStatus.OK,
        nrmse=score,
        nrmse_by_element={e: score + 0.01 * i for i, e in enumerate(ELEMENTS)},
        iterations=100.0,
        seconds=2.0,
        started="2024-01-01T00:00:00.000+00:00",
    )


Evaluate = Callable[[Study, Trial], TrialResult]
FolderOf = Callable[..., Path]


@pytest.fixture(scope="session")
def response() -> Evaluate:
    return analytic


@pytest.fixture(scope="session")
def study() -> Study:
    return parse_study(STUDY)


@pytest.fixture
def folder_of(tmp_path: Path) -> FolderOf:
    """folder_of(study, evaluate=analytic) runs the study with ``evaluate`` into a new folder."""

    def make(study: Study, evaluate: Evaluate = analytic, name: str = "out") -> Path:
        run(study, tmp_path / name, InlineExecutor(evaluate))
        return tmp_path / name

    return make


@pytest.fixture
def folder(study: Study, folder_of: FolderOf) -> Path:
    return folder_of(study)


@pytest.fixture
def rendering() -> None:
    """Skips where nothing can be drawn in 3D, with the reason that a person would be given."""
    render.check_rendering.cache_clear()
    try:
        render.check_rendering()
    except BadInput as error:
        pytest.skip(str(error))
