"""Compiled CPU loops of the solver (numba, float32, every core given).

Arrays are ``(element, row, x)``, a row being a voxel column (z, y) or a ray (angle, y), x the tilt
axis; or ``(element, z, y, x)`` where neighbours matter. Sums are taken per row and returned by row:
added up afterwards in a fixed order, they do not depend on the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Sums = NDArray[np.float64]

# No "nnan": a NaN must survive to be seen by the solver.
_jit = numba.njit(parallel=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, cache=True)
_TINY = np.float32(1e-6)


@_jit
def sparse_product(
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    weights: Array,
    dense: Array,
    out: Array,
) -> None:
    """out[e, row] = sum over the row's nonzeros of weight * dense[e, column]; all x at once."""
    elements, rows, width = out.shape
    for task in numba.prange(elements * rows):
        e, row = task // rows, task % rows
        acc = out[e, row]
        acc[:] = np.float32(0)
        k, stop = indptr[row], indptr[row + 1]
        while k + 4 <= stop:  # four at a time: a fourth of the loads and stores of acc
            w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
            d0, d1 = dense[e, indices[k]], dense[e, indices[k + 1]]
            d2, d3 = dense[e, indices[k + 2]], dense[e, indices[k + 3]]
            for j in range(width):
                acc[j] += w0 * d0[j] + w1 * d1[j] + w2 * d2[j] + w3 * d3[j]
            k += 4
        while k < stop:
            w0, d0 = weights[k], dense[e, indices[k]]
            for j in range(width):
                acc[j] += w0 * d0[j]
            k += 1


@_jit
def power_sum(x: Array, weights: Array, gamma: float, out: Array) -> None:
    """out[row] = sum over elements of weights[e] * x[e]**gamma, for x >= 0."""
    elements, rows, width = x.shape
    for row in numba.prange(rows):
        acc = out[row]
        acc[:] = np.float32(0)
        for e in range(elements):
            if gamma == 2.0:
                for j in range(width):
                    acc[j] += weights[e] * x[e, row, j] * x[e, row, j]
            else:
                for j in range(width):
                    acc[j] += weights[e] * x[e, row, j] ** np.float32(gamma)


@_jit
def poisson_deviance(signal: Array, counts: Array, background: Array, out: Array) -> Sums:
    """Sum over each ray row of y - b + b log(b/y), y = signal + background.

    out = 1 - b/y, the gradient by the signal.
    """
    elements, rows, width = counts.shape
    sums = np.empty(elements * rows)
    for task in numba.prange(elements * rows):
        e, row = task // rows, task % rows
        total = 0.0
        for j in range(width):
            b = counts[e, row, j]
            y = max(signal[e, row, j] + background[e], _TINY)
            out[e, row, j] = np.float32(1) - b / y
            total += y - b
            if b > 0:
                total += b * np.log(b / y)
        sums[task] = total
    return sums


@_jit
def weighted_squares(
    signal: Array, counts: Array, background: Array, precision: Array, out: Array
) -> Sums:
    """Sum over each ray row of precision[e] (signal + background - b)**2 / 2; out its gradient."""
    elements, rows, width = counts.shape
    sums = np.empty(elements * rows)
    for task in numba.prange(elements * rows):
        e, row = task // rows, task % rows
        total = 0.0
        for j in range(width):
            r = signal[e, row, j] + background[e] - counts[e, row, j]
            out[e, row, j] = precision[e] * r
            total += 0.5 * precision[e] * r * r
        sums[task] = total
    return sums


@_jit
def dot(a: Array, b: Array) -> Sums:
    """Inner product of each row of two (row, x) arrays."""
    rows, width = a.shape
    sums = np.empty(rows)
    for row in numba.prange(rows):
        total = np.float32(0)
        for j in range(width):
            total += a[row, j] * b[row, j]
        sums[row] = total
    return sums


@_jit
def total_variation(x: Array) -> Sums:
    """Isotropic TV of each voxel column of (element, z, y, x): forward differences, zero at the
    far faces.
    """
    elements, depth, height, width = x.shape
    sums = np.empty(elements * depth * height)
    for task in numba.prange(elements * depth * height):
        e, z, y = task // (depth * height), (task // height) % depth, task % height
        here = x[e, z, y]
        deeper, higher = x[e, min(z + 1, depth - 1), y], x[e, z, min(y + 1, height - 1)]
        total = 0.0
        for j in range(width):
            dz, dy = deeper[j] - here[j], higher[j] - here[j]
            dx = here[min(j + 1, width - 1)] - here[j]
            total += np.sqrt(dz * dz + dy * dy + dx * dx)
        sums[task] = total
    return sums


@_jit
def dual_step(x: Array, step: Array, bound: np.float32, dual: Array) -> None:
    """Dual += step[e] * grad x, then each voxel's vector is projected on the ball of radius bound.

    x (element, z, y, x); dual (3, element, z, y, x), components along z, y, x.
    """
    elements, depth, height, width = x.shape
    for task in numba.prange(elements * depth * height):
        e, z, y = task // (depth * height), (task // height) % depth, task % height
        here, s = x[e, z, y], step[e]
        deeper, higher = x[e, min(z + 1, depth - 1), y], x[e, z, min(y + 1, height - 1)]
        pz, py, px = dual[0, e, z, y], dual[1, e, z, y], dual[2, e, z, y]
        for j in range(width - 1):
            a = pz[j] + s * (deeper[j] - here[j])
            b = py[j] + s * (higher[j] - here[j])
            c = px[j] + s * (here[j + 1] - here[j])
            shrink = bound / max(np.sqrt(a * a + b * b + c * c), bound)
            pz[j], py[j], px[j] = a * shrink, b * shrink, c * shrink
        j = width - 1
        a = pz[j] + s * (deeper[j] - here[j])
        b = py[j] + s * (higher[j] - here[j])
        shrink = bound / max(np.sqrt(a * a + b * b), bound)
        pz[j], py[j] = a * shrink, b * shrink


