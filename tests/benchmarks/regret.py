"""How good the proposals are: tomoatlas.sweep.search.gp against scikit-optimize's gp_hedge and
against chance.

Landscapes: the measured one (a smooth fit to the committed trials of fig4_nanocubes_64, one slice
for each of several cells, rough by 0.2 % as solvers stop at a tolerance) and four toys. Regret is
the best noise-free value found less the best there is, over the landscape's range; every searcher
gets the same seeds. Run:

    python tests/benchmarks/regret.py [SEEDS [LANDSCAPE ...]]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import table
from scipy.interpolate import RBFInterpolator

from tomoatlas.recon_core.methods import Weights
from tomoatlas.sweep.search.propose import initial_point, propose
from tomoatlas.sweep.study.identity import short_seed
from tomoatlas.sweep.study.tables import SearchSpace, Surrogate

SPACE = dict(SearchSpace().model_dump())
TRIALS, INITIAL = 20, 6
ATLAS = Path(__file__).parents[2] / "analysis/atlases/fig4_nanocubes_64/trials.jsonl"
TILTS = ("acquisition.haadf_tilts", "acquisition.chemical_tilts")
CELLS = [(9, 5), (9, 71), (35, 18), (47, 9), (141, 5), (141, 26)]
SEARCHERS = (*Surrogate, "chance")


@dataclass(frozen=True)
class Landscape:
    """Scores over the unit square of the logarithmic weights, and their relative roughness."""

    name: str
    value: Callable[[np.ndarray], np.ndarray]
    roughness: float = 0.0

    def extremes(self) -> tuple[float, float]:
        """Lowest and highest value on a fine grid."""
        edge = np.linspace(0.0, 1.0, 201)
        values = self.value(np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2))
        return float(values.min()), float(values.max())


def measured() -> Iterator[Landscape]:
    """Slices, at several cells, of one smooth fit to all committed fused trials."""
    records = [json.loads(line) for line in ATLAS.read_text(encoding="utf-8").splitlines()]
    fused = [r for r in records if r["method"] == "fused" and r["status"] == "ok"]
    weights = _unit(np.array([[r["weights"]["haadf"], r["weights"]["tv"]] for r in fused]))
    tilts = _tilt_axes(np.array([[r["cell"][axis] for axis in TILTS] for r in fused]))
    scores = np.log([r["nrmse"] for r in fused])
    fit = RBFInterpolator(np.hstack([weights, tilts]), scores, smoothing=1e-3, degree=2)
    for cell in CELLS:
        place = _tilt_axes(np.array([cell]))[0]
        yield Landscape(f"measured {cell[0]} x {cell[1]}", _slice(fit, place), 2e-3)


def _slice(fit: RBFInterpolator, place: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda unit: np.exp(fit(np.hstack([unit, np.tile(place, (len(unit), 1))])))


def _tilt_axes(tilts: np.ndarray) -> np.ndarray:
    """Tilts on axes along which scores change about as fast as along the weights."""
    return 0.2 * np.log(tilts + 1.0)


def _unit(weights: np.ndarray) -> np.ndarray:
    lows, highs = np.log(np.array(list(SPACE.values()))).T
    return (np.log(weights) - lows) / (highs - lows)


def toys() -> list[Landscape]:
    """A bowl, a bent valley, two minima, and a plateau with a narrow pit."""
    return [
        Landscape("bowl", lambda u: ((u - [0.37, 0.61]) ** 2 * [1.0, 3.0]).sum(-1), 1e-3),
        Landscape("valley", _valley),
        Landscape(
            "two minima", lambda u: -_hill(u, 0.25, 0.3, 0.2) - 0.8 * _hill(u, 0.8, 0.7, 0.25)
        ),
        Landscape("pit", lambda u: 0.1 * u.sum(-1) - _hill(u, 0.7, 0.35, 0.12)),
    ]


def _valley(u: np.ndarray) -> np.ndarray:
    x, y = 3.0 * u[..., 0] - 1.5, 3.0 * u[..., 1] - 0.5
    return np.log1p((1.0 - x) ** 2 + 10.0 * (y - x * x) ** 2)


def _hill(u: np.ndarray, x: float, y: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((u - [x, y]) ** 2).sum(-1) / width**2)


def search(
    landscape: Landscape, extremes: tuple[float, float], searcher: str, seed: int
) -> tuple[np.ndarray, float]:
    """Regret after each trial, and processor time per proposal, seconds."""
    rng = np.random.default_rng(short_seed("regret", landscape.name, seed))
    low, high = extremes
    known: list[tuple[Weights, float | None]] = []
    found: list[float] = []
    spent = 0.0
    for t in range(TRIALS):
        began = time.process_time()
        weights = _proposal(searcher, t, known, seed)
        spent += (time.process_time() - began) * (t >= INITIAL)
        unit = _unit(np.array([[weights.haadf, weights.tv]]))
        value = float(landscape.value(unit)[0])
        rough = abs(value) * landscape.roughness * rng.standard_normal()
        known.append((weights, value + rough))
        found.append((value - low) / (high - low))
    return np.minimum.accumulate(np.maximum(found, 0.0)), spent / (TRIALS - INITIAL)


def _proposal(
    searcher: str, t: int, known: list[tuple[Weights, float | None]], seed: int
) -> Weights:
    if t < INITIAL:
        return initial_point(SPACE, t, seed)
    if searcher != "chance":
        return propose(SPACE, known, [], seed * 1000 + t, Surrogate(searcher))
    lows, highs = np.log(np.array(list(SPACE.values()))).T
    rng = np.random.default_rng([seed, t])
    return Weights(*np.exp(rng.uniform(lows, highs)).tolist())


def main(seeds: int, names: Sequence[str]) -> None:
    """Print mean regret with its standard error, the paired difference, and the time."""
    header = ["landscape"]
    header += [f"{s}, {n} trials" for s in SEARCHERS for n in (10, TRIALS)]
    header += [f"gp - gp-hedge, {TRIALS} trials", "gp better", "ms: gp", "ms: gp-hedge"]
    print(f"regret in % of the landscape's range, mean of {seeds} seeds ± its standard error")
    chosen = [x for x in (*measured(), *toys()) if not names or x.name in names]
    table(header, (row(landscape, seeds) for landscape in chosen))


def row(landscape: Landscape, seeds: int) -> list[str]:
    """One landscape, all searchers."""
    regrets, cost, extremes = {}, {}, landscape.extremes()
    for searcher in SEARCHERS:
        runs = [search(landscape, extremes, searcher, seed) for seed in range(seeds)]
        regrets[searcher] = 100.0 * np.array([regret for regret, _ in runs])
        cost[searcher] = 1e3 * np.mean([seconds for _, seconds in runs])
    cells = [_mean(regrets[s][:, n - 1]) for s in SEARCHERS for n in (10, TRIALS)]
    ours, theirs = (regrets[s][:, -1] for s in (Surrogate.GP, Surrogate.GP_HEDGE))
    better = f"{(ours < theirs).mean():.0%}"
    times = [f"{cost[s]:.1f}" for s in (Surrogate.GP, Surrogate.GP_HEDGE)]
    return [landscape.name, *cells, _mean(ours - theirs), better, *times]


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16, sys.argv[2:])
