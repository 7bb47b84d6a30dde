"""What HAADF must resolve: the resolution of the fused volumes over its blur (Supp. 8)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ...recon_core.methods import Method
from ...recon_core.metrics.resolution import AGAINST_TRUTH, shell_correlation
from ..rerun import Array
from ..style import METHOD_LABELS, condition_title
from . import CELL, Entry
from .faults import solved_under
from .pictures import element_colours
from .source import Source

Values = NDArray[np.float64]

BLURS_PX = (0.0, 0.5, 1.0, 2.0)
"""Standard deviations of the Gaussian that blurs HAADF, pixels."""
DIRECTIONS = {
    "": "all directions",
    "x": "x, along the tilt axis",
    "y": "y, across it",
    "z": "z, across it, beam at 0°",
}
"""Axes about which frequencies are compared, none for all of them, and what panels call them."""
HALF_ANGLE = 30.0
"""Half-angle in degrees of the cone about an axis."""


def resolutions(volumes: Array, truth: Array, voxel_nm: float) -> Values:
    """Resolution against the truth, nm, (direction, element); infinite where nothing is resolved.

    Parameters
    ----------
    volumes, truth : concentrations (element, z, y, x).
    voxel_nm : edge of a voxel.
    """
    cones = [(axis, HALF_ANGLE) if axis else None for axis in DIRECTIONS]
    pairs = list(zip(volumes, truth, strict=True))
    found = [[shell_correlation(*pair, voxel_nm, cone) for pair in pairs] for cone in cones]
    return np.array([[each.resolution_nm(AGAINST_TRUTH) for each in row] for row in found])


def resolution_figure(
    fused: Values,
    alone: Values | None,
    elements: tuple[str, ...],
    voxel_nm: float,
    title: str = "",
) -> Figure:
    """Resolution of every element over the blur of HAADF, one panel a direction.

    Parameters
    ----------
    fused : nm, at each of :data:`BLURS_PX`, (blur, direction, element).
    alone : of chemistry + TV, which sees no HAADF, (direction, element), as dashed lines; None for
        no such lines.
    elements : chemical symbols.
    voxel_nm : edge of a voxel; two are the finest that can be resolved.
    title : the condition.
    """
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for i, (ax, name) in enumerate(zip(axes.flat, DIRECTIONS.values(), strict=True)):
        _lines(ax, fused[:, i], None if alone is None else alone[i], elements)
        ax.axhline(2.0 * voxel_nm, color="0.6", linewidth=0.8, linestyle=":")
        ax.set_title(name, fontsize=10)
        ax.set_xticks(BLURS_PX)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylim(bottom=0.0)
    for below in axes[-1]:
        below.set_xlabel("blur of HAADF, standard deviation / px")
    figure.supylabel(f"resolution / nm: correlation {AGAINST_TRUTH:g} with the truth", fontsize=10)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    if alone is not None:
        label = f"{METHOD_LABELS[Method.CHEMISTRY_TV]}, which sees no HAADF"
        handles.append(Line2D([], [], color="0.3", linestyle="--", label=label))
    handles.append(Line2D([], [], color="0.6", linestyle=":", label="two voxels: the finest"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    heading = "Resolution over the blur of HAADF, fused, the same weights; the solver is not told"
    figure.suptitle("\n".join(filter(None, (heading, title))))
    return figure


def _lines(ax: Axes, fused: Values, alone: Values | None, elements: tuple[str, ...]) -> None:
    # What is not resolved at all has no place on the axis: the line ends there.
    shown = np.where(np.isfinite(fused), fused, np.nan)
    for i, element in enumerate(elements):
        colour = element_colours(elements)[element]
        ax.plot(BLURS_PX, shown[:, i], "o-", color=colour, label=element)
        if alone is not None and np.isfinite(alone[i]):
            ax.axhline(alone[i], color=colour, linewidth=1.2, linestyle="--")


def _resolution(source: Source) -> Figure:
    weights = source.weights
    at, slices = source.study.at(source.cell), source.rerun.slices
    truth, voxel_nm = slices.truth, slices.voxel_size_nm

    def solve(blur: float) -> Values:
        # At the condition's own blur it has just been solved.
        if blur == at.disturbances.haadf_blur_px:
            return resolutions(slices.volumes[Method.FUSED], truth, voxel_nm)
        found = solved_under(at, weights, {"haadf_blur_px": blur}, source.volumes)
        return resolutions(found.solved.volumes, truth, voxel_nm)

    fused = source.each(solve, BLURS_PX)
    chemistry = slices.volumes.get(Method.CHEMISTRY_TV)
    alone = None if chemistry is None else resolutions(chemistry, truth, voxel_nm)
    title = condition_title(dict(source.cell.values))
    return resolution_figure(np.array(fused), alone, slices.elements, voxel_nm, title)


HAADF_RESOLUTION_FIGURE = Entry(
    f"Supp. 8: resolution of elements over the blur of HAADF ({len(BLURS_PX) - 1} solves more)",
    CELL,
    _resolution,
)
