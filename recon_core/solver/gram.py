"""The u-step of the splitting: (A^T A + ridge) u = f by preconditioned descent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ..device import Device, Filter
from ..projection import Projector

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Gram:
    """The operator A^T A + ridge on volumes (trial, z, y, x), with an approximate inverse.

    A^T A of parallel tilts is nearly a convolution across the tilt axis with the back-projected
    point spread. Dividing by its Fourier transform plus the ridge is the ramp filter of filtered
    back-projection, regularised; as preconditioner it makes one step per iteration enough.

    Parameters
    ----------
    device : where the arrays are.
    projector : A, of the HAADF tilts.
    ridge : multiple of the identity, in units of A^T A.
    precondition : writes the filtered first argument, (..., z, y, x), to the second; symmetric and
        positive.
    """

    device: Device
    projector: Projector
    ridge: np.float32
    precondition: Filter

    def descend(
        self, solution: Array, residual: Array, rays: Array, direction: Array, image: Array
    ) -> None:
        """Take one preconditioned steepest-descent step of exact length.

        Parameters
        ----------
        solution : u, (trial, z, y, x), updated.
        residual : f - (A^T A + ridge) u, like ``solution``, kept up to date.
        rays : workspace, (trial, angle, y, x).
        direction, image : workspace, like ``solution``.
        """
        kernels, xp = self.device.kernels, self.device.xp
        # direction = ramp filter of the residual
        self.precondition(residual, direction)
        self.projector.adjoint(self.projector.forward(direction, out=rays), out=image)
        flat = (len(solution), -1, solution.shape[-1])
        r, d, a = (array.reshape(flat) for array in (residual, direction, image))
        # exact line search along it, one length per trial
        sums = kernels.descent_products(r, d, a, self.ridge).sum(axis=1)
        gain, bend = sums[:, 0], sums[:, 1]
        # NaN stays NaN; nothing left to descend is a step of 0
        length = xp.where(bend == 0, 0.0, gain / xp.where(bend == 0, 1.0, bend))
        kernels.descend(length.astype(np.float32), d, a, self.ridge, solution.reshape(flat), r)


def gram_of(device: Device, projector: Projector, ridge: float) -> Gram:
    """Build the Gram operator of a projector.

    Parameters
    ----------
    device : where it is applied.
    projector : of the HAADF projections, on that device.
    ridge : in units of ||A||^2.

    Returns
    -------
    Gram : its spectrum and norm are computed once per process, device and projector.
    """
    spectrum, norm = _spectrum(device, projector)
    inverse = (1.0 / (spectrum + ridge * norm)).astype(np.float32)
    precondition = device.filter(device.put(inverse[..., None]))
    return Gram(device, projector, np.float32(ridge * norm), precondition)


@lru_cache(maxsize=16)
def _spectrum(device: Device, projector: Projector) -> tuple[NDArray[np.float64], float]:
    """Fourier transform of the point spread of A^T A, (z, y//2 + 1), and ||A||^2."""
    z, y = projector.geometry.shape
    point = np.zeros((z, y, 1), np.float32)
    point[z // 2, y // 2] = 1
    # the response to a point in the middle stands for all voxels
    image = device.get(projector.adjoint(projector.forward(device.put(point))))
    spread = np.roll(image[:, :, 0].astype(np.float64), (-(z // 2), -(y // 2)), (0, 1))
    # rounding at the faces leaves the spread slightly uneven: its even part has a real spectrum
    spread = 0.5 * (spread + np.roll(spread[::-1, ::-1], (1, 1), (0, 1)))
    spectrum = fft.rfft2(spread).real
    # the missing wedge has no response: a floor keeps the preconditioner bounded
    return np.maximum(spectrum, 1e-4 * spectrum.max()), _squared_norm(device, projector)


def _squared_norm(device: Device, projector: Projector, steps: int = 20) -> float:
    """Largest eigenvalue of A^T A by power iteration on one slice: all share the matrix."""
    volume = device.xp.ones((*projector.geometry.shape, 1), np.float32)
    norm = 1.0
    for _ in range(steps):
        volume = projector.adjoint(projector.forward(volume))
        norm = float(np.linalg.norm(device.get(volume)))  # of one slice: little to copy
        volume /= np.float32(norm)
    return norm
