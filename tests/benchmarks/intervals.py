"""Do nine of ten cells lie in the interval that recommend gives them before they are searched?

Of each atlas some cells are left out, the surrogate is fitted to the others, and each cell left out
is predicted: one at a time, in blocks of two by two, and the whole first and last row and column.
Its best trial is compared with what is expected of that trial's weights, and with what is expected
of the weights recommended, of which a cell searched briefly falls short. Run:

    python tests/benchmarks/intervals.py [ATLAS ...]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from common import table

from tomoatlas.analysis.advice import Part
from tomoatlas.analysis.atlas import load_atlas
from tomoatlas.analysis.forecast import NEW, QUANTILE, Evidence, Surrogate
from tomoatlas.sweep.search.contextual import Points

ATLASES = ("fig4_nanocubes_64", "fig4_nanocubes_128")
HEADER = ["atlas", "left out", "cells", "of edges", "in the interval", "at edges", "half width",
          "error", "recommended: in it"]  # fmt: skip


@dataclass(frozen=True)
class Predicted:
    """A cell that was left out: errors of the logarithm of its best score, and half widths."""

    edge: bool
    error: float
    width: float
    recommended: float
    of_recommended: float


def folds(known: Evidence) -> dict[str, list[np.ndarray]]:
    """Ways to leave cells out: name → groups of places."""
    levels = [np.unique(column) for column in known.places.T]
    at = np.stack([np.searchsorted(v, c) for v, c in zip(levels, known.places.T, strict=True)], 1)
    blocks: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, index in enumerate(at):
        blocks[tuple(index // 2)].append(place)
    lines = [
        np.flatnonzero(at[:, axis] == end)
        for axis, own in enumerate(levels)
        if len(own) > 2
        for end in (0, len(own) - 1)
    ]
    single = [np.array([place]) for place in range(len(at))]
    return {"one": single, "2 × 2": [np.array(b) for b in blocks.values()], "edges": lines}


def predicted(known: Evidence, left_out: np.ndarray) -> Iterator[Predicted]:
    """Cells as a surrogate of the others expects them."""
    kept = ~np.isin(known.cells, left_out)
    scores = {name: values[kept] for name, values in known.scores.items()}
    part = replace(known, cells=known.cells[kept], weights=known.weights[kept], scores=scores)
    surrogate = Surrogate(part)
    varied = [column for column in known.places.T if np.ptp(column)]
    for cell in left_out:
        mine = np.flatnonzero(known.cells == cell)
        best = mine[np.argmin(known.scores["nrmse"][mine])]
        score = known.scores["nrmse"][best]
        context = known.context(known.places[[cell]])
        at = Points(known.weights[[best]], context, np.array([NEW]))
        mean, deviation = surrogate.models["nrmse"].predict(at)
        there = surrogate.forecast(known.places[[cell]]).expected["nrmse"]
        edge = any(column[cell] in (column.min(), column.max()) for column in varied)
        yield Predicted(
            edge, score - mean[0], QUANTILE * deviation[0], score - there[0], QUANTILE * there[1]
        )


def row(name: str, way: str, found: list[Predicted]) -> list[str]:
    """One line of the table."""
    held = np.array([abs(each.error) <= each.width for each in found])
    edge = np.array([each.edge for each in found])
    by_advice = [abs(each.recommended) <= each.of_recommended for each in found]
    return [
        name,
        way,
        f"{len(found)}",
        f"{edge.sum()}",
        f"{held.mean():.0%}",
        f"{held[edge].mean():.0%}" if edge.any() else "",
        f"{np.mean([each.width for each in found]):.1%}",
        f"{np.sqrt(np.mean([each.error**2 for each in found])):.1%}",
        f"{np.mean(by_advice):.0%}",
    ]


def main(atlases: list[str]) -> None:
    """Print a line for each atlas and way to leave cells out, and one for all of them."""
    every: list[Predicted] = []

    def rows() -> Iterator[list[str]]:
        for name in atlases:
            part = Part(load_atlas(name))
            for haadf in (True, False):
                for known in part.evidence(haadf) if part.has(haadf) else ():
                    label = f"{name.rpartition('/')[2]}{'' if haadf else ', no HAADF'}"
                    for way, groups in folds(known).items():
                        found = [each for group in groups for each in predicted(known, group)]
                        every.extend(found)
                        if found:
                            yield row(label, way, found)
        yield row("all", "", every)

    table(HEADER, rows())


if __name__ == "__main__":
    main(sys.argv[1:] or list(ATLASES))
