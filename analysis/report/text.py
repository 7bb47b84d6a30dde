"""The words and tables of a report; plain values for the template, which escapes them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...recon_core.methods import Method
from ...sweep.study import Study
from ...sweep.study.tables import is_volume
from ...sweep.study.trial import GAMMA, SCORES, Score
from ...sweep.versions import versions
from ..atlas import Atlas
from ..cells import cell_text
from ..cost import GAMMA_STEP, GRID_STEP, GridCost, failure_costs, grid_cost, method_costs
from ..figures.maps import ACCURACY
from ..journal import JournalReader
from ..limits import inside
from ..progress import Counts, Progress, duration, planned_trials, progress, trials_left
from ..style import METHOD_LABELS, SCORE_COLUMNS, axis_label, condition_label, value_label

_CELLS_NAMED = 8

ROWS = 2_000
"""Most rows of the page's table of cells; the files of the atlas hold all."""


def page_text(
    reader: JournalReader, atlas: Atlas, folder: Path, notes: Sequence[str]
) -> dict[str, Any]:
    """The context of ``analysis/report/page/report.html`` without data, scripts and style.

    Parameters
    ----------
    reader : the journal of the study.
    atlas : one row per cell.
    folder : the study folder.
    notes : remarks to show at the top.
    """
    study, trials = reader.study, reader.trials
    planned = planned_trials(trials, study)  # once: a search over many cells is fitted for it
    state = progress(trials, study, planned)
    return {
        "name": study.study.name,
        "partial": "" if state.complete else _partial(state),
        "notices": [*_best_by(atlas), *reader.notes, *_edges(atlas), *notes],
        "facts": _facts(study, state, trials),
        "methods": _methods(atlas, study.search.methods),
        "accuracy": ACCURACY,
        "header": [_header(atlas, str(name)) for name in _shown_columns(atlas)],
        "rows": _rows(atlas),
        "rows_of": f"The first {ROWS} of {len(atlas.table)} cells; all are in atlas.csv."
        if len(atlas.table) > ROWS
        else "",
        "costs": method_costs(trials, study, planned),
        "labels": METHOD_LABELS,
        "failures": failure_costs(trials),
        "solver": state.solver,
        "hours": state.device_hours,
        "grid": _grid(grid_cost(trials, study, planned), study),
        "missing": _missing(atlas, study, trials_left(trials, study, planned)),
        "study_toml": study.toml(),
        "commands": _commands(folder),
        "versions": versions(),
    }


def shell_name(folder: Path, rest: str = "") -> str:
    """The name of the folder, quoted for a shell in its parent folder.

    Parameters
    ----------
    folder : the study folder.
    rest : appended to the name before quoting.

    Examples
    --------
    >>> shell_name(Path("/data/my study"), "/study.toml")
    "'my study/study.toml'"
    """
    return shlex.quote(f"{folder.resolve().name or '.'}{rest}")


def _commands(folder: Path) -> list[tuple[str, str]]:
    """Commands to paste into a shell in the folder's parent, and what each does."""
    name, study = shell_name(folder), shell_name(folder, "/study.toml")
    return [
        (f"tomoatlas run {study} --out {shell_name(folder, '_again')}", "run everything again"),
        (f"tomoatlas run {study} --out {name}", "resume where the journal ends"),
        (f"tomoatlas report {name} --cell all", "rebuild this page, with slices of every cell"),
    ]


def _partial(state: Progress) -> str:
    return (
        f"Partial: {state.counted} trials have ended, "
        f"{state.cells_done} of {state.cells} cells are complete. Values can still improve."
    )


def _facts(study: Study, state: Progress, trials: pd.DataFrame) -> dict[str, str]:
    """The table at the top of the page."""
    specimen = study.specimen
    size = "" if specimen.from_file else f", {specimen.size}³ voxels, seed {specimen.seed}"
    # Every value is listed: the page must suffice to repeat the study.
    axes = "; ".join(
        f"{axis_label(path)} {', '.join(value_label(v) for v in values)}"
        for path, values in study.axes.items()
    )
    started = trials["started"].dropna()
    return {
        "specimen": Path(specimen.kind).name + size,
        "axes": axes or "none (one cell)",
        "cells": str(state.cells),
        "trials ended": f"{state.counted}, {state.ok} good",
        "device-hours": f"{state.device_hours:.3f}",
        "last trial started": _minute(str(started.max())) if len(started) else "none yet",
    }


def _minute(started: str) -> str:
    """When a trial started, to the minute; the journal has times of UTC."""
    return f"{started[:16].replace('T', ' ')} UTC"


def _edges(atlas: Atlas) -> list[str]:
    """Notes on best weights at the edge of the search space, which are bounds and not optima."""
    notes = []
    for weight in atlas.weight_names:
        low, high = atlas.setting(f"search.space.{weight}")
        found = atlas.weights(weight)
        least, most = inside(weight, low, high)
        # NaN, where the weight has no effect, compares false and is not counted.
        count = int(((found < least) | (found > most)).sum())
        if count:
            notes.append(
                f"{count} of {len(found)} cells have their best {weight} at the edge of its "
                f"search space, {low:g} to {high:g}: a wider space may do better."
            )
    return notes


