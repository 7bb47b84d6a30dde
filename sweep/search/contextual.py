"""One surrogate for many cells: how the score depends on the weights, and on what a cell is.

The logarithm of a score over unit weights w and context c (logarithms of tilts, SNR, size) is a
Gaussian process with the kernel

    a² M(c; ℓ_c) + b² M([w - A c, c]; [ℓ_w, ℓ_j]) + s² δ(same cell) + n²,

M Matern-5/2. A says how the optimum moves with the context; the term of the cell keeps the noise
that all trials of a cell share from being taken for roughness. The parameters are those of the
highest posterior probability, found by L-BFGS with the exact gradient and always from the medians
of their priors, so that they depend on the results alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import fmin_l_bfgs_b

from .gp import correlation

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

MEDIANS = {"a": 0.25, "b": 0.35, "cell": 0.01, "noise": 0.005}
"""Prior medians of the amplitudes, all of them relative errors of a score."""
LENGTH_C, LENGTH_W, LENGTH_J = 1.5, 0.6, 2.0
"""Prior medians of the lengths: ℓ_c and ℓ_j in units of the context, ℓ_w in edges of the cube."""
SPREAD, SHIFT = 0.5, 0.4
"""Prior deviation of the logarithms of amplitudes and lengths, and of the elements of A."""

FITTED = 256
"""Most results from which the parameters are found."""
STEPS = 30
"""Most steps of L-BFGS."""
MOST_OFF = 6.0
"""Prior deviations that a parameter may be off."""
ROOT5 = 5.0**0.5


@dataclass(frozen=True)
class Points:
    """Where scores are known or asked for; n points, d weights, q columns of context.

    Parameters
    ----------
    weights : (n, d), in [0, 1].
    context : (n, q).
    cells : (n,), equal where the noise of a cell is shared.
    """

    weights: Array
    context: Array
    cells: Indices

    def __len__(self) -> int:
        return len(self.cells)

    def at(self, chosen: Indices | slice) -> Points:
        """Some of the points.

        Parameters
        ----------
        chosen : their places.
        """
        return Points(self.weights[chosen], self.context[chosen], self.cells[chosen])


@dataclass(frozen=True)
class Parameters:
    """Of the kernel; see the module.

    Parameters
    ----------
    a, b, cell, noise : amplitudes.
    of_context, of_weights, jointly : the lengths ℓ_c (q,), ℓ_w (d,) and ℓ_j (q,).
    moves : A, (d, q).
    """

    a: float
    b: float
    cell: float
    noise: float
    of_context: Array
    of_weights: Array
    jointly: Array
    moves: Array

    def doubted(self) -> Parameters:
        """Those of a surrogate that takes nothing for granted which it has learnt of other cells.

        The optimum is where it is in the other cells, as A = 0 says, and neither lengths nor the
        amplitude are more certain than their prior medians.
        """
        return replace(
            self,
            b=max(self.b, MEDIANS["b"]),
            of_weights=np.minimum(self.of_weights, LENGTH_W),
            jointly=np.minimum(self.jointly, LENGTH_J),
            moves=np.zeros_like(self.moves),
        )

    def places(self, points: Points) -> tuple[Array, Array]:
        """The points in units of the lengths, (n, q) and (n, d + q): the arguments of both M."""
        moved = (points.weights - points.context @ self.moves.T) / self.of_weights
        return points.context / self.of_context, np.hstack([moved, points.context / self.jointly])


def covariance(parameters: Parameters, left: Points, right: Points) -> Array:
    """Covariance (m, n) of the noise-free scores at two sets of points.

    Parameters
    ----------
    parameters : of the kernel.
    left, right : m and n points.
    """
    found = np.zeros((len(left), len(right)))
    pairs = zip(parameters.places(left), parameters.places(right), strict=True)
    for amplitude, (here, there) in zip((parameters.a, parameters.b), pairs, strict=True):
        found += amplitude**2 * _matern(_squares(here, there))
    found += parameters.cell**2 * (left.cells[:, None] == right.cells[None, :])
    return found


def _squares(left: Array, right: Array) -> Array:
    """Squared distances (m, n), by one matrix product."""
    squares: Array = left @ (-2.0 * right.T)
    squares += np.einsum("id,id->i", left, left)[:, None]
    squares += np.einsum("id,id->i", right, right)
    # The difference of large numbers falls below 0 by rounding, and its root would be NaN.
    return np.maximum(squares, 0.0, out=squares)


def _matern(squares: Array) -> Array:
    """Matern-5/2 correlations at squared distances, which are overwritten."""
    r = np.sqrt(squares, out=squares)
    r *= ROOT5
    return correlation(r)


def _slope(squares: Array) -> tuple[Array, Array]:
    """Matern-5/2 correlations, and their derivatives by the squared distance."""
    # By the square, not the distance, as that derivative stays finite where two points coincide.
    r = ROOT5 * np.sqrt(squares)
    fall = np.exp(-r)
    return (1.0 + r + r * r / 3.0) * fall, (-5.0 / 6.0) * (1.0 + r) * fall


class Prior:
    """Parameters as one vector of standard normal numbers, and back.

    Parameters
    ----------
    weights, context : numbers of weights and of columns of context.
    """

    def __init__(self, weights: int, context: int) -> None:
        medians = [*MEDIANS.values(), *[LENGTH_C] * context]
        medians += [*[LENGTH_W] * weights, *[LENGTH_J] * context]
        self._medians, self._shape = np.array(medians), (weights, context)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self._medians) + self._shape[0] * self._shape[1]

    def parameters(self, vector: Array) -> Parameters:
        """What a vector means; 0 is the medians, and A = 0.

        Parameters
        ----------
        vector : (size,).
        """
        weights, context = self._shape
        # Amplitudes and lengths are positive and known up to a factor: normal in the logarithm.
        positive = self._medians * np.exp(SPREAD * vector[: len(self._medians)])
        a, b, cell, noise = positive[:4].tolist()
        parts = np.split(positive[4:], [context, context + weights])
        moves = SHIFT * vector[len(positive) :].reshape(weights, context)
        return Parameters(a, b, cell, noise, parts[0], parts[1], parts[2], moves)


def fit_parameters(points: Points, scores: Array) -> Parameters:
    """The most probable parameters of the kernel.

    Parameters
    ----------
    points : n of them; of more than :data:`FITTED` so many, evenly spread, are used.
    scores : (n,).
    """
    chosen = np.unique(np.linspace(0, len(points) - 1, FITTED).astype(np.intp))
    points, scores = points.at(chosen), scores[chosen] - scores[chosen].mean()
    prior = Prior(points.weights.shape[1], points.context.shape[1])
    best, _, _ = fmin_l_bfgs_b(
        lambda vector: loss(prior, vector, points, scores),
        np.zeros(prior.size),
        bounds=[(-MOST_OFF, MOST_OFF)] * prior.size,
        # In units of the rounding error: done where a step lowers the loss by less than 1e-5 of it.
        factr=1e-5 / np.finfo(float).eps,
        pgtol=1e-2,
        maxiter=STEPS,
    )
    return prior.parameters(best)


def loss(prior: Prior, vector: Array, points: Points, scores: Array) -> tuple[float, Array]:
    """Negative logarithm of the posterior density, up to a constant, and its gradient.

    Parameters
    ----------
    prior : of the parameters.
    vector : (size,), see :class:`Prior`.
    points : n of them.
    scores : (n,), of mean 0.
    """
    p, same = prior.parameters(vector), np.equal.outer(points.cells, points.cells)
    apart, joint = p.places(points)
    (m1, slope1), (m2, slope2) = (_slope(_squares(at, at)) for at in (apart, joint))
    k = p.a**2 * m1 + p.b**2 * m2 + p.cell**2 * same
    factor, alpha = _solved(k, p, scores)
    volume = np.log(np.diagonal(factor)).sum()
    loss = 0.5 * float(scores @ alpha) + float(volume) + 0.5 * float(vector @ vector)
    # d loss = sum of w times dK, elementwise; dpotri fills the lower triangle alone.
    lower = np.tril(dpotri(factor, lower=1)[0])
    w = 0.5 * (lower + np.tril(lower, -1).T - np.outer(alpha, alpha))
    amplitudes = [
        2.0 * p.a**2 * np.vdot(w, m1),
        2.0 * p.b**2 * np.vdot(w, m2),
        2.0 * p.cell**2 * w[same].sum(),
        2.0 * p.noise**2 * np.trace(w),
    ]
    slope1 *= p.a**2 * w
    slope2 *= p.b**2 * w
    moved = joint[:, : points.weights.shape[1]]
    lengths = np.concatenate([_by_length(slope1, apart), _by_length(slope2, joint)])
    # The squared distance of moved weights, by an element of A: -2 of (difference x difference).
    turned = -2.0 * _products(slope2, moved, points.context) / p.of_weights[:, None]
    # Lengths of joint come as weights, then context: the order of the prior.
    gradient = SPREAD * np.concatenate([amplitudes, lengths])
    return loss, np.concatenate([gradient, SHIFT * turned.ravel()]) + vector


def _by_length(slope: Array, at: Array) -> Array:
    """Derivatives by the logarithms of the lengths of ``at`` (n, k)."""
    found: Array = -2.0 * 2.0 * (slope.sum(axis=1) @ (at * at) - (at * (slope @ at)).sum(axis=0))
    return found


def _products(slope: Array, left: Array, right: Array) -> Array:
    """Sum over pairs of slope times the difference in each column of left and of right."""
    found: Array = 2.0 * ((left * slope.sum(axis=1)[:, None]).T @ right - left.T @ (slope @ right))
    return found


@dataclass(frozen=True)
class Model:
    """The posterior of the scores, given some.

    Parameters
    ----------
    parameters : of the kernel.
    points : n of them.
    mean : prior mean of the scores.
    factor : lower Cholesky factor (n, n) of their covariance.
    alpha : (n,), its inverse times the scores less their mean.
    """

    parameters: Parameters
    points: Points
    mean: float
    factor: Array
    alpha: Array

    def expected(self, at: Points) -> Array:
        """Posterior mean of the noise-free score (m,).

        Parameters
        ----------
        at : m points.
        """
        found: Array = self.mean + covariance(self.parameters, at, self.points) @ self.alpha
        return found

    def predict(self, at: Points) -> tuple[Array, Array]:
        """Posterior mean and standard deviation of the noise-free score, (m,) each.

        Parameters
        ----------
        at : m points.
        """
        p = self.parameters
        across = covariance(p, at, self.points)
        white = solve_triangular(self.factor, across.T, lower=True, check_finite=False)
        # Without noise²: improvement is judged on what is there, not on what one trial would
        # measure.
        left = p.a**2 + p.b**2 + p.cell**2 - np.einsum("nm,nm->m", white, white)
        return self.mean + across @ self.alpha, np.sqrt(np.maximum(left, 1e-12))


def condition(parameters: Parameters, points: Points, scores: Array) -> Model:
    """The posterior of the scores at any point.

    Parameters
    ----------
    parameters : of the kernel.
    points : n of them.
    scores : (n,).
    """
    mean = float(scores.mean())
    k = covariance(parameters, points, points)
    factor, alpha = _solved(k, parameters, scores - mean)
    return Model(parameters, points, mean, np.tril(factor), alpha)


def _solved(k: Array, parameters: Parameters, scores: Array) -> tuple[Array, Array]:
    """Lower Cholesky factor of a covariance and the noise, above it anything; its solution."""
    k[np.diag_indices_from(k)] += parameters.noise**2
    factor = cho_factor(k, lower=True, check_finite=False)
    return factor[0], cho_solve(factor, scores, check_finite=False)
