"""A solve with the linear contrast: convex, with one minimum that every start arrives at."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from recon_cases import start_of, tilt_series
from recon_reference import Reference, negative_divergence

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.result import Reconstruction, Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import init, solve, step
from tomoatlas.recon_core.solver.problem import FusedProblem, fused_problem
from tomoatlas.recon_core.tiltseries import TiltSeries

LINEAR = SolverSettings(contrast="linear")
WEIGHTS = [(0.03, 0.5), (0.3, 0.1), (3.0, 1.0)]
CORNERS = [(1e-3, 0.1), (1e-3, 6.0), (0.1, 1.0), (3.0, 0.1), (3.0, 6.0)]
"""Of the search space by default, and its middle."""


@cache
def problem(haadf: float, tv: float) -> FusedProblem:
    """12³ nanocubes."""
    return fused_problem(tilt_series(contrast="linear"), [Weights(haadf, tv)], LINEAR)


def solved(chosen: FusedProblem, start: np.ndarray, limit: float = 3000) -> Reconstruction:
    return solve(chosen, init(chosen, start), 1e-8, limit)[0]


@cache
def acquired(kind: str) -> tuple[Specimen, TiltSeries]:
    """16³ at the tilts of the paper, data from a finer grid."""
    acquisition = Acquisition(contrast="linear", oversample=2)
    return make_specimen(kind, 16, 0), simulate(make_specimen(kind, 32, 0), acquisition, 0)


@pytest.mark.parametrize(("haadf", "tv"), WEIGHTS[::2])
def test_objective_is_that_of_a_long_run_of_another_method(haadf: float, tv: float) -> None:
    chosen = problem(haadf, tv)
    reference = Reference(chosen)
    _, best = reference.minimise(start_of(chosen), 250)
    assert reference.objective(solved(chosen, start_of(chosen)).volumes) <= 1.001 * best


@pytest.mark.parametrize("haadf", [0.03, 1.0])
def test_solution_is_stationary(haadf: float) -> None:
    """0 is in the gradient of both data terms + tv dTV + the cone of x >= 0."""
    chosen = problem(haadf, 0.5)
    state = init(chosen, start_of(chosen))
    for _ in range(3000):
        state = step(chosen, state)
    x = state.volumes[0].astype(np.float64)
    dual = 0.5 * state.dual[0].swapaxes(0, 1).astype(np.float64)
    slope = Reference(chosen).smooth(x)[1]
    total = slope + negative_divergence(dual)
    stationary = np.where(x > 1e-4, total, np.minimum(total, 0))
    assert np.linalg.norm(stationary) < 2e-3 * np.linalg.norm(slope)


@pytest.mark.parametrize(("haadf", "tv"), WEIGHTS)
def test_two_starts_have_one_end(haadf: float, tv: float) -> None:
    chosen = problem(haadf, tv)
    start = start_of(chosen)
    first, second = solved(chosen, start), solved(chosen, np.ascontiguousarray(start[:, ::-1]))
    ends = [found.history.objective[-1] for found in (first, second)]
    assert ends[0] == pytest.approx(ends[1], rel=3e-5)
    apart = np.linalg.norm(first.volumes - second.volumes)
    assert apart < 0.03 * np.linalg.norm(first.volumes)


@pytest.mark.parametrize("kind", ["nanocubes", "composite"])
@pytest.mark.parametrize(("haadf", "tv"), CORNERS)
def test_the_usual_start_ends_near_the_minimum_over_the_search_space(
    kind: str, haadf: float, tv: float
) -> None:
    truth, series = acquired(kind)
    usual = reconstruct(series, "fused", Weights(haadf, tv), LINEAR)
    assert usual.status in (Status.CONVERGED, Status.ITERATION_LIMIT)
    chosen = fused_problem(series, [Weights(haadf, tv)], LINEAR)
    least = solved(chosen, np.maximum(truth.volumes, 1e-3), 1000).history.objective[-1]
    assert usual.history.objective[-1] < 1.006 * least
