"""The candidates of the convergence benchmark minimise the same objective, by true gradients."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from candidates import CANDIDATES, WINNER, Conjugate
from convergence import OF_SMALL, Trace, trace
from convergence_figure import COLOURS
from first_order import gradient_step
from smooth import (
    bend,
    dual_step,
    proximal,
    roughness,
    row_sums,
    subset,
    value,
    value_and_slope,
)

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver.admm import init, prox_step, solve
from tomoatlas.recon_core.solver.gram import Line, gram_of
from tomoatlas.recon_core.solver.multiresolution import initial_state
from tomoatlas.recon_core.solver.problem import FusedProblem, fused_problem
from tomoatlas.recon_core.tiltseries import TiltSeries

WEIGHTS = Weights(0.03, 1.0)
ENOUGH = 150


@cache
def case() -> tuple[Specimen, TiltSeries]:
    made = make_specimen("nanocubes", 16, 0)
    return made, simulate(made, Acquisition(haadf_tilts=18, chemical_snr=20.0), 0)


@cache
def chosen(gamma: float = 2.0) -> FusedProblem:
    return fused_problem(case()[1], [WEIGHTS], SolverSettings(gamma=gamma))


def some(seed: int = 0, low: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(low, 1.0, chosen().shape).astype(np.float32)


@cache
def traced(name: str) -> Trace:
    truth, series = case()
    return trace(series, truth, WEIGHTS, name, ENOUGH)


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_candidate_descends_and_ends_near_the_winner(name: str) -> None:
    work, _, _, objective = traced(name).rows.T
    assert work[-1] >= ENOUGH
    assert (np.diff(work) > 0).all()
    assert objective[-1] < objective[0]
    assert objective[-1] == pytest.approx(traced(WINNER).rows[-1, 3], rel=0.01)


def test_the_candidates_of_the_figure_are_these() -> None:
    assert set(COLOURS) == set(CANDIDATES)
    assert set(CANDIDATES) > OF_SMALL
    assert WINNER not in OF_SMALL


@pytest.mark.parametrize("gamma", [1.6, 2.0])
def test_the_gradient_is_that_of_the_objective(gamma: float) -> None:
    problem, x, direction = chosen(gamma), some(), some(1, -1.0)
    terms = problem.terms(x)
    ours, slope = value_and_slope(problem, x)
    assert ours == pytest.approx((terms.haadf + terms.chemistry)[0], rel=1e-5)
    assert ours == pytest.approx(value(problem, x), rel=1e-5)
    assert roughness(problem, x) == pytest.approx(terms.tv[0], rel=1e-5)
    h = 1e-2
    ahead, behind = (value(problem, x + np.float32(sign * h) * direction) for sign in (1, -1))
    expected = np.sum(slope * direction, dtype=np.float64)
    assert (ahead - behind) / (2 * h) == pytest.approx(expected, rel=1e-2)


def test_subsets_add_up_to_the_whole() -> None:
    problem, x = chosen(), some()
    parts = [subset(problem, first, 4) for first in range(4)]
    slopes = sum(value_and_slope(part, x)[1] for part in parts)
    np.testing.assert_allclose(slopes, value_and_slope(problem, x)[1], rtol=1e-3, atol=0.1)
    assert sum(part.tilts_per_iteration for part in parts) == problem.tilts_per_iteration


@pytest.mark.parametrize("seed", range(4))
def test_the_row_sums_bound_the_curvature(seed: int) -> None:
    problem, x = chosen(), some()
    bound, (at, slope) = row_sums(problem, x), value_and_slope(problem, x)
    move = np.float32(0.02) * some(seed, -1.0)
    model = at + float(np.sum(move * (slope + 0.5 * bound * move), dtype=np.float64))
    assert value(problem, x + move) <= model
    assert value(problem, x + move) > model - float(np.sum(bound * move**2))


def test_the_proximal_step_is_the_solvers() -> None:
    """In a metric that is the same at every voxel of an element, without HAADF."""
    problem = replace(chosen(), haadf=None)
    state = init(problem, some())
    state.dual[...] = 0.1
    for axis in range(3):
        np.moveaxis(state.dual[:, :, axis], axis - 3, 0)[-1] = 0
    state.slope[...] = some(1, -1.0)
    metric = np.broadcast_to(state.metric[..., None, None, None], problem.shape).copy()
    dual, step = state.dual.copy(), dual_step(problem, metric)
    ours = proximal(problem, state.point.copy(), state.slope, dual, metric, step)
    after = prox_step(problem, state)
    np.testing.assert_allclose(ours, after.volumes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dual, after.dual, rtol=1e-4, atol=1e-5)


def test_conjugate_gradients_solve_the_linear_half() -> None:
    plain = gram_of(CPU, chosen().haadf.projector, 0.02)
    gram = Conjugate(CPU, plain.projector, plain.ridge, plain.precondition, 60)
    right = some()[:, 0]
    solution, residual = np.zeros_like(right), right.copy()
    rays, along, last = gram.projector.forward(right), *(Line(right.copy(), right.copy()),) * 2
    gram.descend(solution, residual, rays, along, last, restart=True)
    there = gram.projector.adjoint(gram.projector.forward(solution)) + gram.ridge * solution
    np.testing.assert_allclose(there, right, atol=1e-3)


@pytest.mark.parametrize("haadf", [0.03, 1.0])
def test_a_linear_contrast_ends_no_higher_than_a_long_proximal_gradient_run(haadf: float) -> None:
    made = make_specimen("nanocubes", 12, 0)
    plan = Acquisition(haadf_tilts=18, chemical_snr=20.0, contrast="linear")
    series, settings = simulate(made, plan, 0), SolverSettings(contrast="linear")
    weights = [Weights(haadf, 1.0)]
    problem, state = initial_state(series, weights, settings, CPU, 10**6)
    for _ in range(1500):
        state = gradient_step(problem, state)
    (found,) = solve(*initial_state(series, weights, settings, CPU), 1e-6, 1500)
    assert found.history.objective[-1] <= 1.0005 * problem.terms(state.volumes).objective[0]


@pytest.mark.parametrize("gamma", [1.6, 2.0])
def test_bend_is_the_derivative_of_the_contrast(gamma: float) -> None:
    problem, x, h = chosen(gamma), some(), np.float32(1e-2)
    shift = np.zeros_like(x)
    shift[:, 2] = h
    slope = (problem.contrast(x + shift) - problem.contrast(x - shift)) / (2 * h)
    np.testing.assert_allclose(slope, bend(problem, x)[:, 2], rtol=1e-3)


def rows(scores: list[float], objectives: list[float]) -> Trace:
    works = np.arange(len(scores), dtype=float)
    return Trace(np.stack([works, works, scores, objectives], axis=1))


def test_arrival_counts_from_the_last_time_away() -> None:
    found = rows([0.5, 0.401, 0.5, 0.401, 0.4], [900.0, 102.0, 102.0, 101.0, 100.0])
    assert found.arrival == "3"
    assert found.reaches(100.0) == "3"
    assert found.reaches(90.0) == "-"


@pytest.mark.parametrize(
    ("objectives", "motion"),
    [
        ([900.0] + [100.0] * 7, ""),
        ([200.0, 190.0, 180.0, 170.0, 160.0, 150.0, 140.0, 130.0], "falling"),
        ([100.0] * 6 + [120.0, 110.0], "unsteady"),
        ([200.0, 100.0] + [110.0] * 6, "unsteady"),
    ],
)
def test_what_falls_is_told_from_what_has_risen(objectives: list[float], motion: str) -> None:
    assert rows([0.5] * 8, objectives).motion == motion


@pytest.mark.parametrize("last", [np.nan, np.inf, 1e9])
def test_what_grows_without_bound_diverged(last: float) -> None:
    found = rows([0.5, 0.4], [100.0, last])
    assert found.diverged
    assert found.arrival == "-"
