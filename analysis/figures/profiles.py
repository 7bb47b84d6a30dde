"""Line profiles across edges of the specimen, and how wide each method makes them (Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...recon_core.metrics.edges import Edge, fit_edge, line_profile
from ..rerun import Array, SliceSet
from . import VOLUMES, Entry
from .pictures import draw_scale_bar

Floats = NDArray[np.float64]

HALF_LENGTH = 6.0
"""Voxels from the edge to either end of a profile."""
POINTS = 49
# Height in inches of a row with profiles, and of a row without an edge.
_PANEL, _LINE = 2.9, 0.4
# Voxels beside the line: a profile is the mean over three parallel lines.
_SIDEWAYS = (-1.0, 0.0, 1.0)


@dataclass(frozen=True)
class EdgeLine:
    """A line across an edge, inside one slice.

    Parameters
    ----------
    x : index of the slice along the tilt axis.
    centre : point (z, y) on the edge, voxels.
    normal : unit vector (z, y) from the outside to the inside.
    """

    x: int
    centre: tuple[float, float]
    normal: tuple[float, float]

    def profile(self, image: Array) -> Floats:
        """Values of an image along the line, from outside the edge inwards.

        Parameters
        ----------
        image : concentrations (z, y).

        Returns
        -------
        :data:`POINTS` values, means over three parallel lines.
        """
        sideways = np.array([-self.normal[1], self.normal[0]])
        lines = []
        for shift in _SIDEWAYS:
            # Parallel lines average out the noise of single voxels without widening the edge.
            start, stop = (np.array(end) + shift * sideways for end in self.ends())
            lines.append(line_profile(image, tuple(start), tuple(stop), POINTS))
        mean: Floats = np.mean(lines, axis=0)
        return mean

    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """First and last point (z, y), voxels."""
        (z, y), (a, b) = self.centre, self.normal
        reach = HALF_LENGTH
        return (z - reach * a, y - reach * b), (z + reach * a, y + reach * b)


def sharpest_edge(truth: Array) -> EdgeLine | None:
    """The line over the cleanest straight step of a volume, in any slice across x.

    Cleanest: its profile is closest to 0 outside and the volume's maximum inside. Only the quarter
    of the slices with most material is searched.

    Parameters
    ----------
    truth : concentrations (z, y, x) of one element.

    Returns
    -------
    None for an empty volume, or one without an edge.
    """
    best: tuple[float, EdgeLine] | None = None
    # Fullest slices first; thin ones have short edges.
    for x in np.argsort(-(truth > 0).sum(axis=(0, 1)))[: max(1, truth.shape[2] // 4)]:
        found = _sharpest_in(truth[:, :, x], int(x), float(truth.max()))
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    return None if best is None else best[1]


def _sharpest_in(image: Array, x: int, top: float) -> tuple[float, EdgeLine] | None:
    """The mean deviation from an ideal step, and the line, of the best edge in a slice (z, y)."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    # Smoothed by one voxel, so that the normals do not follow single voxels of the grid.
    gradient = np.stack([*np.gradient(gaussian_filter(image.astype(np.float64), 1.0))], axis=-1)
    slope = np.linalg.norm(gradient, axis=-1)
    places = np.argwhere(slope > 0.2 * top)
    if not len(places):
        return None
    normals = gradient[tuple(places.T)] / slope[tuple(places.T)][:, None]
    steps = np.linspace(-HALF_LENGTH, HALF_LENGTH, POINTS)
    along = places[:, None, :] + steps[None, :, None] * normals[:, None, :]
    # All candidate profiles in one call: (candidate, point).
    values = map_coordinates(image.astype(np.float64), np.moveaxis(along, -1, 0), order=1)
    off = np.abs(values - top * (steps > 0)).mean(axis=1) / top
    chosen = int(off.argmin())
    (z, y), (a, b) = places[chosen], normals[chosen]
    return float(off[chosen]), EdgeLine(x, (float(z), float(y)), (float(a), float(b)))


