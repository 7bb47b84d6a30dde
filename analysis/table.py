"""Journal → tidy table of trials → table of cells, the atlas.

A cell's value is that of its best *good* trial (status ``ok`` and a finite score); a cell without
one holds NaN and never a number that looks like a result.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.labels import SCORE_COLUMNS
from recon_core.settings import Method
from sweep.folder import StudyFolder
from sweep.journal import read_records
from sweep.study import Study

BASE_COLUMNS = (
    "trial_id",
    "number",
    "method",
    "status",
    "haadf",
    "tv",
    "nrmse",
    "relative_error",
    "iterations",
    "seconds",
    "solver_status",
    "device",
    "started",
    "error",
)
_NUMERIC = ("number", "haadf", "tv", "nrmse", "relative_error", "iterations", "seconds")


def load_trials(folder: str | Path) -> pd.DataFrame:
    """One row per finished trial of a study folder, in the order of the journal.

    Columns: :data:`BASE_COLUMNS`, one per axis (its path), ``nrmse_<El>`` per element. A line torn
    by a crash is left out; a trial recorded twice counts once, as first recorded.

    Raises
    ------
    BadInput : unreadable, or not a journal.

    """
    with _no_collection():
        return trials_table(read_records(StudyFolder(folder).journal_file))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Parsed records hold no cycles, and searching 100,000 of them for some doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def trials_table(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """:func:`load_trials` of records already read."""
    columns = {name: [record.get(name) for record in records] for name in BASE_COLUMNS}
    columns |= _nested(records, "weights")
    columns |= _nested(records, "cell")
    columns |= {f"nrmse_{e}": v for e, v in _nested(records, "nrmse_by_element").items()}
    numeric = [n for n in columns if n in _NUMERIC or n.startswith("nrmse_")]
    frame = pd.DataFrame(columns | {name: _numbers(columns[name]) for name in numeric})
    return frame.drop_duplicates(["trial_id", "number"]).reset_index(drop=True)


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    """Values as floats, NaN for None and for whatever is no number."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        found = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
        return found.to_numpy(dtype=np.float64)


def _nested(records: Sequence[Mapping[str, Any]], table: str) -> dict[str, list[Any]]:
    """The columns of a table inside the records, in the order in which their names first occur."""
    rows = [record.get(table) or {} for record in records]
    names = dict.fromkeys(name for keys in dict.fromkeys(map(tuple, rows)) for name in keys)
    return {str(name): [row.get(name) for row in rows] for name in names}


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
