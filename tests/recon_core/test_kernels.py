"""Compiled loops against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon_cases import random_volumes, two_threads, with_threads
from scipy import sparse
from scipy.optimize import minimize

from recon_core.kernels import (
    coupled_prox,
    dot,
    extrapolate,
    poisson_deviance,
    positive_prox,
    power_sum,
    sparse_product,
    weighted_squares,
)

GAMMAS = (1.4, 1.7, 2.0)
WEIGHTS = np.array([0.3, 0.1, 2.6], np.float32)
METRIC = np.array([3.0, 0.5, 7.0], np.float32)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 9), st.floats(0, 1), st.integers(0, 9)
)
def test_sparse_product(rows: int, columns: int, width: int, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = sparse.random_array((rows, columns), density=density, rng=rng, dtype=np.float32)
    matrix = sparse.csr_array(matrix)
    dense = rng.standard_normal((2, columns, width)).astype(np.float32)
    out = np.full((2, rows, width), np.nan, np.float32)
    sparse_product(matrix.indptr, matrix.indices, matrix.data, dense, out)
    np.testing.assert_allclose(out, [matrix @ d for d in dense], atol=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_power_sum(gamma: float) -> None:
    x, out = random_volumes((3, 5, 4)), np.empty((5, 4), np.float32)
    x[:, 2] = 0
    power_sum(x, WEIGHTS, gamma, out)
    direct = (WEIGHTS[:, None, None] * x.astype(np.float64) ** gamma).sum(0)
    np.testing.assert_allclose(out, direct, rtol=1e-5)


def test_dot_of_rows() -> None:
    a, b = random_volumes((2, 6, 7))
    np.testing.assert_allclose(dot(a, b), (a * b).sum(1), rtol=1e-6)


def test_poisson_deviance_and_slope() -> None:
    rng = np.random.default_rng(0)
    signal = rng.uniform(0, 8, (2, 5, 6)).astype(np.float32)
    counts = rng.poisson(4, signal.shape).astype(np.float32)
    counts[0, 0, :3] = 0
    background, out = np.array([0.5, 1.5], np.float32), np.empty_like(signal)
    sums = poisson_deviance(signal, counts, background, out)
    y = signal.astype(np.float64) + background[:, None, None]
    logs = np.where(counts > 0, counts * np.log(np.maximum(counts, 1) / y), 0)
    np.testing.assert_allclose(sums.reshape(2, 5), (y - counts + logs).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(out, 1 - counts / y, rtol=1e-5, atol=1e-6)


def test_poisson_deviance_is_zero_at_the_counts() -> None:
    counts = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
    out = np.empty_like(counts)
    np.testing.assert_allclose(poisson_deviance(counts, counts, np.zeros(1, np.float32), out), 0)
    np.testing.assert_array_equal(out, 0)


def test_weighted_squares_and_slope() -> None:
    signal, counts = random_volumes((2, 5, 6)), random_volumes((2, 5, 6), 1)
    background, precision = np.array([0.5, 1.5], np.float32), np.array([2.0, 0.25], np.float32)
    out = np.empty_like(signal)
    sums = weighted_squares(signal, counts, background, precision, out)
    r = signal + background[:, None, None] - counts
    np.testing.assert_allclose(out, precision[:, None, None] * r, rtol=1e-5)
    direct = (precision[:, None, None] * r**2 / 2).sum(-1)
    np.testing.assert_allclose(sums.reshape(2, 5), direct, rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_extrapolation_and_its_sums(beta: float) -> None:
    old, new, point = (random_volumes((3, 4, 5), seed) for seed in range(3))
    before, change = point.copy(), new - old
    sums = extrapolate(old, new, np.float32(beta), METRIC, point).sum(1)
    np.testing.assert_allclose(point, new + np.float32(beta) * change, rtol=1e-6)
    uphill = (METRIC[:, None, None] * (before - new) * change).sum()
    np.testing.assert_allclose(sums, [(change**2).sum(), (new**2).sum(), uphill], rtol=1e-4)


def test_nan_is_not_clipped_away() -> None:
    shape = (1, 2, 2, 3)
    point, out = random_volumes(shape), np.empty(shape, np.float32)
    point[0, 1, 1, 1] = np.nan
    positive_prox(point, np.zeros((3, *shape), np.float32), METRIC[:1], out)
    assert np.isnan(out[0, 1, 1, 1])
    flat = point.reshape(1, 4, 3)
    sums = poisson_deviance(flat, np.ones_like(flat), np.ones(1, np.float32), np.empty_like(flat))
    assert np.isnan(sums).sum() == 1


def voxel_case(gamma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Point and start (3, 2, 2, 3) and targets below, above and opposite to the contrast."""
    rng = np.random.default_rng(5)
    point = rng.uniform(-0.3, 1.0, (3, 2, 2, 3)).astype(np.float32)
    start = rng.uniform(0.05, 1.0, point.shape).astype(np.float32)
    contrast = (WEIGHTS[:, None, None, None] * np.maximum(point, 0) ** gamma).sum(0)
    factor = np.array([0.1, 0.6, 0.95, 1.1, 1.5, 3.0, -0.5, -0.1, 0.0, 1.0, 0.8, 2.0])
    return point, start, (contrast * factor.reshape(contrast.shape)).astype(np.float32)


