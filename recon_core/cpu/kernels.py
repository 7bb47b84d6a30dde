"""Compiled CPU loops over rays and rows (numba, float32, every core given).

Arrays have the trial of a batch as their first axis: ``(trial, element, row, x)`` or ``(trial, row,
x)``, a row being a voxel column (z, y) or a ray (angle, y), x the tilt axis. Data and weights of
elements are shared by all trials. Sums are taken per row and returned by row: added up afterwards
in a fixed order, they depend neither on the number of threads nor on the rest of the batch.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from .fast_power import add_power

Array = NDArray[np.float32]
Sums = NDArray[np.float64]

# No "nnan": a NaN must survive to be seen by the solver.
FAST = {"reassoc", "contract", "nsz", "arcp"}
jit = numba.njit(parallel=True, fastmath=FAST, cache=True, error_model="numpy")
leaf = numba.njit(fastmath=FAST, cache=True, error_model="numpy")
TINY = np.float32(1e-6)


@jit
def power_sum(x: Array, weights: Array, gamma: float, out: Array) -> None:
    """out[trial, row] = sum over elements of weights[e] * x[trial, e, row]**gamma, for x >= 0."""
    batch, elements, rows = x.shape[:3]
    for task in numba.prange(batch * rows):
        trial, row = task // rows, task % rows
        acc = out[trial, row]
        acc[:] = np.float32(0)
        for e in range(elements):
            add_power(x[trial, e, row], weights[e], gamma, acc)


@jit
def poisson_slope(rays: Array, counts: Array, scale: Array, background: Array, out: Array) -> None:
    """Gradient of the Poisson deviance by the projection ``rays``: scale[e] (1 - b / y).

    y = scale[e] rays + background[e]; ``out`` may be ``rays``.
    """
    batch, elements, rows, width = rays.shape
    for task in numba.prange(batch * elements * rows):
        trial, e, row = task // (elements * rows), (task // rows) % elements, task % rows
        signal, b, slope = rays[trial, e, row], counts[e, row], out[trial, e, row]
        for j in range(width):
            y = max(scale[e] * signal[j] + background[e], TINY)
            slope[j] = scale[e] * (np.float32(1) - b[j] / y)


@jit
def poisson_deviance(rays: Array, counts: Array, scale: Array, background: Array) -> Sums:
    """Sum over each row of y - b + b log(b/y), y = scale[e] rays + background[e]; (trial, row)."""
    batch, elements, rows, width = rays.shape
    sums = np.empty((batch, elements * rows))
    for task in numba.prange(batch * elements * rows):
        trial, e, row = task // (elements * rows), (task // rows) % elements, task % rows
        total = 0.0
        for j in range(width):
            b = counts[e, row, j]
            y = max(scale[e] * rays[trial, e, row, j] + background[e], TINY)
            total += y - b
            if b > 0:
                total += b * np.log(b / y)
        sums[trial, e * rows + row] = total
    return sums


@jit
def squares_slope(
    rays: Array, counts: Array, scale: Array, background: Array, precision: Array, out: Array
) -> None:
    """Gradient of precision[e] (y - b)^2 / 2 by ``rays``, y = scale[e] rays + background[e]."""
    batch, elements, rows, width = rays.shape
    for task in numba.prange(batch * elements * rows):
        trial, e, row = task // (elements * rows), (task // rows) % elements, task % rows
        factor = scale[e] * precision[e]
        for j in range(width):
            y = scale[e] * rays[trial, e, row, j] + background[e]
            out[trial, e, row, j] = factor * (y - counts[e, row, j])


@jit
def weighted_squares(
    rays: Array, counts: Array, scale: Array, background: Array, precision: Array
) -> Sums:
    """Sum over each row of precision[e] (y - b)^2 / 2, y = scale[e] rays + background[e]."""
    batch, elements, rows, width = rays.shape
    sums = np.empty((batch, elements * rows))
    for task in numba.prange(batch * elements * rows):
        trial, e, row = task // (elements * rows), (task // rows) % elements, task % rows
        total = 0.0
        for j in range(width):
            y = scale[e] * rays[trial, e, row, j] + background[e]
            total += 0.5 * precision[e] * (y - counts[e, row, j]) ** 2
        sums[trial, e * rows + row] = total
    return sums


@jit
def total_variation(x: Array) -> Sums:
    """Isotropic TV of each voxel column of (trial, element, z, y, x); (trial, column).

    Forward differences, zero at the far faces.
    """
    batch, elements, depth, height, width = x.shape
    columns = elements * depth * height
    sums = np.empty((batch, columns))
    for task in numba.prange(batch * columns):
        trial, e = task // columns, (task // (depth * height)) % elements
        z, y = (task // height) % depth, task % height
        here = x[trial, e, z, y]
        deeper = x[trial, e, min(z + 1, depth - 1), y]
        higher = x[trial, e, z, min(y + 1, height - 1)]
        total = 0.0
        for j in range(width):
            dz, dy = deeper[j] - here[j], higher[j] - here[j]
            dx = here[min(j + 1, width - 1)] - here[j]
            total += np.sqrt(dz * dz + dy * dy + dx * dx)
        sums[trial, task % columns] = total
    return sums


@jit
def distance(rays: Array, signal: Array) -> Sums:
    """Sum over each row of (rays - signal)^2, (trial, row); ``signal`` (row, x) is shared."""
    batch, rows, width = rays.shape
    sums = np.empty((batch, rows))
    for task in numba.prange(batch * rows):
        trial, row = task // rows, task % rows
        total = np.float32(0)
        for j in range(width):
            r = rays[trial, row, j] - signal[row, j]
            total += r * r
        sums[trial, row] = total
    return sums


@jit
def descent_products(
    residual: Array, direction: Array, image: Array, ridge: np.float32
) -> NDArray[np.float64]:
    """Per row <residual, direction> and <direction, image + ridge direction>, (trial, row, 2)."""
    batch, rows, width = residual.shape
    sums = np.empty((batch, rows, 2))
    for task in numba.prange(batch * rows):
        trial, row = task // rows, task % rows
        r, d, a = residual[trial, row], direction[trial, row], image[trial, row]
        gain, bend = np.float32(0), np.float32(0)
        for j in range(width):
            gain += r[j] * d[j]
            bend += d[j] * (a[j] + ridge * d[j])
        sums[trial, row, 0], sums[trial, row, 1] = gain, bend
    return sums


@jit
def descend(
    length: Array,
    direction: Array,
    image: Array,
    ridge: np.float32,
    solution: Array,
    residual: Array,
) -> None:
    """Solution += length direction, residual -= length (image + ridge direction); (trial, row, x).

    ``length`` (trial,).
    """
    batch, rows, width = residual.shape
    for task in numba.prange(batch * rows):
        trial, row = task // rows, task % rows
        s, r = solution[trial, row], residual[trial, row]
        d, a, step = direction[trial, row], image[trial, row], length[trial]
        for j in range(width):
            s[j] += step * d[j]
            r[j] -= step * (a[j] + ridge * d[j])
