"""When trials ran: a Gantt chart of the workers, how busy they were, and what failed."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ..progress import duration, failures_by_class, run_numbers
from ..style import METHOD_LABELS, METHOD_STYLE
from ..table import good_trials
from . import TRIALS, Entry

FAILED = "#D55E00"
# Seconds beyond which a run is drawn in hours.
_LONG_S = 3 * 3600.0

# Largest apparent overlap of two trials of one worker: seconds, and fraction of the first.
_SLACK_S, _SLACK = 1.0, 0.05

# Most names that can be read beside the chart; of more workers only some are named.
_LABELS = 32


@dataclass(frozen=True)
class Lanes:
    """Rows of a Gantt chart.

    Parameters
    ----------
    names : labels of the rows.
    of : row of each trial, in the order of the table.
    """

    names: tuple[str, ...]
    of: NDArray[np.int64]


def timed_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials with a known start and duration, by start.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.

    Returns
    -------
    The table with columns ``begin`` and ``end`` (UTC) added.
    """
    begin = pd.to_datetime(trials["started"], utc=True, errors="coerce", format="ISO8601")
    timed = trials.assign(begin=begin, end=begin + pd.to_timedelta(trials["seconds"], unit="s"))
    timed = timed.dropna(subset=["begin", "end"]).sort_values("begin", kind="stable")
    return timed.reset_index(drop=True)


def device_hours(trials: pd.DataFrame) -> pd.DataFrame:
    """Timed trials by their end, with the cumulative device time.

    Attempts that were retried count with their trial.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.

    Returns
    -------
    The table of :func:`timed_trials` by end, with a column ``device_hours``: of all trials that had
    ended by then.
    """
    ended = timed_trials(trials).sort_values("end", kind="stable").reset_index(drop=True)
    return ended.assign(device_hours=ended["device_seconds"].cumsum() / 3600.0)


def lanes(timed: pd.DataFrame) -> Lanes:
    """A lane for each worker named in the journal, in natural order of the names.

    Trials without a worker, as older versions wrote them, follow in the smallest number of lanes in
    which no two trials overlap; these lanes are numbered.

    Parameters
    ----------
    timed : result of :func:`timed_trials`.
    """
    named = timed["worker"].notna().to_numpy()
    workers = timed["worker"][named].astype(str)
    names = sorted(set(workers), key=_natural)
    of = np.zeros(len(timed), dtype=np.int64)
    of[named] = workers.map({name: lane for lane, name in enumerate(names)})
    of[~named] = len(names) + _inferred(timed[~named])
    count = int(of.max(initial=-1)) + 1
    numbers = range(1, count - len(names) + 1)
    return Lanes((*names, *(f"unnamed {n}" if names else str(n) for n in numbers)), of)


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts ``node10`` after ``node9``."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def _inferred(timed: pd.DataFrame) -> NDArray[np.int64]:
    """A lane per trial by greedy interval colouring; the slack allows for clocks and rounding."""
    slack = np.minimum(_SLACK_S, _SLACK * timed["seconds"])
    released = timed["end"] - pd.to_timedelta(slack, unit="s")
    free: list[tuple[pd.Timestamp, int]] = []
    found = np.zeros(len(timed), dtype=np.int64)
    for row, (begin, end) in enumerate(zip(timed["begin"], released, strict=True)):
        # The lane that has been free longest is reused; a new one only when all are busy.
        if free and free[0][0] <= begin:
            _, lane = heapq.heappop(free)
        else:
            lane = len(free)
        found[row] = lane
        heapq.heappush(free, (end, lane))
    return found


def utilisation(timed: pd.DataFrame) -> float:
    """Fraction of the workers' time in which trials ran, retried attempts included.

    A worker's time is that from the first start to the last end of each run it took part in; the
    breaks between a run and the one that resumed it do not count.

    Parameters
    ----------
    timed : result of :func:`timed_trials`.

    Returns
    -------
    From 0 to 1; 1 if no time was offered.
    """
    runs = timed.assign(run=run_numbers(timed["begin"], timed["end"]), lane=lanes(timed).of)
    # Per run: a resumed run may have other workers and a break of days before it.
    groups = runs.groupby("run").agg({"begin": "min", "end": "max", "lane": "nunique"})
    offered = ((groups["end"] - groups["begin"]).dt.total_seconds() * groups["lane"]).sum()
    return min(1.0, float(timed["device_seconds"].sum() / offered)) if offered > 0 else 1.0


