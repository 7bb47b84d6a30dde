"""The solver against another method, its optimality, its statuses, its symmetries."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numba
import numpy as np
import pytest
from recon_cases import (
    gram_times,
    problem_of,
    random_volumes,
    specimen,
    start_of,
    tilt_series,
    two_threads,
    with_threads,
)
from recon_reference import Reference, differences, negative_divergence

from tomoatlas.recon_core.contrast import PowerLaw
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.result import History, Reconstruction, Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver.admm import RECORD_EVERY, calmed, init, recorded, solve, step
from tomoatlas.recon_core.solver.calibration import haadf_scale_at
from tomoatlas.recon_core.solver.convergence import CALM, COUPLED
from tomoatlas.recon_core.solver.problem import FusedProblem, fused_problem
from tomoatlas.recon_core.solver.state import FusionState

CASES = [(0.0, 0.5, 2.0), (0.03, 0.5, 2.0), (0.3, 0.1, 2.0), (0.1, 0.5, 1.7), (0.1, 0.5, 1.4)]


@cache
def problem(haadf: float, tv: float, gamma: float, likelihood: str = "poisson") -> FusedProblem:
    """12³ nanocubes; the data have gamma = 2, the HAADF scale is that of the truth at ``gamma``."""
    series = tilt_series()
    scale = haadf_scale_at(series, specimen().volumes, PowerLaw(gamma))
    series = replace(series, haadf_scale=scale)
    return problem_of(series, haadf, tv, gamma=gamma, chemistry=likelihood)


def solved(chosen: FusedProblem, tolerance: float = 1e-6, limit: float = 2500) -> Reconstruction:
    return solve(chosen, init(chosen, start_of(chosen)), tolerance, limit)[0]


@pytest.mark.parametrize(("haadf", "tv", "gamma"), CASES)
def test_objective_is_that_of_a_long_run_of_another_method(
    haadf: float, tv: float, gamma: float
) -> None:
    chosen = problem(haadf, tv, gamma)
    reference = Reference(chosen)
    _, best = reference.minimise(start_of(chosen), 250)
    found = solved(chosen)
    assert reference.objective(found.volumes) <= 1.001 * best
    assert found.history.objective[-1] == pytest.approx(
        reference.objective(found.volumes), rel=1e-5
    )


@pytest.mark.parametrize(("haadf", "tv", "gamma"), CASES)
def test_objective_is_not_above_the_truth_at_the_default_tolerance(
    haadf: float, tv: float, gamma: float
) -> None:
    chosen = problem(haadf, tv, gamma)
    assert (
        solved(chosen, 1e-4, 400).history.objective[-1]
        <= (chosen.terms(specimen().volumes[None]).objective[0])
    )


def settled(chosen: FusedProblem, iterations: int) -> FusionState:
    """The state of a solve of one trial that does not end."""
    state, records = recorded(chosen, init(chosen, start_of(chosen)))
    for _ in range(iterations):
        state = step(chosen, state)
        if state.iteration % RECORD_EVERY == 0:
            state, latest = recorded(chosen, state)
            records += latest
            state = calmed(chosen, state, [records])
    return state


@pytest.mark.parametrize("likelihood", ["poisson", "least-squares"])
@pytest.mark.parametrize(("haadf", "gamma"), [(0.0, 2.0), (0.03, 2.0), (0.1, 1.7)])
def test_solution_is_stationary_for_the_original_objective(
    haadf: float, gamma: float, likelihood: str
) -> None:
    """0 is in the gradient of both data terms + tv dTV + the cone of x >= 0."""
    chosen = problem(haadf, 0.5, gamma, likelihood)
    state = settled(chosen, 2000)
    x = state.volumes[0].astype(np.float64)
    dual = 0.5 * state.dual[0].swapaxes(0, 1).astype(np.float64)
    slope = Reference(chosen).smooth(x)[1]
    total = slope + negative_divergence(dual)
    stationary = np.where(x > 1e-4, total, np.minimum(total, 0))
    assert np.linalg.norm(stationary) < 1e-3 * np.linalg.norm(slope)
    assert np.sqrt((dual**2).sum(0)).max() <= 0.5 * (1 + 1e-5)
    aligned, roughness = float((dual * differences(x)).sum()), chosen.terms(state.volumes).tv[0]
    assert aligned == pytest.approx(roughness, rel=1e-3)


def test_residuals_of_the_splitting_vanish() -> None:
    state = settled(problem(0.03, 0.5, 2.0), 1000)
    primal, dual, _ = state.residuals[0]
    assert primal < 1e-4
    assert dual < 1e-4
    gap = np.linalg.norm(state.coupling.u - state.coupling.contrast)
    assert gap / np.linalg.norm(state.coupling.u) == pytest.approx(primal, rel=0.1)


def test_residual_of_u_stays_true() -> None:
    chosen = problem(0.03, 0.5, 2.0)
    state = settled(chosen, 200)
    coupling, haadf = state.coupling, chosen.haadf
    force = haadf.projector.adjoint(haadf.signal[None]) + np.float32(state.gram.ridge) * (
        coupling.contrast + coupling.d
    )
    true = force - gram_times(state.gram, coupling.u)
    assert np.linalg.norm(coupling.residual - true) < 1e-4 * np.linalg.norm(force)


@pytest.mark.parametrize("gamma", [1.4, 1.7, 2.0])
@pytest.mark.parametrize(
    ("haadf", "tv"), [(1e-3, 1e-3), (1e-3, 10), (1, 0.5), (10, 10), (1e3, 0.03)]
)
def test_extreme_weights_stay_finite(haadf: float, tv: float, gamma: float) -> None:
    chosen = problem(haadf, tv, gamma)
    result = solved(chosen, 1e-4, 80)
    assert result.status in (Status.CONVERGED, Status.ITERATION_LIMIT)
    assert np.isfinite(result.volumes).all()
    assert result.volumes.min() >= 0
    assert result.history.objective[-1] < result.history.objective[0]


def test_history_has_one_entry_per_record() -> None:
    history = solved(problem(0.03, 0.5, 2.0), 1e-4, 100).history
    lengths = {name: len(values) for name, values in vars(history).items()}
    assert set(lengths.values()) == {len(history.iterations)}
    assert len(history.iterations) > 5
    assert (np.diff(history.iterations) > 0).all()
    np.testing.assert_allclose(
        history.objective, np.sum([history.haadf, history.chemistry, history.tv], axis=0)
    )
    assert np.isfinite(history.primal[1:]).all()
    assert History().objective == ()


def test_converged_means_settled() -> None:
    chosen = problem(0.03, 0.5, 2.0)
    result = solved(chosen, 1e-4, 1000)
    assert (result.status, result.message) == (Status.CONVERGED, "")
    before, last = result.history.objective[-2:]
    assert abs(before - last) < 1e-4 * last
    assert max(result.history.primal[-1], result.history.dual[-1]) < COUPLED * 1e-4
    assert max(result.history.change[-2:]) < CALM * 1e-4
    assert result.iterations < 1000


def test_iteration_limit_says_what_to_do() -> None:
    result = solved(problem(0.03, 0.5, 2.0), 1e-8, 20)
    assert result.status is Status.ITERATION_LIMIT
    assert "raise max_iterations" in result.message
    assert 20 <= result.iterations < 25
    assert result.history.iterations[-1] == result.iterations


@pytest.mark.parametrize("limit", [8, 100])
@pytest.mark.parametrize("haadf", [0.0, 0.03])
def test_a_solve_that_turned_to_nan_has_diverged(haadf: float, limit: float) -> None:
    chosen = problem(haadf, 0.5, 2.0)
    start = start_of(chosen)
    start[0, 5, 5, 5] = np.nan
    result = solve(chosen, init(chosen, start), 1e-4, limit)[0]
    assert result.status is Status.DIVERGED
    assert "grew without bound" in result.message


def test_an_objective_that_grows_without_bound_has_diverged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tomoatlas.recon_core.solver.admm.CURVATURE_MARGIN", 0.03)
    chosen = problem(0.0, 0.5, 2.0, "least-squares")
    assert solved(chosen).status is Status.DIVERGED


def test_monitor_sees_every_iterate() -> None:
    chosen, seen = problem(0.03, 0.5, 2.0), []

    def monitor(volumes: np.ndarray) -> float:
        seen.append(float(volumes.sum()))
        return 0.0

    watched = solve(chosen, init(chosen, start_of(chosen)), 1e-8, 30, monitor)[0]
    assert len(seen) >= 20
    assert seen[-1] == float(watched.volumes.sum())
    np.testing.assert_array_equal(watched.volumes, solved(chosen, 1e-8, 30).volumes)


def test_a_step_returns_a_new_state_and_leaves_the_start_alone() -> None:
    chosen = problem(0.03, 0.5, 2.0)
    start = start_of(chosen)
    before, state = start.copy(), init(chosen, start)
    after = step(chosen, state)
    assert (state.iteration, after.iteration) == (0, 1)
    assert after.work == state.work + chosen.tilts_per_iteration
    np.testing.assert_array_equal(start, before)


def test_work_of_an_iteration_is_a_pair_of_projections_of_each_modality() -> None:
    bare = problem(0.0, 0.5, 2.0)
    state = init(bare, random_volumes(bare.shape[1:]))
    assert step(bare, state).work - state.work == 4 * 5


@two_threads
@pytest.mark.parametrize("gamma", [1.7, 2.0])
def test_threads_do_not_change_the_solution(gamma: float) -> None:
    chosen = problem(0.1, 0.5, gamma)
    one, two = (with_threads(n, lambda: solved(chosen, 1e-8, 20).volumes) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.usefixtures("wide_pool")
def test_threads_beyond_the_cores_do_not_change_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not numba's: of the FFT, and of the planes of the volume step."""
    chosen = problem_of(tilt_series(50), 0.1, 0.5)

    def volumes(threads: int) -> np.ndarray:
        monkeypatch.setattr(numba, "get_num_threads", lambda: threads)
        return solved(chosen, 1e-8, 10).volumes

    expected = volumes(1)
    for threads in (3, 4):
        np.testing.assert_array_equal(volumes(threads), expected)


