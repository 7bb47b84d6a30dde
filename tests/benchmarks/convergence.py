"""Iterations to 1 % of the final NRMSE for each serious way to solve the fused problem.

Nanocubes at 47 HAADF and 9 chemical tilts, the paper's SNRs, data from a grid twice as fine,
tv = 1. Counted in work: one iteration is a pair of projections of each modality, the start and
the curvature bounds included. The final NRMSE of a candidate is that of its own last iterate; the
lowest objective is that of all. The candidates are in :mod:`candidates` and :mod:`first_order`,
with the parameters tried; above 64^3 four are left out (OF_SMALL), which at 64^3 gain nothing or
cost more by the clock, and convergence_128.png has 160 iterations. Run:

    python tests/benchmarks/convergence.py [SIZE [ITERATIONS [HAADF ...]]]

prints the table, draws tests/benchmarks/convergence_SIZE.png, and prints how every candidate fares
at 32^3 in the corners of the default search space.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from candidates import CANDIDATES
from common import condition, score, table
from convergence_figure import draw

from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver.problem import FusedProblem, fused_problem
from tomoatlas.recon_core.tiltseries import TiltSeries
from tomoatlas.sweep.study.tables import SearchSpace

HAADF = (0.01, 0.03, 0.1, 1.0)
EVERY = 5  # iterations between rows of a trace
GONE = 1e3  # times the first objective: diverged
OF_SMALL = {  # up to 64^3
    "prox-linear (Gauss-Newton)",
    "subsets of tilts (SAGA)",
    "split, from a tenth of haadf",
    "split, from haadf / 3 (its time counted, not its work)",
}
CORNER_SIZE, CORNER_ITERATIONS = 32, 200


@dataclass(frozen=True)
class Trace:
    """Work, seconds, NRMSE and objective of a candidate, one entry per five iterations."""

    rows: np.ndarray

    @property
    def arrival(self) -> str:
        """Work after which the NRMSE stays within 1 % of its last value."""
        scores = self.rows[:, 2]
        return self._stays(np.abs(scores / scores[-1] - 1) <= 0.01)

    def reaches(self, lowest: float) -> str:
        """Work after which the objective stays within 1 % of ``lowest``."""
        return self._stays(self.rows[:, 3] <= 1.01 * lowest)

    @property
    def diverged(self) -> bool:
        """Whether the last objective is no number, or without bound."""
        values = self.rows[:, 3]
        return not values[-1] <= GONE * values[0]

    @property
    def motion(self) -> str:
        """Unsteady: above its own lowest by over 1 %. Falling: by as much in the last quarter."""
        values = self.rows[:, 3]
        if values[-1] > 1.01 * values.min():
            return "unsteady"
        return "falling" if values[-len(values) // 4] > 1.01 * values[-1] else ""

    def _stays(self, near: np.ndarray) -> str:
        away = np.flatnonzero(~near)
        first = away[-1] + 1 if len(away) else 0
        return f"{self.rows[first, 0]:.0f}" if first < len(near) and not self.diverged else "-"


def trace(
    series: TiltSeries, truth: Specimen, weights: Weights, name: str, iterations: int
) -> Trace:
    """Solve with one candidate, its score and objective taken outside the clock."""
    problem = fused_problem(series, [weights], SolverSettings())
    seconds, rows, due = 0.0, [], 0.0
    clock = time.perf_counter()
    with np.errstate(over="ignore", invalid="ignore"):  # a candidate may diverge
        for volumes, spent in CANDIDATES[name](series, weights):
            seconds += time.perf_counter() - clock
            work = spent / problem.tilts_per_iteration
            if work >= min(due, iterations):
                rows.append((work, seconds, score(volumes[0], truth), _objective(problem, volumes)))
                due = work + EVERY
            if work >= iterations or Trace(np.array(rows)).diverged:
                break
            clock = time.perf_counter()
    return Trace(np.array(rows))


def _objective(problem: FusedProblem, volumes: np.ndarray) -> float:
    return float(problem.terms(volumes).objective[0])


def main(size: int, iterations: int, haadf: tuple[float, ...]) -> None:
    """Print and draw the traces of every candidate at every weight, then the corners."""
    truth, series = condition(size, 47, 9, oversample=2)
    found: dict[float, dict[str, Trace]] = {}

    def rows() -> Iterator[tuple[object, ...]]:
        for weight in haadf:
            found[weight] = {
                name: trace(series, truth, Weights(weight, 1.0), name, iterations)
                for name in CANDIDATES
                if size <= 64 or name not in OF_SMALL
            }
            yield from _rows(weight, found[weight])

    header = (
        "haadf",
        "candidate",
        "iterations to 1 % of its last NRMSE",
        "to 1 % of the lowest objective",
        "last NRMSE",
        "last objective, above the lowest",
        "time in all",
    )
    table(header, rows())
    title = f"{size}³ × 4, 47 HAADF and 9 chemical tilts, tv = 1"
    curves = {
        weight: {name: got.rows for name, got in all_.items()} for weight, all_ in found.items()
    }
    draw(curves, Path(__file__).with_name(f"convergence_{size}.png"), title)
    corners()


def _rows(weight: float, traces: dict[str, Trace]) -> Iterator[tuple[object, ...]]:
    lowest = _lowest(traces)
    for name, got in traces.items():
        _, seconds, nrmse, value = got.rows[-1]
        last = "diverged" if got.diverged else f"{value:.0f} ({value / lowest - 1:+.2%})"
        yield (
            weight,
            name,
            got.arrival,
            got.reaches(lowest),
            f"{nrmse:.4f}",
            last,
            f"{seconds:.1f} s",
        )


def corners() -> None:
    """Print where every candidate ends in the corners of the default space, and if it rests."""
    truth, series = condition(CORNER_SIZE, 47, 9, oversample=2)
    space = SearchSpace()
    ends = [Weights(haadf, tv) for haadf, tv in product(space.haadf, space.tv)]
    found = [
        {name: trace(series, truth, at, name, CORNER_ITERATIONS) for name in CANDIDATES}
        for at in ends
    ]
    header = ("candidate", *(f"haadf {at.haadf:g}, tv {at.tv:g}" for at in ends))
    table(header, ((name, *(_end(traces, name) for traces in found)) for name in CANDIDATES))


def _end(traces: dict[str, Trace], name: str) -> str:
    """Objective above the lowest of all, and its motion."""
    got = traces[name]
    if got.diverged:
        return "diverged"
    above = f"{got.rows[-1, 3] / _lowest(traces) - 1:+.2%}"
    return ", ".join(filter(None, (above, got.motion)))


def _lowest(traces: dict[str, Trace]) -> float:
    return float(min(got.rows[-1, 3] for got in traces.values() if not got.diverged))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 64,
        int(given[1]) if len(given) > 1 else 400,
        tuple(map(float, given[2:])) or HAADF,
    )
