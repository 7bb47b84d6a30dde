"""How fast a study goes: trials at a time, time left, and whether anything still happens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

_RECENT = 60
_BREAK_S = 60.0
_PATIENCE = 5.0
"""A run is quiet after this many times its longest recent trial, or a minute."""


@dataclass(frozen=True)
class Pace:
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


def pace(trials: pd.DataFrame, now: datetime) -> Pace | None:
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
    return Pace(at_a_time, max(0.0, idle), idle > patience)


def run_numbers(begin: pd.Series, end: pd.Series) -> pd.Series:
    """The run, from 0, of each trial in the order of ``begin``: a minute without any ends one."""
    idle = (begin - end.cummax().shift()).dt.total_seconds()
    numbers: pd.Series = (idle > _BREAK_S).cumsum()
    return numbers
