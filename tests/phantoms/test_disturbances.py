"""Disturbances: each follows its law, and those that are off change no bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from tomoatlas.phantoms.acquire import project, simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.disturbances import DISTURBANCES, Disturbances, mixing
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.contrast import PowerLaw
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import film_thickness
from tomoatlas.recon_core.tiltseries import TiltSeries

SPECIMEN = make_specimen("nanocubes", 24, 0)
ACQUISITION = Acquisition(haadf_tilts=9, chemical_tilts=5)
KEYS = sorted(set(Disturbances.model_fields) - {"hot_level", "damaged"})


@dataclass(frozen=True)
class Noiseless:
    """A detector that records what is expected."""

    def counts(self, expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return expected.astype(np.float32)


def series(seed: int = 3, specimen: Specimen = SPECIMEN, **faults: Any) -> TiltSeries:
    found = Disturbances(**faults)
    return simulate(specimen, ACQUISITION, seed, Noiseless(), found)


PLAIN = series()


def haadf_signal(found: TiltSeries) -> np.ndarray:
    return (found.haadf - found.haadf_background) / found.haadf_scale


def map_signals(found: TiltSeries) -> np.ndarray:
    levels, scales = (
        np.array(v)[:, None, None, None] for v in (found.chemical_background, found.chemical_scale)
    )
    return (found.chemical - levels) / scales


def per_tilt(ratio: np.ndarray) -> np.ndarray:
    """One number for each tilt, the same in every pixel."""
    flat = ratio.reshape(len(ratio), -1)
    np.testing.assert_allclose(flat, np.broadcast_to(flat[:, :1], flat.shape), rtol=1e-5)
    return flat[:, 0]


def test_every_key_is_a_disturbance_of_the_registry() -> None:
    assert sorted(key for found in DISTURBANCES.values() for key in found.keys) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_strength_zero_is_none_to_the_bit(key: str) -> None:
    off = Disturbances(**{key: 0.0})
    assert not off.active()
    zero = simulate(SPECIMEN, ACQUISITION, 3, disturbances=off)
    plain = simulate(SPECIMEN, ACQUISITION, 3)
    np.testing.assert_array_equal(zero.haadf, plain.haadf)
    np.testing.assert_array_equal(zero.chemical, plain.chemical)
    assert zero.facts == plain.facts


@pytest.mark.parametrize("key", sorted({*KEYS} - {"haadf_gain", "hot_pixels"}))
def test_a_vanishing_strength_changes_next_to_nothing(key: str) -> None:
    found = series(**{key: 1e-7})
    np.testing.assert_allclose(found.haadf, PLAIN.haadf, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.chemical, PLAIN.chemical, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("fault", "haadf_changes", "maps_change"),
    [
        ({"haadf_shift_px": 1.0}, True, False),
        ({"chemical_drift_px": 2.0}, False, True),
        ({"chemical_gain": 0.1}, False, True),
        ({"haadf_dark": 0.1}, True, False),
        ({"film": 0.1}, True, False),
        ({"matrix": 0.05}, True, False),
        ({"damping": 0.5}, True, False),
        ({"absorption": 0.5}, False, True),
        ({"shadowing": 0.5}, False, True),
        ({"overlap": 0.1}, False, True),
        ({"chemical_blur_px": 1.0}, False, True),
        ({"haadf_blur_px": 1.0}, True, False),
        ({"axis_offset_px": 1.0}, True, True),
        ({"angle_jitter_deg": 1.0}, True, True),
        ({"surroundings": 0.5}, True, True),
        ({"damage": 0.3}, True, True),
        ({"hot_pixels": 0.01}, True, True),
    ],
)
def test_a_fault_of_one_modality_leaves_the_other_to_the_bit(
    fault: dict[str, Any], haadf_changes: bool, maps_change: bool
) -> None:
    found = simulate(SPECIMEN, ACQUISITION, 3, disturbances=Disturbances(**fault))
    plain = simulate(SPECIMEN, ACQUISITION, 3)
    assert bool((found.haadf != plain.haadf).any()) is haadf_changes
    assert bool((found.chemical != plain.chemical).any()) is maps_change
    # what a reconstruction is told is that of an undisturbed series
    assert (found.haadf_scale, found.chemical_scale) == (plain.haadf_scale, plain.chemical_scale)
    assert found.haadf_angles_deg == plain.haadf_angles_deg
    assert set(found.facts) - set(plain.facts) == {f"disturbed_{key}" for key in fault}


def test_one_disturbance_does_not_depend_on_another() -> None:
    gain = series(haadf_gain=0.1).haadf / PLAIN.haadf
    both = series(haadf_gain=0.1, film=0.2, chemical_shift_px=1.0).haadf / series(film=0.2).haadf
    np.testing.assert_allclose(per_tilt(both), per_tilt(gain), rtol=1e-5)


def test_seeds_decide_what_is_random() -> None:
    one, same, other = (series(seed, haadf_gain=0.1).haadf for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("pixels", [-3, 2])
def test_an_axis_offset_shifts_every_image(pixels: int) -> None:
    found = haadf_signal(series(axis_offset_px=float(pixels)))
    expected = np.roll(haadf_signal(PLAIN), pixels, axis=1)
    # beyond the edge lies vacuum
    expected[:, slice(None, pixels) if pixels > 0 else slice(pixels, None)] = 0
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


def centres(images: np.ndarray) -> np.ndarray:
    """Centre of mass (y, x) of each image, pixels."""
    mass = images.sum(axis=(1, 2))
    grid = np.indices(images.shape[1:])
    return np.stack([(images * axis).sum(axis=(1, 2)) / mass for axis in grid], axis=-1)


def test_random_shifts_have_their_rms_and_drift_its_length() -> None:
    many = Acquisition(haadf_tilts=200, chemical_tilts=1, tilt_range_deg=(-1.0, 1.0))
    plain = centres(haadf_signal(simulate(SPECIMEN, many, 3, Noiseless())))
    for fault in ({"haadf_shift_px": 0.4}, {"haadf_drift_px": 2.0}):
        found = simulate(SPECIMEN, many, 3, Noiseless(), Disturbances(**fault))
        moved = centres(haadf_signal(found)) - plain
        if "haadf_shift_px" in fault:
            np.testing.assert_allclose(moved.std(axis=0), 0.4, rtol=0.15)
            assert np.abs(np.corrcoef(moved.T)[0, 1]) < 0.25
        else:
            steps = np.diff(moved, axis=0)
            assert np.linalg.norm(moved[-1] - moved[0]) == pytest.approx(2.0, rel=0.05)
            np.testing.assert_allclose(
                steps, np.broadcast_to(steps.mean(axis=0), steps.shape), atol=0.05
            )


def test_a_quarter_turn_of_small_angle_moves_the_centres_about_the_middle() -> None:
    turn = np.deg2rad(5.0)
    middle = (np.array(PLAIN.haadf.shape[1:]) - 1) / 2
    before = centres(haadf_signal(PLAIN)) - middle
    after = centres(haadf_signal(series(axis_rotation_deg=5.0))) - middle
    y, x = before.T
    expected = np.stack(
        [y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)], 1
    )
    np.testing.assert_allclose(after, expected, atol=0.1)


def test_jitter_is_of_the_angles() -> None:
    found = haadf_signal(series(angle_jitter_deg=2.0))
    contrast = PowerLaw(2.0).of_volumes(SPECIMEN.volumes, SPECIMEN.atomic_numbers)
    for image, nominal in zip(found, PLAIN.haadf_angles_deg, strict=True):
        angles = tuple(nominal + np.arange(-6, 6.01, 0.5))
        near = project(contrast, angles)
        misfit = ((near - image) ** 2).sum(axis=(1, 2))
        assert misfit.min() < 0.3 * np.median(misfit)


@given(st.floats(0.01, 0.3))
@settings(max_examples=5, deadline=None)
def test_a_gain_scales_all_maps_of_a_tilt(spread: float) -> None:
    ratio = series(chemical_gain=spread).chemical / PLAIN.chemical
    gains = np.array([per_tilt(one) for one in ratio])
    np.testing.assert_allclose(gains, gains[:1].repeat(4, axis=0), rtol=1e-5)
    assert 0.1 * spread < np.log(gains[0]).std() < 3 * spread


def test_a_dark_error_adds_the_same_to_a_tilt() -> None:
    change = series(haadf_dark=0.02).haadf - PLAIN.haadf
    offsets = change.mean(axis=(1, 2)) / PLAIN.haadf.mean()
    np.testing.assert_allclose(change, change[:, :1, :1] * np.ones_like(change), atol=0.1)
    assert 0.004 < offsets.std() < 0.06


def test_a_film_is_the_thicker_the_more_it_is_tilted() -> None:
    change = haadf_signal(series(film=0.1)) - haadf_signal(PLAIN)
    expected = 0.1 * haadf_signal(PLAIN).max() * film_thickness(PLAIN.haadf_angles_deg)
    np.testing.assert_allclose(change, expected[:, None, None] * np.ones_like(change), rtol=1e-3)


@pytest.mark.parametrize("lost", [1e-3, 0.3, 0.6, 0.9])
def test_damping_follows_its_law(lost: float) -> None:
    signal, found = haadf_signal(PLAIN), haadf_signal(series(damping=lost))
    top = signal.max()
    assert found.max() / top == pytest.approx(1 - lost, rel=1e-4)
    slope = found[signal > 0.01 * top] / signal[signal > 0.01 * top]
    assert (slope <= 1 + 1e-4).all()
    # (1 - exp(-a s))/a of a rate that is the same everywhere
    ratio = found.max() / top
    rates = np.linspace(1e-4, 40, 400_001)
    rate = rates[np.abs(-np.expm1(-rates) / rates - ratio).argmin()]
    expected = -top * np.expm1(-rate * signal / top) / rate
    np.testing.assert_allclose(found, expected, atol=2e-3 * top)


def test_absorption_takes_its_share_on_the_longest_path_and_spares_heavy_elements() -> None:
    ratio = map_signals(series(absorption=0.4)) / np.maximum(map_signals(PLAIN), 1e-6)
    path = project(SPECIMEN.volumes.sum(axis=0), PLAIN.chemical_angles_deg)
    longest = np.unravel_index(path.argmax(), path.shape)
    oxygen, cobalt = SPECIMEN.elements.index("O"), SPECIMEN.elements.index("Co")
    assert ratio[oxygen][longest] == pytest.approx(0.6, abs=1e-3)
    assert ratio[cobalt][longest] > 0.999
    thick = path > 0.05 * path.max()
    assert np.corrcoef(path[thick], ratio[oxygen][thick])[0, 1] < -0.9


def test_the_holder_hides_the_maps_of_one_side() -> None:
    before, after = (map_signals(s).sum(axis=(0, 2, 3)) for s in (PLAIN, series(shadowing=0.5)))
    angles = np.deg2rad(PLAIN.chemical_angles_deg)
    np.testing.assert_allclose(after / before, 1 - 0.5 * np.maximum(-np.sin(angles), 0), rtol=1e-4)


def test_overlap_mixes_counts_and_keeps_their_sum() -> None:
    plain, found = PLAIN, series(overlap=0.1)
    scales = np.array(plain.chemical_scale)[:, None, None, None]
    before, after = scales * map_signals(plain), scales * map_signals(found)
    expected = np.tensordot(mixing(SPECIMEN.atomic_numbers, 0.1), before, 1)
    np.testing.assert_allclose(after, expected, atol=1e-4)
    np.testing.assert_allclose(after.sum(axis=0), before.sum(axis=0), atol=1e-4)


def test_blur_keeps_the_counts_and_widens() -> None:
    before, after = map_signals(PLAIN), map_signals(series(chemical_blur_px=1.5))
    np.testing.assert_allclose(after.sum(axis=(2, 3)), before.sum(axis=(2, 3)), rtol=1e-3)
    point = np.zeros((1, 25, 25, 25), np.float32)
    point[0, 12, 12, 12] = 1
    image = map_signals(series(specimen=Specimen(point, ("Au",), 1.0), chemical_blur_px=1.5))[0]
    grid = np.arange(25) - 12
    variance = (image[2] * grid**2).sum() / image[2].sum()
    assert variance == pytest.approx(1.5**2, rel=0.1)


def test_the_same_blur_of_haadf_keeps_its_counts_and_is_that_of_its_images() -> None:
    before, after = haadf_signal(PLAIN), haadf_signal(series(haadf_blur_px=1.5))
    np.testing.assert_allclose(after.sum(axis=(1, 2)), before.sum(axis=(1, 2)), rtol=1e-3)
    expected = gaussian_filter(before, (0, 1.5, 1.5), mode="reflect")
    np.testing.assert_allclose(after, expected, atol=1e-3 * expected.max())


def test_a_matrix_fills_what_is_free() -> None:
    change = haadf_signal(series(matrix=0.02)) - haadf_signal(PLAIN)
    contrast = PowerLaw(2.0).of_volumes(SPECIMEN.volumes, SPECIMEN.atomic_numbers)
    middle = change[4]  # at 0 degrees
    free = 1 - SPECIMEN.volumes.sum(axis=0) / SPECIMEN.volumes.sum(axis=0).max()
    half = np.abs(np.arange(24) - 11.5)
    free[np.hypot(half[:, None], half) >= 12] = 0
    np.testing.assert_allclose(
        middle, 0.02 * contrast.max() * free.sum(axis=0), rtol=1e-2, atol=1e-2 * middle.max()
    )


def test_surroundings_come_into_view_when_tilted() -> None:
    change = haadf_signal(series(surroundings=0.5)) - haadf_signal(PLAIN)
    mass = change.sum(axis=(1, 2)) / haadf_signal(PLAIN).sum(axis=(1, 2))
    assert mass[4] == pytest.approx(0, abs=1e-3)
    assert mass[0] > mass[2] > mass[3] > -1e-3
    assert (change >= -1e-3 * change.max()).all()


def test_damage_is_exponential_in_the_dose() -> None:
    before, after = (map_signals(s).sum(axis=(2, 3)) for s in (PLAIN, series(damage=0.36)))
    oxygen = SPECIMEN.elements.index("O")
    np.testing.assert_allclose((after / before)[oxygen], 0.64 ** np.linspace(0, 1, 5), rtol=1e-3)
    others = [i for i in range(4) if i != oxygen]
    np.testing.assert_allclose(after[others], before[others], rtol=1e-5)


def test_haadf_loses_the_damaged_element_too() -> None:
    found = haadf_signal(series(damage=0.5, damaged="Au"))
    contrast = PowerLaw(2.0).of_volumes(SPECIMEN.volumes[3:], (79,))
    gold = project(contrast, PLAIN.haadf_angles_deg)
    left = 0.5 ** (2 * np.linspace(0, 1, 9))
    expected = haadf_signal(PLAIN) - (1 - left)[:, None, None] * gold
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())


def test_hot_pixels_are_as_many_and_as_bright_as_asked() -> None:
    change = series(hot_pixels=0.02, hot_level=5.0).haadf - PLAIN.haadf
    hot = change > 1
    level = 5 * PLAIN.haadf_scale * haadf_signal(PLAIN).max()
    assert hot.mean() == pytest.approx(0.02, rel=0.4)
    np.testing.assert_allclose(change[hot], level, rtol=1e-3)


def test_a_damaged_element_is_one_of_the_specimen() -> None:
    with pytest.raises(BadInput) as caught:
        series(damage=0.1, damaged="Pt")
    assert (caught.value.key, caught.value.value) == ("disturbances.damaged", "Pt")
