from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sweep_fakes import SMALL
from threadpoolctl import threadpool_limits

from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.formats import save_specimen
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.device import CPU, Cpu, Device
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import relative_error
from tomoatlas.recon_core.result import Reconstruction, Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.tiltseries import TiltSeries
from tomoatlas.sweep import evaluate as module
from tomoatlas.sweep.evaluate import evaluate, reconstruct_trial
from tomoatlas.sweep.executors.serve import may_be_poisoned
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.specimens import build
from tomoatlas.sweep.study.tables import SpecimenTable
from tomoatlas.sweep.study.trial import Trial, TrialStatus, WeightsAndGamma

Solve = Callable[..., Reconstruction]
STUDY = parse_study(SMALL)
TRUTH = make_specimen("nanocubes", 16, 0)


@pytest.fixture(autouse=True)
def no_memory() -> None:
    module.clear_caches()


@pytest.fixture
def simulations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of all simulations, in their order."""
    seeds: list[int] = []
    simulate = module.simulate

    def counted(specimen: Specimen, acquisition: Acquisition, seed: int, **more: Any) -> TiltSeries:
        seeds.append(seed)
        return simulate(specimen, acquisition, seed, **more)

    monkeypatch.setattr(module, "simulate", counted)
    return seeds


def trial_of(study: Study, index: int = 0, method: Method = Method.FUSED) -> Trial:
    return study.trial(study.cells()[index], method, 0, Weights(0.02, 1.0))


def solved(monkeypatch: pytest.MonkeyPatch, solve: Solve) -> list[tuple[TiltSeries, object]]:
    """Put ``solve`` in place of the solver; what it was called with."""
    calls: list[tuple[TiltSeries, object]] = []

    def recorded(
        series: TiltSeries,
        method: Method,
        weights: Weights,
        settings: SolverSettings,
        monitor: Callable[[NDArray[np.float32]], float] | None,
        device: Device,
        _: object,
    ) -> Reconstruction:
        assert device is CPU
        calls.append((series, (method, weights, settings, monitor)))
        return solve(series)

    monkeypatch.setattr(module, "reconstruct", recorded)
    return calls


def perfect(series: TiltSeries) -> Reconstruction:
    return Reconstruction(2.0 * TRUTH.volumes, Status.CONVERGED, 12.5)


def test_a_reconstruction_is_scored_against_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = solved(monkeypatch, perfect)
    result = evaluate(STUDY, trial_of(STUDY, 1))
    assert (result.status, result.error) == (TrialStatus.OK, None)
    assert result.nrmse == pytest.approx(0.0, abs=1e-3)
    assert tuple(result.nrmse_by_element) == TRUTH.elements
    assert result.relative_error == pytest.approx(1.0)
    assert (result.iterations, result.solver_status) == (12.5, "converged")
    assert result.stoichiometry["Co"]["mean"] == pytest.approx(0.5, abs=0.02)
    assert result.totals == pytest.approx(dict.fromkeys(TRUTH.elements, 2.0))
    assert result.haze == dict.fromkeys(TRUTH.elements, 0.0)
    assert result.level["Co"] == pytest.approx(2.0)
    inside = result.stoichiometry_inside["Co"]
    assert inside["mean"] == pytest.approx(inside["true"])
    assert result.seconds > 0
    offset = datetime.fromisoformat(result.started).utcoffset()
    assert offset is not None
    assert not offset
    series, (method, weights, settings, monitor) = calls[0]  # type: ignore[misc]
    assert len(series.haadf_angles_deg) == 9
    assert (method, weights, settings) == (Method.FUSED, Weights(0.02, 1.0), SolverSettings())
    assert monitor is None


def test_the_oracle_of_stopped_ml_sees_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = solved(monkeypatch, perfect)
    evaluate(STUDY, trial_of(STUDY, method=Method.ML_STOPPED))
    monitor = calls[0][1][3]  # type: ignore[index]
    assert monitor(TRUTH.volumes) == 0.0


def test_the_mean_is_over_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).random(TRUTH.volumes.shape, dtype=np.float32)
    solved(monkeypatch, lambda series: Reconstruction(noise, Status.ITERATION_LIMIT, 1))
    result = evaluate(STUDY, trial_of(STUDY))
    assert result.nrmse == pytest.approx(np.mean(list(result.nrmse_by_element.values())))
    assert result.nrmse == pytest.approx(math.sqrt(2), rel=0.1)
    errors = [relative_error(n, t) for n, t in zip(noise, TRUTH.volumes, strict=True)]
    assert result.relative_error == pytest.approx(np.mean(errors))


def test_scores_do_not_depend_on_the_threads_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    study = parse_study(SMALL.replace("16", "40"))
    noise = np.random.default_rng(0).random((4, 40, 40, 40), dtype=np.float32)
    solved(monkeypatch, lambda series: Reconstruction(noise, Status.CONVERGED, 1))
    scores = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            scores.append(evaluate(study, trial_of(study)).nrmse_by_element)
    assert scores[0] == scores[1]


@pytest.mark.parametrize("status", [Status.DIVERGED, Status.BAD_DATA])
def test_a_solve_that_ends_badly_has_failed(
    monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    solved(monkeypatch, lambda s: Reconstruction(TRUTH.volumes, status, 3, message="two\nlines"))
    result = evaluate(STUDY, trial_of(STUDY))
    assert (result.status, result.solver_status) == (TrialStatus.FAILED, status)
    assert result.error == f"{status}: two lines"
    assert math.isnan(result.nrmse)


def test_a_reconstruction_that_is_not_a_number_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = TRUTH.volumes.copy()
    volumes[0, 0, 0, 0] = np.nan
    solved(monkeypatch, lambda series: Reconstruction(volumes, Status.CONVERGED, 3))
    result = evaluate(STUDY, trial_of(STUDY))
    assert result.status is TrialStatus.FAILED
    assert result.error == "the reconstruction holds NaN or infinity"


@pytest.mark.parametrize("error", [ValueError("a\nb"), OSError(5, "disk")])
def test_an_exception_is_a_status(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(series: TiltSeries) -> Reconstruction:
        raise error

    solved(monkeypatch, broken)
    result = evaluate(STUDY, trial_of(STUDY))
    assert result.status is TrialStatus.FAILED
    assert result.error is not None
    assert result.error.startswith(type(error).__name__)
    assert "\n" not in result.error


def test_ctrl_c_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(series: TiltSeries) -> Reconstruction:
        raise KeyboardInterrupt

    solved(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(STUDY, trial_of(STUDY))


def test_all_trials_of_a_cell_see_the_same_data(
    monkeypatch: pytest.MonkeyPatch, simulations: list[int]
) -> None:
    calls = solved(monkeypatch, perfect)
    for index, method in [(0, Method.FUSED), (0, Method.ML), (1, Method.FUSED), (0, Method.FUSED)]:
        evaluate(STUDY, trial_of(STUDY, index, method))
    first, same, other, again = (series for series, _ in calls)
    assert first is same is again
    assert not np.array_equal(first.chemical, other.chemical)
    assert len(simulations) == 2
    module.clear_caches()
    evaluate(STUDY, trial_of(STUDY, 0))
    assert np.array_equal(calls[-1][0].chemical, first.chemical)


def test_what_a_process_keeps_is_bounded(
    monkeypatch: pytest.MonkeyPatch, simulations: list[int]
) -> None:
    calls = solved(monkeypatch, perfect)
    study = parse_study(SMALL.replace("[5, 9]", "[1, 2, 3, 4, 5, 6]"))
    for index in range(6):
        evaluate(study, trial_of(study, index))
    assert len(calls) == 6
    assert len(simulations) == 6
    for index in (*range(6 - module.SERIES_KEPT, 6), 0):
        evaluate(study, trial_of(study, index))
    assert len(simulations) == 7, "the last are kept, the first is made again"


def test_data_may_come_from_a_finer_grid_than_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = solved(monkeypatch, perfect)
    study = parse_study(SMALL + '"acquisition.oversample" = [1, 2]\n')
    plain, finer = (reconstruct_trial(study, trial_of(study, i)) for i in (0, 1))
    assert plain[1].shape == finer[1].shape == (16, 16, 16)
    assert [s.chemical.shape for s, _ in calls] == [(4, 9, 16, 16)] * 2
    assert calls[1][0].facts["oversample"] == 2
    assert calls[1][0].voxel_size_nm == pytest.approx(plain[1].voxel_size_nm)


def test_a_volume_is_made_finer_by_repeating_voxels(tmp_path: Path) -> None:
    save_specimen(tmp_path / "mine.h5", TRUTH)
    table = SpecimenTable(kind=str(tmp_path / "mine.h5"))
    same, finer = build(table), build(table, 2)
    assert np.array_equal(same.volumes, TRUTH.volumes)
    assert finer.shape == (32, 32, 32)
    assert finer.voxel_size_nm == pytest.approx(TRUTH.voxel_size_nm / 2)
    for corner in ((0, 0, 0), (1, 0, 1), (1, 1, 1)):
        z, y, x = corner
        assert np.array_equal(finer.volumes[:, z::2, y::2, x::2], TRUTH.volumes)


def test_a_volume_that_is_gone_fails_its_trials(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    save_specimen(path, TRUTH)
    study = parse_study(SMALL.replace("nanocubes", str(path)))
    trial = trial_of(study)
    path.unlink()
    result = evaluate(study, trial)
    assert result.status is TrialStatus.FAILED
    assert "mine.h5" in str(result.error)


def test_a_truth_without_oxides_has_no_stoichiometry(monkeypatch: pytest.MonkeyPatch) -> None:
    gold = Specimen(TRUTH.volumes[3:], ("Au",), 1.0)
    monkeypatch.setattr(module, "build", lambda table, oversample=1: gold)
    solved(monkeypatch, lambda series: Reconstruction(gold.volumes, Status.CONVERGED, 1))
    result = evaluate(STUDY, trial_of(STUDY))
    assert result.status is TrialStatus.OK
    assert result.stoichiometry == {}


def test_a_worker_that_is_to_use_a_gpu_and_has_none_fails_its_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Device:
        raise BadInput("there is none", key="device", value=name)

    monkeypatch.setattr(module, "device_named", missing)
    result = evaluate(STUDY, trial_of(STUDY), "cuda")
    assert (result.status, result.device) == (TrialStatus.FAILED, "cuda")
    assert "there is none" in result.error


def test_the_device_is_an_argument_and_nothing_else_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other(Cpu):
        name = "another processor"

    used: list[Device] = []

    def solve(*arguments: Any) -> Reconstruction:
        used.append(arguments[5])
        return perfect(arguments[0])

    monkeypatch.setattr(module, "reconstruct", solve)
    monkeypatch.setenv("TOMOATLAS_DEVICE", "cuda")
    other, trial = Other(), trial_of(STUDY)
    assert evaluate(STUDY, trial, other).device == "another processor"
    assert evaluate(STUDY, trial).device == "cpu"
    assert used == [other, CPU]


class CudaError(RuntimeError):
    """What CuPy raises."""


@pytest.mark.parametrize(
    ("error", "device", "status"),
    [
        (MemoryError("no room"), "cpu", TrialStatus.CRASHED),
        (ValueError("a fault of the program"), "cpu", TrialStatus.FAILED),
        (CudaError("an illegal memory access"), "NVIDIA A100", TrialStatus.CRASHED),
        (MemoryError("out of device memory"), "NVIDIA A100", TrialStatus.CRASHED),
        (BadInput("no such specimen"), "NVIDIA A100", TrialStatus.FAILED),
    ],
)
def test_want_of_memory_and_faults_of_a_gpu_may_be_chance(
    monkeypatch: pytest.MonkeyPatch, error: Exception, device: str, status: TrialStatus
) -> None:
    def raising(*args: object) -> None:
        raise error

    class There(Cpu):
        name = device

    monkeypatch.setattr(module, "reconstruct_trial", raising)
    result = evaluate(STUDY, trial_of(STUDY), There())
    assert (result.status, result.device) == (status, device)
    assert result.error == f"{type(error).__name__}: {error}"
    assert may_be_poisoned(result) == (status is TrialStatus.CRASHED or device != "cpu")


@pytest.mark.parametrize("method", list(Method))
def test_a_shortage_of_memory_may_pass_and_is_met_before_the_simulation(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("built before the memory was looked at")

    module.clear_caches()  # an earlier test may have built it
    monkeypatch.setattr(module, "build", unexpected)
    monkeypatch.setattr("tomoatlas.recon_core.device.available_bytes", lambda: 2**17)
    result = evaluate(STUDY, trial_of(STUDY, method=method))
    assert result.status is TrialStatus.CRASHED
    assert result.status.may_be_chance
    assert result.error is not None
    assert result.error.startswith("needs 0.00")
    assert "are free on cpu; accepted: a smaller volume, or more memory" in result.error


def test_a_study_may_compare_projectors() -> None:
    pytest.importorskip("astra", exc_type=ImportError)
    study = parse_study(SMALL.replace("[axes]", '[axes]\n"solver.projector" = ["sparse", "astra"]'))
    ours, theirs = (evaluate(study, trial_of(study, i)) for i in (0, len(study.cells()) // 2))
    assert ours.status is theirs.status is TrialStatus.OK
    assert ours.nrmse != theirs.nrmse
    assert ours.nrmse == pytest.approx(theirs.nrmse, rel=0.02)


def test_a_searched_exponent_takes_the_place_of_the_solvers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = solved(monkeypatch, perfect)
    for method, gamma in ((Method.FUSED, 1.6), (Method.CHEMISTRY_TV, SolverSettings().gamma)):
        weights = WeightsAndGamma(0.02, 1.0, 1.6)
        evaluate(STUDY, STUDY.trial(STUDY.cells()[0], method, 0, weights))
        assert calls[-1][1][2] == SolverSettings(gamma=gamma)  # type: ignore[index]
