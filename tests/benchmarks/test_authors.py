"""The re-derived algorithm of the paper's authors descends along the gradient of its objective."""

from __future__ import annotations

from functools import cache

import authors
import numpy as np
import pytest
from authors import Authors, Steps, denoised
from common import score
from yardstick import Trace, search

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.solver.regularisers import TOTAL_VARIATION, prox

STEPS = Steps(3.0, 0.05, 0.01)


class Noiseless:
    """A detector that records what is expected."""

    def counts(self, expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return expected.astype(np.float32)


@cache
def case(gamma: float = 2.0) -> tuple[Specimen, Authors]:
    made = make_specimen("nanocubes", 16, 0)
    plan = Acquisition(haadf_tilts=18, chemical_tilts=9, gamma=gamma)
    return made, authors.authors(simulate(made, plan, 0, Noiseless()), gamma)


def some(seed: int = 0, low: float = 0.2) -> np.ndarray:
    shape = case()[1].problem.shape
    return np.random.default_rng(seed).uniform(low, 1.0, shape).astype(np.float32)


def smooth_part(of: Authors, x: np.ndarray, steps: Steps) -> float:
    return steps.haadf * of.misfit(x) + steps.chemistry * of.unlikelihood(x)


@pytest.mark.parametrize("steps", [Steps(3.0, 0.0, 0.0), Steps(0.0, 0.05, 0.0), STEPS])
@pytest.mark.parametrize("gamma", [1.6, 2.0])
def test_the_gradient_agrees_with_finite_differences(gamma: float, steps: Steps) -> None:
    algorithm, x, direction = case(gamma)[1], some(), some(1, -1.0)
    ahead, behind = (
        smooth_part(algorithm, x + np.float32(sign * 1e-2) * direction, steps) for sign in (1, -1)
    )
    expected = np.sum(algorithm.slope(x, steps) * direction, dtype=np.float64)
    assert (ahead - behind) / 2e-2 == pytest.approx(expected, rel=1e-2)


def test_short_steps_lower_the_objective() -> None:
    algorithm, short = case()[1], STEPS.scaled(0.1)
    x = algorithm.start()
    values = [algorithm.value(x, STEPS)]
    for _ in range(5):
        x = algorithm.step(x, short)
        values.append(algorithm.value(x, STEPS))
    assert (np.diff(values) < 0).all()


def test_many_dual_steps_are_the_proximal_map() -> None:
    volumes = some()[0]
    expected = prox(TOTAL_VARIATION, volumes, 0.1, 2000)
    np.testing.assert_allclose(denoised(volumes, 0.1, 200), expected, atol=2e-3)
    np.testing.assert_array_equal(denoised(volumes, 0.0), volumes)


def test_acceleration_beats_the_plain_dual_steps() -> None:
    volumes = some()[0]
    exact = prox(TOTAL_VARIATION, volumes, 0.1, 2000)
    fast, plain = denoised(volumes, 0.1, 20), prox(TOTAL_VARIATION, volumes, 0.1, 20)
    assert np.abs(fast - exact).sum() < np.abs(plain - exact).sum()


def test_it_recovers_a_noiseless_toy() -> None:
    truth, algorithm = case()
    first, *_, last = algorithm.iterates(Steps(3.0, 0.1, 1e-4))
    assert score(last, truth) < 0.6 * score(first, truth)
    assert (last >= 0).all()


def test_a_trace_arrives_after_it_was_last_away() -> None:
    rows = [(0, 0.0, 0.5), (2, 0.1, 0.301), (4, 0.2, 0.4), (6, 0.3, 0.301), (8, 0.4, 0.3)]
    trace = Trace(np.array(rows), np.zeros(1))
    assert trace.arrival == (6, 0.3)
    assert trace.reaches(0.301) == 0.1
    assert trace.reaches(0.2) is None


def test_the_search_finds_the_bottom_of_a_bowl() -> None:
    def bowl(point: np.ndarray) -> float:
        return 0.4 + 0.1 * float(np.sum(np.log(point / [2.0, 0.3, 0.05]) ** 2))

    found = search([(0.1, 10.0), (0.01, 1.0), (0.01, 1.0)], bowl, 24)
    assert bowl(found) < 0.43
