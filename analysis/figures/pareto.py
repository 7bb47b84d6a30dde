"""Data terms against total variation: the L-curve of one cell (Supp. 13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...recon_core.methods import Method, Weights
from ...recon_core.result import Status
from ...sweep.study import Study
from ...sweep.study.trial import Cell
from ..rerun import OnSolve, difference, titled
from ..style import condition_title
from ..volumes import NOT_KEPT, SolvedVolumes
from . import CELL, Entry
from .draw import SEQUENTIAL, add_colourbar, plain_log_ticks
from .source import Source

STEPS = 7
"""TV weights of an L-curve, over the range searched; the best trial's weight is added to them."""

# Ratio of the ends of an axis from which it is logarithmic.
_WIDE = 4.0


@dataclass(frozen=True)
class Compromise:
    """Where one TV weight leads: the two sides of the objective at the end of the solve.

    Parameters
    ----------
    tv : the TV weight.
    data : HAADF + chemical term, the HAADF term with its weight.
    variation : ΣTV of the concentrations over all elements, without its weight.
    nrmse : mean over the elements.
    finished : False for a solve that reached its iteration limit, whose point is not converged.
    """

    tv: float
    data: float
    variation: float
    nrmse: float
    finished: bool = True


def compromises(
    study: Study,
    cell: Cell,
    weights: Weights,
    tvs: Sequence[float],
    on_solve: OnSolve | None = None,
    volumes: SolvedVolumes = NOT_KEPT,
) -> list[Compromise]:
    """Reconstruct ``cell`` at one HAADF weight and every TV weight.

    Parameters
    ----------
    study : the study of the cell.
    cell : the condition to reconstruct.
    weights : of which all but ``tv`` are kept.
    tvs : TV weights, > 0.
    on_solve : called with the number of points and their total, as they are solved.
    volumes : solves them, or has them.

    Returns
    -------
    One point per TV weight, in their order.
    """
    found = []
    for number, tv in enumerate(tvs):
        trial = study.trial(cell, Method.FUSED, number, replace(weights, tv=float(tv)))
        each = volumes.of(study, trial)
        history = each.solved.history
        data = history.haadf[-1] + history.chemistry[-1]
        # The recorded term carries its weight; the L-curve plots the plain total variation.
        variation = history.tv[-1] / float(tv)
        finished = each.solved.status is Status.CONVERGED
        found.append(Compromise(float(tv), data, variation, each.nrmse, finished))
        if on_solve is not None:
            on_solve(len(found), len(tvs))
    return found


def pareto_figure(points: Sequence[Compromise], best: Weights, title: str = "") -> Figure:
    """The L-curve (Hansen 1992), coloured by ⟨NRMSE⟩, and ⟨NRMSE⟩ along it.

    Ringed: the best trial's TV weight. Crosses are solves that reached the iteration limit; they
    have no colour, and no line leads to them, since neither place nor score is final.

    Parameters
    ----------
    points : results of :func:`compromises`, by TV weight.
    best : weights of the cell's best fused trial.
    title : the condition, on a line below the heading.
    """
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    norm = _norm(points)
    for ax, place in ((left, _terms), (right, _score)):
        _draw_points(ax, points, place, norm)
        _ring_best(ax, [place(p) for p in points if p.tv == best.tv], best)
    for point in points:
        _name_point(left, point, point.tv == best.tv)
    _scale(left, "x", [p.variation for p in points])
    _scale(left, "y", [p.data for p in points])
    _scale(right, "x", [p.tv for p in points])
    left.margins(x=0.22, y=0.1)  # leaves space for the labels of the points
    left.set_xlabel("ΣTV of the concentrations (all elements)")
    left.set_ylabel("data terms: chemistry + haadf × HAADF")
    right.set(xlabel="TV weight", ylabel="⟨NRMSE⟩")
    if right.get_legend_handles_labels()[0]:
        right.legend(fontsize=8, frameon=False)
    add_colourbar(figure, ScalarMappable(norm, SEQUENTIAL), right, "⟨NRMSE⟩")
    heading = f"Data terms against total variation at haadf = {best.haadf:.3g}"
    figure.suptitle("\n".join(filter(None, (heading, title))))
    return figure


