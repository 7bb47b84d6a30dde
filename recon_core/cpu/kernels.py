"""Compiled CPU loops over rays and rows (numba, float32, all cores).

Arrays have the trial of a batch as their first axis: ``(trial, element, row, x)`` or ``(trial, row,
x)``, a row being a voxel column (z, y) or a ray (angle, y), x the tilt axis. Data and weights of
elements are shared by all trials. Sums are taken per row and returned by row: added up afterwards
in a fixed order, they depend neither on the number of threads nor on the rest of the batch.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from . import STEEPEST, TINY, add_power, jit

Array = NDArray[np.float32]
Sums = NDArray[np.float64]


@jit
def power_sum(x: Array, weights: Array, gamma: float, out: Array) -> None:
    """Write out[trial, row] = sum over elements of weights[e] * x[trial, e, row]**gamma.

    Parameters
    ----------
    x : (trial, element, row, x), >= 0.
    weights : contrast of each element, (element,).
    gamma : exponent, 1 to 2.
    out : (trial, row, x), written.
    """
    batch, elements, rows = x.shape[:3]
    for task in numba.prange(batch * rows):
        trial, row = task // rows, task % rows
        acc = out[trial, row]
        acc[:] = np.float32(0)
        for e in range(elements):
            add_power(x[trial, e, row], weights[e], gamma, acc)


@jit
def poisson_slope(
    rays: Array, counts: Array, scale: Array, background: Array, knee: Array, out: Array
) -> None:
    """Write the gradient of the Poisson deviance by the projections, scale[e] (1 - b / y).

    With y = scale[e] rays + background[e], the expected counts. Below knee[e] the logarithm goes on
    as its parabola there: 1 / y becomes (2 - y / knee) / knee.

    Parameters
    ----------
    rays : projected volumes, (trial, element, row, x), voxel lengths.
    counts : measured counts b, (element, row, x).
    scale : counts per unit of the projection, (element,).
    background : counts, (element,).
    knee : expected counts > 0, (element,).
    out : like ``rays``, written; may be ``rays`` itself.
    """
    batch, elements, rows, width = rays.shape
    one = np.float32(1)
    for task in numba.prange(batch * elements * rows):
        trial, e, row = task // (elements * rows), (task // rows) % elements, task % rows
        signal, b, slope = rays[trial, e, row], counts[e, row], out[trial, e, row]
        # The usual case: with a background no ray falls below the knee, and the loop needs no
        # branch.
        if background[e] >= knee[e]:
            for j in range(width):
                y = scale[e] * signal[j] + background[e]
                slope[j] = scale[e] * (one - b[j] / y)
            continue
        for j in range(width):
            y = scale[e] * signal[j] + background[e]
            # without background an empty ray expects no count: 1 / y must stay bounded
            below = max(knee[e] - y, np.float32(0)) / knee[e]
            slope[j] = scale[e] * (one - b[j] / max(y, knee[e]) * (one + below))


@jit
def poisson_deviance(
    rays: Array, counts: Array, scale: Array, background: Array, knee: Array
) -> Sums:
    """Sum y - b + b log(b / y) over each row, with y = scale[e] rays + background[e].

    Half the Poisson deviance: the negative log-likelihood less its value at y = b. Below knee[e]
    log y is its Taylor polynomial of second order there: convex still, with a bounded curvature.

    Parameters
    ----------
    rays, counts, scale, background, knee : as for :func:`poisson_slope`.

    Returns
    -------
    array : (trial, row), float64, rows of all elements one after another.
    """
    batch, elements, rows, width = rays.shape
    sums = np.empty((batch, elements * rows))
    for task in numba.prange(batch * elements * rows):
        trial, e, row = task // (elements * rows), (task // rows) % elements, task % rows
        total = 0.0
        for j in range(width):
            b = counts[e, row, j]
            y = scale[e] * rays[trial, e, row, j] + background[e]
            total += y - b
            # b log b is 0 at b = 0
            if b > 0 and y >= knee[e]:
                total += b * np.log(b / y)
            elif b > 0:
                safe = max(y, knee[e])
                below = (safe - y) / safe
                total += b * (np.log(b / safe) + below * (np.float32(1) + np.float32(0.5) * below))
        sums[trial, e * rows + row] = total
    return sums


@jit
def squares_slope(
    rays: Array, counts: Array, scale: Array, background: Array, precision: Array, out: Array
) -> None:
    """Write the gradient of precision[e] (y - b)^2 / 2 by the projections.

    Parameters
    ----------
    rays, counts, scale, background, out : as for :func:`poisson_slope`.
    precision : inverse variance of a count, (element,).
    """
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
    """Sum precision[e] (y - b)^2 / 2 over each row, with y = scale[e] rays + background[e].

    Parameters
    ----------
    rays, counts, scale, background : as for :func:`poisson_slope`.
    precision : inverse variance of a count, (element,).

    Returns
    -------
    array : (trial, row), float64, rows of all elements one after another.
    """
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
    """Sum the isotropic total variation over each voxel column along x.

    Forward differences, zero at the far faces.

    Parameters
    ----------
    x : volumes, (trial, element, z, y, x).

    Returns
    -------
    array : (trial, column), float64, columns of all elements one after another.

    Examples
    --------
    >>> import numpy as np
    >>> step = np.zeros((1, 1, 1, 1, 4), np.float32)
    >>> step[..., 2:] = 3
    >>> total_variation(step).tolist()
    [[3.0]]
    """
    batch, elements, depth, height, width = x.shape
    columns = elements * depth * height
    sums = np.empty((batch, columns))
    for task in numba.prange(batch * columns):
        trial, e = task // columns, (task // (depth * height)) % elements
        z, y = (task // height) % depth, task % height
        here = x[trial, e, z, y]
        # at a far face the neighbour is the voxel itself: the difference is 0
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
def guided_variation(x: Array, guide: Array) -> Sums:
    """Sum the total variation along a guide, |P grad x|, over each voxel column along x.

    P = 1 - g g^T / (1 + |g|^2) with g the gradient of the guide, cut where |g|^2 is above
    :data:`~tomoatlas.recon_core.cpu.STEEPEST`: a tenth of the weight stays.

    Parameters
    ----------
    x : volumes, (trial, element, z, y, x).
    guide : in units of the gradient from which on TV yields, (trial, z, y, x).

    Returns
    -------
    array : (trial, column), float64, columns of all elements one after another.

    Examples
    --------
    >>> import numpy as np
    >>> step = np.zeros((1, 1, 1, 1, 4), np.float32)
    >>> step[..., 2:] = 3
    >>> guided_variation(step, step[0]).round(6).tolist()
    [[0.3]]
    """
    batch, elements, depth, height, width = x.shape
    columns = elements * depth * height
    sums = np.empty((batch, columns))
    for task in numba.prange(batch * columns):
        trial, e = task // columns, (task // (depth * height)) % elements
        z, y = (task // height) % depth, task % height
        z1, y1 = min(z + 1, depth - 1), min(y + 1, height - 1)
        here, other = x[trial, e, z, y], guide[trial, z, y]
        deeper, other_deeper = x[trial, e, z1, y], guide[trial, z1, y]
        higher, other_higher = x[trial, e, z, y1], guide[trial, z, y1]
        total = 0.0
        for j in range(width):
            j1 = min(j + 1, width - 1)
            a, b, c = deeper[j] - here[j], higher[j] - here[j], here[j1] - here[j]
            gz, gy = other_deeper[j] - other[j], other_higher[j] - other[j]
            gx = other[j1] - other[j]
            steep = gz * gz + gy * gy + gx * gx
            along = min(np.float32(1), STEEPEST / max(steep, TINY))
            # P leaves what is across g alone and shrinks what is along it to 1 / (1 + |g|²): a step
            # of both volumes is nearly free, one of x alone costs what it did.
            lean = gz * a + gy * b + gx * c
            lean *= along / (np.float32(1) + along * steep)
            a, b, c = a - lean * gz, b - lean * gy, c - lean * gx
            total += np.sqrt(a * a + b * b + c * c)
        sums[trial, task % columns] = total
    return sums


@jit
def distance(rays: Array, signal: Array) -> Sums:
    """Sum (rays - signal)^2 over each row.

    Parameters
    ----------
    rays : (trial, row, x).
    signal : (row, x), shared by the trials.

    Returns
    -------
    array : (trial, row), float64.
    """
    batch, rows, width = rays.shape
    sums = np.empty((batch, rows))
    for task in numba.prange(batch * rows):
        trial, row = task // rows, task % rows
        # float32 within a row, so that the sum vectorises; float64 across rows
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
    """Sum <residual, direction> and <direction, image + ridge direction> over each row.

    Parameters
    ----------
    residual, direction, image : (trial, row, x); ``image`` is A^T A applied to ``direction``.
    ridge : multiple of the identity added to A^T A.

    Returns
    -------
    array : (trial, row, 2), float64; the ratio of their totals is the step to the exact minimum.
    """
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
def plane_products(
    residual: Array,
    direction: Array,
    image: Array,
    last: Array,
    last_image: Array,
    ridge: np.float32,
) -> NDArray[np.float64]:
    """Sum, over each row, what the minimum in the plane of two directions needs.

    With H = A^T A + ridge: <residual, direction>, <residual, last>, <direction, H direction>,
    <direction, H last> and <last, H last>.

    Parameters
    ----------
    residual, direction, last : (trial, row, x).
    image, last_image : A^T A applied to ``direction`` and to ``last``, (trial, row, x).
    ridge : multiple of the identity added to A^T A.

    Returns
    -------
    array : (trial, row, 5), float64.
    """
    batch, rows, width = residual.shape
    sums = np.empty((batch, rows, 5))
    for task in numba.prange(batch * rows):
        trial, row = task // rows, task % rows
        r, d, a = residual[trial, row], direction[trial, row], image[trial, row]
        p, q = last[trial, row], last_image[trial, row]
        gain, gain_last = np.float32(0), np.float32(0)
        bend, across, bend_last = np.float32(0), np.float32(0), np.float32(0)
        for j in range(width):
            gain += r[j] * d[j]
            gain_last += r[j] * p[j]
            bend += d[j] * (a[j] + ridge * d[j])
            across += d[j] * (q[j] + ridge * p[j])
            bend_last += p[j] * (q[j] + ridge * p[j])
        total = sums[trial, row]
        total[0], total[1], total[2], total[3], total[4] = gain, gain_last, bend, across, bend_last
    return sums


@jit
def descend(
    lengths: Array,
    direction: Array,
    image: Array,
    last: Array,
    last_image: Array,
    ridge: np.float32,
    solution: Array,
    residual: Array,
) -> None:
    """Step the solution in the plane of two directions, and keep its residual up to date, in place.

    With the step p = lengths[0] direction + lengths[1] last: solution += p, residual -= A^T A p +
    ridge p; the step and its image replace ``last`` and ``last_image``.

    Parameters
    ----------
    lengths : of each trial along ``direction`` and along ``last``, (trial, 2).
    direction, image, last, last_image : (trial, row, x), as for :func:`plane_products`; the latter
        two are written.
    ridge : multiple of the identity added to A^T A.
    solution, residual : (trial, row, x), written.
    """
    batch, rows, width = residual.shape
    for task in numba.prange(batch * rows):
        trial, row = task // rows, task % rows
        # one pass over memory for all updates
        s, r = solution[trial, row], residual[trial, row]
        d, a = direction[trial, row], image[trial, row]
        p, q = last[trial, row], last_image[trial, row]
        along, onward = lengths[trial, 0], lengths[trial, 1]
        for j in range(width):
            # The image of a step is linear in it, so that the next plane needs no further
            # projection.
            p[j] = along * d[j] + onward * p[j]
            q[j] = along * a[j] + onward * q[j]
            s[j] += p[j]
            r[j] -= q[j] + ridge * p[j]
