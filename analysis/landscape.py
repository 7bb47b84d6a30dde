"""What the trials of one cell say about all weights (Supp. 22, 23)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.draw import SEQUENTIAL, add_colourbar
from analysis.posterior import LEAST, NEAR_BEST, Floats, Posterior, posterior
from analysis.table import best_trial, good_trials
from recon_core.errors import BadInput
from recon_core.settings import Method
from sweep.propose import Space

GRID = 81
_FAILED = "failed, taken as worse"


def landscape_figure(trials: pd.DataFrame, space: Space, title: str = "") -> Figure:
    """Expected ⟨NRMSE⟩ over the weights and its uncertainty, with every fused trial of the cell.

    The model is the search's own. Dots: good trials, a star: the best, crosses: failed ones, which
    count as worse than the worst. White outline: expected within ``NEAR_BEST`` of the best.

    Raises
    ------
    BadInput : fewer than three good fused trials.
    """
    found = posterior(trials, space, Method.FUSED, GRID)
    if found is None:
        told = len(good_trials(trials, Method.FUSED))
        raise BadInput(
            "too few good fused trials for a landscape", value=told, accepted=f">= {LEAST}"
        )
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(figure, left, found, found.mean, "expected ⟨NRMSE⟩")
    _draw(figure, right, found, found.sigma, "uncertainty (standard deviation)", "magma")
    level = (1.0 + NEAR_BEST) * float(found.mean.min())
    left.contour(*found.weights.values(), found.mean, [level], colors="white", linewidths=1.5)
    for ax in (left, right):
        _draw_trials(ax, trials)
    left.set_ylabel("TV weight")
    left.set_title(f"outlined: within {NEAR_BEST:.0%} of the best expected", fontsize=10)
    right.legend(fontsize=8, loc="upper left", framealpha=0.9)
    figure.suptitle("\n".join(filter(None, ("Landscape of the weights, fused method", title))))
    return figure


def _draw(
    figure: Figure, ax: Axes, found: Posterior, values: Floats, label: str, cmap: str = SEQUENTIAL
) -> None:
    haadf, tv = found.weights.values()
    shown = ax.pcolormesh(haadf, tv, values, cmap=cmap, shading="gouraud")
    shown.set_rasterized(True)
    ax.set(xscale="log", yscale="log", xlabel="HAADF weight")
    for axis, along in ((ax.xaxis, haadf), (ax.yaxis, tv)):
        steps = (1.0,) if along[-1] > 500 * along[0] else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    add_colourbar(figure, shown, ax, label)


def _draw_trials(ax: Axes, trials: pd.DataFrame) -> None:
    told = good_trials(trials, Method.FUSED)
    fused = trials[trials["method"] == Method.FUSED.value]
    failed = fused.drop(told.index).dropna(subset=["haadf", "tv"])
    best = best_trial(trials, Method.FUSED)
    ax.plot(
        told["haadf"],
        told["tv"],
        "o",
        color="white",
        markeredgecolor="black",
        clip_on=False,
        label="trial",
    )
    if len(failed):
        ax.plot(failed["haadf"], failed["tv"], "X", color="#D55E00", markersize=8, label=_FAILED)
    if best is not None:
        label = f"best, {best['nrmse']:.3f}"
        ax.plot(
            best["haadf"],
            best["tv"],
            "*",
            color="#F0E442",
            markeredgecolor="black",
            markersize=17,
            label=label,
        )
