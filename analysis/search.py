"""How the search went: what more trials would buy, and which weight matters."""

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

from analysis.draw import SEQUENTIAL, add_colourbar
from analysis.labels import HAADF_TILTS, WEIGHT_LABELS, axis_label, value_label
from analysis.posterior import WEIGHTS, Floats, unit_grid
from analysis.table import good_trials
from analysis.timeline import device_hours
from recon_core.errors import BadInput
from recon_core.settings import Method, Weights
from sweep.propose import Space, believed

_BLUE, _ORANGE = "#0072B2", "#D55E00"
GRID = 33
LEAST = 10
"""Good fused trials below which nothing is said about importance."""
MOST = 1000
"""Good fused trials the model is fitted to, a random choice of more: time goes with the cube."""


def best_so_far(trials: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Lowest fused ⟨NRMSE⟩ of each cell after each of its trials: (cell, trial number from 1).

    A failed trial leaves the best where it was; NaN before the first good one, and after the last
    trial of a cell.
    """
    fused = trials[trials["method"] == "fused"].copy()
    fused.loc[fused["status"] != "ok", "nrmse"] = np.nan
    fused["cell"] = _cell_numbers(fused, axes)
    table = fused.pivot_table(index="cell", columns="number", values="nrmse", dropna=False)
    best = table.cummin(axis=1).ffill(axis=1)
    last = fused.groupby("cell")["number"].max()
    best = best.where(np.array(best.columns)[None, :] <= last.to_numpy()[:, None])
    best.columns = [int(number) + 1 for number in best.columns]
    return best


def _cell_numbers(trials: pd.DataFrame, axes: Sequence[str]) -> pd.Series:
    if not axes:
        return pd.Series(0, index=trials.index)
    return trials.groupby(list(axes), sort=False).ngroup()


def search_figure(trials: pd.DataFrame, axes: Sequence[str]) -> Figure:
    """How far the best trial so far lies above the best of all, against trials; and device-hours.

    Left: of each cell, in percent: median, and the range of the middle half and of all. Right: the
    mean over the cells known by then, against device-hours spent on all methods.

    Raises
    ------
    BadInput : no good fused trial.
    """
    if good_trials(trials, Method.FUSED).empty:
        raise BadInput("no good fused trial yet", accepted="a study with results")
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_regret(left, best_so_far(trials, axes))
    _draw_hours(right, trials, axes)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_regret(ax: Axes, best: pd.DataFrame) -> None:
    final = best.min(axis=1)
    above = 100.0 * (best.div(final, axis=0) - 1.0)
    numbers = np.array(best.columns)
    quantiles = {q: above.quantile(q).to_numpy() for q in (0.0, 0.25, 0.5, 0.75, 1.0)}
    ax.fill_between(
        numbers, quantiles[0.0], quantiles[1.0], color=_BLUE, alpha=0.12, label="all cells"
    )
    ax.fill_between(
        numbers, quantiles[0.25], quantiles[0.75], color=_BLUE, alpha=0.3, label="middle half"
    )
    ax.plot(numbers, quantiles[0.5], "o-", color=_BLUE, label="median")
    ax.set(xlabel="fused trials of a cell", ylabel="best so far, above the best found / %")
    ax.set_ylim(bottom=0.0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(f"{len(best)} cells", fontsize=10)
    ax.legend(fontsize=8, frameon=False)


def _draw_hours(ax: Axes, trials: pd.DataFrame, axes: Sequence[str]) -> None:
    ended = device_hours(trials)
    if ended.empty:
        ax.text(0.5, 0.5, "no times recorded", transform=ax.transAxes, ha="center")
        return
    cells = _cell_numbers(ended, axes).to_numpy()
    good = ((ended["method"] == "fused") & (ended["status"] == "ok")).to_numpy()
    scores = np.where(good, ended["nrmse"].to_numpy(), np.nan)
    best: dict[int, float] = {}
    mean: list[float] = []
    for cell, score in zip(cells, scores, strict=True):
        if np.isfinite(score):
            best[cell] = min(score, best.get(cell, np.inf))
        mean.append(float(np.mean(list(best.values()))) if best else np.nan)
    ax.plot(ended["device_hours"], mean, color=_BLUE)
    known = ax.twinx()
    first = pd.Series(cells).where(good)
    known.plot(ended["device_hours"], (~first.duplicated() & first.notna()).cumsum(), color=_ORANGE)
    known.set_ylabel("cells with a result", color=_ORANGE)
    known.set_ylim(bottom=0)
    known.yaxis.set_major_locator(MaxNLocator(integer=True))
    known.spines[["top"]].set_visible(False)
    ax.set_xlabel("device-hours, all methods")
    ax.set_ylabel("best ⟨NRMSE⟩ so far, mean of known cells", color=_BLUE)


def importance_figure(trials: pd.DataFrame, space: Space, axes: Sequence[str]) -> Figure:
    """How much of the variation of ⟨NRMSE⟩ each weight explains, and how it depends on each.

    The search's model is fitted to ⟨NRMSE⟩ relative to the best of its cell, of all cells with
    HAADF together. Left: first-order Sobol indices over the range searched, and what only both
    weights together explain. Middle, right: mean over the other weight, with the trials.

    Raises
    ------
    BadInput : fewer than ten good fused trials with a HAADF weight that acts.
    """
    told = good_trials(trials, Method.FUSED)
    if HAADF_TILTS in axes:
        told = told[told[HAADF_TILTS] > 0]
    if len(told) < LEAST:
        raise BadInput("too few good fused trials", value=len(told), accepted=f">= {LEAST}")
    excess = 100.0 * (
        told["nrmse"] / told.groupby(_cell_numbers(told, axes))["nrmse"].transform("min") - 1
    )
    mean = _expected(told, space, np.log1p(excess.to_numpy() / 100.0))
    figure = Figure(figsize=(12.0, 4.2), layout="constrained")
    bars, *panels = figure.subplots(1, 3, width_ratios=[1, 1.4, 1.4])
    _draw_shares(bars, mean)
    for ax, weight, over in zip(panels, WEIGHTS, (0, 1), strict=True):
        _draw_dependence(ax, weight, space, told[weight], excess, mean.mean(axis=over))
    figure.suptitle(f"Which weight matters: {len(told)} fused trials")
    return figure


def _expected(told: pd.DataFrame, space: Space, scores: Floats) -> Floats:
    """Mean (tv, haadf) of the search's model of ``scores``, one of each trial of any cell."""
    # The model is judged by the last points it is given: let these be of all cells and times.
    order = np.random.default_rng(0).permutation(len(told))[:MOST]
    weights = told[list(WEIGHTS)].to_numpy(dtype=float)[order].tolist()
    pairs = [(Weights(*w), s) for w, s in zip(weights, scores[order].tolist(), strict=True)]
    bounds = {name: space[name] for name in WEIGHTS}
    mean = believed(bounds, pairs, unit_grid(len(WEIGHTS), GRID))[0]
    return mean.reshape(GRID, GRID)


def shares_of_variance(mean: Floats) -> dict[str, float]:
    """First-order Sobol indices of a surface (tv, haadf), and the rest; NaN where it is flat."""
    total = float(mean.var())
    if total <= 0:
        return {"haadf": np.nan, "tv": np.nan, "both": np.nan}
    haadf, tv = float(mean.mean(axis=0).var()) / total, float(mean.mean(axis=1).var()) / total
    return {"haadf": haadf, "tv": tv, "both": max(0.0, 1.0 - haadf - tv)}


def _draw_shares(ax: Axes, mean: Floats) -> None:
    shares = shares_of_variance(mean)
    labels = ("HAADF\nalone", "TV\nalone", "only both\ntogether")
    bars = ax.bar(labels, [100.0 * s for s in shares.values()], color=[_BLUE, _ORANGE, "#999999"])
    ax.bar_label(bars, fmt="%.0f %%", padding=2)
    ax.set(ylim=(0, 110), ylabel="variance over the range searched / %")
    ax.spines[["top", "right"]].set_visible(False)


def _draw_dependence(
    ax: Axes, weight: str, space: Space, drawn: pd.Series, excess: pd.Series, mean: Floats
) -> None:
    low, high = space[weight]
    ax.plot(drawn, excess, ".", color="0.65", markersize=4, label="trials")
    curve = 100.0 * np.expm1(mean)
    ax.plot(np.geomspace(low, high, GRID), curve, color=_BLUE, linewidth=2, label="mean")
    ax.set(xscale="log", xlabel=WEIGHT_LABELS[weight], ylabel="⟨NRMSE⟩ above the cell's best / %")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_ylim(bottom=min(0.0, float(curve.min())))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False)


