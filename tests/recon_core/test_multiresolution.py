"""The start from half the resolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recon_cases import random_volumes, specimen, tilt_series

from tomoatlas.recon_core.binning import binned
from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.multiresolution import initial_state, upsample
from tomoatlas.recon_core.solver.problem import fused_problem

SETTINGS = SolverSettings()
SIZE = 32


def smooth(size: int) -> np.ndarray:
    """(4, z, y, x): a ball of soft edge in each element, resolved at half the resolution too."""
    z, y, x = (np.indices((size,) * 3) + 0.5) / size - 0.5
    ball = 1 / (1 + np.exp((np.sqrt(z * z + y * y + x * x) - 0.3) / 0.05))
    return np.stack([ball, 0.5 * ball, 0.8 * ball, 0.3 * ball]).astype(np.float32)


def test_counts_of_four_pixels_add_up() -> None:
    series = tilt_series(16)
    half = binned(series)
    assert half.chemical.shape == (4, 5, 8, 8)
    assert half.haadf.sum(dtype=float) == pytest.approx(series.haadf.sum(dtype=float), rel=1e-6)
    assert half.chemical[1, 2, 3, 4] == series.chemical[1, 2, 6:8, 8:10].sum()
    assert half.voxel_size_nm == 2 * series.voxel_size_nm
    assert binned(replace(series, haadf_scale=None, chemical_scale=None)).haadf_scale is None


def test_the_coarse_problem_is_the_fine_one() -> None:
    """Every term of a specimen that both resolve, at the same weights."""
    series, weights = tilt_series(SIZE), Weights(0.3, 0.5)
    fine = fused_problem(series, [weights], SETTINGS)
    coarse = fused_problem(binned(series), [Weights(0.3, 4 * 0.5)], SETTINGS)
    x, y = smooth(SIZE), smooth(SIZE // 2)
    there, here = (problem.terms(volumes[None]) for problem, volumes in ((coarse, y), (fine, x)))
    assert there.tv[0] == pytest.approx(here.tv[0], rel=0.05)
    pairs = (
        (series, fine.chemistry.expected(x)),
        (binned(series), coarse.chemistry.expected(y)),
    )
    sums = [signal.sum((1, 2, 3), dtype=float) for _, signal in pairs]
    np.testing.assert_allclose(sums[0], sums[1], rtol=0.01)
    noise_free = fine.haadf.projector.forward(fine.contrast(x[None]))[0]
    means = noise_free.reshape(9, SIZE // 2, 2, SIZE // 2, 2).mean((2, 4)) / 2
    seen = coarse.haadf.projector.forward(coarse.contrast(y[None]))[0]
    assert np.linalg.norm(seen - means) < 0.03 * np.linalg.norm(means)
    shift = np.float32(0.01)
    rise = [
        float(problem.haadf.precision[0])
        * float((problem.haadf.projector.forward(ones) ** 2).sum())
        for problem, ones in (
            (fine, np.full((1, SIZE, SIZE, SIZE), shift)),
            (coarse, np.full((1, SIZE // 2, SIZE // 2, SIZE // 2), shift)),
        )
    ]
    assert rise[0] == pytest.approx(rise[1], rel=0.05)


def test_doubling_keeps_constants_and_ramps() -> None:
    ramp = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None], (6, 4, 2))
    fine = upsample(np, ramp)
    assert fine.shape == (12, 8, 4)
    np.testing.assert_allclose(fine[1:-1, 3, 1], np.arange(0.25, 5, 0.5))
    assert upsample(np, random_volumes((2, 3, 3, 3))).mean() == pytest.approx(
        random_volumes((2, 3, 3, 3)).mean(), rel=0.05
    )


@pytest.mark.parametrize("haadf", [0.03, 1.0])
def test_half_the_resolution_gets_further_for_the_same_work(haadf: float) -> None:
    series, weights = tilt_series(SIZE), Weights(haadf, 0.5)
    problem, state = initial_state(series, [weights], SETTINGS, CPU)
    same, slow = initial_state(series, [weights], SETTINGS, CPU, smallest=SIZE)
    assert state.volumes.shape == slow.volumes.shape == (1, 4, SIZE, SIZE, SIZE)
    budget = 40.0
    short = solve(problem, state, 1e-12, budget)[0]
    long = solve(same, slow, 1e-12, budget)[0]
    assert short.history.objective[-1] < long.history.objective[-1]


def test_the_dual_of_the_start_is_within_its_ball_and_zero_at_the_faces() -> None:
    _, state = initial_state(tilt_series(SIZE), [Weights(0.1, 0.5)], SETTINGS, CPU)
    lengths = np.sqrt((state.dual[0] ** 2).sum(1))
    assert 0.6 < lengths.max() <= 1 + 1e-5
    assert not state.dual[0, :, 0, -1].any()
    assert not state.dual[0, :, 1, :, -1].any()
    assert not state.dual[0, :, 2, :, :, -1].any()


def test_work_of_the_coarse_steps_is_an_eighth() -> None:
    series, weights = tilt_series(SIZE), [Weights(0.1, 0.5)]
    _, state = initial_state(series, weights, SETTINGS, CPU)
    bare = fused_problem(series, weights, SETTINGS)
    fresh = init(bare, specimen(SIZE).volumes)
    coarse = state.work - fresh.work
    assert 40 * bare.tilts_per_iteration < 8 * coarse < 75 * bare.tilts_per_iteration


@pytest.mark.parametrize("edge", [33, 20, 12, 9])
def test_odd_and_small_volumes_have_a_start(edge: int) -> None:
    series = tilt_series(edge)
    problem, state = initial_state(series, [Weights(0.1, 0.5)], SETTINGS, CPU)
    assert state.volumes.shape[2:] == (edge,) * 3
    assert np.isfinite(problem.terms(state.volumes).objective).all()


@pytest.mark.parametrize("edge", [SIZE // 2, SIZE])
@pytest.mark.parametrize("limit", [1, 10, 40])
def test_fitting_the_haadf_scale_stays_within_the_iterations_allowed(limit: int, edge: int) -> None:
    """But for the start itself, the last fit and a curvature estimate."""
    series, settings = tilt_series(edge, haadf_tilts=47), SolverSettings(max_iterations=limit)
    unknown = replace(series, haadf_scale=None)
    found, known = (
        reconstruct(each, Method.FUSED, Weights(0.1, 0.5), settings) for each in (unknown, series)
    )
    assert found.iterations <= max(limit, known.iterations) + 5


def test_an_odd_edge_is_binned_with_half_a_pixel_of_background_on_both_sides() -> None:
    series = tilt_series(15)
    coarse = binned(series)
    assert coarse.chemical.shape == (4, 5, 8, 8)
    levels = np.array(series.chemical_background)
    beyond = 31 * levels[:, None]  # pixels beside 15 x 15
    np.testing.assert_allclose(
        coarse.chemical.sum((2, 3), dtype=float),
        series.chemical.sum((2, 3), dtype=float) + beyond,
        rtol=1e-5,
    )
    turned = binned(replace(series, haadf=np.ascontiguousarray(series.haadf[:, ::-1, ::-1])))
    np.testing.assert_allclose(turned.haadf[:, ::-1, ::-1], coarse.haadf, rtol=1e-6)


def test_an_odd_edge_is_binned_alone() -> None:
    series = tilt_series(15)
    tall = replace(series, haadf=series.haadf[..., 1:], chemical=series.chemical[..., 1:])
    coarse = binned(tall)
    assert coarse.haadf.shape == (9, 8, 7)
    inner = np.array([0.5, 1.0, 0.5]) @ tall.haadf[0, 7:10, 0:2].sum(axis=1)
    assert coarse.haadf[0, 4, 0] == pytest.approx(inner, rel=1e-6)


def test_ramps_on_an_odd_grid_stay_centred() -> None:
    ramp = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None], (4, 4, 4))
    fine = upsample(np, ramp, (7, 7, 8))
    assert fine.shape == (7, 7, 8)
    np.testing.assert_allclose(fine[:, 3, 1], np.arange(0, 3.5, 0.5))


@pytest.mark.parametrize("edge", [16, 21])
def test_below_32_voxels_too_half_the_resolution_ends_lower(edge: int) -> None:
    series, weights = tilt_series(edge, chemical_snr=3.0, haadf_tilts=47), Weights(0.01, 0.5)
    start, alone = (
        initial_state(series, [weights], SETTINGS, CPU, smallest) for smallest in (8, edge)
    )
    found, other = (solve(*each, 1e-4, 200)[0] for each in (start, alone))
    assert found.history.objective[-1] < other.history.objective[-1]


@pytest.mark.parametrize("contrast", ["linear", "power"])
def test_an_unknown_scale_does_not_run_away_with_the_noise(contrast: str) -> None:
    """Each fit to noisier volumes is lower, and makes the next volumes noisier."""
    series = replace(tilt_series(16, chemical_snr=3.0), haadf_scale=None)
    settings = SolverSettings(contrast=contrast)
    found = reconstruct(series, Method.FUSED, Weights(1.0, 1.0), settings)
    ratio = found.volumes.sum(axis=(1, 2, 3)) / specimen(16).volumes.sum(axis=(1, 2, 3))
    assert 0.5 < ratio.min() <= ratio.max() < 3.0
