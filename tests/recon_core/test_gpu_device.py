"""The whole solver on the CUDA sources, run by the host or by a GPU, against the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from host_launcher import HostLauncher, needs_compiler
from recon_cases import specimen, tilt_series
from recon_devices import needs_gpu
from watched import COPIES, WatchedArray, watched

from tomoatlas.recon_core import gpu as cuda_device
from tomoatlas.recon_core.contrast import PowerLaw
from tomoatlas.recon_core.device import CPU, Device
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu import CudaDevice, cuda, device_named
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.projection import cached_projector
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.recon_core.solver.admm import RECORD_EVERY, solve, step
from tomoatlas.recon_core.solver.calibration import haadf_scale_at
from tomoatlas.recon_core.solver.multiresolution import initial_state
from tomoatlas.recon_core.tiltseries import TiltSeries

BATCH = [Weights(0.03, 0.5), Weights(0.1, 0.2), Weights(0.3, 0.0)]
CASES = [
    (Method.FUSED, 2.0, "poisson"),
    (Method.FUSED, 1.7, "poisson"),
    (Method.FUSED, 2.0, "least-squares"),
    (Method.CHEMISTRY_TV, 2.0, "poisson"),
    (Method.ML, 2.0, "poisson"),
]


@cache
def host() -> CudaDevice:
    return CudaDevice(HostLauncher(), "host")


@cache
def series_at(gamma: float) -> TiltSeries:
    """12³ nanocubes whose HAADF scale is known at ``gamma``."""
    series = tilt_series()
    scale = haadf_scale_at(series, specimen().volumes, PowerLaw(gamma))
    return replace(series, haadf_scale=scale, facts={**series.facts, "gamma": gamma})


def settings(gamma: float = 2.0, likelihood: str = "poisson") -> SolverSettings:
    return SolverSettings(gamma=gamma, max_iterations=24, tolerance=1e-9, chemistry=likelihood)


def agree(ours: Reconstruction, theirs: Reconstruction) -> None:
    assert ours.status is theirs.status
    np.testing.assert_allclose(ours.history.objective, theirs.history.objective, rtol=1e-4)
    np.testing.assert_allclose(ours.volumes, theirs.volumes, atol=5e-3)


class DeviceConformance:
    """What the CPU reconstructs, this device does too."""

    device: Callable[[], Device]

    @pytest.mark.parametrize(("method", "gamma", "likelihood"), CASES)
    def test_the_same_reconstruction_as_the_cpu(
        self, method: Method, gamma: float, likelihood: str
    ) -> None:
        args = series_at(gamma), method, BATCH[0], settings(gamma, likelihood)
        agree(reconstruct(*args, device=self.device()), reconstruct(*args))

    def test_a_linear_contrast(self) -> None:
        linear = settings().model_copy(update={"contrast": "linear"})
        args = tilt_series(contrast="linear"), Method.FUSED, BATCH[0], linear
        agree(reconstruct(*args, device=self.device()), reconstruct(*args))

    @pytest.mark.parametrize("method", [Method.FUSED, Method.CHEMISTRY_TV])
    def test_a_batch_is_its_trials(self, method: Method) -> None:
        args = series_at(2.0), method
        ours = reconstruct_batch(*args, BATCH, settings(), self.device())
        for one, theirs in zip(ours, reconstruct_batch(*args, BATCH, settings()), strict=True):
            agree(one, theirs)
        for one, weights in zip(ours, BATCH, strict=True):
            alone = reconstruct(*args, weights, settings(), device=self.device())
            np.testing.assert_array_equal(alone.volumes, one.volumes)

    def test_trials_that_converge_leave_the_rest_as_it_is(self) -> None:
        loose = SolverSettings(tolerance=1e-2, max_iterations=120)
        args, weights = (series_at(2.0), Method.CHEMISTRY_TV), [Weights(0, 2.0), Weights(0, 0.05)]
        found = reconstruct_batch(*args, weights, loose, self.device())
        assert found[0].iterations < found[1].iterations
        alone = reconstruct(*args, weights[1], loose, device=self.device())
        np.testing.assert_array_equal(alone.volumes, found[1].volumes)
        assert alone.history.objective == found[1].history.objective

    def test_an_unknown_haadf_scale(self) -> None:
        series = replace(tilt_series(), haadf_scale=None)
        args = series, Method.FUSED, BATCH[0], settings()
        agree(reconstruct(*args, device=self.device()), reconstruct(*args))

    def test_the_coarse_start(self) -> None:
        """Fine enough to begin at half the resolution."""
        problem, state = initial_state(tilt_series(), BATCH, settings(), self.device(), smallest=6)
        expected = initial_state(tilt_series(), BATCH, settings(), CPU, smallest=6)[1]
        volumes = problem.device.get(state.volumes)
        np.testing.assert_allclose(volumes, expected.volumes, atol=5e-3)
        assert state.work == expected.work

    @pytest.mark.parametrize("shape", [(6, 5, 4), (2, 7, 8, 3)])
    def test_filter(self, shape: tuple[int, ...]) -> None:
        random, device = np.random.default_rng(0), self.device()
        volume = random.standard_normal(shape).astype(np.float32)
        response = random.uniform(0.1, 1, (shape[-3], shape[-2] // 2 + 1, 1)).astype(np.float32)
        out, expected = device.put(np.full(shape, np.nan)), np.empty(shape, np.float32)
        device.filter(device.put(response))(device.put(volume), out)
        CPU.filter(response)(volume, expected)
        np.testing.assert_allclose(device.get(out), expected, atol=1e-5)

    def test_the_projector_of_a_geometry_is_built_once(self) -> None:
        geometry = CPU.projector(series_geometry()).geometry
        assert self.device().projector(geometry) is self.device().projector(geometry)

    def test_what_is_put_is_float32(self) -> None:
        device = self.device()
        there = device.put(np.arange(12.0).reshape(3, 4)[:, ::2])
        np.testing.assert_array_equal(device.get(there), [[0, 2], [4, 6], [8, 10]])
        assert there.dtype == np.float32
        assert there.flags.c_contiguous


def series_geometry() -> Any:
    return initial_state(tilt_series(), BATCH[:1], settings(), CPU)[0].chemistry.projector.geometry


@needs_compiler
class TestSolverOnTheHost(DeviceConformance):
    device = staticmethod(host)


@needs_gpu
class TestSolverOnTheDevice(DeviceConformance):
    device = staticmethod(cache(cuda))


class WatchedLauncher(HostLauncher):
    """The host, but arrays are no longer NumPy's."""

    xp = watched


