"""What trials take on a device, before and after some of them have run on one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_fakes import bowl, small_study

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu.cost import GPUS, LAUNCH_SECONDS, iteration_seconds, stages
from tomoatlas.recon_core.memory import SolveSize
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.estimate import estimate, trial_seconds
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.price import ON_A_CORE, gpu_memory, price_measured, price_on
from tomoatlas.sweep.record import StudyFolder
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study
from tomoatlas.sweep.study.trial import Trial, TrialResult

SLOWNESS: Mapping[Method, float] = {Method.FUSED: 3.0, Method.CHEMISTRY_TV: 0.5}


@given(
    size=st.integers(16, 512),
    haadf=st.integers(0, 141),
    chemical=st.integers(1, 71),
    method=st.sampled_from(list(Method)),
    gpu=st.sampled_from(list(GPUS.values())),
)
def test_no_iteration_is_faster_than_its_floor(size, haadf, chemical, method, gpu) -> None:
    solve = SolveSize((4, size, size, size), haadf, chemical)
    floor = sum(stage.floor(gpu) for stage in stages(solve, method))
    assert LAUNCH_SECONDS + floor <= iteration_seconds(solve, method, gpu)
    larger = replace(solve, shape=(4, size + 16, size + 16, size + 16))
    assert iteration_seconds(solve, method, gpu) < iteration_seconds(larger, method, gpu)


def test_haadf_costs_a_fused_iteration_alone() -> None:
    with_haadf, without = (SolveSize((4, 64, 64, 64), tilts, 9) for tilts in (47, 0))
    seconds = {
        method: [iteration_seconds(s, method, GPUS["H100"]) for s in (with_haadf, without)]
        for method in (Method.FUSED, Method.CHEMISTRY_TV)
    }
    assert seconds[Method.FUSED][0] > seconds[Method.FUSED][1]
    assert len({*seconds[Method.CHEMISTRY_TV], seconds[Method.FUSED][1]}) == 1


def test_a_study_is_priced_by_its_device() -> None:
    study = small_study()
    assert estimate(study, ON_A_CORE.seconds) == estimate(study)
    fast, slow = (estimate(study, price_on(name).seconds).seconds for name in ("H200", "V100"))
    assert 0 < fast < slow
    assert price_on(None) is ON_A_CORE
    assert all(size > 0 for size in gpu_memory(study))
    with pytest.raises(BadInput) as caught:
        price_on("GTX")
    assert (caught.value.key, caught.value.value) == ("--gpu", "GTX")


def slow_gpu(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """Takes a multiple of what is predicted for an H100."""
    at = study.at(trial.cell) if study.axes else study
    due = price_on("H100").seconds(at, trial.method)
    seconds = SLOWNESS.get(trial.method, 1.0) * due
    return replace(bowl(study, trial), seconds=seconds, device="NVIDIA H100")


@pytest.fixture
def measured(tmp_path: Path) -> StudyFolder:
    run(
        small_study(methods='["fused", "chemistry-tv"]'), tmp_path / "gpu", InlineExecutor(slow_gpu)
    )
    return StudyFolder(tmp_path / "gpu")


def test_a_journal_corrects_what_was_predicted_by_method(measured: StudyFolder) -> None:
    before, study = price_on("H100"), small_study()
    after = price_measured(before, measured)
    at = study.at(study.cells()[0])
    for method, factor in SLOWNESS.items():
        ratio = after.seconds(at, method) / before.seconds(at, method)
        assert ratio == pytest.approx(factor)
    # of a method that has not run: between the others
    ratio = after.seconds(at, Method.ML) / before.seconds(at, Method.ML)
    assert min(SLOWNESS.values()) < ratio < max(SLOWNESS.values())
    assert "NVIDIA H100" in after.basis


def test_trials_of_another_device_and_damaged_lines_count_for_nothing(
    measured: StudyFolder,
) -> None:
    with pytest.raises(BadInput) as caught:
        price_measured(ON_A_CORE, measured)
    assert caught.value.key == "--measured"
    price = price_measured(price_on("H100"), measured)
    lines = measured.journal_file.read_text().splitlines()
    odd = {**json.loads(lines[0]), "device": "cpu", "seconds": 1e6, "trial_id": "0"}
    text = "\n".join([*lines, json.dumps(odd), "not JSON", ""])
    measured.journal_file.write_text(text)
    assert price_measured(price_on("H100"), measured) == price


def test_a_folder_without_trials_measures_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        price_measured(ON_A_CORE, StudyFolder(tmp_path))


def test_the_price_of_a_core_is_the_estimate() -> None:
    study = small_study()
    at = study.at(study.cells()[0])
    assert ON_A_CORE.seconds(at, Method.FUSED) == trial_seconds(at, Method.FUSED)
