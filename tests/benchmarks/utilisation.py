"""Busy workers over all workers, simulated: the real driver, scheduler, journal and proposals.

Only the workers and the clock are virtual. The clock jumps while the manager waits for a result; it
runs while the manager works, by its processor time and the real time of its syncs to the disk, so
that other work on this machine does not count. Loading modules does not count either: workers load
theirs meanwhile. A trial takes the study's own estimate for its cell and method, times a measured
number of iterations over the typical one, drawn from the committed trials of fig4_nanocubes_64 per
method; all scaled to the given mean. Run:

    python tests/benchmarks/utilisation.py [ROW ...]
"""

from __future__ import annotations

import heapq
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from common import table

from tomoatlas.analysis.journal import load_trials
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.estimate import Share, trial_seconds
from tomoatlas.sweep.run import Deadline
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.search.propose import initial_point, propose
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.identity import short_seed
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

ATLAS = Path(__file__).parents[2] / "analysis/atlases/fig4_nanocubes_64"
STUDY = """
[study]
name = "simulated"
[specimen]
kind = "nanocubes"
size = 64
[search]
trials = {trials}
initial = 6
lag = {lag}
[axes]
"acquisition.haadf_tilts" = {haadf}
"acquisition.chemical_tilts" = {chemical}
"""
HOUR = 3600.0
LEAST, LEAST_WITH_FAULTS = 0.95, 0.90
_FSYNC = os.fsync


@dataclass
class Clock:
    """Virtual seconds: those skipped while waiting, and the manager's own at work."""

    skipped: float = 0.0
    _began: float = field(default_factory=time.process_time)

    def __call__(self) -> float:
        """Now."""
        return self.skipped + time.process_time() - self._began

    def sync(self, file: int) -> None:
        """``os.fsync``, whose waiting is real."""
        began, used = time.perf_counter(), time.process_time()
        _FSYNC(file)
        waited = time.perf_counter() - began
        self.skipped += max(0.0, waited - (time.process_time() - used))

    def skip_to(self, moment: float) -> None:
        """Wait until ``moment``, in no time."""
        self.skipped += max(0.0, moment - self())


@dataclass(frozen=True)
class Worker:
    """``slowness``: factor on times. ``joins``: seconds after the start. ``skew``: of its clock."""

    slowness: float = 1.0
    joins: float = 0.0
    skew: float = 0.0


class VirtualWorkers:
    """An executor on a virtual clock."""

    def __init__(
        self, clock: Clock, workers: Sequence[Worker], seconds: Callable[[Trial], float]
    ) -> None:
        self._clock, self._seconds = clock, seconds
        self._late = sorted(workers, key=lambda worker: worker.joins, reverse=True)
        self._idle: list[Worker] = []
        self._running: list[tuple[float, int, float, Worker, Trial]] = []
        self._count = 0
        self.ended: list[tuple[float, float]] = []
        self.starts: list[float] = []

    @property
    def slots(self) -> int:
        """Workers that have joined by now."""
        while self._late and self._late[-1].joins <= self._clock():
            self._idle.append(self._late.pop())
        return len(self._idle) + len(self._running)

    def submit(self, study: Study, trial: Trial) -> None:
        """Start the trial now on an idle worker."""
        worker, now = self._idle.pop(), self._clock()
        self._count += 1
        end = now + self._seconds(trial) * worker.slowness
        heapq.heappush(self._running, (end, self._count, now, worker, trial))
        self.starts.append(now)

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """The first trial to end, if it has ended or ends within ``timeout``."""
        latest = self._clock() + (float("inf") if timeout is None else timeout)
        if not self._running or self._running[0][0] > latest:
            self._clock.skip_to(latest)
            return None
        end, _, start, worker, trial = heapq.heappop(self._running)
        self._clock.skip_to(end)
        self._idle.append(worker)
        self.ended.append((start, end))
        return trial, _result(trial, end - start, start + worker.skew)

    def close(self) -> None:
        """Nothing is left to end."""


def _result(trial: Trial, seconds: float, started: float) -> TrialResult:
    score = _bowl(trial.weights)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime(1.8e9 + started))
    return TrialResult(TrialStatus.OK, score, {"Co": score}, 100.0, seconds, started=stamp)


def _bowl(weights: Weights) -> float:
    haadf, tv = np.log10(max(weights.haadf, 1e-3)), np.log10(max(weights.tv, 0.1))
    return float(0.4 + 0.1 * (haadf + 1.3) ** 2 + 0.2 * (tv - 0.2) ** 2)


def trial_times(study: Study, mean: float) -> Callable[[Trial], float]:
    """Time of a trial: of its cell and method, spread as the measured iterations of the method are.

    The measured seconds themselves hold what else the machine was doing.
    """
    spread = _iterations_over_typical()
    expected = {
        (cell.values, method): trial_seconds(study.at(cell), method)
        for cell in study.cells()
        for method in study.search.methods
    }
    budgets = {key: study.search.budget(key[1]) for key in expected}
    total = sum(budgets[key] * time * spread[key[1]].mean() for key, time in expected.items())
    scale = mean * sum(budgets.values()) / total

    def seconds(trial: Trial) -> float:
        ratios = spread[trial.method]
        drawn = float(ratios[short_seed(trial.trial_id, trial.number) % len(ratios)])
        return scale * expected[trial.cell.values, trial.method] * drawn

    return seconds


