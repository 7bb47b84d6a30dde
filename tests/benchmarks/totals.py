"""Amounts: what TV, TV that HAADF guides, and held totals do to totals, haze, levels and oxides.

47/9 tilts at the paper's SNRs, data from a grid twice as fine and of either HAADF law. The weights
are chosen by ⟨NRMSE⟩ on one specimen and noise seed, for plain TV and for both changes together,
the HAADF weight at the middle TV weight and then the TV weight at that one; what is reported is
another specimen of the kind and other noise. Beside them Bregman iterations (Osher et al.,
Multiscale Model. Simul. 4, 460 (2005)): a second solve, TV times 2.5, less the subgradient of the
first. Held out: deviance per pixel, of the worst element, of a fifth of the counts that a solve of
the other four has not seen. Run:

    python tests/benchmarks/totals.py [SIZE [SPECIMEN [own|fitted [GAMMA]]]]
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from common import LAWS, best_weights, by_element, score, series_of, table

from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.cpu.volume_step import Fields, Steps
from tomoatlas.recon_core.device import CPU, Device
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import haze, level, nrmse_by_element, stoichiometry, totals
from tomoatlas.recon_core.metrics.misfit import deviance
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import LawName, SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import refresh_metric, solve, step
from tomoatlas.recon_core.solver.multiresolution import initial_state
from tomoatlas.recon_core.solver.problem import chemical_problem
from tomoatlas.recon_core.solver.regularisers import TotalVariation
from tomoatlas.recon_core.tiltseries import TiltSeries

Array = np.ndarray
Solve = Callable[[TiltSeries, Weights], Reconstruction]

HAADF, TV = (0.03, 0.1, 0.3, 1.0), (0.7, 1.0, 1.5)
CHOSEN, REPORTED = (0, 1), (1, 5)  # seeds of specimen and noise
KEPT = 0.8  # of the counts, where the others are held out
FIRST_STEPS, STRONGER = 80, 2.5  # of the first of two Bregman iterations: steps, times tv


@dataclass(frozen=True)
class BregmanVariation(TotalVariation):
    """Total variation less a subgradient of it: the Bregman distance from where that was taken."""

    tilt: Array

    def of(self, trials: object, /) -> BregmanVariation:
        return BregmanVariation(self.tilt[trials])

    def value(self, device: Device, volumes: Array) -> Array:
        pushed = (self.tilt * volumes).sum(axis=(1, 2, 3, 4), dtype=np.float64)
        return super().value(device, volumes) + pushed

    def step(self, device: Device, fields: Fields, steps: Steps) -> Array:
        weight = steps.tv[:, None, None, None, None]
        return super().step(device, fields._replace(slope=fields.slope + weight * self.tilt), steps)


def divergence(dual: Array) -> Array:
    """Of the TV dual, (trial, element, 3, z, y, x)."""
    found = dual.sum(axis=2)
    found[..., 1:, :, :] -= dual[:, :, 0, :-1]
    found[..., 1:, :] -= dual[:, :, 1, :, :-1]
    found[..., 1:] -= dual[:, :, 2, :, :, :-1]
    return found


def bregman(settings: SolverSettings) -> Solve:
    """Two iterations."""

    def run(series: TiltSeries, weights: Weights) -> Reconstruction:
        stronger = [replace(weights, tv=STRONGER * weights.tv)]
        problem, state = initial_state(series, stronger, settings, CPU)
        for _ in range(FIRST_STEPS):
            state = step(problem, state)
        problem = replace(problem, regulariser=BregmanVariation(divergence(state.dual)))
        state.dual[...] = 0
        state = refresh_metric(problem, state)
        return solve(problem, state, settings.tolerance, settings.max_iterations)[0]

    return run


def candidates(settings: SolverSettings) -> dict[str, Solve]:
    """Name to solve; the first and the last choose the weights."""

    def plain(**changed: object) -> Solve:
        chosen = SolverSettings(**settings.model_dump() | changed)
        return lambda series, weights: reconstruct(series, Method.FUSED, weights, chosen)

    return {
        "TV": plain(),
        "TV, totals": plain(totals=True),
        "Bregman, totals": bregman(SolverSettings(**settings.model_dump() | {"totals": True})),
        "guided": plain(regulariser="guided"),
        "guided, totals": plain(regulariser="guided", totals=True),
    }


def main(size: int, kinds: list[str], contrast: str, gamma: float) -> None:
    """Print a row for each specimen, law of the data and candidate."""
    header = (
        "specimen",
        "data",
        "candidate",
        "haadf, tv",
        "⟨NRMSE⟩",
        "by element",
        "totals",
        "haze",
        "level inside",
        "oxides inside, truth 0.50",
        "held out",
        "ended",
    )
    cases = itertools.product(kinds, LAWS)
    table(header, itertools.chain.from_iterable(rows(size, *c, contrast, gamma) for c in cases))


def rows(
    size: int, kind: str, law: LawName, contrast: str, gamma: float
) -> Iterator[tuple[object, ...]]:
    """The candidates for one specimen and law of the data."""
    settings = SolverSettings(contrast=law if contrast == "own" else contrast, gamma=gamma)
    named = candidates(settings)
    first, *_, last = named
    truth, series = case(size, kind, law, *CHOSEN)
    best = {n: best_weights(series, truth, named[n], HAADF, TV) for n in (first, last)}
    truth, series = case(size, kind, law, *REPORTED)
    for name, run in named.items():
        weights = best[last if name.startswith("guided") else first]
        found = run(series, weights)
        yield (
            kind,
            law,
            name,
            f"{weights.haadf:g}, {weights.tv:g}",
            *cells(found, truth),
            (f"{held_out(series, run, weights):.3f}"),
            f"{found.status}, {found.iterations:.0f}",
        )


def case(size: int, kind: str, law: LawName, which: int, seed: int) -> tuple[Specimen, TiltSeries]:
    """A specimen and its data."""
    return make_specimen(kind, size, which), series_of(size, kind, law, seed, specimen_seed=which)


def held_out(series: TiltSeries, run: Solve, weights: Weights) -> float:
    """Deviance per pixel of unseen counts, of the worst element, over that of the truth's noise."""
    random = np.random.default_rng(0)
    kept = random.binomial(series.chemical.astype(np.int64), KEPT).astype(np.float32)
    parts = [part(series, kept, KEPT), part(series, series.chemical - kept, 1 - KEPT)]
    volumes = run(parts[0], weights).volumes
    problem = chemical_problem(parts[1], [weights], SolverSettings())
    expected = problem.chemistry.expected(volumes[None])[0].astype(np.float64)
    return float(deviance(parts[1].chemical, expected).mean(axis=(1, 2, 3)).max())


def part(series: TiltSeries, counts: Array, share: float) -> TiltSeries:
    """The series with a share of its chemical counts."""
    return replace(
        series,
        chemical=counts.astype(np.float32),
        chemical_background=tuple(share * level for level in series.chemical_background),
        chemical_scale=tuple(share * scale for scale in series.chemical_scale or ()),
    )


def cells(found: Reconstruction, truth: Specimen) -> tuple[str, ...]:
    """Scores of one reconstruction."""
    x, true = found.volumes, truth.volumes
    oxides = stoichiometry(x, true, truth.elements, 1)
    return (
        f"{score(x, truth):.3f}",
        by_element(truth, nrmse_by_element(x, true)),
        by_element(truth, totals(x, true)),
        by_element(truth, haze(x, true)),
        by_element(truth, level(x, true)),
        ", ".join(f"{o.element} {o.mean:.3f} ± {o.sigma:.3f}" for o in oxides),
    )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 48,
        given[1:2] or ["nanocubes", "composite"],
        given[2] if given[2:] else "own",
        float(given[3]) if given[3:] else 2.0,
    )
