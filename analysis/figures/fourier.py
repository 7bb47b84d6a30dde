"""Figures in Fourier space: what tilts measure, and which frequencies a reconstruction has
right.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Wedge

from ...recon_core.methods import Method
from ...recon_core.metrics.counts import split_counts
from ...recon_core.metrics.resolution import (
    AGAINST_TRUTH,
    AXES,
    BETWEEN_HALVES,
    FRINGES,
    ShellCorrelation,
    axis_spectrum,
    shell_correlation,
)
from ...recon_core.result import Reconstruction
from ...recon_core.solver import reconstruct
from ..rerun import Array, SliceSet
from ..volumes import NOT_KEPT, SolvedTrial, SolvedVolumes
from . import TILTS, VOLUMES, Entry
from .source import Source

HAADF_COLOUR, CHEMICAL_COLOUR = "#0072B2", "#D55E00"
HALF_ANGLE = 15.0
"""Half-angle in degrees of the cone about an axis over which its power spectrum is averaged."""

# Part of the height of a panel of spectra, in decades, that is added for its legend.
_HEADROOM = 0.35

_DIRECTIONS = {"z": "z, beam", "y": "y", "x": "x, tilt axis"}


def tilts_figure(
    haadf_deg: Sequence[float],
    chemical_deg: Sequence[float],
    voxel_size_nm: float | None,
    title: str = "",
) -> Figure:
    """The tilts as lines in Fourier space (Fig. 2a, d, g): HAADF, chemical, and both.

    By the projection-slice theorem a projection measures the central line perpendicular to its
    beam, in every plane across the tilt axis. Grey: the missing wedge of all tilts shown. Chemical
    lines are dashed, so that HAADF lines at the same angles remain visible.

    Parameters
    ----------
    haadf_deg : angles of the HAADF series, degrees.
    chemical_deg : angles of the chemical series, degrees.
    voxel_size_nm : edge of a voxel; None draws frequencies in units of the Nyquist frequency.
    title : the condition, above the panels.
    """
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    nyquist, unit = (0.5 / voxel_size_nm, "nm$^{-1}$") if voxel_size_nm else (1.0, "Nyquist")
    panels = [
        (haadf_deg, (), f"HAADF: {_counted(haadf_deg)}"),
        ((), chemical_deg, f"Chemical: {_counted(chemical_deg)}"),
        (haadf_deg, chemical_deg, f"Fused: {len(haadf_deg)} HAADF + {len(chemical_deg)} chemical"),
    ]
    for ax, (haadf, chemical, name) in zip(axes, panels, strict=True):
        _missing_wedge(ax, [*haadf, *chemical], nyquist)
        _tilt_lines(ax, haadf, HAADF_COLOUR, nyquist, "-")
        _tilt_lines(ax, chemical, CHEMICAL_COLOUR, nyquist, "--")
        ax.set(title=name, xlabel=f"$k_y$ / {unit}", aspect="equal")
        ax.set(xlim=(-1.05 * nyquist, 1.05 * nyquist), ylim=(-1.05 * nyquist, 1.05 * nyquist))
    axes[0].set_ylabel(f"$k_z$ (beam at 0°) / {unit}")
    if title:
        figure.suptitle(title)
    return figure


def _counted(angles: Sequence[float]) -> str:
    """Number and range of the tilts, in words."""
    if not len(angles):
        return "no tilts"
    return f"{len(angles)} tilts, {min(angles):g}° to {max(angles):g}°".replace("-", "−")


def _tilt_lines(ax: Axes, angles: Sequence[float], colour: str, nyquist: float, style: str) -> None:
    for angle in np.radians(angles):
        # At tilt 0 the beam is along z and the projection measures the ky line.
        y, z = nyquist * np.cos(angle), nyquist * np.sin(angle)
        ax.plot([-y, y], [-z, z], color=colour, linewidth=0.9, linestyle=style)


def _missing_wedge(ax: Axes, angles: Sequence[float], nyquist: float) -> None:
    """Shade the directions between the last tilt and the first, on both sides."""
    if not len(angles):
        return
    first, last = min(angles), max(angles)
    # The wedge is centrosymmetric: the spectrum of a real volume is Hermitian.
    for start in (last, last + 180.0):
        width = 180.0 - (last - first)
        ax.add_patch(Wedge((0, 0), nyquist, start, start + width, color="0.88", linewidth=0))


def fsc_figure(slices: SliceSet, halves: tuple[Array, Array] | None = None) -> Figure:
    """Fourier shell correlation with the truth, per element and method (Fig. 3).

    The legends give resolutions in nm: where the curve falls below 0.5. Between halves that is
    close to the resolution against the truth, while 0.143 (Rosenthal and Henderson 2003), given
    too, is optimistic of volumes regularised by TV: the bias of both halves is the same.

    Parameters
    ----------
    slices : the truth and the reconstructions, volumes (element, z, y, x).
    halves : reconstructions (element, z, y, x) of two independent half data sets, whose correlation
        is added as a dotted line; None for no such line.
    """
    figure, axes = _per_element(slices)
    for i, (ax, element) in enumerate(zip(axes, slices.elements, strict=False)):
        for shown in slices.shown():
            found = shell_correlation(shown.volumes[i], slices.truth[i], slices.voxel_size_nm)
            _curve(ax, found, (AGAINST_TRUTH,), shown.label, shown.colour, "-")
        if halves is not None:
            found = shell_correlation(halves[0][i], halves[1][i], slices.voxel_size_nm)
            levels = (AGAINST_TRUTH, BETWEEN_HALVES)
            _curve(ax, found, levels, "Fused, between halves", "black", ":")
            _threshold(ax, BETWEEN_HALVES, "halves of the counts repeat,\noptimistic after TV", ":")
        _threshold(ax, AGAINST_TRUTH, "resolution", "-")
        ax.set_title(element)
        ax.set(xlim=(0.0, None), ylim=(-0.1, 1.05))
        ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    note = "Fourier shell correlation with the truth" + "; dotted: between halves" * bool(halves)
    _finish(figure, axes, note, slices.title)
    return figure


def _threshold(ax: Axes, level: float, what_for: str, style: str) -> None:
    """A line at a threshold, named at its left end, where curves are near 1."""
    ax.axhline(level, color="0.6", linewidth=0.8, linestyle=style)
    place = ax.get_yaxis_transform()
    text = f"{level:g}: {what_for}"
    written = ax.text(0.01, level + 0.012, text, transform=place, fontsize=7, color="0.35")
    # Above curves that come down early.
    written.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8})
    written.set_zorder(4)


def _curve(
    ax: Axes,
    found: ShellCorrelation,
    thresholds: Sequence[float],
    label: str,
    colour: str,
    style: str,
) -> None:
    """Draw one correlation with its resolutions in the legend."""
    first, *others = (_resolution(found, threshold) for threshold in thresholds)
    also = "".join(f"\nat {t:g}: {text}" for t, text in zip(thresholds[1:], others, strict=True))
    ax.plot(
        found.frequency, found.correlation, style, color=colour, label=f"{label}: {first}{also}"
    )


def _resolution(found: ShellCorrelation, threshold: float) -> str:
    """The resolution at a threshold, in words."""
    resolution = found.resolution_nm(threshold)
    # The last shell inside the volume: finer details cannot be judged.
    finest = 1.0 / found.frequency[-1]
    if not np.isfinite(resolution):
        return "nothing resolved"
    # A curve still above the threshold at Nyquist only bounds the resolution.
    return f"{'≤ ' if resolution <= finest * (1 + 1e-9) else ''}{resolution:.3g} nm"


def spectra_figure(slices: SliceSet) -> Figure:
    """Power along the principal directions, truth and reconstructions (Fig. 3).

    One row per element, one column per direction, each the mean over a cone of :data:`HALF_ANGLE`.
    A mark and a number in the method's colour give the cut-off: where the power, smoothed as in
    :meth:`~tomoatlas.recon_core.metrics.resolution.Spectrum.cut_off`, first falls below half of the
    truth's; "not resolved" if it is below from the start. Noise is power too, so a noisy
    reconstruction lies above the truth and has no cut-off.

    Parameters
    ----------
    slices : the truth and the reconstructions, volumes (element, z, y, x).
    """
    rows = len(slices.elements)
    figure = Figure(figsize=(11.0, 1.2 + 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, 3, sharex=True, sharey="row", squeeze=False)
    for row, element in enumerate(slices.elements):
        for ax, direction in zip(axes[row], AXES, strict=True):
            _draw_spectra(ax, slices, row, direction)
        axes[row, 0].set_ylabel(f"{element}\npower / truth's largest")
        # Room above the curves for the numbers, on a logarithmic scale.
        low, high = axes[row, 0].get_ylim()
        axes[row, 0].set_ylim(low, high * (high / low) ** _HEADROOM)
    for ax, direction in zip(axes[0], AXES, strict=True):
        ax.set_title(_DIRECTIONS[direction])
    for ax in axes[-1]:
        ax.set_xlabel("frequency / nm$^{-1}$")
    handles = [Line2D([], [], color="black", label="Truth")]
    handles += [Line2D([], [], color=s.colour, label=s.label) for s in slices.shown()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    note = f"power spectral density; cut-off: half of the truth's power, means of {FRINGES} shells"
    figure.suptitle("\n".join(filter(None, (slices.title, note))))
    return figure


def _draw_spectra(ax: Axes, slices: SliceSet, row: int, direction: str) -> None:
    """Draw the spectra of one element in one direction, relative to the truth's largest power."""
    truth = axis_spectrum(slices.truth[row], slices.voxel_size_nm, direction, HALF_ANGLE)
    top = float(truth.power.max()) or 1.0
    ax.semilogy(truth.frequency, truth.power / top, color="black", linewidth=2.0)
    named = []
    for shown in slices.shown():
        found = axis_spectrum(shown.volumes[row], slices.voxel_size_nm, direction, HALF_ANGLE)
        ax.semilogy(found.frequency, found.power / top, color=shown.colour, linewidth=1.2)
        cut = found.cut_off(truth)
        named.append(Line2D([], [], color=shown.colour, label=_cut_off(cut, found.frequency[-1])))
        if 0 < cut < found.frequency[-1]:
            # Interpolated between shells on the logarithmic scale that is drawn.
            level = float(
                np.exp(np.interp(cut, found.frequency, np.log(found.power / top + 1e-30)))
            )
            ax.plot(cut, level, "|", color=shown.colour, markersize=14, markeredgewidth=2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        handles=named,
        fontsize=7,
        frameon=False,
        loc="upper right",
        labelcolor="linecolor",
        ncols=2,
        title="cut-off",
        title_fontsize=7,
    )