@dataclass(frozen=True)
class WatchedDevice(CudaDevice):
    """A device that sees every copy to and from it."""

    def get(self, array: Any) -> np.ndarray:
        assert isinstance(array, WatchedArray)
        return array.get()

    def filter(self, response: Any) -> Any:
        act = host().filter(response.view(np.ndarray))
        return lambda volume, out: act(volume.view(np.ndarray), out.view(np.ndarray))


@needs_compiler
@pytest.mark.parametrize("weights", [BATCH, [Weights(0.0, 0.5)]])
def test_nothing_is_copied_inside_an_iteration(weights: list[Weights]) -> None:
    device = WatchedDevice(WatchedLauncher(), "watched")
    problem, state = initial_state(series_at(2.0), weights, settings(), device)
    COPIES.clear()
    for _ in range(11):  # one of them with a new bound of the curvature
        state = step(problem, state)
    assert COPIES.total() == 0
    done = state.work / problem.tilts_per_iteration
    results = solve(problem, state, 1e-12, done + 2 * RECORD_EVERY)
    records = len(results[0].history.iterations)
    assert COPIES["get"] == records + len(weights)
    assert COPIES["put"] < records


@needs_compiler
def test_no_matrix_is_built_and_nothing_solved_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for the preconditioner nor for scales that the data do not contain."""

    series = replace(tilt_series(), chemical_scale=None, haadf_scale=None)
    short = SolverSettings(max_iterations=3)

    def unexpected(_: object) -> None:
        raise AssertionError("a projection matrix on the host")

    monkeypatch.setattr("tomoatlas.recon_core.projection.projection_matrix", unexpected)
    cached_projector.cache_clear()
    device = CudaDevice(HostLauncher(), "new")
    found = reconstruct(series, Method.FUSED, BATCH[0], short, device=device)
    monkeypatch.undo()
    agree(found, reconstruct(series, Method.FUSED, BATCH[0], short))


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = CudaDevice(HostLauncher(), "a GPU")
    monkeypatch.setattr(
        cuda_device, "cuda", lambda float16_dual: replace(gpu, float16_dual=float16_dual)
    )
    for found, auto in ((True, gpu), (False, CPU)):
        monkeypatch.setattr(cuda_device, "has_device", lambda found=found: found)
        assert device_named("auto") == auto
    assert device_named("cpu") is CPU
    assert device_named("cuda") == gpu
    half = device_named("cuda-half")
    assert half == replace(gpu, float16_dual=True) != gpu
    assert half.name == "a GPU, half-precision dual"
    with pytest.raises(BadInput) as caught:
        device_named("tpu")
    assert (caught.value.key, caught.value.value) == ("device", "tpu")
    assert caught.value.accepted == "auto, cpu, cuda, cuda-half"


@needs_gpu
def test_the_name_of_the_gpu() -> None:
    assert "NVIDIA" in cuda().name
    assert cuda().free_bytes() > 0
