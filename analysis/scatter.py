"""How far the pixels of a map scatter: over the noise of the data, and over specimens of one kind.

An axis over ``study.seed`` repeats every condition with other noise, one over ``specimen.seed``
with another specimen of the kind, whose noise is another too. Of both together the two are told
apart by an analysis of variance: the noise is what repetitions of one specimen differ by, the
specimens' share what is left of the differences between their means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..sweep.search.context import SEEDS, SPECIMEN_SEED
from ..sweep.study.axes import NOISE_SEED

NOISE, SPECIMENS = "nrmse_noise", "nrmse_specimen"
"""Columns of an atlas: standard deviations of ⟨NRMSE⟩ over the noise, and over specimens."""

_ADDED = ("trials", "failed")
_GEOMETRIC = ("haadf", "tv", "tv_chemistry_tv")


def seed_axes(axes: Sequence[str]) -> tuple[str, ...]:
    """The axes of a study that repeat its conditions.

    Parameters
    ----------
    axes : all of them, by path.

    Examples
    --------
    >>> seed_axes(["acquisition.haadf_tilts", "specimen.seed"])
    ('specimen.seed',)
    """
    return tuple(axis for axis in axes if axis in SEEDS)


def with_scatter(table: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """A table of cells with the scatter of every condition, where seeds are axes.

    Parameters
    ----------
    table : one row per cell, with a column for each axis and ``nrmse``.
    axes : of the study, by path.

    Returns
    -------
    The table with :data:`NOISE` and :data:`SPECIMENS`, as far as the axes tell them; NaN for a
    condition with fewer than two results.
    """
    seeds = seed_axes(axes)
    if not seeds:
        return table
    names = [n for n, axis in ((NOISE, NOISE_SEED), (SPECIMENS, SPECIMEN_SEED)) if axis in seeds]
    found = pd.DataFrame(np.nan, index=table.index, columns=names)
    for _, part in _conditions(table, axes):
        found.loc[part.index, names] = [_scatter(part)[name] for name in names]
    return table.assign(**{name: found[name] for name in names})


def over_seeds(table: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """The mean of every condition over its seeds: one row each, without the axes of seeds.

    Parameters
    ----------
    table : one row per cell; :func:`with_scatter` adds what is lost.
    axes : of the study, by path.
    """
    seeds = seed_axes(axes)
    if not seeds:
        return table
    rows = [_mean(part) for _, part in _conditions(table, axes)]
    kept = [str(name) for name in table if name not in seeds]
    return pd.DataFrame(rows, columns=kept)


def _conditions(table: pd.DataFrame, axes: Sequence[str]) -> Any:
    """The cells of each condition, in the order of the table."""
    others = [axis for axis in axes if axis not in SEEDS]
    return table.groupby(others, sort=False) if others else [((), table)]


def _scatter(part: pd.DataFrame) -> dict[str, float]:
    """Standard deviations of the results of one condition."""
    known = part[part["nrmse"] > 0]
    if SPECIMEN_SEED not in known or NOISE_SEED not in known:
        found = float(known["nrmse"].std(ddof=1))
        return {NOISE: found, SPECIMENS: found}
    of_each = known.groupby(SPECIMEN_SEED)["nrmse"]
    noise = float(of_each.var(ddof=1).mean())
    means, repeats = of_each.mean(), float(of_each.size().mean())
    # Means of a few repetitions differ by their noise too: that share is not the specimens'.
    between = float(means.var(ddof=1)) - (0.0 if math.isnan(noise) else noise / repeats)
    return {NOISE: math.sqrt(noise), SPECIMENS: math.sqrt(max(0.0, between))}


def _mean(part: pd.DataFrame) -> dict[str, Any]:
    """One row for the cells of a condition."""
    found: dict[str, Any] = {}
    for name, values in part.items():
        if values.dtype == bool:
            found[str(name)] = bool(values.all())
        elif not pd.api.types.is_numeric_dtype(values):
            found[str(name)] = values.iloc[0]
        elif name in _ADDED:
            found[str(name)] = values.sum()
        elif name in _GEOMETRIC:
            found[str(name)] = float(np.exp(np.log(values.where(values > 0)).mean()))
        elif name == "revision" or values.nunique() == 1:
            found[str(name)] = values.min()
        else:
            found[str(name)] = float(values.mean())
    return found
