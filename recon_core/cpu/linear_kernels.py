"""Loops over a block of voxels that minimise the prox of a linear contrast (numba, one core).

Every array is one-dimensional, as in :mod:`.volume_kernels`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import leaf

Array = NDArray[np.float32]

ALL_ACTIVE = np.float32(-1e30)  # a pull towards so low a contrast clips no element


@leaf
def prox_center(
    point: Array, slope: Array, inverse: np.float32, tv: np.float32, center: Array
) -> None:
    """Write the minimum of the prox without coupling and bound, point - (slope - tv div)/metric.

    Parameters
    ----------
    point : extrapolated iterate of one element, (voxel,).
    slope : gradient of the chemical term at ``point``, (voxel,).
    inverse : 1 / metric.
    tv : TV weight.
    center : div dual on entry, the minimum on return, (voxel,).
    """
    for j in range(center.size):
        center[j] = point[j] - (slope[j] - tv * center[j]) * inverse


@leaf
def start_pull(pull: Array) -> None:
    """Initialise the pull so low that every element is active.

    Parameters
    ----------
    pull : (voxel,), written.
    """
    for j in range(pull.size):
        pull[j] = ALL_ACTIVE


@leaf
def start_sums(u: Array, multiplier: Array, a: Array, b: Array) -> None:
    """Initialise the two sums over the active elements, a = multiplier - u and b = 1.

    Parameters
    ----------
    u : split variable of the coupling, (voxel,).
    multiplier : scaled multiplier d of the coupling, (voxel,).
    a, b : (voxel,), written.
    """
    for j in range(u.size):
        a[j] = multiplier[j] - u[j]
        b[j] = np.float32(1)


@leaf
def add_active(
    center: Array, weight: np.float32, lean: np.float32, pull: Array, a: Array, b: Array
) -> None:
    """Add an element to the sums where it is positive at the present pull.

    Parameters
    ----------
    center : its minimum without coupling, (voxel,).
    weight : contrast of the element.
    lean : rho weight / metric, what a unit of pull takes away.
    pull : estimate of w x + multiplier - u at the minimum, (voxel,).
    a, b : the sums, (voxel,), added to.
    """
    for j in range(center.size):
        # NaN is active, so that it spreads to all elements of its voxel
        on = np.float32(0) if center[j] <= lean * pull[j] else weight
        a[j] += on * center[j]
        b[j] += on * lean


@leaf
def pulled(center: Array, lean: np.float32, pull: Array, out: Array) -> None:
    """Write the minimum with coupling and bound.

    Parameters
    ----------
    center : minimum of one element without coupling, (voxel,).
    lean : rho weight / metric.
    pull : w x + multiplier - u at the minimum, (voxel,).
    out : (voxel,), written.
    """
    for j in range(center.size):
        out[j] = max(center[j] - lean * pull[j], np.float32(0))
