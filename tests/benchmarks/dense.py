"""Dense grids of weights in every cell of two maps: what a search is measured against.

Both specimens, 12 cells each (HAADF tilts x chemical tilts x chemical SNR), edition 3 with data by
the law that its solver is not told, 8 x 6 weights over the search space, at 64³ and at half of it
as ``search.fidelity = { size = 0.5 }`` solves it. One line a trial, appended to FILE; a second call
goes on where the first ended. The grids of this repository stand in ``dense.csv``. Run, with
``NUMBA_NUM_THREADS=1``:

    python tests/benchmarks/dense.py FILE [SPECIMEN ...]
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.interpolate import RectBivariateSpline

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.evaluate import evaluate
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Cell, TrialStatus

GRIDS = Path(__file__).with_name("dense.csv")
SPECIMENS = ("nanocubes", "composite")
SIZE = 64
AXES: dict[str, tuple[float, ...]] = {
    "acquisition.haadf_tilts": (9, 47, 141),
    "acquisition.chemical_tilts": (5, 18),
    "acquisition.chemical_snr": (2.0, 5.0),
}
POINTS = {"haadf": 8, "tv": 6}
COLUMNS = ("specimen", "size", "haadf_tilts", "chemical_tilts", "chemical_snr", "haadf", "tv",
           "nrmse", "iterations", "seconds")  # fmt: skip
Key = tuple[str, int, tuple[float, ...]]  # specimen, size, values of the axes


def study_of(kind: str, search: str = "") -> Study:
    """The study of one specimen; ``search`` holds further lines of its table."""
    axes = "\n".join(f'"{path}" = {list(values)}' for path, values in AXES.items())
    return parse_study(
        f'[study]\nname = "dense"\nedition = 3\n[specimen]\nkind = "{kind}"\nsize = {SIZE}\n'
        "[acquisition]\nhaadf_snr = 2208.67\nbackground = 0.15\noversample = 2\n"
        f'[search]\nmethods = ["fused"]\nfidelity = {{ size = 0.5 }}\n{search}\n[axes]\n{axes}\n'
    )


def weights_of(study: Study) -> list[Weights]:
    """The grid, log-spaced over the search space: row after row of the HAADF weight."""
    edges = [np.geomspace(*getattr(study.search.space, name), n) for name, n in POINTS.items()]
    return [Weights(float(haadf), float(tv)) for haadf, tv in itertools.product(*edges)]


def rows(kind: str, done: set[tuple[str, ...]]) -> Iterator[tuple[object, ...]]:
    """Solve the trials of a specimen that are not done yet."""
    study = study_of(kind)
    for cell, reduced in itertools.product(study.cells(), (True, False)):
        at = study.at(cell)
        at = at.reduced() if reduced else at
        for weights in weights_of(study):
            values = (kind, at.specimen.size, *(value for _, value in cell.values))
            names = (*values, f"{weights.haadf:.6g}", f"{weights.tv:.6g}")
            if tuple(map(str, names)) not in done:
                yield (*names, *_solved(at, weights))


def _solved(at: Study, weights: Weights) -> tuple[str, str, str]:
    began = time.process_time()
    result = evaluate(at, at.trial(Cell(0), Method.FUSED, 0, weights))
    if result.status is not TrialStatus.OK:
        raise RuntimeError(f"{at.specimen.kind}, {weights}: {result.error}")
    return f"{result.nrmse:.5f}", f"{result.iterations:.0f}", f"{time.process_time() - began:.2f}"


def read(file: Path) -> list[dict[str, str]]:
    """The lines of a file; none of one that is not there yet."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@dataclass(frozen=True)
class Grid:
    """Scores of the fused method in one cell at one size.

    Parameters
    ----------
    nrmse : log score, shape (haadf, tv), of weights at equal distances in the unit square.
    seconds : processor time of a trial, the mean of the grid.
    """

    nrmse: np.ndarray
    seconds: float

    def value(self, unit: np.ndarray) -> np.ndarray:
        """Log scores at unit weights of shape (n, 2), by cubic splines through the grid."""
        edges = [np.linspace(0.0, 1.0, n) for n in self.nrmse.shape]
        return RectBivariateSpline(*edges, self.nrmse).ev(unit[:, 0], unit[:, 1])


@cache
def grids(file: Path = GRIDS) -> dict[Key, Grid]:
    """The grids of a file, complete ones alone."""
    found: dict[Key, list[dict[str, str]]] = {}
    for row in read(file):
        values = tuple(float(row[path.rpartition(".")[2]]) for path in AXES)
        found.setdefault((row["specimen"], int(row["size"]), values), []).append(row)
    whole = {key: _in_order(each) for key, each in found.items()}
    shape = tuple(POINTS.values())
    return {
        key: Grid(
            np.log([float(row["nrmse"]) for row in each]).reshape(shape),
            float(np.mean([float(row["seconds"]) for row in each])),
        )
        for key, each in whole.items()
        if len(each) == np.prod(shape)
    }


def _in_order(given: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(given, key=lambda row: (float(row["haadf"]), float(row["tv"])))


def main(file: Path, *kinds: str) -> None:
    """Append what FILE lacks."""
    done = {tuple(row[name] for name in COLUMNS[:7]) for row in read(file)}
    with file.open("a", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        if not done:
            writer.writerow(COLUMNS)
        for kind in kinds or SPECIMENS:
            for row in rows(kind, done):
                writer.writerow(row)
                out.flush()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