def profiles_figure(slices: SliceSet) -> Figure:
    """For each element its cleanest edge in the truth: where it lies, and profiles across it.

    The legend gives the 10–90 % width in nm of an error function fitted to each profile (dashed),
    with one voxel as the finest, and how far its centre lies from the truth's: a sharp edge in the
    wrong place is no good edge. Or "no edge" if the fit fails. The fit ends where the truth's
    plateau does. An element without an edge in the truth gets a note instead.

    Parameters
    ----------
    slices : the truth and the reconstructions, volumes (element, z, y, x).
    """
    lines = [sharpest_edge(truth) for truth in slices.truth]
    heights = [_LINE if line is None else _PANEL for line in lines]
    figure = Figure(figsize=(12.0, 0.8 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(lines), 2, squeeze=False, width_ratios=[1, 2], height_ratios=heights)
    drawn = [row for row, line in enumerate(lines) if line is not None]
    for row, (element, line) in enumerate(zip(slices.elements, lines, strict=True)):
        if line is None:
            _draw_nothing(axes[row], element)
        else:
            _draw_place(axes[row, 0], slices, row, line)
            _draw_profiles(axes[row, 1], slices, row, line)
    if drawn:
        axes[drawn[-1], 1].set_xlabel("position across the edge / nm")
        draw_scale_bar(axes[drawn[0], 0], slices.truth.shape[2], slices.voxel_size_nm)
    note = "10–90 % width of the error function fitted (dashed), and where its centre lies"
    figure.suptitle("\n".join(filter(None, (slices.title, note))))
    return figure


def _draw_nothing(axes: Sequence[Axes], element: str) -> None:
    for ax in axes:
        ax.set_axis_off()
    axes[1].text(0.5, 0.5, f"{element}: no edge in the truth", ha="center", va="center")


def _plateau_end(profile: Floats) -> int:
    """Number of points up to the far side of a small particle: beyond it the profile falls
    again.
    """
    inside = profile >= 0.9 * profile.max()
    return int(np.flatnonzero(inside)[-1]) + 1


def _draw_place(ax: Axes, slices: SliceSet, row: int, line: EdgeLine) -> None:
    image = slices.truth[row, :, :, line.x]
    ax.imshow(image, cmap="inferno", origin="lower", vmin=0, vmax=float(slices.truth[row].max()))
    (z0, y0), (z1, y1) = line.ends()
    ax.plot([y0, y1], [z0, z1], color="#56B4E9", linewidth=2)
    ax.set(xticks=[], yticks=[], title=f"truth, x = {line.x}")
    # A line that leaves the volume must not widen the picture by a margin of nothing.
    ax.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(-0.5, image.shape[0] - 0.5))
    ax.set_ylabel(slices.elements[row], rotation=0, ha="right", va="center", fontsize=12)
    ax.title.set_fontsize(9)


def _draw_profiles(ax: Axes, slices: SliceSet, row: int, line: EdgeLine) -> None:
    position = slices.voxel_size_nm * np.linspace(-HALF_LENGTH, HALF_LENGTH, POINTS)
    # The same range for all methods, that of the truth, so that widths compare.
    fitted = slice(0, _plateau_end(line.profile(slices.truth[row, :, :, line.x])))
    shown = [("Truth", "black", slices.truth)]
    shown += [(s.label, s.colour, s.volumes) for s in slices.shown()]
    true: Edge | None = None
    for label, colour, volumes in shown:
        profile = line.profile(volumes[row, :, :, line.x])
        edge = fit_edge(position[fitted], profile[fitted])
        named = f"{label}: {_width(edge, slices.voxel_size_nm)}{_displaced(edge, true)}"
        # The truth comes first; the others are displaced from it.
        true = edge if volumes is slices.truth else true
        ax.plot(position, profile, color=colour, linewidth=1.6, label=named)
        if edge is not None:
            ax.plot(
                position[fitted],
                edge.at(position[fitted]),
                color=colour,
                linewidth=0.8,
                linestyle="--",
            )
    top = float(slices.truth[row].max())
    # Room for overshoot, and a little below zero for ringing.
    ax.set_ylim(-0.15 * top, 1.6 * top)
    ax.set_ylabel("concentration")
    ax.spines[["top", "right"]].set_visible(False)
    # Beside the panel: within it profiles of noise run through the names.
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _width(edge: Edge | None, voxel_nm: float) -> str:
    """Width of a fitted edge; below one voxel only a bound can be given."""
    if edge is None:
        return "no edge"
    if edge.width_nm <= voxel_nm:
        return f"≤ {voxel_nm:.1f} nm (a voxel)"
    return f"{edge.width_nm:.1f} nm"


def _displaced(edge: Edge | None, true: Edge | None) -> str:
    """How far an edge lies from the true one; profiles run from the outside inwards."""
    if edge is None or true is None:
        return ""
    off = edge.centre_nm - true.centre_nm
    if abs(off) < 0.05:
        return ", in place"
    return f", {abs(off):.1f} nm too far {'in' if off > 0 else 'out'}"


PROFILES_FIGURE = Entry(
    "Fig. 3: line profiles across edges, with their widths and displacements",
    VOLUMES,
    lambda source: profiles_figure(source.against_truth),
)
