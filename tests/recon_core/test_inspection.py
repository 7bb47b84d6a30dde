"""The inspection of a series: what is sound is good, what was spoilt is found and left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from misaligned import specimen_in_vacuum
from recon_cases import specimen, tilt_series
from scipy import ndimage

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.checks import check_series
from tomoatlas.recon_core.geometry import (
    Mask,
    Placement,
    TiltGeometry,
    film_thickness,
    spaced_tilts,
)
from tomoatlas.recon_core.inspection import (
    BAD,
    DOUBTFUL,
    GOOD,
    bad_tilts,
    inspect,
    mended,
    without_tilt,
)
from tomoatlas.recon_core.metrics.hot import hot_pixels
from tomoatlas.recon_core.metrics.padding import padded_pixels
from tomoatlas.recon_core.projection import SparseProjector
from tomoatlas.recon_core.tiltseries import TiltSeries


def sound() -> TiltSeries:
    return tilt_series(32, haadf_tilts=21, chemical_tilts=9, chemical_snr=4.0)


def verdicts(series: TiltSeries) -> dict[str, str]:
    return {verdict.name: verdict.verdict for verdict in inspect(series)}


def test_a_sound_series_is_good() -> None:
    assert set(verdicts(sound()).values()) == {GOOD}
    assert mended(sound()) is not sound()
    assert mended(sound()).haadf_mask is None


@pytest.mark.parametrize("factor", [0.8, 1.2])
@pytest.mark.parametrize("of", ["haadf", "maps", "both"])
def test_levels_that_vacuum_contradicts_are_set_right(of: str, factor: float) -> None:
    series = sound()
    maps, haadf = series.chemical_background, series.haadf_background
    wrong = replace(
        series,
        chemical_background=tuple((1 if of == "haadf" else factor) * b for b in maps),
        haadf_background=(1 if of == "maps" else factor) * haadf,
    )
    named = {v.name: v.remedy for v in inspect(wrong) if v.verdict != GOOD}
    assert set(named) >= {"vacuum of the maps" if of == "maps" else "vacuum of HAADF"}
    assert set(named.values()) == {"tomoatlas inspect TILTS.h5 --fix"}
    fixed = mended(wrong)
    assert fixed.haadf_background == pytest.approx(haadf, rel=0.02)
    assert fixed.chemical_background == pytest.approx(maps, rel=0.1)
    assert set(verdicts(fixed).values()) == {GOOD}


def test_levels_of_maps_beside_a_film_stay_as_given() -> None:
    series = sound()
    film = film_thickness(series.haadf_angles_deg)[:, None, None] * 0.1 * series.haadf.max()
    low = tuple(0.8 * level for level in series.chemical_background)
    filmed = replace(series, haadf=series.haadf + np.float32(film), chemical_background=low)
    assert mended(filmed).chemical_background == low


@pytest.mark.parametrize("snr", [1.4, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_levels_that_are_right_stay(seed: int, snr: float) -> None:
    plan = Acquisition(haadf_tilts=21, chemical_tilts=9, chemical_snr=snr)
    series = simulate(specimen(32), plan, seed)
    fixed = mended(series)
    assert fixed.haadf_background == series.haadf_background
    assert fixed.chemical_background == series.chemical_background


def test_backgrounds_of_maps_that_are_not_those_of_vacuum_are_doubtful() -> None:
    series = sound()
    low = tuple(0.8 * level for level in series.chemical_background)
    found = verdicts(replace(series, chemical_background=low))
    assert [name for name, verdict in found.items() if verdict != GOOD] == ["vacuum of the maps"]


@pytest.mark.parametrize("seed", range(3))
def test_small_bright_particles_are_not_hot(seed: int) -> None:
    series = simulate(specimen(24), Acquisition(haadf_tilts=15, chemical_tilts=5), seed)
    total = series.chemical.sum(axis=0)
    assert not hot_pixels(series.haadf, series.haadf_angles_deg).any()
    assert not hot_pixels(total, series.chemical_angles_deg).any()


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_a_particle_of_one_pixel_is_not_hot_at_the_end_of_a_series(seed: int) -> None:
    half = Acquisition(haadf_tilts=31, chemical_tilts=5, tilt_range_deg=(0.0, 70.0))
    series = simulate(make_specimen("nanocubes", 32, seed), half, seed)
    assert not hot_pixels(series.haadf, series.haadf_angles_deg).any()


def test_every_hot_pixel_is_masked() -> None:
    rng, series = np.random.default_rng(0), sound()
    hot = rng.random(series.haadf.shape) < 5e-4
    hot[3, 0, 0] = hot[-1, -1, -1] = hot[0, 7, 0] = (
        True  # at corners and in the first and last tilt
    )
    haadf = np.where(hot, np.float32(30 * series.haadf.max()), series.haadf)
    masked = mended(replace(series, haadf=haadf)).haadf_mask
    assert masked is not None
    np.testing.assert_array_equal(masked.array(), ~hot)


@pytest.mark.parametrize("density", [0.002, 0.005])
def test_hot_pixels_do_not_hide_one_another(density: float) -> None:
    rng, series = np.random.default_rng(1), sound()
    images, levels = [], (10 * series.haadf.max(), 10 * series.chemical.max())
    for counts, level in zip((series.haadf, series.chemical), levels, strict=True):
        images.append((counts + level * (rng.random(counts.shape) < density)).astype(np.float32))
    spoilt = replace(series, haadf=images[0], chemical=images[1])
    assert {f.kind for f in check_series(spoilt)} >= {"hot-pixel"}
    fixed = mended(spoilt)
    for mask, now, was in (
        (fixed.haadf_mask, images[0], series.haadf),
        (fixed.chemical_mask, images[1], series.chemical),
    ):
        hot = (now > was).reshape(-1, *now.shape[-3:]).any(axis=0)
        assert mask is not None
        assert not (~mask.array() & ~hot).any()
        assert (~mask.array() & hot).sum() >= 0.98 * hot.sum()


def test_a_pixel_stuck_at_every_tilt_is_masked() -> None:
    series = sound()
    haadf = series.haadf.copy()
    haadf[:, 5, 9] = 4 * haadf.max()
    masked = mended(replace(series, haadf=haadf)).haadf_mask
    assert masked is not None
    assert not masked.array()[:, 5, 9].any()
    assert masked.left_out == len(haadf)


@pytest.mark.parametrize("snr", [1.02, 1.1])
@pytest.mark.parametrize("seed", range(4))
def test_no_count_of_sparse_maps_is_hot(seed: int, snr: float) -> None:
    series = simulate(specimen(32), Acquisition(chemical_tilts=9, chemical_snr=snr), seed)
    total = series.chemical.sum(axis=0)
    assert not hot_pixels(total, series.chemical_angles_deg, 1.0).any()


def test_blank_and_saturated_tilts_are_left_out() -> None:
    series = sound()
    haadf = series.haadf.copy()
    haadf[4], haadf[6], haadf[9] = 0, 0, 1.0  # with a sound one between two
    full = np.quantile(haadf[15], 0.9)
    haadf[15] = np.minimum(haadf[15], full)
    assert bad_tilts(haadf, series.haadf_angles_deg) == [4, 6, 9, 15]
    spoiled = replace(series, haadf=haadf)
    assert verdicts(spoiled)["exposure of HAADF"] == BAD
    fixed = mended(spoiled)
    assert len(fixed.with_seen_tilts().haadf) == 17
    assert verdicts(fixed)["exposure of HAADF"] == GOOD


def test_a_detector_that_was_full_at_every_tilt_is_used_as_it_is() -> None:
    series = sound()
    clipped = np.minimum(series.haadf, np.quantile(series.haadf, 0.9))
    (verdict,) = (
        v for v in inspect(replace(series, haadf=clipped)) if v.name == "exposure of HAADF"
    )
    assert verdict.verdict == BAD
    assert "and 9 more" in verdict.words
    assert "less gain" in verdict.remedy
    assert mended(replace(series, haadf=clipped)).haadf_mask is None


@pytest.mark.parametrize("top", [255.0, 65535.0])
def test_full_detectors_of_eight_and_sixteen_bits(top: float) -> None:
    images = sound().haadf * np.float32(0.8 * top / sound().haadf.max())
    images[3] = np.minimum(3 * images[3], top)
    assert bad_tilts(images, sound().haadf_angles_deg) == [3]


def test_a_slice_is_not_taken_for_a_full_detector() -> None:
    series = sound()
    assert bad_tilts(series.haadf[:, :, 15:16], series.haadf_angles_deg) == []


def test_levels_that_are_not_given_are_filled_in() -> None:
    series = sound()
    bare = replace(series, haadf_background=0.0, chemical_background=())
    fixed = mended(bare)
    assert fixed.haadf_background == pytest.approx(series.haadf_background, rel=0.02)
    assert fixed.chemical_background == pytest.approx(series.chemical_background, rel=0.1)
    assert mended(series).chemical_background == series.chemical_background


def test_an_element_without_a_map_is_doubted() -> None:
    series = sound()
    heaviest = max(series.atomic_numbers)
    without = series.of(np.array([z != heaviest for z in series.atomic_numbers]))
    assert verdicts(without)["missing-element"] == DOUBTFUL


def test_images_that_move_are_named_until_they_are_placed() -> None:
    series = sound()
    steps = [(2, 0), (0, -2), (-1, 1)]
    shifts = [steps[i % 3] for i in range(21)]
    pairs = zip(series.haadf, shifts, strict=True)
    moved = np.stack([np.roll(image, step, (0, 1)) for image, step in pairs])
    shaken = replace(series, haadf=moved)
    known = Placement(tuple((float(y), float(x)) for y, x in shifts))
    assert verdicts(shaken)["shifts of HAADF"] == BAD
    # what moves leaves HAADF unexplained too: one fault is named
    assert "missing-element" not in verdicts(shaken)
    assert verdicts(replace(shaken, haadf_placement=known))["shifts of HAADF"] == GOOD


def shifted(images: np.ndarray, fill: Callable[[np.ndarray], float]) -> np.ndarray:
    """Rows and columns that leave each image on one side come back as one value on the other."""
    out = images.copy()
    for i, image in enumerate(out):
        across, along = i % 4, i % 3
        image[:across] = image[:, :along] = fill(images[i])
    return out


@pytest.mark.parametrize("fill", [lambda image: 0.0, lambda image: image.mean()])
def test_borders_that_a_program_filled_in_are_masked(fill: Callable[[np.ndarray], float]) -> None:
    inside = specimen_in_vacuum("nanocubes", 20, 32, 0)
    asked = Acquisition(haadf_tilts=21, chemical_tilts=9, chemical_snr=4.0, oversample=1)
    series = simulate(inside, asked, 0)
    maps = np.stack([shifted(counts, lambda _: 0.0) for counts in series.chemical])
    spoilt = replace(series, haadf=shifted(series.haadf, fill), chemical=maps)
    assert "filled-border" in {found.kind for found in check_series(spoilt)}
    assert verdicts(spoilt)["borders and labels of HAADF"] == BAD
    fixed = mended(spoilt)
    assert fixed.haadf_mask is not None
    changed = spoilt.haadf != series.haadf
    kept = fixed.haadf_mask.array()
    np.testing.assert_array_equal(kept, ~changed)
    assert "borders and labels of HAADF" not in verdicts(fixed)
    assert fixed.haadf_background == pytest.approx(series.haadf_background, rel=0.02)
    assert {str(v) for v in inspect(fixed) if v.verdict != GOOD} == set()
    assert not check_series(fixed)


@pytest.mark.parametrize("kind", ["scale bar", "label", "dead row"])
def test_what_is_alike_at_every_tilt_is_masked(kind: str) -> None:
    inside = specimen_in_vacuum("nanocubes", 20, 32, 0)
    asked = Acquisition(haadf_tilts=21, chemical_tilts=9, chemical_snr=4.0, oversample=1)
    series = simulate(inside, asked, 0)
    haadf = series.haadf.copy()
    if kind == "dead row":
        haadf[:, 9] = 0
    else:
        haadf[:, 27:31, 2:14] = 0 if kind == "label" else haadf.max()
        haadf[:, 28:30, 4:12] = haadf.max()
    spoilt = replace(series, haadf=haadf)
    assert "filled-border" in {found.kind for found in check_series(spoilt)}
    mask = mended(spoilt).haadf_mask
    assert mask is not None
    recorded = haadf == series.haadf
    assert not (mask.array() & ~recorded).any()
    assert verdicts(mended(spoilt)) == verdicts(series)
    # beside a dead row a pixel may look hot
    assert (~mask.array() & recorded).sum() < 5


def test_what_interpolation_mixed_with_a_border_is_masked() -> None:
    images = np.random.default_rng(0).poisson(100.0, (5, 32, 32)).astype(np.float32)
    images[:, 10:20, 10:20] += 500
    moved = ndimage.shift(images, (0, 2.5, 0), order=1, mode="constant")
    assert padded_pixels(moved)[:, 2].all()
    assert not padded_pixels(moved)[:, 4:].any()


def solid(z: np.ndarray, y: np.ndarray, x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "needle":
        return (z**2 + y**2 < 13**2) + 9 * ((z - 3) ** 2 + (y + 4) ** 2 + x**2 < 9)
    return (abs(z) < 4) * (abs(y) < 13) + 9 * ((z - 1) ** 2 + (y + 4) ** 2 + x**2 < 9)


@pytest.mark.parametrize("kind", ["needle", "slab"])
@pytest.mark.parametrize("counts", [3.0, 20.0, 500.0])
def test_vacuum_without_a_count_is_not_filled_in(kind: str, counts: float) -> None:
    voxels = np.mgrid[:32, :32, :32] - 15.5
    geometry = TiltGeometry(spaced_tilts(15, (-70.0, 70.0)), (32, 32))
    images = SparseProjector(geometry).forward(np.float32(solid(*voxels, kind)))
    expected = counts * images / images.max()
    noisy = np.random.default_rng(0).poisson(expected).astype(np.float32)
    assert (noisy == 0).mean() > 0.1
    assert not padded_pixels(noisy).any()
    assert not padded_pixels(expected).any()


def test_bad_pixels_far_from_good_ones_are_filled_in_with_the_nearest() -> None:
    series = sound()
    good = np.ones(series.haadf.shape, np.bool_)
    good[:, :8] = False
    filled = replace(series, haadf_mask=Mask.of(good)).filled().haadf[:, 0]
    np.testing.assert_allclose(filled.mean(), series.haadf[:, 8:11].mean(), rtol=0.05)


@pytest.mark.parametrize("name", ["HAADF", "maps"])
def test_a_tilt_of_another_gain_is_named_and_left_out(name: str) -> None:
    series = tilt_series(32, haadf_tilts=21, chemical_tilts=9, chemical_snr=20.0)
    haadf, maps = series.haadf.copy(), series.chemical.copy()
    if name == "HAADF":
        haadf[4] *= np.float32(0.7)
        angle = series.haadf_angles_deg[4]
    else:
        maps[:, 2] = np.round(0.5 * maps[:, 2])
        angle = series.chemical_angles_deg[2]
    spoilt = replace(series, haadf=haadf, chemical=maps)
    remedies = {verdict.remedy for verdict in inspect(spoilt) if verdict.verdict != GOOD}
    assert f"tomoatlas inspect TILTS.h5 --fix --leave-out {name}:{angle:.4g}" in remedies
    assert verdicts(without_tilt(spoilt, name, angle)) == verdicts(
        without_tilt(series, name, angle)
    )


def test_no_remedy_is_named_that_mends_nothing() -> None:
    series = sound()
    few = replace(series, haadf=series.haadf[9:12], haadf_angles_deg=series.haadf_angles_deg[9:12])
    assert {v.name: v.remedy for v in inspect(few)}["shifts of HAADF"] == ""
    dimmer = np.linspace(1.0, 0.5, len(series.haadf), dtype=np.float32)[:, None, None]
    fading = replace(series, haadf=dimmer * series.haadf, chemical_background=())
    remedy = {v.name: v.remedy for v in inspect(fading)}["vacuum of the maps"]
    assert remedy.startswith("the counts of vacuum")
    assert mended(fading).chemical_background == fading.chemical_background
