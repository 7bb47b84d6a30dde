"""All elements in one picture: slices as colour composites (Fig. 4b)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from analysis.pictures import NARROWEST, Array, SliceSet, draw_scale_bar, telling_slice

_COLOURS = ("#0072B2", "#D55E00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#E69F00", "#999999")
_USUAL = {"Au": "#F0E442", "O": "#999999"}
"""Gold is yellow and oxygen, which is everywhere, grey."""


def element_colours(elements: tuple[str, ...]) -> dict[str, str]:
    """A colour per element from Okabe and Ito's colour-blind-safe set."""
    free = iter(c for c in _COLOURS if c not in _USUAL.values())
    return {e: _USUAL[e] if e in _USUAL else next(free, "#FFFFFF") for e in elements}


def composite(images: Array, tops: NDArray[np.float64], colours: Mapping[str, str]) -> Array:
    """RGB (row, column, 3) of images (element, row, column), each from 0 (black) to its top.

    The hue is the mean of the elements' colours weighted by their concentration relative to the
    top, the brightness that of the strongest element: it says what is there, not how much in all.
    """
    tops = np.where(tops > 0, tops, 1.0)
    shares = np.clip(images / tops[:, None, None], 0.0, 1.0)
    palette = np.array([to_rgb(colour) for colour in colours.values()])
    total = np.maximum(shares.sum(axis=0), 1e-12)[..., None]
    hue = np.einsum("erc,ek->rck", shares, palette) / total
    rgb: Array = (hue * shares.max(axis=0)[..., None]).astype(np.float32)
    return rgb


def overlay_figure(slices: SliceSet) -> Figure:
    """Composites of truth and reconstructions: across the tilt axis, and seen along the beam.

    Every element from 0 to the truth's maximum, the same in all columns.
    """
    truth = slices.truth
    colours = element_colours(slices.elements)
    tops = truth.max(axis=(1, 2, 3)).astype(np.float64)
    z, x = int(truth.sum(axis=(0, 2, 3)).argmax()), telling_slice(truth)
    columns = [(slices.reference, truth), *((s.label, s.volumes) for s in slices.shown())]
    size = (max(NARROWEST, 1.1 + 2.3 * len(columns)), 5.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    for (label, volumes), (above, below) in zip(columns, axes.T, strict=True):
        _show(above, composite(volumes[..., x], tops, colours))
        _show(below, composite(volumes[:, z], tops, colours))
        above.set_title(label.replace(" (", "\n("), fontsize=10)
    axes[0, 0].set_ylabel(f"z (beam) upwards, y across\nx = {x}")
    axes[1, 0].set_ylabel(f"y upwards, x (tilt axis) across\nz = {z}")
    draw_scale_bar(axes[0, 0], truth.shape[2], slices.voxel_size_nm)
    patches = [Patch(facecolor=c, edgecolor="0.4", label=e) for e, c in colours.items()]
    figure.legend(handles=patches, loc="outside right center", frameon=False)
    if slices.title:
        figure.suptitle(slices.title, fontsize=11)
    return figure


def _show(ax: Axes, rgb: Array) -> None:
    ax.imshow(rgb, origin="lower")
    ax.set_xticks([])
    ax.set_yticks([])
