"""The report of a study folder: one self-contained page, and its figures as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import html
from analysis.atlas import Atlas, write_atlas
from analysis.figures import baselines_figure, gain_figure, nrmse_figure, weights_figure
from analysis.labels import axis_label, condition_label, value_label
from analysis.maps import Page, pages
from analysis.pictures import convergence_figure, slices_figure
from analysis.progress import Progress, duration, progress
from analysis.save import figure_bytes
from analysis.slices import slices_of, telling_cell
from analysis.table import load_trials
from analysis.versions import versions
from sweep.folder import StudyFolder, write_aside
from sweep.study import Study

_FIGURES: dict[str, tuple[Callable[[Page], Figure | None], str]] = {
    "nrmse": (nrmse_figure, "Mean NRMSE over the elements, best trial of each cell."),
    "baselines": (
        baselines_figure,
        "Every method at its own best weights, on one scale. The best-stopped ML knows the truth: "
        "it is a bound, not a method.",
    ),
    "gain": (gain_figure, "What the HAADF signal adds to the best reconstruction without it."),
    "weights": (
        weights_figure,
        "Best weights; colours and heights span the range searched. Without HAADF tilts the HAADF "
        "weight acts on nothing.",
    ),
}
_NEAR = 1.3
"""Factor from a bound of the search space within which a weight is at its edge."""

_HATCHED = " Hatched: no result."


@dataclass(frozen=True)
class _Picture:
    name: str
    figure: Figure
    caption: str


def write_report(folder: str | Path, slices: bool = False) -> Path:
    """Write ``atlas.csv``, ``atlas.h5`` and ``report/`` of a study folder; return ``index.html``.

    Works on an unfinished study, and says so on the page. ``slices`` adds slices and convergence of
    one cell, whose best trials are reconstructed again for it.

    Raises
    ------
    BadInput : not a study folder; ``slices`` of a study without any result.

    """
    files = StudyFolder(folder)
    atlas = write_atlas(folder)
    study, trials = files.study(), load_trials(folder)
    pictures = _map_pictures(atlas) + (_slice_pictures(study, trials) if slices else [])
    files.report.mkdir(exist_ok=True)
    shown = [_saved(picture, files.report) for picture in pictures]
    parts = [
        *_opening(study, progress(trials, study)),
        *shown,
        *_edges(atlas),
        *_cells(atlas),
        *_record(progress(trials, study)),
        *_reproduction(study, files.path),
    ]
    index = files.report / "index.html"
    text = html.page(f"{study.study.name}: tomoatlas report", parts)
    write_aside(index, lambda path: path.write_text(text, encoding="utf-8"))
    return index


def _map_pictures(atlas: Atlas) -> list[_Picture]:
    found = []
    several = pages(atlas)
    for number, page in enumerate(several):
        suffix = f"_{number}" if len(several) > 1 else ""
        where = f" {condition_label(page.fixed)}." if page.fixed else ""
        for name, (draw, caption) in _FIGURES.items():
            if page.axes < 2 and name == "baselines":
                continue  # with fewer than two axes the first figure shows all methods
            if (figure := draw(page)) is not None:
                note = _HATCHED if page.axes == 2 else ""
                found.append(_Picture(name + suffix, figure, caption + note + where))
    return found


def _slice_pictures(study: Study, trials: pd.DataFrame) -> list[_Picture]:
    rerun = slices_of(study, telling_cell(study, trials), trials)
    where = rerun.slices.title
    return [
        _Picture(
            "slices",
            slices_figure(rerun.slices),
            "Truth and the best trial of each method; one scale of concentration per element.",
        ),
        _Picture(
            "convergence",
            convergence_figure(rerun.history, f"Fused, best weights. {where}".strip()),
            "Weighted terms of the objective and residuals of the best fused trial.",
        ),
    ]


def _saved(picture: _Picture, folder: Path) -> str:
    """Write the figure as PNG and PDF; return it as HTML."""
    png = figure_bytes(picture.figure, "png")
    pdf = figure_bytes(picture.figure, "pdf")
    write_aside(folder / f"{picture.name}.png", lambda path: path.write_bytes(png))
    write_aside(folder / f"{picture.name}.pdf", lambda path: path.write_bytes(pdf))
    return html.picture(png, picture.caption)


def _opening(study: Study, state: Progress) -> list[str]:
    parts = [html.heading(study.study.name, 1)]
    if not state.complete:
        parts.append(
            html.notice(
                f"Partial: {state.done} of {state.planned} trials have ended, "
                f"{state.cells_done} of {state.cells} cells are complete. Values can still improve."
            )
        )
    specimen = study.specimen
    size = "" if specimen.from_file else f", {specimen.size}³ voxels, seed {specimen.seed}"
    axes = "; ".join(
        f"{axis_label(path)}: {', '.join(value_label(v) for v in values)}"
        for path, values in study.axes.items()
    )
    pairs = {"specimen": specimen.kind + size, "axes": axes or "none (one cell)"}
    pairs |= {"cells": str(state.cells), "trials ended": f"{state.done} of {state.planned}"}
    return [*parts, html.facts(pairs)]


def _edges(atlas: Atlas) -> list[str]:
    """A best weight at the edge of the search is a bound, not an optimum: say so."""
    notes = []
    for weight in ("haadf", "tv"):
        low, high = atlas.setting(f"search.space.{weight}")
        found = atlas.weights(weight)
        count = int(((found < _NEAR * low) | (found > high / _NEAR)).sum())
        if count:
            notes.append(
                html.notice(
                    f"{count} of {len(found)} cells have their best {weight} at the edge of its "
                    f"search space, {low:g} to {high:g}: a wider space may do better."
                )
            )
    return notes


def _cells(atlas: Atlas) -> list[str]:
    header = [axis_label(name) if name in atlas.axes else name for name in atlas.table.columns]
    rows = [[_cell_text(value) for value in row] for row in atlas.table.itertuples(index=False)]
    return [html.heading("Cells"), html.table(header, rows)]


def _cell_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if np.isfinite(value) else "–"
    return str(value)


def _record(state: Progress) -> list[str]:
    hours = {
        method: f"{seconds / 3600:.3f} device-hours ({duration(seconds)})"
        for method, seconds in state.device_seconds.items()
    }
    hours["all"] = f"{state.device_hours:.3f} device-hours"
    failures = {kind: str(count) for kind, count in state.failures.items()}
    failed = html.facts(failures) if failures else html.paragraph("None.")
    solver = {status: str(count) for status, count in state.solver.items()}
    return [
        html.heading("Cost"),
        html.facts(hours),
        html.heading("How the solves of good trials ended"),
        html.facts(solver),
        html.heading("Failures"),
        failed,
    ]


def _reproduction(study: Study, folder: Path) -> list[str]:
    return [
        html.heading("How to reproduce"),
        html.code(f"tomoatlas run study.toml --out {folder.name or 'out'}"),
        html.paragraph("The study, with every default written out (study.toml):"),
        html.code(study.toml()),
        html.facts(versions()),
    ]
