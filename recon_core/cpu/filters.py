"""The FFT filter of the CPU, in working memory made once."""

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
    """Multiplies spectra over (z, y) by ``response`` (z, y//2 + 1, 1), every core given.

    Slabs of slices are shared among threads, each of which transforms its own alone: ducc0's
    threads would share the lines of a slab, and the last digit of a line depends on its share.
    One call at a time: a thread's spectra are made once.
    """

    response: Array
    _spectra: dict[tuple[int, int], Spectra] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __call__(self, volume: Array, out: Array) -> None:
        """Filter ``volume`` (..., z, y, x) to ``out``."""
        leads, starts = np.ndindex(volume.shape[:-3]), range(0, volume.shape[-1], SLAB)
        slabs = [(*lead, ..., slice(x, x + SLAB)) for lead in leads for x in starts]
        threads = min(numba.get_num_threads(), len(slabs))

        def work(thread: int) -> None:
            for slab in slabs[thread::threads]:
                self._filter(volume[slab], out[slab], thread)

        if threads > 1:
            list(_pool(threads).map(work, range(threads)))
        elif slabs:
            work(0)

    def _filter(self, slab: Array, out: Array, thread: int) -> None:
        spectra = self._room(thread, slab.shape[-1])
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

    def _room(self, thread: int, width: int) -> Spectra:
        if (thread, width) not in self._spectra:
            shape = (*self.response.shape[:2], width)
            self._spectra[thread, width] = np.empty(shape, np.complex64)
        return self._spectra[thread, width]


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
