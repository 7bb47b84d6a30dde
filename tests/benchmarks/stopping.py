"""When a trial may end: scores where the rule stops it beside those of a long run.

Random weights of the default search space, drawn as a study draws them, on several numbers of
tilts, both specimens and data of both laws, from a grid twice as fine. Every trial runs to 600
iterations (``long``), its history and its scores are written to FILE, and the rule is then applied
to the histories: another rule or tolerance costs no further solve. A second call goes on where the
first ended. Run:

    python tests/benchmarks/stopping.py FILE [SIZE=TRIALS ...] [edition=3] [long=400] [push=0.06]
        [solver.KEY=VALUE ...]

with the trials of each of the 12 cells, such as 24=16 32=12 64=2; without any, FILE is tabulated.
Settings and search space are those of the edition, the first if none is named; that solver takes
the law of the data unless ``solver.contrast`` names one. ``push`` is another step of the multiplier
of the totals, and wants a FILE of its own.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from common import score, series_of, table

from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.result import Status
from tomoatlas.recon_core.settings import SOLVER_EDITIONS, SolverSettings
from tomoatlas.recon_core.solver import likelihood, reconstruct
from tomoatlas.recon_core.solver.convergence import ConvergenceRecord, status_of
from tomoatlas.recon_core.solver.preparation import Preparations
from tomoatlas.recon_core.tiltseries import TiltSeries
from tomoatlas.sweep.study.identity import with_defaults
from tomoatlas.sweep.study.tables import SearchSpace

Row = dict[str, Any]

LONG = 600
EVERY = 5  # iterations between scores: records come every ten, the first after five or ten
CELLS = list(
    itertools.product(("nanocubes", "composite"), ((18, 5), (47, 9), (71, 18)), ("power", "linear"))
)
WITHOUT_HAADF = 16  # one trial in so many has chemistry and TV alone
NEAR = 1.2  # times the best score of a cell's trials
TOLERANCES = (1e-3, 3e-4, 2e-4, 1e-4, 5e-5)
WITHIN = (0.01, 0.005)
KEPT = Preparations()  # a cell's trials follow each other


def main(file: Path, *words: str) -> None:
    """Solve what FILE lacks, then print the tables."""
    pairs = [word.split("=", 1) for word in words]
    edition = int(dict(pairs).get("edition", 1))
    likelihood.PUSH = float(dict(pairs).get("push", likelihood.PUSH))
    settings = SOLVER_EDITIONS[edition] | {key[7:]: v for key, v in pairs if key[:7] == "solver."}
    settings |= {"max_iterations": int(dict(pairs).get("long", LONG))}
    sizes = [(int(size), int(trials)) for size, trials in pairs if size.isdigit()]
    done = {key_of(row) for row in rows_of(file)}
    with file.open("a") as out:
        for size, cell, trial in asked_for(sizes):
            if (size, cell, trial) not in done:
                row = solved(size, cell, trial, settings, space_of(edition))
                print(json.dumps(row), file=out, flush=True)
    tabulate([row for row in rows_of(file) if np.isfinite(row["nrmse"]).all()])


def asked_for(sizes: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Size, cell and number of every trial; a cell's together, as they share its data."""
    for size, trials in sizes:
        for cell, trial in itertools.product(range(len(CELLS)), range(trials)):
            yield size, cell, trial


def rows_of(file: Path) -> list[Row]:
    """The trials in FILE."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def key_of(row: Row) -> tuple[int, int, int]:
    """What names a trial."""
    return row["size"], row["cell"], row["trial"]


def space_of(edition: int) -> SearchSpace:
    """The search space of an edition."""
    found = with_defaults({"study": {"edition": edition}, "search": {"space": {}}})
    return SearchSpace.model_validate(found["search"]["space"])


def weights_of(size: int, cell: int, trial: int, space: SearchSpace) -> Weights:
    """Log-uniform in the search space."""
    random = np.random.default_rng([size, cell, trial])
    haadf, tv = (float(np.exp(random.uniform(*np.log(each)))) for each in (space.haadf, space.tv))
    return Weights(0.0 if trial % WITHOUT_HAADF == WITHOUT_HAADF - 1 else haadf, tv)


@lru_cache(maxsize=1)
def data(size: int, cell: int) -> tuple[Specimen, TiltSeries]:
    """Truth and tilt series of a cell, at the paper's SNRs."""
    kind, tilts, law = CELLS[cell]
    return make_specimen(kind, size, 0), series_of(size, kind, law, cell, tilts)


