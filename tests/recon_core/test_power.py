"""Powers as arithmetic against those of float64, and the contrast made of them."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.recon_core.cpu import SMALLEST, add_power, power
from tomoatlas.recon_core.cpu.volume_kernels import contrast

ERROR = 2e-7  # what ``power`` promises
LARGEST = float(np.float32(2.0**127))
GAMMAS = (1.0, 1.4, 1.7, 2.0)


@numba.njit  # type: ignore[misc]
def powers(x: np.ndarray, p: float) -> np.ndarray:
    """The same as vector instructions."""
    out = np.empty_like(x)
    for j in range(x.size):
        out[j] = power(x[j], p)
    return out


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.floats(float(SMALLEST), LARGEST, width=32), st.floats(0, 1))
def test_a_power_is_that_of_float64(x: float, p: float) -> None:
    assert power(np.float32(x), p) == pytest.approx(x**p, rel=ERROR)


@pytest.mark.parametrize("p", [0.0, 0.4, 0.5, 0.7, 0.8, 1.0])
def test_powers_of_the_whole_range(p: float) -> None:
    """Every binade, and every sixteenth number from 1/4 to 4, where pieces of the series meet."""
    bits = np.arange(*np.array([0.25, 4.0], np.float32).view(np.int32), 16, dtype=np.int32)
    wide = np.geomspace(SMALLEST, LARGEST, 100_003).astype(np.float32)
    for x in (bits.view(np.float32), np.clip(wide, SMALLEST, np.float32(LARGEST))):
        found = powers(x, p)
        np.testing.assert_allclose(found, x.astype(np.float64) ** p, rtol=ERROR)
        assert (np.diff(found) >= -1.5 * np.spacing(found[1:])).all()  # rises, but for a last digit


@pytest.mark.parametrize("p", [0.4, 0.7, 1.0])
def test_powers_of_two_and_one(p: float) -> None:
    assert power(np.float32(1), p) == 1
    assert power(np.float32(4), 0.5) == 2
    assert power(np.float32(0.3), 0.0) == 1


@pytest.mark.parametrize("gamma", GAMMAS)
def test_zero_adds_nothing_and_what_is_not_finite_is_seen(gamma: float) -> None:
    x = np.array([0, 1e-45, 1e-30, np.nan, np.inf] * 7, np.float32)
    total = np.full(x.shape, 3, np.float32)
    total[::5] = 0
    add_power(x, np.float32(0.5), gamma, total)
    np.testing.assert_array_equal(total, [0, 3, 3, np.nan, np.inf] * 7)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=40), st.sampled_from(GAMMAS))
def test_a_power_is_added_with_its_weight(values: list[float], gamma: float) -> None:
    x, total = np.array(values, np.float32), np.zeros(len(values), np.float32)
    add_power(x, np.float32(0.5), gamma, total)
    first, truth = total.copy(), 0.5 * x.astype(np.float64) ** gamma
    np.testing.assert_allclose(first, truth, rtol=2 * ERROR, atol=np.finfo(np.float32).tiny)
    add_power(x, np.float32(1.5), gamma, total)
    np.testing.assert_allclose(total, 4 * first, rtol=2 * ERROR)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.floats(2.0**-18, 1e4, width=32), min_size=1, max_size=40), st.floats(1.4, 2))
def test_derivatives_of_the_contrast_are_those_of_its_value(x: list[float], gamma: float) -> None:
    """Central differences of the value and of the slope, both ends from the block itself."""
    at = np.array(x, np.float32)
    (low, below, _), (_, slope, bend), (high, above, _) = (
        derivatives(at * np.float32(factor), gamma) for factor in (1 - 2**-6, 1, 1 + 2**-6)
    )
    np.testing.assert_allclose((high - low) / (at / 32), slope, rtol=2e-4)
    np.testing.assert_allclose((above - below) / (at / 32), bend, rtol=2e-4)


def derivatives(x: np.ndarray, gamma: float) -> tuple[np.ndarray, ...]:
    """Value, slope and bend of 0.5 x**gamma, float64."""
    value, slope, bend = np.zeros((3, len(x)), np.float32)
    contrast(x, np.float32(0.5), gamma, slope, bend, value)
    return value.astype(np.float64), slope.astype(np.float64), bend.astype(np.float64)
