"""How far a study has come, what it has cost, what failed, and how fast it goes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from ..recon_core.methods import Method
from ..sweep.study import Study
from .table import good_trials

_RECENT = 60
_BREAK_S = 60.0
_PATIENCE = 5.0
"""A run is quiet after this many times its longest recent trial, or a minute."""


@dataclass(frozen=True)
class Throughput:
    """Of the recent trials: how many ran at a time, and seconds since the last one ended.

    ``quiet``: nothing has ended for so long that the run may have stopped.
    """

    at_a_time: float
    idle_seconds: float
    quiet: bool

    def wall_seconds(self, device_seconds: float | None) -> float | None:
        """Wall time that ``device_seconds`` of trials will take; None where unknown."""
        if device_seconds is None or self.quiet or self.at_a_time <= 0:
            return None
        return device_seconds / self.at_a_time


def throughput(trials: pd.DataFrame, now: datetime) -> Throughput | None:
    """The pace at ``now`` (aware); None before the first trial with a time.

    ``trials``: in the order of the journal, as they ended. What ran before the last break of a
    minute belongs to an earlier run and does not count.
    """
    recent = trials.dropna(subset=["started", "seconds"]).tail(_RECENT)
    started = pd.to_datetime(recent["started"], utc=True, errors="coerce", format="ISO8601")
    times = pd.DataFrame({"started": started, "seconds": recent["seconds"]}).dropna()
    if times.empty:
        return None
    times["ended"] = times["started"] + pd.to_timedelta(times["seconds"], unit="s")
    times = times.sort_values("started", kind="stable")
    runs = run_numbers(times["started"], times["ended"])
    times = times[runs == runs.max()]
    last = times["ended"].max()
    span = (last - times["started"].min()).total_seconds()
    idle = (now - last).total_seconds()
    patience = max(_BREAK_S, _PATIENCE * float(times["seconds"].max()))
    at_a_time = float(times["seconds"].sum()) / span if span > 0 else 0.0
    return Throughput(at_a_time, max(0.0, idle), idle > patience)


def run_numbers(begin: pd.Series, end: pd.Series) -> pd.Series:
    """The run, from 0, of each trial in the order of ``begin``: a minute without any ends one."""
    idle = (begin - end.cummax().shift()).dt.total_seconds()
    numbers: pd.Series = (idle > _BREAK_S).cumsum()
    return numbers


@dataclass(frozen=True)
class Progress:
    """Counts and costs of a study folder at one moment.

    ``cells_done``: cells whose planned trials have all ended. ``failures``: class of failure →
    count. ``solver``: how the solves of good trials ended → count. ``device_seconds``: method →
    time spent by its trials; ``seconds_left``: device time that the missing trials would take at
    the median of their method, as a worker's first trial compiles; None before the first trial.
    """

    cells: int
    cells_done: int
    planned: int
    done: int
    ok: int
    failures: dict[str, int]
    solver: dict[str, int]
    device_seconds: dict[str, float]
    seconds_left: float | None

    @property
    def complete(self) -> bool:
        """Whether every planned trial has ended, well or not."""
        return self.done >= self.planned

    @property
    def device_hours(self) -> float:
        """Device time spent so far, hours."""
        return sum(self.device_seconds.values()) / 3600.0


def progress(trials: pd.DataFrame, study: Study) -> Progress:
    """The progress of ``study``, ``trials`` as :func:`~tomoatlas.analysis.journal.load_trials`
    gives them.
    """
    budget = {str(m): study.search.budget(m) for m in study.search.methods}
    cells = len(study.cells())
    return Progress(
        cells=cells,
        cells_done=_cells_done(trials, study, sum(budget.values())),
        planned=cells * sum(budget.values()),
        done=len(trials),
        ok=len(good_trials(trials)),
        failures=failures_by_class(trials),
        solver=_counts(good_trials(trials)["solver_status"].dropna()),
        device_seconds={str(m): _seconds(trials, m) for m in study.search.methods},
        seconds_left=_seconds_left(trials, {m: cells * count for m, count in budget.items()}),
    )


def failures_by_class(trials: pd.DataFrame) -> dict[str, int]:
    """Counts of trials that are not good, by their class."""
    return _counts(failure_classes(trials).dropna())


def failure_classes(trials: pd.DataFrame) -> pd.Series:
    """Status and kind of error (up to its first colon) of each trial; None for the good ones."""
    good = set(good_trials(trials).index)
    kinds = [
        None if index in good else _kind(status, error)
        for index, status, error in zip(
            trials.index, trials["status"], trials["error"], strict=True
        )
    ]
    return pd.Series(kinds, index=trials.index, dtype=object)


def _counts(kinds: pd.Series) -> dict[str, int]:
    return {str(kind): int(count) for kind, count in kinds.value_counts().items()}


def _kind(status: object, error: object) -> str:
    if status == "ok":
        return "no finite score"
    return (
        f"{status}: {error.partition(':')[0]}" if isinstance(error, str) and error else str(status)
    )


def _seconds(trials: pd.DataFrame, method: Method) -> float:
    return float(trials.loc[trials["method"] == method.value, "device_seconds"].sum())


def _cells_done(trials: pd.DataFrame, study: Study, budget: int) -> int:
    axes = [axis for axis in study.axes if axis in trials]
    if len(axes) < len(study.axes) or trials.empty:
        return 0
    counts = trials.groupby(axes).size() if axes else pd.Series([len(trials)])
    return int((counts >= budget).sum())


def _seconds_left(trials: pd.DataFrame, planned: dict[str, int]) -> float | None:
    timed = trials.dropna(subset=["device_seconds"])
    if timed.empty:
        return None
    typical = timed.groupby("method")["device_seconds"].median()
    overall = float(timed["device_seconds"].median())
    done = trials["method"].value_counts()
    return sum(
        max(0, count - int(done.get(method, 0))) * float(typical.get(method, overall))
        for method, count in planned.items()
    )


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 20 s``, ``5 h 12 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
