"""What the trials of one cell imply for all weights (Supp. 22, 23)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...recon_core.errors import BadInput
from ...recon_core.methods import Method
from ...sweep.search.propose import Space
from ...sweep.study.trial import SCORES, Score
from ..posterior import NEAR_BEST, Floats, Posterior, least, posterior
from ..style import condition_label
from ..table import best_trial, good_trials
from . import CELL, Entry
from .draw import SEQUENTIAL, add_colourbar, plain_log_ticks
from .source import Source

GRID = 81
_FAILED = "failed, taken as worse"


def landscape_figure(
    trials: pd.DataFrame, space: Space, title: str = "", score: Score = Score.NRMSE
) -> Figure:
    """Expected score over the weights and its uncertainty, with every fused trial of the cell.

    The model is the one the search uses. Dots: good trials; star: the best; crosses: failed trials,
    which count as worse than the worst. White outline: expected within
    :data:`~tomoatlas.analysis.posterior.NEAR_BEST` of the best. Hatched: far from every trial, an
    extrapolation.

    Parameters
    ----------
    trials : trials of one cell, of any method.
    space : bounds of each weight searched, linear.
    title : the condition, on a line below the heading.
    score : what the search minimised.

    Raises
    ------
    BadInput : too few good fused trials.
    """
    found = posterior(trials, space, Method.FUSED, GRID)
    if found is None:
        good = len(good_trials(trials, Method.FUSED))
        raise BadInput(
            "too few good fused trials for a landscape",
            value=good,
            accepted=f">= {least(Method.FUSED, space)}",
        )
    label = SCORES[score].label
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(figure, left, found, found.mean, label if score is Score.NRMSE else "score")
    _draw(figure, right, found, found.sigma, "σ", "magma")
    # Relative to the model's own minimum, which may lie between trials.
    level = (1.0 + NEAR_BEST) * float(found.mean.min())
    left.contour(*found.weights.values(), found.mean, [level], colors="white", linewidths=1.5)
    _hatch_guesses(left, found)
    for ax in (left, right):
        _draw_trials(ax, trials)
    left.set_ylabel("TV weight")
    outlined = f"outlined: within {NEAR_BEST:.0%} of the best"
    left.set_title(f"expected {label}\n{outlined}; hatched: a guess", fontsize=9)
    right.set_title("its uncertainty (standard deviation)", fontsize=9)
    right.legend(fontsize=8, loc="upper left", framealpha=0.9)
    at = "" if found.gamma is None else f", at γ = {found.gamma:.3g} of the best trial"
    heading = f"Landscape of the weights, fused method{at}"
    figure.suptitle("\n".join(filter(None, (heading, title))))
    return figure


def _draw(
    figure: Figure, ax: Axes, found: Posterior, values: Floats, label: str, cmap: str = SEQUENTIAL
) -> None:
    haadf, tv = found.weights.values()
    shown = ax.pcolormesh(haadf, tv, values, cmap=cmap, shading="gouraud")
    # A vector of 81 × 81 shaded quads would be megabytes; the axes and labels stay vector.
    shown.set_rasterized(True)
    # The search is uniform in the logarithms; only there do distances mean anything.
    ax.set(xscale="log", yscale="log", xlabel="HAADF weight")
    for axis, along in ((ax.xaxis, haadf), (ax.yaxis, tv)):
        plain_log_ticks(axis, along[0], along[-1])
    add_colourbar(figure, shown, ax, label, above=True)


def _hatch_guesses(ax: Axes, found: Posterior) -> None:
    guessed = found.guessed().astype(float)
    area = ax.contourf(
        *found.weights.values(), guessed, [0.5, 1.5], colors="none", hatches=["//"], zorder=2
    )
    area.set(edgecolor=(1.0, 1.0, 1.0, 0.6), linewidth=0.0)


def _draw_trials(ax: Axes, trials: pd.DataFrame) -> None:
    good = good_trials(trials, Method.FUSED)
    fused = trials[trials["method"] == Method.FUSED.value]
    # A failed trial is drawn too: the model counts it as bad, and so shapes the landscape.
    failed = fused.drop(good.index).dropna(subset=["haadf", "tv"])
    best = best_trial(trials, Method.FUSED)
    ax.plot(
        good["haadf"],
        good["tv"],
        "o",
        color="white",
        markeredgecolor="black",
        clip_on=False,
        label="trial",
    )
    if len(failed):
        ax.plot(failed["haadf"], failed["tv"], "X", color="#D55E00", markersize=8, label=_FAILED)
    if best is not None:
        label = f"best, {best['score']:.3f}"
        ax.plot(
            best["haadf"],
            best["tv"],
            "*",
            color="#F0E442",
            markeredgecolor="black",
            markersize=17,
            label=label,
        )


def _landscape(source: Source) -> Figure:
    title = condition_label(dict(source.cell.values))
    return landscape_figure(source.cell_trials, source.space, title, source.study.search.score)


LANDSCAPE_FIGURE = Entry(
    "Supp. 23: expected NRMSE and uncertainty over the weights of a cell", CELL, _landscape
)
