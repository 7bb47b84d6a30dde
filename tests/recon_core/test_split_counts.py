"""Two halves of a tilt series are independent and add up to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tomoatlas.recon_core.metrics.counts import hold_out, split_counts
from tomoatlas.recon_core.tiltseries import TiltSeries


@pytest.fixture(scope="module")
def series() -> TiltSeries:
    rng = np.random.default_rng(0)
    return TiltSeries(
        haadf=rng.poisson(50.0, (4, 40, 40)).astype(np.float32),
        haadf_angles_deg=(-30.0, -10.0, 10.0, 30.0),
        chemical=rng.poisson(2.0, (2, 3, 40, 40)).astype(np.float32),
        chemical_angles_deg=(-20.0, 0.0, 20.0),
        elements=("Co", "O"),
        haadf_background=8.0,
        chemical_background=(0.4, 0.2),
        haadf_scale=6.0,
        chemical_scale=(2.0, 1.0),
    )


def test_halves_add_up_to_the_whole(series):
    first, second = split_counts(series, 1)
    assert np.array_equal(first.haadf + second.haadf, series.haadf)
    assert np.array_equal(first.chemical + second.chemical, series.chemical)
    assert min(first.haadf.min(), second.chemical.min()) >= 0


def test_levels_are_halved_and_angles_kept(series):
    for half in split_counts(series, 1):
        assert (half.haadf_background, half.haadf_scale) == (4.0, 3.0)
        assert (half.chemical_background, half.chemical_scale) == ((0.2, 0.1), (1.0, 0.5))
        assert half.haadf_angles_deg == series.haadf_angles_deg
    unknown = replace(series, haadf_scale=None, chemical_scale=None)
    assert split_counts(unknown, 1)[0].chemical_scale is None


def test_halves_are_uncorrelated_poisson_counts(series):
    first, second = (half.haadf.ravel() for half in split_counts(series, 2))
    assert first.mean() == pytest.approx(25, rel=0.02)
    assert first.var() == pytest.approx(25, rel=0.06)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_the_seed_decides_the_split(series):
    again = split_counts(series, 3)[0].chemical
    assert np.array_equal(split_counts(series, 3)[0].chemical, again)
    assert not np.array_equal(split_counts(series, 4)[0].chemical, again)


def test_fractions_of_counts_keep_their_mean_and_are_split_whole(series):
    fractional = replace(series, chemical=series.chemical + 0.25)
    first, second = split_counts(fractional, 0)
    parts = first.chemical + second.chemical
    assert np.array_equal(np.rint(parts), parts)
    assert parts.mean() == pytest.approx(fractional.chemical.mean(), rel=0.01)


def test_haadf_in_units_of_a_detector_is_split_into_independent_halves(series):
    image = np.random.default_rng(1).poisson(400.0, (4, 40, 40))
    first, second = split_counts(replace(series, haadf=(37.5 * image).astype(np.float32)), 0)
    assert first.haadf.mean() == pytest.approx(second.haadf.mean(), rel=0.01)
    assert abs(np.corrcoef(first.haadf.ravel(), second.haadf.ravel())[0, 1]) < 0.06


def test_what_is_held_out_has_its_share_of_counts_and_the_rest_the_others(series):
    kept, held = hold_out(series, 0.2, 0)
    assert np.array_equal(kept.chemical + held, series.chemical)
    assert held.sum() == pytest.approx(0.2 * series.chemical.sum(), rel=0.05)
    assert kept.chemical_background == pytest.approx((0.32, 0.16))
    assert kept.chemical_scale == pytest.approx((1.6, 0.8))
    assert kept.haadf is series.haadf
