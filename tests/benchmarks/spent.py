"""Iterations of the trials that the default search chose: the journals of the shipped atlases.

Fused trials that ended without an error, by the revision of the solver that ran them, then by what
they depend on. "Best": the trial with the lowest NRMSE of each cell. Solves nothing. Run:

    python tests/benchmarks/spent.py [ATLAS ...]
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import table

ATLASES = Path(__file__).parents[2] / "analysis" / "atlases"
SEEDS = ("nanocubes_64_seeds", "composite_64_seeds", "snr_64_seeds")
TV = (0.0, 1.0, 2.0, 4.0, np.inf)
Row = dict[str, Any]


def main(names: Sequence[str]) -> None:
    """Print quantiles of each atlas and of the trials of all, by weight and condition."""
    trials = {name: fused(name) for name in names}
    together = [row for rows in trials.values() for row in rows]
    parts = trials | {"all": together, "best": best(trials.values())}
    parts |= {f"tv {a:g} to {b:g}": pick(together, tv_in(a, b)) for a, b in itertools.pairwise(TV)}
    for key in ("haadf_tilts", "chemical_tilts", "haadf_snr", "chemical_snr"):
        values = sorted({value for row in together if (value := of(row, key)) is not None})
        parts |= {
            f"{key} {v:g}": pick(together, lambda r, k=key, v=v: of(r, k) == v) for v in values
        }
    header = (
        "trials of",
        "revision",
        "trials",
        "10 %",
        "25 %",
        "median",
        "75 %",
        "90 %",
        "at limit",
    )
    table(header, (line(name, rows) for name, rows in parts.items() if rows))


def fused(name: str) -> list[Row]:
    """The fused trials of an atlas."""
    lines = (ATLASES / name / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, lines)
    return [row for row in rows if row["method"] == "fused" and row["status"] == "ok"]


def best(atlases: Iterable[list[Row]]) -> list[Row]:
    """The best trial of every cell of every atlas."""
    found: list[Row] = []
    for rows in atlases:
        ranked = sorted(rows, key=lambda row: row["nrmse"], reverse=True)
        found += {json.dumps(row["cell"]): row for row in ranked}.values()
    return found


def pick(rows: list[Row], wanted: Callable[[Row], bool]) -> list[Row]:
    """The trials that are wanted."""
    return [row for row in rows if wanted(row)]


def tv_in(low: float, high: float) -> Callable[[Row], bool]:
    """Whether the TV weight of a trial lies in an interval."""
    return lambda row: low <= row["weights"]["tv"] < high


def of(row: Row, key: str) -> float | None:
    """A value of the trial's cell; None if it is no axis of its study."""
    return row["cell"].get(f"acquisition.{key}")


def line(name: str, rows: list[Row]) -> tuple[object, ...]:
    """Quantiles of the iterations, and the share that ended at the limit."""
    spent = np.quantile([row["iterations"] for row in rows], (0.1, 0.25, 0.5, 0.75, 0.9))
    limited = np.mean([row["solver_status"] == "iteration-limit" for row in rows])
    revisions = ", ".join(sorted({str(row["revision"]) for row in rows}))
    return name, revisions, len(rows), *(f"{v:.0f}" for v in spent), f"{limited:.0%}"


if __name__ == "__main__":
    main(sys.argv[1:] or SEEDS)