def voxel_objective(x: np.ndarray, a: np.ndarray, v: float, rho: float, gamma: float) -> float:
    gap = (WEIGHTS * np.maximum(x, 0) ** gamma).sum() - v
    return float((METRIC * (x - a) ** 2).sum() / 2 + rho * gap**2 / 2)


def best_of_voxel(a: np.ndarray, v: float, rho: float, gamma: float) -> float:
    rng = np.random.default_rng(0)
    starts = [np.maximum(a, 1e-3), *rng.uniform(0, 1.5, (6, 3))]
    runs = [
        minimize(voxel_objective, s, (a, v, rho, gamma), "L-BFGS-B", bounds=[(0, None)] * 3)
        for s in starts
    ]
    return min(float(run.fun) for run in runs)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("rho", [0.1, 5.0])
def test_coupled_prox_settles_at_the_minimum_of_each_voxel(gamma: float, rho: float) -> None:
    point, x, target = voxel_case(gamma)
    dual = np.zeros((3, *point.shape), np.float32)
    for _ in range(300):
        coupled_prox(point, dual, x, target, WEIGHTS, METRIC, np.float32(rho), gamma, x)
    assert x.min() >= 0
    for at in np.ndindex(target.shape):
        a, v = point[(slice(None), *at)].astype(float), float(target[at])
        reached = voxel_objective(x[(slice(None), *at)].astype(float), a, v, rho, gamma)
        best = best_of_voxel(a, v, rho, gamma)
        assert reached <= best * 1.001 + 1e-5, (at, a, v)


def test_coupled_prox_without_coupling_is_the_positive_prox() -> None:
    point, start, target = voxel_case(2.0)
    dual = np.random.default_rng(1).standard_normal((3, *point.shape)).astype(np.float32)
    coupled, plain = np.empty_like(point), np.empty_like(point)
    coupled_prox(point, dual, start, target, WEIGHTS, METRIC, np.float32(0), 2.0, coupled)
    positive_prox(point, dual, METRIC, plain)
    np.testing.assert_allclose(coupled, plain, atol=1e-6)


def test_no_concentration_more_than_doubles_where_contrast_is_missing() -> None:
    start = random_volumes((3, 2, 2, 4))
    dual = np.zeros((3, *start.shape), np.float32)
    target, out = np.full((2, 2, 4), 1e4, np.float32), np.empty_like(start)
    coupled_prox(start, dual, start, target, WEIGHTS, METRIC, np.float32(1e4), 2.0, out)
    assert (out > start).any()
    assert (out <= 2.001 * start).all()


@two_threads
def test_threads_do_not_change_the_kernels() -> None:
    point, start = random_volumes((3, 8, 8, 8)), random_volumes((3, 8, 8, 8), 1)
    target = random_volumes((8, 8, 8), 2)
    dual = np.zeros((3, *point.shape), np.float32)

    def prox() -> np.ndarray:
        out = np.empty_like(point)
        coupled_prox(point, dual, start, target, WEIGHTS, METRIC, np.float32(1), 1.7, out)
        return out

    np.testing.assert_array_equal(with_threads(1, prox), with_threads(2, prox))
