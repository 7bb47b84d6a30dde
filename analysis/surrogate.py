"""A Gaussian process over the weights, fitted to finished trials.

The kernel is that of the search (Matern 5/2 over the logarithms of the weights), but nothing of the
search's own state is used: it is a picture of the record.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import good_trials
from recon_core.settings import Method

Floats = NDArray[np.float64]
Space = Mapping[str, tuple[float, float]]

WEIGHTS = ("haadf", "tv")
_EXACT = 1e-4
"""Variance of a standardised score that is not explained by the weights: almost none."""


def fused_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The good fused trials."""
    good = good_trials(trials)
    told: pd.DataFrame = good[good["method"] == Method.FUSED.value]
    return told


def unit_weights(trials: pd.DataFrame, space: Space) -> Floats:
    """Weights as places from 0 to 1 in the logarithm of the range searched: (trial, 2)."""
    columns = []
    for name in WEIGHTS:
        low, high = np.log10(space[name])
        columns.append((np.log10(trials[name].to_numpy(dtype=float)) - low) / (high - low))
    return np.stack(columns, axis=1)


def unit_grid(points: int) -> tuple[Floats, Floats]:
    """A square grid of places of both weights: (tv, haadf) each."""
    unit = np.linspace(0.0, 1.0, points)
    tv, haadf = np.meshgrid(unit, unit, indexing="ij")
    return haadf, tv


def fit(points: Floats, scores: Floats, noisy: bool) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Mean and standard deviation at places (n, 2), given ``scores`` at ``points``.

    ``noisy``: scores scatter beyond what the weights explain, as over several cells.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (0.1, 100.0)) * Matern([0.5, 0.5], [(0.1, 5.0)] * 2, nu=2.5)
    if noisy:
        kernel += WhiteKernel(0.1, (1e-3, 10.0))
    model = GaussianProcessRegressor(
        kernel, alpha=_EXACT, normalize_y=True, n_restarts_optimizer=2, random_state=0
    )
    with warnings.catch_warnings():
        # A length scale at its bound is an answer: few points do not say more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points, scores)
    return lambda places: model.predict(places, return_std=True)
