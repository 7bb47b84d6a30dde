"""Every figure by name: what it shows, what it is drawn from, and the function that draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...recon_core.errors import BadInput
from ...recon_core.methods import Method, Weights
from ...recon_core.metrics.resolution import split_counts
from ...recon_core.settings import SolverSettings
from ...recon_core.solver import reconstruct
from ...recon_core.tiltseries import TiltSeries
from ..atlas import Atlas
from ..maps import Page, pages
from ..rerun import difference, titled
from ..style import condition_label
from ..table import best_trial
from ..volumes import Array
from .chemistry import stoichiometry_figure
from .curves import curves_figure
from .draw import save_figure
from .fourier import fsc_figure, spectra_figure, tilts_figure
from .landscape import landscape_figure
from .maps import baselines_figure, gain_figure, nrmse_figure, weights_figure
from .pareto import STEPS, Compromise, compromises, pareto_figure
from .pictures import convergence_figure, overlay_figure, slices_figure
from .profiles import profiles_figure
from .render import render_figure
from .search import importance_figure, parallel_figure, search_figure
from .source import Source
from .timeline import timeline_figure

_FIGURES: dict[str, Callable[[Page], Figure | None]] = {
    "nrmse": nrmse_figure,
    "baselines": baselines_figure,
    "gain": gain_figure,
    "weights": weights_figure,
}


def write_figures(atlas: Atlas, folder: Path) -> list[str]:
    """Write every figure that the atlas has into ``folder``; return their names, without suffix."""
    names = []
    for name, figure in _drawn(atlas):
        for kind in ("png", "pdf"):
            save_figure(figure, folder / f"{name}.{kind}")
        names.append(name)
    return names


def _drawn(atlas: Atlas) -> Iterator[tuple[str, Figure]]:
    several = pages(atlas)
    for number, page in enumerate(several):
        suffix = f"_{number}" if len(several) > 1 else ""
        for name, draw in _FIGURES.items():
            if page.axes < 2 and name == "baselines":
                continue  # with fewer than two axes the first figure shows all methods
            if (figure := draw(page)) is not None:
                yield name + suffix, figure


MAP = "DIR or ATLAS"
TRIALS = "DIR"
CELL = "DIR [--cell]"
VOLUMES = "DIR [--cell], or SPECIMEN.h5 RECON.h5..."
TILTS = "DIR [--cell], or TILTS.h5"


@dataclass(frozen=True)
class Entry:
    """A figure of the catalogue; ``needs``: what it is drawn from, as a usage line has it."""

    shows: str
    needs: str
    draw: Callable[[Source], Figure]


def draw(name: str, source: Source) -> Figure:
    """The figure ``name`` of ``source``.

    Raises
    ------
    BadInput : no such figure; what the source cannot give.

    """
    if name not in FIGURES:
        raise BadInput("no such figure", value=name, accepted=", ".join(FIGURES))
    return FIGURES[name].draw(source)


def _of_map(name: str, figure: Callable[[Page], Figure | None]) -> Callable[[Source], Figure]:
    def drawn(source: Source) -> Figure:
        found = figure(source.page)
        if found is None:
            raise BadInput("needs more axes", source=source.paths[0], key=name, accepted="a map")
        return found

    return drawn


def _convergence(source: Source) -> Figure:
    history = source.fused.history
    if not history.iterations:
        raise BadInput("no good fused trial", source=source.paths[0], accepted="another cell")
    title = _named("Convergence of the best fused trial", source)
    return convergence_figure(history, titled(title, source.fused.differences))


def _pareto(source: Source) -> Figure:
    row, best = _best_fused(source), _best_weights(source)
    points = _compromises(source, best)
    found = [difference(row, point.nrmse) for point in points if point.tv == best.tv]
    label = condition_label(dict(source.cell.values))
    return pareto_figure(points, best, titled(label, list(filter(None, found))))


def _compromises(source: Source, best: Weights) -> list[Compromise]:
    """Over the range searched, and at the best trial's weight."""
    tvs = {*np.geomspace(*source.space["tv"], STEPS).tolist(), best.tv}
    return compromises(source.study, source.cell, best.haadf, sorted(tvs))


def _landscape(source: Source) -> Figure:
    title = condition_label(dict(source.cell.values))
    return landscape_figure(source.cell_trials, source.space, title)


