"""Our fused solver beside the algorithm of the paper's authors (:mod:`authors`), each at its best.

±70°, 47 HAADF and 9 chemical tilts, the paper's SNRs, everything known, data from a grid twice as
fine. The weights of both are searched by this project's Gaussian process on a noise seed that is
not reported: at the first size over the ranges below, at every further one within a factor of
:data:`NEAR` of the best there; the authors' algorithm has three weights to find and about twice as
many trials. Seconds are processor time of one thread, so that a shared machine does
not enter twice; scores are taken outside the clock. One iteration is a pair of projections of each
modality, what the start costs included. Run:

    NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 python tests/benchmarks/yardstick.py [KIND [SIZE ...]]
        [edition=N]

with our settings of an edition, the newest if none is named.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from authors import START, Authors, Steps, authors
from common import PAPER_SNR, edition_in, score, table

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.tiltseries import TiltSeries
from tomoatlas.sweep.search import gp

Array = np.ndarray
Box = Sequence[tuple[float, float]]

SNR = {"nanocubes": PAPER_SNR, "composite": {"Co": 1.92, "Ni": 2.89, "O": 2.69}}
SIZES, SEEDS, TUNING_SEED = (32, 48), (0, 1), 100
OURS: dict[str, Box] = {  # haadf, tv in the units of solver.noise
    "counts": ((0.003, 30.0), (0.1, 5.0)),
    "residual": ((0.01, 10.0), (0.3, 6.0)),
}
THEIRS: dict[str, Box] = {  # HAADF, chemistry, tv
    "nanocubes": ((3.0, 1000.0), (0.02, 3.0), (0.01, 1.0)),
    "composite": ((30.0, 10000.0), (0.3, 30.0), (0.04, 4.0)),
}
TRIALS = {"ours": (16, 8), "theirs": (40, 16)}  # at the first size, at a further one
NEAR = 3.0
EVERY = 2  # iterations between scores


@dataclass(frozen=True)
class Trace:
    """A solve: (iterations, processor seconds, NRMSE) row by row, and the volumes at its end."""

    rows: Array
    volumes: Array

    @property
    def last(self) -> float:
        """NRMSE at the end."""
        return float(self.rows[-1, 2])

    @property
    def arrival(self) -> tuple[float, float]:
        """Iterations and seconds after which the NRMSE stays within 1 % of its last."""
        away = np.flatnonzero(np.abs(self.rows[:, 2] / self.last - 1) > 0.01)
        first = away[-1] + 1 if len(away) else 0
        return float(self.rows[first, 0]), float(self.rows[first, 1])

    def reaches(self, nrmse: float) -> float | None:
        """Seconds to the first NRMSE at or below ``nrmse``; None if it never comes there."""
        there = np.flatnonzero(self.rows[:, 2] <= nrmse)
        return float(self.rows[there[0], 1]) if len(there) else None


class Stopwatch:
    """Processor seconds since it was made, without those of what it pauses for."""

    def __init__(self) -> None:
        self._began = time.process_time()

    def pause(self, work: Callable[[], float]) -> tuple[float, float]:
        """Return the seconds so far, and the result of ``work``, which costs none."""
        now = time.process_time()
        seconds, result = now - self._began, work()
        self._began += time.process_time() - now
        return seconds, result


def condition(kind: str, size: int, seed: int) -> tuple[Specimen, TiltSeries]:
    """A specimen and its data, projected from a grid twice as fine; ``seed`` is the noise's."""
    plan = Acquisition(
        haadf_tilts=47, chemical_tilts=9, haadf_snr=2208.67, chemical_snr=SNR[kind], oversample=2
    )
    fine = make_specimen(kind, 2 * size, 0)
    return make_specimen(kind, size, 0), simulate(fine, plan, seed)


def trace_ours(
    series: TiltSeries, truth: Specimen, weights: Weights, settings: SolverSettings
) -> Trace:
    """Solve by this project's solver, until its own stopping rule ends it."""
    watch, scored, steps = Stopwatch(), [], 0

    def monitor(volumes: Array) -> float:
        nonlocal steps
        steps += 1
        if steps % EVERY == 0:
            scored.append((steps, *watch.pause(lambda: score(volumes, truth))))
        return 0.0

    found = reconstruct(series, Method.FUSED, weights, settings, monitor)
    end = watch.pause(lambda: score(found.volumes, truth))
    if steps % EVERY:
        scored.append((steps, *end))
    rows = np.array(scored)
    rows[:, 0] = _work(found, rows[:, 0], steps)
    return Trace(rows, found.volumes)


def _work(found: Reconstruction, at: Array, steps: int) -> Array:
    """Iterations, start included, at some of the steps; the history has one entry in ten steps."""
    recorded = found.history.iterations
    return np.interp(at, np.linspace(0, steps, len(recorded)), recorded)


def trace_theirs(algorithm: Authors, truth: Specimen, steps: Steps) -> Trace:
    """Solve by the authors' algorithm, for its number of iterations."""
    problem = algorithm.problem
    start = START * problem.chemistry.tilts / problem.tilts_per_iteration
    watch, rows = Stopwatch(), []
    for k, volumes in enumerate(algorithm.iterates(steps)):
        if k % EVERY == 0:
            rows.append((start + k, *watch.pause(lambda v=volumes: score(v, truth))))
    return Trace(np.array(rows), volumes)


