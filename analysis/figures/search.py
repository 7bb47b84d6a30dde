"""How the search went: what more trials would gain, and all of them at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.methods import Method
from ...sweep.study.trial import GAMMA, SCORES, Score
from ..posterior import WEIGHTS, Floats
from ..style import WEIGHT_LABELS, axis_label, tick_label
from ..table import good_trials
from . import TRIALS, Entry
from .draw import SEQUENTIAL, add_colourbar
from .timeline import device_hours

FEW = 100
"""Most lines of parallel coordinates that are all coloured."""

_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"


def best_so_far(trials: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Lowest score of the fused trials of each cell after each of its trials.

    A failed trial leaves the best unchanged.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    axes : paths of the study's axes; none for a study of one cell.

    Returns
    -------
    Table (cell, trial number from 1); NaN before a cell's first good trial and after its last
    trial.
    """
    fused = trials[trials["method"] == "fused"].copy()
    # A failed trial may carry a number; it must not become the best.
    fused.loc[fused["status"] != "ok", "score"] = np.nan
    fused["cell"] = cell_numbers(fused, axes)
    table = fused.pivot_table(index="cell", columns="number", values="score", dropna=False)
    best = table.cummin(axis=1).ffill(axis=1)
    last = fused.groupby("cell")["number"].max()
    # A cell that ended early has no value at later trial numbers; ffill alone would invent one.
    best = best.where(np.array(best.columns)[None, :] <= last.to_numpy()[:, None])
    best.columns = [int(number) + 1 for number in best.columns]
    return best


def cell_numbers(trials: pd.DataFrame, axes: Sequence[str]) -> pd.Series:
    """A number per trial that is the same within a cell.

    Parameters
    ----------
    trials : table of trials.
    axes : paths of the study's axes; none for a study of one cell.
    """
    if not axes:
        return pd.Series(0, index=trials.index)
    return trials.groupby(list(axes), sort=False).ngroup()


