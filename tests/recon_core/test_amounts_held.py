"""Amounts that hold: TV guided by HAADF, and totals held at those of the counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recon_cases import problem_of, random_volumes, specimen, start_of, tilt_series

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import haze, level, totals
from tomoatlas.recon_core.result import Coefficients, Reconstruction, Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.recon_core.solver.admm import init, step
from tomoatlas.recon_core.solver.likelihood import FIRMEST, SLACK
from tomoatlas.recon_core.solver.problem import FusedProblem
from tomoatlas.recon_core.tiltseries import TiltSeries

SIZE = 24
WEIGHTS = Weights(0.1, 2.0)


def noisy(seed_snr: float = 2.0) -> TiltSeries:
    return tilt_series(SIZE, haadf_tilts=25, chemical_tilts=9, chemical_snr=seed_snr)


def solved(regulariser: str, held: bool, method: Method = Method.FUSED) -> Reconstruction:
    settings = SolverSettings(regulariser=regulariser, totals=held)
    return reconstruct(noisy(), method, WEIGHTS, settings)


def counted(series: TiltSeries) -> np.ndarray:
    """Amount of each element in its counts alone."""
    counts = series.chemical.sum(axis=(1, 2, 3), dtype=np.float64)
    counts -= np.array(series.chemical_background) * series.chemical[0].size
    return counts / (np.array(series.chemical_scale) * len(series.chemical_angles_deg))


def test_a_guide_restores_levels_and_removes_haze() -> None:
    truth = specimen(SIZE).volumes
    plain, guided = (solved(name, False).volumes for name in ("tv", "guided"))
    oxygen = specimen(SIZE).elements.index("O")
    assert abs(level(guided, truth)[oxygen] - 1) < 0.5 * abs(level(plain, truth)[oxygen] - 1)
    assert haze(guided, truth)[oxygen] < haze(plain, truth)[oxygen]


@pytest.mark.parametrize("method", [Method.FUSED, Method.CHEMISTRY_TV])
def test_totals_are_those_of_the_counts(method: Method) -> None:
    free, held = (solved("tv", on, method) for on in (False, True))
    assert held.status is Status.CONVERGED
    amounts = counted(noisy())
    apart, kept = (
        np.abs(r.volumes.sum(axis=(1, 2, 3), dtype=np.float64) / amounts - 1) for r in (free, held)
    )
    assert kept.max() < 0.5 * apart.max()
    # as little as the multiplier leaves
    assert kept.max() < SLACK * FIRMEST + 0.02


def test_totals_of_counts_without_noise_are_the_true_ones() -> None:
    series = tilt_series(SIZE, haadf_tilts=25, chemical_tilts=9, chemical_snr=1e4)
    found = reconstruct(series, Method.FUSED, Weights(0.1, 0.5), SolverSettings(totals=True))
    assert totals(found.volumes, specimen(SIZE).volumes) == pytest.approx((1.0,) * 4, abs=0.01)


def held_problem(likelihood: str = "poisson") -> FusedProblem:
    return problem_of(tilt_series(8), 0.0, 0.5, totals=True, chemistry=likelihood)


@pytest.mark.parametrize("likelihood", ["poisson", "least-squares"])
@pytest.mark.parametrize("amount", [0.97, 1.05, 3.0])
def test_at_its_own_multiplier_the_gradient_is_that_of_the_value(
    likelihood: str, amount: float
) -> None:
    problem = held_problem(likelihood)
    chemistry, free = problem.chemistry, replace(problem.chemistry, totals=False)
    x = start_of(problem)[None]
    x *= np.float32(amount)
    signal = chemistry.counts.sum(axis=(1, 2, 3)) - chemistry.background * chemistry.counts[0].size
    expected = chemistry.expected(x).sum(axis=(2, 3, 4), dtype=np.float64)
    expected -= chemistry.background * chemistry.counts[0].size
    push = np.clip((expected / signal - 1) / SLACK, -FIRMEST, FIRMEST)
    rays, out = np.empty((1, *chemistry.counts.shape), np.float32), np.empty_like(x)
    chemistry.gradient(x, rays, out, push.copy())

    def value(by: float) -> float:
        moved = (x * (1 + by)).astype(np.float32)
        return float((chemistry.value(moved) - free.value(moved))[0])

    penalty = (value(1e-2) - value(-1e-2)) / 2e-2
    slope = np.empty_like(x)
    free.gradient(x, rays, slope)
    assert float(((out - slope) * x).sum(dtype=np.float64)) == pytest.approx(penalty, rel=0.1)


def test_the_multiplier_settles_at_the_excess_over_the_slack() -> None:
    problem = held_problem()
    state = init(problem, start_of(problem))
    for _ in range(300):
        state = step(problem, state)
    before = state.push.copy()
    state = step(problem, state)
    np.testing.assert_allclose(state.push, before, atol=2e-3)
    assert (np.abs(state.push) <= FIRMEST).all()
    assert np.abs(state.push).max() > 0


def test_an_element_without_counts_costs_the_others_nothing() -> None:
    series = tilt_series(8)
    chemical = series.chemical.copy()
    chemical[-1] = 0
    chemical[-1, 0, 3, 3] = 1
    weights, settings = Weights(0.03, 0.5), SolverSettings(totals=True, regulariser="guided")
    found = reconstruct(replace(series, chemical=chemical), Method.FUSED, weights, settings)
    assert np.isfinite(found.volumes).all()
    assert found.status in (Status.CONVERGED, Status.ITERATION_LIMIT)


def test_without_haadf_a_guided_solve_is_that_of_tv() -> None:
    series = tilt_series(16)
    plain, guided = (
        reconstruct(series, Method.CHEMISTRY_TV, Weights(0, 0.5), SolverSettings(regulariser=name))
        for name in ("tv", "guided")
    )
    np.testing.assert_array_equal(plain.volumes, guided.volumes)


def test_a_trial_does_not_depend_on_its_batch() -> None:
    series = tilt_series(16)
    weights = [Weights(0.03, 0.5), Weights(0.3, 6.0), Weights(0.1, 1.0)]
    settings = SolverSettings(regulariser="guided", totals=True, tolerance=1e-3)
    together = reconstruct_batch(series, Method.FUSED, weights, settings)
    assert len({found.iterations for found in together}) > 1
    for one, found in zip(weights, together, strict=True):
        alone = reconstruct(series, Method.FUSED, one, settings)
        np.testing.assert_array_equal(alone.volumes, found.volumes)


def test_maximum_likelihood_stays_itself() -> None:
    series = tilt_series(16)
    plain, held = (
        reconstruct(series, Method.ML, settings=SolverSettings(totals=on, max_iterations=20))
        for on in (False, True)
    )
    np.testing.assert_array_equal(plain.volumes, held.volumes)


def test_a_gradient_without_multiplier_holds_nothing() -> None:
    problem = held_problem()
    free = replace(problem.chemistry, totals=False)
    x = random_volumes(problem.shape)
    rays = np.empty((1, *free.counts.shape), np.float32)
    outs = [np.empty_like(x), np.empty_like(x)]
    for term, out in zip((problem.chemistry, free), outs, strict=True):
        term.gradient(x, rays, out)
    np.testing.assert_array_equal(*outs)


def test_levels_are_the_factor_that_volumes_lack() -> None:
    series = tilt_series(16, chemical_snr=1e4)
    problem, factors = problem_of(series, 0.0), np.array([1.0, 0.5, 2.0, 0.8])
    truth = specimen(16).volumes
    scaled = (truth / factors[:, None, None, None]).astype(np.float32)
    found = problem.chemistry.levels(scaled[None])
    np.testing.assert_allclose(found, factors[None], rtol=2e-2)
    assert problem.chemistry.levels(0 * scaled).tolist() == [1.0] * 4


def test_coefficients_at_other_levels_have_the_same_contrast() -> None:
    found = Coefficients(1.4, ("O", "Au"), (3.0, 250.0), (2.0, 5.0), (0.8, 0.0))
    levels = (2.0, 0.5)
    x = np.random.default_rng(0).uniform(0, 1, (2, 3, 3, 3)).astype(np.float32)
    higher = x * np.array(levels, np.float32)[:, None, None, None]
    given, moved = found.law.factors((8, 79)), found.at_levels(levels).law.factors((8, 79))
    sums = [(k[:, None, None, None] * v**1.4).sum(0) for k, v in ((given, x), (moved, higher))]
    np.testing.assert_allclose(*sums, rtol=1e-5)
    assert found.at_levels(levels).errors[1] == pytest.approx(5.0 * 2**1.4)


def test_fitted_coefficients_are_brought_to_the_levels_of_the_counts() -> None:
    truth = specimen(SIZE).volumes
    bare = replace(noisy(), haadf_scale=None)
    plain, held = (
        reconstruct(
            bare,
            Method.FUSED,
            Weights(0.1, 1.0),
            SolverSettings(contrast="fitted", gamma=1.4, regulariser=name, totals=on),
        )
        for name, on in (("tv", False), ("guided", True))
    )
    apart, kept = (np.abs(np.array(level(r.volumes, truth)[:3]) - 1) for r in (plain, held))
    assert kept.max() < 0.6 * apart.max()
    amounts = held.volumes.sum(axis=(1, 2, 3), dtype=np.float64) / counted(noisy())
    np.testing.assert_allclose(amounts[:3], 1, atol=0.06)
    assert held.haadf is not None
    assert plain.haadf is not None
    # volumes that TV had lowered asked for more contrast of each
    pairs = zip(held.haadf.coefficients.values, plain.haadf.coefficients.values, strict=True)
    assert all(one < other for one, other in pairs)


def test_totals_of_a_fitted_contrast_without_haadf_are_held_too() -> None:
    series, settings = noisy(), SolverSettings(contrast="fitted", gamma=1.4, totals=True)
    found = reconstruct(series, Method.FUSED, Weights(0.0, 2.0), settings)
    plain = reconstruct(series, Method.CHEMISTRY_TV, Weights(0.0, 2.0), settings)
    a, b = (r.volumes.sum(axis=(1, 2, 3)) / counted(series) for r in (found, plain))
    np.testing.assert_allclose(a, b, atol=0.05)
