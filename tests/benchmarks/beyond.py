"""What lies beyond the bound of a search: best weights of a shipped atlas with a stronger TV.

A cell is solved at the HAADF weight that is best there and at TV weights that the study's space
does not hold, and its NRMSE is set beside the best of the atlas. Run:

    NUMBA_NUM_THREADS=1 python tests/benchmarks/beyond.py ATLAS TV[,TV ...] HAADF,MAPS ...

with the numbers of tilts of each cell, as in `beyond.py nanocubes_256 8,11 47,9`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from common import table

from tomoatlas.analysis.atlas import load_atlas
from tomoatlas.analysis.style import CHEMICAL_TILTS, HAADF_TILTS
from tomoatlas.jobs import load_study
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.evaluate import evaluate
from tomoatlas.sweep.study import Study
from tomoatlas.sweep.study.trial import TrialResult


def solved(study: Study, haadf: int, maps: int, weights: Weights) -> TrialResult:
    """The cell of these numbers of tilts with these weights, on the data of the atlas."""
    tilts = {HAADF_TILTS: haadf, CHEMICAL_TILTS: maps}
    (cell,) = (c for c in study.cells() if tilts.items() <= dict(c.values).items())
    return evaluate(study, study.trial(cell, Method.FUSED, 0, weights))


def rows(name: str, levels: list[float], cells: list[tuple[int, int]]) -> Iterator[list[str]]:
    """A line for each cell and TV weight, the best of the atlas first."""
    study, atlas = load_study(name), load_atlas(name).table.set_index([HAADF_TILTS, CHEMICAL_TILTS])
    for haadf, maps in cells:
        best = atlas.loc[(haadf, maps)]
        start = f"{haadf} / {maps}", f"{best['haadf']:.3g}"
        yield [*start, f"{best['tv']:.3g}", f"{best['nrmse']:.4f}", "", "", ""]
        for tv in levels:
            found = solved(study, haadf, maps, Weights(haadf=float(best["haadf"]), tv=tv))
            change = f"{found.nrmse / best['nrmse'] - 1:+.1%}"
            took = f"{found.iterations:.0f}", f"{found.seconds:.0f}"
            yield [*start, f"{tv:g}", f"{found.nrmse:.4f}", change, *took]


def main(name: str, levels: str, *cells: str) -> None:
    """Print the table."""
    at = [(int(h), int(m)) for h, m in (cell.split(",") for cell in cells)]
    header = ("HAADF tilts / maps", "haadf", "tv", "NRMSE", "over the atlas", "iterations", "s")
    table(header, rows(name, [float(t) for t in levels.split(",")], at))


if __name__ == "__main__":
    main(*sys.argv[1:])
