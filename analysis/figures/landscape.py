"""What the search's model expects of all weights (Supp. 22, 23), and which of them matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...recon_core.errors import BadInput
from ...recon_core.methods import Method
from ...sweep.search.propose import LINEAR, Space, predict
from ...sweep.study.trial import GAMMA, SCORES, Score, weights_named
from ..advice import gives_meaning
from ..posterior import NEAR_BEST, Floats, Posterior, least, posterior, unit_grid
from ..style import HAADF_TILTS, WEIGHT_LABELS, condition_title
from ..table import best_trial, good_trials, trials_of_cell
from . import CELL, TRIALS, Entry
from .draw import SEQUENTIAL, add_colourbar, plain_log_ticks
from .search import cell_numbers
from .source import Source

# Points along each weight, by the number of weights.
_GRID = {2: 33, 3: 15}
LEAST = 10
"""Fewest good fused trials from which importance is estimated."""
MOST = 1000
"""Most good fused trials the model is fitted to; of more, a random subset, as fitting costs
O(n³).
"""

GRID = 81
ALIKE = 0.05  # of the range of exponents searched: trials further off have another landscape
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_FAILED = "failed, taken as worse"


def landscape_figure(
    trials: pd.DataFrame, space: Space, title: str = "", score: Score = Score.NRMSE
) -> Figure:
    """Expected score over the weights and its uncertainty, with every fused trial of the cell.

    The model is the one the search uses. Dots: good trials, small and grey where the exponent is
    another than the one shown; star: the best; crosses: failed trials, which count as worse than
    the worst. White outline: expected within
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
    shown, others = _at_gamma(trials, found.gamma, space)
    for ax in (left, right):
        _draw_others(ax, others)
        _draw_trials(ax, shown)
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