@numba.njit(inline="always")
def _divergence_row(dual: Array, e: int, z: int, y: int, out: Array) -> None:
    """Out = div dual along one voxel column, the negative adjoint of the forward difference."""
    pz, py, px = dual[0, e, z, y], dual[1, e, z, y], dual[2, e, z, y]
    width = out.size
    out[0] = pz[0] + py[0] + px[0]
    for j in range(1, width):
        out[j] = pz[j] + py[j] + px[j] - px[j - 1]
    if y > 0:
        below = dual[1, e, z, y - 1]
        for j in range(width):
            out[j] -= below[j]
    if z > 0:
        before = dual[0, e, z - 1, y]
        for j in range(width):
            out[j] -= before[j]


@_jit
def positive_prox(point: Array, dual: Array, metric: Array, out: Array) -> None:
    """Out = max(point + div dual / metric, 0): the minimiser over x >= 0 for a given TV dual."""
    elements, depth, height, width = point.shape
    for task in numba.prange(elements * depth * height):
        e, z, y = task // (depth * height), (task // height) % depth, task % height
        row, inverse = out[e, z, y], np.float32(1) / metric[e]
        _divergence_row(dual, e, z, y, row)
        for j in range(width):
            row[j] = max(point[e, z, y, j] + inverse * row[j], np.float32(0))


@_jit
def coupled_prox(
    point: Array,
    dual: Array,
    start: Array,
    target: Array,
    weights: Array,
    metric: Array,
    rho: np.float32,
    gamma: float,
    out: Array,
) -> None:
    """One voxel-wise Newton step, from ``start``, on the x-problem with the HAADF coupling.

    minimise over x >= 0: sum_e metric_e/2 (x_e - a_e)^2 + rho/2 (sum_e weights_e x_e^gamma - v)^2,
    a = point + div dual / metric, v = target (z, y, x). The Hessian is diagonal plus rank one:
    Sherman-Morrison solves it. The bend of the contrast enters by its magnitude: the Hessian stays
    positive, and where the sum is below v no concentration more than doubles in a step.
    """
    elements, depth, height, width = point.shape
    for z in numba.prange(depth):  # scratch rows are made once per plane, not per column
        force = np.empty((elements, width), np.float32)
        slope = np.empty((elements, width), np.float32)
        bend = np.empty((elements, width), np.float32)
        misfit = np.empty(width, np.float32)
        a = np.empty(width, np.float32)
        b = np.empty(width, np.float32)
        for y in range(height):
            for j in range(width):
                misfit[j] = -target[z, y, j]
                a[j] = np.float32(0)
                b[j] = np.float32(0)
            for e in range(elements):
                _contrast_row(start[e, z, y], weights[e], gamma, slope[e], bend[e], misfit)
            for e in range(elements):
                _divergence_row(dual, e, z, y, force[e])
                x, at, m = start[e, z, y], point[e, z, y], metric[e]
                for j in range(width):
                    inverse = np.float32(1) / (m + rho * bend[e, j] * abs(misfit[j]))
                    pull = m * (x[j] - at[j]) - force[e, j] + rho * slope[e, j] * misfit[j]
                    force[e, j] = pull * inverse
                    bend[e, j] = slope[e, j] * inverse
                    a[j] += slope[e, j] * force[e, j]
                    b[j] += slope[e, j] * bend[e, j]
            for j in range(width):
                a[j] = rho * a[j] / (np.float32(1) + rho * b[j])
            for e in range(elements):
                x, row = start[e, z, y], out[e, z, y]
                for j in range(width):
                    row[j] = max(x[j] - force[e, j] + bend[e, j] * a[j], np.float32(0))


@numba.njit(inline="always")
def _contrast_row(
    x: Array, weight: np.float32, gamma: float, slope: Array, bend: Array, total: Array
) -> None:
    """First and second derivative of weight * x**gamma along a row; its value is added to total."""
    g = np.float32(gamma)
    if gamma == 2.0:
        for j in range(x.size):
            slope[j] = np.float32(2) * weight * x[j]
            bend[j] = np.float32(2) * weight
            total[j] += weight * x[j] * x[j]
    else:
        for j in range(x.size):
            base = max(x[j], _TINY)
            slope[j] = g * weight * base ** (g - np.float32(1))
            bend[j] = (g - np.float32(1)) * slope[j] / base
            total[j] += slope[j] * x[j] / g


@_jit
def extrapolate(
    old: Array, new: Array, beta: np.float32, metric: Array, point: Array
) -> NDArray[np.float64]:
    """Point <- new + beta (new - old), arrays (element, row, x).

    Returns per row: |new - old|^2, |new|^2, and <metric (point_before - new), new - old>, whose
    sum is positive when the momentum points uphill (O'Donoghue and Candes, 2015).
    """
    elements, rows, width = new.shape
    sums = np.zeros((3, rows))
    for row in numba.prange(rows):
        for e in range(elements):
            change, size, uphill = np.float32(0), np.float32(0), np.float32(0)
            for j in range(width):
                n = new[e, row, j]
                d = n - old[e, row, j]
                change += d * d
                size += n * n
                uphill += (point[e, row, j] - n) * d
                point[e, row, j] = n + beta * d
            sums[0, row] += change
            sums[1, row] += size
            sums[2, row] += metric[e] * uphill
    return sums