def _cut_off(cut: float, last: float) -> str:
    """The resolution in nm; below half from the start differs from never below."""
    if cut <= 0:
        return "not resolved"
    return "no cut-off" if cut >= last else f"{1.0 / cut:.3g} nm"


def _per_element(slices: SliceSet) -> tuple[Figure, list[Axes]]:
    """A figure with a panel per element, two in a row."""
    columns = min(2, len(slices.elements))
    rows = -(-len(slices.elements) // columns)
    figure = Figure(figsize=(6.6 * columns, 0.8 + 3.2 * rows), layout="constrained")
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


def _fsc(source: Source) -> Figure:
    slices = source.against_truth
    halves = None
    if source.is_folder and source.rerun.fused is not None:
        halves = reconstructed_halves(source.rerun.fused, source.volumes)
    return fsc_figure(slices, halves)


def reconstructed_halves(
    whole: SolvedTrial, volumes: SolvedVolumes = NOT_KEPT
) -> tuple[Array, Array]:
    """Fused reconstructions of two independent halves of the counts.

    They are solved at the weights of the whole: a search on each would compare two searches.

    Parameters
    ----------
    whole : a fused trial; binomial thinning splits each of its counts into two.
    volumes : solves them, or has them.

    Returns
    -------
    Two volumes (element, z, y, x).

    Raises
    ------
    BadInput : counts that are not whole numbers.
    """
    trial, at = whole.trial, whole.study.at(whole.trial.cell)

    def solved(half: int) -> Reconstruction:
        # Thinned Poisson counts are independent Poisson counts: what both halves show is no noise.
        series = split_counts(whole.series, seed=0)[half]
        return reconstruct(series, Method.FUSED, trial.weights, at.solver_of(trial))

    first, second = (
        volumes.kept((trial.trial_id, f"half {half} of the counts"), partial(solved, half))
        for half in (0, 1)
    )
    return first.volumes, second.volumes


TILTS_FIGURE = Entry(
    "Fig. 2: the tilts as lines in Fourier space",
    TILTS,
    lambda source: tilts_figure(*source.tilts),
)
SPECTRA_FIGURE = Entry(
    "Fig. 3: power along the principal directions, with cut-off",
    VOLUMES,
    lambda source: spectra_figure(source.against_truth),
)
FSC_FIGURE = Entry(
    "Fig. 3: Fourier shell correlation with the truth and between halves", VOLUMES, _fsc
)