def breaks(timed: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """The breaks between runs: from the last end of one to the first start of the next.

    Parameters
    ----------
    timed : result of :func:`timed_trials`.
    """
    runs = timed.groupby(run_numbers(timed["begin"], timed["end"]))
    ends, begins = runs["end"].max().iloc[:-1], runs["begin"].min().iloc[1:]
    return list(zip(ends, begins, strict=True))


def timeline_figure(trials: pd.DataFrame) -> Figure:
    """Bars of all trials by worker and method, how many ran at a time, and failures by class.

    Breaks between runs are grey, and counted with their length in the title.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.

    Raises
    ------
    BadInput : no trial with a start and a duration.
    """
    timed = timed_trials(trials)
    if timed.empty:
        raise BadInput("no trial with a start and a duration", accepted="a study with results")
    failures = failures_by_class(trials)
    rows = len(lanes(timed).names)
    ratios = [min(6.0, 0.5 + 0.35 * rows), 1.4, 0.4 + 0.3 * len(failures)]
    figure = Figure(figsize=(10.5, 2.2 + sum(ratios)), layout="constrained")
    gantt, busy, failed = figure.subplots(3, 1, height_ratios=ratios)
    busy.sharex(gantt)
    clock = _Clock(timed)
    _draw_gantt(gantt, timed, clock)
    _draw_busy(busy, timed, clock)
    _draw_failures(failed, failures, len(trials))
    hours = float(trials["device_seconds"].sum()) / 3600.0
    cost = f"{len(trials)} trials, {hours:.3g} device-hours"
    found = breaks(timed)
    for begin, end in clock.spans(found):
        for ax in (gantt, busy):
            ax.axvspan(begin, end, color="0.92", linewidth=0, zorder=0)
    title = f"{cost}; workers busy {utilisation(timed):.1%} of the runs' time"
    figure.suptitle(f"{title}; {_breaks_text(found)}")
    return figure


def _breaks_text(found: Sequence[tuple[pd.Timestamp, pd.Timestamp]]) -> str:
    """The number of breaks and their length in all."""
    if not found:
        return "no break"
    length = sum((end - begin).total_seconds() for begin, end in found)
    return f"{len(found)} break{'s' * (len(found) > 1)} of {duration(length)} in all (grey)"


class _Clock:
    """Time since the first start, in minutes or, for long runs, hours."""

    def __init__(self, timed: pd.DataFrame) -> None:
        self._first = timed["begin"].min()
        # One unit for the whole axis, by its length.
        span = (timed["end"].max() - self._first).total_seconds()
        self.unit, self._seconds = ("h", 3600.0) if span > _LONG_S else ("min", 60.0)
        self.label = f"time since {self._first:%Y-%m-%d %H:%M} UTC / {self.unit}"
        self.span = span / self._seconds

    def spans(
        self, found: Sequence[tuple[pd.Timestamp, pd.Timestamp]]
    ) -> list[tuple[float, float]]:
        """Convert starts and ends to times of the axis."""
        first, each = self._first, self._seconds
        return [
            ((a - first).total_seconds() / each, (b - first).total_seconds() / each)
            for a, b in found
        ]

    def at(self, moments: pd.Series) -> NDArray[np.float64]:
        """Convert moments to times of the axis."""
        found: NDArray[np.float64] = (moments - self._first).dt.total_seconds().to_numpy()
        return found / self._seconds


def _draw_gantt(ax: Axes, timed: pd.DataFrame, clock: _Clock) -> None:
    """Draw a bar per trial, coloured by method; failed trials in a colour of their own."""
    rows, good = lanes(timed), timed.index.isin(good_trials(timed, reduced=True).index)
    begin, end = clock.at(timed["begin"]), clock.at(timed["end"])
    groups = {
        label: (METHOD_STYLE[method][0], good & (timed["method"] == method).to_numpy())
        for method, label in METHOD_LABELS.items()
    }
    groups["failed"] = (FAILED, ~good)
    shown = {label: group for label, group in groups.items() if group[1].any()}
    for label, (colour, mask) in shown.items():
        ax.barh(
            rows.of[mask],
            (end - begin)[mask],
            left=begin[mask],
            height=0.8,
            color=colour,
            linewidth=0,  # an outline would hide the shortest trials
            label=label,
        )
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(shown), fontsize=8, frameon=False
    )
    ax.set(ylabel="worker", ylim=(len(rows.names) - 0.4, -0.6), xlim=(0.0, clock.span))
    # Hundreds of workers are drawn, but only some can be named.
    step = math.ceil(len(rows.names) / _LABELS)
    ax.set_yticks(range(0, len(rows.names), step), rows.names[::step], fontsize=8)
    ax.tick_params(labelbottom=False)


def _draw_busy(ax: Axes, timed: pd.DataFrame, clock: _Clock) -> None:
    """Draw how many trials ran at each moment."""
    moments = np.concatenate([clock.at(timed["begin"]), clock.at(timed["end"])])
    change = np.concatenate([np.ones(len(timed)), -np.ones(len(timed))])
    # Stable: at equal moments starts, which come first, are counted before ends.
    order = np.argsort(moments, kind="stable")
    running = np.cumsum(change[order])
    ax.fill_between(moments[order], running, step="post", color="0.6", linewidth=0)
    ax.set(ylabel="trials\nrunning", ylim=(0, running.max() + 0.5), xlabel=clock.label)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)


def _draw_failures(ax: Axes, failures: dict[str, int], trials: int) -> None:
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    if not failures:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no trial failed", transform=ax.transAxes, ha="center", va="center")
        return
    bars = ax.barh(list(failures), list(failures.values()), color=FAILED)
    ax.bar_label(bars, [f" {n} ({n / trials:.1%})" for n in failures.values()])
    ax.set_xticks([])
    ax.set_title("failures by class", fontsize=10)
    ax.invert_yaxis()
    ax.margins(x=0.15)


TIMELINE_FIGURE = Entry(
    "workers over time, utilisation, failures by class",
    TRIALS,
    lambda source: timeline_figure(source.trials),
)
