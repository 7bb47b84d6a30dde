"""Scores, totals among them: closed forms, invariances, edge cases, what each is blind to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.metrics import (
    cation_fractions,
    correlation,
    haze,
    level,
    nrmse,
    nrmse_by_element,
    relative_error,
    ssim,
    stoichiometry,
    totals,
)

TRUTH = np.random.default_rng(0).uniform(0, 1, (6, 5, 4)).astype(np.float32)
OTHER = np.random.default_rng(1).uniform(0, 1, TRUTH.shape).astype(np.float32)
ELEMENTS = ("Co", "Cu", "O", "Au")


def z_scored(a: np.ndarray) -> np.ndarray:
    return (a.astype(float) - a.mean(dtype=float)) / a.std(dtype=float)


def test_nrmse_is_the_rms_difference_of_z_scores() -> None:
    direct = np.sqrt(((z_scored(OTHER) - z_scored(TRUTH)) ** 2).mean())
    assert nrmse(OTHER, TRUTH) == pytest.approx(direct, rel=1e-6)


def test_nrmse_follows_from_pearsons_correlation() -> None:
    mixed = 0.7 * TRUTH + 0.3 * OTHER
    rho = np.corrcoef(mixed.ravel(), TRUTH.ravel())[0, 1]
    assert nrmse(mixed, TRUTH) == pytest.approx(np.sqrt(2 * (1 - rho)), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.floats(-10, 10))
def test_nrmse_is_blind_to_scale_and_offset(scale: float, offset: float) -> None:
    changed = (scale * OTHER.astype(np.float64) + offset).astype(np.float64)
    assert nrmse(changed, TRUTH) == pytest.approx(nrmse(OTHER, TRUTH), abs=1e-6)
    assert nrmse(TRUTH.astype(np.float64) * scale + offset, TRUTH) == pytest.approx(0, abs=1e-5)


def test_nrmse_of_the_negative_is_two() -> None:
    assert nrmse(-TRUTH, TRUTH) == pytest.approx(2)


def test_nrmse_of_orthogonal_patterns_is_root_two() -> None:
    a, b = np.zeros((2, 4, 4, 4), np.float32)
    a[:2], b[:, :2] = 1, 1
    assert nrmse(a, b) == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize("level", [0.0, 0.1, 1.0, 1e6])
def test_a_constant_has_nothing_in_common(level: float) -> None:
    assert nrmse(np.full_like(TRUTH, level), TRUTH) == pytest.approx(np.sqrt(2), abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nrmse_of_broken_volumes_is_nan(bad: float) -> None:
    broken = OTHER.copy()
    broken[0, 0, 0] = bad
    assert np.isnan(nrmse(broken, TRUTH))
    assert np.isnan(nrmse(TRUTH, broken))


def test_nrmse_by_element() -> None:
    scores = nrmse_by_element(np.stack([OTHER, TRUTH]), np.stack([TRUTH, TRUTH]))
    assert scores == (nrmse(OTHER, TRUTH), pytest.approx(0, abs=1e-6))
    with pytest.raises(ValueError, match="longer"):
        nrmse_by_element(np.stack([OTHER]), np.stack([TRUTH, TRUTH]))


def test_relative_error_sees_scale_and_offset() -> None:
    assert relative_error(TRUTH, TRUTH) == 0
    assert relative_error(1.25 * TRUTH, TRUTH) == pytest.approx(0.25, rel=1e-5)
    assert relative_error(np.zeros_like(TRUTH), TRUTH) == pytest.approx(1)
    assert np.isnan(relative_error(TRUTH, np.zeros_like(TRUTH)))


def oxides() -> np.ndarray:
    """CoO in one corner, CuO in another, Au alone in a third: (element, z, y, x)."""
    volumes = np.zeros((4, 6, 6, 6), np.float32)
    volumes[[0, 2], :2] = 0.5
    volumes[[1, 2], 4:] = 0.5
    volumes[3, 2:4, :2] = 1
    return volumes


def test_stoichiometry_of_perfect_oxides() -> None:
    found = stoichiometry(oxides(), oxides(), ELEMENTS)
    assert [(s.element, s.mean, s.sigma, s.voxels) for s in found] == [
        ("Co", 0.5, 0.0, 72),
        ("Cu", 0.5, 0.0, 72),
    ]


def test_stoichiometry_of_a_known_perturbation() -> None:
    changed = oxides()
    changed[0, 0] = 1.5  # 1.5 / 2 = 0.75 in half of the phase, 0.5 in the other
    cobalt, copper = stoichiometry(changed, oxides(), ELEMENTS)
    assert (cobalt.mean, cobalt.sigma) == pytest.approx((0.625, 0.125))
    assert copper.mean == 0.5


def test_stoichiometry_inside_leaves_the_boundary_out() -> None:
    truth, changed = np.zeros((2, 2, 9, 9, 9), np.float32)
    truth[:, 1:8, 1:8, 1:8] = 0.5
    changed[:, 2:7, 2:7, 2:7] = 0.5  # wrong at the boundary only
    changed[1, 1:8, 1:8, 1:8] = 0.5
    (found,) = stoichiometry(changed, truth, ("Co", "O"), depth=1)
    assert (found.mean, found.sigma, found.voxels) == (0.5, 0.0, 125)
    assert stoichiometry(changed, truth, ("Co", "O"))[0].sigma > 0.2
    assert stoichiometry(changed, truth, ("Co", "O"), depth=4) == []


def test_stoichiometry_counts_only_voxels_that_hold_matter() -> None:
    changed = oxides()
    changed[:, 0, :3] = 0
    assert stoichiometry(changed, oxides(), ELEMENTS)[0].voxels == 54
    assert stoichiometry(np.zeros_like(changed), oxides(), ELEMENTS) == []


def test_mixed_voxels_belong_to_no_oxide() -> None:
    truth = oxides()
    truth[1, 0] = 0.25
    assert stoichiometry(truth, truth, ELEMENTS)[0].voxels == 36


def test_specimens_without_oxygen_have_no_oxide() -> None:
    assert stoichiometry(oxides()[:2], oxides()[:2], ("Co", "Cu")) == []


def test_correlation_is_pearsons() -> None:
    assert correlation(OTHER, TRUTH) == pytest.approx(
        np.corrcoef(OTHER.ravel(), TRUTH.ravel())[0, 1]
    )
    assert correlation(-2 * TRUTH + 1, TRUTH) == pytest.approx(-1)
    assert correlation(np.ones_like(TRUTH), TRUTH) == 0
    assert np.isnan(correlation(np.full_like(TRUTH, np.nan), TRUTH))


def test_the_moments_of_stoichiometry_are_those_of_the_fractions() -> None:
    changed = oxides() + np.random.default_rng(2).uniform(0, 0.2, (4, 6, 6, 6)).astype(np.float32)
    fractions = cation_fractions(changed, oxides(), ELEMENTS)
    for found in stoichiometry(changed, oxides(), ELEMENTS):
        values = fractions[found.element]
        assert (found.mean, found.sigma) == pytest.approx((values.mean(), values.std()))
        assert found.voxels == len(values)


LARGER = np.random.default_rng(3).uniform(0, 1, (12, 12, 12)).astype(np.float32)


def test_ssim_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="needs the extra metrics")
    noisy = LARGER + np.random.default_rng(4).normal(0, 0.2, LARGER.shape).astype(np.float32)
    expected = metrics.structural_similarity(
        noisy.astype(float),
        LARGER.astype(float),
        data_range=float(np.ptp(LARGER)),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(noisy, LARGER) == pytest.approx(expected)
    assert ssim(LARGER, LARGER) == pytest.approx(1)
    assert ssim(10 * noisy, 10 * LARGER) == pytest.approx(expected, rel=1e-4)
    assert ssim(noisy + 1, LARGER) < expected


def test_ssim_of_what_has_none() -> None:
    pytest.importorskip("skimage.metrics", reason="needs the extra metrics")
    assert np.isnan(ssim(LARGER, np.ones_like(LARGER)))
    assert np.isnan(ssim(np.full_like(LARGER, np.nan), LARGER))
    with pytest.raises(BadInput) as caught:
        ssim(TRUTH, TRUTH)
    assert caught.value.value == TRUTH.shape


def particle() -> np.ndarray:
    """A cube of 5 voxels in 13, two elements of different concentration."""
    truth = np.zeros((2, 13, 13, 13), np.float32)
    truth[:, 4:9, 4:9, 4:9] = 1.0
    truth[1] *= np.float32(0.5)
    return truth


def test_the_truth_is_right_in_all() -> None:
    truth = particle()
    assert totals(truth, truth) == (1.0, 1.0)
    assert haze(truth, truth) == (0.0, 0.0)
    assert level(truth, truth) == (1.0, 1.0)


@given(st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_a_factor_per_element_shows_in_totals_and_level_alone(first: float, second: float) -> None:
    truth = particle()
    changed = truth * np.array([first, second], np.float32)[:, None, None, None]
    assert totals(changed, truth) == pytest.approx((first, second), rel=1e-5)
    assert level(changed, truth) == pytest.approx((first, second), rel=1e-5)
    assert haze(changed, truth) == (0.0, 0.0)


def test_haze_is_what_lies_away_from_the_particle() -> None:
    truth = particle()
    changed = truth.copy()
    changed[0, 6, 6, 10] = 125.0  # two voxels off the surface: a blurred edge
    assert haze(changed, truth)[0] == 0.0
    changed[0, 6, 6, 11] = 250.0
    assert haze(changed, truth)[0] == pytest.approx(0.5)
    assert totals(changed, truth)[0] == pytest.approx(4.0)
    assert level(changed, truth)[0] == 1.0


def test_the_level_leaves_the_surface_out() -> None:
    truth = particle()
    changed = np.zeros_like(truth)
    changed[:, 5:8, 5:8, 5:8] = 0.4
    assert level(changed, truth) == pytest.approx((0.4, 0.8))


def test_nothing_to_compare_with_is_nan() -> None:
    truth = particle()
    truth[1] = 0.0
    truth[1, 6, 6, 6] = 1.0
    empty = np.zeros_like(truth)
    assert np.isnan(totals(truth, empty)).all()
    assert np.isnan(haze(empty, truth)).all()
    assert np.isnan(level(truth, truth)[1])


@given(st.permutations(range(2)))
def test_the_order_of_elements_is_only_an_order(order: list[int]) -> None:
    truth = particle()
    changed = truth * np.array([2.0, 3.0], np.float32)[:, None, None, None]
    for score in (totals, haze, level):
        found = score(changed, truth)
        assert score(changed[order], truth[order]) == tuple(found[i] for i in order)
