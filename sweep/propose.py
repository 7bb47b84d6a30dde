"""Proposals of weights: a pure function of what is known, whoever asks and in whatever order.

A Gaussian process with a Matern kernel over the logarithms of the weights (scikit-optimize). The
optimizer is made anew for every proposal and told everything in one batch, because replaying its
``tell`` calls one by one does not reproduce a run.

scikit-optimize and scipy.stats take seconds to load, so they are imported where they are used: MPI
ranks that evaluate trials, and runs without anything to propose, go without.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recon_core.settings import Weights
from sweep.identity import short_seed

if TYPE_CHECKING:
    from skopt.learning import GaussianProcessRegressor

Space = Mapping[str, tuple[float, float]]
Told = Sequence[tuple[Weights, float | None]]

DEFAULT = Weights(haadf=0.02, tv=1.0)
"""A sound pair of weights for most data, and the first point of every design."""

DIGITS = 6
"""Significant digits of a proposed weight."""

NOISE = 1e-6
"""Variance of the standardised objective: a trial repeated gives the same score."""

RESTARTS = 2
DESIGN_BLOCK = 64

HARMLESS = ("Predicted variances smaller than 0", "The objective has been evaluated at")
"""Beginnings of scikit-optimize's warnings that change nothing: rounding at points already tried,
which a random one then replaces."""


def initial_point(space: Space, number: int, seed: int) -> Weights:
    """Point ``number`` of the design that starts a search: :data:`DEFAULT`, then a Sobol sequence.

    Scrambled by ``seed``, low-discrepancy in the logarithms of the weights; needs no results.
    """
    if number == 0:
        return _weights(space, [_clipped(getattr(DEFAULT, n), space[n]) for n in space])
    from scipy.stats import qmc

    sobol = qmc.Sobol(len(space), seed=np.random.default_rng(seed))
    unit = sobol.random(max(DESIGN_BLOCK, 1 << number.bit_length()))[number - 1]
    return _at(space, unit)


def propose(space: Space, told: Told, pending: Sequence[Weights], seed: int) -> Weights:
    """The weights to try next; the same arguments always give the same answer.

    Parameters
    ----------
    space : bounds of each weight, searched log-uniformly.
    told : weights and their scores, lower is better; None is a failed trial, which counts as
        worse than the worst score.
    pending : weights whose scores are not known yet; each is taken to give the best score known,
        so that the proposal keeps away from it (constant liar).
    seed : of the search within the model.

    Returns
    -------
    Weights
        Within the bounds, with six significant digits, different from all told and pending. With
        no score known at all it is the next point of the initial design.
    """
    tried = [_point(space, w) for w, _ in told] + [_point(space, w) for w in pending]
    scores = _standardised([score for _, score in told])
    if scores is None:
        return _untried(space, initial_point(space, len(tried), seed), tried)
    lies = [min(scores)] * len(pending)
    point = _ask(space, tried, [*scores, *lies], seed)
    return _untried(space, _weights(space, point), tried)


def _ask(space: Space, points: list[list[float]], scores: list[float], seed: int) -> list[float]:
    from skopt import Optimizer
    from skopt.space import Real

    dimensions = [Real(*bounds, prior="log-uniform", name=name) for name, bounds in space.items()]
    optimizer = Optimizer(
        dimensions,
        base_estimator=_surrogate(len(space), seed),
        n_initial_points=0,
        acq_func="gp_hedge",
        random_state=seed,
        model_queue_size=1,
    )
    # Several BLAS threads would sum in another order, and give other digits.
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        for message in HARMLESS:
            warnings.filterwarnings("ignore", message, UserWarning)
        optimizer.tell(points, scores)
        return [float(value) for value in optimizer.ask()]


def _surrogate(dimensions: int, seed: int) -> GaussianProcessRegressor:
    from skopt.learning import GaussianProcessRegressor
    from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern

    shape = Matern([1.0] * dimensions, [(0.01, 100.0)] * dimensions, nu=2.5)
    return GaussianProcessRegressor(
        kernel=ConstantKernel(1.0, (0.01, 1000.0)) * shape,
        normalize_y=True,
        noise=NOISE,
        n_restarts_optimizer=RESTARTS,
        random_state=seed,
    )


def _standardised(scores: Sequence[float | None]) -> list[float] | None:
    """Z-scores, as gp_hedge is not free of scale; a failure one deviation above the worst."""
    known = [score for score in scores if score is not None and math.isfinite(score)]
    if not known:
        return None
    deviation = float(np.std(known)) or 1.0
    mean = float(np.mean(known))
    worst = (max(known) - mean) / deviation + 1.0
    return [
        (score - mean) / deviation if score is not None and math.isfinite(score) else worst
        for score in scores
    ]


def _untried(space: Space, weights: Weights, tried: list[list[float]]) -> Weights:
    """``weights``, or where they were tried already a point a little aside."""
    for step in range(1, 2 * len(tried) + 2):
        if _point(space, weights) not in tried:
            break
        weights = _at(space, _aside(space, weights, step))
    return weights


def _aside(space: Space, weights: Weights, step: int) -> NDArray[np.float64]:
    seed = short_seed("aside", _point(space, weights), step)
    shift = np.random.default_rng(seed).uniform(-0.02, 0.02, len(space))
    lows, highs = np.log(np.array(list(space.values()))).T
    unit = (np.log(_point(space, weights)) - lows) / (highs - lows)
    aside: NDArray[np.float64] = np.clip(unit + shift, 0.0, 1.0)
    return aside


def _at(space: Space, unit: NDArray[np.float64]) -> Weights:
    """The weights at ``unit`` in [0, 1] of each dimension's logarithmic range."""
    lows, highs = np.log(np.array(list(space.values()))).T
    return _weights(space, list(np.exp(lows + unit * (highs - lows))))


def _weights(space: Space, point: Sequence[float]) -> Weights:
    named = dict(zip(space, point, strict=True))
    return Weights(**{name: _rounded(value, space[name]) for name, value in named.items()})


def _rounded(value: float, bounds: tuple[float, float]) -> float:
    return _clipped(float(f"{value:.{DIGITS}g}"), bounds)


def _clipped(value: float, bounds: tuple[float, float]) -> float:
    return float(min(max(value, bounds[0]), bounds[1]))


def _point(space: Space, weights: Weights) -> list[float]:
    return [float(getattr(weights, name)) for name in space]
