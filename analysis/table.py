"""Journal → tidy table of trials → table of cells, the atlas.

A cell's value is that of its best *good* trial (status ``ok`` and a finite score); a cell without
one holds NaN and never a number that looks like a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.labels import SCORE_COLUMNS
from recon_core.settings import Method
from sweep.folder import StudyFolder
from sweep.journal import read_records
from sweep.study import Study
from sweep.trial import is_final

BASE_COLUMNS = (
    "trial_id",
    "number",
    "method",
    "status",
    "haadf",
    "tv",
    "nrmse",
    "iterations",
    "seconds",
    "solver_status",
    "device",
    "started",
    "error",
)
_NUMERIC = ("number", "haadf", "tv", "nrmse", "iterations", "seconds")


def load_trials(folder: str | Path) -> pd.DataFrame:
    """One row per finished trial of a study folder, in the order of the journal.

    Columns: :data:`BASE_COLUMNS`, one per axis (its path), ``nrmse_<El>`` per element. A line torn
    by a crash is left out, and so are attempts that were tried again; a trial recorded twice counts
    once, as first recorded.

    Raises
    ------
    BadInput : unreadable, or not a journal.

    """
    return trials_table(read_records(StudyFolder(folder).journal_file))


def trials_table(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """:func:`load_trials` of records already read."""
    frame = pd.DataFrame([_flat(record) for record in records if is_final(record)])
    scores = [c for c in frame.columns if str(c).startswith("nrmse_")]
    axes = [c for c in frame.columns if c not in BASE_COLUMNS and c not in scores]
    frame = frame.reindex(columns=[*BASE_COLUMNS, *axes, *scores])
    for column in (*_NUMERIC, *scores):
        frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(float)
    return frame.drop_duplicates(["trial_id", "number"]).reset_index(drop=True)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    row = {column: record.get(column) for column in BASE_COLUMNS}
    row |= record.get("weights") or {}
    row |= record.get("cell") or {}
    by_element = record.get("nrmse_by_element") or {}
    return row | {f"nrmse_{element}": score for element, score in by_element.items()}


def good_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials that ended well with a finite score."""
    good: pd.DataFrame = trials[(trials["status"] == "ok") & np.isfinite(trials["nrmse"])]
    return good


def best_trial(trials: pd.DataFrame, method: Method) -> pd.Series | None:
    """The good trial of ``method`` with the lowest mean NRMSE, the earlier of equals; or None."""
    mine = good_trials(trials)
    mine = mine[mine["method"] == method.value]
    if mine.empty:
        return None
    return mine.sort_values(["nrmse", "number"], kind="stable").iloc[0]


def trials_of_cell(trials: pd.DataFrame, cell: Mapping[str, object]) -> pd.DataFrame:
    """The trials whose axes have the values of ``cell`` (axis path → value)."""
    inside = pd.Series(True, index=trials.index)
    for path, value in cell.items():
        inside &= trials[path] == value if path in trials else False
    chosen: pd.DataFrame = trials[inside]
    return chosen


def atlas_table(trials: pd.DataFrame, study: Study) -> pd.DataFrame:
    """One row per cell of ``study``, in its order.

    Columns: the axes by path; ``haadf, tv`` (weights of the best fused trial); ``nrmse`` and
    ``nrmse_<El>`` (its scores); ``nrmse_ml, nrmse_ml_stopped, nrmse_chemistry_tv`` (the best trial
    of each baseline); ``tv_chemistry_tv``; ``trials`` (good fused trials); ``failed`` (trials of
    any method that are not good).
    """
    elements = [c for c in trials.columns if str(c).startswith("nrmse_")]
    cells = [dict(cell.values) for cell in study.cells()]
    rows = [_cell_row(trials_of_cell(trials, cell), cell, elements) for cell in cells]
    return pd.DataFrame(rows, columns=[*study.axes, *_columns(elements)])


def _columns(elements: list[str]) -> list[str]:
    baselines = [column for column in SCORE_COLUMNS.values() if column != "nrmse"]
    return ["haadf", "tv", "nrmse", *elements, *baselines, "tv_chemistry_tv", "trials", "failed"]


def _cell_row(
    trials: pd.DataFrame, cell: Mapping[str, object], elements: list[str]
) -> dict[str, object]:
    row: dict[str, object] = dict(cell)
    fused = best_trial(trials, Method.FUSED)
    for column in ("haadf", "tv", "nrmse", *elements):
        row[column] = float("nan") if fused is None else float(fused[column])
    for method, column in SCORE_COLUMNS.items():
        best = best_trial(trials, method)
        row[column] = float("nan") if best is None else float(best["nrmse"])
    if (best := best_trial(trials, Method.CHEMISTRY_TV)) is not None:
        row["tv_chemistry_tv"] = float(best["tv"])
    good = good_trials(trials)
    row["trials"] = int((good["method"] == Method.FUSED.value).sum())
    row["failed"] = len(trials) - len(good)
    return row
