"""Figures of an atlas: the NRMSE map, the four methods, the gain of fusion, the best weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...recon_core.methods import Method
from ...sweep.search.propose import LINEAR
from ...sweep.study.trial import SCORES, Score
from ..maps import Page, PhaseMap
from ..scatter import NOISE, SPECIMENS
from ..style import (
    CHEMICAL_TILTS,
    HAADF_SNR,
    HAADF_TILTS,
    METHOD_LABELS,
    SCORE_COLUMNS,
    WEIGHT_LABELS,
    condition_title,
)
from . import MAP, Entry, of_map
from .draw import (
    DIVERGING,
    SEQUENTIAL,
    add_colourbar,
    draw_bars,
    draw_contour,
    draw_curve,
    draw_map,
    draw_parting,
    mark_if_empty,
    plain_log_ticks,
    readable,
)


def rows_without_haadf(page: Page) -> dict[Method, NDArray[np.float64]]:
    """⟨NRMSE⟩ of each baseline per column of the map, the best baseline first.

    Baselines use no HAADF: along an upward axis of HAADF tilts or SNR only their noise differs, so
    their mean over that axis is taken.

    Parameters
    ----------
    page : a page of two axes.

    Returns
    -------
    Method → mean ⟨NRMSE⟩ (column,). Empty if the upward axis is another one, or without baselines.
    """
    if page.upwards not in (HAADF_TILTS, HAADF_SNR):
        return {}
    baselines = [method for method in reversed(SCORE_COLUMNS) if method is not Method.FUSED]
    found = {method: _mean_of_columns(page.map(SCORE_COLUMNS[method])) for method in baselines}
    return {method: row for method, row in found.items() if np.isfinite(row).any()}


def _mean_of_columns(grid: PhaseMap) -> NDArray[np.float64]:
    """Mean (column,) over the rows that have a value; NaN for a column without any."""
    # Not np.nanmean, which warns about a column without any value.
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
) -> None:
    """Draw the rows of :func:`rows_without_haadf` with their numbers, in the map's colours.

    Parameters
    ----------
    ax : where to draw, below the map.
    strips : method → scores (column,).
    grid : the map, for its columns.
    norm : the map's scale of colours.
    """
    labels = tuple(METHOD_LABELS[method].replace(", ", ",\n") for method in strips)
    # Rows of a map go upwards, so the first method, at the top, is the last row.
    values = np.stack(list(strips.values()))[::-1]
    rows = PhaseMap(values, "without HAADF", grid.cols, labels[::-1], grid.col_values)
    draw_map(ax, rows, norm)
    ax.set_ylabel("without\nHAADF")
    ax.tick_params(axis="y", labelsize=8)


NRMSE = "⟨NRMSE⟩"
ACCURACY = 0.4
"""The accuracy outlined in maps; most of the map of Schwartz et al. (2024) lies below it."""

BASELINES = tuple(method for method in SCORE_COLUMNS if method is not Method.FUSED)

_STRIP_HEIGHT = 0.4  # inches of a row below a map


def nrmse_figure(page: Page, accuracy: float = ACCURACY) -> Figure:
    """Mean NRMSE of the fused method (Fig. 4a); with fewer than two axes all methods instead.

    Parameters
    ----------
    page : the cells to show.
    accuracy : ⟨NRMSE⟩ at or below which cells are outlined.
    """
    if page.axes < 2:
        return baselines_figure(page)
    grid, norm = page.map("nrmse"), _nrmse_norm(page)
    strips = rows_without_haadf(page)
    figure, ax, below = _with_strips(grid, len(strips))
    error, scattered = _error(page)
    # of a mean as many digits as of its deviation
    text = _on_its_side_of(accuracy, 2 if error is None else 3)
    colours = draw_map(ax, grid, norm, error=error, text=text)
    notes = [f"ticks on the line point to {NRMSE} ≤ {accuracy:g}"] * draw_contour(
        ax, grid.values, accuracy
    )
    if (grid.rows, grid.cols) == (HAADF_TILTS, CHEMICAL_TILTS):
        notes += ["above the dashes: no fewer HAADF tilts than maps"] * draw_parting(ax, grid)
    notes += [scattered] if scattered else []
    if below is not None:
        draw_strips(below, strips, grid, norm)
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    title, *more = titled("Fused HAADF + chemistry", page).split("\n")
    ax.set_title("\n".join(filter(None, (title, "; ".join(more)))))
    if notes:
        # as wide as the figure, whose letters of this size stand about 16 to an inch
        width = round(16 * figure.get_figwidth())
        figure.supxlabel("\n".join(fill(note, width) for note in notes), fontsize=8)
    panels = [ax] if below is None else [ax, below]
    _plain(add_colourbar(figure, colours, panels, NRMSE), norm)
    return figure


def _on_its_side_of(accuracy: float, fewest: int) -> Callable[[float], str]:
    """Few digits of a score; more where they would put it on the other side of a contour."""

    def text(score: float) -> str:
        texts = (f"{score:.{digits}f}" for digits in range(fewest, 7))
        return next((t for t in texts if (float(t) <= accuracy) == (score <= accuracy)), f"{score}")

    return text


def _error(page: Page) -> tuple[NDArray[np.float64] | None, str]:
    """Standard deviation of the pixels of a page, and of what; None where nothing is repeated."""
    kinds = [name for name in (NOISE, SPECIMENS) if name in page.atlas.table]
    if not kinds:
        return None, ""
    parts = [page.map(name).values for name in kinds]
    of = {NOISE: "noise", SPECIMENS: "specimens"}
    words = " and ".join(of[name] for name in kinds)
    # The two are independent: an experiment has another specimen and other noise.
    return np.sqrt(np.sum(np.square(parts), axis=0)), f"±: one deviation over {words}"


def baselines_figure(page: Page) -> Figure:
    """The methods that were run, each at its own best weights, on one scale of colour or height.

    Parameters
    ----------
    page : the cells to show: maps for two axes, curves for one, bars for none.
    """
    if page.axes == 2:
        return _maps_of_methods(page)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.subplots()
    if page.across is None:
        row = page.atlas.table.iloc[0]
        draw_bars(ax, {method: float(row[column]) for method, column in SCORE_COLUMNS.items()})
    else:
        for method, column in SCORE_COLUMNS.items():
            draw_curve(ax, page.across, *page.curve(column), method)
        mark_if_empty(ax)
        ax.set_ylim(bottom=0.0)
        ax.legend(frameon=False)
    ax.set_ylabel(NRMSE)
    ax.set_title(titled("Methods at their own best weights", page))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def gain_figure(page: Page, rivals: Sequence[Method] = BASELINES) -> Figure | None:
    """How far the fused method lies below each of ``rivals``, in percent of the rival, on one
    scale.

    Parameters
    ----------
    page : the cells to show.
    rivals : methods to compare with.

    Returns
    -------
    None if the page has fewer than two axes, or if no rival was run.
    """
    if page.axes < 2:
        return None
    rivals = _with_results(page, rivals)
    if not rivals:
        return None
    gains = [_gain(page, rival) for rival in rivals]
    width, height = _grid_size(gains[0])
    # Two digits take less room than a score, a title takes the same.
    panel = max(2.9, 0.5 + 0.75 * width)
    size = (1.4 + panel * len(gains), 1.4 + 1.1 * height)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(1, len(gains), sharey=True, squeeze=False).flat)
    norm, cmap = _gain_colours(gains)
    for ax, gain, rival in zip(axes, gains, rivals, strict=True):
        colours = draw_map(ax, gain, norm, cmap=cmap, text="{:z.0f}".format)
        ax.set_title(f"over {METHOD_LABELS[rival]}")
        ax.label_outer()
    figure.suptitle(titled("Gain of fusion", page))
    bar = add_colourbar(figure, colours, axes, f"reduction of {NRMSE} / %")
    # Colours are as far apart on either side of 0; the bar ends where the values do.
    least = min(float(np.nanmin(gain.values, initial=0.0)) for gain in gains)
    bar.ax.set_ylim(bottom=max(norm.vmin, 5.0 * np.floor(least / 5.0)) if norm.vmin else 0.0)
    return figure


def _with_results(page: Page, methods: Sequence[Method]) -> list[Method]:
    """Those of which the map has a result; all, where no method has one yet."""

    def has(method: Method) -> bool:
        return bool(np.isfinite(page.map(SCORE_COLUMNS[method]).values).any())

    return [m for m in methods if has(m)] if any(map(has, SCORE_COLUMNS)) else list(methods)


def _gain(page: Page, rival: Method) -> PhaseMap:
    """Reduction of the rival's score by the fused method, percent."""
    fused, other = page.map("nrmse"), page.map(SCORE_COLUMNS[rival])
    # Percent of the rival's score: positive where fusion is better.
    return replace(fused, values=100.0 * (1.0 - fused.values / other.values))


