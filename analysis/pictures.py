"""Pictures of reconstructions: slices beside the truth, and how a solve converged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.draw import METHOD_STYLE, add_colourbar
from analysis.labels import METHOD_LABELS
from recon_core.metrics import nrmse_by_element
from recon_core.result import History

Array = NDArray[np.float32]


NARROWEST = 3.6
"""Inches that a line of the title of a figure of slices takes."""
_WIDE = 30.0
"""Ratio beyond which a term is drawn on a logarithmic scale."""
_MORE_COLOURS = ("#CC79A7", "#009E73", "#D55E00", "#F0E442")
"""What Okabe and Ito's set has left beside the colours of the methods."""


@dataclass(frozen=True)
class Shown:
    """One reconstruction as figures show it; volumes (element, z, y, x)."""

    label: str
    colour: str
    volumes: Array


@dataclass(frozen=True)
class SliceSet:
    """Truth and reconstructions of one condition, volumes (element, z, y, x).

    ``volumes``: by method, or by any other name (of a file). ``reference``: what ``truth`` is
    called.
    """

    truth: Array
    volumes: Mapping[str, Array]
    elements: tuple[str, ...]
    voxel_size_nm: float
    title: str = ""
    reference: str = "Truth"

    def shown(self) -> tuple[Shown, ...]:
        """The reconstructions: methods in their usual order, then others as given."""
        methods = [
            Shown(label, METHOD_STYLE[method][0], self.volumes[method])
            for method, label in METHOD_LABELS.items()
            if method in self.volumes
        ]
        others = [name for name in self.volumes if name not in list(METHOD_LABELS)]
        return (
            *methods,
            *(
                Shown(n, c, self.volumes[n])
                for n, c in zip(others, cycle(_MORE_COLOURS), strict=False)
            ),
        )


def telling_slice(truth: Array) -> int:
    """The x at which the scarcest element is best represented, so that no row need be empty."""
    content = truth.sum(axis=(1, 2), dtype=np.float64)
    share = content / np.maximum(content.max(axis=1, keepdims=True), 1e-30)
    return int((share.min(axis=0) + 1e-3 * share.mean(axis=0)).argmax())


def slices_figure(slices: SliceSet) -> Figure:
    """Slices across the tilt axis (z upwards, y across), where the missing wedge shows.

    One row per element on one scale of concentration, 0 to the truth's maximum; one column per
    method, with the NRMSE of the whole volume beneath.
    """
    columns: dict[str, Array] = {slices.reference: slices.truth}
    columns |= {shown.label: shown.volumes for shown in slices.shown()}
    x = telling_slice(slices.truth)
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
    """A white bar of a round length, about a quarter of the field."""
    length = round_length(0.25 * pixels * voxel_size_nm)
    width = length / voxel_size_nm
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


def round_length(length: float) -> float:
    """The largest of 1, 2, 5 × 10^n that is not above ``length``."""
    decade = 10.0 ** np.floor(np.log10(length))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= length * (1 + 1e-9)))


def convergence_figure(history: History, title: str = "") -> Figure:
    """The three weighted terms of the objective and the residuals against work."""
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
            positive = np.where(known > 0, known, np.nan)
            ax.plot(history.iterations, positive, style, color=colour, label=label)
    ax.set_yscale("log")
    ax.set_title("Relative residuals")
    if ax.lines:
        ax.legend(frameon=False)
