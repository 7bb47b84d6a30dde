"""Images turned and shifted along the tilt axis, and the exact transpose of that.

The product of the slice's matrix leaves images in the frame of the tilt axis, their shift across
it included. What mixes slices comes after it: with the pixel (y, x) counted from the middle of the
image, its value is interpolated at

    row = y cos(rotation) - x sin(rotation),  column = x cos + y sin - shift along the axis.

The weights are those of a Lanczos window (Duchon, J. Appl. Meteorol. 18, 1016 (1979)), scaled to a
sum of 1: shorter kernels blur each image by another amount, which a reconstruction shows
(``tests/benchmarks/RESULTS.md``). Beyond the edges lies vacuum. A pixel that a mask leaves out is
0. Each image is one thread's, so that results do not depend on threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

from ..cpu import jit, leaf
from ..geometry import TiltGeometry

Array = NDArray[np.float32]
Values = NDArray[np.float64]

LOBES = 3  # of the window on either side
TAPS = 2 * LOBES  # pixels along an axis that a value is interpolated from
FRACTIONS = 1024  # of a pixel: places to which those of a turned image are rounded


@dataclass(frozen=True)
class ImagePlacement:
    """Where the images of a geometry lie along x, and which of their pixels count.

    Parameters
    ----------
    geometry : tilts, placement and mask.

    Examples
    --------
    >>> from tomoatlas.recon_core.geometry import Placement
    >>> shifted = TiltGeometry((0.0,), (1, 1), Placement(((0.0, 1.0),)))
    >>> image = np.array([[[1.0, 2.0, 3.0]]], np.float32)
    >>> ImagePlacement(shifted).apply(image).tolist()
    [[[0.0, 1.0, 2.0]]]
    >>> ImagePlacement(shifted).transpose(image).tolist()
    [[[2.0, 3.0, 0.0]]]
    """

    geometry: TiltGeometry
    _along: Values = field(init=False, repr=False, compare=False)
    _good: NDArray[np.bool_] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        placement, mask = self.geometry.placement, self.geometry.mask
        along = [placement.along(i) for i in range(self.geometry.angles)]
        object.__setattr__(self, "_along", np.array(along))
        object.__setattr__(self, "_good", None if mask is None else mask.array())

    def apply(self, images: Array) -> Array:
        """Place images in the frame of the detector.

        Parameters
        ----------
        images : in the frame of the tilt axis, (..., angle, y, x).

        Returns
        -------
        array : like ``images``, new.
        """
        placed = self._moved(images, 1) if self.geometry.placement.mixes_slices else images
        return placed if self._good is None else np.where(self._good, placed, np.float32(0))

    def transpose(self, images: Array) -> Array:
        """Apply the exact transpose of :meth:`apply`.

        Parameters
        ----------
        images : in the frame of the detector, (..., angle, y, x).

        Returns
        -------
        array : like ``images``, new.
        """
        kept = images if self._good is None else np.where(self._good, images, np.float32(0))
        return self._moved(kept, -1) if self.geometry.placement.mixes_slices else kept

    def _moved(self, images: Array, sense: int) -> Array:
        """Shift or turn images; with the sense -1 the transpose of that."""
        flat, placement = images.reshape(-1, *images.shape[-3:]), self.geometry.placement
        moved = np.zeros_like(flat)
        if not placement.rotation_deg:
            left = np.floor(-self._along)
            _shift(flat, left.astype(np.int64), _weights(-self._along - left), sense, moved)
        else:
            _turn(flat, self._along, placement.direction, _table(), sense, moved)
        return moved.reshape(images.shape)


def _weights(fractions: Values) -> Array:
    """Weights of the pixels around places that far beyond one, (place, TAPS)."""
    away = np.arange(1 - LOBES, 1 + LOBES) - fractions[:, None]
    window = np.sinc(away) * np.sinc(away / LOBES)
    # exactly 1 and 0 at a pixel itself
    window[fractions == 0] = np.eye(1, TAPS, LOBES - 1)
    return np.asarray(window / window.sum(axis=1, keepdims=True), np.float32)


@cache
def _table() -> Array:
    """Weights at every fraction of a pixel, (FRACTIONS, TAPS)."""
    return _weights(np.arange(FRACTIONS) / FRACTIONS)


@jit
def _shift(images: Array, left: NDArray[np.int64], weights: Array, sense: int, out: Array) -> None:
    """Add to every pixel the interpolate of its row, ``left`` pixels and a fraction further."""
    lead, angles, height, _ = images.shape
    for task in numba.prange(lead * angles):
        e, a = task // angles, task % angles
        for y in range(height):
            for tap in range(TAPS):
                step = sense * (left[a] + 1 - LOBES + tap)
                if weights[a, tap] != 0:
                    _add_moved(images[e, a, y], weights[a, tap], step, out[e, a, y])


@leaf
def _add_moved(row: Array, weight: np.float32, step: int, out: Array) -> None:
    """Add the weighted pixels of a row that lie ``step`` further on."""
    for x in range(max(0, -step), min(row.size, row.size - step)):
        out[x] += weight * row[x + step]


@jit
def _turn(
    images: Array,
    along: Values,
    direction: tuple[float, float],
    table: Array,
    sense: int,
    out: Array,
) -> None:
    """Interpolate each pixel of turned and shifted images, or spread it: the transpose."""
    lead, angles, height, width = images.shape
    cosine, sine = direction
    for task in numba.prange(lead * angles):
        e, a = task // angles, task % angles
        image, result = images[e, a], out[e, a]
        for y in range(height):
            for x in range(width):
                down, right = y - 0.5 * (height - 1), x - 0.5 * (width - 1)
                row = _fixed(down * cosine - right * sine + 0.5 * (height - 1))
                column = _fixed(right * cosine + down * sine + 0.5 * (width - 1) - along[a])
                r, c = row // FRACTIONS + 1 - LOBES, column // FRACTIONS + 1 - LOBES
                rows, columns = table[row % FRACTIONS], table[column % FRACTIONS]
                if sense > 0:
                    result[y, x] = _gathered(image, r, c, rows, columns)
                else:
                    _spread(image[y, x], r, c, rows, columns, result)


@leaf
def _fixed(position: float) -> int:
    """Return a position in units of the table's fractions."""
    return int(np.floor(position * FRACTIONS + 0.5))


@leaf
def _gathered(image: Array, r: int, c: int, rows: Array, columns: Array) -> np.float32:
    """Sum the pixels from (r, c) on, each with its weights."""
    height, width = image.shape
    total = np.float32(0)
    if r >= 0 and c >= 0 and r + TAPS <= height and c + TAPS <= width:
        for i in range(TAPS):
            part = np.float32(0)
            for j in range(TAPS):
                part += columns[j] * image[r + i, c + j]
            total += rows[i] * part
        return total
    for i in range(max(0, -r), min(TAPS, height - r)):
        for j in range(max(0, -c), min(TAPS, width - c)):
            total += rows[i] * columns[j] * image[r + i, c + j]
    return total


@leaf
def _spread(value: np.float32, r: int, c: int, rows: Array, columns: Array, out: Array) -> None:
    """Transpose of :func:`_gathered`."""
    height, width = out.shape
    if r >= 0 and c >= 0 and r + TAPS <= height and c + TAPS <= width:
        for i in range(TAPS):
            part = rows[i] * value
            for j in range(TAPS):
                out[r + i, c + j] += part * columns[j]
        return
    for i in range(max(0, -r), min(TAPS, height - r)):
        for j in range(max(0, -c), min(TAPS, width - c)):
            out[r + i, c + j] += rows[i] * columns[j] * value
