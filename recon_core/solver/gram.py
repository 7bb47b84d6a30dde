"""The linear half of the splitting: (A^T A + ridge) u = f by preconditioned descent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ..device import Device, Filter
from ..geometry import TiltGeometry
from ..projection import Projector

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Gram:
    """A^T A + ridge on volumes (trial, z, y, x), with the inverse of its circulant twin.

    A^T A of parallel tilts is nearly a convolution across the tilt axis, the back-projected point
    spread; its Fourier transform, plus the ridge, divided out, is the ramp filter of
    filtered back-projection and makes one step per iteration enough: ``precondition`` writes that
    of its first argument to its second, by FFT over (z, y); symmetric and positive.
    """

    device: Device
    projector: Projector
    ridge: np.float32
    precondition: Filter

    def descend(
        self, solution: Array, residual: Array, rays: Array, direction: Array, image: Array
    ) -> None:
        """One preconditioned steepest-descent step of exact length, the first two in place.

        ``residual`` is f - (A^T A + ridge) solution; it stays so. ``rays`` (trial, angle, y, x),
        ``direction`` and ``image``, like ``solution``, are working memory.
        """
        kernels, xp = self.device.kernels, self.device.xp
        self.precondition(residual, direction)
        self.projector.adjoint(self.projector.forward(direction, out=rays), out=image)
        flat = (len(solution), -1, solution.shape[-1])
        r, d, a = (array.reshape(flat) for array in (residual, direction, image))
        sums = kernels.descent_products(r, d, a, self.ridge).sum(axis=1)
        gain, bend = sums[:, 0], sums[:, 1]
        # NaN stays NaN; nothing left to descend is a step of 0
        length = xp.where(bend == 0, 0.0, gain / xp.where(bend == 0, 1.0, bend))
        kernels.descend(length.astype(np.float32), d, a, self.ridge, solution.reshape(flat), r)


def gram_of(device: Device, geometry: TiltGeometry, ridge: float) -> Gram:
    """The Gram operator of a geometry with ``ridge`` times ||A||^2 on its diagonal."""
    spectrum, norm = _spectrum(device, geometry)
    inverse = (1.0 / (spectrum + ridge * norm)).astype(np.float32)
    precondition = device.filter(device.put(inverse[..., None]))
    return Gram(device, device.projector(geometry), np.float32(ridge * norm), precondition)


@lru_cache(maxsize=16)
def _spectrum(device: Device, geometry: TiltGeometry) -> tuple[NDArray[np.float64], float]:
    """Fourier transform of the point spread of A^T A, (z, y//2 + 1), and ||A||^2."""
    projector = device.projector(geometry)
    z, y = geometry.shape
    point = np.zeros((z, y, 1), np.float32)
    point[z // 2, y // 2] = 1
    image = device.get(projector.adjoint(projector.forward(device.put(point))))
    spread = np.roll(image[:, :, 0].astype(np.float64), (-(z // 2), -(y // 2)), (0, 1))
    # rounding at the faces leaves the spread slightly uneven: its even part has a real spectrum
    spread = 0.5 * (spread + np.roll(spread[::-1, ::-1], (1, 1), (0, 1)))
    spectrum = fft.rfft2(spread).real
    return np.maximum(spectrum, 1e-4 * spectrum.max()), _squared_norm(device, projector)


def _squared_norm(device: Device, projector: Projector, steps: int = 20) -> float:
    volume = device.xp.ones((*projector.geometry.shape, 1), np.float32)
    norm = 1.0
    for _ in range(steps):
        volume = projector.adjoint(projector.forward(volume))
        norm = float(np.linalg.norm(device.get(volume)))  # of one slice: little to copy
        volume /= np.float32(norm)
    return norm
