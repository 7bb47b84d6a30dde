"""What ruins a reconstruction most: one disturbance at a time, at strengths of a real microscope.

    NUMBA_NUM_THREADS=1 python tests/benchmarks/disturbances.py [SIZE [FAULT ...]] [edition=N] \
        [figure=F.png]

Nanocubes and composite at the paper's SNRs, 41 HAADF and 9 chemical tilts, three noise seeds, data
from a grid twice as fine: of (Zx)² for edition 1, of Z²x for those after it, the newest if none is
named. One pair of weights, that of the undisturbed data.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import PAPER_SNR, edition_in, table

from tomoatlas.analysis.figures.draw import save_figure
from tomoatlas.analysis.figures.faults import FAULTS, NO_FAULT, Ranked, faults_figure
from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import PAPER_MEAN_SNR, Acquisition
from tomoatlas.phantoms.disturbances import Disturbances
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import nrmse_by_element, totals
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

FIRST, LATER = (Weights(haadf=0.1, tv=1.0), "power"), (Weights(haadf=0.3, tv=1.4), "linear")
"""Weights and the law of the data, by edition."""
KINDS = {"nanocubes": (PAPER_SNR, "#0072B2"), "composite": (PAPER_MEAN_SNR, "#D55E00")}
"""SNR of the maps, and colour."""
SEEDS = range(3)


class Found(NamedTuple):
    """Of one specimen under one fault, over the seeds: (seed, element), and the solver's ends."""

    nrmse: np.ndarray
    totals: np.ndarray
    statuses: frozenset[str]


def found(kind: str, size: int, fault: str, edition: int, settings: SolverSettings) -> Found:
    """Solve the data of every noise seed."""
    weights, law = FIRST if edition == 1 else LATER
    acquisition = Acquisition(
        haadf_tilts=41, chemical_tilts=9, chemical_snr=KINDS[kind][0], oversample=2, contrast=law
    )
    truth, fine = (make_specimen(kind, n, 0) for n in (size, 2 * size))
    scores, amounts, statuses = [], [], set()
    for seed in SEEDS:
        series = simulate(fine, acquisition, seed, disturbances=Disturbances(**FAULTS[fault]))
        solved = reconstruct(series, Method.FUSED, weights, settings)
        scores.append(nrmse_by_element(solved.volumes, truth.volumes))
        amounts.append(totals(solved.volumes, truth.volumes))
        statuses.add(str(solved.status))
    return Found(np.array(scores), np.array(amounts), frozenset(statuses))


def row(fault: str, of: list[Found]) -> list[str]:
    """The mean NRMSE with its range over the seeds, the elements, and the totals."""
    cells = [fault]
    for each in of:
        means = each.nrmse.mean(axis=1)
        cells.append(f"{means.mean():.3f} ({means.min():.3f} to {means.max():.3f})")
        cells.append(", ".join(f"{score:.2f}" for score in each.nrmse.mean(axis=0)))
        cells.append(", ".join(f"{amount:.2f}" for amount in each.totals.mean(axis=0)))
    return [*cells, ", ".join(sorted(frozenset().union(*(each.statuses for each in of))))]


def header() -> list[str]:
    """Of the table."""
    cells = ["fault"]
    for kind in KINDS:
        elements = ", ".join(make_specimen(kind, 16, 0).elements)
        cells += [f"{kind}: ⟨NRMSE⟩", elements, f"totals {elements}"]
    return [*cells, "status"]


def main(words: list[str]) -> None:
    """Print one table, sorted by the first specimen, and draw the figure."""
    edition, settings = edition_in(words)
    figure = next((word for word in words if word.startswith("figure=")), None)
    words = [word for word in words if word != figure]
    size, names = int(words[0]) if words else 48, words[1:] or list(FAULTS)
    solved = {
        fault: [found(kind, size, fault, edition, settings) for kind in KINDS] for fault in names
    }
    worst = sorted(names, key=lambda fault: -solved[fault][0].nrmse.mean())
    table(header(), (row(fault, solved[fault]) for fault in worst))
    if figure and NO_FAULT in names:
        ranked = [
            Ranked(kind, KINDS[kind][1], np.array([solved[f][i].nrmse.mean(axis=1) for f in names]))
            for i, kind in enumerate(KINDS)
        ]
        title = f"{size}³, 41 HAADF and 9 chemical tilts, {len(SEEDS)} noise seeds"
        save_figure(faults_figure(names, ranked, title), Path(figure.removeprefix("figure=")))


if __name__ == "__main__":
    main(sys.argv[1:])
