"""Where fused trials begin: at their own weights, or all of a series at the usual ones.

For each condition and either start: the best NRMSE of nine pairs of weights, their mean, and the
median of the iterations; beside them chemistry + TV. Data by (Zx)^2 are projected from a grid twice
as fine; their noise seed is one that chose nothing. Run:

    NUMBA_NUM_THREADS=1 python tests/benchmarks/starts.py [SIZE [CONDITION ...]]
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
from common import score, table
from weights import SNRS, data

from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import StartName, newest_settings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.preparation import Preparations
from tomoatlas.recon_core.tiltseries import TiltSeries

PAIRS = [Weights(h, t) for h, t in itertools.product((0.1, 0.3, 1.0), (0.7, 1.4, 2.8))]
ALONE = (1.0, 1.4)  # tv of chemistry + TV
STARTS: tuple[StartName, ...] = ("trial", "series")
CONDITIONS: dict[str, dict[str, object]] = {
    "47/9": {},
    "HAADF SNR 10": {"haadf_snr": 10.0},
    "HAADF SNR 100": {"haadf_snr": 100.0},
    "18/5": {"haadf_tilts": 18, "chemical_tilts": 5},
    "5/18": {"haadf_tilts": 5, "chemical_tilts": 18},
    "counts x 0.3": {"counts": 0.3},
}


def main(size: int, names: list[str]) -> None:
    """Print one row per condition and specimen."""
    best, mean, count = ([f"{w}: {s}" for s in STARTS] for w in ("best", "mean", "iterations"))
    header = ("condition", "specimen", *best, *mean, "series over trial", *count, "chemistry + TV")
    table(header, rows(size, names))


def rows(size: int, names: list[str]) -> Iterator[tuple[object, ...]]:
    """The rows of the table."""
    for name, kind in itertools.product(names, SNRS):
        truth, series = data(size, kind, "power", **CONDITIONS[name])
        best, mean, count = zip(*(solved(series, truth, start) for start in STARTS), strict=True)
        numbers = [f"{value:.3f}" for value in (*best, *mean)]
        alone = min(
            score(reconstruct(series, Method.CHEMISTRY_TV, Weights(0.0, tv)).volumes, truth)
            for tv in ALONE
        )
        gain = f"{mean[1] / mean[0] - 1:+.0%}"
        yield name, kind, *numbers, gain, *(f"{value:.0f}" for value in count), f"{alone:.3f}"


def solved(series: TiltSeries, truth: Specimen, start: StartName) -> tuple[float, float, float]:
    """Best and mean NRMSE over the pairs of weights, and median iterations."""
    settings, kept = newest_settings().model_copy(update={"start": start}), Preparations()
    results = [reconstruct(series, Method.FUSED, w, settings, kept=kept) for w in PAIRS]
    scores = [score(each.volumes, truth) for each in results]
    return min(scores), float(np.mean(scores)), float(np.median([r.iterations for r in results]))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 32, given[1:] or list(CONDITIONS))
