"""Pixels of projections: sums of two by two, and good ones in place of bad ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .geometry import Mask

Array = NDArray[np.float32]

AROUND = 5  # pixels: edge of the square whose mean stands for a bad pixel


def seen_tilts(mask: Mask | None, tilts: int) -> list[int]:
    """Return the indices of the tilts that have a good pixel; all of them, if none has.

    Parameters
    ----------
    mask : good pixels, (angle, y, x); None if all are.
    tilts : how many there are.
    """
    if mask is None or not mask.bits.strip(b"\0"):
        return list(range(tilts))
    return [int(i) for i in np.flatnonzero(mask.array().any(axis=(1, 2)))]


def filled(images: Array, good: NDArray[np.bool_]) -> Array:
    """Replace bad pixels by the mean of the good ones around them.

    Parameters
    ----------
    images : (image, y, x).
    good : like ``images``.

    Returns
    -------
    array : like ``images``; those without a good pixel become 0.
    """
    filled = images.copy()
    for image, known, out in zip(images, good, filled, strict=True):
        bad = ~known
        # Values and weights are filtered alike, so that bad pixels drop out of their ratio; below
        # 1e-9 is what a running sum leaves of 0.
        weight = ndimage.uniform_filter(known.astype(np.float64), AROUND, mode="constant")
        total = ndimage.uniform_filter(np.where(known, image, 0.0), AROUND, mode="constant")
        mean = float(image[known].mean()) if known.any() else 0.0
        beside = np.divide(total, weight, out=np.full(image.shape, mean), where=weight > 1e-9)
        out[bad] = beside[bad]
    return filled


def binned_mask(mask: Mask | None) -> Mask | None:
    """Return the mask of 2 x 2 pixels: good where all of them are.

    Parameters
    ----------
    mask : good pixels, (angle, y, x); None if all are.
    """
    if mask is None:
        return None
    bad = (~mask.array()).astype(np.float32)
    return Mask.of(binned(bad, np.float32(0)) == 0)


def binned(projections: Array, level: Array | np.float32) -> Array:
    """Sum over 2 x 2 pixels; half a pixel of background lies beyond an odd edge.

    Parameters
    ----------
    projections : (..., y, x).
    level : background of a pixel, that broadcasts to ``projections``.

    Examples
    --------
    >>> binned(np.ones((1, 3, 4), np.float32), np.float32(0))
    array([[[3., 3.],
            [3., 3.]]], dtype=float32)
    """
    *lead, y, x = projections.shape
    if y % 2 or x % 2:
        along_x = _halved(projections, level)
        along_y = _halved(along_x.swapaxes(-1, -2), np.float32(2) * level)
        return np.ascontiguousarray(along_y.swapaxes(-1, -2))
    pairs = projections.reshape(*lead, y // 2, 2, x // 2, 2)
    sums: Array = pairs.sum(axis=(-3, -1), dtype=np.float32)
    return sums


def _halved(projections: Array, level: Array | np.float32) -> Array:
    """Sum pairs of pixels along the last axis; of an odd one, halves of both neighbours as well."""
    *lead, n = projections.shape
    if n % 2 == 0:
        pairs: Array = projections.reshape(*lead, n // 2, 2).sum(axis=-1, dtype=np.float32)
        return pairs
    beside = np.broadcast_to(level, (*lead, 1))
    wide = np.concatenate([beside, projections, beside], axis=-1)
    # An odd edge is binned about its middle, as the coarse grid lies: each sum takes a whole pixel
    # and half of both its neighbours.
    halves: Array = 0.5 * (wide[..., :-2:2] + wide[..., 2::2]) + wide[..., 1:-1:2]
    return halves.astype(np.float32)