def _gain_colours(gains: Sequence[PhaseMap]) -> tuple[Normalize, str]:
    """One scale for all panels: from 0, or diverging around 0 if fusion is worse anywhere."""
    values = np.concatenate([gain.values.ravel() for gain in gains])
    values = values[np.isfinite(values)]
    # Rounded to 5 %, at least 5 %, so that small gains do not look large.
    top = max(5.0, 5.0 * np.ceil(np.abs(values).max(initial=0.0) / 5.0))
    # A diverging scale only if needed: around 0 it makes losses stand out.
    # A loss that rounds to 0 % is none: it would leave half of the scale unused.
    lossy = bool((values <= -0.5).any())
    return Normalize(-top if lossy else 0.0, top), DIVERGING if lossy else f"{SEQUENTIAL}_r"


def weights_figure(page: Page) -> Figure | None:
    """The hyperparameter atlas: best weights of the fused method (Supp. 22).

    Colours of a map span the weights found; curves span the range searched.

    Parameters
    ----------
    page : the cells to show.

    Returns
    -------
    None for a page without an axis.
    """
    if page.axes == 0:
        return None
    names = page.atlas.weight_names
    figure = Figure(figsize=(5.5 * len(names), 4.6), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(names)), names, strict=True):
        _draw_weight(figure, ax, page, name)
        if page.axes == 2 and name != names[0]:
            ax.set_ylabel("")
    figure.suptitle(titled("Best weights of the fused method", page))
    return figure


