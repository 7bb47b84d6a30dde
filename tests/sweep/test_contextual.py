"""The surrogate of many cells, and the choices that are made from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.search import contextual
from tomoatlas.sweep.search.choices import (
    DESIGNED,
    HOPELESS,
    INNER,
    NEAREST,
    Cells,
    Results,
    fitted_results,
    next_choice,
    spread_out,
)
from tomoatlas.sweep.search.context import columns, surrogate_key, uses_haadf
from tomoatlas.sweep.search.contextual import (
    LENGTH_J,
    LENGTH_W,
    MEDIANS,
    Array,
    Parameters,
    Points,
    condition,
    covariance,
    fit_parameters,
)
from tomoatlas.sweep.search.gp import improvement

PRECISION = 0.005


def some_points(count: int, weights: int = 2, context: int = 2, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, max(1, count // 3), count)
    return Points(rng.random((count, weights)), rng.normal(size=(9, context))[cells % 9], cells)


def parameters(weights: int = 2, context: int = 2) -> Parameters:
    moves = np.linspace(-0.2, 0.3, weights * context).reshape(weights, context)
    lengths = (np.full(context, 1.5), np.full(weights, 0.6), np.full(context, 2.0))
    return Parameters(0.25, 0.35, 0.01, 0.005, *lengths, moves)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), weights=st.integers(1, 3), context=st.integers(0, 3))
def test_the_gradient_of_the_posterior_is_that_of_differences(
    seed: int, weights: int, context: int
) -> None:
    points = some_points(12, weights, context, seed)
    rng = np.random.default_rng(seed)
    scores, prior = 0.2 * rng.standard_normal(12), contextual.Prior(weights, context)
    vector, step = 0.5 * rng.standard_normal(prior.size), 1e-4  # less, and rounding shows
    _, gradient = contextual.loss(prior, vector, points, scores)
    for i, along in enumerate(np.eye(prior.size)):
        higher, lower = (
            contextual.loss(prior, vector + side * along, points, scores)[0]
            for side in (step, -step)
        )
        assert gradient[i] == pytest.approx((higher - lower) / (2 * step), rel=1e-3, abs=1e-3)


def test_the_posterior_is_that_of_its_definition() -> None:
    points, at, p = some_points(10), some_points(5, seed=1), parameters()
    scores = np.random.default_rng(2).normal(size=10)
    k = covariance(p, points, points) + p.noise**2 * np.eye(10)
    across = covariance(p, at, points)
    mean = scores.mean() + across @ np.linalg.solve(k, scores - scores.mean())
    variance = np.diag(covariance(p, at, at) - across @ np.linalg.solve(k, across.T))
    found = condition(p, points, scores).predict(at)
    np.testing.assert_allclose(found[0], mean, atol=1e-9)
    np.testing.assert_allclose(found[1] ** 2, variance, atol=1e-9)


def test_an_optimum_that_moves_with_the_context_is_found_in_a_cell_never_tried() -> None:
    rng = np.random.default_rng(0)
    context = np.linspace(-1, 1, 20)[:, None]
    weights = rng.random((20, 1))
    scores = (weights[:, 0] - 0.5 - 0.2 * context[:, 0]) ** 2
    points = Points(weights, context, np.arange(20))
    model = condition(fit_parameters(points, scores), points, scores)
    grid = np.linspace(0, 1, 101)[:, None]
    new = Points(grid, np.full((101, 1), 1.5), np.full(101, 99))
    assert grid[model.expected(new).argmin(), 0] == pytest.approx(0.8, abs=0.05)


def test_no_improvement_is_expected_of_what_is_known_to_be_worse() -> None:
    gain = improvement(np.array([0.0, 1.0, 0.0]), np.array([1e-6, 1e-6, 1.0]), np.zeros(3))
    assert gain[1] == 0.0
    assert gain[0] < 1e-6 < gain[2]


def test_cells_are_spread_out_over_their_context() -> None:
    grid = np.array([[x, y] for x in range(5) for y in range(5)], dtype=float)
    order = spread_out(grid, np.arange(25))
    assert grid[order[0]].tolist() == [2, 2]
    assert {tuple(grid[i]) for i in order[1:5]} == {(0, 0), (0, 4), (4, 0), (4, 4)}
    assert sorted(order) == list(range(25))


def moving_bowl(weights: Array, context: Array) -> float:
    """The logarithm of a score whose optimum is at 0.5 ± 0.1 and moves with the context."""
    moved = np.resize(context, len(weights))
    away = weights - 0.5 - 0.1 * moved
    return float(0.8 * (away**2).sum() - 0.2 * context.sum())


def searched(
    cells: Cells, dimensions: int, lag: int = 1, failing: frozenset[int] = frozenset()
) -> tuple[list[int], list[Array], list[float]]:
    """A whole search, one proposal after the other."""
    where: list[int] = []
    weights: list[Array] = []
    scores: list[float] = []
    while True:
        known = max(0, len(where) - lag + 1)
        results = Results(
            np.array(where, dtype=np.intp),
            np.array(weights).reshape(-1, dimensions),
            np.array(scores[:known]),
        )
        sound = np.flatnonzero(~np.isnan(results.scores))
        fit = None
        if len(sound):
            fit = fit_parameters(results.points(cells).at(sound), results.scores[sound])
        choice = next_choice(cells, results, fit, PRECISION)
        if choice is None:
            return where, weights, scores
        where.append(choice.cell)
        weights.append(choice.weights)
        value = moving_bowl(choice.weights, cells.context[choice.cell])
        scores.append(np.nan if choice.cell in failing else value)


def map_of(side: int, most: int = 10) -> Cells:
    along = np.linspace(-1, 1, side)
    context = np.array([[x, y] for x in along for y in along])
    return Cells(context, (np.arange(side * side),), (most,), 0)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_search_of_a_smooth_map_ends_near_the_optimum_of_every_cell(dimensions: int) -> None:
    cells = map_of(4)
    where, weights, scores = searched(cells, dimensions)
    best = np.full(16, np.inf)
    np.minimum.at(best, where, scores)
    regret = best + 0.2 * cells.context.sum(axis=1)
    assert set(where) == set(range(16))
    assert len(where) <= 4.5 * 16
    assert regret.mean() < 0.01
    assert regret.max() < 0.03
    assert np.abs(np.array(weights[:DESIGNED]) - 0.5).max() <= INNER / 2
    # Every cell has had a trial before any has its second.
    assert len(set(where[:16])) == 16
    assert len({(c, *w.tolist()) for c, w in zip(where, weights, strict=True)}) == len(where)


def test_what_was_learnt_too_fast_of_other_cells_is_doubted_at_the_end() -> None:
    # Cells 0 to 2 have their optimum at 0.7; 3 to 5, of another context, were tried at 0.1 alone,
    # and the surrogate is sure that the optimum moves that far.
    cells = Cells(np.repeat([-0.5, 0.5], 3)[:, None], (np.arange(6),), (10,), 0)
    where = np.array([0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5])
    along = np.array([0.7, 0.7, 0.7, 0.5, 0.9, 0.6, 0.1, 0.1, 0.1, 0.05, 0.15, 0.12])
    scores = 0.5 * (along - np.where(where < 3, 0.7, 0.1)) ** 2
    results = Results(where, along[:, None], scores)
    fast = replace(parameters(1, 1), moves=np.array([[-0.6]]), noise=1e-3, cell=1e-3)
    sure = replace(fast, of_weights=np.array([2.0]), jointly=np.array([9.0]))
    assert next_choice(cells, results, sure, PRECISION) is None
    choice = next_choice(cells, results, sure, PRECISION, doubt=1.0)
    assert choice is not None
    assert choice.cell >= 3
    assert choice.gain is not None
    assert choice.gain >= PRECISION
    assert choice.weights[0] > 0.3


def test_doubted_parameters_are_no_surer_than_the_prior() -> None:
    of_weights, jointly = np.array([0.1, 3.0]), np.array([9.0, 1.0])
    learnt = Parameters(0.2, 0.1, 0.01, 0.005, np.ones(2), of_weights, jointly, np.ones((2, 2)))
    doubted = learnt.doubted()
    assert doubted.b == MEDIANS["b"]
    assert doubted.of_weights.tolist() == [0.1, LENGTH_W]
    assert doubted.jointly.tolist() == [LENGTH_J, 1.0]
    assert not doubted.moves.any()
    assert (doubted.a, doubted.cell, doubted.noise) == (learnt.a, learnt.cell, learnt.noise)


def test_a_cell_whose_trials_all_fail_is_given_up_and_the_others_go_on() -> None:
    cells = map_of(3)
    where, _, scores = searched(cells, 2, failing=frozenset({4}))
    assert where.count(4) <= HOPELESS + 1
    best = np.full(9, np.inf)
    np.fmin.at(best, where, scores)
    regret = np.delete(best + 0.2 * cells.context.sum(axis=1), 4)
    assert regret.max() < 0.03


def test_nothing_but_failures_ends_with_the_budget() -> None:
    cells = map_of(2, most=3)
    where, weights, _ = searched(cells, 2, failing=frozenset(range(4)))
    assert len(where) == 12
    assert len({w.tobytes() for w in weights}) == 12


@pytest.mark.parametrize("change", [6e-9, -6e-9])
def test_the_last_digits_of_another_processor_change_no_choice(change: float) -> None:
    cells, points = map_of(3), some_points(30)
    rng = np.random.default_rng(1)
    where = np.concatenate([np.arange(9), rng.integers(0, 9, 21)])
    scores = np.array(
        [moving_bowl(w, c) for w, c in zip(points.weights, cells.context[where], strict=True)]
    )
    signs = rng.choice([-1.0, 1.0], 30)
    found = []
    for known in (scores, scores + change * signs):
        results = Results(where, points.weights, known)
        fit = fit_parameters(results.points(cells), known)
        found.append(next_choice(cells, results, fit, 1e-9))
    one, other = found
    assert one is not None
    assert other is not None
    assert (one.cell, one.weights.tolist()) == (other.cell, other.weights.tolist())


def test_of_many_results_the_nearest_cells_count() -> None:
    """And a search with thousands of them proposes all the same."""
    rng = np.random.default_rng(0)
    context = np.linspace(-2, 2, 400)[:, None]
    cells = Cells(context, (np.arange(400),), (10,), 0)
    where = np.repeat(np.arange(400), 4)
    weights = rng.random((1600, 1))
    scores = np.array([moving_bowl(w, context[c]) for w, c in zip(weights, where, strict=True)])
    assert len(scores) > NEAREST
    results = Results(where, weights, scores)
    fit = fit_parameters(results.points(cells), scores)
    choice = next_choice(cells, results, fit, 1e-6)
    assert choice is not None
    optimum = 0.5 + 0.1 * context[choice.cell, 0]
    assert abs(choice.weights[0] - optimum) < 0.1


def test_parameters_are_found_anew_in_ever_larger_steps() -> None:
    marks = [fitted_results(n) for n in range(3000)]
    assert marks[:20] == list(range(20))
    assert all(mark <= n < 1.12 * mark + 2 for n, mark in enumerate(marks))
    assert len(set(marks)) < 80


def test_the_context_is_what_varies_on_the_scales_of_accuracy() -> None:
    cells = [
        [("acquisition.haadf_tilts", tilts), ("acquisition.chemical_snr.Co", snr), ("a.b", 3)]
        for tilts in (0, 9)
        for snr in (2.0, 3.0)
    ]
    found = columns(cells, haadf=True)
    np.testing.assert_allclose(found, np.log([[1, 1], [1, 2], [10, 1], [10, 2]]))
    assert columns(cells, haadf=False).shape == (4, 1)
    assert columns([[]], haadf=True).shape == (1, 0)


def test_what_has_no_scale_separates_surrogates() -> None:
    values = [
        ("specimen.kind", "composite"),
        ("specimen.seed", 3),
        ("solver.totals", True),
        ("solver.contrast", "fitted"),
        ("solver.gamma", 1.7),
    ]
    assert surrogate_key(values, haadf=True) == ("composite", "True", "fitted")
    assert surrogate_key(values, haadf=False) == ("composite", "True")
    assert uses_haadf(Method.FUSED, 9)
    assert not uses_haadf(Method.FUSED, 0)
    assert not uses_haadf(Method.CHEMISTRY_TV, 9)
