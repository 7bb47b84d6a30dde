"""Do the best weights move? A grid of weights at two sizes and three samplings.

The data are projected from a grid twice as fine: own-grid data favour large HAADF weights.

Prints the best pair of each condition, the range of each weight within 2 % of the best NRMSE, and
what one common pair costs everywhere. Run:

    python tests/benchmarks/transfer.py [SIZE,HAADF,CHEMICAL ...]
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
from common import condition, score, table

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

HAADF = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
TV = (0.5, 0.7, 1.0, 1.4)
COMMON = (0.04, 0.7)
CONDITIONS = tuple(
    f"{size},{tilts}" for size, tilts in itertools.product((32, 64), ("18,5", "47,9", "71,18"))
)


def main(conditions: list[str]) -> None:
    """Print one row per condition."""
    header = (
        "size",
        "tilts",
        "best NRMSE",
        "haadf",
        "within 2 %",
        "tv",
        "within 2 %",
        "cost of common",
    )
    table(header, (row(*map(int, text.split(","))) for text in conditions))


def row(size: int, haadf: int, chemical: int) -> tuple[object, ...]:
    """One condition: the NRMSE over the grid of weights and what it says."""
    specimen, series = condition(size, haadf, chemical, oversample=2)
    scores = np.array(
        [
            [
                score(
                    reconstruct(series, Method.FUSED, Weights(h, t), SolverSettings()).volumes,
                    specimen,
                )
                for t in TV
            ]
            for h in HAADF
        ]
    )
    best = scores.min()
    i, j = np.unravel_index(scores.argmin(), scores.shape)
    good = scores <= 1.02 * best
    rows, columns = np.flatnonzero(good.any(axis=1)), np.flatnonzero(good.any(axis=0))
    common = scores[HAADF.index(COMMON[0]), TV.index(COMMON[1])]
    return (
        f"{size}³",
        f"{haadf}/{chemical}",
        f"{best:.3f}",
        HAADF[i],
        f"{HAADF[rows[0]]}-{HAADF[rows[-1]]}",
        TV[j],
        f"{TV[columns[0]]}-{TV[columns[-1]]}",
        f"{common / best - 1:+.1%}",
    )


if __name__ == "__main__":
    main(sys.argv[1:] or list(CONDITIONS))
