"""How many trials a map needs until its weights are right: searches over all cells of a map.

Landscapes are of two kinds. "Fit": smooth fits to the committed journals fig4_nanocubes_64 (56
cells with HAADF) and fig4_nanocubes_128 (16 cells, with the fit of 64³ as its half size); a trial's
score is the fit's, times a factor that all trials of its cell share (0.9 %) and a roughness
(0.2 %). "Dense": the grids of dense.py, 12 cells of either specimen, SNR among the axes; a trial's
score is that of the solver itself, between the points by splines. Regret is the noise-free value of
the trial that a cell would choose, over the best of its landscape, less one. What is proposed comes
from the plans of the product, at their own lag. Run:

    python tests/benchmarks/regret_map.py [SEEDS [FIGURE]]
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import dense
import matplotlib.pyplot as plt
import numpy as np
from common import table
from scipy.interpolate import RBFInterpolator

from tomoatlas.recon_core.methods import Weights
from tomoatlas.sweep.search import searches
from tomoatlas.sweep.search.plans import plans
from tomoatlas.sweep.search.propose import at_unit, unit_of
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.identity import short_seed
from tomoatlas.sweep.study.trial import Trial

ATLASES = Path(__file__).parents[2] / "analysis/atlases"
MEAN, WORST = 0.01, 0.03
SHARED, ROUGH = 0.009, 0.002
MOST, HEDGED = 15, 8
"""Trials per cell at most; of scikit-optimize, forty times slower, fewer."""

RANDOM, HALF = "random", "doubted, half size first"
UNDOUBTED = "contextual, edition 3"
STRATEGIES = {
    RANDOM: 'strategy = "per-cell"',
    "scikit-optimize, per cell": 'strategy = "per-cell"\nsurrogate = "gp-hedge"\ninitial = 4',
    "per cell": 'strategy = "per-cell"\ninitial = 4',
    UNDOUBTED: 'strategy = "contextual"',
    "contextual, doubted": 'strategy = "contextual"\ndoubt = 5.0',
    HALF: 'strategy = "contextual"\ndoubt = 5.0\nfidelity = { size = 0.5 }',
}
COLOURS = ("#999999", "#E69F00", "#56B4E9", "#CC79A7", "#0072B2", "#009E73")
EDGE = np.linspace(0.0, 1.0, 81)
ALL = np.stack(np.meshgrid(EDGE, EDGE), axis=-1).reshape(-1, 2)
Cell = tuple[float, ...]


class Landscape(ABC):
    """Scores of all weights in the cells of a map, at its size and at half of it.

    Parameters
    ----------
    name : of the map, as tables and the figure have it.
    kind, size : of the specimen.
    axes : axis path -> values.
    scatter : of a cell's trials together, and of each alone, relative; zero if measured.
    halves : whether there are scores at half the size.
    edition : of the search.
    """

    name: str
    kind: str
    size: int
    axes: Mapping[str, Sequence[float]]
    space: Mapping[str, tuple[float, float]]
    scatter = (0.0, 0.0)
    halves = True
    edition = 1

    @abstractmethod
    def value(self, size: int, cell: Cell, unit: np.ndarray) -> np.ndarray:
        """Log scores of unit weights (n, 2) in a cell, free of noise."""

    @abstractmethod
    def seconds(self, size: int, cell: Cell) -> float:
        """What a trial takes; only ratios count."""

    def cells(self) -> list[Cell]:
        """The values of the axes in every cell."""
        return list(itertools.product(*self.axes.values()))

    def study(self, strategy: str, seed: int) -> Study:
        """The study of a search."""
        most = HEDGED if "hedge" in STRATEGIES[strategy] else MOST
        axes = "\n".join(f'"{path}" = {list(values)}' for path, values in self.axes.items())
        bounds = ", ".join(f"{name} = {list(edges)}" for name, edges in self.space.items())
        return parse_study(
            f'[study]\nname = "regret"\nseed = {seed}\nedition = {self.edition}\n'
            f'[specimen]\nkind = "{self.kind}"\nsize = {self.size}\n'
            f"[search]\n{STRATEGIES[strategy]}\ntrials = {most}\n"
            f'methods = ["fused"]\nspace = {{ {bounds} }}\n[axes]\n{axes}\n'
        )


class Fit(Landscape):
    """A smooth fit to the fused scores of a committed atlas of nanocubes."""

    kind = "nanocubes"
    space: ClassVar = {"haadf": (1e-2, 1.0), "tv": (0.2, 4.0)}
    scatter = (SHARED, ROUGH)

    def __init__(self, size: int) -> None:
        self.size, self.halves = size, size == 128
        paths = ("acquisition.haadf_tilts", "acquisition.chemical_tilts")
        found = [[record["cell"][path] for path in paths] for record in fused(size)]
        self.axes = {p: sorted({v[i] for v in found}) for i, p in enumerate(paths)}
        self.name = f"fit, {size}³, {len(self.cells())} cells"

    def value(self, size: int, cell: Cell, unit: np.ndarray) -> np.ndarray:
        return fitted(size)(np.hstack([unit, np.tile(_scaled(np.array(cell)), (len(unit), 1))]))

    def seconds(self, size: int, cell: Cell) -> float:
        return (size / self.size) ** 3


class Dense(Landscape):
    """Grids of the solver's own scores, and its seconds."""

    edition = 3

    def __init__(self, kind: str) -> None:
        self.kind, self.size, self.axes = kind, dense.SIZE, dense.AXES
        self.sizes = (dense.SIZE // 2, dense.SIZE)
        space = dense.study_of(kind).search.space
        self.space = {"haadf": space.haadf, "tv": space.tv}
        self.name = f"dense, {kind}, {self.size}³, {len(self.cells())} cells"

    def value(self, size: int, cell: Cell, unit: np.ndarray) -> np.ndarray:
        return self._grid(size, cell).value(unit)

    def seconds(self, size: int, cell: Cell) -> float:
        return self._grid(size, cell).seconds

    def _grid(self, size: int, cell: Cell) -> dense.Grid:
        return dense.grids()[self.kind, size, cell]


@cache
def fitted(size: int) -> RBFInterpolator:
    """A smooth fit to the logarithms of the committed fused scores of a size."""
    records = fused(size)
    weights = [unit_of(Fit.space, Weights(**record["weights"])) for record in records]
    tilts = _scaled(np.array([list(record["cell"].values()) for record in records]))
    scores = np.log([record["nrmse"] for record in records])
    return RBFInterpolator(np.hstack([weights, tilts]), scores, smoothing=1e-3, degree=2)


@cache
def fused(size: int) -> list[dict]:
    """The committed fused trials of a size, in cells with HAADF."""
    journal = ATLASES / f"fig4_nanocubes_{size}" / "trials.jsonl"
    found = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
    good = [each for each in found if each["method"] == "fused" and each["status"] == "ok"]
    return [record for record in good if record["cell"]["acquisition.haadf_tilts"] > 0]


def _scaled(tilts: np.ndarray) -> np.ndarray:
    """Tilts on axes along which scores change about as fast as along the weights."""
    return 0.2 * np.log(tilts + 1.0)


@dataclass(frozen=True)
class Searched:
    """Trials per cell, their cost in full trials per cell, mean and worst regret after each."""

    trials: np.ndarray
    cost: np.ndarray
    mean: np.ndarray
    worst: np.ndarray
    proposal: np.ndarray

    def reached(self) -> int | None:
        """The trial after which both are as small as asked for."""
        there = np.flatnonzero((self.mean <= MEAN) & (self.worst <= WORST))
        return int(there[0]) if len(there) else None


def searched(of: Landscape, strategy: str, seed: int) -> Searched:
    """One search of a whole map."""
    rng = np.random.default_rng(short_seed("map", of.size, seed))
    best = {cell: float(of.value(of.size, cell, ALL).min()) for cell in of.cells()}
    typical = float(np.mean([of.seconds(of.size, cell) for cell in best]))
    common, alone = of.scatter
    shared = dict(zip(best, common * rng.standard_normal(len(best)), strict=True))
    measured, clean = dict.fromkeys(best, np.inf), dict.fromkeys(best, 2.0)
    regret, cost, seconds = [], [], []
    for trial, took, learn in _trials(of.study(strategy, seed), strategy, seed):
        cell, on = tuple(value for _, value in trial.cell.values), trial.scale.size or of.size
        true = float(of.value(on, cell, unit_of(of.space, trial.weights)[None])[0])
        score = true + shared[cell] + alone * rng.standard_normal()
        learn(float(np.exp(score)))
        if on == of.size and score < measured[cell]:
            measured[cell], clean[cell] = score, true
        regret.append([np.expm1(clean[c] - best[c]) for c in best])
        cost.append(of.seconds(on, cell) / typical)
        seconds.append(took)
    found = np.array(regret)
    number, total = (np.cumsum(each) / len(best) for each in (np.ones(len(cost)), cost))
    return Searched(number, total, found.mean(axis=1), found.max(axis=1), np.array(seconds))


def _trials(study: Study, strategy: str, seed: int) -> Iterator[tuple]:
    """Trials in turn, the seconds of their proposals, and what takes their scores."""
    rng = np.random.default_rng(seed)
    going, waiting = plans(searches(study)), []
    while going or waiting:
        for plan in list(going):
            began = time.process_time()
            trial = plan.next_trial() if plan.ready else None
            took = time.process_time() - began
            if trial is None and not waiting:
                going.remove(plan)
            elif trial is not None:
                waiting.append(
                    (plan, _chance(study, trial, rng) if strategy == RANDOM else trial, took)
                )
            # As many are under way as the lag allows: the first of them ends.
            if trial is None or len(waiting) >= plan.lag:
                while waiting:
                    owner, done, spent = waiting.pop(0)
                    yield done, spent, lambda score, o=owner, t=done: o.take_in(t, score)
                    if plan.ready:
                        break


def _chance(study: Study, trial: Trial, rng: np.random.Generator) -> Trial:
    space = {"haadf": study.search.space.haadf, "tv": study.search.space.tv}
    weights = at_unit(space, rng.random(2))
    return Trial(trial.cell, trial.method, trial.number, weights, "", scale=trial.scale)


def main(seeds: int, figure: str | None) -> None:
    """Print trials and cost per cell until the regret is small; draw it along the search."""
    print(f"mean <= {MEAN:.0%} and worst <= {WORST:.0%}; median of {seeds} seeds (least, most)")
    header = ["map", "search", "trials per cell", "cost per cell", "at its end", "mean", "worst"]
    header += ["ms per proposal"]
    found: dict[str, dict[str, list[Searched]]] = {}

    def rows() -> Iterator[list[str]]:
        for of in landscapes():
            for name in STRATEGIES:
                if of.halves or name != HALF:
                    runs = [searched(of, name, seed) for seed in range(seeds)]
                    found.setdefault(of.name, {})[name] = runs
                    yield row(of.name, name, runs)

    table(header, rows())
    if figure is not None:
        draw(found, figure)


def landscapes() -> list[Landscape]:
    """Of the table and the figure, in their order; grids that are not complete are left out."""
    known = dense.grids()
    whole = [
        of
        for of in map(Dense, dense.SPECIMENS)
        if all((of.kind, size, cell) in known for size in of.sizes for cell in of.cells())
    ]
    return [Fit(64), Fit(128), *whole]


def row(of: str, name: str, runs: list[Searched]) -> list[str]:
    """One search of one map."""
    at = [run.reached() for run in runs]
    ends = [float(run.trials[-1]) for run in runs]
    times = np.concatenate([run.proposal for run in runs])
    return [
        of,
        name,
        _median([np.inf if i is None else run.trials[i] for i, run in zip(at, runs, strict=True)]),
        _median([np.inf if i is None else run.cost[i] for i, run in zip(at, runs, strict=True)]),
        _median(ends),
        f"{np.median([run.mean[-1] for run in runs]):.2%}",
        f"{np.median([run.worst[-1] for run in runs]):.2%}",
        f"{1e3 * times.mean():.0f}",
    ]


def _median(numbers: list[float]) -> str:
    middle, least, most = np.median(numbers), min(numbers), max(numbers)
    shown = [f"{n:.2f}" if np.isfinite(n) else "never" for n in (middle, least, most)]
    return f"{shown[0]} ({shown[1]}, {shown[2]})"


def draw(found: dict[str, dict[str, list[Searched]]], path: str) -> None:
    """Mean regret along the searches, against trials and device time; bands span the seeds."""
    size = (3.2 * len(found), 5.6)
    figure, axes = plt.subplots(2, len(found), figsize=size, sharey=True, layout="constrained")
    for (name, runs), column in zip(found.items(), axes.T, strict=True):
        for what, axis in zip(("trials", "cost"), column, strict=True):
            for strategy, colour in zip(STRATEGIES, COLOURS, strict=True):
                if strategy in runs:
                    _along(axis, runs[strategy], what, colour, strategy)
            axis.axhline(MEAN, color="black", linewidth=0.6, linestyle=":")
            axis.set(xscale="log", yscale="log", xlim=(0.5, 17.0), ylim=(1e-3, 1.0))
        column[0].set_title(name, fontsize=9)
        column[0].set_xlabel("trials per cell", fontsize=9)
        column[1].set_xlabel("device-seconds per cell, in full trials", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("regret: mean (thick), worst (thin)", fontsize=9)
    handles, labels = axes[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def _along(axis: plt.Axes, runs: list[Searched], what: str, colour: str, name: str) -> None:
    across, mean, worst = (
        _padded([getattr(run, of) for run in runs]) for of in (what, "mean", "worst")
    )
    # the same as the doubted search until it ends: dashes on top of it
    style = {"linestyle": "--", "zorder": 3.0} if name == UNDOUBTED else {}
    axis.plot(
        across.mean(axis=0), mean.mean(axis=0), color=colour, linewidth=1.8, label=name, **style
    )
    axis.fill_between(
        across.mean(axis=0), mean.min(axis=0), mean.max(axis=0), color=colour, alpha=0.2, lw=0
    )
    axis.plot(across.mean(axis=0), worst.mean(axis=0), color=colour, linewidth=0.7, **style)


def _padded(runs: list[np.ndarray]) -> np.ndarray:
    """Of runs (trials,) an array (run, most trials): one that has ended stays as it is."""
    most = max(map(len, runs))
    return np.array([np.pad(run, (0, most - len(run)), mode="edge") for run in runs])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2] if len(sys.argv) > 2 else None)
