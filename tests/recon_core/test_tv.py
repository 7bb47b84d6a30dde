"""Total variation: closed forms, the adjoint pair, and the prox against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from recon_reference import differences, negative_divergence
from recon_reference import total_variation as rounded_tv
from scipy.optimize import minimize

from recon_core.kernels import dual_step, positive_prox, total_variation
from recon_core.solve import TV_DIVISOR


def tv(x: np.ndarray) -> float:
    return float(total_variation(x.astype(np.float32)[None]).sum())


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_a_constant_has_none() -> None:
    assert tv(np.full((4, 5, 6), 3.0)) == 0


@pytest.mark.parametrize(("axis", "area"), [(0, 30), (1, 24), (2, 20)])
def test_a_step_has_its_area(axis: int, area: int) -> None:
    x = np.zeros((4, 5, 6))
    np.moveaxis(x, axis, 0)[2:] = 1
    assert tv(2.5 * x) == pytest.approx(2.5 * area)


def test_a_ramp_along_all_axes_is_isotropic() -> None:
    z, y, x = np.indices((4, 5, 6))
    ramp = 3 * z + 4 * y + 12 * x
    inside = 3 * 4 * 5 * 13  # sqrt(9 + 16 + 144) = 13
    faces = 4 * 5 * np.hypot(4, 12) + 3 * 5 * np.hypot(3, 12) + 3 * 4 * 5
    edges = 3 * 3 + 4 * 4 + 5 * 12
    assert tv(ramp) == pytest.approx(inside + faces + edges)


def test_tv_is_that_of_the_reference_and_adds_over_elements() -> None:
    x = normal((3, 4, 5, 6), 0)
    assert total_variation(x).sum() == pytest.approx(rounded_tv(x, 0.0)[0], rel=1e-6)
    assert total_variation(x).sum() == pytest.approx(sum(tv(v) for v in x), rel=1e-6)


def gradient_by_the_dual(x: np.ndarray) -> np.ndarray:
    dual = np.zeros((3, *x.shape), np.float32)
    dual_step(x, np.ones(len(x), np.float32), np.float32(1e6), dual)
    return dual


def divergence_by_the_prox(dual: np.ndarray) -> np.ndarray:
    far = np.float32(64)  # far from zero, so that clipping never acts
    out = np.empty(dual.shape[1:], np.float32)
    positive_prox(np.full_like(out, far), dual, np.ones(len(out), np.float32), out)
    return out - far


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (4, 1, 3), (5, 4, 6)])
def test_divergence_is_the_negative_adjoint_of_the_gradient(shape: tuple[int, ...]) -> None:
    x, dual = normal((2, *shape), 0), gradient_by_the_dual(normal((2, *shape), 1))
    np.testing.assert_allclose(gradient_by_the_dual(x), differences(x), atol=1e-6)
    left = float((gradient_by_the_dual(x) * dual).sum())
    right = -float((x * divergence_by_the_prox(dual)).sum())
    assert left == pytest.approx(right, abs=1e-3)
    np.testing.assert_allclose(divergence_by_the_prox(dual), -negative_divergence(dual), atol=2e-5)


def test_dual_vectors_stay_in_their_ball_and_keep_their_direction() -> None:
    x = 10 * normal((2, 4, 5, 6), 0)
    dual = np.zeros((3, *x.shape), np.float32)
    dual_step(x, np.ones(2, np.float32), np.float32(0.7), dual)
    lengths = np.sqrt((dual**2).sum(0))
    assert lengths.max() <= 0.7 * (1 + 1e-6)
    free = differences(x)
    cosine = (dual * free).sum(0) / np.maximum(lengths * np.sqrt((free**2).sum(0)), 1e-9)
    np.testing.assert_allclose(cosine[lengths > 0], 1, atol=1e-5)


def prox(point: np.ndarray, metric: np.ndarray, weight: float, steps: int) -> np.ndarray:
    dual, out = np.zeros((3, *point.shape), np.float32), np.empty_like(point)
    positive_prox(point, dual, metric, out)
    for _ in range(steps):
        dual_step(out, (metric / TV_DIVISOR).astype(np.float32), np.float32(weight), dual)
        positive_prox(point, dual, metric, out)
    return out


def brute_force_prox(point: np.ndarray, metric: np.ndarray, weight: float) -> np.ndarray:
    m = metric.astype(float)[:, None, None, None]

    def value(flat: np.ndarray, rounding: float) -> tuple[float, np.ndarray]:
        x = flat.reshape(point.shape)
        roughness, slope = rounded_tv(x, rounding)
        fit = (m * (x - point) ** 2).sum() / 2
        return fit + weight * roughness, (m * (x - point) + weight * slope).ravel()

    x, options = np.maximum(point, 0).ravel().astype(float), {"maxiter": 4000, "maxfun": 4000}
    for rounding in (1e-2, 1e-4, 1e-5):
        x = minimize(
            value, x, (rounding,), "L-BFGS-B", True, bounds=[(0, None)] * x.size, options=options
        ).x
    return x.reshape(point.shape)


@pytest.mark.parametrize("weight", [0.05, 0.4])
def test_iterated_steps_reach_the_prox(weight: float) -> None:
    """prox: argmin over x >= 0 of sum metric/2 (x - point)^2 + weight TV(x)."""
    point, metric = normal((2, 6, 6, 6), 3) + np.float32(0.4), np.array([1.0, 3.0], np.float32)
    found, best = prox(point, metric, weight, 1500), brute_force_prox(point, metric, weight)
    np.testing.assert_allclose(found, best, atol=5e-3)  # the rounded corner costs the latter

    def objective(x: np.ndarray) -> float:
        fit = (metric[:, None, None, None] * (x.astype(float) - point) ** 2).sum() / 2
        return float(fit + weight * rounded_tv(x.astype(float), 0.0)[0])

    assert objective(found) <= objective(best) * (1 + 1e-5)
