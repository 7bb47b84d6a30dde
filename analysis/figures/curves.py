"""⟨NRMSE⟩ along each axis of a map: where more signal no longer helps (Supp. 21)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from ...recon_core.methods import Method
from ..maps import Page, PhaseMap
from ..style import (
    CHEMICAL_SNR,
    CHEMICAL_TILTS,
    METHOD_LABELS,
    METHOD_STYLE,
    SCORE_COLUMNS,
    axis_label,
    tick_label,
)
from . import MAP, Entry, of_map
from .draw import SEQUENTIAL, mark_if_empty
from .maps import NRMSE, baselines_figure, titled

CONVERGED = 0.05
"""A curve has converged where it stays within this fraction of its value at the far end."""

_MARKERS = "osD^vP<X>*"
# Ratio of the ends of an axis from which it is drawn on a logarithmic scale.
_WIDE = 10.0
_CHARACTER = 0.02
"""Width of a character of a label, of the length of an axis."""


def curves_figure(page: Page) -> Figure:
    """Fused ⟨NRMSE⟩ along both axes of a map, one curve per value of the other.

    A ring marks where each curve has converged (:data:`CONVERGED`). The baselines, which use no
    HAADF, are drawn along a chemical axis, as means over the other. With fewer than two axes:
    :func:`~tomoatlas.analysis.figures.maps.baselines_figure`.

    Parameters
    ----------
    page : the cells to show.
    """
    if page.axes < 2:
        return baselines_figure(page)
    figure = Figure(figsize=(13.0, 4.6), layout="constrained")
    # The same values twice: along each axis one curve per value of the other.
    left, right = figure.subplots(1, 2)
    grid = page.map("nrmse")
    _draw(left, grid.values.T, (grid.rows, grid.row_values), (grid.cols, grid.col_values))
    _draw(right, grid.values, (grid.cols, grid.col_values), (grid.rows, grid.row_values))
    for ax, axis in ((left, grid.rows), (right, grid.cols)):
        _add_legend(ax, list(ax.get_lines()), _other(axis, grid), upper=True)
        shown = axis in (CHEMICAL_TILTS, CHEMICAL_SNR)
        if shown and (baselines := _draw_baselines(ax, page, axis)):
            _add_legend(ax, baselines, "without HAADF", upper=False)
        mark_if_empty(ax)
    for ax in (left, right):
        ax.set_ylabel(f"{NRMSE} (linear)")
        # Above the highest point as much as its ring needs: the axis begins at 0.
        ax.set_ylim(0.0, 1.05 * ax.get_ylim()[1])
    ringed = any(converged_from(c) is not None for c in (*grid.values, *grid.values.T))
    note = f"\nring: from here on within {CONVERGED:.0%} of the right end" if ringed else ""
    figure.suptitle(titled("Fused HAADF + chemistry", page) + note)
    return figure


def _add_legend(ax: Axes, lines: Sequence[Line2D], title: str, *, upper: bool) -> None:
    """Add a legend of ``lines`` beside the panel, at its upper or lower end."""
    named = [line for line in lines if not str(line.get_label()).startswith("_")]
    legend = Legend(
        ax,
        named,
        [str(line.get_label()) for line in named],
        title=title,
        loc="upper left" if upper else "lower left",
        bbox_to_anchor=(1.0, 1.0 if upper else 0.0),
        fontsize=8,
        title_fontsize=8,
        frameon=False,
    )
    ax.add_artist(legend).set_clip_on(False)  # the layout reserves no space for clipped artists


def _other(axis: str, grid: PhaseMap) -> str:
    return axis_label(grid.cols if axis == grid.rows else grid.rows)


def _draw(
    ax: Axes,
    curves: NDArray[np.float64],
    along: tuple[str, tuple[Any, ...]],
    others: tuple[str, tuple[Any, ...]],
) -> None:
    """Draw ``curves`` (value of ``others``, value of ``along``), one line per row."""
    places = _places(ax, *along)
    colours = colormaps[SEQUENTIAL](np.linspace(0.0, 0.92, len(curves)))
    styles = zip(colours, cycle(_MARKERS), strict=False)
    for curve, value, (colour, marker) in zip(curves, others[1], styles, strict=False):
        label = tick_label(value)
        ax.plot(places, curve, marker=marker, color=colour, markersize=5, linewidth=1, label=label)
        if (start := converged_from(curve)) is not None:
            ax.plot(places[start], curve[start], "o", color=colour, markersize=11, fillstyle="none")
    ax.spines[["top", "right"]].set_visible(False)


def _places(ax: Axes, axis: str, values: tuple[Any, ...]) -> NDArray[np.float64]:
    """Positions of values: numbers at their value, on a logarithmic axis if wide; else equal
    steps. The label says which, as ticks at chosen values alone would not.
    """
    numbers = np.array([v if isinstance(v, int | float) else np.nan for v in values], dtype=float)
    if not np.isfinite(numbers).all():
        ax.set_xlabel(f"{axis_label(axis)} (equal steps)")
        steps = np.arange(len(values), dtype=float)
        ax.set_xticks(steps, _apart(steps, [tick_label(v) for v in values]))
        return steps
    wide = numbers.min() > 0 and numbers.max() >= _WIDE * numbers.min()
    ax.set_xlabel(f"{axis_label(axis)} ({'logarithmic' if wide else 'linear'})")
    if wide:
        ax.set_xscale("log")
        labels = _apart(np.log(numbers), [tick_label(v) for v in values])
        ax.set_xticks(numbers, labels, minor=False)
        ax.xaxis.set_minor_locator(NullLocator())
    return numbers


def _apart(places: NDArray[np.float64], labels: Sequence[str]) -> list[str]:
    """The labels, those that would overlap others left empty; both ends keep theirs."""
    along = (places - places.min()) / (np.ptp(places) or 1.0)
    kept: list[int] = []
    for i in dict.fromkeys((0, len(labels) - 1, *range(len(labels)))):
        if all(
            abs(along[i] - along[k]) > _CHARACTER * (len(labels[i]) + len(labels[k]) + 1) / 2
            for k in kept
        ):
            kept.append(i)
    return [label if i in kept else "" for i, label in enumerate(labels)]


def converged_from(curve: NDArray[np.float64]) -> int | None:
    """First index from which a curve stays within :data:`CONVERGED` of its last known value.

    Parameters
    ----------
    curve : ⟨NRMSE⟩ along an axis, NaN for an empty cell.

    Returns
    -------
    None if nothing is known, or only the last value is within.

    Examples
    --------
    >>> import numpy as np
    >>> converged_from(np.array([0.9, 0.5, 0.41, 0.4]))
    2
    """
    known = np.flatnonzero(np.isfinite(curve))
    if not known.size:
        return None
    last = curve[known[-1]]
    # The last point outside decides: before it the curve may cross the band by chance.
    off = known[np.abs(curve[known] - last) > CONVERGED * abs(last)]
    inside = known[known > off[-1]] if off.size else known
    return int(inside[0]) if len(inside) > 1 else None


def _draw_baselines(ax: Axes, page: Page, axis: str) -> list[Line2D]:
    lines = []
    for method, column in SCORE_COLUMNS.items():
        if method is Method.FUSED:
            continue
        grid = page.map(column)
        values = grid.values if axis == grid.cols else grid.values.T
        names = grid.col_values if axis == grid.cols else grid.row_values
        # Baselines differ along the other axis by noise only, so their mean is shown.
        known = np.isfinite(values)
        if not known.any():  # not run in this study
            continue
        count = known.sum(axis=0)
        mean = np.where(known, values, 0.0).sum(axis=0) / np.where(count, count, np.nan)
        colour, marker = METHOD_STYLE[method]
        lines += ax.plot(
            _places(ax, axis, names),
            mean,
            "--",
            color=colour,
            marker=marker,
            markersize=4,
            label=METHOD_LABELS[method],
        )
    return lines


CURVES_FIGURE = Entry(
    "Supp. 21: NRMSE along each axis, where it has converged",
    MAP,
    of_map("curves", curves_figure),
)
