"""NRMSE to expect against the true one: a reconstruction simulated as it lies, and turned by 90°.

The conditions of ``auto_weights.py``, each with its own range of tilts and with those of
``REACHES``, at the usual weights; data come from a grid twice as fine. Run:

    python tests/benchmarks/expected.py [SIZE [SEED]]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from auto_weights import SETTINGS, Condition, conditions, data
from common import score, table

from tomoatlas.analysis.weights import self_simulated, turned
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.tiltseries import TiltSeries

REACHES = (45.0, 30.0)  # degrees
WITHIN = 0.25


def recovered(series: TiltSeries, truth: Reconstruction, across: bool) -> float:
    """NRMSE of what is reconstructed from a simulation of ``truth``."""
    twin = self_simulated(series, truth, SETTINGS, seed=2, across=across)
    found = reconstruct(twin, settings=SETTINGS)
    volumes = turned(truth.volumes) if across else truth.volumes
    return float(np.mean(nrmse_by_element(found.volumes, volumes)))


def all_conditions(seed: int) -> Iterator[Condition]:
    """Every condition at its own range of tilts, then at narrower ones."""
    for at in conditions():
        for reach in (at.reach, *REACHES):
            yield replace(at, reach=reach, seed=at.seed + seed)


def main() -> None:
    """Print a line for each condition as it ends, then what an estimate is worth."""
    size, seed = (int(word) for word in (sys.argv[1:] + ["32", "0"][len(sys.argv[1:]) :]))
    ratios: list[tuple[float, float, float]] = []

    def rows() -> Iterator[list[object]]:
        for at in all_conditions(seed):
            truth, series = data(at, size)
            solved = reconstruct(series, settings=SETTINGS)
            true = score(solved.volumes, truth)
            own, other = (recovered(series, solved, across) for across in (False, True))
            ratios.append((at.reach, own / true, float(np.sqrt(own * other)) / true))
            yield [at, *(f"{value:.3f}" for value in (true, own, other))]

    table(["condition", "true", "as it lies", "turned"], rows())
    found = np.array(ratios)
    table(
        ["tilts", "conditions", "as it lies / true", "scatter", "mean of both / true", "scatter"],
        (summary(found, low, high) for low, high in ((60, 90), (45, 60), (0, 45), (0, 90))),
    )


def summary(found: np.ndarray, low: float, high: float) -> list[object]:
    """Median and scatter of the ratios over a range of reaches."""
    part = found[(found[:, 0] >= low) & (found[:, 0] < high), 1:]
    cells: list[object] = [f"± {low} to {high}°", len(part)]
    for ratio in part.T:
        median = float(np.median(ratio))
        near = float(np.mean(np.abs(ratio / median - 1) <= WITHIN))
        cells += [f"{median:.2f}", f"{np.log(ratio).std():.2f}; {near:.0%} within {WITHIN:.0%}"]
    return cells


if __name__ == "__main__":
    main()
