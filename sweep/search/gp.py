"""Expected improvement under a Gaussian process on the unit cube, in milliseconds.

Matern-5/2 with a length per dimension. Lengths and noise are not fitted but averaged over: a grid
of them, each weighted by its posterior probability, with the constant mean and the variance of the
process at their best values. With tens of points that is more robust than one best fit, needs no
restarts, and costs a few small Cholesky factors.

A pending point is taken to give what the model predicts there ("kriging believer", Ginsbourger et
al., 2010): that narrows the variance, leaves the mean alone, and may be the value to improve on.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

Array = NDArray[np.float64]

LENGTHS = np.geomspace(0.1, 2.5, 6)
"""Of the kernel, in edges of the cube."""

LIKELY_LENGTH, LENGTH_SPREAD = 0.5, 0.8
"""Median and standard deviation of the logarithm of a length before anything is known."""

NOISES = (1e-6, 1e-4, 1e-2)
"""Variances, in units of the process: solvers stop at a tolerance, so scores are a little rough."""

PRIOR_WEIGHT = 1.0
"""Number of observations that the prior variance, that of the scores, counts for."""

MODELS, MASS = 8, 0.98
"""At most so many of the grid's models are asked, fewer if they hold this much probability."""

JUDGES = 64
"""Points, the latest, by which models are compared; more cost time and change little."""

SPREAD_OUT, NEAR_BEST = 256, 20
SCALES = (0.3, 0.1, 0.03, 0.01)
REFINEMENTS, REFINED = (0.03, 0.01, 0.003, 0.001), 48


@dataclass(frozen=True)
class Models:
    """The likeliest models of scores at points, weighted.

    ``lengths`` (k, d), ``noise``, ``weights``, ``mean``, ``deviation`` (k,): of each model.
    ``inverse`` (k, n, n): of the Cholesky factor of all points, ``known`` (k, m): its first m rows
    times the scores of the first m points, less the mean.
    """

    points: Array
    lengths: Array
    weights: Array
    mean: Array
    deviation: Array
    inverse: Array
    known: Array

    def predict(self, at: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (k, number) of each model at points (number, d)."""
        half = _matern(at, self.points, self.lengths) @ self.inverse.transpose(0, 2, 1)
        count = self.known.shape[1]
        mean = self.mean[:, None] + (half[:, :, :count] @ self.known[:, :, None])[:, :, 0]
        left = np.maximum(1.0 - np.einsum("kin,kin->ki", half, half), 1e-12)
        return mean, self.deviation[:, None] * np.sqrt(left)

    def mixture(self, at: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (number,) of all models together at points (number, d)."""
        means, deviations = self.predict(at)
        mean: Array = self.weights @ means
        return mean, np.sqrt(self.weights @ (deviations**2 + (means - mean) ** 2))

    def improvement(self, at: Array, best: Array) -> Array:
        """Expected improvement on ``best`` (k,) at points (number, d), mean over the models."""
        mean, deviation = self.predict(at)
        z = (best[:, None] - mean) / deviation
        density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
        gain = deviation * (z * ndtr(z) + density)
        # Where no model expects anything, the least known point is the one to try.
        found: Array = self.weights @ (np.maximum(gain, 0.0) + 1e-12 * deviation)
        return found


def ask(points: Array, scores: Array, seed: int) -> Array:
    """The point of the unit cube that promises most.

    Parameters
    ----------
    points : (n, d), known ones first, then the pending.
    scores : (m,), m <= n, of the known points, standardised, lower is better.
    seed : of the search for the best point.
    """
    # Several BLAS threads would sum in another order, and give other digits.
    with _blas().limit(limits=1, user_api="blas"):
        models = fit(points, scores)
        return _best_point(models, points, scores, np.random.default_rng(seed))


def expect(points: Array, scores: Array, at: Array) -> tuple[Array, Array]:
    """Mean and standard deviation (number,) of the score at points ``at`` (number, d).

    ``points``, ``scores``: as of :func:`ask`.
    """
    with _blas().limit(limits=1, user_api="blas"):
        return fit(points, scores).mixture(at)


@cache
def _blas() -> ThreadpoolController:
    """The loaded libraries; to look for them takes as long as the rest of a proposal."""
    return ThreadpoolController()


def fit(points: Array, scores: Array) -> Models:
    """The likeliest models; arguments as of :func:`ask`."""
    count, dimensions = len(scores), points.shape[1]
    grid = list(itertools.product(*[LENGTHS] * dimensions, NOISES))
    lengths, noise = np.array(grid)[:, :-1], np.array(grid)[:, -1]
    first = max(0, count - JUDGES)
    evidence = _evidence(points[first:count], scores[first:], lengths, noise)
    keep = _likeliest(evidence)
    chance = np.exp(evidence[keep] - evidence[keep[0]])
    inverse = _inverse_factor(points, lengths[keep], noise[keep])
    mean, deviation, known = _moments(inverse[:, :count, :count], scores)
    weights = chance / chance.sum()
    return Models(points, lengths[keep], weights, mean, deviation, inverse, known)


def _evidence(points: Array, scores: Array, lengths: Array, noise: Array) -> Array:
    """Logarithm of the posterior probability of each model, up to a constant."""
    inverse = _inverse_factor(points, lengths, noise)
    _, deviation, _ = _moments(inverse, scores)
    spread = (np.log(lengths / LIKELY_LENGTH) / LENGTH_SPREAD) ** 2
    volume = np.log(np.diagonal(inverse, axis1=1, axis2=2)).sum(axis=1)
    found: Array = volume - len(scores) * np.log(deviation) - 0.5 * spread.sum(axis=1)
    return found


def _likeliest(evidence: Array) -> NDArray[np.intp]:
    order = np.argsort(-evidence, kind="stable")
    chance = np.exp(evidence[order] - evidence[order[0]])
    held = np.cumsum(chance) / chance.sum()
    return order[: min(MODELS, int(np.searchsorted(held, MASS)) + 1)]


def _inverse_factor(points: Array, lengths: Array, noise: Array) -> Array:
    covariance = _matern(points, points, lengths)
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


def _matern(a: Array, b: Array, lengths: Array) -> Array:
    """Matern-5/2 correlations (k, len(a), len(b)) for lengths (k, d)."""
    squares = (a[:, None, :] - b[None, :, :]) ** 2
    r = np.sqrt(5.0 * lengths**-2.0 @ squares.reshape(-1, a.shape[1]).T)
    correlation: Array = (1.0 + r + r * r / 3.0) * np.exp(-r)
    return correlation.reshape(len(lengths), len(a), len(b))


def _best_point(models: Models, points: Array, scores: Array, rng: np.random.Generator) -> Array:
    """The best of points spread out and near the best known, then of ever closer ones."""
    believed = models.predict(points[len(scores) :])[0]
    best = believed.min(axis=1, initial=float(scores.min()))
    leaders = points[np.argsort(scores, kind="stable")[:3]]
    near = [_around(leader, scale, NEAR_BEST, rng) for leader in leaders for scale in SCALES]
    candidates = np.concatenate([rng.random((SPREAD_OUT, points.shape[1])), *near])
    for scale in REFINEMENTS:
        found = candidates[np.argmax(models.improvement(candidates, best))]
        candidates = np.concatenate([found[None], _around(found, scale, REFINED, rng)])
    point: Array = candidates[np.argmax(models.improvement(candidates, best))]
    return point


def _around(point: Array, scale: float, number: int, rng: np.random.Generator) -> Array:
    return np.clip(point + scale * rng.standard_normal((number, len(point))), 0.0, 1.0)
