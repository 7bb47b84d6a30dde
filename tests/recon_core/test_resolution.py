"""Fourier shell correlation, power along an axis and cut-offs against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import fourier_gaussian

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.metrics.resolution import (
    AGAINST_TRUTH,
    BETWEEN_HALVES,
    Spectrum,
    axis_spectrum,
    crossing,
    shell_correlation,
)

SHAPE = (48, 48, 40)


def white(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def blurred(volume: np.ndarray, sigma: float) -> np.ndarray:
    return np.fft.ifftn(fourier_gaussian(np.fft.fftn(volume), sigma)).real


def test_equal_volumes_correlate_at_every_frequency() -> None:
    found = shell_correlation(white(0), white(0), 2.0)
    assert found.correlation == pytest.approx(np.ones(24))
    assert found.frequency[-1] == pytest.approx(0.25, rel=0.02)
    assert found.resolution_nm(0.5) == pytest.approx(4.0, rel=0.02)


def test_every_coefficient_of_the_sphere_is_counted_once() -> None:
    shape = (8, 8, 8)
    found = shell_correlation(white(0, shape), white(1, shape), 1.0)
    k = np.fft.fftfreq(8)
    radius = np.sqrt(sum(g**2 for g in np.meshgrid(k, k, k)))
    shell = np.rint(radius * 8)
    assert found.coefficients.tolist() == [int((shell == i).sum()) for i in (1, 2, 3, 4)]
    means = [min(radius[shell == i].mean(), 0.5) for i in (1, 2, 3, 4)]
    assert found.frequency == pytest.approx(means)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100), st.floats(-10, 10), st.integers(0, 3))
def test_shell_correlation_is_blind_to_scale_offset_order_and_turning(
    scale: float, offset: float, axis: int
) -> None:
    a, b = white(0, (12, 12, 12)), white(0, (12, 12, 12)) + white(1, (12, 12, 12))
    expected = shell_correlation(a, b, 1.0).correlation
    assert shell_correlation(b, scale * a + offset, 1.0).correlation == pytest.approx(
        expected, abs=1e-6
    )
    flipped = shell_correlation(np.flip(a, axis % 3), np.flip(b, axis % 3), 1.0)
    assert flipped.correlation == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("snr", [0.25, 1.0, 4.0])
def test_white_noise_of_known_snr_gives_the_known_correlation(snr: float) -> None:
    truth, noise = white(0), [white(seed) / np.sqrt(snr) for seed in (1, 2)]
    halves = shell_correlation(truth + noise[0], truth + noise[1], 1.0)
    against = shell_correlation(truth, truth + noise[0], 1.0)
    outer = slice(8, None)  # shells of 1,000 coefficients and more
    assert halves.correlation[outer] == pytest.approx(snr / (1 + snr), abs=0.06)
    assert against.correlation[outer] == pytest.approx(np.sqrt(snr / (1 + snr)), abs=0.06)


def test_resolution_is_where_a_falling_snr_reaches_the_threshold() -> None:
    """Signal of power exp(-(2 pi sigma f)²) in white noise: FSC = 0.5 where they are equal."""
    sigma, voxel, ratio = 2.0, 0.5, 0.05
    truth = [blurred(white(0), sigma) + ratio * white(seed) for seed in (1, 2)]
    found = shell_correlation(*truth, voxel)
    cut = np.sqrt(np.log(1 / ratio**2)) / (2 * np.pi * sigma * voxel)
    assert found.cut_off(0.5) == pytest.approx(cut, rel=0.05)
    assert found.resolution_nm(BETWEEN_HALVES) < found.resolution_nm(AGAINST_TRUTH)


def test_nothing_in_common_resolves_nothing() -> None:
    assert shell_correlation(white(0), white(1), 1.0).resolution_nm(0.5) == np.inf
    empty = shell_correlation(white(0), np.zeros(SHAPE), 1.0)
    assert np.isnan(empty.correlation).all()
    assert empty.cut_off(0.5) == 0


@pytest.mark.parametrize("other", [(4, 4, 5), (4, 4), (1, 4, 4)])
def test_other_shapes_are_refused(other: tuple[int, ...]) -> None:
    shape = (1, 4, 4) if other[0] == 1 else (4, 4, 4)
    with pytest.raises(BadInput) as caught:
        shell_correlation(np.ones(shape), np.ones(other), 1.0)
    assert caught.value.value == (shape, other)


@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_white_noise_has_the_same_power_along_every_axis(axis: str) -> None:
    spectrum = axis_spectrum(white(3), 1.0, axis, 30.0)
    assert spectrum.power[8:] == pytest.approx(float(np.prod(SHAPE)), rel=0.25)
    assert len(spectrum.frequency) == SHAPE["zyx".index(axis)] // 2
    assert spectrum.frequency[-1] == pytest.approx(0.5)


def test_a_wave_has_its_power_at_its_frequency_and_axis_only() -> None:
    wave = np.sin(2 * np.pi * 6 * np.arange(48) / 48)[None, :, None] * np.ones(SHAPE)
    power = {axis: axis_spectrum(wave, 2.0, axis, 20.0) for axis in ("z", "y", "x")}
    assert power["y"].frequency[power["y"].power.argmax()] == pytest.approx(6 / 96)
    assert power["z"].power.max() < 1e-12 * power["y"].power.max()


def test_the_cut_off_of_a_blur_is_its_half_power_point() -> None:
    sigma, voxel = 1.5, 0.7
    sharp = white(4, (64, 64, 64))
    blur = np.fft.ifftn(np.fft.fftn(sharp) * _gaussian_along_z(64, sigma)).real
    truth = axis_spectrum(sharp, voxel, "z", 15.0)
    half = np.sqrt(np.log(2)) / (2 * np.pi * sigma * voxel)
    assert axis_spectrum(blur, voxel, "z", 15.0).cut_off(truth) == pytest.approx(half, rel=0.05)
    assert axis_spectrum(blur, voxel, "y", 15.0).cut_off(
        axis_spectrum(sharp, voxel, "y", 15.0)
    ) == pytest.approx(0.5 / voxel)


def _gaussian_along_z(n: int, sigma: float) -> np.ndarray:
    return np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(n)) ** 2)[:, None, None]


def test_a_dip_between_fringes_is_no_cut_off() -> None:
    frequency = np.arange(1.0, 33.0)
    fringes = 1e-3 ** (frequency / 32) * (1.05 + np.cos(frequency))
    truth = Spectrum(frequency, fringes)
    dip = np.where(frequency == 9, 0.2, 0.9)
    assert Spectrum(frequency, fringes * dip).cut_off(truth) == 32
    fall = np.where(frequency < 9, 0.9, 0.2)
    assert Spectrum(frequency, fringes * fall).cut_off(truth) == pytest.approx(8.5, abs=0.6)
    assert Spectrum(frequency, np.zeros(32)).cut_off(truth) == 0


def test_crossings() -> None:
    f = np.array([1.0, 2.0, 3.0, 4.0])
    assert crossing(f, np.array([1.0, 0.8, 0.4, 0.9]), 0.5) == pytest.approx(2.75)
    assert crossing(f, np.array([1.0, np.nan, 0.5, 0.0]), 0.25) == pytest.approx(3.5)
    assert crossing(f, np.ones(4), 0.5) == 4
    assert crossing(f, np.array([0.4, 1.0, 1.0, 1.0]), 0.5) == 0
    assert crossing(f, np.full(4, np.nan), 0.5) == 0
