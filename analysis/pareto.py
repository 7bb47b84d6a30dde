"""Data terms against total variation: the L-curve of one cell (Supp. 13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.draw import SEQUENTIAL, add_colourbar
from recon_core.metrics import nrmse_by_element
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
    concentrations, without its weight. ``nrmse``: mean over the elements.
    """

    tv: float
    data: float
    variation: float
    nrmse: float


def compromises(study: Study, cell: Cell, haadf: float, tvs: Sequence[float]) -> list[Compromise]:
    """Reconstruct ``cell`` at one HAADF weight and every TV weight (> 0)."""
    found = []
    for number, tv in enumerate(tvs):
        trial = study.trial(cell, Method.FUSED, number, Weights(haadf, float(tv)))
        solved, truth, _ = reconstruct_trial(study, trial)
        history = solved.history
        score = float(np.mean(nrmse_by_element(solved.volumes, truth.volumes)))
        data = history.haadf[-1] + history.chemistry[-1]
        found.append(Compromise(float(tv), data, history.tv[-1] / float(tv), score))
    return found


def pareto_figure(points: Sequence[Compromise], best: Weights, title: str = "") -> Figure:
    """The L-curve, coloured by ⟨NRMSE⟩, and ⟨NRMSE⟩ along it; a ring marks the best trial's TV."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    scores = np.array([point.nrmse for point in points])
    norm = Normalize(float(scores.min()), float(max(scores.max(), scores.min() + 0.01)))
    _draw_l(left, points, norm)
    shown = right.scatter(
        [p.tv for p in points], scores, c=scores, norm=norm, cmap=SEQUENTIAL, s=60
    )
    right.plot([p.tv for p in points], scores, color="0.7", zorder=0)
    right.axvline(best.tv, color="#D55E00", linestyle="--", label=f"best trial, tv = {best.tv:.3g}")
    right.set(xscale="log", xlabel="TV weight", ylabel="⟨NRMSE⟩")
    right.xaxis.set_major_formatter("{x:g}")
    right.legend(fontsize=8, frameon=False)
    add_colourbar(figure, shown, right, "⟨NRMSE⟩")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    heading = f"Data terms against total variation at haadf = {best.haadf:.3g}"
    figure.suptitle("\n".join(filter(None, (heading, title))))
    return figure


def _draw_l(ax: Axes, points: Sequence[Compromise], norm: Normalize) -> None:
    variation, data = [p.variation for p in points], [p.data for p in points]
    ax.plot(variation, data, color="0.7", zorder=0)
    scores = [p.nrmse for p in points]
    ax.scatter(variation, data, c=scores, norm=norm, cmap=SEQUENTIAL, s=60)
    for point in points:
        ax.annotate(
            f"tv {point.tv:.2g}",
            (point.variation, point.data),
            xytext=(7, 5),
            textcoords="offset points",
            fontsize=8,
        )
    ax.set(xscale="log", yscale="log")
    ax.set_xlabel("ΣTV of the concentrations (all elements)")
    ax.set_ylabel("data terms: chemistry + haadf × HAADF")
