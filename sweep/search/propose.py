"""Proposals of weights: a pure function of what is known, whoever asks and in whatever order.

A Gaussian process with a Matern kernel over the logarithms of the weights. scipy.stats and what a
surrogate needs take seconds to load, so they are imported where they are used: MPI ranks that
evaluate trials, and runs without anything to propose, go without.
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

Space = Mapping[str, tuple[float, float]]
Array = NDArray[np.float64]
Told = Sequence[tuple[Weights, float | None]]

DIGITS = 6
"""Significant digits of a proposed weight."""

DESIGN_BLOCK = 64


def initial_point(space: Space, number: int, seed: int) -> Weights:
    """Point ``number`` of the design that starts a search: the default weights, then Sobol's.

    Scrambled by ``seed``, low-discrepancy in the logarithms of the weights; needs no results.
    """
    if number == 0:
        return _weights(space, [_clipped(getattr(DEFAULT_WEIGHTS, n), space[n]) for n in space])
    block = max(DESIGN_BLOCK, 1 << number.bit_length())
    return _at(space, _sobol(len(space), block, seed)[number - 1])


@lru_cache(maxsize=1024)
def _sobol(dimensions: int, count: int, seed: int) -> Array:
    from scipy.stats import qmc

    points: Array = qmc.Sobol(dimensions, seed=np.random.default_rng(seed)).random(count)
    return points


def propose(
    space: Space,
    told: Told,
    pending: Sequence[Weights],
    seed: int,
    surrogate: Surrogate = Surrogate.GP,
) -> Weights:
    """The weights to try next; the same arguments always give the same answer.

    Parameters
    ----------
    space : bounds of each weight, searched log-uniformly.
    told : weights and their scores, lower is better; None is a failed trial, which counts as
        worse than the worst score.
    pending : weights whose scores are not known yet; the proposal keeps away from them.
    seed : of the search within the model.
    surrogate : the model.

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
    unit = _unit(space, tried)
    return _untried(space, _at(space, _ask(surrogate, unit, np.array(scores.values), seed)), tried)


def believed(space: Space, told: Told, at: Array) -> tuple[Array, Array]:
    """The score that the search expects anywhere, and its standard deviation: (number,) each.

    From the model that proposes by default, told the same.

    Parameters
    ----------
    space : bounds of each weight.
    told : as of :func:`propose`, in the order of the trials; one score at least.
    at : where, (number, weight) in [0, 1] of each weight's logarithmic range.

    Raises
    ------
    ValueError : no score is known.
    """
    from . import gp

    scores = _standardised([score for _, score in told])
    if scores is None:
        raise ValueError("no score is known")
    unit = _unit(space, [_point(space, w) for w, _ in told])
    mean, deviation = gp.expect(unit, np.array(scores.values), at)
    return scores.mean + scores.deviation * mean, scores.deviation * deviation


def _ask(surrogate: Surrogate, points: Array, scores: Array, seed: int) -> Array:
    if surrogate is Surrogate.GP_HEDGE:
        from . import gp_hedge

        return gp_hedge.ask(points, scores, seed)
    from . import gp

    return gp.ask(points, scores, seed)


@dataclass(frozen=True)
class _Standardised:
    """Z-scores, as models are not free of scale, and the ``mean`` and ``deviation`` taken out."""

    values: list[float]
    mean: float
    deviation: float


def _standardised(scores: Sequence[float | None]) -> _Standardised | None:
    """The scores standardised; a failure is one deviation above the worst. None: none is known."""
    known = [score for score in scores if score is not None and math.isfinite(score)]
    if not known:
        return None
    deviation = float(np.std(known)) or 1.0
    mean = float(np.mean(known))
    worst = (max(known) - mean) / deviation + 1.0
    values = [
        (score - mean) / deviation if score is not None and math.isfinite(score) else worst
        for score in scores
    ]
    return _Standardised(values, mean, deviation)


def _untried(space: Space, weights: Weights, tried: list[list[float]]) -> Weights:
    """``weights``, or where they were tried already a point a little aside."""
    for step in range(1, 2 * len(tried) + 2):
        if _point(space, weights) not in tried:
            break
        weights = _at(space, _aside(space, weights, step))
    return weights


def _aside(space: Space, weights: Weights, step: int) -> Array:
    seed = short_seed("aside", _point(space, weights), step)
    shift = np.random.default_rng(seed).uniform(-0.02, 0.02, len(space))
    aside: Array = np.clip(_unit(space, [_point(space, weights)])[0] + shift, 0.0, 1.0)
    return aside


def _unit(space: Space, points: Sequence[Sequence[float]]) -> Array:
    """Places (number, d) in [0, 1] of ``points`` in the logarithmic range of each dimension."""
    lows, highs = np.log(np.array(list(space.values()))).T
    unit: Array = np.clip((np.log(np.array(points)) - lows) / (highs - lows), 0.0, 1.0)
    return unit


def _at(space: Space, unit: Array) -> Weights:
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
