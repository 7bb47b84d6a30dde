"""The surrogates of a search: which point of the unit cube to try next.

:func:`ask`, in milliseconds, asks for the best expected improvement under a Gaussian process. The
kernel is Matern-5/2 with a length per dimension (Rasmussen and Williams 2006, eq. 4.17), the
criterion expected improvement (Jones et al. 1998). Lengths and noise are not fitted but averaged
over: a grid of them, each weighted by its posterior probability, with the constant mean and the
variance of the process at their best values. With tens of points that is more robust than one best
fit, needs no restarts, and costs a few small Cholesky factors.

A pending point is assumed to give what the model predicts there ("kriging believer", Ginsbourger et
al. 2010): that narrows the variance, leaves the mean alone, and may be the value to improve on.

:func:`ask_gp_hedge` asks scikit-optimize's gp_hedge: the reference, a hundred times slower. Its
optimizer is made anew for every proposal and given all results in one batch, because replaying its
``tell`` calls one by one does not reproduce a run.
"""

from __future__ import annotations

import itertools
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController, threadpool_limits

from ...recon_core.errors import needed

if TYPE_CHECKING:
    from skopt.learning import GaussianProcessRegressor

Array = NDArray[np.float64]

LENGTHS = np.geomspace(0.1, 2.5, 6)
"""Length scales of the kernel on the grid, in edges of the cube."""

LIKELY_LENGTH, LENGTH_SPREAD = 0.5, 0.8
"""Prior of a length scale: median, and standard deviation of its logarithm."""

NOISES = (1e-6, 1e-4, 1e-2)
"""Noise variances on the grid, relative to that of the process: solvers stop at a tolerance,
so scores are slightly rough.
"""

PRIOR_WEIGHT = 1.0
"""Number of observations for which the prior variance, that of the scores, counts."""

MODELS, MASS = 8, 0.98
"""Most models of the grid that are used, and the probability mass at which fewer suffice."""

EVIDENCE_POINTS = 64
"""Latest points by which models are compared; more cost time and change little."""

SPREAD_OUT, NEAR_BEST = 256, 20
"""Candidates over the whole cube, and around each of the best points at each of :data:`SCALES`."""
SCALES = (0.3, 0.1, 0.03, 0.01)
"""Standard deviations of the candidates around the best points, in edges of the cube."""
REFINEMENTS, REFINED = (0.03, 0.01, 0.003, 0.001), 48
"""Standard deviations of ever closer candidates around the best one found, and their number."""


@dataclass(frozen=True)
class Models:
    """The most probable models of scores at points, weighted; k models, n points, m scores, d
    weights.

    Parameters
    ----------
    points : all points (n, d), the known ones first.
    lengths : length scales (k, d).
    weights : posterior probabilities (k,), which sum to 1.
    mean : constant mean of the process (k,).
    deviation : standard deviation of the process (k,).
    inverse : inverse Cholesky factor of the covariance of all points (k, n, n).
    known : its first m rows times the scores of the first m points, less the mean (k, m).
    """

    points: Array
    lengths: Array
    weights: Array
    mean: Array
    deviation: Array
    inverse: Array
    known: Array

    def predict(self, at: Array) -> tuple[Array, Array]:
        """Predict the score by each model.

        Parameters
        ----------
        at : points (number, d).

        Returns
        -------
        Mean and standard deviation (k, number).
        """
        # Whitened cross-covariance: with L⁻¹ at hand, mean and variance are plain products.
        half = matern(at, self.points, self.lengths) @ self.inverse.transpose(0, 2, 1)
        count = self.known.shape[1]
        # Pending points do not enter the mean: their believed scores are the prediction itself.
        mean = self.mean[:, None] + (half[:, :, :count] @ self.known[:, :, None])[:, :, 0]
        # Rounding may push the variance at a known point below zero.
        left = np.maximum(1.0 - np.einsum("kin,kin->ki", half, half), 1e-12)
        return mean, self.deviation[:, None] * np.sqrt(left)

    def mixture(self, at: Array) -> tuple[Array, Array]:
        """Predict the score by all models together: mean and spread of the weighted mixture.

        Parameters
        ----------
        at : points (number, d).

        Returns
        -------
        Mean and standard deviation (number,).
        """
        means, deviations = self.predict(at)
        mean: Array = self.weights @ means
        # Law of total variance: within the models, and between their means.
        return mean, np.sqrt(self.weights @ (deviations**2 + (means - mean) ** 2))

    def improvement(self, at: Array, best: Array) -> Array:
        """Expected improvement, averaged over the models.

        Parameters
        ----------
        at : points (number, d).
        best : score to improve on (k,).

        Returns
        -------
        Expected improvement (number,).
        """
        mean, deviation = self.predict(at)
        gain = improvement(mean, deviation, best[:, None])
        # The tiny term ranks points by their uncertainty where no improvement is expected at all.
        found: Array = self.weights @ (gain + 1e-12 * deviation)
        return found


