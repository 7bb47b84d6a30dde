"""The fitted contrast: coefficients, vacuum level and film, with their uncertainties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recon_cases import tilt_series

from tomoatlas.phantoms.acquire import project
from tomoatlas.phantoms.formats import load_tilt_series, save_tilt_series
from tomoatlas.recon_core.binning import binned
from tomoatlas.recon_core.contrast import FittedLaw, contrast_of
from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import film_thickness
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics.misfit import misfit
from tomoatlas.recon_core.metrics.vacuum import Vacuum, estimate_vacuum
from tomoatlas.recon_core.result import PRIOR_POWER, Coefficients, HaadfModel, Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.haadf_fit import fitted_coefficients, vacuum_of
from tomoatlas.recon_core.solver.multiresolution import initial_state
from tomoatlas.recon_core.solver.problem import with_haadf
from tomoatlas.recon_core.tiltseries import TiltSeries

SIZE = 24
WEIGHTS = Weights(haadf=0.1, tv=1.0)
TRUE = {"Co": 30.0, "O": 8.0, "Au": 220.0}  # counts per voxel of concentration 1
LEVEL, FILM = 150.0, 40.0
ANGLES = tuple(float(angle) for angle in np.linspace(-65, 65, 15))


def fitted(gamma: float = 1.2, **settings: object) -> SolverSettings:
    return SolverSettings(contrast="fitted", gamma=gamma, **settings)


def blocks(seed: int = 0) -> np.ndarray:
    """Three elements, apart from each other, amid vacuum: (element, z, y, x)."""
    rng = np.random.default_rng(seed)
    volumes = np.zeros((3, SIZE, SIZE, SIZE), np.float32)
    middle = slice(SIZE // 3, 2 * SIZE // 3)
    volumes[:, middle, middle, middle] = rng.uniform(0, 1, (3, *(SIZE // 3,) * 3))
    return volumes


def measured(gamma: float = 1.2, film: float = 0.0, seed: int | None = None) -> TiltSeries:
    """HAADF of the blocks, exact or with noise; its level and film are not recorded."""
    coefficients = np.array([*TRUE.values()])[:, None, None, None]
    signal = project((coefficients * blocks() ** gamma).sum(axis=0).astype(np.float32), ANGLES)
    haadf = signal + LEVEL + film * film_thickness(ANGLES)[:, None, None]
    if seed is not None:
        haadf = np.random.default_rng(seed).poisson(haadf)
    maps = np.ones((3, 1, SIZE, SIZE), np.float32)
    return TiltSeries(haadf.astype(np.float32), ANGLES, maps, (0.0,), tuple(TRUE))


@pytest.mark.parametrize("film", [0.0, FILM])
@pytest.mark.parametrize("gamma", [1.0, 1.4, 2.0])
def test_coefficients_vacuum_and_film_of_exact_projections(gamma: float, film: float) -> None:
    series, settings = measured(gamma, film), fitted(gamma, film=film > 0)
    vacuum = vacuum_of(series, settings)
    assert vacuum.level == pytest.approx(LEVEL, rel=1e-3)
    assert vacuum.film == pytest.approx(film, rel=1e-3)
    found = fitted_coefficients(vacuum.of(series), blocks(), settings)
    assert found.values == pytest.approx(tuple(TRUE.values()), rel=1e-3)
    assert max(found.prior) < 1e-3
    assert found.undecided == ()


def test_uncertainties_cover_the_truth() -> None:
    settings, scores = fitted(film=True), []
    for seed in range(25):
        series = measured(film=FILM, seed=seed)
        vacuum = vacuum_of(series, settings)
        found = fitted_coefficients(vacuum.of(series), blocks(), settings)
        errors = (*found.errors, vacuum.level_error, vacuum.film_error)
        values = (*found.values, vacuum.level, vacuum.film)
        truth = (*TRUE.values(), LEVEL, FILM)
        scores.append((np.array(values) - truth) / errors)
    spread = np.sqrt(np.mean(np.square(scores), axis=0))
    # 1 if the uncertainties are right; 25 draws give it to 14 %
    assert (spread > 0.5).all()
    assert (spread < 1.6).all()


def test_what_the_data_do_not_identify_follows_the_prior() -> None:
    series = measured()
    volumes = blocks()
    volumes[1] = volumes[0]  # Co and O cannot be told apart
    found = fitted_coefficients(Vacuum(LEVEL).of(series), volumes, fitted())
    assert found.values[0] / found.values[1] == pytest.approx((27 / 8) ** PRIOR_POWER, rel=0.3)
    assert "O" in found.undecided
    assert "Au" not in found.undecided


def test_an_element_that_is_nowhere_takes_the_prior() -> None:
    volumes = blocks()
    volumes[1] = 0
    found = fitted_coefficients(Vacuum(LEVEL).of(measured()), volumes, fitted())
    assert found.undecided == ("O",)
    assert np.isfinite(found.values).all()
    assert found.values[1] < found.values[0]


def test_coefficients_are_never_negative() -> None:
    series = measured()
    # the less Co, the brighter: least squares alone would make its coefficient negative
    against = replace(series, haadf=series.haadf - 2 * TRUE["Co"] * project(blocks()[0], ANGLES))
    raised = replace(against, haadf=against.haadf + 500.0)
    found = fitted_coefficients(Vacuum(LEVEL + 500.0).of(raised), blocks(), fitted())
    assert min(found.values) == 0.0


def test_a_signal_below_its_vacuum_is_refused() -> None:
    series = measured()
    inverted = replace(series, haadf=2 * LEVEL + 5000.0 - series.haadf)
    with pytest.raises(BadInput) as caught:
        fitted_coefficients(Vacuum(LEVEL + 5000.0).of(inverted), blocks(), fitted())
    assert caught.value.key == "haadf/background"


def test_the_vacuum_is_that_of_the_darkest_pixels_not_of_chance_minima() -> None:
    dark = np.random.default_rng(0).poisson(9.0, (15, 48, 48)).astype(np.float32)
    dark[:, 10:20, 10:20] += 100
    found = estimate_vacuum(dark, ANGLES)
    assert abs(found.level - 9.0) < 4 * found.level_error
    assert found.level_error < 0.1


def test_a_field_without_vacuum_keeps_the_level_of_the_file() -> None:
    rng = np.random.default_rng(0)
    full = rng.uniform(0.5, 1.0, (SIZE, SIZE, SIZE)).astype(np.float32)
    series = replace(measured(), haadf=100 * project(full, ANGLES) + 50.0, haadf_background=50.0)
    # a slab: it thickens with the tilt, though not as a film of the whole field
    slab = estimate_vacuum(series.haadf, ANGLES)
    assert not slab.is_seen
    assert vacuum_of(series, fitted()).level == 50.0


def test_a_film_that_was_not_asked_for_shows() -> None:
    assert not estimate_vacuum(measured(film=FILM * 20).haadf, ANGLES).is_seen
    assert estimate_vacuum(measured(film=FILM * 20).haadf, ANGLES, film=True).is_seen


def test_tiny_and_edge_on_projections_have_a_vacuum_too() -> None:
    found = estimate_vacuum(np.full((3, 1, 1), 5.0, np.float32), (-90.0, 0.0, 90.0), film=True)
    assert np.isfinite((found.level, found.film, found.level_error)).all()


def test_a_fitted_solve_reports_its_model() -> None:
    series = replace(tilt_series(SIZE), haadf_scale=None, haadf_background=0.0)
    found = reconstruct(series, Method.FUSED, WEIGHTS, fitted(max_iterations=60))
    assert found.haadf is not None
    assert found.haadf.vacuum.level == pytest.approx(tilt_series(SIZE).haadf_background, rel=0.05)
    assert found.haadf.given == 0.0
    for name, value in zip(series.elements, found.haadf.coefficients.values, strict=True):
        assert found.facts[f"haadf_k_{name}"] == value
    assert found.facts["haadf_vacuum"] == found.haadf.vacuum.level
    assert any("vacuum" in line for line in found.haadf.lines)


def test_a_wrong_level_and_scale_of_the_file_change_nothing() -> None:
    right = reconstruct(tilt_series(SIZE), Method.FUSED, WEIGHTS, fitted(max_iterations=40))
    wrong = replace(tilt_series(SIZE), haadf_background=0.8 * tilt_series(SIZE).haadf_background)
    wrong = replace(wrong, haadf_scale=7.0)
    other = reconstruct(wrong, Method.FUSED, WEIGHTS, fitted(max_iterations=40))
    assert np.array_equal(right.volumes, other.volumes)


def test_a_film_changes_little_where_it_is_fitted() -> None:
    series = tilt_series(SIZE)
    clean = reconstruct(series, Method.FUSED, WEIGHTS, fitted(max_iterations=60))
    film = 0.1 * float(series.haadf.max())
    behind = np.float32(film) * film_thickness(series.haadf_angles_deg)[:, None, None]
    filmed = replace(series, haadf=(series.haadf + behind).astype(np.float32))
    found = reconstruct(filmed, Method.FUSED, WEIGHTS, fitted(max_iterations=60, film=True))
    assert found.haadf is not None
    assert found.haadf.vacuum.film == pytest.approx(film, rel=0.05)
    change = np.linalg.norm(found.volumes - clean.volumes) / np.linalg.norm(clean.volumes)
    assert change < 0.1


def test_the_unit_of_the_coefficients_is_that_of_haadf() -> None:
    series, settings = measured(seed=3), fitted()
    once = fitted_coefficients(vacuum_of(series, settings).of(series), blocks(), settings)
    more = replace(series, haadf=7 * series.haadf)
    seven = fitted_coefficients(vacuum_of(more, settings).of(more), blocks(), settings)
    assert seven.values == pytest.approx(7 * np.array(once.values), rel=1e-3)
    assert seven.errors == pytest.approx(7 * np.array(once.errors), rel=1e-2)
    assert seven.prior == pytest.approx(once.prior, rel=1e-2)


def test_trials_of_a_batch_are_those_alone_and_repeat_to_the_bit() -> None:
    pairs = [WEIGHTS, Weights(0.3, 0.5), Weights(0.0, 1.0)]
    settings = fitted(max_iterations=30)
    together = reconstruct_batch(tilt_series(SIZE), Method.FUSED, pairs, settings)
    for weights, found in zip(pairs, together, strict=True):
        alone = reconstruct(tilt_series(SIZE), Method.FUSED, weights, settings)
        assert np.array_equal(alone.volumes, found.volumes)
        assert alone.haadf == found.haadf
    # a property of the data, not of the weights
    assert together[0].haadf == together[1].haadf
    assert together[2].haadf is None


def test_the_objective_falls_and_the_solve_converges() -> None:
    found = reconstruct(tilt_series(SIZE), Method.FUSED, WEIGHTS, fitted())
    objective = np.array(found.history.objective)
    # the coefficients are frozen: one objective from the first record to the last
    assert found.status is Status.CONVERGED
    assert (np.diff(objective[1:]) < 1e-3 * objective[1:-1]).all()


@pytest.mark.parametrize("gamma", [1.0, 1.4, 2.0])
def test_a_coefficient_of_zero_leaves_its_element_to_the_counts(gamma: float) -> None:
    series = replace(tilt_series(SIZE), haadf_scale=1.0)
    alone, state = initial_state(series, [Weights(0.0, 1.0)], fitted(gamma), CPU)
    law = FittedLaw(gamma, (100.0, 120.0, 0.0, 900.0))
    problem = with_haadf(alone, series, [WEIGHTS], fitted(gamma), law)
    (counts,) = solve(alone, init(alone, state.volumes.copy()), 1e-4, 40)
    (found,) = solve(problem, init(problem, state.volumes.copy()), 1e-4, 40)
    moved = np.square(found.volumes - counts.volumes).sum(axis=(1, 2, 3))
    # the momentum is one for all elements: not the same to the bit
    assert moved[2] < 0.05 * moved[3]


def test_odd_grids_are_padded_with_the_fitted_vacuum() -> None:
    full = tilt_series(SIZE)
    odd = replace(
        full,
        haadf=full.haadf[:, 1:, 1:],
        chemical=full.chemical[..., 1:, 1:],
        haadf_background=0.0,
    )
    found = reconstruct(odd, Method.FUSED, WEIGHTS, fitted(max_iterations=30))
    assert found.haadf is not None
    assert found.haadf.vacuum.is_seen


def test_the_misfit_of_a_fitted_model_is_that_of_its_counts() -> None:
    volumes = blocks()
    law = FittedLaw(1.2, tuple(TRUE.values()))
    model = HaadfModel(
        Coefficients(1.2, tuple(TRUE), law.coefficients, (0.0,) * 3, (0.0,) * 3), Vacuum(LEVEL), 0.0
    )
    found = misfit(model.applied_to(measured(seed=1)), volumes, law)
    assert found.haadf is not None
    assert found.haadf.overall == pytest.approx(1.0, abs=0.2)


def test_a_law_without_coefficients_holds_for_nothing() -> None:
    law = contrast_of(fitted())
    assert not law.holds_for({})
    with pytest.raises(ValueError, match="0 coefficients"):
        law.factors((8,))


def test_a_film_is_for_the_fitted_contrast_alone() -> None:
    with pytest.raises(ValueError, match="film"):
        SolverSettings(film=True)


def test_a_film_of_a_series_is_kept_in_its_file_and_on_coarser_grids(tmp_path: object) -> None:
    series = replace(tilt_series(SIZE), haadf_film=3.0)
    save_tilt_series(f"{tmp_path}/tilts.h5", series)
    assert load_tilt_series(f"{tmp_path}/tilts.h5").haadf_film == 3.0
    assert binned(series).haadf_vacuum == pytest.approx(4 * series.haadf_vacuum)
