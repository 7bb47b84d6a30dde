"""Noise of projections from neighbouring pixels: closed forms, units, structure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.recon_core.metrics import noise as module
from tomoatlas.recon_core.metrics.noise import Noise, estimate_noise, most_gain


def ramp(low: float, high: float, tilts: int = 9, edge: int = 64) -> np.ndarray:
    """Expected counts that rise along y, without edges."""
    return np.broadcast_to(np.linspace(low, high, edge)[:, None], (tilts, edge, edge))


def counted(expected: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(expected).astype(np.float32)


def test_the_constants_are_those_of_white_noise() -> None:
    white = np.random.default_rng(1).normal(size=(30, 200, 200))
    _, squares = module.patches(white)
    assert squares.mean() == pytest.approx(1.0, abs=0.01)
    assert np.quantile(squares, 0.02) == pytest.approx(module.LOWEST, rel=0.02)
    below = squares[squares < module.UPPER]
    assert below.mean() == pytest.approx(module.MEAN_BELOW, rel=0.01)
    assert len(below) / len(squares) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("mean", [1.0, 20.0, 2000.0])
def test_counts_have_a_gain_of_one(mean: float) -> None:
    found = estimate_noise(counted(ramp(mean, 3 * mean)))
    assert found.gain == pytest.approx(1.0, abs=0.1)
    assert found.floor == 0.0


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-4, 1e4), seed=st.integers(0, 9))
def test_the_unit_of_the_detector_is_only_a_unit(factor: float, seed: int) -> None:
    counts = counted(ramp(50.0, 400.0, tilts=3, edge=24), seed)
    one, other = estimate_noise(counts), estimate_noise(np.float32(factor) * counts)
    assert other.gain == pytest.approx(factor * one.gain, rel=1e-3)
    assert other.darkest == pytest.approx(factor**2 * one.darkest, rel=1e-3)


def test_a_subtracted_level_leaves_its_noise() -> None:
    counts = counted(ramp(200.0, 1000.0)) - np.float32(200.0)
    found = estimate_noise(counts)
    assert found.gain == pytest.approx(1.0, abs=0.15)
    assert found.variance(np.array([0.0]))[0] == pytest.approx(200.0, rel=0.35)


def test_edges_add_no_noise_where_some_pixels_are_smooth() -> None:
    expected = np.full((9, 64, 64), 100.0)
    expected[:, 20:44, ::2] += 400.0
    assert estimate_noise(counted(expected)).gain == pytest.approx(1.0, abs=0.1)


def test_noise_of_constant_variance_has_a_floor_and_little_gain() -> None:
    rng = np.random.default_rng(0)
    expected = ramp(0.0, 500.0)
    found = estimate_noise((expected + rng.normal(0, 5.0, expected.shape)).astype(np.float32))
    assert found.variance(np.array([0.0, 500.0])) == pytest.approx([25.0, 25.0], rel=0.25)


def test_a_border_that_was_filled_in_has_no_say() -> None:
    counts = counted(ramp(300.0, 900.0))
    padded = np.pad(counts, ((0, 0), (20, 20), (20, 20)), constant_values=300.0)
    assert estimate_noise(padded).gain == pytest.approx(estimate_noise(counts).gain, rel=0.1)


@pytest.mark.parametrize("mean", [0.05, 1.0, 30.0])
def test_bright_counts_show_their_unit(mean: float) -> None:
    counts = counted(ramp(0.0, mean))
    assert most_gain(counts) == pytest.approx(1.0, abs=0.3)
    assert most_gain(np.float32(0.01) * counts) == pytest.approx(0.01, rel=0.3)
    assert most_gain(counts[:, :6]) is None


def test_projections_without_noise_have_none() -> None:
    found = estimate_noise(np.full((2, 16, 16), 7.0, np.float32))
    assert found.variance(np.array([7.0])) == pytest.approx([0.0])
    assert Noise(1.0, 0.0, 2.0).variance(np.array([1.0, 5.0])).tolist() == [2.0, 5.0]


def test_fewer_pixels_than_a_patch_are_refused() -> None:
    with pytest.raises(ValueError, match="patch"):
        estimate_noise(np.zeros((3, 6, 64), np.float32))
