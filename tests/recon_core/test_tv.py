"""Total variation: closed forms, the adjoint pair, and the prox against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from recon_reference import differences, negative_divergence
from recon_reference import total_variation as rounded_tv
from recon_volume_step import uncoupled
from scipy.optimize import minimize

from tomoatlas.recon_core.cpu.kernels import total_variation
from tomoatlas.recon_core.cpu.volume_step import Fields, Steps, volume_step


def tv(x: np.ndarray) -> float:
    return float(total_variation(x.astype(np.float32)[None, None]).sum())


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
    assert total_variation(x[None]).sum() == pytest.approx(rounded_tv(x, 0.0)[0], rel=1e-6)
    assert total_variation(x[None]).sum() == pytest.approx(sum(tv(v) for v in x), rel=1e-6)


def stepped(
    start: np.ndarray, slope: np.ndarray, dual: np.ndarray, metric: np.ndarray, weight: float
) -> Fields:
    """One step without HAADF: start (element, z, y, x), dual (element, 3, z, y, x)."""
    fields = uncoupled(start, slope, dual)
    zero = np.zeros(1, np.float32)
    bound = np.full(1, weight, np.float32)
    volume_step(fields, Steps(metric[None], bound, zero, zero, np.float32(0), metric, 2.0))
    return fields


def gradient_by_the_dual(x: np.ndarray) -> np.ndarray:
    """What a step adds to a dual of zero, far from its bound and x from zero."""
    metric, far = np.full(len(x), 12, np.float32), x + np.float32(64)
    zero = np.zeros((len(x), 3, *x.shape[1:]), np.float32)
    return 1e6 * stepped(far, np.zeros_like(x), zero, metric, 1e6).dual[0]


def divergence_by_the_prox(dual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The dual that a step arrives at, and what it adds to x, far from zero."""
    far = np.full((len(dual), *dual.shape[2:]), 64, np.float32)
    fields = stepped(far, np.zeros_like(far), dual, np.ones(len(dual), np.float32), 1.0)
    return fields.dual[0], fields.next_volumes[0] - np.float32(64)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (4, 1, 3), (5, 4, 6), (9, 50, 50)])
def test_divergence_is_the_negative_adjoint_of_the_gradient(shape: tuple[int, ...]) -> None:
    x, of_x = normal((2, *shape), 0), gradient_by_the_dual(normal((2, *shape), 0))
    dual, divergence = divergence_by_the_prox(gradient_by_the_dual(normal((2, *shape), 1)))
    np.testing.assert_allclose(of_x.swapaxes(0, 1), differences(x), atol=2e-5)
    left, right = float((of_x * dual).sum()), -float((x * divergence).sum())
    assert left == pytest.approx(right, rel=1e-4, abs=1e-3)
    expected = -negative_divergence(dual.swapaxes(0, 1))
    np.testing.assert_allclose(divergence, expected, atol=4e-5)


def test_dual_vectors_stay_in_their_ball_and_keep_their_direction() -> None:
    x = 10 * normal((2, 4, 5, 6), 0) + np.float32(64)
    zero = np.zeros((2, 3, 4, 5, 6), np.float32)
    metric = np.full(2, 12, np.float32)
    dual = stepped(x, np.zeros_like(x), zero, metric, 0.7).dual[0].swapaxes(0, 1)
    lengths = np.sqrt((dual**2).sum(0))
    assert lengths.max() == pytest.approx(1, abs=1e-6)
    free = differences(x)
    cosine = (dual * free).sum(0) / np.maximum(lengths * np.sqrt((free**2).sum(0)), 1e-9)
    np.testing.assert_allclose(cosine[lengths > 0], 1, atol=1e-5)


def prox(point: np.ndarray, metric: np.ndarray, weight: float, steps: int) -> np.ndarray:
    dual, zero = np.zeros((len(point), 3, *point.shape[1:]), np.float32), np.zeros_like(point)
    for _ in range(steps):
        fields = stepped(point, zero, dual, metric, weight)
        dual = fields.dual[0]
    return fields.next_volumes[0]


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