def _name_point(ax: Axes, point: Compromise, best: bool) -> None:
    """Label a point above the falling curve; the best's, which may lie close to another, below."""
    offset, side = ((-9, -6), "right") if best else ((9, 6), "left")
    ax.annotate(
        f"tv {point.tv:.3g}",
        _terms(point),
        offset,
        textcoords="offset points",
        fontsize=8,
        ha=side,
        va="top" if best else "bottom",
    )


def _terms(point: Compromise) -> tuple[float, float]:
    return point.variation, point.data


def _score(point: Compromise) -> tuple[float, float]:
    return point.tv, point.nrmse


def _norm(points: Sequence[Compromise]) -> Normalize:
    """Colours over the scores of the converged solves; over all of them if none converged."""
    # An unfinished solve may have any score and would stretch the colours.
    scores = [p.nrmse for p in points if p.finished] or [p.nrmse for p in points]
    return Normalize(min(scores), max(max(scores), min(scores) + 0.01))


def _scale(ax: Axes, name: Literal["x", "y"], values: Sequence[float]) -> None:
    """A logarithmic axis over a wide range, readable linear ticks over a narrow one.

    The Poisson term is known up to a constant and may be negative.
    """
    axis = ax.xaxis if name == "x" else ax.yaxis
    low, high = min(values), max(values)
    if low > 0 and high > _WIDE * low:
        ax.set(**{f"{name}scale": "log"})
        plain_log_ticks(axis, low, high)
    else:
        axis.set_major_locator(MaxNLocator(6))
        axis.set_major_formatter("{x:,.12g}")


def _draw_points(
    ax: Axes,
    points: Sequence[Compromise],
    place: Callable[[Compromise], tuple[float, float]],
    norm: Normalize,
) -> None:
    # NaN breaks the line at a point that has not converged.
    joined = np.array([place(p) if p.finished else (np.nan, np.nan) for p in points])
    ax.plot(*joined.T, color="0.7", zorder=0)
    finished = [p for p in points if p.finished]
    if finished:
        scores = [p.nrmse for p in finished]
        x, y = zip(*map(place, finished), strict=True)
        ax.scatter(x, y, c=scores, norm=norm, cmap=SEQUENTIAL, s=60)
    cut = [place(p) for p in points if not p.finished]
    if cut:
        ax.plot(*zip(*cut, strict=True), "X", color="0.5", label="reached the iteration limit")
    ax.spines[["top", "right"]].set_visible(False)


def _ring_best(ax: Axes, places: Sequence[tuple[float, float]], best: Weights) -> None:
    label = f"best trial, tv = {best.tv:.3g}"
    for x, y in places:
        ax.plot(x, y, "o", markersize=14, fillstyle="none", color="#D55E00", label=label)


def _pareto(source: Source) -> Figure:
    row, best = source.best_fused, source.weights
    points = _compromises(source, best)
    found = [difference(row, point.nrmse) for point in points if point.tv == best.tv]
    label = condition_title(dict(source.cell.values))
    return pareto_figure(points, best, titled(label, list(filter(None, found))))


def _compromises(source: Source, best: Weights) -> list[Compromise]:
    """Over the range searched, and at the best trial's weight."""
    # The best weight as it was tried, not the nearest of a grid: its point must be the record's.
    tvs = {*np.geomspace(*source.space["tv"], STEPS).tolist(), best.tv}
    return compromises(
        source.study, source.cell, best, sorted(tvs), source.on_solve, source.volumes
    )


PARETO_FIGURE = Entry("Supp. 13: data terms against TV, the L-curve (8 solves)", CELL, _pareto)