def mean_best(trials: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Mean over the cells of the best fused score so far, against device time.

    Only cells that have a result in the end count, and the mean is NaN until the last of them has
    its first: a mean over the cells known so far would rise whenever a hard cell joined.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    axes : paths of the study's axes.

    Returns
    -------
    Table with columns ``device_hours`` (of all methods, cumulative), ``mean``, and ``cells`` (with
    a result so far), one row per trial by the time it ended.
    """
    ended = device_hours(trials)
    good = ended[(ended["method"] == "fused") & (ended["status"] == "ok") & ended["score"].notna()]
    cells = cell_numbers(good, axes)
    best = good["score"].groupby(cells).cummin()
    # Increments per trial: their running sum is the sum of all cells' bests at any moment.
    gained = best - best.groupby(cells).shift().fillna(0.0)
    known = (~cells.duplicated()).cumsum().reindex(ended.index).ffill().fillna(0).astype(int)
    mean = gained.cumsum().reindex(ended.index).ffill() / max(1, cells.nunique())
    whole = known == cells.nunique()
    hours = ended["device_hours"]
    return pd.DataFrame({"device_hours": hours, "mean": mean.where(whole), "cells": known})


def search_figure(trials: pd.DataFrame, axes: Sequence[str], score: Score = Score.NRMSE) -> Figure:
    """How far the best trial so far lies above the final best, against trials and device-hours.

    Left: each cell's excess over its own final best in percent, as median, middle half and full
    range. Right: :func:`mean_best`, with the device time of all methods.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    axes : paths of the study's axes.
    score : what the search minimised.

    Raises
    ------
    BadInput : no good fused trial.
    """
    if good_trials(trials, Method.FUSED).empty:
        raise BadInput("no good fused trial yet", accepted="a study with results")
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_regret(left, best_so_far(trials, axes))
    _draw_hours(right, mean_best(trials, axes), SCORES[score].label)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_regret(ax: Axes, best: pd.DataFrame) -> None:
    """Draw how far the best so far lies above the final best, over the trials of a cell."""
    # Relative to each cell's own best, since scores of different cells differ by factors.
    final = best.min(axis=1)
    above = 100.0 * (best.div(final, axis=0) - 1.0)
    numbers = np.array(best.columns)
    bands = ((0.0, 1.0, 0.12, "all cells"), (0.25, 0.75, 0.3, "middle half"))
    for low, high, alpha, label in bands:
        least, most = (above.quantile(q).to_numpy() for q in (low, high))
        ax.fill_between(
            # Steps, as the best so far changes only when a trial ends.
            numbers,
            least,
            most,
            step="post",
            color=_BLUE,
            alpha=alpha,
            lw=0,
            label=label,
        )
    median = above.quantile(0.5).to_numpy()
    ax.plot(numbers, median, "o-", drawstyle="steps-post", color=_BLUE, label="median")
    ax.set(xlabel="fused trials of a cell", ylabel="best so far, above the cell's final best / %")
    # At least a percent: where the first trial is the best, the axis would end at nothing.
    ax.set_ylim(0.0, max(1.0, ax.get_ylim()[1]))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(f"{len(best)} cells; 0 at the end by definition", fontsize=10)
    ax.legend(fontsize=8, frameon=False)


def _draw_hours(ax: Axes, means: pd.DataFrame, score: str) -> None:
    """Draw the mean best score and the number of cells with a result against device-hours."""
    if means.empty:
        ax.text(0.5, 0.5, "no times recorded", transform=ax.transAxes, ha="center")
        return
    hours, cells = means["device_hours"], int(means["cells"].iloc[-1])
    ax.plot(hours, means["mean"], color=_BLUE, drawstyle="steps-post")
    known = ax.twinx()
    known.plot(hours, means["cells"], color=_ORANGE, drawstyle="steps-post")
    known.set_ylabel("cells with a result", color=_ORANGE)
    # Headroom, so that the count's last level does not cover the first point of the mean.
    known.set_ylim(0, 1.12 * cells)
    ax.set_xlim(left=0.0)
    known.yaxis.set_major_locator(MaxNLocator(integer=True))
    known.spines[["top"]].set_visible(False)
    ax.set_xlabel("device-hours, all methods")
    ax.set_ylabel(f"best {score} so far, mean of all cells", color=_BLUE)
    ax.set_title(f"the mean starts when all {cells} cells have a result", fontsize=10)


def parallel_figure(
    trials: pd.DataFrame, axes: Sequence[str], score: Score = Score.NRMSE
) -> Figure:
    """Parallel coordinates: every good fused trial as a line through its condition, weights and
    score.

    Coloured by the score, the best drawn last; weights on logarithmic scales, axes in equal steps.
    Of more than :data:`FEW` trials only the best tenth of each cell, at least one, is coloured: the
    others lie behind them in grey, as hundreds of colours would hide where the good weights are.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    axes : paths of the study's axes.
    score : what the search minimised.

    Raises
    ------
    BadInput : no good fused trial.
    """
    good = good_trials(trials, Method.FUSED).sort_values("score", ascending=False)
    if good.empty:
        raise BadInput("no good fused trial yet", accepted="a study with results")
    columns = [*axes, *WEIGHTS, *([GAMMA] if good[GAMMA].notna().any() else []), "score"]
    figure = Figure(figsize=(2.2 * len(columns) + 1.5, 4.8), layout="constrained")
    ax = figure.subplots()
    heights = [_upright(ax, place, good[column], column) for place, column in enumerate(columns)]
    across = np.arange(len(columns), dtype=float)
    lines = np.stack([np.column_stack([across, h]) for h in np.stack(heights, axis=1)])
    best = _best_of_cells(good, axes)
    norm = Normalize(float(good["score"][best].min()), float(good["score"][best].max()))
    colours = colormaps[SEQUENTIAL](norm(good["score"][best]))
    # One collection for all lines of a kind: thousands of artists would take seconds.
    if not best.all():
        ax.add_collection(LineCollection(list(lines[~best]), colors="0.85", linewidths=0.5))
        shown = f"coloured: the best tenth of each cell, {best.sum()} of {len(best)} fused trials"
        ax.set_title(shown, fontsize=10)
    ax.add_collection(LineCollection(list(lines[best]), colors=colours, linewidths=0.9, alpha=0.8))
    ax.set(xlim=(-0.3, len(columns) - 0.7), ylim=(-0.05, 1.05), yticks=[])
    ax.set_xticks(range(len(columns)), [_column_label(column, score) for column in columns])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    add_colourbar(figure, ScalarMappable(norm, SEQUENTIAL), ax, SCORES[score].label)
    return figure


def _best_of_cells(good: pd.DataFrame, axes: Sequence[str]) -> NDArray[np.bool_]:
    """Of each trial whether it is drawn in colour."""
    if len(good) <= FEW:
        return np.ones(len(good), dtype=bool)
    cells = good["score"].groupby(cell_numbers(good, axes))
    rank, count = cells.rank(method="first"), cells.transform("count")
    found: NDArray[np.bool_] = (rank <= np.maximum(1.0, 0.1 * count)).to_numpy()
    return found


def _column_label(column: str, score: Score) -> str:
    return {**WEIGHT_LABELS, "score": SCORES[score].label}.get(column, axis_label(column))


def _upright(ax: Axes, place: int, values: pd.Series, column: str) -> Floats:
    """Draw one upright axis with its ticks; return the heights of the values, 0 to 1."""
    ax.axvline(place, color="0.3", linewidth=0.8)
    if column in WEIGHTS or column in (GAMMA, "score"):
        numbers = np.log10(values.to_numpy(dtype=float)) if column in WEIGHTS else values.to_numpy()
        low, high = float(numbers.min()), float(numbers.max())
        ticks = np.linspace(low, high, 4)
        texts = [f"{10**t if column in WEIGHTS else t:.2g}" for t in ticks]
    else:
        # Numbers before texts: an axis may hold both, as a specimen's name beside sizes.
        levels = list(dict.fromkeys(sorted(values.tolist(), key=lambda v: (isinstance(v, str), v))))
        numbers = values.map({level: i for i, level in enumerate(levels)}).to_numpy(dtype=float)
        low, high, ticks = 0.0, float(len(levels) - 1), np.arange(len(levels), dtype=float)
        texts = [tick_label(level) for level in levels]
    span = (high - low) or 1.0
    for tick, text in zip(ticks, texts, strict=True):
        shown = ax.text(
            place - 0.03, (tick - low) / span, text, ha="right", va="center", fontsize=8
        )
        shown.set_zorder(5)
        shown.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})
    return np.asarray((numbers - low) / span, dtype=np.float64)


SEARCH_FIGURE = Entry(
    "best trial so far against trials and device-hours",
    TRIALS,
    lambda source: search_figure(source.trials, source.axes, source.study.search.score),
)
PARALLEL_FIGURE = Entry(
    "all fused trials in parallel coordinates",
    TRIALS,
    lambda source: parallel_figure(source.trials, source.axes, source.study.search.score),
)
