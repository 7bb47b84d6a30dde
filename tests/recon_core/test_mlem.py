"""Maximum likelihood by expectation maximisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recon_cases import problem_of, specimen, tilt_series

from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.mlem import mlem, mlem_step, sensitivity_of, stopped_mlem

PROBLEM = problem_of(tilt_series(), 0.0, 0.0)
TERM, SHAPE = PROBLEM.chemistry, PROBLEM.shape[1:]


def score(volumes: np.ndarray) -> float:
    return float(np.mean(nrmse_by_element(volumes, specimen().volumes)))


def test_every_step_raises_the_likelihood() -> None:
    volumes, sensitivity = mlem(TERM, SHAPE, 0), sensitivity_of(TERM)
    deviances = [float(TERM.value(volumes)[0])]
    for _ in range(60):
        mlem_step(TERM, sensitivity, volumes)
        deviances.append(float(TERM.value(volumes)[0]))
    assert (np.diff(deviances) < 0).all()
    assert volumes.min() >= 0


def test_a_step_conserves_the_counts_when_there_is_no_background() -> None:
    term = problem_of(tilt_series(background=0.0), 0.0, 0.0).chemistry
    for iterations in (1, 5):
        expected = term.expected(mlem(term, SHAPE, iterations)).sum((1, 2, 3), dtype=float)
        np.testing.assert_allclose(expected, term.counts.sum((1, 2, 3), dtype=float), rtol=1e-4)


def test_noise_free_truth_is_a_fixed_point() -> None:
    truth = specimen().volumes.copy()
    exact = problem_of(tilt_series(), 0.0, 0.0).chemistry
    exact = replace(exact, counts=exact.expected(truth))
    volumes = truth.copy()
    mlem_step(exact, sensitivity_of(exact), volumes)
    np.testing.assert_allclose(volumes, truth, atol=1e-5)


def test_stopped_is_the_iterate_of_the_best_score() -> None:
    volumes, best, scores = stopped_mlem(TERM, SHAPE, 200, score)
    assert scores[best] == min(scores) == score(volumes)
    assert 1 <= best == len(scores) - 11
    np.testing.assert_array_equal(volumes, mlem(TERM, SHAPE, best))


def test_stopped_ends_at_its_limit() -> None:
    _, best, scores = stopped_mlem(TERM, SHAPE, 3, lambda volumes: -float(volumes.max()))
    assert (best, len(scores)) == (3, 4)


def test_solver_gets_past_a_long_expectation_maximisation() -> None:
    long = float(TERM.value(mlem(TERM, SHAPE, 500))[0])
    result = solve(PROBLEM, init(PROBLEM, mlem(TERM, SHAPE, 10)), 1e-5, 1000)[0]
    assert result.history.chemistry[-1] <= long
    assert result.history.objective == result.history.chemistry


@pytest.mark.parametrize("iterations", [0, 1])
def test_start_is_positive(iterations: int) -> None:
    assert mlem(TERM, SHAPE, iterations).min() > 0
