"""The four methods at 64³, 47 HAADF and 9 chemical tilts, the paper's SNRs, three noise seeds.

Chemistry + TV and fused are searched over a grid of their own weights. Run:

    python tests/benchmarks/accuracy.py [SEED ...]
"""

from __future__ import annotations

import itertools
import sys

from common import condition, score, table

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

TV_ALONE = (0.7, 1.0, 1.4, 2.0, 2.8)
HAADF = (0.03, 0.1, 0.3, 1.0)
TV = (0.5, 0.7, 1.0, 1.4)


def main(seeds: list[int]) -> None:
    """Print the NRMSE of every method and what fusion gains over the two baselines."""
    table(
        (
            "noise seed",
            "ML",
            "ML stopped",
            "chemistry + TV",
            "fused",
            "weights",
            "fused / ML",
            "gain",
        ),
        (row(seed) for seed in seeds),
    )


def row(seed: int) -> tuple[object, ...]:
    """One noise seed: every method at its best weights."""
    specimen, series = condition(64, 47, 9, seed)

    def nrmse(method: Method, weights: Weights) -> float:
        found = reconstruct(series, method, weights, SolverSettings(), lambda v: score(v, specimen))
        return score(found.volumes, specimen)

    ml, stopped = nrmse(Method.ML, Weights()), nrmse(Method.ML_STOPPED, Weights())
    alone, tv_alone = min((nrmse(Method.CHEMISTRY_TV, Weights(0, tv)), tv) for tv in TV_ALONE)
    fused, haadf, tv = min(
        (nrmse(Method.FUSED, Weights(h, t)), h, t) for h, t in itertools.product(HAADF, TV)
    )
    return (
        seed,
        f"{ml:.3f}",
        f"{stopped:.3f}",
        f"{alone:.3f} (tv {tv_alone})",
        f"{fused:.3f}",
        f"haadf {haadf}, tv {tv}",
        f"{fused / ml:.2f}",
        f"{1 - fused / alone:.0%}",
    )


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [0, 1, 2])
