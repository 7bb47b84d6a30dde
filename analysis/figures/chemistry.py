"""Stoichiometry of the oxides: histograms of the cation fraction (Supp. 11)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.metrics import cation_fractions
from ..rerun import SliceSet
from . import VOLUMES, Entry

BINS = np.linspace(0.0, 1.0, 81)

DEPTH = 1
"""Voxels by which the interior of an oxide keeps clear of its surface."""

BIASED = (
    "surfaces are biased, as blur adds what lies beside; means are, where TV shrinks cation and\n"
    "oxygen unequally or HAADF replaces one by the other; σ is noise and blur, and shows neither"
)


def stoichiometry_figure(slices: SliceSet) -> Figure:
    """Distribution of c/(c + c_O) over the voxels of every oxide, mean ± sigma per method.

    All voxels above, those at least one voxel inside the oxide below: those at its surface mix with
    what lies beside. Bars are shares of the voxels. A voxel in which a method has neither cation
    nor oxygen has no fraction: the moments leave it out, and the legend gives the share of such
    voxels.

    Parameters
    ----------
    slices : the truth, which defines the oxides' voxels, and the reconstructions, volumes (element,
        z, y, x).

    Raises
    ------
    BadInput : the specimen has no oxide.
    """
    cations = tuple(cation_fractions(slices.truth, slices.truth, slices.elements))
    if not cations:
        raise BadInput("no oxide whose stoichiometry could be drawn", value=slices.elements)
    figure = Figure(figsize=(max(7.6, 5.4 * len(cations)), 8.2), layout="constrained")
    axes = figure.subplots(2, len(cations), squeeze=False)
    for row, depth, where in ((axes[0], 0, "all"), (axes[1], DEPTH, "interior")):
        truth = cation_fractions(slices.truth, slices.truth, slices.elements, depth)
        for ax, cation in zip(row, cations, strict=True):
            ax.set_xlabel(f"{cation} / ({cation} + O)")
            if cation not in truth:
                ax.set_title(f"{cation} oxide, {where}", fontsize=10)
                ax.text(0.5, 0.5, "no voxel that deep", ha="center", transform=ax.transAxes)
                continue
            values = truth[cation]
            ax.axvline(float(values.mean()), color="black", linewidth=1)
            title = f"{cation} oxide, {where}: truth {values.mean():.2f} ({values.size} voxels)"
            ax.set_title(title, fontsize=10)
            _draw_methods(ax, slices, cation, values.size, depth)
        row[0].set_ylabel("share of voxels per bin / %")
    figure.suptitle("\n".join(filter(None, ("Stoichiometry, mean ± σ", slices.title))))
    figure.supxlabel(BIASED, fontsize=8)
    return figure


def _draw_methods(ax: Axes, slices: SliceSet, cation: str, voxels: int, depth: int) -> None:
    shares = {}
    for shown in slices.shown():
        # Voxels are those of the truth's oxide, for every method: a method cannot choose its
        # sample.
        found = cation_fractions(shown.volumes, slices.truth, slices.elements, depth)
        values = found[cation]
        share = 100.0 * np.histogram(values, BINS)[0] / voxels
        label = f"{shown.label}: {_moments(values, voxels)}"
        ax.stairs(share, BINS, color=shown.colour, linewidth=1.6, label=label)
        shares[shown.colour] = share
    _frame(ax, shares)
    ax.spines[["top", "right"]].set_visible(False)
    if shares:
        ax.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def _moments(values: NDArray[np.float64], voxels: int) -> str:
    """Mean and sigma over the voxels that contain cation or oxygen, and the share of those
    without.
    """
    if not values.size:
        return "neither cation nor O anywhere"
    empty = 1.0 - values.size / voxels
    lost = f"; {max(empty, 0.01):.0%} of the voxels hold neither" if empty > 0 else ""
    return f"{values.mean():.2f} ± {values.std():.2f}{lost}"


def _frame(ax: Axes, shares: Mapping[str, NDArray[np.float64]]) -> None:
    """Set heights that suit the inner bins; an end bin that exceeds them is cut, with its number.

    Noise puts many voxels of a converged ML reconstruction at exactly 0 or 1.
    """
    # The end bins are left out: they would flatten the distribution between them.
    top = 1.25 * max([1.0, *(float(share[1:-1].max()) for share in shares.values())])
    ax.set(xlim=(-0.01, 1.01), ylim=(0.0, top))
    for colour, share in shares.items():
        for place, side in ((0, "left"), (-1, "right")):
            if share[place] > top:
                number, x = f" {share[place]:.0f} % ", float(BINS[place])
                ax.text(x, 1.01 * top, number, color=colour, ha=side, va="bottom", fontsize=8)


STOICHIOMETRY_FIGURE = Entry(
    "Supp. 11: cation fraction of the oxides, all voxels and interior",
    VOLUMES,
    lambda source: stoichiometry_figure(source.against_truth),
)
