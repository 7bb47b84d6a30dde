"""How far a study has come, what it has cost, what failed, and how fast it proceeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..recon_core.errors import BadInput
from ..recon_core.methods import Method
from ..sweep.search import searches
from ..sweep.search.plans import Plan, plans
from ..sweep.search.survey import Survey
from ..sweep.study import Study
from ..sweep.study.trial import Proposal, Trial, weights_named
from .table import are_good, cell_places

Counts = NDArray[np.int64]

_RECENT = 60
_BREAK_S = 60.0
# A run is quiet after this multiple of its longest recent trial, but at least a minute.
_PATIENCE = 5.0


def counted(done: int, planned: int, estimated: bool) -> str:
    """Trials ended, of those planned, in words.

    Parameters
    ----------
    done, planned : numbers of trials.
    estimated : a search that ends by itself may take more, or fewer.

    Examples
    --------
    >>> counted(3, 8, estimated=True)
    '3 of about 8'
    """
    return f"{done} of {'about ' if estimated else ''}{planned}"


@dataclass(frozen=True)
class Throughput:
    """How fast the recent trials went.

    Parameters
    ----------
    at_a_time : mean number of trials running at the same time.
    idle_seconds : time since the last trial ended.
    quiet : whether nothing has ended for so long that the run may have stopped.
    """

    at_a_time: float
    idle_seconds: float
    quiet: bool

    def wall_seconds(self, device_seconds: float | None) -> float | None:
        """Wall time of more trials at this throughput.

        Parameters
        ----------
        device_seconds : device time of these trials; None if unknown.

        Returns
        -------
        Seconds; None if the device time is unknown or the run is quiet.

        Examples
        --------
        >>> Throughput(at_a_time=4.0, idle_seconds=1.0, quiet=False).wall_seconds(100.0)
        25.0
        """
        if device_seconds is None or self.quiet or self.at_a_time <= 0:
            return None
        return device_seconds / self.at_a_time


def throughput(trials: pd.DataFrame, now: datetime) -> Throughput | None:
    """The throughput of the current run, from its last 60 trials.

    Trials before the last pause of a minute belong to an earlier run and do not count.

    Parameters
    ----------
    trials : table of trials in the order of the journal, that is, as they ended.
    now : present time, timezone-aware.

    Returns
    -------
    None if no trial has a start and a duration.
    """
    # Only the last trials: a run may have changed its number of workers.
    recent = trials[["started", "seconds"]].dropna().tail(_RECENT)
    # A damaged time becomes NaT and is dropped with its row, instead of ending the report.
    started = pd.to_datetime(recent["started"], utc=True, errors="coerce", format="ISO8601")
    times = pd.DataFrame({"started": started, "seconds": recent["seconds"]}).dropna()
    if times.empty:
        return None
    times["ended"] = times["started"] + pd.to_timedelta(times["seconds"], unit="s")
    # The journal is in the order of ends; runs are separated by their starts.
    times = times.sort_values("started", kind="stable")
    runs = run_numbers(times["started"], times["ended"])
    times = times[runs == runs.max()]
    last = times["ended"].max()
    # Throughput is the device time delivered per wall time of the present run.
    span = (last - times["started"].min()).total_seconds()
    # From the last end, since a running trial leaves no trace in the journal.
    idle = (now - last).total_seconds()
    patience = max(_BREAK_S, _PATIENCE * float(times["seconds"].max()))
    at_a_time = float(times["seconds"].sum()) / span if span > 0 else 0.0
    return Throughput(at_a_time, max(0.0, idle), idle > patience)


def run_numbers(begin: pd.Series, end: pd.Series) -> pd.Series:
    """The run of each trial, from 0: a minute without any trial separates two runs.

    Parameters
    ----------
    begin : starts, in ascending order.
    end : ends, in the same order.

    Returns
    -------
    Run numbers, with the index of ``begin``.

    Examples
    --------
    >>> begin = pd.Series(pd.to_datetime(["2026-01-01 10:00", "2026-01-01 12:00"]))
    >>> run_numbers(begin, begin + pd.Timedelta("50s")).tolist()
    [0, 1]
    """
    # cummax: a long trial that started early may end after later ones.
    idle = (begin - end.cummax().shift()).dt.total_seconds()
    numbers: pd.Series = (idle > _BREAK_S).cumsum()
    return numbers


@dataclass(frozen=True)
class Progress:
    """Counts and costs of a study folder at one moment.

    Parameters
    ----------
    cells : cells of the study.
    cells_done : cells whose planned trials have all ended.
    planned : trials planned, as far as is known.
    estimated : whether ``planned`` may still move, as a search over many cells ends by itself.
    done : trials that have ended.
    ok : trials that ended with a score.
    failures : class of failure → count.
    solver : how the solves of good trials ended → count.
    device_seconds : method → device time of its trials, seconds.
    seconds_left : device time of the missing trials at the median of their method, since a worker's
        first trial compiles; None before the first trial.
    """

    cells: int
    cells_done: int
    planned: int
    estimated: bool
    done: int
    ok: int
    failures: dict[str, int]
    solver: dict[str, int]
    device_seconds: dict[str, float]
    seconds_left: float | None

    @property
    def complete(self) -> bool:
        """Whether every planned trial has ended, successfully or not."""
        return self.done >= self.planned

    @property
    def counted(self) -> str:
        """Trials ended, of those planned, in words."""
        return counted(self.done, self.planned, self.estimated)

    @property
    def device_hours(self) -> float:
        """Device time spent so far, hours."""
        return sum(self.device_seconds.values()) / 3600.0


def progress(
    trials: pd.DataFrame, study: Study, planned: Mapping[Method, Counts] | None = None
) -> Progress:
    """The progress of a study.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    study : the study they belong to.
    planned : result of :func:`planned_trials`, if at hand.
    """
    planned = planned_trials(trials, study) if planned is None else planned
    cells, good = len(study.cells()), are_good(trials, reduced=True)
    total = sum(int(counts.sum()) for counts in planned.values())
    return Progress(
        cells=cells,
        cells_done=int((trials_left(trials, study, planned) == 0).sum()),
        planned=total,
        estimated=not study.search.strategy.alone and len(trials) < total,
        done=len(trials),
        ok=int(good.sum()),
        failures=failures_by_class(trials),
        solver=_counts(trials["solver_status"][good].dropna()),
        device_seconds={str(m): _seconds(trials, m) for m in study.search.methods},
        seconds_left=_seconds_left(trials, {str(m): int(n.sum()) for m, n in planned.items()}),
    )


def planned_trials(trials: pd.DataFrame, study: Study) -> dict[Method, Counts]:
    """How many trials of each method every cell is to have, as far as can be said now.

    A search over many cells ends by itself: until it has, a cell is to have one more.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    study : the study they belong to.

    Returns
    -------
    Method → (cells,).
    """
    cells = study.cells()
    if study.search.strategy.alone:
        return {m: np.full(len(cells), study.search.budget(m)) for m in study.search.methods}
    planned = {method: np.zeros(len(cells), dtype=np.int64) for method in study.search.methods}
    places = cell_places(trials, study)
    for plan in _plans(study):
        if not isinstance(plan, Survey):
            (search,) = plan.searches
            planned[search.method][search.cell.index] += search.budget
        else:
            inside = np.isin(places, [search.cell.index for search in plan.searches])
            mine = inside & (trials["method"] == plan.method).to_numpy(dtype=bool)
            _take_in(plan, trials[mine], places[mine])
            # Asked once: whether it is over takes a fit to all of its trials.
            over, likely = plan.over, plan.likely // len(plan.searches)
            for search in plan.searches:
                made = len(search.weights)
                more = made if over else max(made + 1, likely)
                planned[plan.method][search.cell.index] += min(more, search.budget)
    return planned


def _plans(study: Study) -> list[Plan]:
    """The plans of a study, also where the atlas that it started from is not at hand."""
    try:
        return plans(searches(study))
    except BadInput:
        search = study.search.model_copy(update={"start": None})
        return plans(searches(study.model_copy(update={"search": search})))


def _take_in(plan: Survey, trials: pd.DataFrame, places: NDArray[np.int64]) -> None:
    """Bring a search to where its trials have brought it."""
    by_cell = {(search.cell.index, search.reduced): search for search in plan.searches}
    names = list(plan.searches[0].space)
    good = (trials["status"] == "ok") & np.isfinite(trials["score"])
    rows = zip(
        zip(places.tolist(), trials["reduced"].tolist(), strict=True),
        trials[["number", "proposal"]].to_numpy().tolist(),
        trials[names].to_numpy(dtype=float).tolist(),
        trials["score"].where(good).tolist(),
        strict=True,
    )
    for place, (number, proposal), weights, score in rows:
        if math.isfinite(proposal):
            named = weights_named(dict(zip(names, weights, strict=True)))
            made = Proposal(int(proposal), 0, before=plan.before)
            search = by_cell[place]
            scale = search.study.scale(search.reduced)
            trial = Trial(search.cell, plan.method, int(number), named, "", made, scale)
            plan.take_in(trial, score if math.isfinite(score) else None)


def trials_left(
    trials: pd.DataFrame, study: Study, planned: Mapping[Method, Counts] | None = None
) -> Counts:
    """How many trials every cell lacks of those planned, (cells,).

    Failed trials count as done: they are part of the plan and are not repeated.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    study : the study they belong to.
    planned : result of :func:`planned_trials`, if at hand.
    """
    planned = planned_trials(trials, study) if planned is None else planned
    places = cell_places(trials, study)
    inside = places[places >= 0]
    done = np.bincount(inside, minlength=len(study.cells()))
    left: Counts = np.maximum(sum(planned.values(), np.zeros_like(done)) - done, 0)
    return left


def failures_by_class(trials: pd.DataFrame) -> dict[str, int]:
    """Number of failed trials by class of failure, the most frequent first.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    """
    return _counts(failure_classes(trials).dropna())


def failure_classes(trials: pd.DataFrame) -> pd.Series:
    """The class of failure of each trial: its status and the kind of error, up to the first colon.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.

    Returns
    -------
    Classes with the index of ``trials``; None for a good trial.
    """
    failed = np.flatnonzero(~are_good(trials, reduced=True))
    kinds = np.full(len(trials), None, dtype=object)
    # Of a million trials few have failed: only these become texts.
    found = (trials[name].iloc[failed] for name in ("status", "error"))
    kinds[failed] = [_kind(status, error) for status, error in zip(*found, strict=True)]
    return pd.Series(kinds, index=trials.index, dtype=object)


def _counts(kinds: pd.Series) -> dict[str, int]:
    return {str(kind): int(count) for kind, count in kinds.value_counts().items()}


def _kind(status: object, error: object) -> str:
    """The class of a failure: its status, and the error up to the first colon."""
    if status == "ok":
        return "no finite score"
    return (
        f"{status}: {error.partition(':')[0]}" if isinstance(error, str) and error else str(status)
    )


def _seconds(trials: pd.DataFrame, method: Method) -> float:
    return float(trials.loc[trials["method"] == method.value, "device_seconds"].sum())


def _seconds_left(trials: pd.DataFrame, planned: dict[str, int]) -> float | None:
    """Device time of the missing trials, each at the median of its method."""
    timed = trials[["method", "device_seconds"]].dropna(subset=["device_seconds"])
    if timed.empty:
        return None
    typical = timed.groupby("method")["device_seconds"].median()
    # A method without any trial so far is estimated by the median of the others.
    overall = float(timed["device_seconds"].median())
    done = trials["method"].value_counts()
    return sum(
        max(0, count - int(done.get(method, 0))) * float(typical.get(method, overall))
        for method, count in planned.items()
    )


def duration(seconds: float) -> str:
    """A duration as people read it.

    Parameters
    ----------
    seconds : the duration, >= 0.

    Examples
    --------
    >>> duration(42), duration(200), duration(18720)
    ('42 s', '3 min 20 s', '5 h 12 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
