"""Journal → tidy table of trials → table of cells, the atlas.

A cell's value is that of its best *good* trial (status ``ok`` and a finite score), that of the
lowest score (``search.score``); a cell without one holds NaN and never a number that looks like a
result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..recon_core.methods import Method
from ..recon_core.tiltseries import SYMBOLS
from ..sweep.record.lines import LONGEST_S, WORST, trial_key
from ..sweep.study import Study
from ..sweep.study.trial import GAMMA, Score, is_final, is_reduced, proposal_of, score_of
from ..sweep.versions import revision_of
from .scatter import with_scatter
from .style import SCORE_COLUMNS

_TEXTS = (
    "method",
    "status",
    "solver_status",
    "device",
    "started",
    "error",
    "worker",
    "host",
    "version",
    "commit",
)
_NUMBERS = ("relative_error", "iterations", "size", "max_iterations")
BASE_COLUMNS = (
    "trial_id",
    "number",
    "proposal",
    "size",
    "max_iterations",
    "reduced",
    "method",
    "status",
    "haadf",
    "tv",
    "gamma",
    "score",
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
    "revision",
    "version",
    "commit",
)


@dataclass(frozen=True)
class ElementColumn:
    """Columns with a number of every element.

    Parameters
    ----------
    key : of a record that holds the numbers by element.
    most : the largest that can be meant; they are not negative.
    part : key of the number in the table of an element; None for a plain number.
    """

    key: str
    most: float
    part: str | None = None


ELEMENT_COLUMNS = {
    "nrmse": ElementColumn("nrmse_by_element", WORST),
    "total": ElementColumn("totals", 1e30),
    "level": ElementColumn("level", 1e30),
    "haze": ElementColumn("haze", 1.0),
    "stoichiometry": ElementColumn("stoichiometry_inside", 1.0, "mean"),
}
"""Beginning of a column's name, before ``_<El>``, and what it holds."""


def element_of(column: str) -> str | None:
    """The element of a column of :data:`ELEMENT_COLUMNS`; None for any other column.

    Parameters
    ----------
    column : its name.

    Examples
    --------
    >>> element_of("total_Au"), element_of("nrmse_ml")
    ('Au', None)
    """
    kind, _, element = column.partition("_")
    return element if kind in ELEMENT_COLUMNS and element in SYMBOLS else None


def trials_table(records: Sequence[Mapping[str, Any]], score: Score = Score.NRMSE) -> pd.DataFrame:
    """One row per outcome of a trial, in the order of the records.

    A value of another type than its column, or a score that no volume can have, becomes NaN or
    None.

    Parameters
    ----------
    records : lines of a journal, parsed.
    score : what the study minimises, column ``score``.

    Returns
    -------
    Table with :data:`BASE_COLUMNS`, one column per axis, and per element those of
    :data:`ELEMENT_COLUMNS` that the journal records. ``gamma`` is NaN where it is not searched,
    ``proposal``, the place in the order of a search over many cells, where there was none.
    """
    outcomes = _outcomes(records)
    columns = _plain(outcomes) | _weights(outcomes)
    columns["score"] = columns["nrmse"] if score is Score.NRMSE else _scores(outcomes, score)
    columns["proposal"] = _numbers([_proposal(record) for record in outcomes])
    columns["reduced"] = np.array([is_reduced(record) for record in outcomes], dtype=bool)
    columns["revision"] = np.array([revision_of(record) for record in outcomes], dtype=np.int64)
    columns["seconds"] = _seconds(outcomes)
    columns["device_seconds"] = columns["seconds"] + _spent_before(records, outcomes)
    frame = pd.DataFrame({name: columns[name] for name in BASE_COLUMNS} | _nested(outcomes, "cell"))
    return frame.assign(**_by_element(outcomes))


