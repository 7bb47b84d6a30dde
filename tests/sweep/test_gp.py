from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.sweep.search.gp import LENGTHS, MODELS, NOISES, Models, ask, expect, fit, matern

RNG = np.random.default_rng


def bowl(points: np.ndarray) -> np.ndarray:
    values = ((points - [0.3, 0.7]) ** 2 * [1.0, 4.0]).sum(axis=1)
    return (values - values.mean()) / values.std()


def one_model(models: Models, k: int) -> tuple[np.ndarray, float]:
    """Correlations of the points under model ``k``, and its noise as its factor tells it."""
    factor = np.linalg.inv(models.inverse[k])
    covariance = factor @ factor.T
    return matern(models.points, models.points, models.lengths)[k], covariance[0, 0] - 1.0


def test_the_kernel_is_materns_with_five_halves() -> None:
    from sklearn.gaussian_process.kernels import Matern

    points, lengths = RNG(0).random((7, 2)), np.array([[0.2, 0.9], [1.3, 0.4]])
    ours = matern(points, points[:3], lengths)
    theirs = [Matern(length, nu=2.5)(points, points[:3]) for length in lengths]
    assert ours == pytest.approx(np.array(theirs))


def test_a_prediction_is_that_of_the_textbook() -> None:
    points, at = RNG(1).random((9, 2)), RNG(2).random((5, 2))
    scores = bowl(points)
    models = fit(points, scores)
    mean, deviation = models.predict(at)
    for k in range(len(models.weights)):
        correlation, noise = one_model(models, k)
        inverse = np.linalg.inv(correlation + noise * np.eye(9))
        across = matern(at, points, models.lengths)[k]
        best_mean = inverse.sum(axis=0) @ scores / inverse.sum()
        left = 1.0 - np.einsum("in,nm,im->i", across, inverse, across)
        assert mean[k] == pytest.approx(
            best_mean + across @ inverse @ (scores - best_mean), abs=1e-5
        )
        assert deviation[k] == pytest.approx(models.deviation[k] * np.sqrt(left), abs=1e-4)


def test_the_models_together_are_what_drawing_from_them_gives() -> None:
    points, at = RNG(3).random((8, 2)), RNG(4).random((3, 2))
    models = fit(points, bowl(points))
    mean, deviation = models.predict(at)
    k = RNG(5).choice(len(models.weights), 200_000, p=models.weights)
    draws = mean[k] + deviation[k] * RNG(6).standard_normal((200_000, 3))
    found = models.mixture(at)
    assert found[0] == pytest.approx(draws.mean(axis=0), abs=5e-3 * deviation.max())
    assert found[1] == pytest.approx(draws.std(axis=0), rel=0.01)
    assert expect(points, bowl(points), at)[0].tolist() == found[0].tolist()


def test_the_improvement_is_what_drawing_from_the_models_gives() -> None:
    points = RNG(3).random((8, 2))
    models, at = fit(points, bowl(points)), RNG(4).random((3, 2))
    mean, deviation = models.predict(at)
    draws = mean[..., None] + deviation[..., None] * RNG(5).standard_normal((*mean.shape, 200_000))
    expected = models.weights @ np.maximum(0.2 - draws, 0.0).mean(axis=-1)
    best = np.full(len(models.weights), 0.2)
    assert models.improvement(at, best) == pytest.approx(expected, rel=0.02, abs=1e-4)


def test_pending_points_narrow_the_variance_and_leave_the_mean_alone() -> None:
    points, pending, at = RNG(6).random((9, 2)), RNG(7).random((2, 2)), RNG(8).random((20, 2))
    without, with_them = fit(points, bowl(points)), fit(np.vstack([points, pending]), bowl(points))
    means, deviations = zip(without.predict(at), with_them.predict(at), strict=True)
    assert means[1] == pytest.approx(means[0], abs=1e-6)
    assert (deviations[1] <= deviations[0] + 1e-6).all()
    assert deviations[1].mean() < 0.95 * deviations[0].mean()
    assert with_them.predict(pending)[1].max() < 0.1 * without.predict(pending)[1].max()


@pytest.mark.parametrize("length", [0.1, 0.7])
def test_a_drawn_process_is_recognised(length: float) -> None:
    points = RNG(9).random((40, 1))
    covariance = matern(points, points, np.array([[length]]))[0] + 1e-8 * np.eye(40)
    models = fit(points, np.linalg.cholesky(covariance) @ RNG(10).standard_normal(40))
    mean_length = float(np.exp(models.weights @ np.log(models.lengths[:, 0])))
    assert abs(np.log(mean_length / length)) < np.log(LENGTHS[1] / LENGTHS[0])


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 30, 130])
def test_models_are_few_and_share_all_probability(dimensions: int, count: int) -> None:
    points = RNG(count).random((count, dimensions))
    models = fit(points, np.sin(5 * points).sum(axis=1))
    assert 1 <= len(models.weights) <= min(MODELS, len(LENGTHS) ** dimensions * len(NOISES))
    assert models.weights.sum() == pytest.approx(1.0)
    assert (np.diff(models.weights) <= 0.0).all()
    assert np.isfinite(models.predict(points)[0]).all()


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 12),
    pending=st.integers(0, 4),
    seed=st.integers(0, 99),
    repeated=st.booleans(),
    flat=st.booleans(),
)
def test_whatever_is_known_the_point_is_in_the_cube(
    count: int, pending: int, seed: int, repeated: bool, flat: bool
) -> None:
    points = RNG(seed).random((count + pending, 2))
    if repeated:
        points[:] = points[0]
    scores = np.zeros(count) if flat else RNG(seed + 1).standard_normal(count)
    point = ask(points, scores, seed)
    assert point.shape == (2,)
    assert ((point >= 0.0) & (point <= 1.0)).all()
    assert (ask(points, scores, seed) == point).all()


def test_the_bottom_of_a_bowl_is_found_at_once() -> None:
    points = RNG(11).random((12, 2))
    assert ask(points, bowl(points), 0) == pytest.approx([0.3, 0.7], abs=0.05)
