"""Figures of an atlas: the NRMSE map, the four methods, the gain, the weights.

Each takes a :class:`~analysis.maps.Page` and draws what the page has: a map (two axes), curves
(one) or bars (none).
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from analysis.draw import (
    DIVERGING,
    SEQUENTIAL,
    add_colourbar,
    draw_bars,
    draw_contour,
    draw_curve,
    draw_map,
)
from analysis.labels import METHOD_LABELS, SCORE_COLUMNS, condition_label
from analysis.maps import Page, PhaseMap
from recon_core.settings import Method

NRMSE = "⟨NRMSE⟩"
ACCURACY = 0.4
"""The accuracy outlined in maps; most of the map of Schwartz et al. (2024) lies below it."""

_WEIGHT_LABELS = {"haadf": "HAADF weight", "tv": "TV weight"}


def nrmse_figure(page: Page, accuracy: float = ACCURACY) -> Figure:
    """Mean NRMSE of the fused method; for fewer than two axes beside the other methods."""
    if page.axes < 2:
        return baselines_figure(page)
    grid = page.map("nrmse")
    figure, ax = _one_panel(grid)
    colours = draw_map(ax, grid, _nrmse_norm(page, ["nrmse"]))
    outlined = draw_contour(ax, grid.values, accuracy)
    note = f"\noutlined: {NRMSE} ≤ {accuracy:g}" if outlined else ""
    ax.set_title(_titled("Fused HAADF + chemistry", page) + note)
    add_colourbar(figure, colours, ax, NRMSE)
    return figure


def baselines_figure(page: Page) -> Figure:
    """The four methods on one scale of colour or height."""
    if page.axes == 2:
        return _four_maps(page)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.subplots()
    if page.across is None:
        row = page.atlas.table.iloc[0]
        draw_bars(ax, {method: float(row[column]) for method, column in SCORE_COLUMNS.items()})
    else:
        for method, column in SCORE_COLUMNS.items():
            draw_curve(ax, page.across, *page.curve(column), method)
        ax.set_ylim(bottom=0.0)
        ax.legend(frameon=False)
    ax.set_ylabel(NRMSE)
    ax.set_title(_titled("Methods at their own best weights", page))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def gain_figure(page: Page) -> Figure | None:
    """How far fused lies below chemistry + TV, in percent; None for fewer than two axes."""
    if page.axes < 2:
        return None
    fused, rival = page.map("nrmse"), page.map("nrmse_chemistry_tv")
    gain = PhaseMap(
        100.0 * (1.0 - fused.values / rival.values),
        *(fused.rows, fused.cols, fused.row_values, fused.col_values),
    )
    figure, ax = _one_panel(gain)
    finite = gain.values[np.isfinite(gain.values)]
    lossy = bool((finite < 0).any())
    top = max(5.0, 5.0 * np.ceil(np.abs(finite).max(initial=0.0) / 5.0))
    colours = draw_map(
        ax,
        gain,
        Normalize(-top if lossy else 0.0, top),
        cmap=DIVERGING if lossy else f"{SEQUENTIAL}_r",
        text="{:.0f}".format,
    )
    ax.set_title(_titled("Gain of fusion over chemistry + TV", page))
    add_colourbar(figure, colours, ax, f"reduction of {NRMSE} / %")
    return figure


def weights_figure(page: Page) -> Figure | None:
    """The hyperparameter atlas: best weights, on the scale of the search space; None for bars."""
    if page.axes == 0:
        return None
    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    for ax, weight in zip(figure.subplots(1, 2), ("haadf", "tv"), strict=True):
        _draw_weight(figure, ax, page, weight)
    figure.suptitle(_titled("Best weights of the fused method", page))
    return figure


def _draw_weight(figure: Figure, ax: Axes, page: Page, weight: str) -> None:
    low, high = _searched(page, weight)
    if page.axes == 2:
        colours = draw_map(
            ax, page.map(weight), LogNorm(low, high), cmap="cividis", text="{:.2g}".format
        )
        bar = add_colourbar(figure, colours, ax, _WEIGHT_LABELS[weight])
        _plain_decades(bar.ax.yaxis)
        return
    draw_curve(ax, str(page.across), *page.curve(weight), Method.FUSED)
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.set_ylabel(_WEIGHT_LABELS[weight])
    _plain_decades(ax.yaxis)


def _plain_decades(axis: Axis) -> None:
    """0.01, 0.1, 1 instead of powers, and no labels between."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _searched(page: Page, weight: str) -> tuple[float, float]:
    """The range searched; of an atlas without its study, whole decades around the values."""
    if (bounds := page.atlas.setting(f"search.space.{weight}")) is not None:
        return float(bounds[0]), float(bounds[1])
    low, high = page.range([weight])
    if not np.isfinite(low) or low <= 0:
        return 0.1, 1.0
    return 10.0 ** np.floor(np.log10(low)), 10.0 ** max(
        np.ceil(np.log10(high)), np.floor(np.log10(low)) + 1
    )


def _four_maps(page: Page) -> Figure:
    columns, rows = _grid_size(page.map("nrmse"))
    figure = Figure(figsize=(1.0 + 1.9 * columns, 1.2 + 1.8 * rows), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    norm = _nrmse_norm(page, list(SCORE_COLUMNS.values()))
    for ax, (method, column) in zip(axes.flat, SCORE_COLUMNS.items(), strict=True):
        colours = draw_map(ax, page.map(column), norm)
        ax.set_title(METHOD_LABELS[method])
        ax.label_outer()
    figure.suptitle(_titled("Methods at their own best weights", page))
    add_colourbar(figure, colours, list(axes.flat), NRMSE)
    return figure


def _grid_size(grid: PhaseMap) -> tuple[float, float]:
    """Width and height in inches at which the numbers of a map are read easily."""
    rows, columns = grid.values.shape
    return max(2.4, 0.5 * columns), max(1.8, 0.4 * rows)


def _one_panel(grid: PhaseMap) -> tuple[Figure, Axes]:
    width, height = _grid_size(grid)
    figure = Figure(figsize=(2.4 + 1.1 * width, 1.4 + 1.1 * height), layout="constrained")
    return figure, figure.subplots()


def _nrmse_norm(page: Page, columns: list[str]) -> Normalize:
    """Colours from the lowest to the highest score, rounded outwards to 0.05, 0.1 wide at least."""
    low, high = page.range(columns)
    if not np.isfinite(low):
        return Normalize(0.0, float(np.sqrt(2.0)))
    low, high = np.floor(low * 20) / 20, np.ceil(high * 20) / 20
    return Normalize(float(low), float(max(high, low + 0.1)))


def _titled(title: str, page: Page) -> str:
    return f"{title}\n{condition_label(page.fixed)}" if page.fixed else title
