"""Recorded counts beside those that volumes predict, and volumes without each term (Supp. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...recon_core.device import CPU
from ...recon_core.errors import BadInput
from ...recon_core.methods import Method
from ...recon_core.metrics.misfit import expected_counts
from ...recon_core.solver.normalisation import as_solved
from ...recon_core.tiltseries import TiltSeries
from ..rerun import Array
from ..style import METHOD_LABELS
from . import CELL, Entry
from .pictures import slices_figure
from .source import Source

_SIGMAS = 3.0
"""Ends of the colours of residuals, in standard deviations of the counts."""


def projections_figure(
    series: TiltSeries, haadf: Array, chemical: Array, title: str = ""
) -> Figure:
    """The projection nearest to 0° of HAADF and of every element: recorded, predicted, residual.

    Recorded and predicted counts of a row have one scale; a residual is in standard deviations of
    Poisson counts, so that a structure in it is what the model cannot explain.

    Parameters
    ----------
    series : the counts.
    haadf : predicted (angle, y, x); not drawn of a series without HAADF.
    chemical : predicted (element, angle, y, x).
    title : the condition.
    """
    at = _nearest(series.chemical_angles_deg)
    rows = [(e, series.chemical[i, at], chemical[i, at]) for i, e in enumerate(series.elements)]
    if series.haadf_angles_deg:
        upright = _nearest(series.haadf_angles_deg)
        rows.insert(0, ("HAADF", series.haadf[upright], haadf[upright]))
    figure = Figure(figsize=(9.0, 0.9 + 2.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for row, (name, recorded, predicted) in zip(axes, rows, strict=True):
        top = float(max(np.percentile(recorded, 99.5), predicted.max(), 1e-9))
        for ax, image in zip(row, (recorded, predicted), strict=False):
            shown = ax.imshow(image, cmap="inferno", vmin=0.0, vmax=top, origin="lower")
        figure.colorbar(shown, ax=row[:2], label="counts", pad=0.02)
        off = (recorded - predicted) / np.sqrt(np.maximum(predicted, 1e-9))
        shown = row[2].imshow(off, cmap="PuOr", vmin=-_SIGMAS, vmax=_SIGMAS, origin="lower")
        figure.colorbar(shown, ax=row[2], label="(recorded - predicted) / σ", pad=0.02)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
    _name(axes[0], ("recorded", "predicted by the fused volumes", "residual"))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    angle = f"at {series.chemical_angles_deg[at]:g}°, tilt axis to the right"
    figure.suptitle("\n".join(filter(None, (title, angle))), fontsize=11)
    return figure


def _nearest(angles_deg: Sequence[float]) -> int:
    return int(np.argmin(np.abs(angles_deg)))


def _name(axes: Sequence[Axes], titles: Sequence[str]) -> None:
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=10)


def _projections(source: Source) -> Figure:
    found = source.fused
    if found.fused is None:
        raise BadInput("no good fused trial", source=source.paths[0], accepted="another cell")
    settings = source.study.at(source.cell).solver
    solved = found.fused.solved
    known, law = as_solved(found.fused.series, solved, settings, CPU)
    expected = expected_counts(known, solved.volumes, law)
    return projections_figure(known, expected.haadf, expected.chemical, found.slices.title)


def _terms(source: Source) -> Figure:
    """The fused volumes, and those without TV, without HAADF, and without both."""
    weights, found = source.weights, source.rerun
    # The other weights stay: a search for each would compare searches, not terms.
    without = source.study.trial(source.cell, Method.FUSED, 0, replace(weights, tv=0.0))
    volumes = {
        "All terms": found.slices.volumes[Method.FUSED],
        "Without TV": source.volumes.of(source.study, without).solved.volumes,
    }
    others = {
        Method.CHEMISTRY_TV: "Without HAADF",
        Method.ML: "Without both",
    }
    volumes |= {
        f"{name} ({METHOD_LABELS[method]})": found.slices.volumes[method]
        for method, name in others.items()
        if method in found.slices.volumes
    }
    return slices_figure(replace(found.slices, volumes=volumes))


PROJECTIONS_FIGURE = Entry(
    "Supp. 15-19: recorded projections beside those that the fused volumes predict",
    CELL,
    _projections,
)
TERMS_FIGURE = Entry(
    "Supp. 2, 3: slices without TV, without HAADF, without both (one solve more)", CELL, _terms
)
