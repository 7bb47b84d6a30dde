"""The FFT filter of the CPU, in a workspace allocated once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import ducc0
import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Spectra = NDArray[np.complex64]

SLAB = 16  # slices at a time: their spectra stay in cache


@dataclass(frozen=True)
class SlabFilter:
    """Filter that multiplies the spectrum over (z, y) of a volume by a response, on every core.

    Slabs of slices are shared among threads, each of which transforms its own alone: ducc0's own
    threads would share the lines of a slab, and the last digit of a line depends on its share. Not
    thread-safe: calls share the workspace of spectra.

    Parameters
    ----------
    response : real factors of the half spectrum, (z, y // 2 + 1, 1), float32.

    Examples
    --------
    >>> import numpy as np
    >>> volume, out = np.ones((2, 4, 4, 3), np.float32), np.empty((2, 4, 4, 3), np.float32)
    >>> SlabFilter(np.full((4, 3, 1), 2, np.float32))(volume, out)
    >>> float(out.min()), float(out.max())
    (2.0, 2.0)
    """

    response: Array
    _spectra: dict[tuple[int, int], Spectra] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __call__(self, volume: Array, out: Array) -> None:
        """Filter ``volume`` (..., z, y, x) into ``out``, another array of the same shape."""
        leads, starts = np.ndindex(volume.shape[:-3]), range(0, volume.shape[-1], SLAB)
        slabs = [(*lead, ..., slice(x, x + SLAB)) for lead in leads for x in starts]
        threads = min(numba.get_num_threads(), len(slabs))

        def work(thread: int) -> None:
            # a fixed share per thread: which slabs it transforms never depends on timing
            for slab in slabs[thread::threads]:
                self._filter(volume[slab], out[slab], thread)

        if threads > 1:
            list(_pool(threads).map(work, range(threads)))
        elif slabs:
            work(0)

    @property
    def workspace_bytes(self) -> int:
        """Memory of the spectra allocated so far, bytes."""
        return sum(spectra.nbytes for spectra in self._spectra.values())

    def _filter(self, slab: Array, out: Array, thread: int) -> None:
        # a real response: multiply real and imaginary parts as float32, half the work
        spectra = self._workspace(thread, slab.shape[-1])
        ducc0.fft.r2c(slab, (0, 1), out=spectra, nthreads=1)
        spectra.view(np.float32)[...] *= self.response
        ducc0.fft.c2r(
            spectra,
            (0, 1),
            lastsize=slab.shape[1],
            forward=False,
            inorm=2,  # over the number of voxels
            out=out,
            nthreads=1,
            allow_overwriting_input=True,
        )

    def _workspace(self, thread: int, width: int) -> Spectra:
        """Spectra of one thread for slabs of one width, allocated at the first call."""
        if (thread, width) not in self._spectra:
            shape = (*self.response.shape[:2], width)
            self._spectra[thread, width] = np.empty(shape, np.complex64)
        return self._spectra[thread, width]


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
