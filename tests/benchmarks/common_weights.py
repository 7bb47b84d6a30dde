"""What one pair of weights for all conditions costs, and what the number of HAADF tilts changes.

Every HAADF tilt adds its own term to the objective, as if its errors were its own. Errors of the
model (the guide, the law, the grid) are the same in every tilt. Here the HAADF weight falls with a
power of the number of tilts, at one TV weight; "cost" is beside the best pair of each cell, all by
splines through dense grids of weights. Then, at each number of tilts: one pair for the maps and
SNRs of both specimens, and what the HAADF weight that is best in one of these conditions costs the
others there, at one TV weight. Run:

    python tests/benchmarks/common_weights.py [SIZE [FILE]]

with the grids of a file, those of ``dense.csv`` if none is named.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import table
from dense import GRIDS, SPECIMENS, Grid, Key, grids, study_of

from tomoatlas.recon_core.methods import default_weights

USUAL = default_weights("residual", "noise")
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
USUAL_TILTS = 47
STEPS = 61  # along each weight


def main(size: int, file: Path) -> None:
    """Print the best pair of every cell, then a row for each power of the tilts."""
    found = {key: grid for key, grid in grids(file).items() if key[1] == size}
    print(f"{size}³, {len(found)} grids of 8 x 6 weights")
    usual = f"cost of {USUAL.haadf:g}, {USUAL.tv:g}"
    header = ("specimen", "HAADF tilts", "chemical tilts", "SNR", "best NRMSE", "haadf, tv", usual)
    table(header, bests(found))
    for kind in (name for name in SPECIMENS if any(key[0] == name for key in found)):
        print(f"\n{kind}")
        part = {key: grid for key, grid in found.items() if key[0] == kind}
        header = ("haadf falls with tilts^", "least mean cost", "its worst", "at haadf, tv")
        table((*header, "least worst cost"), rows(part))
    print("\nboth specimens, at the same number of HAADF tilts")
    header = ("HAADF tilts", "conditions", "one pair", "its cost, mean", "worst")
    table((*header, "best haadf of a condition", "costs another at most"), alike(found))


def bests(found: dict[Key, Grid]) -> Iterator[tuple[object, ...]]:
    """The best pair of each cell, and what the usual one costs there."""
    for (kind, _, values), grid in found.items():
        at = int(grid.value(UNIT).argmin())
        usual = float(np.expm1(grid.value(USUAL_UNIT)[0] - grid.value(UNIT)[at]))
        least, pair = np.exp(grid.value(UNIT)[at]), ", ".join(f"{w:.2g}" for w in PAIRS[at])
        yield kind, *(f"{value:g}" for value in values), f"{least:.3f}", pair, f"{usual:.1%}"


def rows(found: dict[Key, Grid]) -> Iterator[tuple[object, ...]]:
    """The best common pair for each power."""
    for power in POWERS:
        costs = np.array([cost(grid, key[2][0], power) for key, grid in found.items()])
        mean, worst = costs.mean(axis=0), costs.max(axis=0)
        i = int(mean.argmin())
        pair = ", ".join(f"{weight:.2g}" for weight in PAIRS[i])
        yield f"{power:g}", f"{mean[i]:.1%}", f"{worst[i]:.1%}", pair, f"{worst.min():.1%}"


def alike(found: dict[Key, Grid]) -> Iterator[tuple[object, ...]]:
    """For every number of tilts one pair for all, and those that are best in one condition."""
    for tilts in sorted({key[2][0] for key in found}):
        costs = np.array(
            [cost(grid, tilts, 0.0) for key, grid in found.items() if key[2][0] == tilts]
        )
        i = int(costs.max(axis=0).argmin())
        at_haadf = costs.reshape(len(costs), STEPS, STEPS)
        best = at_haadf.min(axis=2).argmin(axis=1)
        others = at_haadf.max(axis=0).min(axis=1)[best]
        yield (
            f"{tilts:g}",
            len(costs),
            ", ".join(f"{weight:.2g}" for weight in PAIRS[i]),
            *(f"{each:.1%}" for each in (costs[:, i].mean(), costs[:, i].max())),
            ", ".join(f"{PAIRS[STEPS * b, 0]:.2g}" for b in best),
            ", ".join(f"{each:.1%}" for each in others),
        )


def cost(grid: Grid, tilts: float, power: float) -> np.ndarray:
    """Relative NRMSE above the best of a cell, of every pair given for the usual tilts."""
    moved = UNIT.copy()
    moved[:, 0] -= power * np.log(tilts / USUAL_TILTS) / np.log(EDGES[0][1] / EDGES[0][0])
    return np.asarray(np.expm1(grid.value(moved.clip(0, 1)) - grid.value(UNIT).min()))


_SPACE = study_of(SPECIMENS[0]).search.space
EDGES = (_SPACE.haadf, _SPACE.tv)
UNIT = np.array(list(itertools.product(np.linspace(0, 1, STEPS), repeat=2)))
_USED = zip((USUAL.haadf, USUAL.tv), EDGES, strict=True)
USUAL_UNIT = np.array([[np.log(w / low) / np.log(high / low) for w, (low, high) in _USED]])
PAIRS = np.stack([low * (high / low) ** u for (low, high), u in zip(EDGES, UNIT.T, strict=True)], 1)

if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 64, Path(given[1]) if given[1:] else GRIDS)