def improvement(mean: Array, deviation: Array, best: Array) -> Array:
    """Expected improvement on ``best`` (Jones et al. 1998, eq. 15).

    Parameters
    ----------
    mean, deviation : of the prediction, of one shape.
    best : lowest so far, of a shape that goes with it.
    """
    z = (best - mean) / deviation
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    gain: Array = deviation * (z * ndtr(z) + density)
    return np.maximum(gain, 0.0, out=gain)


def ask(points: Array, scores: Array, seed: int) -> Array:
    """The point of the unit cube with the largest expected improvement.

    Parameters
    ----------
    points : (n, d), known ones first, then the pending.
    scores : (m,), m <= n, of the known points, standardised, lower is better.
    seed : of the search for the best point.

    Returns
    -------
    Point (d,).
    """
    with one_blas_thread():
        models = fit(points, scores)
        return _best_point(models, points, scores, np.random.default_rng(seed))


def expect(points: Array, scores: Array, at: Array) -> tuple[Array, Array]:
    """Predict the score at any point, averaged over the models.

    Parameters
    ----------
    points : (n, d), known ones first, then the pending.
    scores : (m,), m <= n, of the known points, standardised.
    at : points (number, d) to predict at.

    Returns
    -------
    Mean and standard deviation (number,).
    """
    with one_blas_thread():
        return fit(points, scores).mixture(at)


def one_blas_thread() -> AbstractContextManager[object]:
    """BLAS on one thread: several sum in another order and change the last digits."""
    limit: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limit


@cache
def _blas() -> ThreadpoolController:
    """The loaded BLAS libraries; finding them takes as long as the rest of a proposal."""
    return ThreadpoolController()


def fit(points: Array, scores: Array) -> Models:
    """The most probable models of the grid of lengths and noises.

    Parameters
    ----------
    points : (n, d), known ones first, then the pending.
    scores : (m,), m <= n, of the known points, standardised.
    """
    count, dimensions = len(scores), points.shape[1]
    grid = list(itertools.product(*[LENGTHS] * dimensions, NOISES))
    lengths, noise = np.array(grid)[:, :-1], np.array(grid)[:, -1]
    # The evidence costs a factor per model of the whole grid; the fit only of those kept.
    first = max(0, count - EVIDENCE_POINTS)
    evidence = _evidence(points[first:count], scores[first:], lengths, noise)
    keep = _likeliest(evidence)
    # Relative to the most probable model, so that the exponential cannot underflow to zero for all.
    chance = np.exp(evidence[keep] - evidence[keep[0]])
    inverse = _inverse_factor(points, lengths[keep], noise[keep])
    # The leading block of an inverse triangular factor is that of the known points alone.
    mean, deviation, known = _moments(inverse[:, :count, :count], scores)
    weights = chance / chance.sum()
    return Models(points, lengths[keep], weights, mean, deviation, inverse, known)


def _evidence(points: Array, scores: Array, lengths: Array, noise: Array) -> Array:
    """Logarithm of the posterior probability of each model, up to a constant."""
    inverse = _inverse_factor(points, lengths, noise)
    _, deviation, _ = _moments(inverse, scores)
    spread = (np.log(lengths / LIKELY_LENGTH) / LENGTH_SPREAD) ** 2
    # -½ log det of the covariance, from the diagonal of the inverse factor.
    volume = np.log(np.diagonal(inverse, axis1=1, axis2=2)).sum(axis=1)
    found: Array = volume - len(scores) * np.log(deviation) - 0.5 * spread.sum(axis=1)
    return found


def _likeliest(evidence: Array) -> NDArray[np.intp]:
    """Indices of the most probable models, in that order."""
    # Stable, so that ties do not depend on the machine.
    order = np.argsort(-evidence, kind="stable")
    chance = np.exp(evidence[order] - evidence[order[0]])
    held = np.cumsum(chance) / chance.sum()
    return order[: min(MODELS, int(np.searchsorted(held, MASS)) + 1)]


def _inverse_factor(points: Array, lengths: Array, noise: Array) -> Array:
    """Inverse Cholesky factors (k, n, n) of the covariances of the points."""
    covariance = matern(points, points, lengths)
    covariance += noise[:, None, None] * np.eye(len(points))
    inverse: Array = np.linalg.inv(np.linalg.cholesky(covariance))
    return inverse


