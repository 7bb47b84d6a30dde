"""Data terms against total variation: the L-curve of one cell (Supp. 13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.draw import SEQUENTIAL, add_colourbar
from recon_core.metrics import nrmse_by_element
from recon_core.result import Status
from recon_core.settings import Method, Weights
from sweep.evaluate import reconstruct_trial
from sweep.study import Study
from sweep.trial import Cell

STEPS = 7
"""Weights of an L-curve, over the range searched."""


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


def compromises(study: Study, cell: Cell, haadf: float, tvs: Sequence[float]) -> list[Compromise]:
    """Reconstruct ``cell`` at one HAADF weight and every TV weight (> 0)."""
    found = []
    for number, tv in enumerate(tvs):
        trial = study.trial(cell, Method.FUSED, number, Weights(haadf, float(tv)))
        solved, truth, _ = reconstruct_trial(study, trial)
        history = solved.history
        score = float(np.mean(nrmse_by_element(solved.volumes, truth.volumes)))
        data = history.haadf[-1] + history.chemistry[-1]
        variation = history.tv[-1] / float(tv)
        finished = solved.status is Status.CONVERGED
        found.append(Compromise(float(tv), data, variation, score, finished))
    return found


def pareto_figure(points: Sequence[Compromise], best: Weights, title: str = "") -> Figure:
    """The L-curve, coloured by ⟨NRMSE⟩, and ⟨NRMSE⟩ along it; dashed: the best trial's TV weight.

    Crosses are solves that met their limit of work; no line leads to them.
    """
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    scores = np.array([point.nrmse for point in points])
    norm = Normalize(float(scores.min()), float(max(scores.max(), scores.min() + 0.01)))
    _draw_points(left, points, lambda p: (p.variation, p.data), norm)
    _draw_points(right, points, lambda p: (p.tv, p.nrmse), norm)
    for point in points:
        at = (point.variation, point.data)
        left.annotate(f"tv {point.tv:.2g}", at, (7, 5), textcoords="offset points", fontsize=8)
    left.set(xscale="log", yscale="log")
    left.set_xlabel("ΣTV of the concentrations (all elements)")
    left.set_ylabel("data terms: chemistry + haadf × HAADF")
    right.axvline(best.tv, color="#D55E00", linestyle="--", label=f"best trial, tv = {best.tv:.3g}")
    right.set(xscale="log", xlabel="TV weight", ylabel="⟨NRMSE⟩")
    right.xaxis.set_major_formatter("{x:g}")
    right.legend(fontsize=8, frameon=False)
    add_colourbar(figure, ScalarMappable(norm, SEQUENTIAL), right, "⟨NRMSE⟩")
    heading = f"Data terms against total variation at haadf = {best.haadf:.3g}"
    figure.suptitle("\n".join(filter(None, (heading, title))))
    return figure


def _draw_points(
    ax: Axes,
    points: Sequence[Compromise],
    place: Callable[[Compromise], tuple[float, float]],
    norm: Normalize,
) -> None:
    joined = np.array([place(p) if p.finished else (np.nan, np.nan) for p in points])
    ax.plot(*joined.T, color="0.7", zorder=0)
    for finished, marker in ((True, "o"), (False, "X")):
        mine = [p for p in points if p.finished is finished]
        if mine:
            x, y = zip(*map(place, mine), strict=True)
            label = None if finished else "met the limit of work"
            scores = [p.nrmse for p in mine]
            ax.scatter(x, y, c=scores, norm=norm, cmap=SEQUENTIAL, s=60, marker=marker, label=label)
    ax.spines[["top", "right"]].set_visible(False)
