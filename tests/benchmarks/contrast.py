"""What a wrong HAADF law costs: data of either law reconstructed with either, 47/9 tilts.

Data come from a grid twice as fine, at the paper's SNRs, exponent 2. The weights are chosen on one
noise seed, the HAADF weight at the middle TV weight and then the TV weight at that one; what is
reported is another seed at those weights. Run:

    python tests/benchmarks/contrast.py [SIZE [SPECIMEN ...]]
"""

from __future__ import annotations

import itertools
import sys

from common import LAW, LAWS, best_weights, by_element, score, series_of, table

from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import nrmse_by_element, totals
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import LawName, SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.tiltseries import TiltSeries

HAADF = (0.03, 0.1, 0.3, 1.0, 3.0)
TV = (0.6, 1.0, 1.6)
CHOOSING, REPORTED = 0, 1  # noise seeds


def main(size: int, kinds: list[str]) -> None:
    """Print a row for each specimen, law of the data and law of the solver."""
    header = (
        "specimen",
        "data → solver",
        "haadf, tv",
        "⟨NRMSE⟩",
        "by element",
        "totals, reconstructed / true",
        "ended",
    )
    cases = itertools.product(kinds, LAWS, LAWS)
    table(header, (row(size, *case) for case in cases))


def row(size: int, kind: str, data: LawName, law: LawName) -> tuple[object, ...]:
    """One specimen, law of the data and law of the solver, at the best weights of the grid."""
    truth = make_specimen(kind, size, 0)

    def solve(series: TiltSeries, weights: Weights) -> Reconstruction:
        """Fused; where the law is not the data's, it fits the HAADF scale itself."""
        return reconstruct(series, Method.FUSED, weights, SolverSettings(contrast=law))

    best = best_weights(series_of(size, kind, data, CHOOSING), truth, solve, HAADF, TV)
    found = solve(series_of(size, kind, data, REPORTED), best)
    return (
        kind,
        f"{LAW[data]} → {LAW[law]}",
        f"{best.haadf:g}, {best.tv:g}{'' if is_inside(best) else ' (edge)'}",
        f"{score(found.volumes, truth):.3f}",
        by_element(truth, nrmse_by_element(found.volumes, truth.volumes)),
        by_element(truth, totals(found.volumes, truth.volumes)),
        f"{found.status}, {found.iterations:.0f}",
    )


def is_inside(weights: Weights) -> bool:
    """Whether both weights lie between others that were tried."""
    return weights.haadf not in (HAADF[0], HAADF[-1]) and weights.tv not in (TV[0], TV[-1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 48, sys.argv[2:] or ["nanocubes", "composite"])
