"""The linear half of the splitting: (A^T A + ridge) u = f by preconditioned descent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from recon_core.geometry import TiltGeometry
from recon_core.kernels import dot
from recon_core.projector import SparseProjector, cached_projector

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Gram:
    """A^T A + ridge on volumes (z, y, x), with the inverse of its circulant twin.

    A^T A of parallel tilts is nearly a convolution across the tilt axis, the back-projected point
    spread; its Fourier transform, plus the ridge, divided out, is the ramp filter of
    filtered back-projection and makes one step per iteration enough.
    """

    projector: SparseProjector
    ridge: float
    inverse: Array

    def apply(self, volume: Array) -> Array:
        """(A^T A + ridge) volume."""
        out = self.projector.adjoint(self.projector.forward(volume))
        out += np.float32(self.ridge) * volume
        return out

    def precondition(self, volume: Array) -> Array:
        """Approximate inverse of :meth:`apply`, by FFT over (z, y); symmetric and positive."""
        spectrum = fft.rfft2(volume, axes=(0, 1))
        spectrum *= self.inverse
        out: Array = fft.irfft2(spectrum, s=volume.shape[:2], axes=(0, 1), overwrite_x=True)
        return out

    def descend(self, solution: Array, residual: Array) -> None:
        """One preconditioned steepest-descent step of exact length, both arrays in place.

        ``residual`` is f - (A^T A + ridge) solution; it stays so.
        """
        direction = self.precondition(residual)
        image = self.apply(direction)
        bend = _inner(direction, image)
        if bend > 0.0:
            length = np.float32(_inner(residual, direction) / bend)
            solution += length * direction
            residual -= length * image


def gram_of(geometry: TiltGeometry, ridge: float) -> Gram:
    """The Gram operator of a geometry with ``ridge`` times ||A||^2 on its diagonal."""
    spectrum, norm = _spectrum(geometry)
    inverse = 1.0 / (spectrum + ridge * norm)
    return Gram(cached_projector(geometry), ridge * norm, inverse[:, :, None].astype(np.float32))


@lru_cache(maxsize=16)
def _spectrum(geometry: TiltGeometry) -> tuple[NDArray[np.float64], float]:
    """Fourier transform of the point spread of A^T A, (z, y//2 + 1), and ||A||^2."""
    projector = cached_projector(geometry)
    z, y = geometry.shape
    point = np.zeros((z, y, 1), np.float32)
    point[z // 2, y // 2] = 1
    spread = projector.adjoint(projector.forward(point))[:, :, 0].astype(np.float64)
    spread = np.roll(spread, (-(z // 2), -(y // 2)), (0, 1))
    # rounding at the faces leaves the spread slightly uneven: its even part has a real spectrum
    spread = 0.5 * (spread + np.roll(spread[::-1, ::-1], (1, 1), (0, 1)))
    spectrum = fft.rfft2(spread).real
    return np.maximum(spectrum, 1e-4 * spectrum.max()), _squared_norm(projector)


def _squared_norm(projector: SparseProjector, steps: int = 20) -> float:
    volume = np.ones((*projector.geometry.shape, 1), np.float32)
    norm = 1.0
    for _ in range(steps):
        volume = projector.adjoint(projector.forward(volume))
        norm = float(np.linalg.norm(volume))
        volume /= np.float32(norm)
    return norm


def _inner(a: Array, b: Array) -> float:
    width = a.shape[-1]
    return float(dot(a.reshape(-1, width), b.reshape(-1, width)).sum())
