"""The filter of the CPU against a transform of the whole volume."""

from __future__ import annotations

import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recon_conformance import SHORT
from scipy import fft

from recon_core.filters import SLAB, SlabFilter

LEADS = st.sampled_from([(), (1,), (3,), (2, 3)])


def case(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A volume, and a response that is no symmetric filter's either."""
    random = np.random.default_rng(0)
    volume = random.standard_normal(shape).astype(np.float32)
    return volume, random.uniform(0.1, 1, (shape[-3], shape[-2] // 2 + 1, 1)).astype(np.float32)


@SHORT
@given(LEADS, st.integers(1, 20), st.integers(1, 20), st.integers(1, 2 * SLAB + 3))
def test_it_multiplies_the_spectrum(lead: tuple[int, ...], z: int, y: int, x: int) -> None:
    volume, response = case((*lead, z, y, x))
    before, out = volume.copy(), np.full_like(volume, np.nan)
    SlabFilter(response)(volume, out)
    spectra = fft.rfft2(volume.astype(np.float64), axes=(-3, -2)) * response
    expected = fft.irfft2(spectra, s=(z, y), axes=(-3, -2))
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_array_equal(volume, before)


def test_every_slice_is_filtered_for_itself() -> None:
    """Neither the batch nor the slab decides what comes out."""
    volume, response = case((2, 8, 6, SLAB + 5))
    together, alone = np.empty_like(volume), np.empty_like(volume[:1])
    act = SlabFilter(response)
    act(volume, together)
    act(volume[1:], alone)
    np.testing.assert_array_equal(together[1:], alone)


@pytest.mark.parametrize("threads", range(1, numba.config.NUMBA_NUM_THREADS + 1))
def test_threads_change_nothing(threads: int) -> None:
    volume, response = case((16, 12, SLAB))
    few, more = np.empty_like(volume), np.empty_like(volume)
    act, given = SlabFilter(response), numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        act(volume, few)
        numba.set_num_threads(threads)
        act(volume, more)
    finally:
        numba.set_num_threads(given)
    np.testing.assert_array_equal(few, more)


def test_a_call_allocates_nothing() -> None:
    volume, response = case((64, 64, 2 * SLAB))
    out, act = np.empty_like(volume), SlabFilter(response)
    act(volume, out)
    tracemalloc.start()
    try:
        act(volume, out)
        assert tracemalloc.get_traced_memory()[1] < 0.05 * volume.nbytes
    finally:
        tracemalloc.stop()