def parallel_figure(trials: pd.DataFrame, axes: Sequence[str]) -> Figure:
    """Every good fused trial as a line through its condition, weights and score.

    Coloured by ⟨NRMSE⟩, the best drawn last; weights on logarithmic scales, axes in equal steps.

    Raises
    ------
    BadInput : no good fused trial.
    """
    told = good_trials(trials, Method.FUSED).sort_values("nrmse", ascending=False)
    if told.empty:
        raise BadInput("no good fused trial yet", accepted="a study with results")
    columns = [*axes, *WEIGHTS, "nrmse"]
    figure = Figure(figsize=(2.2 * len(columns) + 1.5, 4.8), layout="constrained")
    ax = figure.subplots()
    heights = [_upright(ax, place, told[column], column) for place, column in enumerate(columns)]
    lines = [list(enumerate(values)) for values in np.stack(heights, axis=1)]
    norm = Normalize(float(told["nrmse"].min()), float(told["nrmse"].max()))
    colours = colormaps[SEQUENTIAL](norm(told["nrmse"]))
    ax.add_collection(LineCollection(lines, colors=colours, linewidths=0.8, alpha=0.6))
    ax.set(xlim=(-0.3, len(columns) - 0.7), ylim=(-0.05, 1.05), yticks=[])
    ax.set_xticks(range(len(columns)), [_column_label(column) for column in columns])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    add_colourbar(figure, ScalarMappable(norm, SEQUENTIAL), ax, "⟨NRMSE⟩")
    return figure