def _at_gamma(
    trials: pd.DataFrame, gamma: float | None, space: Space
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials near the exponent that is shown, and the others; all where it is not searched."""
    if gamma is None:
        return trials, trials.iloc[:0]
    low, high = space[GAMMA]
    other = (trials[GAMMA] - gamma).abs() > ALIKE * (high - low)
    return trials[~other], trials[other]


def _draw_others(ax: Axes, trials: pd.DataFrame) -> None:
    """Trials at other exponents: the surface that is shown is not theirs."""
    good = good_trials(trials, Method.FUSED)
    if len(good):
        label = "trial at another γ"
        ax.plot(
            good["haadf"], good["tv"], ".", color="#BBBBBB", markersize=5, alpha=0.8, label=label
        )


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
    space = source.space
    condition: dict[str, object] = dict(source.cell_with(least(Method.FUSED, space)).values)
    trials = trials_of_cell(source.trials, condition)
    return landscape_figure(trials, space, condition_title(condition), source.study.search.score)


def importance_figure(
    trials: pd.DataFrame, space: Space, axes: Sequence[str], score: Score = Score.NRMSE
) -> Figure:
    """How much of the variation of the score each weight explains, and how it depends on each.

    The search's Gaussian process is fitted to the logarithm of the score relative to the best of
    its cell, over all cells with HAADF together; where the solver's settings vary, over those that
    share them with the best trial. Left: first-order Sobol indices (Sobol 1993) of
    its mean over the range searched, and what only several weights together explain. Further
    panels, one for each weight (and the exponent, where it is searched): geometric mean over the
    others, the range of its middle 80 %, and the trials. The title gives the part of the range that
    is far from any trial, where the model extrapolates.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    space : bounds of each weight searched, linear (the model works on their logarithms).
    axes : paths of the study's axes.
    score : what the search minimised.

    Raises
    ------
    BadInput : fewer than :data:`LEAST` good fused trials whose HAADF weight has an effect.
    """
    good = good_trials(trials, Method.FUSED)
    # Without HAADF tilts the HAADF weight multiplies nothing and would dilute its importance.
    if HAADF_TILTS in axes:
        good = good[good[HAADF_TILTS] > 0]
    good, law = _of_best_law(good, axes)
    if len(good) < LEAST:
        raise BadInput("too few good fused trials", value=len(good), accepted=f">= {LEAST}")
    # Relative to the best of its own cell: pooled over cells, only the effect of the weights is
    # left.
    excess = 100.0 * (
        good["score"] / good.groupby(cell_numbers(good, axes))["score"].transform("min") - 1
    )
    # Logarithms make the model's variance comparable at small and large scores.
    scores = np.log1p(excess.to_numpy() / 100.0)
    mean, sigma = _expected(good, space, scores)
    figure = Figure(figsize=(4.0 * (1 + len(space)), 4.2), layout="constrained")
    bars, *panels = figure.subplots(1, 1 + len(space), width_ratios=[1, *[1.4] * len(space)])
    _draw_shares(bars, shares_of_variance(mean, tuple(space)))
    # The last axis of the surface is the first weight.
    for place, (ax, weight) in enumerate(zip(panels, space, strict=True), start=1):
        surface = np.moveaxis(mean, -place, -1).reshape(-1, mean.shape[0])
        drawn = excess.set_axis(good[weight])
        _draw_dependence(ax, weight, space, drawn, surface, SCORES[score].label)
    guessed = float((sigma > 0.5 * scores.std()).mean())
    note = f"; {guessed:.0%} of the range is far from any trial" if guessed >= 0.01 else ""
    figure.suptitle("\n".join([f"Which weight matters: {len(good)} fused trials{note}", *law]))
    return figure


def _of_best_law(good: pd.DataFrame, axes: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The trials that share the solver's settings with the best one, and these if they vary.

    A weight means nothing under another contrast, so that one model cannot be of two.
    """
    varied = [axis for axis in axes if gives_meaning(axis)]
    if good.empty or not varied:
        return good, []
    best = good.sort_values("score", kind="stable").iloc[0]
    same = (good[varied] == best[varied]).all(axis=1)
    return good[same], [condition_title({axis: best[axis] for axis in varied})]


def _expected(good: pd.DataFrame, space: Space, scores: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (…, tv, haadf) of the search's model of ``scores``, one per
    trial.
    """
    # The last points held out validate the model, so they must come from all cells and times.
    order = np.random.default_rng(0).permutation(len(good))[:MOST]
    weights = good[list(space)].to_numpy(dtype=float)[order].tolist()
    pairs = [
        (weights_named(dict(zip(space, at, strict=True))), found)
        for at, found in zip(weights, scores[order].tolist(), strict=True)
    ]
    points = _GRID[len(space)]
    mean, sigma = predict(space, pairs, unit_grid(len(space), points))
    shape = (points,) * len(space)
    return mean.reshape(shape), sigma.reshape(shape)


def shares_of_variance(mean: Floats, names: Sequence[str]) -> dict[str, float]:
    """First-order Sobol indices of a response surface: Var(E[f | w]) / Var(f) for each weight w.

    Parameters
    ----------
    mean : surface at equal steps of each weight; its last axis is the first weight.
    names : of the weights.

    Returns
    -------
    The share of each weight, and ``together``, the remainder, which only several of them explain;
    NaN where the surface is flat.

    Examples
    --------
    >>> import numpy as np
    >>> shares_of_variance(np.array([[0.0, 1.0], [0.0, 1.0]]), ("haadf", "tv"))
    {'haadf': 1.0, 'tv': 0.0, 'together': 0.0}
    """
    total = float(mean.var())
    if total <= 0:
        return dict.fromkeys((*names, "together"), np.nan)
    axes = range(mean.ndim)
    # Averaging over the other weights leaves the effect of one alone.
    alone = [mean.mean(axis=tuple(a for a in axes if a != mean.ndim - 1 - i)) for i in axes]
    shares = {n: float(a.var()) / total for n, a in zip(names, alone, strict=True)}
    return {**shares, "together": max(0.0, 1.0 - sum(shares.values()))}


def _draw_shares(ax: Axes, shares: Mapping[str, float]) -> None:
    short = {"haadf": "HAADF", "tv": "TV", "gamma": "γ"}
    few = "only both" if len(shares) == 3 else "only several"
    labels = [f"{short[name]}\nalone" if name in short else f"{few}\ntogether" for name in shares]
    colours = [*(_BLUE, _ORANGE, _GREEN)[: len(shares) - 1], "#999999"]
    bars = ax.bar(labels, [100.0 * s for s in shares.values()], color=colours)
    ax.bar_label(bars, fmt="%.0f %%", padding=2)
    ax.set(ylim=(0, 110), ylabel="variance over the range searched / %")
    ax.spines[["top", "right"]].set_visible(False)


def _draw_dependence(
    ax: Axes, weight: str, space: Space, excess: pd.Series, surface: Floats, score: str
) -> None:
    """Draw the dependence on ``weight``, the index of ``excess``, given ``surface`` (other weights,
    ``weight``) of logarithms, whose mean is therefore a geometric one.
    """
    low, high = space[weight]
    spaced = np.linspace if weight in LINEAR else np.geomspace
    along = spaced(low, high, surface.shape[1])
    others = "the other weight" if len(space) == 2 else "the others"
    curve, *ends = (
        100.0 * np.expm1(values)
        for values in (surface.mean(axis=0), *np.quantile(surface, (0.1, 0.9), axis=0))
    )
    ax.plot(excess, ".", color="0.65", markersize=4, label="trials")
    ax.fill_between(along, *ends, color=_BLUE, alpha=0.2, lw=0, label=f"middle 80 % over {others}")
    ax.plot(along, curve, color=_BLUE, linewidth=2, label=f"geometric mean over {others}")
    ax.set(xlabel=WEIGHT_LABELS[weight], ylabel=f"{score} above the cell's best / %")
    if weight not in LINEAR:
        ax.set_xscale("log")
        plain_log_ticks(ax.xaxis, low, high)
    top = max(float(excess.max()), float(ends[1].max()), 1.0)
    ax.set_ylim(min(-0.03 * top, float(ends[0].min())), 1.35 * top)  # the legend above
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False, loc="upper center", ncols=1)


LANDSCAPE_FIGURE = Entry(
    "Supp. 23: expected NRMSE and uncertainty over the weights of a cell", CELL, _landscape
)
IMPORTANCE_FIGURE = Entry(
    "which weight matters",
    TRIALS,
    lambda source: importance_figure(
        source.trials, source.space, source.axes, source.study.search.score
    ),
)