WEIGHTS = [Weights(0.03, 0.5), Weights(1.0, 0.1), Weights(0.0, 0.5), Weights(0.1, 0.0)]


@pytest.mark.parametrize("gamma", [1.7, 2.0])
@pytest.mark.parametrize("limit", [25, 400])
def test_a_trial_does_not_depend_on_its_batch(gamma: float, limit: int) -> None:
    """Bit for bit, also when others have converged and left."""
    settings = SolverSettings(gamma=gamma)
    series = replace(
        tilt_series(),
        haadf_scale=haadf_scale_at(tilt_series(), specimen().volumes, PowerLaw(gamma)),
    )
    start = start_of(problem_of(series))

    def together(weights: list[Weights]) -> tuple[Reconstruction, ...]:
        chosen = fused_problem(series, weights, settings)
        return solve(chosen, init(chosen, start), 1e-3, limit)

    batch = together(WEIGHTS)
    assert len({result.iterations for result in batch}) > (1 if limit > 25 else 0)
    for weights, ours in zip(WEIGHTS, batch, strict=True):
        if weights.haadf:  # alone, a trial without HAADF weight has no HAADF term
            [alone] = together([weights])
            np.testing.assert_array_equal(ours.volumes, alone.volumes)
            assert ours.history == alone.history
            assert ours.status is alone.status


def test_a_trial_without_haadf_weight_is_solved_in_a_batch_as_without_the_term() -> None:
    chosen = fused_problem(tilt_series(), WEIGHTS[:3], SolverSettings())
    bare = fused_problem(tilt_series(), [WEIGHTS[2]], SolverSettings())
    start = start_of(bare)
    ours = solve(chosen, init(chosen, start), 1e-6, 1500)[2]
    alone = solve(bare, init(bare, start), 1e-6, 1500)[0]
    assert ours.history.objective[-1] == pytest.approx(alone.history.objective[-1], rel=1e-4)
