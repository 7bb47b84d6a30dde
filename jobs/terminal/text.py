"""What the commands about studies print.

Each output comes as facts, plain values for ``--json``, and as text made from them for people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...analysis.atlas import Atlas, atlas_of
from ...analysis.figures.maps import ACCURACY
from ...analysis.journal import JournalReader
from ...analysis.progress import counted, duration, progress
from ...analysis.style import (
    CHEMICAL_TILTS,
    HAADF_TILTS,
    axis_label,
    condition_label,
    value_label,
)
from ...recon_core.memory import GIB
from ...sweep.estimate import Estimate
from ...sweep.price import ON_A_CORE, Price, gpu_memory
from ...sweep.study import Study
from ...sweep.study.trial import GAMMA, SCORES, Score
from ..batch.capacity import feeding_lines, need_text

SHOWN_CELLS = 12
"""Most cells that each have a line; of more a map is drawn, which fits a screen."""
_WEIGHTS = ("haadf", "tv", GAMMA)
_RESULTS = (*_WEIGHTS, "score", "nrmse", "trials", "failed")


def estimate_text(
    study: Study,
    cost: Estimate,
    price: Price = ON_A_CORE,
    walltime: float | None = None,
    per_node: int = 1,
) -> str:
    """Cells, trials, memory, time and device-hours of a study, one per line.

    Parameters
    ----------
    study : the study, not yet run.
    cost : of the study, at the price.
    price : what a trial takes, and on what.
    walltime : seconds within which it shall end, for the number of devices; None for no limit.
    per_node : devices of a node.
    """
    need = (
        [] if walltime is None else [f"enough         {need_text(cost, walltime, price, per_node)}"]
    )
    axes = [f"  {axis_label(path)}: {_listed(values)}" for path, values in study.axes.items()]
    return "\n".join(
        [
            f"{study.study.name}: valid",
            f"cells          {cost.cells}",
            *axes,
            f"trials         {cost.trials_in_all} ({_by_method(cost)})",
            *(f"  {line}" for line in feeding_lines(cost)),
            f"memory         {_memory(study, cost, price)} (estimated)",
            f"time           {duration(cost.seconds)} on one {price.device} ({price.basis})",
            f"{price.hours:<14} {cost.device_hours:.2f} ({price.basis})",
            *need,
        ]
    )


def _memory(study: Study, cost: Estimate, price: Price) -> str:
    """The memory of the largest trial."""
    if price.gpu is None:
        return f"{cost.memory_bytes / GIB:.2f} GiB per worker"
    own, host = gpu_memory(study)
    return f"{own / GIB:.2f} GiB of the GPU for one trial, {host / GIB:.2f} GiB beside it"


def _by_method(cost: Estimate) -> str:
    """Number of trials per method, in words."""
    return ", ".join(f"{method} {count}" for method, count in cost.trials.items())


def _listed(values: tuple[Any, ...]) -> str:
    """The values of an axis, separated by commas."""
    return ", ".join(value_label(value) for value in values)


def status_facts(folder: Path, reader: JournalReader) -> dict[str, Any]:
    """The state of a study folder as plain values, for JSON.

    Parameters
    ----------
    folder : the study folder.
    reader : its journal.

    Returns
    -------
    Unknown values are None.
    """
    study, state = reader.study, progress(reader.trials, reader.study)
    atlas = atlas_of(folder, reader.trials)
    score = [name for name in ("score",) if name in atlas.table]
    rows = atlas.table[[*atlas.axes, *atlas.weight_names, *score, "nrmse", "trials", "failed"]]
    # JSON has no NaN: unknown scores become null.
    best = [{str(k): _finite(v) for k, v in row.items()} for row in rows.to_dict("records")]
    return {
        "name": study.study.name,
        "complete": state.complete,
        "trials": {
            "planned": state.planned,
            "estimated": state.estimated,
            "done": state.done,
            "ok": state.ok,
        },
        "cells": {"planned": state.cells, "done": state.cells_done},
        "failures": state.failures,
        "solver": state.solver,
        "device_hours": state.device_hours,
        "device_seconds": state.device_seconds,
        "device_seconds_left": state.seconds_left,
        "score": str(study.search.score),
        "best": best,
        "notes": [*reader.notes, *filter(None, [reader.revision_note])],
    }


def _finite(value: Any) -> Any:
    """None for a number that JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def status_text(facts: dict[str, Any]) -> str:
    """The state of a study for people.

    Parameters
    ----------
    facts : result of :func:`status_facts`.
    """
    trials, cells, left = facts["trials"], facts["cells"], facts["device_seconds_left"]
    ended = counted(trials["done"], trials["planned"], trials["estimated"])
    lines = [
        f"{facts['name']}: {'complete' if facts['complete'] else 'unfinished'}",
        f"trials         {ended} ({trials['ok']} ok)",
        f"cells          {cells['done']} of {cells['planned']}",
        f"device-hours   {facts['device_hours']:.3f}",
        f"time left      {'unknown' if left is None else duration(left) + ' of one device'}",
    ]
    lines += [f"solver         {count} x {ended}" for ended, count in facts["solver"].items()]
    lines += [f"failed         {count} x {kind}" for kind, count in facts["failures"].items()]
    lines += [f"note           {note}" for note in facts["notes"]]
    best, score = facts["best"], Score(facts["score"])
    if len(best) > SHOWN_CELLS:
        known = [row for row in best if row["nrmse"] is not None]
        # Of many cells the most accurate one; the map shows where it lies among the others.
        best = sorted(known, key=lambda row: row["nrmse"])[:1]
        lines += [f"best cell      {_condition(row)}" for row in best]
        best = [{k: v for k, v in row.items() if k in _RESULTS} for row in best]
    return "\n".join([*lines, *(_best_line(row, score) for row in best)])


