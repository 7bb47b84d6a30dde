"""Proposals of weights: a pure function of the known results, whoever asks and in whatever order.

A Gaussian process with a Matern kernel over the logarithms of the weights. scipy.stats and the
surrogates take seconds to load, so they are imported where they are used: MPI ranks that evaluate
trials, and runs without anything to propose, do not load them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...recon_core.methods import DEFAULT_WEIGHTS, Weights
from ..study.identity import short_seed
from ..study.tables import Surrogate
from ..study.trial import GAMMA, weights_named

Space = Mapping[str, tuple[float, float]]
Array = NDArray[np.float64]
Scored = Sequence[tuple[Weights, float | None]]

LINEAR = frozenset({GAMMA})
"""Dimensions that are searched linearly; all others by their logarithms."""

DIGITS = 6
"""Significant digits of a proposed weight."""

MODELLED, BEST_MODELLED, PENDING_MODELLED = 512, 128, 256
"""Most results that a model is made of, how many of them are the best ones of all, and most pending
trials. A model's memory grows with the square of their number, its time with the cube."""

DESIGN_BLOCK = 64
"""Fewest points of a Sobol sequence drawn at once; a power of two keeps it balanced."""


def initial_point(
    space: Space, number: int, seed: int, gamma: float = 2.0, usual: Weights = DEFAULT_WEIGHTS
) -> Weights:
    """A point of the design that starts a search: the default weights, then a Sobol sequence.

    The sequence (Sobol 1967, scrambled) is of low discrepancy in the logarithms of the weights and
    needs no results.

    Parameters
    ----------
    space : bounds of each weight, linear.
    number : place in the design, from 0.
    seed : of the scrambling.
    gamma : exponent to start with, where it is searched.
    usual : the default weights in the solver's units.
    """
    if number == 0:
        first = {"haadf": usual.haadf, "tv": usual.tv, GAMMA: gamma}
        return _weights(space, [_clipped(first[name], space[name]) for name in space])
    # A power of two keeps the sequence balanced; a point does not depend on how many are drawn.
    block = max(DESIGN_BLOCK, 1 << number.bit_length())
    return at_unit(space, sobol(len(space), block, seed)[number - 1])


@lru_cache(maxsize=1024)
def sobol(dimensions: int, count: int, seed: int) -> Array:
    """The first points of a scrambled Sobol sequence, (count, dimensions).

    Parameters
    ----------
    dimensions : of the unit cube.
    count : a power of two keeps the sequence balanced.
    seed : of the scrambling.
    """
    from scipy.stats import qmc

    points: Array = qmc.Sobol(dimensions, seed=np.random.default_rng(seed)).random(count)
    return points


def propose(
    space: Space,
    scored: Scored,
    pending: Sequence[Weights],
    seed: int,
    surrogate: Surrogate = Surrogate.GP,
) -> Weights:
    """The weights to try next; the same arguments always give the same answer.

    Parameters
    ----------
    space : bounds of each weight, searched log-uniformly; of the exponent linearly.
    scored : weights and their scores, lower is better; None is a failed trial, which counts as
        worse than the worst score.
    pending : weights whose scores are not known yet; the proposal keeps away from them.
    seed : of the search within the model.
    surrogate : the model.

    Returns
    -------
    Weights within the bounds, with six significant digits, different from all scored and pending
    ones. Without any score they are the next point of the initial design.
    """
    tried = [_point(space, w) for w, _ in scored] + [_point(space, w) for w in pending]
    scored = _telling(scored)
    scores = _standardised([score for _, score in scored])
    if scores is None:
        return _untried(space, initial_point(space, len(tried), seed), tried)
    modelled = [*(w for w, _ in scored), *pending[-PENDING_MODELLED:]]
    unit = _unit(space, [_point(space, w) for w in modelled])
    return _untried(
        space, at_unit(space, _ask(surrogate, unit, np.array(scores.values), seed)), tried
    )


def _telling(scored: Scored) -> Scored:
    """Of many results those that a model is made of, in order: the latest and the best ones."""
    if len(scored) <= MODELLED:
        return scored
    worst = [math.inf if s is None or not math.isfinite(s) else s for _, s in scored]
    # Stable, so that ties do not depend on the machine.
    best = sorted(range(len(scored)), key=worst.__getitem__)[:BEST_MODELLED]
    latest = range(len(scored) - MODELLED + BEST_MODELLED, len(scored))
    return [scored[i] for i in sorted({*best, *latest})]


def predict(space: Space, scored: Scored, at: Array) -> tuple[Array, Array]:
    """The score that the search's model expects anywhere, and its standard deviation.

    The model is the one that proposes by default, given the same results.

    Parameters
    ----------
    space : bounds of each weight, linear.
    scored : weights and their scores in the order of the trials, as for :func:`propose`; at least
        one score.
    at : positions (number, weight) in [0, 1] of each weight's range.

    Returns
    -------
    Mean and standard deviation (number,), in units of the scores.

    Raises
    ------
    ValueError : no score is known.
    """
    from . import gp

    scored = _telling(scored)
    scores = _standardised([score for _, score in scored])
    if scores is None:
        raise ValueError("no score is known")
    unit = _unit(space, [_point(space, w) for w, _ in scored])
    mean, deviation = gp.expect(unit, np.array(scores.values), at)
    return scores.mean + scores.deviation * mean, scores.deviation * deviation


