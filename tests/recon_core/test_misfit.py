"""Misfit in units of the noise: expectation, units, order, what it must show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.contrast import PowerLaw
from tomoatlas.recon_core.metrics.misfit import (
    ChannelMisfit,
    Misfit,
    deviance,
    expected_deviance,
    misfit,
)
from tomoatlas.recon_core.tiltseries import TiltSeries

LAW = PowerLaw(2.0)


@pytest.fixture(scope="module")
def truth() -> Specimen:
    return make_specimen("nanocubes", 48, 0)


@pytest.fixture(scope="module")
def series(truth: Specimen) -> TiltSeries:
    return simulate(truth, Acquisition(haadf_tilts=9, chemical_tilts=5, haadf_snr=200.0), 1)


def overall(found: Misfit) -> list[float]:
    return [channel.overall for channel in found.channels]


def times(series: TiltSeries, factor: float) -> TiltSeries:
    """HAADF in another unit."""
    return replace(
        series,
        haadf=np.float32(factor) * series.haadf,
        haadf_background=factor * series.haadf_background,
        haadf_scale=None if series.haadf_scale is None else factor * series.haadf_scale,
    )


def test_the_truth_misfits_by_the_noise_alone(truth: Specimen, series: TiltSeries) -> None:
    found = misfit(series, truth.volumes, LAW)
    assert overall(found) == pytest.approx([1.0] * 5, abs=0.15)
    assert found.haadf is not None
    assert found.haadf.by_tilt == pytest.approx([1.0] * 9, abs=0.3)
    assert found.facts["misfit_HAADF"] == found.haadf.overall
    assert found.facts["misfit_Au_by_tilt"] == found.elements[3].by_tilt


@pytest.mark.parametrize("factor", [1 / 3000, 7.0])
def test_the_unit_of_haadf_changes_nothing(
    factor: float, truth: Specimen, series: TiltSeries
) -> None:
    before, after = (misfit(s, truth.volumes, LAW) for s in (series, times(series, factor)))
    assert overall(after) == pytest.approx(overall(before), rel=0.01)


def test_unknown_scales_are_fitted(truth: Specimen, series: TiltSeries) -> None:
    known = misfit(series, truth.volumes, LAW)
    unknown = replace(series, haadf_scale=None, chemical_scale=None)
    assert overall(misfit(unknown, 3 * truth.volumes, LAW)) == pytest.approx(
        overall(known), rel=0.01
    )
    # the scale of another exponent says nothing
    other = misfit(series, truth.volumes, PowerLaw(1.5))
    assert other.haadf == misfit(unknown, truth.volumes, PowerLaw(1.5)).haadf


def test_the_order_of_elements_changes_nothing(truth: Specimen, series: TiltSeries) -> None:
    turned = replace(
        series,
        chemical=series.chemical[::-1],
        elements=series.elements[::-1],
        chemical_background=series.chemical_background[::-1],
        chemical_scale=tuple(reversed(series.chemical_scale or ())),
    )
    found, again = misfit(series, truth.volumes, LAW), misfit(turned, truth.volumes[::-1], LAW)
    assert {c.name: c.overall for c in again.channels} == pytest.approx(
        {c.name: c.overall for c in found.channels}, rel=1e-5
    )


def test_a_wrong_tilt_is_the_worst(truth: Specimen, series: TiltSeries) -> None:
    counts, maps = series.haadf.copy(), series.chemical.copy()
    counts[7], maps[3, 1] = counts[7, ::-1], 0.0
    found = misfit(replace(series, haadf=counts, chemical=maps), truth.volumes, LAW)
    assert found.haadf is not None
    assert found.haadf.worst_deg == series.haadf_angles_deg[7]
    assert found.haadf.overall > 3.0
    assert found.elements[3].worst_deg == series.chemical_angles_deg[1]


def test_volumes_without_matter_do_not_explain_the_data(
    truth: Specimen, series: TiltSeries
) -> None:
    found = misfit(series, np.zeros_like(truth.volumes), LAW)
    assert min(overall(found)) > 1.15
    empty = replace(series, haadf_scale=None, chemical_scale=None)
    assert np.isfinite(overall(misfit(empty, np.zeros_like(truth.volumes), LAW))).all()


def test_without_haadf_the_elements_are_judged(truth: Specimen, series: TiltSeries) -> None:
    alone = replace(series, haadf=series.haadf[:0], haadf_angles_deg=())
    found = misfit(alone, truth.volumes, LAW)
    assert found.haadf is None
    assert [channel.name for channel in found.channels] == list(truth.elements)


@given(st.floats(0.01, 150.0))
def test_the_expected_deviance_is_the_sum_over_counts(mean: float) -> None:
    b = np.arange(600)
    weight = np.exp(b * np.log(mean) - mean - np.cumsum(np.log(np.maximum(b, 1))))
    expected = float(weight @ deviance(b.astype(float), np.full(600, mean)))
    assert expected_deviance(np.array([mean]))[0] == pytest.approx(expected, rel=1e-3)


def test_the_expected_deviance_ends_at_one() -> None:
    found = expected_deviance(np.array([1e-4, 0.9, 199.9, 200.1, 1e6]))
    assert found[1] == pytest.approx(1.135, abs=1e-3)
    assert found[2] == pytest.approx(found[3], abs=1e-5)
    assert found[4] == pytest.approx(1.0, abs=1e-6)
    assert 0 < found[0] < 0.01


def test_a_channel_in_words() -> None:
    text = str(ChannelMisfit("Co", (-10.0, 35.0), (1.0, 250.4), 3.14))
    assert text.startswith("Co: 3.1 times")
    assert text.endswith("35° (250)")