def _draw_weight(figure: Figure, ax: Axes, page: Page, weight: str) -> None:
    """Draw one weight, as a map for two axes and as a curve for one."""
    low, high = _searched(page, weight)
    linear, label = weight in LINEAR, WEIGHT_LABELS[weight]
    if page.axes == 2:
        grid, ends = page.map(weight), (low, high) if linear else _found(page, weight)
        norm, text = (Normalize(*ends), "{:.2f}") if linear else (LogNorm(*ends), "{:.2g}")
        colours = draw_map(ax, grid, norm, cmap="cividis", text=text.format)
        bar = add_colourbar(figure, colours, ax, label, above=True)
        if not linear:
            plain_log_ticks(bar.ax.yaxis, *ends)
        notes = (f"searched from {low:g} to {high:g}", _smoothness(grid))
        ax.set_title("\n".join(filter(None, notes)), fontsize=10)
        return
    draw_curve(ax, str(page.across), *page.curve(weight), Method.FUSED)
    mark_if_empty(ax)
    ax.set_ylim(low, high)
    ax.set_ylabel(label)
    if not linear:
        ax.set_yscale("log")
        plain_log_ticks(ax.yaxis, low, high)


def _smoothness(grid: PhaseMap) -> str:
    factor = neighbour_factor(grid.values)
    return f"neighbours differ by a factor {factor:.2g}" if np.isfinite(factor) else ""


def neighbour_factor(weights: NDArray[np.float64]) -> float:
    """Typical ratio of the weights of neighbouring cells: exp of the root mean square log-ratio.

    Parameters
    ----------
    weights : best weights (row, column), NaN where a cell is empty.

    Returns
    -------
    1 for a constant map; NaN if no two neighbours are known.

    Examples
    --------
    >>> import numpy as np
    >>> round(neighbour_factor(np.array([[1.0, 2.0], [1.0, 2.0]])), 3)
    1.633
    """
    logs = np.log(weights)
    # Neighbours along both axes; a step to an empty cell is NaN and drops out.
    steps = np.concatenate([np.diff(logs, axis=axis).ravel() for axis in (0, 1)])
    steps = steps[np.isfinite(steps)]
    return float(np.exp(np.sqrt(np.mean(steps**2)))) if steps.size else float("nan")


def _found(page: Page, weight: str) -> tuple[float, float]:
    """The weights of the page rounded outwards to 1, 2, 5 of a decade, within the range searched.

    At least one such step either way of a single value, so that equal weights get one colour.
    """
    searched = _searched(page, weight)
    low, high = page.range([weight])
    if not np.isfinite(low):
        return searched
    steps = np.outer(10.0 ** np.arange(-12, 13), (1.0, 2.0, 5.0)).ravel()
    low = float(steps[steps < low * (1 - 1e-9)][-1])
    high = float(steps[steps > high * (1 + 1e-9)][0])
    return max(low, searched[0]), min(high, searched[1])


