"""The filter of the CPU against a transform of the whole volume."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recon_conformance import SHORT
from scipy import fft

from tomoatlas.recon_core.cpu.filters import SLAB, SlabFilter

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


def test_the_batch_decides_nothing() -> None:
    volume, response = case((2, 8, 6, SLAB + 5))
    together, alone = np.empty_like(volume), np.empty_like(volume[:1])
    act = SlabFilter(response)
    act(volume, together)
    act(volume[1:], alone)
    np.testing.assert_array_equal(together[1:], alone)


@pytest.mark.usefixtures("wide_pool")
@pytest.mark.parametrize("shape", [(64, 64, 37), (2, 48, 50, 64), (5, 3, 1)])
def test_threads_change_nothing(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also more of them than cores, and ducc0's own, whose share decides the last digit."""
    volume, response = case(shape)
    results = []
    for threads in (1, 2, 3, 5, 8):
        monkeypatch.setattr(numba, "get_num_threads", lambda n=threads: n)
        results.append(np.empty_like(volume))
        SlabFilter(response)(volume, results[-1])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_an_error_of_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, response = case((6, 8, 3 * SLAB))
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)
    with pytest.raises(RuntimeError, match="dimension"):
        SlabFilter(response[:, :-1])(volume, np.empty_like(volume))


GROWTH = """
from pathlib import Path
import numpy as np
from tomoatlas.recon_core.cpu.filters import SlabFilter

def peak():  # kB; that of getrusage begins at the parent's
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

# What numba and ducc0 load with their first call is not the transform's.
small = np.ones((8, 8, 8), np.float32)
SlabFilter(np.ones((8, 5, 1), np.float32))(small, np.ones_like(small))

volume = np.ones((512, 512, 64), np.float32)
out, act = np.ones_like(volume), SlabFilter(np.ones((512, 257, 1), np.float32))
before = peak()
act(volume, out)
print(1024 * (peak() - before) / act.workspace_bytes)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux reports the peak memory"
)
def test_the_transform_allocates_nothing_either() -> None:
    """What Python's count of memory does not see: no more than its spectra, made once."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", GROWTH]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert 0.8 < float(run.stdout) < 1.3  # the kernel counts pages in batches for each core


def test_a_call_allocates_nothing() -> None:
    volume, response = case((64, 64, 2 * SLAB))
    out, act = np.empty_like(volume), SlabFilter(response)
    act(volume, out)
    tracemalloc.start()
    try:
        act(volume, out)
        assert tracemalloc.get_traced_memory()[1] < 0.1 * volume.nbytes
    finally:
        tracemalloc.stop()
