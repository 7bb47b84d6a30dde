"""Rows beneath a map: the methods that do not see its upward axis, one row each."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from numpy.typing import NDArray

from analysis.draw import draw_map
from analysis.labels import HAADF_SNR, HAADF_TILTS, METHOD_LABELS, SCORE_COLUMNS
from analysis.maps import Page, PhaseMap
from recon_core.settings import Method


def rows_without_haadf(page: Page) -> dict[Method, NDArray[np.float64]]:
    """⟨NRMSE⟩ of each baseline per column of the map, the best at the top.

    Baselines use no HAADF: along an upward axis of HAADF tilts or SNR only their noise differs,
    and the mean over it is taken. Empty for maps with another upward axis, or without baselines.
    """
    if page.upwards not in (HAADF_TILTS, HAADF_SNR):
        return {}
    baselines = [method for method in reversed(SCORE_COLUMNS) if method is not Method.FUSED]
    found = {method: _mean_of_columns(page.map(SCORE_COLUMNS[method])) for method in baselines}
    return {method: row for method, row in found.items() if np.isfinite(row).any()}


def _mean_of_columns(grid: PhaseMap) -> NDArray[np.float64]:
    known = np.isfinite(grid.values)
    total, count = np.where(known, grid.values, 0.0).sum(axis=0), known.sum(axis=0)
    mean: NDArray[np.float64] = np.divide(
        total, count, out=np.full(len(total), np.nan), where=count > 0
    )
    return mean


def draw_strips(
    ax: Axes,
    strips: dict[Method, NDArray[np.float64]],
    grid: PhaseMap,
    norm: Normalize,
    cmap: Colormap,
) -> bool:
    """The rows of :func:`rows_without_haadf` with their numbers, on the map's colours.

    Scores above the map's range take the colour that ``cmap`` has for them, so that the map keeps
    its contrast. Returns whether there are any.
    """
    labels = tuple(METHOD_LABELS[method].replace(", ", ",\n") for method in strips)
    values = np.stack(list(strips.values()))[::-1]
    rows = PhaseMap(values, "without HAADF", grid.cols, labels[::-1], grid.col_values)
    draw_map(ax, rows, norm, cmap=cmap)
    ax.set_ylabel("without\nHAADF")
    ax.tick_params(axis="y", labelsize=8)
    return bool((np.asarray(norm(values)) > 1.0).any())
