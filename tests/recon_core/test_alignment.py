"""Alignment finds what code that it does not share has put in, on a grid twice as fine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from misaligned import Fault, misaligned, specimen_in_vacuum
from recon_cases import tilt_series

from tomoatlas.recon_core.alignment import Alignment, align
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import STILL, Placement
from tomoatlas.recon_core.tiltseries import TiltSeries


def recorded(series: TiltSeries) -> TiltSeries:
    return replace(series, haadf_placement=STILL, chemical_placement=STILL, haadf_film=0.0)


@cache
def known() -> TiltSeries:
    specimen = specimen_in_vacuum("composite", 44, 72, 1)
    return misaligned(specimen, Fault(jitter=3.0, axis=2.0), 0, (25, 5), (2208.67, 20.0))


@cache
def found() -> Alignment:
    return align(recorded(known()))


def own(placement: Placement) -> np.ndarray:
    """Shifts across and along the axis, (angle, 2)."""
    count = len(placement.shifts)
    return np.array([[placement.across(i), placement.along(i)] for i in range(count)])


def errors(result: TiltSeries, truth: TiltSeries) -> tuple[np.ndarray, np.ndarray]:
    """RMS errors (across, along) of HAADF and maps, beside a shift of the specimen."""
    pairs = [
        (result.haadf_placement, truth.haadf_placement, truth.haadf_angles_deg),
        (result.chemical_placement, truth.chemical_placement, truth.chemical_angles_deg),
    ]
    off = [own(a) - own(b) for a, b, _ in pairs]
    curves = [np.stack([np.cos(t), -np.sin(t)], 1) for t in (np.deg2rad(p[2]) for p in pairs)]
    specimen = np.linalg.lstsq(curves[0], off[0][:, 0], rcond=None)[0]
    along = off[0][:, 1].mean()
    rms = []
    for error, curve in zip(off, curves, strict=True):
        error -= np.stack([curve @ specimen, np.full(len(curve), along)], 1)
        rms.append(np.sqrt((error**2).mean(0)))
    return rms[0], rms[1]


def test_shifts_and_rotation_come_back() -> None:
    haadf, maps = errors(found().series, known())
    assert found().converged
    assert (haadf < (0.1, 0.05)).all()
    assert (maps < (0.2, 0.1)).all()
    assert found().series.haadf_placement.rotation_deg == pytest.approx(2.0, abs=0.6)


def test_the_data_are_not_touched() -> None:
    np.testing.assert_array_equal(found().series.haadf, known().haadf)
    np.testing.assert_array_equal(found().series.chemical, known().chemical)


def test_what_is_in_place_stays() -> None:
    series = misaligned(specimen_in_vacuum("composite", 36, 56, 1), Fault(0, 0, 0, 0), 0, (21, 5))
    result = align(recorded(series)).series
    for placement in (result.haadf_placement, result.chemical_placement):
        assert np.abs(own(placement)).max() < 0.35
    assert abs(result.haadf_placement.rotation_deg) < 0.3


def test_a_series_that_does_not_belong_together_does_not_converge() -> None:
    series = known().of_tilts(range(0, 25, 3), range(3))
    noise = np.random.default_rng(0).poisson(50.0, series.haadf.shape).astype(np.float32)
    result = align(recorded(replace(series, haadf=noise)))
    assert not result.converged
    assert result.reason


@pytest.mark.parametrize("tilts", [0, 3])
def test_too_few_tilts_are_named(tilts: int) -> None:
    with pytest.raises(BadInput) as refused:
        align(tilt_series().of_tilts(range(tilts), range(5)))
    assert (refused.value.key, refused.value.value) == ("haadf/angles_deg", tilts)
