"""What an early stop of trials could save, at most: an upper bound from journals.

A rule that gives up a trial at 20 iterations where 0.9 × its NRMSE is above the best that its cell
had by then cannot stop a trial whose final NRMSE does not satisfy that, as the NRMSE falls along
the solve. So of each trial that does, all iterations after the 20th are counted as saved. The
baselines' cost beside a fused trial is printed too. Run:

    python tests/benchmarks/early_stop.py [STUDY ...]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
from common import table

from tomoatlas.analysis import located
from tomoatlas.analysis.journal import JournalReader
from tomoatlas.analysis.table import cell_places
from tomoatlas.sweep.study import Study

STUDIES = ("fig4_nanocubes_64", "fig4_nanocubes_128")
FIRST, SURE = 20, 0.9
"""Iterations before the first look, and the factor on the NRMSE seen then."""
HEADER = ["study", "strategy", "method", "trials", "could be stopped", "work saved, at most",
          "seconds of a trial", "iterations"]  # fmt: skip


def stoppable(trials: pd.DataFrame, places: np.ndarray) -> np.ndarray:
    """Which trials of a method, in the order of the journal, could ever be stopped."""
    best: dict[int, float] = {}
    found = []
    for place, nrmse in zip(places.tolist(), trials["nrmse"].tolist(), strict=True):
        found.append(SURE * nrmse > best.get(place, np.inf))
        best[place] = min(best.get(place, np.inf), nrmse)
    return np.array(found, dtype=bool)


def rows(study: Study, trials: pd.DataFrame) -> Iterator[list[str]]:
    """One line for each method of a study."""
    good = trials[(trials["status"] == "ok") & ~trials["reduced"].astype(bool)]
    for method, mine in good.groupby("method", sort=False):
        work = mine["iterations"].to_numpy(dtype=float)
        stop = stoppable(mine, cell_places(mine, study))
        saved = np.clip(work - FIRST, 0, None)[stop].sum() / work.sum()
        yield [
            study.study.name,
            str(study.search.strategy),
            str(method),
            f"{len(mine)}",
            f"{stop.sum()}",
            f"{saved:.0%}",
            f"{mine['seconds'].median():.1f}",
            f"{np.median(work):.0f}",
        ]


def main(studies: list[str]) -> None:
    """Print what could be saved of each study."""

    def lines() -> Iterator[list[str]]:
        for name in studies:
            reader = JournalReader(located(name))
            yield from rows(reader.study, reader.trials)

    table(HEADER, lines())


if __name__ == "__main__":
    main(sys.argv[1:] or list(STUDIES))