def _column_label(column: str) -> str:
    return {**WEIGHT_LABELS, "nrmse": "⟨NRMSE⟩"}.get(column, axis_label(column))


def _upright(ax: Axes, place: int, values: pd.Series, column: str) -> Floats:
    """Draw one upright axis with its ticks; heights 0 to 1 of the values."""
    ax.axvline(place, color="0.3", linewidth=0.8)
    if column in WEIGHTS or column == "nrmse":
        numbers = np.log10(values.to_numpy(dtype=float)) if column in WEIGHTS else values.to_numpy()
        low, high = float(numbers.min()), float(numbers.max())
        ticks = np.linspace(low, high, 4)
        texts = [f"{10**t if column in WEIGHTS else t:.2g}" for t in ticks]
    else:
        levels = list(dict.fromkeys(sorted(values.tolist(), key=lambda v: (isinstance(v, str), v))))
        numbers = values.map({level: i for i, level in enumerate(levels)}).to_numpy(dtype=float)
        low, high, ticks = 0.0, float(len(levels) - 1), np.arange(len(levels), dtype=float)
        texts = [value_label(level) for level in levels]
    span = (high - low) or 1.0
    for tick, text in zip(ticks, texts, strict=True):
        shown = ax.text(
            place - 0.03, (tick - low) / span, text, ha="right", va="center", fontsize=8
        )
        shown.set_zorder(5)
        shown.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})
    return np.asarray((numbers - low) / span, dtype=np.float64)
