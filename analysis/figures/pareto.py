"""Data terms against total variation: the L-curve of one cell (Supp. 13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...recon_core.methods import Method, Weights
from ...recon_core.metrics import nrmse_by_element
from ...recon_core.result import Status
from ...sweep.evaluate import reconstruct_trial
from ...sweep.study import Study
from ...sweep.study.trial import Cell
from .draw import SEQUENTIAL, add_colourbar, plain_log_ticks

STEPS = 7
"""Weights of an L-curve, over the range searched; the best trial's is one more."""

_WIDE = 4.0
"""Ratio from which an axis is logarithmic."""


@dataclass(frozen=True)
class Compromise:
    """What one TV weight comes to, at its end of the solve.

    ``data``: HAADF + chemical term, the HAADF term with its weight. ``variation``: ΣTV of the
    concentrations, without its weight. ``nrmse``: mean over the elements. ``finished``: False for
    a solve that met its limit of work; its point is not where it was going.
    """

    tv: float
    data: float
    variation: float
    nrmse: float
    finished: bool = True


def compromises(
    study: Study, cell: Cell, haadf: float, tvs: Sequence[float], device: str = "cpu"
) -> list[Compromise]:
    """Reconstruct ``cell`` at one HAADF weight and every TV weight.

    Parameters
    ----------
    study : with the axes of ``cell``.
    cell : whose data to reconstruct.
    haadf : weight of the HAADF term.
    tvs : weights of the total variation, each > 0.
    device : name of what to compute on.
    """
    found = []
    for number, tv in enumerate(tvs):
        trial = study.trial(cell, Method.FUSED, number, Weights(haadf, float(tv)))
        solved, truth, _ = reconstruct_trial(study, trial, device)
        history = solved.history
        score = float(np.mean(nrmse_by_element(solved.volumes, truth.volumes)))
        data = history.haadf[-1] + history.chemistry[-1]
        variation = history.tv[-1] / float(tv)
        finished = solved.status is Status.CONVERGED
        found.append(Compromise(float(tv), data, variation, score, finished))
    return found


def pareto_figure(points: Sequence[Compromise], best: Weights, title: str = "") -> Figure:
    """The L-curve, coloured by ⟨NRMSE⟩, and ⟨NRMSE⟩ along it; ringed: the best trial's TV weight.

    Crosses are solves that met their limit of work: no line leads to them, and they have no colour,
    as neither their place nor their score is where they were going.
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
    left.margins(x=0.22, y=0.1)  # for the names of the points
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
    """Above the falling curve; the best's, which may lie close to another, below."""
    offset, side = ((-9, -6), "right") if best else ((9, 6), "left")
    ax.annotate(
        f"tv {point.tv:.2g}",
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
    """Colours of the scores of the solves that finished; of all where none did."""
    scores = [p.nrmse for p in points if p.finished] or [p.nrmse for p in points]
    return Normalize(min(scores), max(max(scores), min(scores) + 0.01))


def _scale(ax: Axes, name: Literal["x", "y"], values: Sequence[float]) -> None:
    """Logarithmic over a wide range; over a narrow one the same curve with ticks that can be read.

    The Poisson term, known up to a constant, may be negative.
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
    joined = np.array([place(p) if p.finished else (np.nan, np.nan) for p in points])
    ax.plot(*joined.T, color="0.7", zorder=0)
    finished = [p for p in points if p.finished]
    if finished:
        scores = [p.nrmse for p in finished]
        x, y = zip(*map(place, finished), strict=True)
        ax.scatter(x, y, c=scores, norm=norm, cmap=SEQUENTIAL, s=60)
    cut = [place(p) for p in points if not p.finished]
    if cut:
        ax.plot(*zip(*cut, strict=True), "X", color="0.5", label="met the limit of work")
    ax.spines[["top", "right"]].set_visible(False)


def _ring_best(ax: Axes, places: Sequence[tuple[float, float]], best: Weights) -> None:
    label = f"best trial, tv = {best.tv:.3g}"
    for x, y in places:
        ax.plot(x, y, "o", markersize=14, fillstyle="none", color="#D55E00", label=label)