def _fsc(source: Source) -> Figure:
    slices = source.against_truth
    halves = None
    if source.is_folder and source.rerun.weights is not None:
        solver = source.study.at(source.cell).solver
        halves = reconstructed_halves(source.rerun.series, source.rerun.weights, solver)
    return fsc_figure(slices, halves)


def reconstructed_halves(
    series: TiltSeries, weights: Weights, solver: SolverSettings
) -> tuple[Array, Array]:
    """Fused reconstructions (element, z, y, x) of two independent halves of the counts.

    Raises
    ------
    BadInput : counts that are not whole numbers.

    """
    first, second = split_counts(series, seed=0)
    return (
        reconstruct(first, Method.FUSED, weights, solver).volumes,
        reconstruct(second, Method.FUSED, weights, solver).volumes,
    )


def _best_fused(source: Source) -> pd.Series:
    best = best_trial(source.cell_trials, Method.FUSED)
    if best is None:
        raise BadInput("no good fused trial", source=source.paths[0], accepted="another cell")
    return best


def _best_weights(source: Source) -> Weights:
    best = _best_fused(source)
    return Weights(haadf=float(best["haadf"]), tv=float(best["tv"]))


def _named(title: str, source: Source) -> str:
    return f"{title}\n{condition_label(dict(source.cell.values))}".strip()


FIGURES: dict[str, Entry] = {
    "nrmse": Entry(
        "Fig. 4a: NRMSE over tilts or SNR, contour, equal-tilts diagonal, rows without HAADF",
        MAP,
        _of_map("nrmse", nrmse_figure),
    ),
    "baselines": Entry(
        "the same map of every method, on one scale", MAP, _of_map("baselines", baselines_figure)
    ),
    "gain": Entry("gain of fusion over every baseline, %", MAP, _of_map("gain", gain_figure)),
    "weights": Entry(
        "Supp. 22: best weights over the map, and how smooth they are",
        MAP,
        _of_map("weights", weights_figure),
    ),
    "curves": Entry(
        "Supp. 21: NRMSE along each axis, where it has converged",
        MAP,
        _of_map("curves", curves_figure),
    ),
    "landscape": Entry(
        "Supp. 23: expected NRMSE and uncertainty over the weights of a cell", CELL, _landscape
    ),
    "slices": Entry(
        "Fig. 4b: slices of truth and every method, per element",
        VOLUMES,
        lambda source: slices_figure(source.comparison),
    ),
    "overlay": Entry(
        "Fig. 4b: the same as colour composites",
        VOLUMES,
        lambda source: overlay_figure(source.comparison),
    ),
    "render": Entry(
        "Fig. 4c: surfaces in 3D (extra: render)",
        VOLUMES,
        lambda source: render_figure(source.comparison),
    ),
    "stoichiometry": Entry(
        "Supp. 11: cation fraction of the oxides, mean and sigma",
        VOLUMES,
        lambda source: stoichiometry_figure(source.against_truth),
    ),
    "convergence": Entry("Supp. 13: the three terms and the residuals", CELL, _convergence),
    "pareto": Entry("Supp. 13: data terms against TV, the L-curve (8 solves)", CELL, _pareto),
    "tilts": Entry(
        "Fig. 2: the tilts as lines in Fourier space",
        TILTS,
        lambda source: tilts_figure(*source.tilts),
    ),
    "spectra": Entry(
        "Fig. 3: power along the principal directions, with cut-off",
        VOLUMES,
        lambda source: spectra_figure(source.against_truth),
    ),
    "profiles": Entry(
        "Fig. 3: line profiles across edges, with widths",
        VOLUMES,
        lambda source: profiles_figure(source.against_truth),
    ),
    "fsc": Entry(
        "Fig. 3: Fourier shell correlation with the truth and between halves", VOLUMES, _fsc
    ),
    "search": Entry(
        "best trial so far against trials and device-hours",
        TRIALS,
        lambda source: search_figure(source.trials, source.axes),
    ),
    "importance": Entry(
        "which weight matters",
        TRIALS,
        lambda source: importance_figure(source.trials, source.space, source.axes),
    ),
    "parallel": Entry(
        "all fused trials in parallel coordinates",
        TRIALS,
        lambda source: parallel_figure(source.trials, source.axes),
    ),
    "timeline": Entry(
        "workers over time, utilisation, failures by class",
        TRIALS,
        lambda source: timeline_figure(source.trials),
    ),
}
"""Every figure, in the order of a report."""
