"""Do weights of 1 mean the same? One pair of weights over doses, tilts, SNRs, specimens and laws.

With the settings of an edition, the newest if none is named. For each condition: the best pair of a
small grid, what the usual pair costs beside it, what the same data cost at that without scales and
without vacuum levels, and chemistry + TV. Data are projected from a grid twice as fine; their noise
seed is one that chose nothing. At the end: what the best HAADF weight of any condition costs in the
others, at the usual tv. Run:

    python tests/benchmarks/weights.py [SIZE [CONDITION ...]] [edition=N]
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
from common import LAWS, PAPER_SNR, as_measured, edition_in, score, table

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import PAPER_MEAN_SNR, Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import Method, Weights, default_weights
from tomoatlas.recon_core.settings import LawName, SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.preparation import Preparations
from tomoatlas.recon_core.tiltseries import TiltSeries

HAADF, TV = (0.03, 0.1, 0.3, 1.0, 3.0), (1.0, 1.4, 2.0)
SEED = 5  # of the noise
SNRS = {"nanocubes": PAPER_SNR, "composite": PAPER_MEAN_SNR}
USUAL = default_weights("residual", "noise")
KEPT = Preparations()
CONDITIONS: dict[str, dict[str, object]] = {
    "47/9": {},
    "counts x 0.5": {"counts": 0.5},
    "counts x 4": {"counts": 4.0},
    "HAADF SNR 10": {"haadf_snr": 10.0},
    "HAADF SNR 100": {"haadf_snr": 100.0},
    "18/5": {"haadf_tilts": 18, "chemical_tilts": 5},
    "71/18": {"haadf_tilts": 71, "chemical_tilts": 18},
}


def main(size: int, names: list[str], settings: SolverSettings) -> None:
    """Print one row per condition, then the costs among them."""
    usual = f"at {USUAL.haadf:g}, {USUAL.tv:g}"
    header = ("condition", "specimen, data", "best NRMSE", "haadf, tv", usual, "measured-like")
    header += ("chemistry + TV",)
    landscapes: dict[str, np.ndarray] = {}
    table(header, rows(size, names, settings, landscapes))
    curves = np.array([scores[:, TV.index(USUAL.tv)] for scores in landscapes.values()])
    relative = curves / curves.min(axis=1, keepdims=True) - 1
    chosen = sorted({int(i) for i in curves.argmin(axis=1)})
    print(f"\nbest haadf at tv {USUAL.tv:g} → what it costs all conditions, mean and worst")
    for i in chosen:
        worst = list(landscapes)[int(relative[:, i].argmax())]
        print(f"{HAADF[i]:g}: {relative[:, i].mean():.1%}, {relative[:, i].max():.1%} ({worst})")


def rows(
    size: int, names: list[str], settings: SolverSettings, landscapes: dict[str, np.ndarray]
) -> Iterator[tuple[object, ...]]:
    """The rows of the table; the scores of each condition, (haadf, tv), go to ``landscapes``."""
    for name, kind, law in itertools.product(names, SNRS, LAWS):
        truth, series = data(size, kind, law, **CONDITIONS[name])
        scores = np.array(
            [[nrmse(series, truth, Weights(h, t), settings) for t in TV] for h in HAADF]
        )
        landscapes[f"{name}, {kind}, {law}"] = scores
        i, j = np.unravel_index(scores.argmin(), scores.shape)
        ones = float(scores[HAADF.index(USUAL.haadf), TV.index(USUAL.tv)])
        blind = nrmse(as_measured(series), truth, USUAL, settings)
        alone = min(nrmse(series, truth, Weights(0.0, tv), settings) for tv in TV)
        best = float(scores.min())
        yield (
            name,
            f"{kind}, {law}",
            f"{best:.3f}",
            f"{HAADF[i]:g}, {TV[j]:g}",
            f"{ones:.3f} ({ones / best - 1:+.1%})",
            f"{blind:.3f} ({blind / ones - 1:+.1%})",
            f"{alone:.3f}",
        )


def data(
    size: int, kind: str, law: LawName, counts: float = 1.0, **acquisition: object
) -> tuple[Specimen, TiltSeries]:
    """Truth and tilt series; ``counts`` multiplies those of the maps."""
    given = SNRS[kind]
    snr = (
        {name: 1 + counts * (value - 1) for name, value in given.items()}
        if isinstance(given, dict)
        else 1 + counts * (given - 1)
    )
    plan = Acquisition(chemical_snr=snr, oversample=2, contrast=law, **acquisition)
    return make_specimen(kind, size, 0), simulate(make_specimen(kind, 2 * size, 0), plan, SEED)


def nrmse(series: TiltSeries, truth: Specimen, weights: Weights, settings: SolverSettings) -> float:
    """Mean NRMSE of a solve: fused, or of chemistry + TV where HAADF has no weight."""
    method = Method.FUSED if weights.haadf else Method.CHEMISTRY_TV
    return score(reconstruct(series, method, weights, settings, kept=KEPT).volumes, truth)


if __name__ == "__main__":
    given = sys.argv[1:]
    settings = edition_in(given)[1]
    main(int(given[0]) if given else 32, given[1:] or list(CONDITIONS), settings)
