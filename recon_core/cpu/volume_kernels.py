"""Loops over a block of voxels, of which the volume step is made (numba, one core).

Every array is one-dimensional and as long as the block; a block is short enough that all of them
stay in the first and second cache. Few arrays in each loop, so that it becomes vector instructions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .fast_power import power
from .kernels import TINY, leaf

Array = NDArray[np.float32]


@leaf
def start_misfit(u: Array, multiplier: Array, misfit: Array, a: Array, b: Array) -> None:
    """Misfit = multiplier - u; the two products of the rank-one part start at 0."""
    for j in range(u.size):
        misfit[j] = multiplier[j] - u[j]
        a[j] = np.float32(0)
        b[j] = np.float32(0)


@leaf
def contrast(
    x: Array, weight: np.float32, gamma: float, slope: Array, bend: Array, total: Array
) -> None:
    """First and second derivative of weight * x**gamma; its value is added to total."""
    if gamma == 2.0:
        for j in range(x.size):
            slope[j] = np.float32(2) * weight * x[j]
            bend[j] = np.float32(2) * weight
            total[j] += weight * x[j] * x[j]
        return
    scale, order = np.float32(gamma) * weight, np.float32(gamma - 1)
    for j in range(x.size):
        base = max(x[j], TINY)
        first = power(base, gamma - 1)
        slope[j] = scale * first
        bend[j] = order * scale * first / base
        total[j] += weight * first * x[j]


@leaf
def differences(
    pz: Array, back: Array, py: Array, low: Array, px: Array, left: Array, out: Array
) -> None:
    """Out = the sum of the three backward differences."""
    for j in range(out.size):
        out[j] = (pz[j] - back[j]) + (py[j] - low[j]) + (px[j] - left[j])


@leaf
def prox_gradient(
    x: Array, point: Array, slope: Array, metric: np.float32, tv: np.float32, force: Array
) -> None:
    """Force = metric (x - point) + slope - tv force, force being div dual on entry."""
    for j in range(x.size):
        force[j] = metric * (x[j] - point[j]) + slope[j] - tv * force[j]


@leaf
def diagonal_solve(
    force: Array,
    slope: Array,
    bend: Array,
    misfit: Array,
    metric: np.float32,
    rho: np.float32,
    a: Array,
    b: Array,
) -> None:
    """Divide force and slope by the diagonal; add up the two products of the rank-one part."""
    for j in range(force.size):
        inverse = np.float32(1) / (metric + rho * bend[j] * abs(misfit[j]))
        prox_gradient = (force[j] + rho * slope[j] * misfit[j]) * inverse
        lean = slope[j] * inverse
        a[j] += slope[j] * prox_gradient
        b[j] += slope[j] * lean
        force[j], slope[j] = prox_gradient, lean


@leaf
def sherman_morrison_factor(rho: np.float32, a: Array, b: Array) -> None:
    """Strength of the rank-one correction, into ``a``."""
    for j in range(a.size):
        a[j] = rho * a[j] / (np.float32(1) + rho * b[j])


@leaf
def newton_update(x: Array, force: Array, slope: Array, a: Array, out: Array) -> None:
    """Out = x less the coupled Newton step, not below 0."""
    for j in range(x.size):
        out[j] = max(x[j] - force[j] + slope[j] * a[j], np.float32(0))


@leaf
def gradient_update(x: Array, force: Array, inverse: np.float32, out: Array) -> None:
    """Out = x less the uncoupled step, not below 0."""
    for j in range(x.size):
        out[j] = max(x[j] - inverse * force[j], np.float32(0))


@leaf
def project_dual(
    here: Array,
    deeper: Array,
    higher: Array,
    right: Array,
    inside_y: Array,
    inside_x: Array,
    pz: Array,
    py: Array,
    px: Array,
    step: np.float32,
) -> None:
    """Step the dual along the forward differences and project it on the unit ball."""
    for j in range(here.size):
        a = pz[j] + step * (deeper[j] - here[j])
        b = py[j] + step * inside_y[j] * (higher[j] - here[j])
        c = px[j] + step * inside_x[j] * (right[j] - here[j])
        shrink = np.float32(1) / np.sqrt(max(a * a + b * b + c * c, np.float32(1)))
        pz[j], py[j], px[j] = a * shrink, b * shrink, c * shrink


@leaf
def extrapolate(
    old: Array,
    new: Array,
    point: Array,
    beta: np.float32,
    metric: np.float32,
    sums: NDArray[np.float64],
) -> None:
    """Point = new + beta (new - old); add |new - old|^2, |new|^2 and the uphill product."""
    change, size, uphill = np.float32(0), np.float32(0), np.float32(0)
    for j in range(new.size):
        d = new[j] - old[j]
        change += d * d
        size += new[j] * new[j]
        uphill += (point[j] - new[j]) * d
        point[j] = new[j] + beta * d
    sums[0] += change
    sums[1] += size
    sums[2] += metric * uphill


@leaf
def raise_multiplier(
    new: Array,
    old: Array,
    u: Array,
    multiplier: Array,
    residual: Array,
    ridge: np.float32,
    sums: NDArray[np.float64],
) -> None:
    """Raise the multiplier by the primal residual; keep the residual of u true."""
    gaps, moves, size = np.float32(0), np.float32(0), np.float32(0)
    for j in range(new.size):
        gap, moved = new[j] - u[j], new[j] - old[j]
        gaps += gap * gap
        moves += moved * moved
        size += u[j] * u[j]
        multiplier[j] += gap
        residual[j] += ridge * (moved + gap)
        old[j] = new[j]
    sums[3] += gaps
    sums[4] += moves
    sums[5] += size
