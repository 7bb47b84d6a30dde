"""A plan in two panels: accuracy over dose and maps, and the best accuracy of every dose."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from ..plan import Plan
from ..style import DOSE, axis_label
from ..surface import Choice, dose_label
from .draw import SEQUENTIAL, add_colourbar

STEPS = 61


def plan_figure(plan: Plan) -> Figure:
    """Draw what a plan is chosen from.

    Parameters
    ----------
    plan : with the response surface of its trials.
    """
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    contours, front = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    _contours(figure, contours, plan)
    _front(front, plan)
    return figure


def _contours(figure: Figure, axes: Axes, plan: Plan) -> None:
    """Lines of equal NRMSE over dose and maps, with images and share as chosen."""
    low, high = plan.front[0][0], plan.front[-1][0]
    doses = np.geomspace(low, high, STEPS)
    maps = np.geomspace(*plan.range_of_maps, STEPS)
    choice = plan.choice
    # Tilts are whole numbers, but their surface is smooth.
    cells = [Choice(d, m, choice.images, choice.share) for m in maps for d in doses]
    nrmse = plan.surface.nrmse(cells).reshape(STEPS, STEPS)
    filled = axes.contourf(doses, maps, nrmse, levels=14, cmap=SEQUENTIAL)
    lines = axes.contour(doses, maps, nrmse, levels=list(filled.levels)[::2], colors="white")
    axes.clabel(lines, fmt="%.3g", fontsize=8)
    axes.plot(
        choice.dose,
        choice.maps,
        marker="*",
        markersize=14,
        color="white",
        mec="black",
        clip_on=False,
    )
    axes.set(yscale="log", ylabel="Chemical maps")
    _dose_axis(axes, plan)
    axes.yaxis.set_major_locator(FixedLocator([4, 5, 7, 9, 12, 15, 20]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_title(f"{choice.images} HAADF images, {choice.share:.0%} of the dose", fontsize=10)
    add_colourbar(figure, filled, axes, "⟨NRMSE⟩")


def _front(axes: Axes, plan: Plan) -> None:
    """The best NRMSE of every dose, and that of the repetitions at the chosen one."""
    doses, nrmse = np.array(plan.front).T
    axes.plot(doses, nrmse, marker="o", label="best, by the trials")
    low, middle, high = plan.expected.low, plan.expected.nrmse, plan.expected.high
    axes.errorbar(
        plan.choice.dose,
        middle,
        [[middle - low], [high - middle]],
        marker="*",
        markersize=12,
        capsize=4,
        color="black",
        linestyle="none",
        label="chosen, nine of ten specimens",
    )
    axes.set(ylabel="⟨NRMSE⟩")
    _dose_axis(axes, plan)
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Dose against accuracy", fontsize=10)


def _dose_axis(axes: Axes, plan: Plan) -> None:
    """Doses on a logarithmic scale; a range of 16 has too few decades for the usual ticks."""
    doses = [dose for dose, _ in plan.front[::2]]
    axes.set_xscale("log")
    axes.set_xlabel(axis_label(DOSE))
    axes.set_xticks(doses, [dose_label(dose) for dose in doses])
    axes.xaxis.set_minor_locator(NullLocator())
