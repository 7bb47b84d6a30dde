"""Robustness of the solver: no background, sizes below 32, mirrored data.

python tests/benchmarks/robustness.py background|small|mirror [SIZE ...]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from common import PAPER_SNR, score, table

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.multiresolution import chemical_bound, initial_state
from tomoatlas.recon_core.solver.problem import fused_problem
from tomoatlas.recon_core.tiltseries import TiltSeries

Row = tuple[object, ...]

USUAL = SolverSettings()
LONG = SolverSettings(tolerance=1e-6, max_iterations=1500)
WEIGHTS = (Weights(0.1, 1.0), Weights(0.01, 0.5))
ANY_SIZE = 10**6  # least edge of the coarse grid: every solve starts from its counts


def data(kind: str, size: int, background: float = 0.15) -> tuple[Specimen, TiltSeries]:
    """47 / 9 tilts at the paper's SNRs, from a grid twice as fine."""
    acquisition = Acquisition(
        haadf_tilts=47,
        chemical_tilts=9,
        haadf_snr=2208.67,
        chemical_snr=PAPER_SNR if kind == "nanocubes" else 2.5,
        oversample=2,
        background=background,
    )
    return make_specimen(kind, size, 0), simulate(make_specimen(kind, 2 * size, 0), acquisition, 0)


def subtracted(series: TiltSeries) -> TiltSeries:
    """The series with its background subtracted, and what is negative then set to 0."""
    levels = np.asarray(series.chemical_background, np.float32)[:, None, None, None]
    return replace(
        series,
        chemical=np.maximum(series.chemical - levels, 0),
        chemical_background=(0.0,) * len(series.elements),
        haadf=np.maximum(series.haadf - np.float32(series.haadf_background), 0),
        haadf_background=0.0,
    )


def background_rows(sizes: list[int]) -> Iterator[Row]:
    """Solves of data without background beside long ones."""
    for size in sizes:
        for name, level in (("15 %", 0.15), ("none", 0.0), ("subtracted", 0.15)):
            specimen, series = data("nanocubes", size, level)
            series = subtracted(series) if name == "subtracted" else series
            for weights in (Weights(0.0, 1.0), *WEIGHTS, Weights(1.0, 1.0)):
                method = Method.FUSED if weights.haadf else Method.CHEMISTRY_TV
                found = reconstruct(series, method, weights, USUAL)
                long = reconstruct(series, method, weights, LONG)
                above = found.history.objective[-1] / long.history.objective[-1] - 1
                ceiling = chemical_bound(series, USUAL, CPU).ceilings([weights])[0]
                share = found.history.chemistry[-1] / ceiling
                head = f"{size}³", name, weights.haadf, weights.tv, str(found.status)
                numbers = f"{found.iterations:.0f}", f"{100 * above:+.2f} %", f"{share:.2f}"
                yield *head, *numbers, f"{score(found.volumes, specimen):.3f}"


def small_rows(sizes: list[int]) -> Iterator[Row]:
    """The solve, and one from the counts, above the lowest objective of several long runs."""
    for kind in ("nanocubes", "composite"):
        for size in sizes:
            specimen, series = data(kind, size)
            for weights in WEIGHTS:
                now = from_grid(series, weights, USUAL)
                before = from_grid(series, weights, USUAL, ANY_SIZE)
                runs = [now, before, *long_runs(series, specimen, weights)]
                least = min(run.history.objective[-1] for run in runs)
                over = [f"{100 * (r.history.objective[-1] / least - 1):.2f} %" for r in runs[:2]]
                scores = [f"{score(run.volumes, specimen):.3f}" for run in runs[:2]]
                pair = weights.haadf, weights.tv
                yield kind, size, *pair, over[1], over[0], scores[1], scores[0]


def long_runs(series: TiltSeries, specimen: Specimen, weights: Weights) -> Iterator[Reconstruction]:
    """From half the resolution, from the counts, and from the truth."""
    yield from_grid(series, weights, LONG)
    yield from_grid(series, weights, LONG, ANY_SIZE)
    problem = fused_problem(series, [weights], LONG)
    truth = np.maximum(specimen.volumes, 1e-3).astype(np.float32)
    yield solve(problem, init(problem, truth), LONG.tolerance, LONG.max_iterations)[0]


def from_grid(
    series: TiltSeries, weights: Weights, settings: SolverSettings, smallest: int = 8
) -> Reconstruction:
    """Solve with a least edge of the coarse grid."""
    problem, state = initial_state(series, [weights], settings, CPU, smallest)
    return solve(problem, state, settings.tolerance, settings.max_iterations)[0]


def mirror_rows(sizes: list[int]) -> Iterator[Row]:
    """Distance of the volumes of mirrored data from the mirrored volumes."""
    for size in sizes:
        specimen, series = data("nanocubes", size)
        turned = replace(
            series,
            haadf=np.ascontiguousarray(series.haadf[..., ::-1]),
            chemical=np.ascontiguousarray(series.chemical[..., ::-1]),
        )
        for method, weights in (
            (Method.ML, Weights()),
            (Method.FUSED, Weights(0.1, 0.0)),
            (Method.CHEMISTRY_TV, Weights(0.0, 1.0)),
            (Method.FUSED, Weights(0.1, 1.0)),
        ):
            here, there = (reconstruct(each, method, weights, USUAL) for each in (series, turned))
            back = replace(there, volumes=there.volumes[..., ::-1])
            apart = np.linalg.norm(back.volumes - here.volumes) / np.linalg.norm(here.volumes)
            objective = there.history.objective[-1] / here.history.objective[-1] - 1
            scores = (f"{score(each.volumes, specimen):.4f}" for each in (here, back))
            pair = weights.haadf, weights.tv
            yield size, str(method), *pair, f"{apart:.5f}", f"{100 * objective:+.3f} %", *scores


TABLES = {
    "background": (
        "size|background|haadf|tv|status|iterations|objective above a long run"
        "|chemical term over its ceiling|NRMSE",
        background_rows,
        [24],
    ),
    "small": (
        "specimen|size|haadf|tv|from the counts: above the lowest|now|from the counts: NRMSE|now",
        small_rows,
        [16, 20, 24, 28, 31],
    ),
    "mirror": (
        "size|method|haadf|tv|apart|objective|NRMSE|mirrored",
        mirror_rows,
        [32],
    ),
}


def main(name: str, *sizes: str) -> None:
    """Print the table of that name."""
    head, rows, usual = TABLES[name]
    table(head.split("|"), rows([int(size) for size in sizes] or usual))


if __name__ == "__main__":
    main(*sys.argv[1:])
