"""Weights without truth against the oracle: what each rule costs where nothing was tuned.

Conditions are unlike those on which the rules were conceived: other specimens, counts × 0.25 to 8,
other tilts, ranges, laws of HAADF and detector SNRs; in every second one scales and vacuum levels
are unknown. The oracle is the best of a grid of 9 × 7 weights; data come from a grid twice as fine.
Costs are of NRMSE over that of the oracle. Run:

    python tests/benchmarks/auto_weights.py [SIZE [FIRST LAST]]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from common import as_measured, score, table

from tomoatlas.analysis.weights import auto_weights
from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import LawName, newest_settings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.preparation import Preparations
from tomoatlas.recon_core.tiltseries import TiltSeries

KINDS = ("au-fe3o4", "co3o4-mn3o4", "zns-cus", "cu-sic", "c-tio2")
HAADF = 0.3 * 3.0 ** np.arange(-4, 5)
TV = 1.4 * 1.5 ** np.arange(-3, 4)
SETTINGS = newest_settings()
WITHIN = (0.05, 0.1)


@dataclass(frozen=True)
class Condition:
    """One acquisition of one specimen.

    Parameters
    ----------
    kind : of the specimen, shipped.
    tilts : of HAADF and of the maps, over ± ``reach`` degrees.
    counts : mean of a pixel of the maps.
    haadf_snr, law, gamma : of HAADF.
    measured : whether scales and vacuum levels are unknown.
    seed : of specimen and noise.
    """

    kind: str
    tilts: tuple[int, int]
    reach: float
    counts: float
    haadf_snr: float
    law: LawName
    gamma: float
    measured: bool
    seed: int

    def __str__(self) -> str:
        known = ", measured" if self.measured else ""
        law = f"{self.law} {self.gamma:g}, SNR {self.haadf_snr:g}"
        tilts = f"{self.tilts[0]}/{self.tilts[1]} ± {self.reach:g}°"
        return f"{self.kind}, {tilts}, {self.counts:g} counts, {law}{known}"


def conditions() -> list[Condition]:
    """Four of each specimen; every property runs through its values at a pace of its own."""
    tilts = ((41, 9), (25, 6), (61, 13), (35, 18), (51, 5), (15, 11), (81, 10))
    counts = tuple(1.365 * factor for factor in (0.25, 8, 1, 0.5, 4, 2))
    found = []
    for i in range(20):
        law: LawName = "linear" if i % 3 else "power"
        found.append(
            Condition(
                KINDS[i % 5],
                tilts[i % 7],
                (70.0, 60.0, 75.0)[i % 3],
                round(counts[i % 6], 3),
                (2000.0, 300.0, 60.0, 6000.0)[(i // 2) % 4],
                law,
                2.0 if law == "power" else (1.7, 2.0)[i % 2],
                bool(i % 2),
                100 + i,
            )
        )
    return found


def data(at: Condition, size: int) -> tuple[Specimen, TiltSeries]:
    """Truth and tilt series."""
    plan = Acquisition(
        haadf_tilts=at.tilts[0],
        chemical_tilts=at.tilts[1],
        tilt_range_deg=(-at.reach, at.reach),
        haadf_snr=at.haadf_snr,
        chemical_snr=1.0 + at.counts,
        contrast=at.law,
        gamma=at.gamma,
        oversample=2,
    )
    series = simulate(make_specimen(at.kind, 2 * size, at.seed), plan, at.seed)
    truth = make_specimen(at.kind, size, at.seed)
    return truth, as_measured(series) if at.measured else series


def rows(size: int, chosen: list[Condition], costs: list[list[float]]) -> Iterator[list[object]]:
    """A line for each condition; its costs go to ``costs``."""
    for at in chosen:
        cells, own = row(at, size)
        costs.append(own)
        yield cells


def row(at: Condition, size: int) -> tuple[list[object], list[float]]:
    """The line of a condition; costs of the rules, and how far the expected NRMSE is off."""
    truth, series = data(at, size)
    kept = Preparations()

    def nrmse(weights: Weights, method: Method = Method.FUSED) -> float:
        return score(reconstruct(series, method, weights, SETTINGS, kept=kept).volumes, truth)

    grid = np.array([[nrmse(Weights(h, tv)) for tv in TV] for h in HAADF])
    alone = min(nrmse(Weights(0.0, tv), Method.CHEMISTRY_TV) for tv in TV)
    found = auto_weights(series, settings=SETTINGS)
    rules = (found.weights, found.held_out.weights, found.simulated.weights, found.usual)
    scores = [nrmse(weights) for weights in rules]
    # the grid is coarse: a rule may beat it
    best = min(float(grid.min()), *scores)
    costs = [s / best - 1 for s in scores]
    off = found.nrmse / scores[0] - 1
    i, j = np.unravel_index(grid.argmin(), grid.shape)
    cells = [
        at,
        f"{best:.3f}",
        f"{HAADF[i]:.2g}, {TV[j]:.2g}",
        f"{found.weights.haadf:.2g}, {found.weights.tv:.2g}",
        *(f"{cost:+.1%}" for cost in costs),
        f"{alone:.3f}",
        f"{found.nrmse:.3f} ({off:+.0%})",
        len(found.doubts),
    ]
    return cells, [*costs, abs(off)]


def main() -> None:
    """Print the table and its summary."""
    words = [int(w) for w in sys.argv[1:]]
    first, last = words[1:3] if len(words) > 2 else (0, 20)
    costs: list[list[float]] = []
    names = ("bracket", "held out", "self-simulated", "usual")
    header = ("condition", "oracle", "at haadf, tv", "chosen", *names, "chemistry + TV")
    chosen = conditions()[first:last]
    body = rows(words[0] if words else 32, chosen, costs)
    table((*header, "NRMSE expected", "doubts"), body)
    for name, column in zip((*names, "|expected / true - 1|"), np.array(costs).T, strict=True):
        shares = ", ".join(f"{(column <= w).mean():.0%} within {w:.0%}" for w in WITHIN)
        print(f"{name}: mean {column.mean():.1%}, worst {column.max():.1%}; {shares}")


if __name__ == "__main__":
    main()
