"""Alignment finds what code that it does not share has put in, on a grid twice as fine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from misaligned import NONE, Fault, displaced, misaligned, own, specimen_in_vacuum
from recon_cases import tilt_series

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.recon_core.alignment import (
    CROPPED,
    NOTHING_TO_MEND,
    Alignment,
    align,
    unsteadiness,
)
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import STILL, spaced_tilts
from tomoatlas.recon_core.moves import leaps
from tomoatlas.recon_core.tiltseries import TiltSeries

ANGLES = spaced_tilts(41, (-70.0, 70.0))


def recorded(series: TiltSeries) -> TiltSeries:
    return replace(series, haadf_placement=STILL, chemical_placement=STILL, haadf_film=0.0)


@cache
def known() -> TiltSeries:
    specimen = specimen_in_vacuum("composite", 44, 72, 1)
    return misaligned(specimen, Fault(jitter=3.0, axis=2.0), 0, (25, 5), (2208.67, 20.0))


@cache
def found() -> Alignment:
    return align(recorded(known()))


def errors(result: TiltSeries, truth: TiltSeries) -> tuple[np.ndarray, np.ndarray]:
    """RMS errors (across, along) of HAADF and maps, beside a shift of the specimen."""
    pairs = [
        (result.haadf_placement, truth.haadf_placement),
        (result.chemical_placement, truth.chemical_placement),
    ]
    moves = displaced(result, truth)
    haadf, maps = (own(a) - own(b) - move for (a, b), move in zip(pairs, moves, strict=True))
    return np.sqrt((haadf**2).mean(0)), np.sqrt((maps**2).mean(0))


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


def test_where_nothing_fits_better_nothing_is_mended() -> None:
    plan = Acquisition(
        haadf_tilts=21, chemical_tilts=5, haadf_snr=1e6, chemical_snr=20.0, contrast="linear"
    )
    result = align(simulate(specimen_in_vacuum("composite", 18, 28, 1), plan, 0))
    assert result.converged
    assert NOTHING_TO_MEND in result.notes
    assert result.residual_after == result.residual_before
    assert result.series.haadf_placement.rotation_deg == 0
    assert np.abs(own(result.series.haadf_placement)).max() < 0.35


@pytest.mark.parametrize("fault", [replace(NONE, axis=12.2), replace(NONE, jitter=14.5)])
def test_a_specimen_shifted_so_far_that_some_images_crop_it_is_placed(fault: Fault) -> None:
    series = misaligned(specimen_in_vacuum("nanocubes", 32, 72, 0), fault, 1, (21, 5), (400.0, 6.0))
    result = align(recorded(series))
    assert result.converged
    assert any(CROPPED in note for note in result.notes)
    haadf, maps = errors(result.series, series)
    assert (haadf < 0.15).all()
    assert (maps < 0.2).all()
    assert unsteadiness(result.series) is not None


def test_an_image_that_leapt_is_moved_back_where_the_specimen_fills_the_field() -> None:
    """Its neighbours on both sides agree, whatever enters and leaves the field."""
    specimen = specimen_in_vacuum("nanocubes", 48, 48, 1)
    wide = simulate(specimen, Acquisition(haadf_tilts=41, chemical_tilts=5), 0).haadf
    images = wide[:, 10:38, 10:38].copy()
    assert not leaps(images, ANGLES).any()
    images[20] = wide[20, 14:42, 7:35]
    found = leaps(images, ANGLES)
    np.testing.assert_allclose(found[20], (-4, 3), atol=1.0)
    assert not np.delete(found, 20, axis=0).any()


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
