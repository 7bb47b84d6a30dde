"""What the search believes of all weights after the trials of one cell: its model, its data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..recon_core.methods import Method, Weights
from ..sweep.search.propose import Space, believed

Floats = NDArray[np.float64]

WEIGHTS = Method.FUSED.weight_names
NEAR_BEST = 0.05
"""Weights whose expected NRMSE is within this fraction of the best are outlined."""


@dataclass(frozen=True)
class Posterior:
    """Expected ⟨NRMSE⟩ and its standard deviation over the weights searched.

    ``weights``: of each weight of the method the values along its axis, logarithmic. ``mean``,
    ``sigma``: the last axis is the first weight, so (tv, haadf), or (tv,).
    """

    weights: Mapping[str, Floats]
    mean: Floats
    sigma: Floats

    def guessed(self) -> NDArray[np.bool_]:
        """Where no trial is near: ``sigma`` is more than half of its largest value.

        There it is the spread of the trials so far; scores at far corners can be well beyond that.
        """
        guessed: NDArray[np.bool_] = self.sigma > 0.5 * self.sigma.max()
        return guessed


def least(method: Method) -> int:
    """Good trials below which nothing can be said of all weights: two for each, and one.

    For two weights, of the trials to come of a 64³ map a fifth lay beyond three sigma after three
    trials, and 11 of 280 after five, 10 of these where :meth:`Posterior.guessed`.
    """
    return 2 * len(method.weight_names) + 1


def posterior(trials: pd.DataFrame, space: Space, method: Method, points: int) -> Posterior | None:
    """The posterior of the trials of one cell over ``space``, at ``points`` values of each weight.

    A failed trial counts as the search counts it, as one deviation worse than the worst. None where
    fewer than :func:`least` trials of ``method`` are good.
    """
    told = _told(trials, method)
    if sum(score is not None for _, score in told) < least(method):
        return None
    names = method.weight_names
    bounds = {name: space[name] for name in names}
    mean, sigma = believed(bounds, told, unit_grid(len(names), points))
    along = {name: np.geomspace(*bounds[name], points) for name in names}
    shape = (points,) * len(names)
    return Posterior(along, mean.reshape(shape), sigma.reshape(shape))


def unit_grid(dimensions: int, points: int) -> Floats:
    """Places (points ** dimensions, dimensions) from 0 to 1, the first dimension fastest."""
    along = [np.linspace(0.0, 1.0, points)] * dimensions
    return np.stack([grid.ravel() for grid in reversed(np.meshgrid(*along, indexing="ij"))], axis=1)


def _told(trials: pd.DataFrame, method: Method) -> list[tuple[Weights, float | None]]:
    """Weights and scores of a method's trials in their order; None for those that failed."""
    names = method.weight_names
    mine = trials[(trials["method"] == method).to_numpy()]
    weights = mine[list(names)].to_numpy(dtype=float)
    scores = np.where((mine["status"] == "ok").to_numpy(), mine["nrmse"].to_numpy(), np.nan)
    order = np.argsort(mine["number"].to_numpy(), kind="stable")
    return [
        (Weights(**dict(zip(names, at, strict=True))), score if math.isfinite(score) else None)
        for at, score in zip(weights[order].tolist(), scores[order].tolist(), strict=True)
        if all(map(math.isfinite, at))
    ]