def _iterations_over_typical() -> dict[Method, np.ndarray]:
    frame = load_trials(ATLAS)
    by_method = frame.groupby("method")["iterations"]
    return {Method(m): its.to_numpy() / Method(m).traits.iterations for m, its in by_method}


@dataclass(frozen=True)
class Row:
    """One simulation; ``least``: the utilisation to hold, the end of the study included."""

    workers: tuple[Worker, ...]
    mean: float
    cells: tuple[int, int]
    least: float
    lag: int = 1
    trials: int = 20
    share: Share | None = None


def rows() -> dict[str, Row]:
    """All simulations by name."""
    ordinary = Worker()
    small = Row((ordinary,) * 64, 1.0, (20, 18), LEAST, lag=2)
    skewed = tuple(Worker(skew=HOUR * (i % 3 - 1)) for i in range(64))
    slow = (Worker(slowness=10.0),) + (ordinary,) * 63
    late = (ordinary,) * 32 + (Worker(joins=10.0),) * 32
    vast = Row((ordinary,) * 10_000, 30.0, (130, 66), LEAST, 4, 22)
    quarter = replace(vast, workers=(ordinary,) * 2500, share=Share(1, 4))
    return {
        "10,000 workers, 30 s trials": vast,
        "one of 4 managers of 2,500 workers, 30 s trials": quarter,
        "10,000 workers, 10 s trials": replace(vast, mean=10.0),
        "one of 4 managers of 2,500 workers, 10 s trials": replace(quarter, mean=10.0),
        "1,000 workers, 30 s trials": Row((ordinary,) * 1000, 30.0, (40, 30), LEAST, 4, 12),
        "64 workers, 1 s trials": small,
        "clocks of workers an hour fast and slow": replace(
            small, workers=skewed, least=LEAST_WITH_FAULTS
        ),
        "one of 64 workers ten times slower": replace(small, workers=slow, least=LEAST_WITH_FAULTS),
        "32 of 64 workers join after 10 s": replace(small, workers=late, least=LEAST_WITH_FAULTS),
    }


@dataclass(frozen=True)
class Outcome:
    """Utilisation while work is left for every worker, and in all; seconds of three kinds."""

    steady: float
    whole: float
    virtual: float
    processor: float
    real: float
    trials: int


def simulate(row: Row) -> Outcome:
    """Run a study on virtual workers."""
    haadf, chemical = _tilts(9, 141, row.cells[0]), _tilts(5, 71, row.cells[1])
    study = parse_study(
        STUDY.format(trials=row.trials, lag=row.lag, haadf=haadf, chemical=chemical)
    )
    _load_modules()
    began, used_before, clock = time.perf_counter(), time.process_time(), Clock()
    executor = VirtualWorkers(clock, row.workers, trial_times(study, row.mean))
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync", clock.sync):
        deadline = Deadline(clock=clock)
        summary = run(study, folder, executor, deadline=deadline, share=row.share)
    assert summary.done == summary.total == len(executor.ended)
    ends = [end for _, end in executor.ended]
    # With fewer trials left than workers some must be idle, whoever manages them.
    until = {"steady": executor.starts[-len(row.workers)], "whole": max(ends)}
    used = {name: _used(executor.ended, row.workers, moment) for name, moment in until.items()}
    spent = time.process_time() - used_before, time.perf_counter() - began
    return Outcome(used["steady"], used["whole"], max(ends), *spent, summary.done)


def _tilts(least: int, most: int, count: int) -> list[int]:
    return [round(tilts) for tilts in np.linspace(least, most, count)]


def _load_modules() -> None:
    design = [initial_point({"tv": (0.1, 1.0)}, t, 0) for t in range(2)]
    propose({"tv": (0.1, 1.0)}, [(weights, 1.0) for weights in design], [], 0)


def _used(spans: list[tuple[float, float]], workers: Sequence[Worker], until: float) -> float:
    busy = sum(min(end, until) - min(start, until) for start, end in spans)
    return busy / sum(max(0.0, until - worker.joins) for worker in workers)


def main(names: Sequence[str]) -> bool:
    """Print a row for each simulation; whether all of them hold."""
    header = ("simulation", "trials", "while there is work for all", "tail included", "to hold")
    held = []

    def simulated(name: str, row: Row) -> tuple[object, ...]:
        outcome = simulate(row)
        held.append(outcome.whole >= row.least)
        shares = (f"{outcome.steady:.1%}", f"{outcome.whole:.1%}", f">= {row.least:.0%}")
        seconds = (outcome.virtual, outcome.processor, outcome.real)
        return name, outcome.trials, *shares, *(f"{value:.0f} s" for value in seconds)

    asked = {name: row for name, row in rows().items() if not names or name in names}
    table((*header, "virtual", "processor", "real"), itertools.starmap(simulated, asked.items()))
    return all(held)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
