"""Pixels that no detector recorded: borders that a program filled in, scale bars, dead rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Values = NDArray[np.float64]
Good = NDArray[np.bool_]

FEWEST_TILTS = 5  # at which a pixel shows that it never changes
LEAST_SIDE = 0.5  # of the shorter edge: pixels of one value at a border
MOST = 0.5  # of an image: more is vacuum that somebody set to a value
REPEATED = 0.02  # of the pixels besides: a value as frequent there fills nothing
DARK = 0.2  # quantile of the pixels, each averaged over a square, that are vacuum if any is
SMOOTH = 3  # pixels: edge of that square
FLAT = 0.1  # of the distance of vacuum from the value: it rises by less, FARTHER from a filling
FARTHER = 2  # pixels
ALIKE = 0.3  # of that distance, at all tilts: that of a slab grows with the tilt
BRIGHT = 0.6  # of the brightest pixels: specimen that begins at the value, and is no vacuum
MIXED = 2  # pixels beside a filling, at most, that interpolation has mixed with it


def padded_pixels(images: Array, known: Good | None = None) -> Good:
    """Find borders of one value, and pixels of one at every tilt, beside vacuum of another one.

    Vacuum that was set to 0, or shows no count, is none of them: beside it the specimen begins,
    which is not flat, or grows thicker with the tilt.

    Parameters
    ----------
    images : (angle, y, x), any unit; each may have its own value.
    known : pixels that a mask does not leave out already, like ``images``; None means all.

    Returns
    -------
    array : True where a pixel was filled in, or mixed with such a one, like ``images``.

    Examples
    --------
    >>> images = np.random.default_rng(0).poisson(100.0, (5, 32, 32)).astype(np.float32)
    >>> images[:, 12:20, 12:20] += 400
    >>> images[2, :4] = 0
    >>> padded_pixels(images).sum(axis=(1, 2)).tolist()
    [0, 0, 128, 0, 0]
    """
    alone = np.array([_one_value(image) for image in images]).reshape(images.shape)
    still = np.broadcast_to(_unchanging(images), images.shape)
    seen = np.ones(images.shape, np.bool_) if known is None else known
    found: Good = _off_vacuum(images, alone, seen) | _off_vacuum(images, still, seen)
    return found


def _off_vacuum(images: Array, filled: Good, seen: Good) -> Good:
    """Pixels that may be filled in, and are: beside vacuum of another value."""
    filled = filled & (filled & seen).any(axis=(1, 2), keepdims=True)
    padded = filled.any(axis=(1, 2))
    if not padded.any():
        return filled
    pairs = zip(images[padded], filled[padded], strict=True)
    values = np.empty((len(images), 1, 1))
    values[padded, 0, 0] = [np.median(image[pixels]) for image, pixels in pairs]
    values[~padded] = values[padded].mean()
    distances = np.array([_distances(each) for each in filled])
    again = (images == values)[distances > 0]
    above = images.astype(np.float64) - values
    smooth = ndimage.uniform_filter(above, (0, SMOOTH, SMOOTH))
    if again.mean() > REPEATED or not _beside_vacuum(smooth, distances):
        return np.zeros_like(filled)
    found: Good = distances <= _mixed(above, distances)
    return found


def _unchanging(images: Array) -> Good:
    """Pixels of one value at every tilt: a scale bar, a dead row, (y, x); none of a few tilts."""
    nothing = np.zeros(images.shape[1:], np.bool_)
    if len(images) < FEWEST_TILTS:
        return nothing
    found: Good = images.min(axis=0) == images.max(axis=0)
    return found if found.mean() <= MOST else nothing


def _one_value(image: Array) -> Good:
    """The pixels of the most frequent value at the border that hang together with it."""
    border = np.ones(image.shape, np.bool_)
    border[1:-1, 1:-1] = False
    values, counts = np.unique(image[border], return_counts=True)
    nothing = np.zeros(image.shape, np.bool_)
    least = LEAST_SIDE * min(image.shape)
    # the largest value is that of a full detector
    if not counts.size or counts.max() < least or values[counts.argmax()] == image.max():
        return nothing
    parts, _ = ndimage.label(image == values[counts.argmax()])
    large = np.flatnonzero(np.bincount(parts.ravel()) >= least)
    found: Good = np.isin(parts, np.setdiff1d(np.intersect1d(parts[border], large), [0]))
    return found if found.mean() <= MOST else nothing


def _distances(filled: Good) -> Values:
    """Steps of every pixel, diagonal ones too, from the filling of an image; many without one."""
    if not filled.any():
        return np.full(filled.shape, np.inf)
    steps: Values = ndimage.distance_transform_cdt(~filled, "chessboard").astype(np.float64)
    return steps


def _beside_vacuum(above: Values, distances: Values) -> bool:
    """Whether images that are smooth, less what fills them, have flat vacuum beside the filling."""
    beyond = distances > MIXED + 1
    levels = [np.quantile(a[b], DARK) for a, b in zip(above, beyond, strict=True) if b.any()]
    level = float(np.mean(levels))
    near, far = (above[distances == MIXED + 2 + more] for more in (0, FARTHER))
    if not (near.size and far.size):
        return False
    rise = float(np.quantile(far, DARK) - np.quantile(near, DARK))
    bright = float(np.quantile(above[beyond], 0.99))
    flat = abs(rise) <= FLAT * abs(level) and np.ptp(levels) <= ALIKE * abs(level)
    return bool(flat and level < BRIGHT * bright)


def _mixed(above: Values, distances: Values) -> int:
    """Steps from the filling within which images, less its value, are not yet at their vacuum."""
    level = float(np.quantile(above[distances > MIXED], DARK))
    for steps in range(MIXED):
        beside = above[distances == steps + 1]
        if abs(float(np.quantile(beside, DARK)) - level) <= FLAT * abs(level):
            return steps
    return MIXED