def answer_text(atlas: Atlas) -> str:
    """What a finished map says, in a sentence: the least that reaches an accuracy, and the best.

    Parameters
    ----------
    atlas : one row per cell.

    Returns
    -------
    Empty without a result.
    """
    rows = atlas.table[atlas.table["nrmse"].notna()].to_dict("records")
    if not rows:
        return ""
    known: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in rows]
    best = min(known, key=lambda row: float(row["nrmse"]))
    said = f"best NRMSE {best['nrmse']:.3f}{_at(atlas, best)}"
    good = [row for row in known if row["nrmse"] <= ACCURACY]
    # The least: a map takes the time of many images, so maps come first.
    order = [axis for axis in (CHEMICAL_TILTS, HAADF_TILTS) if axis in atlas.axes]
    if not good or not order:
        return said
    least = min(good, key=lambda row: [row[axis] for axis in order])
    return f"NRMSE {ACCURACY:g} is reached{_at(atlas, least)} ({least['nrmse']:.3f}); {said}"


def _at(atlas: Atlas, row: Mapping[str, Any]) -> str:
    """The condition of a cell, in words; empty for a study of one cell."""
    where = condition_label({axis: row[axis] for axis in atlas.axes})
    return f" at {where}" if where else ""


def _condition(row: Mapping[str, Any]) -> str:
    """The condition of a cell, in words."""
    return condition_label({k: v for k, v in row.items() if k not in _RESULTS})


def _best_line(row: dict[str, Any], score: Score) -> str:
    """A line on the best trial of a cell."""
    where = _condition(row)
    prefix = f"best           {where}: " if where else "best           "
    if row["nrmse"] is None:
        return f"{prefix}none yet"
    weights = [f"{name} {row[name]:.3g}" for name in _WEIGHTS if row.get(name) is not None]
    by = f"{SCORES[score].label} {row['score']:.3g}, " if "score" in row else ""
    return f"{prefix}{by}NRMSE {row['nrmse']:.3f} at {', '.join(weights)}"
