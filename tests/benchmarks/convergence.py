"""Iterations to 1 % of the final NRMSE for each serious way to solve the fused problem.

Nanocubes at 47 HAADF and 9 chemical tilts, the paper's SNRs, data from a grid twice as fine,
tv = 1. Counted in work: one iteration is a pair of projections of each modality, the start and
the curvature bounds included. The final NRMSE of a candidate is that of its own last iterate. Run:

    python tests/benchmarks/convergence.py [SIZE [ITERATIONS [HAADF ...]]]

prints the table and draws tests/benchmarks/convergence_SIZE.png.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from common import condition, score, table

from phantoms.specimen import Specimen
from recon_core.device import CPU
from recon_core.fusion import FusedProblem
from recon_core.gram import gram_of
from recon_core.settings import SolverSettings, Weights
from recon_core.solve import FusionState, _volume_step, step
from recon_core.start import started
from recon_core.tiltseries import TiltSeries

HAADF = (0.01, 0.03, 0.1, 1.0)
SETTINGS = SolverSettings()
EVERY = 5
NOT_COARSER = 10**6
Step = Callable[[FusedProblem, FusionState], FusionState]


@dataclass(frozen=True)
class Trace:
    """Work, seconds, NRMSE and objective of a candidate, one entry per five iterations."""

    rows: np.ndarray

    @property
    def arrival(self) -> float:
        """Work after which the NRMSE stays within 1 % of its last value."""
        work, scores = self.rows[:, 0], self.rows[:, 2]
        away = np.flatnonzero(np.abs(scores / scores[-1] - 1) > 0.01)
        return float(work[0] if not len(away) else work[min(away[-1] + 1, len(work) - 1)])


def gradient_step(problem: FusedProblem, state: FusionState) -> FusionState:
    """Accelerated proximal gradient on the whole objective, its HAADF term not split.

    The metric adds the row sums of J^T J ||A||^2, J = gamma w x^(gamma - 1) at its largest.
    """
    haadf, bare = problem.haadf, replace(problem, haadf=None)
    weights, gamma = haadf.weights[:, None, None, None], haadf.gamma
    problem.chemistry.gradient(state.point, state.rays, out=state.slope)
    bend = gamma * weights * np.maximum(state.point, 0) ** (gamma - 1)
    rays = haadf.projector.forward(problem.contrast(np.maximum(state.point, 0))) - haadf.signal
    state.slope[...] += haadf.precision[0] * bend * haadf.projector.adjoint(rays)[:, None]
    tops = bend.max(axis=(0, 2, 3, 4))
    square = float(gram_of(CPU, haadf.projector.geometry, 1.0).ridge)
    added = haadf.precision[0] * square * tops * tops.sum()
    own = replace(state, metric=(state.metric + added).astype(np.float32), split=None, gram=None)
    after = _volume_step(bare, own)
    work = state.work + problem.tilts_per_iteration
    return replace(
        after, metric=state.metric, iteration=state.iteration + 1, work=work, split=state.split
    )


CANDIDATES: dict[str, tuple[int, Step]] = {
    "accelerated proximal gradient": (NOT_COARSER, gradient_step),
    "split, from the counts": (NOT_COARSER, step),
    "split, from half the resolution": (16, step),
}


def trace(
    series: TiltSeries, truth: Specimen, weights: Weights, name: str, iterations: int
) -> Trace:
    """Solve with one candidate, its score and objective taken outside the clock."""
    smallest, one_step = CANDIDATES[name]
    clock = time.perf_counter()
    problem, state = started(series, [weights], SETTINGS, CPU, smallest)
    if one_step is gradient_step:
        state = replace(state, limit=np.ones(1))
    seconds, rows = time.perf_counter() - clock, []
    while state.work < iterations * problem.tilts_per_iteration:
        if state.iteration % EVERY == 0:
            work = state.work / problem.tilts_per_iteration
            value = problem.terms(state.volumes).objective[0]
            rows.append((work, seconds, score(state.volumes[0], truth), value))
        clock = time.perf_counter()
        state = one_step(problem, state)
        seconds += time.perf_counter() - clock
    return Trace(np.array(rows))


def main(size: int, iterations: int, haadf: tuple[float, ...]) -> None:
    """Print and draw the traces of every candidate at every weight."""
    truth, series = condition(size, 47, 9, oversample=2)
    found: dict[float, dict[str, Trace]] = {}

    def rows() -> Iterator[tuple[object, ...]]:
        for weight in haadf:
            traces = {
                name: trace(series, truth, Weights(weight, 1.0), name, iterations)
                for name in CANDIDATES
            }
            found[weight] = traces
            lowest = min(got.rows[-1, 3] for got in traces.values())
            for name, got in traces.items():
                _, seconds, nrmse, value = got.rows[-1]
                above = f"{value:.1f} ({value / lowest - 1:+.2%})"
                yield weight, name, f"{got.arrival:.0f}", f"{nrmse:.4f}", above, f"{seconds:.1f} s"

    header = ("haadf", "candidate", "iterations to 1 %", "NRMSE", "objective", "time in all")
    table(header, rows())
    draw(found, Path(__file__).with_name(f"convergence_{size}.png"), size)


def draw(found: dict[float, dict[str, Trace]], path: Path, size: int) -> None:
    """Objective above its lowest, and NRMSE, against work and time; a column per weight."""
    width = max(8.5, 3.4 * len(found))
    figure, axes = plt.subplots(4, len(found), figsize=(width, 10.4), squeeze=False)
    for column, (weight, traces) in enumerate(found.items()):
        lowest = min(t.rows[:, 3].min() for t in traces.values())
        for row, (what, along) in enumerate(product((3, 2), (0, 1))):
            ax = axes[row, column]
            for name, got in traces.items():
                values = got.rows[:, what]
                shown = values / lowest - 1 if what == 3 else values
                ax.plot(got.rows[:, along], np.maximum(shown, 1e-6), label=name, lw=1.4)
            ax.set_xlabel("seconds" if along else "iterations (work)")
            if what == 3:
                ax.set_yscale("log")
                ax.set_ylim(1e-5, 1)
            else:
                ax.set_ylim(*_near([t.rows[:, 2] for t in traces.values()]))
            if along == 0:
                ax.axvline(100, color="0.7", lw=0.8, ls=":")
        axes[0, column].set_title(f"haadf = {weight:g}")
    for row, label in enumerate(("objective above the lowest", "mean NRMSE")):
        axes[2 * row, 0].set_ylabel(label)
        axes[2 * row + 1, 0].set_ylabel(label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncol=len(labels), frameon=False)
    figure.suptitle(f"{size}³ × 4, 47 HAADF and 9 chemical tilts, tv = 1", y=0.965, fontsize=10)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(path, dpi=110)


def _near(scores: list[np.ndarray]) -> tuple[float, float]:
    low = min(float(s.min()) for s in scores)
    return 0.97 * low, 1.9 * low


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 64,
        int(given[1]) if len(given) > 1 else 400,
        tuple(map(float, given[2:])) or HAADF,
    )
