"""What maps leave of HAADF: nothing of sound series, however they lie; an element without a map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from misaligned import NONE, Fault, misaligned, specimen_in_vacuum

import tomoatlas as ta
from tomoatlas.recon_core.geometry import STILL, Mask
from tomoatlas.recon_core.metrics.noise import estimate_noise
from tomoatlas.recon_core.metrics.unexplained import Unexplained, unexplained


@pytest.fixture(scope="module")
def fine() -> ta.Specimen:
    return specimen_in_vacuum("nanocubes", 44, 64, 31)


@pytest.fixture(scope="module")
def series(fine: ta.Specimen) -> ta.TiltSeries:
    return misaligned(fine, NONE, 31)


def without(series: ta.TiltSeries, element: str) -> ta.TiltSeries:
    return series.of(np.array([name != element for name in series.elements]))


def of(series: ta.TiltSeries) -> Unexplained:
    found = unexplained(series, estimate_noise(series.haadf))
    assert found is not None
    return found


def test_an_element_without_a_map_is_left(series: ta.TiltSeries) -> None:
    assert of(series).part < 0.01
    found = of(without(series, "Au"))
    assert found.part > 0.02
    assert found.chance < 0.001
    assert not found.scaled


def test_scales_that_are_known_show_what_another_element_would_hide() -> None:
    fine = specimen_in_vacuum("composite", 44, 64, 31)
    series = misaligned(fine, NONE, 31)
    atoms = fine.volumes.sum(axis=(1, 2, 3))
    levels = np.array(series.chemical_background)[:, None, None, None]
    counts = (series.chemical - levels).sum(axis=(1, 2, 3), dtype=np.float64)
    scaled = replace(series, chemical_scale=tuple((counts / atoms).tolist()))
    # oxygen lies wherever nickel does
    assert of(without(series, "Ni")).part < 0.01
    assert of(scaled).part < 0.01
    assert of(without(scaled, "Ni")).part > 0.02


def test_levels_gain_and_the_unit_of_scales_do_not_enter(series: ta.TiltSeries) -> None:
    scaled = replace(series, chemical_scale=(1.0, 2.0, 3.0, 4.0))
    known = of(scaled)
    other = replace(
        scaled,
        haadf=np.float32(0.01) * series.haadf,
        haadf_background=0.0,
        chemical_background=(),
        chemical_scale=(1e3, 2e3, 3e3, 4e3),
    )
    assert of(other).part == pytest.approx(known.part, abs=1e-5)
    assert of(other).error == pytest.approx(known.error, abs=1e-5)


def test_images_are_compared_where_they_lie(fine: ta.Specimen) -> None:
    placed = misaligned(fine, replace(Fault(), film=0.0), 31)
    assert of(placed).part < 0.01
    elsewhere = replace(placed, haadf_placement=STILL, chemical_placement=STILL)
    assert of(elsewhere).part > 0.3


def test_half_a_pixel_is_no_element(fine: ta.Specimen) -> None:
    series = misaligned(fine, replace(NONE, jitter=0.5), 31)
    still = replace(series, haadf_placement=STILL, chemical_placement=STILL)
    assert of(still).chance > 0.01 or of(still).part < 0.015


def test_pixels_that_a_mask_leaves_out_do_not_enter(series: ta.TiltSeries) -> None:
    haadf, good = series.haadf.copy(), np.ones(series.haadf.shape, bool)
    haadf[:, 10:14, 10:14] *= 3
    good[:, 6:18, 6:18] = False
    assert of(replace(series, haadf=haadf)).part > 0.05
    masked = replace(series, haadf=haadf, haadf_mask=Mask.of(good))
    assert of(masked).part < 0.02


def test_little_data_say_nothing(series: ta.TiltSeries) -> None:
    noise = estimate_noise(series.haadf)
    assert unexplained(series.of_tilts((), range(9)), noise) is None
    assert unexplained(series.of_tilts(range(41), (0, 4)), noise) is None
    between = tuple(angle + 1.7 for angle in series.chemical_angles_deg[:-1])
    maps = series.of_tilts(range(41), range(8))
    assert unexplained(replace(maps, chemical_angles_deg=between), noise) is None
    dark = np.random.default_rng(0).poisson(1.0, series.chemical.shape).astype(np.float32)
    assert unexplained(replace(series, chemical=dark), noise) is None
    assert unexplained(replace(series, chemical=np.zeros_like(dark)), noise) is None
