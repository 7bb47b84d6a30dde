"""How many trials a map needs until its weights are right: searches over all cells of a map.

Landscapes are smooth fits to the committed journals: fig4_nanocubes_64 (56 cells with HAADF) and
fig4_nanocubes_128 (16 cells), with the fit of 64³ as its half size. A trial's score is the fit's,
times a factor that all trials of its cell share (0.9 %) and a roughness (0.2 %). Regret is the
noise-free value of the trial that a cell would choose, over the best of its fit, less one. What is
proposed comes from the plans of the product, at their own lag. Run:

    python tests/benchmarks/regret_map.py [SEEDS [FIGURE]]
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from common import table
from scipy.interpolate import RBFInterpolator

from tomoatlas.recon_core.methods import Weights
from tomoatlas.sweep.search import searches
from tomoatlas.sweep.search.plans import plans
from tomoatlas.sweep.search.propose import at_unit, unit_of
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.identity import short_seed
from tomoatlas.sweep.study.trial import Trial

ATLASES = Path(__file__).parents[2] / "analysis/atlases"
TILTS = ("acquisition.haadf_tilts", "acquisition.chemical_tilts")
SPACE = {"haadf": (1e-2, 1.0), "tv": (0.2, 4.0)}
MEAN, WORST = 0.01, 0.03
SHARED, ROUGH = 0.009, 0.002
MOST, HEDGED = 15, 8
"""Trials per cell at most; of scikit-optimize, forty times slower, fewer."""

RANDOM = "random"
STRATEGIES = {
    RANDOM: 'strategy = "per-cell"',
    "scikit-optimize, per cell": 'strategy = "per-cell"\nsurrogate = "gp-hedge"\ninitial = 4',
    "per cell": 'strategy = "per-cell"\ninitial = 4',
    "contextual": 'strategy = "contextual"',
    "contextual, half size first": 'strategy = "contextual"\nfidelity = { size = 0.5 }',
}
COLOURS = ("#999999", "#E69F00", "#56B4E9", "#0072B2", "#009E73")
Cell = tuple[int, ...]


@cache
def fitted(size: int) -> RBFInterpolator:
    """A smooth fit to the logarithms of the committed fused scores of a size."""
    fused = [r for r in records(size) if r["method"] == "fused" and r["status"] == "ok"]
    weights = [unit_of(SPACE, Weights(**r["weights"])) for r in fused]
    tilts = _scaled(np.array([_cell(r["cell"]) for r in fused]))
    scores = np.log([r["nrmse"] for r in fused])
    return RBFInterpolator(np.hstack([weights, tilts]), scores, smoothing=1e-3, degree=2)


def records(size: int) -> list[dict]:
    """The committed trials of a size with HAADF."""
    journal = ATLASES / f"fig4_nanocubes_{size}" / "trials.jsonl"
    found = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
    return [record for record in found if record["cell"][TILTS[0]] > 0]


def _cell(values: dict[str, int]) -> Cell:
    return tuple(values[path] for path in TILTS)


def _scaled(tilts: np.ndarray) -> np.ndarray:
    """Tilts on axes along which scores change about as fast as along the weights."""
    return 0.2 * np.log(tilts + 1.0)


def value(size: int, cell: Cell, unit: np.ndarray) -> np.ndarray:
    """Log score of unit weights (n, 2) in a cell."""
    place = np.tile(_scaled(np.array(cell)), (len(unit), 1))
    return fitted(size)(np.hstack([unit, place]))


@cache
def best_of(size: int) -> dict[Cell, float]:
    """The least log score of every cell of a map."""
    edge = np.linspace(0.0, 1.0, 81)
    grid = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
    cells = sorted({_cell(record["cell"]) for record in records(size)})
    return {cell: float(value(size, cell, grid).min()) for cell in cells}


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


def searched(size: int, strategy: str, seed: int) -> Searched:
    """One search of a whole map."""
    rng = np.random.default_rng(short_seed("map", size, seed))
    best = best_of(size)
    shared = dict(zip(best, SHARED * rng.standard_normal(len(best)), strict=True))
    measured, clean = dict.fromkeys(best, np.inf), dict.fromkeys(best, 2.0)
    regret, cost, seconds = [], [], []
    for trial, took, learn in _trials(size, strategy, seed):
        cell, on = _cell(dict(trial.cell.values)), trial.scale.size or size
        true = float(value(on, cell, unit_of(SPACE, trial.weights)[None])[0])
        score = true + shared[cell] + ROUGH * rng.standard_normal()
        learn(float(np.exp(score)))
        if on == size and score < measured[cell]:
            measured[cell], clean[cell] = score, true
        regret.append([np.expm1(clean[c] - best[c]) for c in best])
        cost.append((on / size) ** 3)
        seconds.append(took)
    found = np.array(regret)
    number = np.arange(1, len(found) + 1) / len(best)
    total = np.cumsum(cost) / len(best)
    return Searched(number, total, found.mean(axis=1), found.max(axis=1), np.array(seconds))


def _trials(size: int, strategy: str, seed: int) -> Iterator[tuple]:
    """Trials in turn, the seconds of their proposals, and what takes their scores."""
    axes = [sorted({cell[i] for cell in best_of(size)}) for i in range(2)]
    bounds = ", ".join(f"{name} = [{low}, {high}]" for name, (low, high) in SPACE.items())
    most = HEDGED if "hedge" in STRATEGIES[strategy] else MOST
    study = parse_study(
        f'[study]\nname = "regret"\nseed = {seed}\n[specimen]\nkind = "nanocubes"\nsize = {size}\n'
        f'[search]\n{STRATEGIES[strategy]}\ntrials = {most}\nmethods = ["fused"]\n'
        f'space = {{ {bounds} }}\n[axes]\n"{TILTS[0]}" = {axes[0]}\n"{TILTS[1]}" = {axes[1]}\n'
    )
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
                waiting.append((plan, _chance(trial, rng) if strategy == RANDOM else trial, took))
            # As many are under way as the lag allows: the first of them ends.
            if trial is None or len(waiting) >= plan.lag:
                while waiting:
                    owner, done, spent = waiting.pop(0)
                    yield done, spent, lambda score, o=owner, t=done: o.take_in(t, score)
                    if plan.ready:
                        break


def _chance(trial: Trial, rng: np.random.Generator) -> Trial:
    weights = at_unit(SPACE, rng.random(2))
    return Trial(trial.cell, trial.method, trial.number, weights, "", scale=trial.scale)


def main(seeds: int, figure: str | None) -> None:
    """Print trials and cost per cell until the regret is small; draw it along the search."""
    print(f"mean <= {MEAN:.0%} and worst <= {WORST:.0%}; median of {seeds} seeds (least, most)")
    header = ["map", "search", "trials per cell", "cost per cell", "at its end", "mean", "worst"]
    header += ["ms per proposal"]
    found: dict[tuple[int, str], list[Searched]] = {}

    def rows() -> Iterator[list[str]]:
        for size, name in itertools.product((64, 128), STRATEGIES):
            if size == 128 or "half" not in name:
                found[size, name] = [searched(size, name, seed) for seed in range(seeds)]
                yield row(size, name, found[size, name])

    table(header, rows())
    if figure is not None:
        draw(found, figure)


def row(size: int, name: str, runs: list[Searched]) -> list[str]:
    """One search of one map."""
    at = [run.reached() for run in runs]
    ends = [float(run.trials[-1]) for run in runs]
    times = np.concatenate([run.proposal for run in runs])
    return [
        f"{size}³",
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


def draw(found: dict[tuple[int, str], list[Searched]], path: str) -> None:
    """Mean regret along the searches, against trials and against cost; bands span the seeds."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    panels = [(64, "trials"), (128, "trials"), (128, "cost")]
    for axis, (size, what) in zip(axes, panels, strict=True):
        for name, colour in zip(STRATEGIES, COLOURS, strict=True):
            runs = found.get((size, name))
            if runs:
                _along(axis, runs, what, colour, name)
        axis.axhline(MEAN, color="black", linewidth=0.6, linestyle=":")
        axis.set(xscale="log", yscale="log", xlim=(0.8, 17.0), ylim=(1e-3, 1.0))
        axis.set_title(f"{size}³, {'16' if size == 128 else '56'} cells", fontsize=10)
        unit = "trials per cell" if what == "trials" else "full trials per cell, in device time"
        axis.set_xlabel(unit)
    axes[0].set_ylabel("mean regret (solid), worst (thin)")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)


def _along(axis: plt.Axes, runs: list[Searched], what: str, colour: str, name: str) -> None:
    shortest = min(len(run.mean) for run in runs)
    across = np.mean([getattr(run, what)[:shortest] for run in runs], axis=0)
    mean = np.array([run.mean[:shortest] for run in runs])
    worst = np.array([run.worst[:shortest] for run in runs])
    axis.plot(across, mean.mean(axis=0), color=colour, linewidth=1.8, label=name)
    axis.fill_between(across, mean.min(axis=0), mean.max(axis=0), color=colour, alpha=0.2, lw=0)
    axis.plot(across, worst.mean(axis=0), color=colour, linewidth=0.7)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2] if len(sys.argv) > 2 else None)
