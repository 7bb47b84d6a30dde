"""The FFT filter of the CPU, in working memory made once."""

from __future__ import annotations

from dataclasses import dataclass, field

import ducc0
import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SLAB = 32  # slices at a time: their spectra stay in cache


@dataclass(frozen=True)
class SlabFilter:
    """Multiplies spectra over (z, y) by ``response`` (z, y//2 + 1, 1), every core given.

    One call at a time: slabs of slices share one array of spectra.
    """

    response: Array
    _spectra: NDArray[np.complex64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spectra = np.empty((*self.response.shape[:2], SLAB), np.complex64)
        object.__setattr__(self, "_spectra", spectra)

    def __call__(self, volume: Array, out: Array) -> None:
        """Filter ``volume`` (..., z, y, x) to ``out``."""
        for lead in np.ndindex(volume.shape[:-3]):
            for x in range(0, volume.shape[-1], SLAB):
                self._filter(volume[lead][..., x : x + SLAB], out[lead][..., x : x + SLAB])

    def _filter(self, slab: Array, out: Array) -> None:
        spectra, threads = self._spectra[..., : slab.shape[-1]], numba.get_num_threads()
        ducc0.fft.r2c(slab, (0, 1), out=spectra, nthreads=threads)
        spectra.view(np.float32)[...] *= self.response
        ducc0.fft.c2r(
            spectra,
            (0, 1),
            lastsize=slab.shape[1],
            forward=False,
            inorm=2,  # over the number of voxels
            out=out,
            nthreads=threads,
            allow_overwriting_input=True,
        )
