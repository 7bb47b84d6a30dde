"""Data that bound nothing by themselves: no background, or one subtracted beforehand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon_cases import problem_of, tilt_series

from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.result import Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.calibration import with_chemical_scale
from tomoatlas.recon_core.solver.convergence import ConvergenceRecord, status_of
from tomoatlas.recon_core.solver.mlem import MLEM_ITERATIONS, mlem
from tomoatlas.recon_core.solver.multiresolution import chemical_bound
from tomoatlas.recon_core.tiltseries import TiltSeries

SIZE = 12
LONG = SolverSettings(max_iterations=500, tolerance=1e-6)
KINDS = ("no background", "subtracted")


@cache
def series_of(kind: str) -> TiltSeries:
    """A specimen without background, or with one that was subtracted and cut off at 0."""
    if kind == "no background":
        return tilt_series(SIZE, background=0.0, chemical_snr=3.0)
    series = tilt_series(SIZE, chemical_snr=3.0)
    levels = np.array(series.chemical_background, np.float32)[:, None, None, None]
    return replace(
        series,
        chemical=np.maximum(series.chemical - levels, 0),
        chemical_background=(0.0,) * 4,
        haadf=np.maximum(series.haadf - np.float32(series.haadf_background), 0),
        haadf_background=0.0,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_maximum_likelihood_without_background_is_that_of_mlem(kind: str) -> None:
    found = reconstruct(series_of(kind), Method.ML, settings=LONG)
    chosen = problem_of(series_of(kind), 0.0, 0.0)
    reference = mlem(chosen.chemistry, chosen.shape[1:], 400)
    assert found.history.chemistry[-1] <= 1.01 * chosen.chemistry.value(reference[None])[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [Weights(0.0, 0.5), Weights(0.1, 1.0), Weights(3.0, 0.1)])
def test_a_solve_without_background_settles_near_a_long_one(kind: str, weights: Weights) -> None:
    method = Method.FUSED if weights.haadf else Method.CHEMISTRY_TV
    found = reconstruct(series_of(kind), method, weights, SolverSettings())
    long = reconstruct(series_of(kind), method, weights, LONG)
    assert found.status in (Status.CONVERGED, Status.ITERATION_LIMIT)
    assert found.history.objective[-1] <= 1.02 * long.history.objective[-1]
    assert found.volumes.max() < 10


SIDE = 12
QUICK = SolverSettings(max_iterations=60)


def _one_pixel(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Nothing but one pixel of each channel."""
    alone = np.zeros_like(counts)
    for channel in alone.reshape(-1, *counts.shape[-3:]):
        channel[tuple(rng.integers(channel.shape))] = rng.integers(1, 1000)
    return alone


