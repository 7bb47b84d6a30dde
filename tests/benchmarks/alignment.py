"""How well align finds what was put in, and what a reconstruction loses by the rest.

    python tests/benchmarks/alignment.py [SIZE [SEEDS]] [edition=N]

Shifts of ± 4 px in both modalities, axis 3 px off and turned by 2°, maps drifting by 1 px, a film
of 10 %, put in on a grid twice as fine by code that align does not share. The shift of the specimen
that no image shows is taken off the placement before volumes are compared.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from common import edition_in, score, table

sys.path.insert(0, str(Path(__file__).parents[1] / "recon_core"))
from misaligned import NONE, Fault, displaced, misaligned, own, specimen_in_vacuum, truth

from tomoatlas.recon_core.alignment import align
from tomoatlas.recon_core.geometry import STILL, Placement
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.tiltseries import TiltSeries

KINDS = ("nanocubes", "composite", "co3o4-mn3o4")
Values = np.ndarray


def in_frame(found: TiltSeries, known: TiltSeries) -> tuple[TiltSeries, Values, Values]:
    """The found series with the specimen where it is known to be; RMS errors of both modalities."""

    def moved(placement: Placement, move: Values) -> Placement:
        y, x = (own(placement) - move).T
        turn = np.deg2rad(placement.rotation_deg)
        cosine, sine = np.cos(turn), np.sin(turn)
        shifts = np.stack([y * cosine + x * sine, x * cosine - y * sine], axis=1)
        return Placement(tuple(map(tuple, shifts.tolist())), 0.0, placement.rotation_deg)

    haadf, maps = displaced(found, known)
    placed = replace(
        found,
        haadf_placement=moved(found.haadf_placement, haadf),
        chemical_placement=moved(found.chemical_placement, maps),
    )
    errors = [
        np.sqrt(((own(a) - own(b)) ** 2).mean(axis=0))
        for a, b in (
            (placed.haadf_placement, known.haadf_placement),
            (placed.chemical_placement, known.chemical_placement),
        )
    ]
    return placed, errors[0], errors[1]


def row(kind: str, size: int, seed: int, settings: SolverSettings) -> list[object]:
    """One line of the table."""
    fine = specimen_in_vacuum(kind, size * 4 // 3, 2 * size, seed)
    specimen = truth(fine)

    def nrmse(series: TiltSeries) -> float:
        bare = replace(series, haadf_film=0.0, haadf_background=0.0)
        return score(reconstruct(bare, settings=settings).volumes, specimen)

    known = misaligned(fine, Fault(), seed)
    recorded = replace(known, haadf_placement=STILL, chemical_placement=STILL)
    start = perf_counter()
    found = align(replace(recorded, haadf_film=0.0, haadf_background=0.0))
    seconds = perf_counter() - start
    placed, haadf, maps = in_frame(found.series, known)
    best = nrmse(misaligned(fine, replace(NONE, film=Fault().film), seed))
    scores = [nrmse(series) for series in (recorded, placed, known)]
    return [
        f"{kind} {seed}",
        " / ".join(f"{e:.3f}" for e in haadf),
        " / ".join(f"{e:.3f}" for e in maps),
        f"{found.series.haadf_placement.rotation_deg:.2f}°",
        f"{best:.3f}",
        *(f"{s:.3f}" for s in scores),
        f"{scores[1] / best:.2f}",
        f"{seconds:.0f} s",
    ]


def main() -> None:
    """Print the table."""
    words = sys.argv[1:]
    settings = edition_in(words)[1].model_copy(update={"film": True})
    size, seeds = map(int, (*words, *("48", "2")[len(words) :]))
    header = ["specimen, seed", "HAADF y / x, px", "maps y / x, px", "turned", "in place"]
    header += ["as recorded", "aligned", "shifts known", "aligned / in place", "align"]
    table(header, (row(kind, size, seed, settings) for kind in KINDS for seed in range(seeds)))


if __name__ == "__main__":
    main()
