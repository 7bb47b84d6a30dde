"""Journal → tidy table of trials → table of cells, the atlas.

A cell's value is that of its best *good* trial (status ``ok`` and a finite score); a cell without
one holds NaN and never a number that looks like a result.
"""

from __future__ import annotations

import gc
from collections import defaultdict
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
from sweep.trial import is_final

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
    "device_seconds",
    "solver_status",
    "device",
    "started",
    "error",
    "worker",
    "host",
)
_NUMERIC = (
    "number",
    "haadf",
    "tv",
    "nrmse",
    "relative_error",
    "iterations",
    "seconds",
    "device_seconds",
)


def load_trials(folder: str | Path) -> pd.DataFrame:
    """One row per finished trial of a study folder, in the order of the journal.

    Columns: :data:`BASE_COLUMNS`, one per axis (its path), ``nrmse_<El>`` per element. ``worker``
    and ``host`` are missing in journals of versions that did not record them. A line torn
    by a crash is left out, and so are attempts that were tried again, whose time is part of
    ``device_seconds``; a trial recorded twice counts once, as first recorded.

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
    spent = _spent(records)
    records = [record for record in records if is_final(record)]
    columns = {name: [record.get(name) for record in records] for name in BASE_COLUMNS}
    columns["device_seconds"] = _with_earlier_attempts(records, spent)
    columns |= _nested(records, "weights")
    columns |= _nested(records, "cell")
    columns |= {f"nrmse_{e}": v for e, v in _nested(records, "nrmse_by_element").items()}
    numeric = [n for n in columns if n in _NUMERIC or n.startswith("nrmse_")]
    frame = pd.DataFrame(columns | {name: _numbers(columns[name]) for name in numeric})
    return frame.drop_duplicates(["trial_id", "number"]).reset_index(drop=True)


def _spent(records: Sequence[Mapping[str, Any]]) -> Mapping[tuple[Any, Any], float]:
    """Seconds of the attempts that were tried again, by trial and number."""
    spent: defaultdict[tuple[Any, Any], float] = defaultdict(float)
    for record in records:
        if not is_final(record):
            seconds = record.get("seconds")
            spent[record.get("trial_id"), record.get("number")] += (
                seconds if isinstance(seconds, float) else 0.0
            )
    return spent


def _with_earlier_attempts(
    records: Sequence[Mapping[str, Any]], spent: Mapping[tuple[Any, Any], float]
) -> list[Any]:
    seconds = [record.get("seconds") for record in records]
    if not spent:
        return seconds
    keys = [(record.get("trial_id"), record.get("number")) for record in records]
    return [
        own + spent.get(key, 0.0) if isinstance(own, float) else own
        for own, key in zip(seconds, keys, strict=True)
    ]


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


def good_trials(trials: pd.DataFrame, method: Method | None = None) -> pd.DataFrame:
    """Trials that ended well with a finite score, of one ``method`` or of all."""
    good = (trials["status"] == "ok") & np.isfinite(trials["nrmse"])
    found: pd.DataFrame = trials[good if method is None else good & (trials["method"] == method)]
    return found


def best_trial(trials: pd.DataFrame, method: Method) -> pd.Series | None:
    """The good trial of ``method`` with the lowest mean NRMSE, the earlier of equals; or None."""
    mine = good_trials(trials, method)
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


def cell_places(trials: pd.DataFrame, study: Study) -> NDArray[np.int64]:
    """Index of each trial's cell in ``study.cells()``; -1 for trials of no cell."""
    places = {tuple(v for _, v in cell.values): cell.index for cell in study.cells()}
    if any(axis not in trials for axis in study.axes):
        return np.full(len(trials), -1)
    keys = zip(*(trials[axis] for axis in study.axes), strict=True)
    found = [places.get(key, -1) for key in keys] if study.axes else [0] * len(trials)
    return np.array(found, dtype=np.int64)


def atlas_table(trials: pd.DataFrame, study: Study) -> pd.DataFrame:
    """One row per cell of ``study``, in its order.

    Columns: the axes by path; ``haadf, tv`` (weights of the best fused trial); ``nrmse`` and
    ``nrmse_<El>`` (its scores); ``nrmse_ml, nrmse_ml_stopped, nrmse_chemistry_tv`` (the best trial
    of each baseline); ``tv_chemistry_tv``; ``trials`` (good fused trials); ``failed`` (trials of
    any method that are not good).
    """
    cells = study.cells()
    places = pd.Series(cell_places(trials, study), index=trials.index)
    elements = [c for c in trials.columns if str(c).startswith("nrmse_")]
    best = {method: _best_of_cells(trials, places, method, len(cells)) for method in SCORE_COLUMNS}
    columns = {name: best[Method.FUSED][name] for name in ("haadf", "tv", "nrmse", *elements)}
    columns |= {column: best[method]["nrmse"] for method, column in SCORE_COLUMNS.items()}
    columns["tv_chemistry_tv"] = best[Method.CHEMISTRY_TV]["tv"]
    good = good_trials(trials)
    fused = places[good.index][good["method"] == Method.FUSED.value]
    columns["trials"] = _counts(fused, len(cells))
    columns["failed"] = _counts(places.drop(good.index), len(cells))
    axes = pd.DataFrame([dict(cell.values) for cell in cells], columns=list(study.axes))
    return axes.join(pd.DataFrame(columns, index=range(len(cells))))


def _best_of_cells(
    trials: pd.DataFrame, places: pd.Series, method: Method, cells: int
) -> pd.DataFrame:
    """The row of the best good trial of ``method`` in every cell; NaN where there is none."""
    mine = good_trials(trials, method).sort_values(["nrmse", "number"], kind="stable")
    mine = mine.set_axis(places[mine.index].to_numpy())
    return mine[~mine.index.duplicated()].reindex(range(cells))


def _counts(places: pd.Series, cells: int) -> pd.Series:
    return places.value_counts().reindex(range(cells), fill_value=0).astype(int)
