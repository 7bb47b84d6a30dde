"""What the search's model predicts over all weights, given the trials of one cell.

Scores are those that the study minimises. Where the exponent is searched too, the weights are shown
at the exponent of the best trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..recon_core.methods import Method, Weights
from ..sweep.search.propose import Space, predict
from ..sweep.study.trial import GAMMA, takes_gamma, weights_named

Floats = NDArray[np.float64]

WEIGHTS = Method.FUSED.weight_names
NEAR_BEST = 0.05
"""Weights whose expected score is within this fraction of the best are outlined."""


@dataclass(frozen=True)
class Posterior:
    """Expected score and its standard deviation over the weights searched.

    Parameters
    ----------
    weights : weight → values along its axis, logarithmically spaced.
    mean : expected score; the last axis is the first weight, so (tv, haadf), or (tv,).
    sigma : standard deviation of the score, of the same shape.
    gamma : exponent that they are shown at, where it is searched; None where it is not.
    """

    weights: Mapping[str, Floats]
    mean: Floats
    sigma: Floats
    gamma: float | None = None

    def guessed(self) -> NDArray[np.bool_]:
        """Where no trial is near: ``sigma`` exceeds half of its largest value.

        There it reflects the spread of the trials so far; scores in far corners can lie well beyond
        it.

        Returns
        -------
        Mask of the shape of ``sigma``.
        """
        # Relative to the largest value: far from all trials sigma approaches that of the prior.
        guessed: NDArray[np.bool_] = self.sigma > 0.5 * self.sigma.max()
        return guessed


def least(method: Method, space: Space) -> int:
    """Fewest good trials for a posterior: two per weight searched, and one more.

    For two weights, in a 64³ map a fifth of the later trials fell outside three sigma after three
    trials, but 11 of 280 after five, and 10 of these where :meth:`Posterior.guessed`.

    Parameters
    ----------
    method : the method whose weights are searched.
    space : what the study searches.

    Examples
    --------
    >>> bounds = {"haadf": (0.01, 1.0), "tv": (0.1, 6.0)}
    >>> least(Method.FUSED, bounds), least(Method.CHEMISTRY_TV, bounds)
    (5, 3)
    """
    return 2 * len(_searched(space, method)) + 1


def posterior(trials: pd.DataFrame, space: Space, method: Method, points: int) -> Posterior | None:
    """The posterior of the trials of one cell.

    A failed trial counts as it does in the search: one standard deviation worse than the worst.

    Parameters
    ----------
    trials : trials of one cell, of any method.
    space : bounds of each weight searched, linear.
    method : the method to model.
    points : values per weight.

    Returns
    -------
    None if fewer than :func:`least` trials of ``method`` are good.
    """
    scored = _scored(trials, _searched(space, method), method)
    if sum(score is not None for _, score in scored) < least(method, space):
        return None
    names = method.weight_names
    bounds = {name: space[name] for name in _searched(space, method)}
    at, gamma = unit_grid(len(names), points), None
    if GAMMA in bounds:
        gamma = _best(scored)
        low, high = bounds[GAMMA]
        at = np.column_stack([at, np.full(len(at), (gamma - low) / (high - low))])
    # One call for the whole grid: the model's factors are computed once.
    mean, sigma = predict(bounds, scored, at)
    along = {name: np.geomspace(*bounds[name], points) for name in names}
    shape = (points,) * len(names)
    return Posterior(along, mean.reshape(shape), sigma.reshape(shape), gamma)


def _searched(space: Space, method: Method) -> tuple[str, ...]:
    """What is searched for a method, in the order of the model's dimensions."""
    gamma = (GAMMA,) if GAMMA in space and takes_gamma(method) else ()
    return (*method.weight_names, *gamma)


def _best(scored: Sequence[tuple[Weights, float | None]]) -> float:
    """The exponent of the best trial."""
    known = [(score, weights) for weights, score in scored if score is not None]
    best = min(known, key=lambda pair: pair[0])[1]
    return float(getattr(best, GAMMA))


def unit_grid(dimensions: int, points: int) -> Floats:
    """A regular grid of the unit cube.

    Parameters
    ----------
    dimensions : number of weights.
    points : values per weight, from 0 to 1.

    Returns
    -------
    Positions (points ** dimensions, dimensions), the first dimension varying fastest.

    Examples
    --------
    >>> unit_grid(2, 2).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    along = [np.linspace(0.0, 1.0, points)] * dimensions
    return np.stack([grid.ravel() for grid in reversed(np.meshgrid(*along, indexing="ij"))], axis=1)


def _scored(
    trials: pd.DataFrame, names: Sequence[str], method: Method
) -> list[tuple[Weights, float | None]]:
    """Weights and scores of a method's trials by their number; None for a failed trial."""
    mine = trials[(trials["method"] == method).to_numpy()]
    # Columns to lists once: row-wise access of a table is a hundred times slower.
    weights = mine[list(names)].to_numpy(dtype=float)
    scores = np.where((mine["status"] == "ok").to_numpy(), mine["score"].to_numpy(), np.nan)
    # In the order in which the search proposed them, as its own model saw them.
    order = np.argsort(mine["number"].to_numpy(), kind="stable")
    return [
        (weights_named(dict(zip(names, at, strict=True))), score if math.isfinite(score) else None)
        for at, score in zip(weights[order].tolist(), scores[order].tolist(), strict=True)
        # A damaged line may lack a weight; the other trials still make a model.
        if all(map(math.isfinite, at))
    ]
