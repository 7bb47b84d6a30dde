"""Pictures of a tilt series itself: all of its projections, and where alignment has put them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..recon_core.geometry import Mask
from ..recon_core.tiltseries import TiltSeries
from .figures.draw import own_look

Array = NDArray[np.float32]
Masked = np.ma.MaskedArray[Any, np.dtype[np.float32]]

ACROSS = 10  # images in a row of the contact sheet, at most
TOP = 99.8  # percentile drawn white: hot pixels would darken the rest
WIDTH = 1.15  # inches of an image
LABELLED = 7  # tilts of a panel that have their angle below
LEFT_OUT = ListedColormap(["#D55E00"])
SEEN = 0.5  # pixels: shifts below are drawn small, as they are


@own_look()
def contact_sheet(series: TiltSeries) -> Figure:
    """Draw every projection: HAADF, then the maps of each element, in the order of the tilts.

    Parameters
    ----------
    series : any tilt series. The scale of grey is the same for all images of a channel.

    Returns
    -------
    Figure : titled with the angles; the tilt axis runs from left to right. What a mask leaves out
        is orange.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> plan = ta.Acquisition(haadf_tilts=3, chemical_tilts=2)
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=8), plan)
    >>> sum(axes.has_data() for axes in contact_sheet(series).axes)
    11
    """
    rows = [row for channel in _channels(series) for row in _rows(*channel)]
    columns = max(len(images) for _, images, _, _ in rows)
    size = (0.9 + WIDTH * columns, 0.5 + (WIDTH + 0.18) * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images, angles, (low, high)) in zip(grid, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, image, angle in zip(line, images, angles, strict=False):
            axes.imshow(image.data, cmap="gray", vmin=low, vmax=high)
            out = np.ma.getmaskarray(image)
            if out.any():
                axes.imshow(np.ma.masked_where(~out, out), cmap=LEFT_OUT, alpha=0.6, vmin=0, vmax=1)
            words = f"{angle:.4g}°".replace("-", "−") + (", left out" if out.all() else "")
            axes.set_title(words, fontsize=7, pad=2)
        line[0].text(
            -0.12,
            0.5,
            name,
            rotation=90,
            va="center",
            ha="right",
            fontsize=9,
            transform=line[0].transAxes,
        )
    return figure


Row = tuple[str, Masked, list[float], tuple[float, float]]


def _channels(series: TiltSeries) -> Iterator[tuple[str, Masked, tuple[float, ...]]]:
    if len(series.haadf):
        yield "HAADF", _masked(series.haadf, series.haadf_mask), series.haadf_angles_deg
    for name, maps in zip(series.elements, series.chemical, strict=True):
        yield name, _masked(maps, series.chemical_mask), series.chemical_angles_deg


def _masked(images: Array, mask: Mask | None) -> Masked:
    """Images that know which of their pixels are left out."""
    return np.ma.masked_array(images, mask=False if mask is None else ~mask.array())


def _rows(name: str, images: Masked, angles_deg: tuple[float, ...]) -> Iterator[Row]:
    order = np.argsort(angles_deg, kind="stable")
    shown = images.compressed() if images.count() else images.data
    scale = float(shown.min()), max(float(np.percentile(shown, TOP)), float(shown.min()) + 1e-6)
    for first in range(0, len(order), ACROSS):
        part = order[first : first + ACROSS]
        yield name, images[part], [angles_deg[i] for i in part], scale


@own_look()
def alignment_sheet(before: TiltSeries, after: TiltSeries) -> Figure:
    """Draw a series as it was recorded and as it is placed, and the shifts between the two.

    Parameters
    ----------
    before, after : the same tilts without and with a placement.

    Returns
    -------
    Figure : HAADF summed along and across the tilt axis over the tilts, before and after; where all
        is in place, the first is smooth and the second has straight lines. Below, the shifts.
    """
    figure = Figure(figsize=(10.0, 8.0), layout="constrained")
    panels = figure.subplots(3, 2)
    before, after = before.filled(), after.filled()  # hot pixels would outshine all else
    placed = after.haadf_placement.centred(after.haadf)
    order = np.argsort(after.haadf_angles_deg, kind="stable")
    angles = np.array(after.haadf_angles_deg)[order]
    for column, (name, images) in enumerate((("as recorded", before.haadf), ("placed", placed))):
        _profiles(panels[0, column], images[order].mean(axis=2), angles, f"{name}: y over tilts")
        _profiles(panels[1, column], images[order].mean(axis=1), angles, f"{name}: x over tilts")
    for axes, (part, label) in zip(
        panels[2], ((0, "y, across the axis"), (1, "x, along it")), strict=True
    ):
        _shifts(axes, after, part, label)
    return figure


def _profiles(axes: Axes, profiles: Array, angles: NDArray[np.float64], title: str) -> None:
    """One column for each tilt: of uneven steps, or of a tilt that is repeated, all are seen."""
    axes.imshow(profiles.T, cmap="gray", aspect="auto", interpolation="nearest")
    axes.set_title(title, fontsize=10)
    shown = np.unique(np.linspace(0, len(angles) - 1, LABELLED).round().astype(int))
    axes.set_xticks(shown, [f"{angles[i]:.4g}".replace("-", "−") for i in shown])
    axes.set_xlabel("tilt / °, one column each")
    axes.set_ylabel("pixel")


def _shifts(axes: Axes, series: TiltSeries, part: int, label: str) -> None:
    pairs = (
        ("HAADF", series.haadf_placement, series.haadf_angles_deg, "o"),
        ("maps", series.chemical_placement, series.chemical_angles_deg, "s"),
    )
    for name, placement, angles, marker in pairs:
        shifts = np.array(placement.of_each(len(angles))).reshape(-1, 2)
        order = np.argsort(angles)
        places = shifts[order, part] + (placement.axis_offset if part == 0 else 0.0)
        axes.plot(np.array(angles)[order], places, marker, ms=4, label=name)
    axes.set_xlabel("tilt / °")
    axes.set_ylabel("shift / pixels")
    axes.set_title(label, fontsize=10)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -SEEN), max(high, SEEN))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
