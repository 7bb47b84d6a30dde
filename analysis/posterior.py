"""What the search's model predicts over all weights, given the trials of one cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..recon_core.methods import Method, Weights
from ..sweep.search.propose import Space, predict

Floats = NDArray[np.float64]

WEIGHTS = Method.FUSED.weight_names
NEAR_BEST = 0.05
"""Weights whose expected NRMSE is within this fraction of the best are outlined."""


@dataclass(frozen=True)
class Posterior:
    """Expected ⟨NRMSE⟩ and its standard deviation over the weights searched.

    Parameters
    ----------
    weights : weight → values along its axis, logarithmically spaced.
    mean : expected ⟨NRMSE⟩; the last axis is the first weight, so (tv, haadf), or (tv,).
    sigma : standard deviation of ⟨NRMSE⟩, of the same shape.
    """

    weights: Mapping[str, Floats]
    mean: Floats
    sigma: Floats

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


def least(method: Method) -> int:
    """Fewest good trials for a posterior: two per weight, and one more.

    For two weights, in a 64³ map a fifth of the later trials fell outside three sigma after three
    trials, but 11 of 280 after five, and 10 of these where :meth:`Posterior.guessed`.

    Parameters
    ----------
    method : the method whose weights are searched.

    Examples
    --------
    >>> least(Method.FUSED), least(Method.CHEMISTRY_TV)
    (5, 3)
    """
    return 2 * len(method.weight_names) + 1


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
    scored = _scored(trials, method)
    if sum(score is not None for _, score in scored) < least(method):
        return None
    names = method.weight_names
    bounds = {name: space[name] for name in names}
    # One call for the whole grid: the model's factors are computed once.
    mean, sigma = predict(bounds, scored, unit_grid(len(names), points))
    along = {name: np.geomspace(*bounds[name], points) for name in names}
    shape = (points,) * len(names)
    return Posterior(along, mean.reshape(shape), sigma.reshape(shape))


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


def _scored(trials: pd.DataFrame, method: Method) -> list[tuple[Weights, float | None]]:
    """Weights and scores of a method's trials by their number; None for a failed trial."""
    names = method.weight_names
    mine = trials[(trials["method"] == method).to_numpy()]
    # Columns to lists once: row-wise access of a table is a hundred times slower.
    weights = mine[list(names)].to_numpy(dtype=float)
    scores = np.where((mine["status"] == "ok").to_numpy(), mine["nrmse"].to_numpy(), np.nan)
    # In the order in which the search proposed them, as its own model saw them.
    order = np.argsort(mine["number"].to_numpy(), kind="stable")
    return [
        (Weights(**dict(zip(names, at, strict=True))), score if math.isfinite(score) else None)
        for at, score in zip(weights[order].tolist(), scores[order].tolist(), strict=True)
        # A damaged line may lack a weight; the other trials still make a model.
        if all(map(math.isfinite, at))
    ]