def search(box: Box, solve: Callable[[Array], float], trials: int, seed: int = 0) -> Array:
    """The best of ``trials`` points of a box: its middle, a Sobol sequence, proposals of the GP."""
    lows, highs = np.log(np.array(box)).T
    points, scores = [np.full(len(box), 0.5), *_sobol(len(box), trials // 3, seed)], []
    for trial in range(trials):
        if trial >= len(points):
            points.append(gp.ask(np.array(points), _standardised(scores), seed + trial))
        found = solve(np.exp(lows + points[trial] * (highs - lows)))
        scores.append(found if np.isfinite(found) else np.sqrt(2))
    return np.exp(lows + points[int(np.argmin(scores))] * (highs - lows))


def _sobol(dimensions: int, count: int, seed: int) -> list[Array]:
    from scipy.stats import qmc

    return list(qmc.Sobol(dimensions, seed=np.random.default_rng(seed)).random(64)[:count])


def _standardised(scores: Sequence[float]) -> Array:
    values = np.minimum(scores, 1.0)
    return (values - values.mean()) / (values.std() or 1.0)


def near(point: Array) -> Box:
    """The box within a factor of :data:`NEAR` of a point."""
    return [(value / NEAR, value * NEAR) for value in point]


def best(
    kind: str, size: int, boxes: tuple[Box, Box], further: bool, settings: SolverSettings
) -> tuple[Array, Array]:
    """The best weights of both on the noise that is not reported: ours, theirs."""
    truth, series = condition(kind, size, TUNING_SEED)
    algorithm = authors(series)

    def ours(point: Array) -> float:
        weights = Weights(*point.tolist())
        return score(reconstruct(series, Method.FUSED, weights, settings).volumes, truth)

    def theirs(point: Array) -> float:
        with np.errstate(all="ignore"):  # too long a step diverges
            *_, volumes = algorithm.iterates(Steps(*point.tolist()))
        return score(volumes, truth)

    return (
        search(boxes[0], ours, TRIALS["ours"][further]),
        search(boxes[1], theirs, TRIALS["theirs"][further]),
    )


def main(kind: str, sizes: Sequence[int], settings: SolverSettings) -> None:
    """Print two rows for each size and noise seed: ours, and the authors' algorithm."""
    numba.set_num_threads(1)
    header = ("specimen", "noise", "solver", "weights", "NRMSE", "by element", "totals / truth")
    header += ("iterations", "seconds", "to 1 % of its last", "to 1 % above our last")
    table(header, rows(kind, sizes, settings))


def rows(kind: str, sizes: Sequence[int], settings: SolverSettings) -> Iterator[tuple[object, ...]]:
    """The rows of one specimen; weights found at one size centre the search at the next."""
    boxes = (OURS[settings.noise], THEIRS[kind])
    for number, size in enumerate(sizes):
        ours, theirs = best(kind, size, boxes, number > 0, settings)
        boxes = (near(ours), near(theirs))
        for seed in SEEDS:
            yield from compared(
                condition(kind, size, seed),
                Weights(*ours),
                Steps(*theirs),
                settings,
                (f"{kind} {size}³", seed),
            )


def compared(
    given: tuple[Specimen, TiltSeries],
    weights: Weights,
    steps: Steps,
    settings: SolverSettings,
    names: tuple[str, int],
) -> Iterator[tuple[object, ...]]:
    """The two rows of one noise seed, the second with its ratios to the first."""
    truth, series = given
    algorithm = authors(series)
    trace_ours(series, truth, weights, settings)  # compiles and caches outside the clock
    ours = trace_ours(series, truth, weights, settings)
    theirs = trace_theirs(algorithm, truth, steps)
    for name, used, trace in (("ours", weights, ours), ("authors'", steps, theirs)):
        yield (
            *names,
            name,
            ", ".join(f"{field} {value:.3g}" for field, value in vars(used).items()),
            _ratio(trace.last, ours.last, ".3f"),
            _list(nrmse_by_element(trace.volumes, truth.volumes)),
            _list(trace.volumes.sum(axis=(1, 2, 3)) / truth.volumes.sum(axis=(1, 2, 3))),
            f"{trace.rows[-1, 0]:.0f}",
            _ratio(trace.rows[-1, 1], ours.rows[-1, 1], ".2f"),
            f"{trace.arrival[0]:.0f} it., {_ratio(trace.arrival[1], ours.arrival[1], '.2f')} s",
            _reached(trace, ours),
        )


def _ratio(value: float, ours: float, form: str) -> str:
    return f"{value:{form}} ({value / ours:.2f}×)"


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _reached(trace: Trace, ours: Trace) -> str:
    seconds = trace.reaches(1.01 * ours.last)
    return "never" if seconds is None else f"{seconds:.2f} s"


if __name__ == "__main__":
    words = sys.argv[1:]
    chosen = edition_in(words)[1]
    kind = words[0] if words else "nanocubes"
    main(kind, [int(size) for size in words[1:]] or SIZES, chosen)
