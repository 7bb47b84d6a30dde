"""The estimate of memory against what a solve allocates, and the refusal of what does not fit."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from host_launcher import HostLauncher
from hypothesis import given
from hypothesis import strategies as st
from recon_cases import tilt_series
from recon_conformance import SHORT
from scipy import sparse

from tomoatlas.recon_core import device
from tomoatlas.recon_core.cpu.volume_step import SHARED
from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.gpu import CudaDevice
from tomoatlas.recon_core.memory import (
    SolveSize,
    TooLarge,
    check_fits,
    fused_bytes,
    matrix_bytes,
    solve_bytes,
)
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.projection.rays import projection_matrix
from tomoatlas.recon_core.settings import SolverSettings, newest_settings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.recon_core.solver.admm import RECORD_EVERY, init, solve, step
from tomoatlas.recon_core.solver.multiresolution import initial_state, with_guide
from tomoatlas.recon_core.solver.problem import fused_problem

EDGES = st.tuples(*[st.integers(1, 300)] * 4)
TILTS = st.integers(1, 100)
PAPER = SolveSize((4, 256, 256, 256), 47, 9)


def allocated(size: SolveSize, known_scale: bool = True) -> int:
    """Peak of a fused solve of a few steps, from half the resolution, on the CPU."""
    tilts = {"haadf_tilts": size.haadf_tilts, "chemical_tilts": size.chemical_tilts}
    series, weights = tilt_series(size.shape[-1], **tilts), [Weights(0.03, 0.5)] * size.batch
    series = series if known_scale else replace(series, haadf_scale=None)
    settings = SolverSettings(max_iterations=2 if known_scale else 400)
    tracemalloc.start()
    try:
        problem, state = initial_state(series, weights, settings, CPU, smallest=8)
        solve(problem, state, 1e-9, 1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [Method.ML, Method.ML_STOPPED])
@pytest.mark.parametrize("chemical", [5, 33])
def test_maximum_likelihood_is_counted_for_itself(method: Method, chemical: int) -> None:
    series, settings = tilt_series(32, chemical_tilts=chemical), SolverSettings(max_iterations=3)
    size = SolveSize((4, 32, 32, 32), len(series.haadf), chemical)
    scores = iter(range(100, 0, -1))

    def peak() -> int:
        tracemalloc.start()
        try:
            reconstruct(series, method, settings=settings, monitor=lambda _: float(next(scores)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak()  # compiles, and builds the matrices
    assert 0.6 * solve_bytes(size, method) < peak() < solve_bytes(size, method)
    assert solve_bytes(size, method) < fused_bytes(size)


@pytest.mark.parametrize(("haadf", "chemical", "batch"), [(9, 5, 1), (9, 5, 3), (9, 33, 1)])
def test_the_estimate_covers_what_a_solve_allocates(haadf: int, chemical: int, batch: int) -> None:
    size = SolveSize((4, 32, 32, 32), haadf, chemical, batch)
    allocated(size)  # compiles, and builds the matrices: no part of the estimate
    assert 0.75 * fused_bytes(size) < allocated(size) < fused_bytes(size)


@pytest.mark.parametrize(("haadf", "chemical"), [(9, 5), (47, 9), (141, 9), (141, 33)])
@pytest.mark.parametrize("known_scale", [True, False])
def test_the_estimate_covers_many_tilts_and_a_scale_that_is_fitted(
    haadf: int, chemical: int, known_scale: bool
) -> None:
    size = SolveSize((4, 32, 32, 32), haadf, chemical)
    allocated(size, known_scale)
    assert allocated(size, known_scale) < fused_bytes(size)


@pytest.mark.parametrize("guided", [False, True])
def test_the_estimate_covers_trials_that_leave_a_batch(guided: bool) -> None:
    """Those that stay go on in the memory they have; the results of those that left are beside."""
    series = tilt_series(32, haadf_tilts=9, chemical_tilts=5)
    weights = [Weights(0.03, 8.0), *[Weights(0.03, 0.5)] * 3]
    quick = SolverSettings(max_iterations=2)
    begun = initial_state(series, weights[:1], quick, CPU, smallest=8)
    solve(*with_guide(*begun, quick), 5e-3, 2)  # compiles, and builds the matrices
    tracemalloc.start()
    try:
        problem, state = initial_state(series, weights, SolverSettings(), CPU, smallest=8)
        tracemalloc.reset_peak()
        if guided:
            problem, state = with_guide(problem, state, SolverSettings())
        found = solve(problem, state, 5e-3, 120)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[0].iterations != found[1].iterations
    assert peak < fused_bytes(SolveSize((4, 32, 32, 32), 9, 5, len(weights), guided=guided))


@pytest.mark.parametrize("batch", [1, 3])
def test_the_estimate_covers_a_start_that_trials_share(batch: int) -> None:
    series, weights = tilt_series(32, haadf_tilts=9, chemical_tilts=5), [Weights(0.3, 1.4)] * batch
    settings = newest_settings().model_copy(update={"max_iterations": 20})
    size = SolveSize((4, 32, 32, 32), 9, 5, batch, guided=True, shared_start=True)

    def peak() -> int:
        tracemalloc.start()
        try:
            reconstruct_batch(series, Method.FUSED, weights, settings)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak()  # compiles, and builds the matrices
    assert 0.6 * fused_bytes(size) < peak() < fused_bytes(size)


@pytest.mark.parametrize("likelihood", ["poisson", "least-squares"])
def test_the_loop_allocates_nothing(likelihood: str) -> None:
    """Neither in its steps nor where the curvature is estimated and the objective recorded."""
    chosen, peaks = SolverSettings(chemistry=likelihood), []

    def monitor(_: np.ndarray) -> float:
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
        return 0.0

    args = tilt_series(48, haadf_tilts=47), [Weights(0.03, 0.5)], chosen, CPU, 24
    solve(*initial_state(*args), 1e-12, 40)  # compiles
    problem, state = initial_state(*args)
    state = step(problem, state)
    tracemalloc.start()
    try:
        solve(problem, state, 1e-12, 40, monitor)
    finally:
        tracemalloc.stop()
    assert len(peaks) > 2 * RECORD_EVERY
    sums = 48 * 48 * 8  # bytes of one by row of voxels: there are six, and what adds them up
    scratch = (SHARED + 3 * 4) * 4 * 49 * 48  # of the volume step: a block and a row of it
    assert max(peaks) < 9 * sums + scratch < 0.8 * min(4 * 48**3, state.coupling.rays.nbytes)


def test_the_papers_map_is_far_below_a_device() -> None:
    assert fused_bytes(PAPER) / PAPER.specimen_bytes < 10
    assert fused_bytes(PAPER) < 2.5 * 2**30


@SHORT
@given(EDGES, TILTS, TILTS, st.integers(1, 32))
def test_trials_share_the_data(
    shape: tuple[int, int, int, int], haadf: int, chemical: int, batch: int
) -> None:
    one, many = (SolveSize(shape, haadf, chemical, n) for n in (1, batch))
    apart = batch * (fused_bytes(one) + one.specimen_bytes)  # results of a batch are copies
    assert fused_bytes(one) <= fused_bytes(many) <= apart


@SHORT
@given(EDGES, TILTS, TILTS)
def test_larger_things_take_more(
    shape: tuple[int, int, int, int], haadf: int, chemical: int
) -> None:
    less = fused_bytes(SolveSize(shape, haadf, chemical))
    assert fused_bytes(SolveSize(shape, haadf + 1, chemical)) > less
    assert fused_bytes(SolveSize((shape[0] + 1, *shape[1:]), haadf, chemical)) > less


class SmallLauncher(HostLauncher):
    """A device of 8 GiB."""

    def free_bytes(self) -> int:
        return 8 * 2**30


def test_a_batch_that_does_not_fit_is_refused_with_the_numbers() -> None:
    device = CudaDevice(SmallLauncher(), "a small GPU")
    check_fits(PAPER, device)
    many = SolveSize(PAPER.shape, 47, 9, 5)
    with pytest.raises(BadInput) as caught:
        check_fits(many, device)
    assert (caught.value.key, caught.value.value) == ("batch", 5)
    assert caught.value.accepted == "at most 3 trials at once"
    assert "8 GiB" in caught.value.problem
    assert device.name in caught.value.problem
    check_fits(SolveSize(PAPER.shape, 47, 9, 3), device)
    with pytest.raises(TooLarge) as caught:
        check_fits(SolveSize(PAPER.shape, 47, 9, 4), device)
    assert (caught.value.key, caught.value.value) == ("batch", 4)


def test_a_volume_that_does_not_fit_at_all() -> None:
    device = CudaDevice(SmallLauncher(), "a small GPU")
    with pytest.raises(TooLarge) as caught:
        check_fits(SolveSize((4, 512, 512, 512), 47, 9), device)
    assert caught.value.key is None
    assert "512x512x512" in caught.value.problem


def test_a_solve_is_refused_before_it_allocates() -> None:
    class Full(HostLauncher):
        def free_bytes(self) -> int:
            return 2**18

        def launch(self, *args: object) -> None:
            raise AssertionError("launched on a full device")

    device, weights = CudaDevice(Full(), "a full GPU"), [Weights(0.03, 0.5)] * 3
    with pytest.raises(TooLarge) as caught:
        reconstruct_batch(tilt_series(), Method.FUSED, weights, SolverSettings(), device)
    assert (caught.value.key, caught.value.value) == ("batch", 3)


@pytest.mark.parametrize("half", [False, True])
def test_the_iterates_are_counted_as_they_are_stored(half: bool) -> None:
    device = CudaDevice(HostLauncher(), "host", half)
    series, settings = tilt_series(), SolverSettings(max_iterations=2)
    problem = fused_problem(series, [Weights(0.03, 0.5)], settings, device)
    state = init(problem, np.ones(problem.shape, np.float32))
    arrays = state.volumes, state.next_volumes, state.point, state.dual, state.rays, state.workspace
    size = SolveSize(problem.shape[1:], 9, 5, dual_bytes=2 if half else 4)
    assert sum(array.nbytes for array in arrays) == size.iterate_bytes


def test_a_half_precision_dual_leaves_room_for_more_trials() -> None:
    class Started(Exception):
        pass

    class Scarce(HostLauncher):
        def free_bytes(self) -> int:
            return fused_bytes(SolveSize((4, 12, 12, 12), 9, 5, 3)) - 1

        def launch(self, *args: object) -> None:
            raise Started

    args = tilt_series(), Method.FUSED, [Weights(0.03, 0.5)] * 3, SolverSettings()
    with pytest.raises(TooLarge) as caught:
        reconstruct_batch(*args, device=CudaDevice(Scarce(), "a full GPU"))
    assert caught.value.accepted == "at most 2 trials at once"
    with pytest.raises(Started):
        reconstruct_batch(*args, device=CudaDevice(Scarce(), "a GPU", float16_dual=True))


def test_what_no_kernel_takes_is_refused_before_the_memory_is_asked_for() -> None:
    gpu = CudaDevice(SmallLauncher(), "a small GPU")
    for shape, key in (((9, 12, 12, 12), "elements"), ((1, 1500, 1500, 1500), None)):
        with pytest.raises(BadInput) as caught:
            check_fits(SolveSize(shape, 9, 5), gpu)
        assert caught.value.key == key
        assert not isinstance(caught.value, TooLarge)
    check_fits(SolveSize((9, 12, 12, 12), 9, 5), CPU)


@pytest.mark.parametrize("method", list(Method))
def test_every_method_is_refused_before_it_allocates(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "available_bytes", lambda: 2**17)
    with pytest.raises(TooLarge):
        reconstruct(tilt_series(), method, monitor=lambda _: 1.0)


def _bytes_of(tilts: TiltGeometry) -> int:
    matrix = projection_matrix(tilts)
    pairs = (matrix, sparse.csr_array(matrix.T))
    return sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in pairs)


def test_the_cpu_needs_its_matrices_too(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = sum(_bytes_of(geometry(tilts, 32)) for tilts in (47, 9))
    size = SolveSize((4, 32, 32, 32), 47, 9)
    assert 0.75 * matrix_bytes(size) < 1.25 * matrices < 1.25 * matrix_bytes(size)
    monkeypatch.setattr(device, "available_bytes", lambda: fused_bytes(size) + matrices // 2)
    with pytest.raises(TooLarge):
        check_fits(size, CPU)
    monkeypatch.setattr(device, "available_bytes", lambda: fused_bytes(size) + matrix_bytes(size))
    check_fits(size, CPU)


def geometry(tilts: int, edge: int) -> TiltGeometry:
    return TiltGeometry(spaced_tilts(tilts, (-70, 70)), (edge, edge))


def test_the_memory_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available_bytes", lambda: 2**20)
    with pytest.raises(TooLarge) as caught:
        check_fits(PAPER, CPU)
    assert "0.000977 GiB" in caught.value.problem
