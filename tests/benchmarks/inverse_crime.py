"""What simulating on the reconstruction's own grid flatters: 64³, 47/9 tilts, the paper's SNRs.

The same specimen, projected on its own grid and on grids two and three times finer. Run:

    python tests/benchmarks/inverse_crime.py
"""

from __future__ import annotations

from common import condition, score, table

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

SIZE = 64
RUNS = {
    "ML": (Method.ML, Weights()),
    "chemistry + TV, tv 1.4": (Method.CHEMISTRY_TV, Weights(0, 1.4)),
    "fused, haadf 0.03, tv 0.7": (Method.FUSED, Weights(0.03, 0.7)),
    "fused, haadf 1, tv 1": (Method.FUSED, Weights(1, 1)),
}


def main() -> None:
    """Print the NRMSE of each method for each oversampling."""
    table(("projected from", *RUNS), (row(oversample) for oversample in (1, 2, 3)))


def row(oversample: int) -> tuple[str, ...]:
    """One oversampling: the NRMSE of every method."""
    truth, series = condition(SIZE, 47, 9, oversample=oversample)
    scores = [
        score(reconstruct(series, method, weights, SolverSettings()).volumes, truth)
        for method, weights in RUNS.values()
    ]
    return (f"{SIZE * oversample}³", *(f"{value:.3f}" for value in scores))


if __name__ == "__main__":
    main()
