"""Pictures of volumes: slices beside the truth, colour composites, and how a solve converged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.metrics import nrmse_by_element
from ...recon_core.result import History
from ..rerun import Array, SliceSet, representative_slice, round_length, titled
from ..style import condition_title
from . import CELL, VOLUMES, Entry
from .draw import add_colourbar
from .source import Source

_COLOURS = ("#0072B2", "#D55E00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#E69F00", "#999999")
# Gold is yellow, and oxygen, present in every oxide, is grey.
_USUAL = {"Au": "#F0E442", "O": "#999999"}


def element_colours(elements: tuple[str, ...]) -> dict[str, str]:
    """A colour per element from the colour-blind-safe set of Okabe and Ito (2008).

    Parameters
    ----------
    elements : chemical symbols; gold and oxygen have fixed colours, the others take the free ones
        in order.

    Returns
    -------
    Element → colour as ``#RRGGBB``; white once the set is used up.

    Examples
    --------
    >>> element_colours(("Co", "O", "Au"))
    {'Co': '#0072B2', 'O': '#999999', 'Au': '#F0E442'}
    """
    free = iter(c for c in _COLOURS if c not in _USUAL.values())
    return {e: _USUAL[e] if e in _USUAL else next(free, "#FFFFFF") for e in elements}


def composite(images: Array, tops: NDArray[np.float64], colours: Mapping[str, str]) -> Array:
    """One RGB image of all elements: the hue shows which are there, the brightness how strong they
    are.

    The hue is the mean of the elements' colours weighted by their concentration relative to the
    top; the brightness is that of the strongest element. Overlapping elements therefore mix instead
    of saturating to white.

    Parameters
    ----------
    images : concentrations (element, row, column).
    tops : concentration (element,) drawn at full brightness; an element whose top is 0 is ignored.
    colours : element → colour, in the order of ``images``.

    Returns
    -------
    RGB image (row, column, 3), float32 from 0 to 1.
    """
    # An element absent from the truth would divide by zero.
    tops = np.where(tops > 0, tops, 1.0)
    shares = np.clip(images / tops[:, None, None], 0.0, 1.0)
    palette = np.array([to_rgb(colour) for colour in colours.values()])
    total = np.maximum(shares.sum(axis=0), 1e-12)[..., None]
    # Normalised by the sum of the shares, so that the hue does not depend on the total
    # concentration.
    hue = np.einsum("erc,ek->rck", shares, palette) / total
    rgb: Array = (hue * shares.max(axis=0)[..., None]).astype(np.float32)
    return rgb


def overlay_figure(slices: SliceSet) -> Figure:
    """Composites of truth and reconstructions: a slice across the tilt axis, and one across the
    beam.

    Every element is scaled from 0 to the truth's maximum, the same in all columns.

    Parameters
    ----------
    slices : the truth and the reconstructions, volumes (element, z, y, x).
    """
    truth = slices.truth
    colours = element_colours(slices.elements)
    tops = truth.max(axis=(1, 2, 3)).astype(np.float64)
    # The slice with most material across the beam; across the tilt axis the most telling one.
    z, x = int(truth.sum(axis=(0, 2, 3)).argmax()), representative_slice(truth)
    columns = [(slices.reference, truth), *((s.label, s.volumes) for s in slices.shown())]
    size = (max(NARROWEST, 1.1 + 2.3 * len(columns)), 5.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    for (label, volumes), (above, below) in zip(columns, axes.T, strict=True):
        _show_composite(above, composite(volumes[..., x], tops, colours))
        _show_composite(below, composite(volumes[:, z], tops, colours))
        above.set_title(label.replace(" (", "\n("), fontsize=10)
    axes[0, 0].set_ylabel(f"z (beam) upwards, y across\nx = {x}")
    axes[1, 0].set_ylabel(f"y upwards, x (tilt axis) across\nz = {z}")
    draw_scale_bar(axes[0, 0], truth.shape[2], slices.voxel_size_nm)
    patches = [Patch(facecolor=c, edgecolor="0.4", label=e) for e, c in colours.items()]
    figure.legend(handles=patches, loc="outside right center", frameon=False)
    if slices.title:
        figure.suptitle(slices.title, fontsize=11)
    return figure


def _show_composite(ax: Axes, rgb: Array) -> None:
    ax.imshow(rgb, origin="lower")
    ax.set_xticks([])
    ax.set_yticks([])


NARROWEST = 3.6
"""Least width in inches: the title of a figure of slices fits on one line."""
# Ratio of largest to smallest value above which a term is drawn on a logarithmic scale.
_WIDE = 30.0


def slices_figure(slices: SliceSet) -> Figure:
    """Slices across the tilt axis (z upwards, y across), where the missing wedge shows.

    One row per element on one scale of concentration, from 0 to the truth's maximum; one column per
    method, with the NRMSE of the whole volume beneath.

    Parameters
    ----------
    slices : the truth and the reconstructions, volumes (element, z, y, x).
    """
    columns: dict[str, Array] = {slices.reference: slices.truth}
    columns |= {shown.label: shown.volumes for shown in slices.shown()}
    x = representative_slice(slices.truth)
    width = max(NARROWEST, 1.0 + 2.1 * len(columns))
    figure = Figure(figsize=(width, 0.8 + 2.2 * len(slices.elements)), layout="constrained")
    axes = figure.subplots(len(slices.elements), len(columns), squeeze=False)
    for column, (label, volumes) in enumerate(columns.items()):
        scores = nrmse_by_element(volumes, slices.truth)
        axes[0, column].set_title(label.replace(" (", "\n("), fontsize=10)
        for row in range(len(slices.elements)):
            ax = axes[row, column]
            _show(ax, volumes[row, :, :, x], float(slices.truth[row].max()))
            ax.set_xlabel("" if column == 0 else f"NRMSE {scores[row]:.3f}", fontsize=9)
    _finish(figure, axes, slices, x)
    return figure


def _show(ax: Axes, image: Array, top: float) -> None:
    # Concentrations are not negative; values above the truth's maximum saturate.
    ax.imshow(image, cmap="inferno", vmin=0.0, vmax=top or 1.0, origin="lower")
    ax.set_xticks([])
    ax.set_yticks([])


def _finish(figure: Figure, axes: NDArray[np.object_], slices: SliceSet, x: int) -> None:
    for row, element in enumerate(slices.elements):
        axes[row, 0].set_ylabel(element, rotation=0, ha="right", va="center", fontsize=12)
        add_colourbar(figure, axes[row, -1].images[0], list(axes[row]), "concentration")
    draw_scale_bar(axes[0, 0], slices.truth.shape[2], slices.voxel_size_nm)
    gap = " " if axes.shape[1] > 1 else "\n"
    plane = f"slice x = {x}{gap}across the tilt axis, beam upwards"
    figure.suptitle(f"{slices.title}\n{plane}" if slices.title else plane, fontsize=11)


def draw_scale_bar(ax: Axes, pixels: int, voxel_size_nm: float) -> None:
    """A white bar of a round length, about a quarter of the field.

    Parameters
    ----------
    ax : axes showing an image in units of pixels.
    pixels : width of the image.
    voxel_size_nm : edge of a pixel, nm.
    """
    length = round_length(0.25 * pixels * voxel_size_nm)
    width = length / voxel_size_nm
    # In units of pixels of the image, so that the bar scales with the panel.
    start = 0.05 * pixels
    ax.add_patch(Rectangle((start, start), width, max(1.0, 0.02 * pixels) / 1.5, color="white"))
    ax.text(
        start + width / 2,
        start + 0.04 * pixels,
        f"{length:g} nm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=8,
    )


def convergence_figure(history: History, title: str = "") -> Figure:
    """The three weighted terms of the objective and the residuals of ADMM against work (Supp. 13).

    Parameters
    ----------
    history : what the solver recorded; ``iterations`` counts pairs of forward and back projections.
    title : written above the panels; empty for none.
    """
    figure = Figure(figsize=(9.0, 6.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    terms = {
        "HAADF term": history.haadf,
        "Chemical term": history.chemistry,
        "TV term": history.tv,
    }
    for ax, (label, values) in zip(axes.flat, terms.items(), strict=False):
        ax.plot(history.iterations, values, color="#0072B2")
        ax.set_title(label)
        # The Poisson term is known up to a constant and may be negative: then a linear scale.
        if min(values, default=0.0) > 0 and max(values) > _WIDE * min(values):
            ax.set_yscale("log")
    _residuals(axes[1, 1], history)
    for ax in axes[:, 0]:
        ax.set_ylabel("weighted term")
    axes[0, 1].set_ylabel("weighted term")
    for ax in axes[1]:
        ax.set_xlabel("work / pairs of projections")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title)
    return figure


def _residuals(ax: Axes, history: History) -> None:
    lines = {"primal": history.primal, "dual": history.dual, "change": history.change}
    styles = (("-", "#0072B2"), ("--", "#D55E00"), (":", "#009E73"))
    for (label, values), (style, colour) in zip(lines.items(), styles, strict=True):
        known = np.asarray(values, dtype=float)
        if np.any(known > 0):
            # Zero, as before the first check, has no place on a logarithmic axis.
            positive = np.where(known > 0, known, np.nan)
            ax.plot(history.iterations, positive, style, color=colour, label=label)
    ax.set_yscale("log")
    ax.set_title("Relative residuals")
    if ax.lines:
        ax.legend(frameon=False)


def _convergence(source: Source) -> Figure:
    history = source.fused.history
    if not history.iterations:
        raise BadInput("no good fused trial", source=source.paths[0], accepted="another cell")
    cell = condition_title(dict(source.cell.values))
    title = f"Convergence of the best fused trial\n{cell}".strip()
    return convergence_figure(history, titled(title, source.fused.differences))


SLICES_FIGURE = Entry(
    "Fig. 4b: slices of truth and every method, per element",
    VOLUMES,
    lambda source: slices_figure(source.comparison),
)
OVERLAY_FIGURE = Entry(
    "Fig. 4b: the same as colour composites",
    VOLUMES,
    lambda source: overlay_figure(source.comparison),
)
CONVERGENCE_FIGURE = Entry("Supp. 13: the three terms and the residuals", CELL, _convergence)