def solved(size: int, cell: int, trial: int, given: dict[str, object], space: SearchSpace) -> Row:
    """Run a trial for long, and keep its history with the score at every record."""
    specimen, series = data(size, cell)
    weights, law = weights_of(size, cell, trial, space), CELLS[cell][2]
    settings = SolverSettings(**{"contrast": law} | given | {"tolerance": 1e-12})
    scores, calls = [], itertools.count(1)

    def monitor(volumes: np.ndarray) -> float:
        if next(calls) % EVERY == 0:
            scores.append(score(volumes, specimen))
        return 0.0

    method = Method.FUSED if weights.haadf else Method.CHEMISTRY_TV
    found = reconstruct(series, method, weights, settings, monitor, kept=KEPT)
    history = {name: list(values) for name, values in vars(found.history).items()}
    steps = np.diff(history["iterations"][:3])
    first = 0 if steps[0] < steps[-1] - EVERY / 2 else 1
    kept = [np.nan, *scores[first::2]]
    length = min(len(kept), len(history["iterations"]))
    history = {name: values[1:length] for name, values in history.items()}
    names = {"size": size, "cell": cell, "trial": trial, "solver": given}
    pair = {"haadf": weights.haadf, "tv": weights.tv}
    return {**names, "weights": pair, "nrmse": kept[1:length], "history": history}


def tabulate(rows: list[Row]) -> None:
    """Print what every tolerance costs and gives, and the default by size."""
    print(f"{len(rows)} trials, {sum(near(rows))} of them within 20 % of their cell's best")
    lines = [line_of(f"{tolerance:g}", rows, tolerance) for tolerance in TOLERANCES]
    table(HEAD.split("|"), [line_settled(rows), *lines])
    usual = SolverSettings().tolerance
    sizes = sorted({row["size"] for row in rows})
    parts = [(f"{size}³", [row for row in rows if row["size"] == size]) for size in sizes]
    parts += [
        (f"tv {a:g} to {b:g}", [r for r in rows if a <= r["weights"]["tv"] < b])
        for a, b in TV_PARTS
    ]
    table(HEAD.split("|"), [line_of(name, part, usual, rows) for name, part in parts if part])


HEAD = "tolerance or part|trials|within 1 %|near the best: within 0.5 %|at most 0.5 % above"
HEAD += "|within 1 %|worst"
HEAD += "|iterations: 10 %|25 %|median|75 %|90 %|still running"
TV_PARTS = ((0.1, 0.4), (0.4, 2.0), (2.0, 6.0))


def line_of(
    name: str, rows: list[Row], tolerance: float, among: list[Row] | None = None
) -> tuple[object, ...]:
    """One line of a table: the rule at a tolerance."""
    ends = [stop(row, tolerance) for row in rows]
    return line(name, rows, ends, near(among or rows, rows))


def line_settled(rows: list[Row]) -> tuple[object, ...]:
    """What no rule can beat: the first record after which the score stays within 1 %."""
    ends = []
    for row in rows:
        outside = np.flatnonzero(deviations(row) > WITHIN[0])
        ends.append(int(outside[-1]) + 1 if len(outside) else 0)
    return line("score settled, known afterwards", rows, ends, near(rows))


def line(name: str, rows: list[Row], ends: list[int], close: list[bool]) -> tuple[object, ...]:
    """Shares of trials and quantiles of iterations at the records where they end."""
    above = np.array([signed(row)[end] for row, end in zip(rows, ends, strict=True)])
    off = np.abs(above)
    work = [row["history"]["iterations"][end] for row, end in zip(rows, ends, strict=True)]
    beside, quantiles = off[np.array(close)], np.quantile(work, (0.1, 0.25, 0.5, 0.75, 0.9))
    shares = [share(off, WITHIN[0]), share(beside, WITHIN[1])]
    shares += [share(above[np.array(close)], WITHIN[1]), share(beside, WITHIN[0])]
    open_ends = [end == len(row["nrmse"]) - 1 for row, end in zip(rows, ends, strict=True)]
    spent = [f"{value:.0f}" for value in quantiles]
    return name, len(rows), *shares, f"{100 * off.max():.1f} %", *spent, f"{np.mean(open_ends):.1%}"


def share(off: np.ndarray, within: float) -> str:
    """Share of deviations within a bound."""
    return f"{100 * np.mean(off <= within):.1f} %" if len(off) else "-"


def near(rows: list[Row], of: list[Row] | None = None) -> list[bool]:
    """Which trials end within 20 % of the best of their cell."""
    best: dict[tuple[int, int], float] = {}
    for row in rows:
        at = row["size"], row["cell"]
        best[at] = min(best.get(at, np.inf), row["nrmse"][-1])
    return [row["nrmse"][-1] <= NEAR * best[row["size"], row["cell"]] for row in of or rows]


def deviations(row: Row) -> np.ndarray:
    """Relative distance of the score from that of the long run, at every record."""
    return np.abs(signed(row))


def signed(row: Row) -> np.ndarray:
    """By how much the score lies above that of the long run, at every record."""
    nrmse = np.array(row["nrmse"])
    return nrmse / nrmse[-1] - 1


def stop(row: Row, tolerance: float) -> int:
    """The record at which the solver's rule ends a trial; the last if it does not."""
    records = records_of(row)
    for end in range(1, len(records)):
        if status_of(records[end - 1 : end + 1], tolerance) is Status.CONVERGED:
            return end
    return len(records) - 1


def records_of(row: Row) -> Sequence[ConvergenceRecord]:
    """The records of a history."""
    names = "iterations", "haadf", "chemistry", "tv", "primal", "dual", "change"
    columns = (row["history"][name] for name in names)
    return [ConvergenceRecord(*values) for values in zip(*columns, strict=True)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
