"""Compiled loops against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from recon_cases import random_volumes

from tomoatlas.recon_core.cpu.kernels import (
    descend,
    descent_products,
    distance,
    plane_products,
    poisson_deviance,
    poisson_slope,
    power_sum,
    squares_slope,
    weighted_squares,
)

GAMMAS = (1.0, 1.4, 1.7, 2.0)
WEIGHTS = np.array([0.3, 0.1, 2.6], np.float32)
SCALE = np.array([2.0, 0.5], np.float32)
BACKGROUND = np.array([0.5, 1.5], np.float32)
KNEE = np.array([0.1, 0.1], np.float32)
PRECISION = np.array([2.0, 0.25], np.float32)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_power_sum(gamma: float) -> None:
    x, out = random_volumes((2, 3, 5, 4)), np.empty((2, 5, 4), np.float32)
    x[:, :, 2] = 0
    power_sum(x, WEIGHTS, gamma, out)
    direct = (WEIGHTS[:, None, None] * x.astype(np.float64) ** gamma).sum(1)
    np.testing.assert_allclose(out, direct, rtol=1e-5)


def rays_and_counts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rays (trial, element, row, x), counts (element, row, x) and expected counts, float64."""
    rng = np.random.default_rng(0)
    rays = rng.uniform(0, 8, (3, 2, 5, 6)).astype(np.float32)
    counts = rng.poisson(4, rays.shape[1:]).astype(np.float32)
    counts[0, 0, :3] = 0
    y = SCALE[:, None, None].astype(np.float64) * rays + BACKGROUND[:, None, None]
    return rays, counts, y


def test_poisson_deviance_and_slope() -> None:
    rays, counts, y = rays_and_counts()
    sums = poisson_deviance(rays, counts, SCALE, BACKGROUND, KNEE)
    logs = np.where(counts > 0, counts * np.log(np.maximum(counts, 1) / y), 0)
    np.testing.assert_allclose(sums.reshape(3, 2, 5), (y - counts + logs).sum(-1), rtol=1e-5)
    poisson_slope(rays, counts, SCALE, BACKGROUND, KNEE, rays)
    np.testing.assert_allclose(rays, SCALE[:, None, None] * (1 - counts / y), rtol=1e-5, atol=1e-6)


def test_below_the_knee_the_likelihood_is_the_parabola_of_its_value_slope_and_curvature() -> None:
    """No count is expected anywhere, and some are found: everything stays finite."""
    knee, one = np.float32(0.5), np.ones(1, np.float32)
    rays = np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 1, 1, 6)
    counts = np.full((1, 1, 6), 3, np.float32)
    y = rays[0, 0, 0].astype(float)
    below = y - knee
    log = np.log(knee) + below / knee - below**2 / (2 * knee**2)
    value = y - 3 + 3 * (np.log(3) - np.where(y < knee, log, np.log(np.maximum(y, knee))))
    bent = np.where(y < knee, (2 - y / knee) / knee, 1 / np.maximum(y, knee))
    sums = poisson_deviance(rays, counts, one, 0 * one, knee * one)
    np.testing.assert_allclose(sums[0], value.sum(), rtol=1e-6)
    poisson_slope(rays, counts, one, 0 * one, knee * one, rays)
    np.testing.assert_allclose(rays[0, 0, 0], 1 - 3 * bent, rtol=1e-6)


def test_a_background_above_the_knee_leaves_the_likelihood_as_it_is() -> None:
    """To the bit: whatever the knee is."""
    rays, counts, _ = rays_and_counts()
    data, slopes = (rays, counts, SCALE, BACKGROUND), (np.empty_like(rays), np.empty_like(rays))
    for knee, out in zip((KNEE, 5 * KNEE), slopes, strict=True):
        poisson_slope(*data, knee, out)
    np.testing.assert_array_equal(*slopes)
    np.testing.assert_array_equal(
        poisson_deviance(*data, KNEE), poisson_deviance(*data, np.float32(5) * KNEE)
    )


def test_poisson_deviance_is_zero_at_the_counts() -> None:
    counts, one = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4), np.ones(1, np.float32)
    rays = counts[None].copy()
    np.testing.assert_allclose(poisson_deviance(rays, counts, one, 0 * one, KNEE[:1]), 0)
    poisson_slope(rays, counts, one, 0 * one, KNEE[:1], rays)
    np.testing.assert_array_equal(rays, 0)


def test_weighted_squares_and_slope() -> None:
    rays, counts, y = rays_and_counts()
    weight = PRECISION[:, None, None]
    sums = weighted_squares(rays, counts, SCALE, BACKGROUND, PRECISION)
    direct = (weight * (y - counts) ** 2 / 2).sum(-1)
    np.testing.assert_allclose(sums.reshape(3, 2, 5), direct, rtol=1e-5)
    squares_slope(rays, counts, SCALE, BACKGROUND, PRECISION, rays)
    np.testing.assert_allclose(
        rays, SCALE[:, None, None] * weight * (y - counts), rtol=1e-5, atol=1e-6
    )


def test_distance_of_rows() -> None:
    rays, signal = random_volumes((3, 6, 7)), random_volumes((6, 7), 1)
    np.testing.assert_allclose(distance(rays, signal), ((rays - signal) ** 2).sum(-1), rtol=1e-5)


def test_products_and_update_of_a_descent() -> None:
    residual, direction, image, solution, last, last_image = (
        random_volumes((3, 6, 7), seed) for seed in range(6)
    )
    ridge = np.float32(0.3)
    bend, bend_last = image + ridge * direction, last_image + ridge * last
    sums = descent_products(residual, direction, image, ridge)
    np.testing.assert_allclose(sums[..., 0], (residual * direction).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(sums[..., 1], (direction * bend).sum(-1), rtol=1e-5)
    sums = plane_products(residual, direction, image, last, last_image, ridge)
    pairs = (residual, direction), (residual, last)
    pairs += (direction, bend), (direction, bend_last), (last, bend_last)
    for at, (one, other) in enumerate(pairs):
        np.testing.assert_allclose(sums[..., at], (one * other).sum(-1), rtol=1e-5)
    lengths = np.array([[0.5, 0.2], [0.0, 0.0], [2.0, -1.0]], np.float32)
    after, rest, step, stepped = (a.copy() for a in (solution, residual, last, last_image))
    descend(lengths, direction, image, step, stepped, ridge, after, rest)
    along, onward = lengths.T[:, :, None, None]
    np.testing.assert_allclose(step, along * direction + onward * last, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stepped, along * image + onward * last_image, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after, solution + step, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rest, residual - stepped - ridge * step, rtol=1e-4, atol=1e-5)


def test_nan_is_not_clipped_away() -> None:
    rays, counts, _ = rays_and_counts()
    rays[1, 0, 2, 3] = np.nan
    assert np.isnan(poisson_deviance(rays, counts, SCALE, BACKGROUND, KNEE)).sum() == 1