def _searched(page: Page, weight: str) -> tuple[float, float]:
    """The range searched; for an atlas without its study, whole decades around the values."""
    if (bounds := page.atlas.setting(f"search.space.{weight}")) is not None:
        return float(bounds[0]), float(bounds[1])
    low, high = page.range([weight])
    if not np.isfinite(low) or low <= 0:
        return 0.1, 1.0
    return 10.0 ** np.floor(np.log10(low)), 10.0 ** max(
        np.ceil(np.log10(high)), np.floor(np.log10(low)) + 1
    )


def _maps_of_methods(page: Page) -> Figure:
    methods = _with_results(page, list(SCORE_COLUMNS))
    across, upwards = min(2, len(methods)), -(-len(methods) // 2)
    width, height = _grid_size(page.map("nrmse"))
    size = (1.0 + 0.95 * across * width, 1.2 + 0.9 * upwards * height)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(upwards, across, sharex=True, sharey=True, squeeze=False).flat)
    norm = _nrmse_norm(page)
    # One scale for all: colours compare methods, not only cells.
    for ax, method in zip(axes, methods, strict=False):
        colours = draw_map(ax, page.map(SCORE_COLUMNS[method]), norm)
        ax.set_title(METHOD_LABELS[method])
        ax.label_outer()
    for ax in axes[len(methods) :]:
        ax.set_axis_off()
    figure.suptitle(titled("Methods at their own best weights", page))
    _plain(add_colourbar(figure, colours, axes, NRMSE), norm)
    return figure


def _grid_size(grid: PhaseMap) -> tuple[float, float]:
    """Width and height in inches at which a map's numbers, if any, are read easily."""
    rows, columns = grid.values.shape
    return (max(2.4, 0.5 * columns), max(1.8, 0.4 * rows)) if readable(grid) else (10.0, 8.0)


def _with_strips(grid: PhaseMap, strips: int) -> tuple[Figure, Axes, Axes | None]:
    """A figure with a map and, if there are strips, axes below it that share its columns."""
    width, height = _grid_size(grid)
    rows = strips * _STRIP_HEIGHT
    size = (2.4 + 1.1 * width + (1.0 if strips else 0.0), 1.4 + 1.1 * (height + rows))
    figure = Figure(figsize=size, layout="constrained")
    if not strips:
        return figure, figure.subplots(), None
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[height, rows])
    return figure, above, below


def _nrmse_norm(page: Page) -> Normalize:
    """One scale of colours for every method: what is yellow in one figure is so in all.

    From the lowest to the highest score of any method, rounded outwards to 0.05, and logarithmic:
    converged ML may lie five times as high as the fused map, which would have few colours left.
    """
    low, high = page.range(list(SCORE_COLUMNS.values()))
    if not np.isfinite(low):
        # No result yet: the range of NRMSE from equal to uncorrelated volumes.
        return Normalize(0.0, float(np.sqrt(2.0)))
    low, high = np.floor(low * 20) / 20, np.ceil(high * 20) / 20
    high = max(high, low + 0.1)
    return LogNorm(float(low), float(high)) if low > 0 else Normalize(0.0, float(high))


def _plain(bar: Colorbar, norm: Normalize) -> None:
    """Plain numbers beside the colours of a logarithmic scale, and that it is one."""
    if isinstance(norm, LogNorm) and norm.vmin is not None and norm.vmax is not None:
        ticks = np.outer((0.01, 0.1, 1.0), (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)).ravel()
        shown = [tick for tick in ticks if norm.vmin <= tick <= norm.vmax]
        bar.set_ticks(shown, labels=[f"{tick:g}" for tick in shown])
        bar.minorticks_off()
        bar.set_label(f"{NRMSE}, logarithmic colours")


def titled(title: str, page: Page) -> str:
    """The title, with the axes held fixed, and a score that is not the NRMSE, on further lines.

    Parameters
    ----------
    title : the first line.
    page : the page shown, whose ``fixed`` axes make the second line.
    """
    score = page.atlas.score
    by = "" if score is Score.NRMSE else f"best by the {SCORES[score].label}, not by {NRMSE}"
    return "\n".join(filter(None, (title, condition_title(page.fixed), by)))


NRMSE_FIGURE = Entry(
    "Fig. 4a: NRMSE over tilts or SNR, with a contour, and rows without HAADF",
    MAP,
    of_map("nrmse", nrmse_figure),
)
BASELINES_FIGURE = Entry(
    "the same map of every method, on one scale", MAP, of_map("baselines", baselines_figure)
)
GAIN_FIGURE = Entry("gain of fusion over every baseline, %", MAP, of_map("gain", gain_figure))
WEIGHTS_FIGURE = Entry(
    "Supp. 22: best weights over the map, and how smooth they are",
    MAP,
    of_map("weights", weights_figure),
)
