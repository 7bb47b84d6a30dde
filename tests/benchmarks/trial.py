"""Time, iterations, convergence and memory of one fused trial, 47 HAADF and 9 chemical tilts.

Converged means within 1 % of the NRMSE that ten times as many iterations reach. Run on an
otherwise idle machine:

    python tests/benchmarks/trial.py [SIZE]
"""

from __future__ import annotations

import resource
import sys
import time

from common import condition, score, table

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

WEIGHTS = (Weights(0.01, 0.7), Weights(0.03, 0.7), Weights(0.1, 1.0), Weights(1.0, 1.0))
REPEATS = 3


def main(size: int) -> None:
    """Print one row per pair of weights."""
    specimen, series = condition(size, 47, 9)
    small = condition(16, 47, 9)[1]
    reconstruct(small, Method.FUSED, WEIGHTS[0], SolverSettings(max_iterations=40))  # compile
    before = _peak_bytes()
    rows = []
    for weights in WEIGHTS:
        seconds, found = min(
            (_timed(series, weights, SolverSettings()) for _ in range(REPEATS)),
            key=lambda pair: pair[0],
        )
        peak = (_peak_bytes() - before) / specimen.volumes.nbytes
        long_run = SolverSettings(tolerance=1e-12, max_iterations=int(10 * found.iterations))
        reference = score(_timed(series, weights, long_run)[1].volumes, specimen)
        mine = score(found.volumes, specimen)
        rows.append(
            (
                f"{weights.haadf}, {weights.tv}",
                str(found.status),
                f"{found.iterations:.0f}",
                f"{seconds:.2f}",
                f"{1e3 * seconds / found.iterations:.1f}",
                f"{mine:.4f}",
                f"{mine / reference - 1:+.2%}",
                f"{peak:.1f}",
            )
        )
    header = (
        f"{size}³: haadf, tv",
        "status",
        "iterations",
        "seconds (best of 3)",
        "ms / iteration",
        "NRMSE",
        "against 10 × iterations",
        "peak memory / specimen",
    )
    table(header, rows)


def _timed(series: object, weights: Weights, settings: SolverSettings) -> tuple[float, object]:
    start = time.perf_counter()
    found = reconstruct(series, Method.FUSED, weights, settings)
    return time.perf_counter() - start, found


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
