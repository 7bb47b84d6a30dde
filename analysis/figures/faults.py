"""What ruins a reconstruction most: one fault of the microscope at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...phantoms.disturbances import Disturbances, rate_of_loss
from ...recon_core.methods import Method, Weights
from ...sweep.study import Study
from ...sweep.study.trial import Cell
from ..style import condition_title
from ..volumes import NOT_KEPT, SolvedTrial, SolvedVolumes
from . import CELL, Entry
from .pictures import element_colours
from .source import Source

Values = NDArray[np.float64]

NO_FAULT = "none"
FAULTS: Mapping[str, Mapping[str, float]] = {
    NO_FAULT: {},
    "film of 10 %": {"film": 0.1},
    "axis off by 1 px": {"axis_offset_px": 1.0},
    "shifts of 1 px rms": {"haadf_shift_px": 1.0, "chemical_shift_px": 1.0},
    "shifts of 0.25 px rms": {"haadf_shift_px": 0.25, "chemical_shift_px": 0.25},
    "shifts of 1 px rms, maps alone": {"chemical_shift_px": 1.0},
    "drift of 2 px": {"haadf_drift_px": 2.0, "chemical_drift_px": 2.0},
    "axis turned by 1°": {"axis_rotation_deg": 1.0},
    "angles of 0.5° rms": {"angle_jitter_deg": 0.5},
    "gain of 5 % rms": {"haadf_gain": 0.05, "chemical_gain": 0.05},
    "dark level of 5 % rms": {"haadf_dark": 0.05, "chemical_dark": 0.05},
    "hot pixels 0.05 %": {"hot_pixels": 5e-4},
    "maps blurred by 1 px": {"chemical_blur_px": 1.0},
    "overlap of 10 %": {"overlap": 0.1},
    "matrix of 1 %": {"matrix": 0.01},
    "damping of 60 %": {"damping": 0.6},
    "damping of 20 %": {"damping": 0.2},
    "absorption of 30 %": {"absorption": 0.3},
    "shadowing of 50 %": {"shadowing": 0.5},
    "surroundings of a quarter": {"surroundings": 0.25},
    "half of the lightest element lost": {"damage": 0.5},
}
"""Faults at strengths of a real microscope, as keys of ``[disturbances]``."""

DAMPINGS = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Shares of HAADF that are lost on the brightest ray."""


@dataclass(frozen=True)
class Ranked:
    """What faults cost, as one colour of the ranking.

    Parameters
    ----------
    label : in the legend.
    colour : of the marks.
    nrmse : of every fault, (fault, repetition).
    """

    label: str
    colour: str
    nrmse: Values


def solved_under(
    study: Study,
    weights: Weights,
    faults: Mapping[str, float],
    volumes: SolvedVolumes = NOT_KEPT,
) -> SolvedTrial:
    """The fused reconstruction of a condition with faults beside its own.

    Parameters
    ----------
    study : of one condition, without axes.
    weights : to reconstruct with, by the fused method.
    faults : keys of ``[disturbances]`` and their strengths.
    volumes : solves it, or has it.
    """
    changed = study.disturbances.model_copy(update=dict(faults))
    at = study.model_copy(update={"disturbances": Disturbances(**changed.model_dump())})
    return volumes.of(at, at.trial(Cell(0), Method.FUSED, 0, weights))