def _ask(surrogate: Surrogate, points: Array, scores: Array, seed: int) -> Array:
    """The point that the chosen surrogate asks for; it is imported only then."""
    from . import gp

    ask = gp.ask_gp_hedge if surrogate is Surrogate.GP_HEDGE else gp.ask
    return ask(points, scores, seed)


@dataclass(frozen=True)
class _Standardised:
    """Z-scores, since the models' priors assume unit scale, and the ``mean`` and
    ``deviation`` removed.
    """

    values: list[float]
    mean: float
    deviation: float


def _standardised(scores: Sequence[float | None]) -> _Standardised | None:
    """The scores standardised; a failure is one deviation above the worst. None without any
    score.
    """
    known = [score for score in scores if score is not None and math.isfinite(score)]
    if not known:
        return None
    deviation = float(np.std(known)) or 1.0
    mean = float(np.mean(known))
    # Finite and not far: a huge penalty would dominate the fit of the model.
    worst = (max(known) - mean) / deviation + 1.0
    values = [
        (score - mean) / deviation if score is not None and math.isfinite(score) else worst
        for score in scores
    ]
    return _Standardised(values, mean, deviation)


def _untried(space: Space, weights: Weights, tried: list[list[float]]) -> Weights:
    """``weights``, or if they have been tried a point slightly aside."""
    # Bounded: with so many steps one of the shifts is free.
    for step in range(1, 2 * len(tried) + 2):
        if _point(space, weights) not in tried:
            break
        weights = at_unit(space, _aside(space, weights, step))
    return weights


def _aside(space: Space, weights: Weights, step: int) -> Array:
    """A point close by, the same for the same weights: proposals must not depend on a
    generator's state.
    """
    seed = short_seed("aside", _point(space, weights), step)
    shift = np.random.default_rng(seed).uniform(-0.02, 0.02, len(space))
    aside: Array = np.clip(_unit(space, [_point(space, weights)])[0] + shift, 0.0, 1.0)
    return aside


def _unit(space: Space, points: Sequence[Sequence[float]]) -> Array:
    """Positions (number, d) in [0, 1] of ``points`` in the range of each dimension."""
    lows, highs = _scaled_bounds(space)
    linear, given = _linear(space), np.array(points)
    # Logarithms: a weight matters by its order of magnitude. An exponent does not.
    scaled = np.where(linear, given, np.log(given))
    unit: Array = np.clip((scaled - lows) / (highs - lows), 0.0, 1.0)
    return unit


def _scaled_bounds(space: Space) -> Array:
    """Lower and upper bounds (2, d) on the scales that are searched evenly."""
    bounds = np.array(list(space.values()))
    scaled: Array = np.where(_linear(space)[:, None], bounds, np.log(bounds))
    return scaled.T


def _linear(space: Space) -> NDArray[np.bool_]:
    return np.array([name in LINEAR for name in space], dtype=bool)


def unit_of(space: Space, weights: Weights) -> Array:
    """Place (d,) of weights in [0, 1] of each dimension's range; the inverse of :func:`at_unit`.

    Parameters
    ----------
    space : bounds of each weight, linear.
    weights : with one of every dimension.
    """
    place: Array = _unit(space, [_point(space, weights)])[0]
    return place


def within(space: Space, weights: Weights) -> bool:
    """Whether weights lie in the space.

    Parameters
    ----------
    space : bounds of each weight, linear.
    weights : with one of every dimension.
    """
    point = _point(space, weights)
    return all(low <= w <= high for w, (low, high) in zip(point, space.values(), strict=True))


def at_unit(space: Space, unit: Array) -> Weights:
    """The weights, of six significant digits, at a place in the unit cube.

    Parameters
    ----------
    space : bounds of each weight, linear.
    unit : (d,), in [0, 1] of each dimension's range.
    """
    lows, highs = _scaled_bounds(space)
    scaled = lows + unit * (highs - lows)
    return _weights(space, list(np.where(_linear(space), scaled, np.exp(scaled))))


def _weights(space: Space, point: Sequence[float]) -> Weights:
    named = dict(zip(space, point, strict=True))
    return weights_named({name: _rounded(value, space[name]) for name, value in named.items()})


def _rounded(value: float, bounds: tuple[float, float]) -> float:
    # Rounding may leave the bounds by the last digit.
    return _clipped(float(f"{value:.{DIGITS}g}"), bounds)


def _clipped(value: float, bounds: tuple[float, float]) -> float:
    return float(min(max(value, bounds[0]), bounds[1]))


def _point(space: Space, weights: Weights) -> list[float]:
    return [float(getattr(weights, name)) for name in space]
