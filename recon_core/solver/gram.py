"""The u-step of the splitting: (A^T A + ridge) u = f by conjugate steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ..device import Device, Filter
from ..projection import Projector

Array = NDArray[np.float32]


PARALLEL = 1e-6  # share of the area that two directions would span if they were conjugate


class Line(NamedTuple):
    """A direction of the u-step.

    Parameters
    ----------
    direction : (trial, z, y, x).
    image : A^T A applied to it.
    """

    direction: Array
    image: Array


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
        self, solution: Array, residual: Array, rays: Array, along: Line, last: Line, restart: bool
    ) -> None:
        """Step to the minimum in the plane of the preconditioned residual and of the last step.

        For a fixed right-hand side these are preconditioned conjugate gradients. That of the u-step
        moves with every iteration, and the memory of a step that answered an older one has to
        end: without restarts a solve swings up within a hundred iterations.

        Parameters
        ----------
        solution : u, (trial, z, y, x), updated.
        residual : f - (A^T A + ridge) u, like ``solution``, kept up to date.
        rays : workspace, (trial, angle, y, x).
        along : workspace, each like ``solution``.
        last : the last step, updated; zeros before the first.
        restart : leave the last step out.
        """
        kernels = self.device.kernels
        # direction = ramp filter of the residual
        self.precondition(residual, along.direction)
        self.projector.adjoint(self.projector.forward(along.direction, out=rays), out=along.image)
        flat = (len(solution), -1, solution.shape[-1])
        lines = [array.reshape(flat) for array in (*along, *last)]
        r = residual.reshape(flat)
        products = kernels.plane_products(r, *lines, self.ridge).sum(axis=1)
        lengths = _lengths(self.device.xp, products, restart)
        kernels.descend(lengths, *lines, self.ridge, solution.reshape(flat), r)


def _lengths(xp: Any, products: NDArray[np.float64], restart: bool) -> Array:
    """Solve for the minimum in the plane, one pair of lengths per trial, (trial, 2).

    Along the new direction alone where the two are parallel to rounding, or there is no last step.
    """
    gain, gain_last, bend, across, bend_last = products.T
    area = bend * bend_last - across**2
    plane = (area > PARALLEL * bend * bend_last) & (not restart)
    # NaN stays NaN; nothing left to descend is a step of 0
    line = xp.where(bend == 0, 0.0, gain / xp.where(bend == 0, 1.0, bend))
    area = xp.where(plane, area, 1.0)
    both = (bend_last * gain - across * gain_last) / area, (bend * gain_last - across * gain) / area
    lengths = xp.stack([xp.where(plane, both[0], line), xp.where(plane, both[1], 0.0)], axis=1)
    return lengths.astype(np.float32)  # type: ignore[no-any-return]


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
    geometry = projector.geometry
    # shifts, a small rotation and bad pixels leave the spectrum nearly as it is
    single = device.projector(geometry.still) if geometry.mixes_slices else projector
    spectrum, norm = _spectrum(device, single)
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