def _plain(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of what stands in a record by the same name."""
    of = {
        name: [record.get(name) for record in outcomes]
        for name in ("trial_id", "number", "nrmse", *_TEXTS, *_NUMBERS)
    }
    return {
        **of,
        **{name: _numbers(of[name]) for name in ("number", *_NUMBERS)},
        **{name: _texts(of[name]) for name in _TEXTS},
        "nrmse": _within(of["nrmse"], WORST),
    }


def _proposal(record: Mapping[str, Any]) -> int | None:
    made = proposal_of(record)
    return None if made is None else made.number


def _weights(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    weights, none = _nested(outcomes, "weights"), [None] * len(outcomes)
    return {name: _numbers(weights.get(name, none)) for name in ("haadf", "tv", GAMMA)}


def _by_element(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
    return {
        f"{column}_{element}": _within(_parts(values, row.part), row.most)
        for column, row in ELEMENT_COLUMNS.items()
        for element, values in _nested(outcomes, row.key).items()
    }


def _parts(values: list[Any], name: str | None) -> list[Any]:
    if name is None:
        return values
    return [value.get(name) if isinstance(value, Mapping) else None for value in values]


def _scores(records: Sequence[Mapping[str, Any]], score: Score) -> NDArray[np.float64]:
    return np.array([score_of(score, dict(record)) for record in records], dtype=np.float64)


def _outcomes(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The outcome of each trial as first recorded, without attempts that were retried."""
    first: dict[int, Mapping[str, Any]] = {}
    for record in records:
        if is_final(record):
            # The first record counts: a trial run twice, by two runs on one folder, has one result.
            first.setdefault(trial_key(record), record)
    return list(first.values())


def _spent_before(
    records: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """Seconds that each trial's retried attempts took."""
    attempts = [record for record in records if not is_final(record)]
    spent: Counter[int] = Counter()
    for record, own in zip(attempts, np.nan_to_num(_seconds(attempts)).tolist(), strict=True):
        # Retried attempts used the device too, although their results count nowhere.
        spent[trial_key(record)] += own
    if not spent:
        return np.zeros(len(outcomes))
    return np.array([spent[trial_key(record)] for record in outcomes], dtype=np.float64)


def _texts(values: list[Any]) -> list[str | None]:
    # The common case, checked once for the whole column: a journal may hold 100,000 lines.
    if set(map(type, values)) <= {str, type(None)}:
        return values
    return [value if isinstance(value, str) else None for value in values]


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    """JSON's numbers as floats; NaN for None, texts, truth values and everything else."""
    if not set(map(type, values)) <= {int, float, type(None)}:
        values = [value if type(value) in (int, float) else None for value in values]
    return np.array(values, dtype=np.float64)


def _seconds(records: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    return _within([record.get("seconds") for record in records], LONGEST_S)


def _within(values: list[Any], most: float) -> NDArray[np.float64]:
    """Numbers from 0 to ``most``; NaN for a value outside, which cannot be the quantity meant."""
    numbers = _numbers(values)
    # NaN compares false, so unknown numbers stay unknown.
    return np.where((numbers >= 0.0) & (numbers <= most), numbers, np.nan)


def _nested(records: Sequence[Mapping[str, Any]], table: str) -> dict[str, list[Any]]:
    """The columns of a table inside the records, in the order in which their names first occur."""
    rows = [record.get(table) or {} for record in records]
    # Distinct sets of keys first: nearly all records share one.
    names = dict.fromkeys(name for keys in dict.fromkeys(map(tuple, rows)) for name in keys)
    return {str(name): [row.get(name) for row in rows] for name in names}


def good_trials(
    trials: pd.DataFrame, method: Method | None = None, reduced: bool = False
) -> pd.DataFrame:
    """Trials that ended well with a finite NRMSE, and a finite score where the study has another.

    Trials that only guided a search, of a smaller size or fewer iterations, are left out.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    method : keep only its trials; None for all methods.
    reduced : whether to keep those that only guided a search too.
    """
    found: pd.DataFrame = trials[are_good(trials, method, reduced)]
    return found


def are_good(
    trials: pd.DataFrame, method: Method | None = None, reduced: bool = False
) -> NDArray[np.bool_]:
    """Which trials :func:`good_trials` returns: of a million, a mask is less than their copy.

    Parameters
    ----------
    trials, method, reduced : as there.

    Returns
    -------
    Mask (trial,).
    """
    scores = trials[["nrmse", "score"]].to_numpy()
    good: NDArray[np.bool_] = np.isfinite(scores).all(axis=1)
    good = good & (trials["status"] == "ok").to_numpy(dtype=bool)
    if not reduced and "reduced" in trials:
        good = good & ~trials["reduced"].to_numpy(dtype=bool)
    if method is not None:
        good = good & (trials["method"] == method).to_numpy(dtype=bool)
    return good


def best_trial(trials: pd.DataFrame, method: Method) -> pd.Series | None:
    """The good trial with the lowest score, by default the NRMSE; the earlier one of equals.

    Parameters
    ----------
    trials : trials of one cell.
    method : the method.

    Returns
    -------
    None without a good trial.
    """
    mine = good_trials(trials, method)
    if mine.empty:
        return None
    # Ties go to the earlier proposal, so that the best does not depend on the order of arrival.
    return mine.sort_values(["score", "number"], kind="stable").iloc[0]


def trials_of_cell(trials: pd.DataFrame, cell: Mapping[str, object]) -> pd.DataFrame:
    """The trials of one cell.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    cell : axis path → value.
    """
    inside = pd.Series(True, index=trials.index)
    for path, value in cell.items():
        # A journal without trials lacks the columns of the axes: it has no trial in any cell.
        inside &= trials[path] == value if path in trials else False
    chosen: pd.DataFrame = trials[inside]
    return chosen


def cell_places(trials: pd.DataFrame, study: Study) -> NDArray[np.int64]:
    """Index of each trial's cell in ``study.cells()``.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    study : the study they belong to.

    Returns
    -------
    Indices (trial,); -1 for a trial of no cell of the study.
    """
    if any(axis not in trials for axis in study.axes):
        return np.full(len(trials), -1)
    places, inside = np.zeros(len(trials), dtype=np.int64), np.ones(len(trials), dtype=bool)
    # The cells are the product of the axes, the last one varying fastest: a cell is a number whose
    # digits are the places along the axes.
    for axis, values in study.axes.items():
        along = pd.Index(list(values)).get_indexer(pd.Index(trials[axis]))
        inside &= along >= 0
        places = len(values) * places + along
    return np.where(inside, places, -1)


def atlas_table(trials: pd.DataFrame, study: Study) -> pd.DataFrame:
    """One row per cell of a study, in its order.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    study : the study they belong to.

    Returns
    -------
    Columns: the axes by path; ``haadf, tv`` (weights of the best fused trial), and ``gamma`` where
    it is searched; ``score`` (its score, where that is not the NRMSE); ``nrmse`` and those of
    :data:`ELEMENT_COLUMNS` (of the same trial, where recorded); ``nrmse_ml, nrmse_ml_stopped,
    nrmse_chemistry_tv`` (the best trial of each baseline); ``tv_chemistry_tv``; ``trials`` (good
    fused trials); ``failed`` (trials of any method that are not good); ``revision`` (of the
    algorithm that made the best fused trial, 0 where unrecorded); and where seeds are axes the
    scatter of each condition, see :func:`tomoatlas.analysis.scatter.with_scatter`. The best trial
    is that of the lowest score.
    """
    cells = study.cells()
    places = cell_places(trials, study)
    elements = [column for column in map(str, trials.columns) if element_of(column)]
    gamma = [GAMMA] if study.search.space.gamma is not None else []
    other = ["score"] if study.search.score is not Score.NRMSE else []
    best = {method: _best_of_cells(trials, places, method, study) for method in SCORE_COLUMNS}
    names = ("haadf", "tv", *gamma, *other, "nrmse", *elements)
    columns: dict[str, Any] = {name: best[Method.FUSED][name] for name in names}
    columns |= {column: best[method]["nrmse"] for method, column in SCORE_COLUMNS.items()}
    columns["tv_chemistry_tv"] = best[Method.CHEMISTRY_TV]["tv"]
    columns["trials"] = _counts(places[are_good(trials, Method.FUSED)], len(cells))
    columns["failed"] = _counts(places[~are_good(trials, reduced=True)], len(cells))
    columns["revision"] = best[Method.FUSED]["revision"]
    axes = pd.DataFrame([dict(cell.values) for cell in cells], columns=list(study.axes))
    found = axes.join(pd.DataFrame(columns, index=range(len(cells))))
    return with_scatter(found, tuple(study.axes))


def _best_of_cells(
    trials: pd.DataFrame, places: NDArray[np.int64], method: Method, study: Study
) -> pd.DataFrame:
    """The row of the best good trial of ``method`` that counts in every cell; NaN without one."""
    good = np.flatnonzero(are_good(trials, method))
    score, number = (trials[name].to_numpy()[good] for name in ("score", "number"))
    # By score, equal ones by number: the first row of a cell is its best, duplicates are worse.
    good = good[np.lexsort((number, score))]
    found, first = np.unique(places[good], return_index=True)
    lenders = study.lenders(method)
    return trials.iloc[good[first]].set_axis(found).reindex(lenders).set_axis(range(len(lenders)))


def _counts(places: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    return np.bincount(places[places >= 0], minlength=cells)
