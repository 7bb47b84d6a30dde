"""What a fitted HAADF model is worth: coefficients, vacuum level and film unknown, 47/9 tilts.

Data of both laws come from a grid twice as fine, at the paper's SNRs, exponent 2. Four solvers see
them: the paper's law and the data's own law with everything known, and the fitted contrast with the
chemical scales known and as measured data are, without any scale or level. Then the level that the
file gives is off by 20 %, a film of 10 % of the largest signal lies behind the specimen, and, to
show why the coefficients stay, they are fitted again every ten iterations. The weights of each
solver are chosen on one noise seed, the HAADF weight at the middle TV weight and then the TV weight
at that one; what is reported is the mean of other seeds at those weights. Rows of the fitted
contrast share its weights. Run:

    python tests/benchmarks/fitted.py [SIZE [GAMMA [SPECIMEN ...]]]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from common import LAW, LAWS, best_weights, by_element, filmed, score, series_of, table, too_low

from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import haze, nrmse_by_element, stoichiometry, totals
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import LawName, SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import solve, start_coupling, step
from tomoatlas.recon_core.solver.calibration import with_chemical_scale
from tomoatlas.recon_core.solver.haadf_fit import fitted_coefficients, fitted_model
from tomoatlas.recon_core.solver.multiresolution import initial_state
from tomoatlas.recon_core.solver.problem import chemical_problem, with_haadf
from tomoatlas.recon_core.tiltseries import TiltSeries

Solver = Callable[[TiltSeries, Weights], Reconstruction]
Change = Callable[[TiltSeries], TiltSeries]

HAADF = (0.03, 0.1, 0.3, 1.0, 3.0)
TV = (0.6, 1.0, 1.6)
CHOOSING, REPORTED = 0, (1, 2, 3)  # noise seeds
REFITS, BETWEEN = 5, 10


def main(size: int, gamma: float, kinds: list[str]) -> None:
    """Print a row for each specimen, law of the data, and solver or fault of the data."""
    print(f"{size}³, fitted exponent {gamma:g}")
    header = (
        "data",
        "solver",
        "haadf, tv",
        "⟨NRMSE⟩",
        "over the paper's law",
        "by element",
        "totals",
        "haze",
        "oxides inside, mean ± σ",
        "iterations",
    )
    table(header, (row for kind in kinds for law in LAWS for row in rows(size, gamma, kind, law)))


def rows(size: int, gamma: float, kind: str, law: LawName) -> Iterator[tuple[object, ...]]:
    """All rows of one specimen and law of the data."""
    truth, own = make_specimen(kind, size, 0), SolverSettings(contrast=law)
    fitted = SolverSettings(contrast="fitted", gamma=gamma)
    film = SolverSettings(contrast="fitted", gamma=gamma, film=True)
    data = {seed: series_of(size, kind, law, seed) for seed in (CHOOSING, *REPORTED)}
    paper, best = solver(SolverSettings()), solver(fitted)
    weights = {way: best_weights(data[CHOOSING], truth, way, HAADF, TV) for way in (paper, best)}
    cases: list[tuple[str, Solver, Change, Weights]] = [
        ("(Zx)², all known", paper, unchanged, weights[paper]),
        ("fitted", best, unchanged, weights[best]),
        ("fitted, no scale or level known", best, measured, weights[best]),
        ("fitted, level given 20 % too low", best, too_low, weights[best]),
        ("fitted with film, film of 10 %", solver(film), filmed, weights[best]),
        ("fitted without film, film of 10 %", best, filmed, weights[best]),
        ("fitted again every 10 iterations", refitting(fitted), unchanged, weights[best]),
    ]
    if law != "power":
        known = solver(own)
        found = best_weights(data[CHOOSING], truth, known, HAADF, TV)
        cases.insert(1, (f"{LAW[law]}, all known", known, unchanged, found))
    reference = None
    for name, way, change, pair in cases:
        results = [way(change(data[seed]), pair) for seed in REPORTED]
        mean = float(np.mean([score(found.volumes, truth) for found in results]))
        reference = mean if reference is None else reference
        yield (f"{kind} {LAW[law]}", name, *_cells(results, truth, pair, mean, reference))


def _cells(
    results: list[Reconstruction],
    truth: Specimen,
    weights: Weights,
    mean: float,
    reference: float,
) -> tuple[str, ...]:
    first = results[0].volumes
    oxides = stoichiometry(first, truth.volumes, truth.elements, 1)
    edge = weights.haadf in (HAADF[0], HAADF[-1]) or weights.tv in (TV[0], TV[-1])
    return (
        f"{weights.haadf:g}, {weights.tv:g}{' (edge)' if edge else ''}",
        f"{mean:.3f}",
        f"{mean / reference - 1:+.1%}",
        by_element(truth, nrmse_by_element(first, truth.volumes)),
        by_element(truth, totals(first, truth.volumes)),
        by_element(truth, haze(first, truth.volumes)),
        ", ".join(f"{o.element} {o.mean:.2f} ± {o.sigma:.3f}" for o in oxides),
        ", ".join(f"{found.iterations:.0f}" for found in results),
    )


def solver(settings: SolverSettings) -> Solver:
    """A fused solve with these settings."""
    return lambda series, weights: reconstruct(series, Method.FUSED, weights, settings)


def refitting(settings: SolverSettings) -> Solver:
    """A fused solve that fits the coefficients again to volumes that have seen HAADF."""

    def solved(series: TiltSeries, weights: Weights) -> Reconstruction:
        series = with_chemical_scale(series)
        model = fitted_model(series, settings)
        series, law = model.applied_to(series), model.coefficients.law
        problem, state = initial_state(series, [weights], settings, CPU, contrast=law)
        for _ in range(REFITS):
            for _ in range(BETWEEN):
                state = step(problem, state)
            law = fitted_coefficients(series, state.volumes[0], settings).law
            bare = chemical_problem(series, [weights], settings)
            problem = with_haadf(bare, series, [weights], settings, law)
            state = start_coupling(problem, state)
        return solve(problem, state, settings.tolerance, settings.max_iterations)[0]

    return solved


def unchanged(series: TiltSeries) -> TiltSeries:
    """Everything known."""
    return series


def measured(series: TiltSeries) -> TiltSeries:
    """Without scales and vacuum level."""
    return replace(series, haadf_scale=None, chemical_scale=None, haadf_background=0.0)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 48,
        float(given[1]) if given[1:] else 1.2,
        given[2:] or ["nanocubes", "composite"],
    )