def faults_figure(faults: Sequence[str], ranked: Sequence[Ranked], title: str = "") -> Figure:
    """NRMSE under every fault, the worst on top, and without one as a line.

    Parameters
    ----------
    faults : names, with :data:`NO_FAULT`.
    ranked : the first decides the order; means, with bars from the least to the most of the
        repetitions.
    title : the condition.
    """
    figure = Figure(figsize=(7.5, 1.6 + 0.27 * len(faults)), layout="constrained")
    ax = figure.subplots()
    order = np.argsort(ranked[0].nrmse.mean(axis=1))
    places = np.arange(len(order))
    for number, each in enumerate(ranked):
        scores = each.nrmse[order]
        means = scores.mean(axis=1)
        spread = np.stack([means - scores.min(axis=1), scores.max(axis=1) - means])
        beside = 0.14 * ((len(ranked) - 1) / 2 - number)  # none hides another
        ax.errorbar(
            means, places + beside, xerr=spread, fmt="o", color=each.colour, label=each.label,
            markeredgecolor="0.3", markeredgewidth=0.5, elinewidth=1.2,
        )  # fmt: skip
        without = each.nrmse[list(faults).index(NO_FAULT)].mean()
        ax.axvline(without, color=each.colour, linewidth=0.8, linestyle=":")
    ax.set_yticks(places, [faults[i] for i in order])
    ax.set_xlim(left=0.0)
    ax.set_xlabel("NRMSE, fused; dotted: without a fault")
    ax.grid(axis="y", color="0.92", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle("\n".join(filter(None, ("One fault at a time, the same weights", title))))
    return figure


def thickness_figure(scores: Values, elements: tuple[str, ...], title: str = "") -> Figure:
    """The law of damping, and what it costs every element.

    Parameters
    ----------
    scores : NRMSE at each of :data:`DAMPINGS`, (damping, element).
    elements : chemical symbols.
    title : the condition.
    """
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    thin = np.linspace(0, 1, 101)
    for lost in DAMPINGS:
        shown = -np.expm1(-(rate := rate_of_loss(lost)) * thin) / rate if lost else thin
        left.plot(thin, shown, color=str(0.75 * lost), label=f"{lost:.0%} lost")
    left.set_xlabel("HAADF of a thin specimen, over its brightest ray")
    left.set_ylabel("recorded, over the same")
    left.set(xlim=(0, 1), ylim=(0, 1))
    for element, nrmse in zip(elements, scores.T, strict=True):
        right.plot(DAMPINGS, nrmse, "o-", color=element_colours(elements)[element], label=element)
    right.set_xlabel("HAADF lost on the brightest ray")
    right.set_xticks(DAMPINGS, [f"{lost:.0%}" for lost in DAMPINGS])
    right.set_ylabel("NRMSE")
    right.set_ylim(bottom=0.0)
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    heading = "HAADF damped by thickness, fused; the solver is not told"
    figure.suptitle("\n".join(filter(None, (heading, title))))
    return figure


def _scores(
    source: Source, faults: Sequence[Mapping[str, float]]
) -> tuple[tuple[str, ...], Values]:
    """The elements, and NRMSE of the best fused trial of the cell under each set of faults,
    (fault, element).
    """
    weights, at = source.weights, source.study.at(source.cell)

    def solve(each: Mapping[str, float]) -> dict[str, float]:
        return solved_under(at, weights, each, source.volumes).nrmse_by_element

    found = source.each(solve, faults)
    return tuple(found[0]), np.array([list(each.values()) for each in found])


def _faults(source: Source) -> Figure:
    elements, scores = _scores(source, list(FAULTS.values()))
    colours = element_colours(elements)
    ranked = [Ranked("mean of the elements", "0.2", scores.mean(axis=1, keepdims=True))]
    ranked += [Ranked(e, colours[e], scores[:, i : i + 1]) for i, e in enumerate(elements)]
    return faults_figure(tuple(FAULTS), ranked, condition_title(dict(source.cell.values)))


def _thickness(source: Source) -> Figure:
    elements, scores = _scores(source, [{"damping": lost} for lost in DAMPINGS])
    title = condition_title(dict(source.cell.values))
    return thickness_figure(scores, elements, title)


FAULTS_FIGURE = Entry(
    f"what ruins a reconstruction most: one fault at a time ({len(FAULTS)} solves)", CELL, _faults
)
THICKNESS_FIGURE = Entry(
    f"Supp. 14: HAADF damped by thickness, and what it costs ({len(DAMPINGS)} solves)",
    CELL,
    _thickness,
)