def _best_by(atlas: Atlas) -> list[str]:
    """What the best trials are the best by, where that is not the NRMSE."""
    if atlas.score is Score.NRMSE:
        return []
    label = SCORES[atlas.score].label
    return [f"Best trials are those of the lowest {label} (search.score), not of the lowest NRMSE."]


def _methods(atlas: Atlas, planned: Collection[Method]) -> list[dict[str, Any]]:
    """Each method that the study runs, over the cells that have a result from it."""
    found = []
    for method, column in reversed(SCORE_COLUMNS.items()):
        scores = atlas.table[column].dropna()
        if method not in planned and scores.empty:
            continue
        found.append(
            {
                "label": METHOD_LABELS[method],
                "cells": len(scores),
                "missing": len(atlas.table) - len(scores),
                "best": _shown(float(scores.min()), ".3f"),
                "median": _shown(float(scores.median()), ".3f"),
                "worst": _shown(float(scores.max()), ".3f"),
                "accurate": int((scores <= ACCURACY).sum()),
            }
        )
    return found


def _shown_columns(atlas: Atlas) -> list[Any]:
    """All but the revision, which a notice names where it is not this version's."""
    return [name for name in atlas.table.columns if name != "revision"]


def _header(atlas: Atlas, name: str) -> str:
    return axis_label(name) if name in atlas.axes else name


def _rows(atlas: Atlas) -> list[list[tuple[str, str]]]:
    """Every value of every cell as shown, and as sorted: a missing value sorts last."""
    table = atlas.with_acting_weights().head(ROWS)
    shown = _shown_columns(atlas)
    digits = {name: ".3f" if str(name).startswith("nrmse") else ".3g" for name in shown}
    digits |= dict.fromkeys(atlas.axes, ".10g")  # as the study has them
    columns = [
        [(_shown(value, digits[name]), _sortable(value)) for value in table[name].tolist()]
        for name in shown
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _sortable(value: object) -> str:
    # An empty key sorts last in both directions; see table.js.
    return "" if isinstance(value, float) and not math.isfinite(value) else str(value)


def _shown(value: object, digits: str) -> str:
    """A value as text; a dash for a number that is not known."""
    if isinstance(value, float):
        return f"{value:{digits}}" if math.isfinite(value) else "–"
    return str(value)


def _grid(grid: GridCost | None, study: Study) -> dict[str, Any] | None:
    if grid is None:
        return None
    points = ", ".join(
        f"{METHOD_LABELS[method]}: {count}" for method, count in grid.points.items() if count > 1
    )
    return {
        "step": f"{GRID_STEP:g}",
        "points": points or "one point",
        "space": _space(study.search.space.of(Method.FUSED)),
        "ratio": grid.hours / grid.search_hours if grid.search_hours else math.nan,
        "longer": duration(3600.0 * grid.hours),
    }


def _space(space: Mapping[str, tuple[float, float]]) -> str:
    """Bounds in words; those of the exponent with its own step."""
    texts = [f"{name} {low:g} to {high:g}" for name, (low, high) in space.items()]
    return ", ".join(texts) + (f" in steps of {GAMMA_STEP:g}" if GAMMA in space else "")


def _missing(atlas: Atlas, study: Study, left: Counts) -> list[str]:
    """Gaps in the maps, unfinished cells and missing volumes, by name."""
    kinds = {study.specimen.kind, *map(str, study.axes.get("specimen.kind", ()))}
    gone = sorted(kind for kind in kinds if is_volume(kind) and not Path(kind).is_file())
    found = [f"The volume {kind} is missing: its trials cannot be run again." for kind in gone]
    for method in study.search.methods:
        empty = np.flatnonzero(~np.isfinite(atlas.table[SCORE_COLUMNS[method]].to_numpy()))
        if len(empty):
            where = _named(study, empty, "any")
            found.append(f"{METHOD_LABELS[method]} has no good trial in {where}.")
    unfinished = np.flatnonzero(left)
    if len(unfinished):
        found.append(f"Trials are still to come in {_named(study, unfinished, 'every')}.")
    return found


def _named(study: Study, places: NDArray[np.int64], all_of_them: str) -> str:
    cells = study.cells()
    if len(places) == len(cells):
        return f"{all_of_them} cell" if len(cells) > 1 else "the only cell"
    # A map may have thousands of cells; a few examples and a count are readable.
    shown = "; ".join(
        condition_label(dict(cells[place].values)) or cell_text(cells[place])
        for place in places[:_CELLS_NAMED]
    )
    more = f"; and {len(places) - _CELLS_NAMED} more" if len(places) > _CELLS_NAMED else ""
    return f"{len(places)} of {len(cells)} cells ({shown}{more})"