def _hot(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    found = counts.copy()
    found.reshape(-1)[rng.integers(counts.size)] = 10.0 ** rng.integers(3, 9)
    return found


HOSTILE = {
    "one pixel": _one_pixel,
    "hot pixel": _hot,
    "huge": lambda counts, rng: counts * np.float32(10.0 ** rng.integers(4, 11)),
    "tiny": lambda counts, rng: counts * np.float32(10.0 ** -rng.integers(2, 6)),
    "thinned": lambda counts, rng: rng.binomial(counts.astype(int), 0.01).astype(np.float32),
    "blank tilt": lambda counts, rng: counts * (np.arange(counts.shape[-3]) != 1)[:, None, None],
    "noise": lambda counts, rng: rng.poisson(3.0, counts.shape).astype(np.float32),
    "as it is": lambda counts, rng: counts,
}
SPOILT = st.sampled_from(sorted(HOSTILE))


def hostile_series(maps: str, haadf: str, levels: bool, known: bool, seed: int) -> TiltSeries:
    """A small series whose counts are spoilt."""
    rng, series = np.random.default_rng(seed), tilt_series(SIDE, chemical_snr=3.0)
    chemical = HOSTILE[maps](series.chemical, rng).astype(np.float32)
    signal = HOSTILE[haadf](series.haadf, rng).astype(np.float32)
    return replace(
        series,
        chemical=chemical,
        haadf=signal,
        chemical_background=series.chemical_background if levels else (0.0,) * 4,
        haadf_background=series.haadf_background if levels else 0.0,
        chemical_scale=series.chemical_scale if known else None,
        haadf_scale=series.haadf_scale if known else None,
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    SPOILT, SPOILT, st.booleans(), st.booleans(), st.integers(0, 9), st.sampled_from([0, 0.1, 3.0])
)
def test_whatever_the_data_nothing_converges_above_its_start(
    maps: str, haadf: str, levels: bool, known: bool, seed: int, weight: float
) -> None:
    series, weights = hostile_series(maps, haadf, levels, known, seed), Weights(weight, 0.5)
    try:
        found = reconstruct(series, Method.FUSED, weights, QUICK)
    except BadInput:
        return
    assert np.isfinite(found.volumes).all() or found.status is Status.DIVERGED
    if found.status is not Status.CONVERGED:
        assert found.message
        return
    calibrated = with_chemical_scale(series)
    chosen = problem_of(calibrated, 0.0, 0.5)
    start = mlem(chosen.chemistry, chosen.shape[1:], MLEM_ITERATIONS)[None]
    terms = chosen.terms(start)
    at_end = chosen.chemistry.value(found.volumes[None])[0]
    assert at_end <= 3 * (terms.chemistry[0] + terms.tv[0])


def test_a_result_above_its_ceiling_has_diverged_however_calm() -> None:
    calm = ConvergenceRecord(0.0, 0.0, 5.0, 1.0, np.nan, np.nan, 0.0)
    assert status_of([calm, calm], 1e-4) is Status.CONVERGED
    assert status_of([calm, calm], 1e-4, 5.0) is Status.CONVERGED
    assert status_of([calm, calm], 1e-4, 4.9) is Status.DIVERGED
    assert status_of([calm, calm], 0.0, 4.9) is Status.ITERATION_LIMIT
    # however high the first record
    assert status_of([calm, calm], 0.0, 0.04) is Status.DIVERGED


STILL = ConvergenceRecord(0.0, 1.0, 5.0, 1.0, 1e-5, 1e-5, 1e-5)


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ({"chemistry": 5.002}, {}),
        ({}, {"chemistry": 5.002}),
        ({}, {"change": 5e-3}),
        # volumes that go to and fro may stand still when they are recorded
        ({"change": 5e-3}, {}),
        ({"change": np.nan}, {}),
        ({}, {"primal": 2e-3}),
        ({}, {"dual": 2e-3}),
    ],
)
def test_a_trial_goes_on_until_objective_volumes_and_coupling_have_settled(
    before: dict[str, float], last: dict[str, float]
) -> None:
    assert status_of([STILL, STILL], 1e-4) is Status.CONVERGED
    records = [replace(STILL, **before), replace(STILL, **last)]
    assert status_of(records, 1e-4) is Status.ITERATION_LIMIT


def test_a_trial_that_swings_without_end_never_converges() -> None:
    """A period that divides the interval of the records shows the same objective at each."""
    swinging = [replace(STILL, change=0.3)] * 20
    assert all(status_of(swinging[: n + 2], 1e-3) is Status.ITERATION_LIMIT for n in range(18))


def test_the_remedy_of_a_diverged_trial_names_what_to_check() -> None:
    chosen = problem_of(tilt_series(SIDE), 0.0, 0.5)
    state = init(chosen, mlem(chosen.chemistry, chosen.shape[1:], 2))
    found = solve(chosen, state, 1e-2, 200, ceilings=np.array([1.0]))[0]
    assert found.status is Status.DIVERGED
    assert "backgrounds" in found.message


@pytest.mark.parametrize("weights", [Weights(0.0, 6.0), Weights(3.0, 0.1), Weights(0.1, 1.0)])
def test_sound_solves_stay_well_below_the_ceiling(weights: Weights) -> None:
    series, settings_ = tilt_series(16, chemical_snr=3.0), SolverSettings()
    found = reconstruct(series, Method.FUSED, weights, settings_)
    (ceiling,) = chemical_bound(series, settings_, CPU).ceilings([weights])
    assert found.history.chemistry[-1] < 0.75 * ceiling
