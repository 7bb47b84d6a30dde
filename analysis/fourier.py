"""Figures in Fourier space: what tilts measure, and what a reconstruction has right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Wedge

from analysis.pictures import Array, SliceSet
from recon_core.resolution import (
    AGAINST_TRUTH,
    AXES,
    BETWEEN_HALVES,
    ShellCorrelation,
    axis_spectrum,
    shell_correlation,
)

HAADF_COLOUR, CHEMICAL_COLOUR = "#0072B2", "#D55E00"
HALF_ANGLE = 15.0
"""Degrees about an axis within which its power spectrum is taken."""

_DIRECTIONS = {"z": "z, beam", "y": "y", "x": "x, tilt axis"}


def tilts_figure(
    haadf_deg: Sequence[float], chemical_deg: Sequence[float], voxel_size_nm: float, title: str = ""
) -> Figure:
    """The tilts as lines in Fourier space (Fig. 2a, d, g): HAADF, chemical, and both.

    A projection measures the central line perpendicular to its beam, in every plane across the tilt
    axis. Grey: the missing wedge of all tilts shown, which no projection enters.
    """
    figure = Figure(figsize=(11.5, 4.4), layout="constrained")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    nyquist = 0.5 / voxel_size_nm
    sets = [(haadf_deg, HAADF_COLOUR, "HAADF"), (chemical_deg, CHEMICAL_COLOUR, "Chemical")]
    for ax, (angles, colour, name) in zip(axes, sets, strict=False):
        _tilt_lines(ax, angles, colour, nyquist)
        ax.set_title(f"{name}: {_counted(angles)}")
    for angles, colour, _ in sets:
        _tilt_lines(axes[2], angles, colour, nyquist)
    axes[2].set_title(f"Fused: {len(haadf_deg)} HAADF + {len(chemical_deg)} chemical")
    for ax, angles in zip(
        axes, (haadf_deg, chemical_deg, [*haadf_deg, *chemical_deg]), strict=True
    ):
        _missing_wedge(ax, angles, nyquist)
        ax.set(xlabel="$k_y$ / nm$^{-1}$", aspect="equal")
        ax.set(xlim=(-1.05 * nyquist, 1.05 * nyquist), ylim=(-1.05 * nyquist, 1.05 * nyquist))
    axes[0].set_ylabel("$k_z$ (beam at 0°) / nm$^{-1}$")
    if title:
        figure.suptitle(title)
    return figure


def _counted(angles: Sequence[float]) -> str:
    if not len(angles):
        return "no tilts"
    return f"{len(angles)} tilts, {min(angles):g}° to {max(angles):g}°".replace("-", "−")


def _tilt_lines(ax: Axes, angles: Sequence[float], colour: str, nyquist: float) -> None:
    for angle in np.radians(angles):
        y, z = nyquist * np.cos(angle), nyquist * np.sin(angle)
        ax.plot([-y, y], [-z, z], color=colour, linewidth=0.9)


def _missing_wedge(ax: Axes, angles: Sequence[float], nyquist: float) -> None:
    if not len(angles):
        return
    first, last = min(angles), max(angles)
    for start in (last, last + 180.0):
        width = 180.0 - (last - first)
        ax.add_patch(Wedge((0, 0), nyquist, start, start + width, color="0.88", linewidth=0))


def fsc_figure(slices: SliceSet, halves: tuple[Array, Array] | None = None) -> Figure:
    """Fourier shell correlation with the truth, per element and method (Fig. 3).

    ``halves``: reconstructions (element, z, y, x) of two independent half data sets, whose
    correlation is added as a dotted line. The legends give resolutions in nm: where the curve falls
    below 0.5 (against the truth) or 0.143 (between halves).
    """
    figure, axes = _per_element(slices)
    for i, (ax, element) in enumerate(zip(axes, slices.elements, strict=False)):
        for shown in slices.shown():
            found = shell_correlation(shown.volumes[i], slices.truth[i], slices.voxel_size_nm)
            _curve(ax, found, AGAINST_TRUTH, shown.label, shown.colour, "-")
        if halves is not None:
            found = shell_correlation(halves[0][i], halves[1][i], slices.voxel_size_nm)
            _curve(ax, found, BETWEEN_HALVES, "Fused, between halves", "black", ":")
            ax.axhline(BETWEEN_HALVES, color="0.6", linewidth=0.8, linestyle=":")
        ax.axhline(AGAINST_TRUTH, color="0.6", linewidth=0.8)
        ax.set_title(element)
        curves = len(slices.volumes) + (halves is not None)
        ax.set(ylim=(-0.1, 1.05 + 0.14 * curves), yticks=np.linspace(0.0, 1.0, 6))  # the legend
        ax.legend(fontsize=7, frameon=False, loc="upper right")
    note = "\nbetween halves: how far counts repeat it, not how true it is" if halves else ""
    _finish(figure, axes, "Fourier shell correlation" + note, slices.title)
    return figure


def _curve(
    ax: Axes, found: ShellCorrelation, threshold: float, label: str, colour: str, style: str
) -> None:
    resolution = found.resolution_nm(threshold)
    finest = 1.0 / found.frequency[-1]
    if not np.isfinite(resolution):
        text = "nothing resolved"
    else:
        text = f"{'≤ ' if resolution <= finest * (1 + 1e-9) else ''}{resolution:.3g} nm"
    ax.plot(found.frequency, found.correlation, style, color=colour, label=f"{label}: {text}")


def spectra_figure(slices: SliceSet) -> Figure:
    """Power along the principal directions, truth and reconstructions (Fig. 3).

    One row per element, one column per direction, each the mean over a cone of
    :data:`HALF_ANGLE`. A tick marks the cut-off: where the power falls below half of the truth's.
    Noise is power too, so a noisy reconstruction lies above the truth and has no cut-off.
    """
    rows = len(slices.elements)
    figure = Figure(figsize=(11.0, 1.2 + 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, 3, sharex=True, sharey="row", squeeze=False)
    for row, element in enumerate(slices.elements):
        for ax, direction in zip(axes[row], AXES, strict=True):
            _draw_spectra(ax, slices, row, direction)
        axes[row, 0].set_ylabel(f"{element}\npower / truth's largest")
    for ax, direction in zip(axes[0], AXES, strict=True):
        ax.set_title(_DIRECTIONS[direction])
    for ax in axes[-1]:
        ax.set_xlabel("frequency / nm$^{-1}$")
    handles = [Line2D([], [], color="black", label="Truth")]
    handles += [Line2D([], [], color=s.colour, label=s.label) for s in slices.shown()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    note = "power spectral density; mark: half of the truth's power"
    figure.suptitle("\n".join(filter(None, (slices.title, note))))
    return figure


def _draw_spectra(ax: Axes, slices: SliceSet, row: int, direction: str) -> None:
    truth = axis_spectrum(slices.truth[row], slices.voxel_size_nm, direction, HALF_ANGLE)
    top = float(truth.power.max()) or 1.0
    ax.semilogy(truth.frequency, truth.power / top, color="black", linewidth=2.0)
    for shown in slices.shown():
        found = axis_spectrum(shown.volumes[row], slices.voxel_size_nm, direction, HALF_ANGLE)
        ax.semilogy(found.frequency, found.power / top, color=shown.colour, linewidth=1.2)
        cut = found.cut_off(truth)
        if 0 < cut < found.frequency[-1]:
            level = float(
                np.exp(np.interp(cut, found.frequency, np.log(found.power / top + 1e-30)))
            )
            ax.plot(cut, level, "|", color=shown.colour, markersize=14, markeredgewidth=2)
    ax.spines[["top", "right"]].set_visible(False)


def _per_element(slices: SliceSet) -> tuple[Figure, list[Axes]]:
    """A figure with a panel per element, two in a row."""
    columns = min(2, len(slices.elements))
    rows = -(-len(slices.elements) // columns)
    figure = Figure(figsize=(5.4 * columns, 0.8 + 3.5 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for ax in axes[len(slices.elements) :]:
        ax.set_axis_off()
    return figure, axes


def _finish(figure: Figure, axes: list[Axes], name: str, title: str) -> None:
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("frequency / nm$^{-1}$")
        ax.set_ylabel("correlation")
        ax.label_outer()
    figure.suptitle("\n".join(filter(None, (name, title))))
