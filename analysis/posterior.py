"""What the search believes of all weights after the trials of one cell: its model, its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import good_trials
from recon_core.errors import BadInput
from recon_core.settings import Method, Weights
from sweep.propose import Space, believed

Floats = NDArray[np.float64]

WEIGHTS = Method.FUSED.weight_names
LEAST = 5
"""Good trials below which nothing can be said of all weights.

Of the trials to come of a 64³ map a fifth lay beyond three sigma after three trials, and 11 of 280
after five, 10 of these where :meth:`Posterior.guessed`.
"""
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


def posterior(trials: pd.DataFrame, space: Space, method: Method, points: int) -> Posterior:
    """The posterior of the trials of one cell over ``space``, at ``points`` values of each weight.

    A failed trial counts as the search counts it, as one deviation worse than the worst.

    Raises
    ------
    BadInput : fewer than :data:`LEAST` good trials of ``method``.
    """
    found = len(good_trials(trials, method))
    if found < LEAST:
        raise BadInput(
            f"too few good {method} trials for a landscape", value=found, accepted=f">= {LEAST}"
        )
    names = method.weight_names
    bounds = {name: space[name] for name in names}
    mean, sigma = believed(bounds, _told(trials, method), unit_grid(len(names), points))
    along = {name: np.geomspace(*bounds[name], points) for name in names}
    shape = (points,) * len(names)
    return Posterior(along, mean.reshape(shape), sigma.reshape(shape))


def unit_grid(dimensions: int, points: int) -> Floats:
    """Places (points ** dimensions, dimensions) from 0 to 1, the first dimension fastest."""
    along = [np.linspace(0.0, 1.0, points)] * dimensions
    return np.stack([grid.ravel() for grid in reversed(np.meshgrid(*along, indexing="ij"))], axis=1)


def _told(trials: pd.DataFrame, method: Method) -> list[tuple[Weights, float | None]]:
    """Weights and scores of a method's trials in their order; None for those that failed."""
    names = list(method.weight_names)
    mine = trials[trials["method"] == method.value].dropna(subset=names).sort_values("number")
    scores = mine["nrmse"].where(mine.index.isin(good_trials(mine).index))
    rows = zip(mine[names].to_numpy(dtype=float), scores, strict=True)
    return [
        (
            Weights(**dict(zip(names, weights.tolist(), strict=True))),
            float(s) if np.isfinite(s) else None,
        )
        for weights, s in rows
    ]
