"""Amounts of a reconstruction against the truth: totals, haze and level, which NRMSE does not see.

Volumes are ``(element, z, y, x)``; every score is one number per element, NaN where the truth holds
nothing to compare with. Sums are taken in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

HAZE_DISTANCE = 2  # voxels from the element's own matter: what lies farther is no blurred edge


def totals(volumes: Array, truth: Array) -> tuple[float, ...]:
    """Compute the reconstructed amount of each element over the true one.

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x), in the unit of ``truth``.
    truth : true concentrations, same shape.

    Returns
    -------
    tuple of float : 1 for the right amount, whatever its distribution.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.ones((1, 2, 2, 2), np.float32)
    >>> totals(1.5 * truth, truth)
    (1.5,)
    """
    return tuple(_ratio(_sum(v), _sum(t)) for v, t in zip(volumes, truth, strict=True))


def haze(volumes: Array, truth: Array) -> tuple[float, ...]:
    """Compute the fraction of each element that lies away from its particles.

    Away is more than :data:`HAZE_DISTANCE` steps between voxels that share a face.

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x), any unit.
    truth : true concentrations, same shape.

    Returns
    -------
    tuple of float : 0 for an element that is only where it should be, at most 1; NaN for an empty
        volume.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.zeros((1, 1, 1, 8), np.float32)
    >>> truth[..., 0] = 1
    >>> haze(np.ones_like(truth), truth)
    (0.625,)
    """
    return tuple(_away(v, t) for v, t in zip(volumes, truth, strict=True))


def level(volumes: Array, truth: Array) -> tuple[float, ...]:
    """Compute the mean inside the particles of each element over the true one.

    Inside is where the truth exceeds half its maximum, less one voxel at the surface.

    Parameters
    ----------
    volumes : reconstructed concentrations, (element, z, y, x), in the unit of ``truth``.
    truth : true concentrations, same shape.

    Returns
    -------
    tuple of float : 1 for the right level; NaN where no particle is three voxels thick.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.zeros((1, 5, 5, 5), np.float32)
    >>> truth[:, 1:4, 1:4, 1:4] = 1
    >>> round(level(np.float32(0.8) * truth, truth)[0], 6)
    0.8
    """
    return tuple(_inside(v, t) for v, t in zip(volumes, truth, strict=True))


def _away(volume: Array, truth: Array) -> float:
    near = ndimage.binary_dilation(truth > 0, iterations=HAZE_DISTANCE)
    return _ratio(_sum(volume[~near]), _sum(volume))


def _inside(volume: Array, truth: Array) -> float:
    core = ndimage.binary_erosion(truth > 0.5 * truth.max())
    return _ratio(_sum(volume[core]), _sum(truth[core]))


def _sum(values: Array) -> float:
    return float(values.sum(dtype=np.float64))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
