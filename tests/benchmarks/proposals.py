"""How long a proposal over many cells takes, by the number of results it is made from.

A bowl whose optimum moves with the context, three trials in each of as many cells as that takes;
``fit`` is what finding the parameters adds, which one proposal in ten does (of the first 24 each).
Seconds of one processor, the median of five. Run:

    python tests/benchmarks/proposals.py
"""

from __future__ import annotations

import time

import numpy as np
from common import table

from tomoatlas.sweep.search.choices import Cells, Results, next_choice
from tomoatlas.sweep.search.contextual import fit_parameters
from tomoatlas.sweep.search.gp import one_blas_thread

COUNTS = (50, 200, 1000, 5000)
EACH, PENDING, REPEATS = 3, 8, 5
PRECISION = 1e-9
"""So small that every proposal looks for the largest improvement, and finds one."""


def problem(known: int, weights: int, seed: int) -> tuple[Cells, Results]:
    """Cells on a square of context, and results of all but the last trials of each."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(known / EACH)))
    edge = np.linspace(-1.5, 1.5, side)
    context = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
    cells = np.arange(known + PENDING) % len(context)
    unit = rng.random((known + PENDING, weights))
    away = unit - 0.5 - 0.1 * np.resize(context.T, (weights, len(context))).T[cells]
    scores = 0.8 * (away**2).sum(axis=1) - 0.2 * context.sum(axis=1)[cells]
    scores += 0.002 * rng.standard_normal(len(scores))
    everywhere = np.arange(len(context))
    return Cells(context, (everywhere,), (99,), seed), Results(cells, unit, scores[:known])


def seconds(known: int, weights: int, seed: int) -> tuple[float, float]:
    """Of the choice, and of the parameters."""
    cells, results = problem(known, weights, seed)
    points = results.points(cells).at(slice(0, known))
    with one_blas_thread():
        began = time.process_time()
        parameters = fit_parameters(points, results.scores)
        fitted = time.process_time()
        next_choice(cells, results, parameters, PRECISION)
    return time.process_time() - fitted, fitted - began


def taken(known: int, weights: int) -> str:
    """Median milliseconds, as text."""
    found = np.array([seconds(known, weights, seed) for seed in range(REPEATS)])
    choice, fit = 1e3 * np.median(found, axis=0)
    return f"{choice:.0f} + {fit:.0f}"


def main() -> None:
    """Print a table."""
    print("ms: choice + fit of the parameters")
    rows = ([known, *(taken(known, weights) for weights in (1, 2, 3))] for known in COUNTS)
    table(["results", "1 weight", "2 weights", "3 weights"], rows)


if __name__ == "__main__":
    main()