def _moments(inverse: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Mean and deviation of the process under each model, and its whitened scores."""
    ones, white = inverse.sum(axis=2), inverse @ scores
    mean = (ones * white).sum(axis=1) / (ones * ones).sum(axis=1)
    known = white - mean[:, None] * ones
    variance = ((known**2).sum(axis=1) + PRIOR_WEIGHT) / (len(scores) + PRIOR_WEIGHT)
    return mean, np.sqrt(variance), known


def matern(a: Array, b: Array, lengths: Array) -> Array:
    """Matern-5/2 correlations between points, for several sets of lengths.

    Parameters
    ----------
    a, b : points, (point, d).
    lengths : (k, d).

    Returns
    -------
    array : (k, len(a), len(b)).
    """
    squares = (a[:, None, :] - b[None, :, :]) ** 2
    # One matrix product over the squared differences of all pairs, for all models.
    r = np.sqrt(5.0 * lengths**-2.0 @ squares.reshape(-1, a.shape[1]).T)
    return correlation(r).reshape(len(lengths), len(a), len(b))


def correlation(r: Array) -> Array:
    """Matern-5/2 correlations.

    Parameters
    ----------
    r : distances in units of the length, times the root of 5.
    """
    found: Array = (1.0 + r + r * r / 3.0) * np.exp(-r)
    return found


def _best_point(models: Models, points: Array, scores: Array, rng: np.random.Generator) -> Array:
    """The best of points over the cube and near the best known, then of ever closer ones."""
    # Kriging believer: a pending point may already be the best, by what the model predicts there.
    believed = models.predict(points[len(scores) :])[0]
    best = believed.min(axis=1, initial=float(scores.min()))
    # Dense candidates around the best: improvement peaks there once the model is good.
    leaders = points[np.argsort(scores, kind="stable")[:3]]
    near = [_around(leader, scale, NEAR_BEST, rng) for leader in leaders for scale in SCALES]
    candidates = np.concatenate([rng.random((SPREAD_OUT, points.shape[1])), *near])
    for scale in REFINEMENTS:
        found = candidates[np.argmax(models.improvement(candidates, best))]
        candidates = np.concatenate([found[None], _around(found, scale, REFINED, rng)])
    point: Array = candidates[np.argmax(models.improvement(candidates, best))]
    return point


def _around(point: Array, scale: float, number: int, rng: np.random.Generator) -> Array:
    """Normally distributed points (number, d) around a point, moved into the cube."""
    return np.clip(point + scale * rng.standard_normal((number, len(point))), 0.0, 1.0)


HEDGE_NOISE = 1e-6
"""Variance of the standardised objective: a repeated trial gives the same score."""

HEDGE_RESTARTS = 2
"""Restarts of the fit of the kernel's parameters."""

HARMLESS_WARNINGS = ("Predicted variances smaller than 0", "The objective has been evaluated at")
"""Beginnings of scikit-optimize's warnings that change nothing: rounding at points already
tried, which a random one then replaces.
"""


def ask_gp_hedge(points: Array, scores: Array, seed: int) -> Array:
    """The point of the unit cube that scikit-optimize's gp_hedge would try next.

    A pending point is assumed to give the best score known (constant liar, Ginsbourger et al.
    2010).

    Parameters
    ----------
    points : (n, d), known ones first, then the pending.
    scores : (m,), m <= n, of the known points, standardised, lower is better.
    seed : of the optimizer.

    Returns
    -------
    Point (d,).
    """
    with _needed():
        from skopt import Optimizer
        from skopt.space import Real

    optimizer = Optimizer(
        [Real(0.0, 1.0)] * points.shape[1],
        base_estimator=_hedge_surrogate(points.shape[1], seed),
        n_initial_points=0,
        acq_func="gp_hedge",
        random_state=seed,
        model_queue_size=1,
    )
    # As many lies as pending points, each with the best score known.
    lies = [float(scores.min())] * (len(points) - len(scores))
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        for message in HARMLESS_WARNINGS:
            # Only these two: any other warning is an error in the tests.
            warnings.filterwarnings("ignore", message, UserWarning)
        optimizer.tell(points.tolist(), [*scores.tolist(), *lies])
        return np.array(optimizer.ask(), dtype=np.float64)


def _needed() -> AbstractContextManager[None]:
    accepted = 'pip install scikit-optimize, or search.surrogate = "gp"'
    return needed("scikit-optimize", purpose="search.surrogate", accepted=accepted)


def _hedge_surrogate(dimensions: int, seed: int) -> GaussianProcessRegressor:
    from skopt.learning import GaussianProcessRegressor
    from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern

    shape = Matern([1.0] * dimensions, [(0.01, 100.0)] * dimensions, nu=2.5)
    return GaussianProcessRegressor(
        kernel=ConstantKernel(1.0, (0.01, 1000.0)) * shape,
        normalize_y=True,
        noise=HEDGE_NOISE,
        n_restarts_optimizer=HEDGE_RESTARTS,
        random_state=seed,
    )
