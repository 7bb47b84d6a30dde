"""Loops over a block of voxels that make up the volume step (numba, one core).

Every array is one-dimensional and as long as the block; a block is short enough that all of them
stay in the first and second cache. Each loop touches few arrays, so that it vectorises.

The Newton step solves H d = g with H = D + rho s s^T, D = diag(metric + rho s'' abs(misfit)) over
the elements of a voxel. Sherman and Morrison (1950): d = D^-1 g - D^-1 s (rho s^T D^-1 g) / (1 +
rho s^T D^-1 s), which needs two running sums, ``a`` and ``b``, instead of a matrix per voxel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import TINY, leaf, power

Array = NDArray[np.float32]

ALL_ACTIVE = np.float32(-1e30)  # a pull towards so low a contrast clips no element


@leaf
def start_misfit(u: Array, multiplier: Array, misfit: Array, a: Array, b: Array) -> None:
    """Initialise misfit = multiplier - u, and the two sums of the rank-one part with 0.

    Parameters
    ----------
    u : split variable of the coupling, (voxel,).
    multiplier : scaled multiplier d of the coupling, (voxel,).
    misfit : (voxel,), written; :func:`contrast` adds s(x) to it.
    a, b : sums of the rank-one part, (voxel,), written.
    """
    for j in range(u.size):
        misfit[j] = multiplier[j] - u[j]
        a[j] = np.float32(0)
        b[j] = np.float32(0)


@leaf
def contrast(
    x: Array, weight: np.float32, gamma: float, slope: Array, bend: Array, total: Array
) -> None:
    """Compute the first and second derivative of weight * x**gamma and add its value to ``total``.

    Parameters
    ----------
    x : concentration of one element, (voxel,), >= 0.
    weight : contrast of the element.
    gamma : exponent, 1 to below 2.
    slope, bend : first and second derivative, (voxel,), written.
    total : (voxel,), added to.
    """
    # one power per voxel serves value, slope and second derivative
    scale, order = np.float32(gamma) * weight, np.float32(gamma - 1)
    for j in range(x.size):
        # for gamma < 2 the second derivative diverges at 0
        base = max(x[j], TINY)
        first = power(base, gamma - 1)
        slope[j] = scale * first
        bend[j] = order * scale * first / base
        total[j] += weight * first * x[j]


@leaf
def prox_gradient(
    x: Array,
    point: Array,
    slope: Array,
    dual: Any,
    before: Any,
    metric: np.float32,
    tv: np.float32,
    force: Array,
) -> None:
    """Write the gradient of the smooth part of the prox, metric (x - point) + slope - tv div dual.

    Parameters
    ----------
    x, point : iterate and extrapolated iterate of one element, (voxel,).
    slope : gradient of the chemical term at ``point``, (voxel,).
    dual, before : as for :func:`differences`.
    metric : estimated curvature of the chemical term.
    tv : TV weight.
    force : (voxel,), written.
    """
    (pz, py, px), (back, low, left) = dual, before
    for j in range(force.size):
        div = (pz[j] - back[j]) + (py[j] - low[j]) + (px[j] - left[j])
        force[j] = metric * (x[j] - point[j]) + slope[j] - tv * div


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
    """Divide gradient and contrast slope by the diagonal, and add to the sums of the rank-one part.

    Parameters
    ----------
    force : gradient without coupling on entry, D^-1 g on return, (voxel,).
    slope : contrast slope s on entry, D^-1 s on return, (voxel,).
    bend : second derivative of the contrast, (voxel,); its magnitude keeps the Hessian positive.
    misfit : s(x) - u + multiplier, (voxel,).
    metric : estimated curvature of the chemical term.
    rho : weight of the coupling.
    a, b : s^T D^-1 g and s^T D^-1 s, (voxel,), added to.
    """
    for j in range(force.size):
        # D^-1; below the target the true second derivative is negative, its magnitude is used
        inverse = np.float32(1) / (metric + rho * bend[j] * abs(misfit[j]))
        prox_gradient = (force[j] + rho * slope[j] * misfit[j]) * inverse
        lean = slope[j] * inverse
        a[j] += slope[j] * prox_gradient
        b[j] += slope[j] * lean
        force[j], slope[j] = prox_gradient, lean


@leaf
def solve_square(
    x: Array,
    point: Array,
    slope: Array,
    dual: Any,
    before: Any,
    numbers: Any,
    misfit: Array,
    sums: Any,
    force: Array,
    lean: Array,
) -> None:
    """Do both in one loop for the contrast weight * x**2, whose derivatives need no memory.

    Parameters
    ----------
    x, point, slope, dual, before : as for :func:`prox_gradient`.
    numbers : weight of the contrast, metric, tv and rho.
    misfit : as for :func:`diagonal_solve`.
    sums : its a and b.
    force, lean : D^-1 g and D^-1 s, (voxel,), written.
    """
    (pz, py, px), (back, low, left) = dual, before
    weight, metric, tv, rho = numbers
    a, b = sums
    bend = np.float32(2) * weight
    for j in range(force.size):
        div = (pz[j] - back[j]) + (py[j] - low[j]) + (px[j] - left[j])
        gradient = metric * (x[j] - point[j]) + slope[j] - tv * div
        tangent = bend * x[j]
        inverse = np.float32(1) / (metric + rho * bend * abs(misfit[j]))
        step, along = (gradient + rho * tangent * misfit[j]) * inverse, tangent * inverse
        a[j] += tangent * step
        b[j] += tangent * along
        force[j], lean[j] = step, along


@leaf
def sherman_morrison_factor(rho: np.float32, a: Array, b: Array) -> None:
    """Write the factor of the rank-one correction, rho a / (1 + rho b), to ``a``.

    Parameters
    ----------
    rho : weight of the coupling.
    a, b : sums over the elements from :func:`diagonal_solve`, (voxel,).
    """
    for j in range(a.size):
        a[j] = rho * a[j] / (np.float32(1) + rho * b[j])


@leaf
def newton_update(x: Array, force: Array, slope: Array, a: Array, out: Array) -> None:
    """Write x less the coupled Newton step, clipped at 0.

    Parameters
    ----------
    x : concentration of one element, (voxel,).
    force, slope : D^-1 g and D^-1 s from :func:`diagonal_solve`, (voxel,).
    a : factor from :func:`sherman_morrison_factor`, (voxel,).
    out : (voxel,), written.
    """
    for j in range(x.size):
        # the projection on x >= 0 closes the proximal map
        out[j] = max(x[j] - force[j] + slope[j] * a[j], np.float32(0))


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


@leaf
def gradient_update(x: Array, force: Array, inverse: np.float32, out: Array) -> None:
    """Write x less the step without coupling, clipped at 0.

    Parameters
    ----------
    x : concentration of one element, (voxel,).
    force : gradient from :func:`prox_gradient`, (voxel,).
    inverse : 1 / metric.
    out : (voxel,), written.
    """
    for j in range(x.size):
        out[j] = max(x[j] - inverse * force[j], np.float32(0))


@leaf
def extrapolate(
    old: Array,
    new: Array,
    point: Array,
    beta: np.float32,
    metric: np.float32,
    sums: NDArray[np.float64],
) -> None:
    """Write point = new + beta (new - old), and add up three sums.

    Parameters
    ----------
    old, new : iterates of one element before and after the step, (voxel,).
    point : extrapolated iterate, (voxel,), replaced.
    beta : momentum.
    metric : estimated curvature of the chemical term.
    sums : sums[0:3] receive |new - old|^2, |new|^2 and metric <point - new, new - old>, the last
        positive when the momentum points uphill.
    """
    change, size, uphill = np.float32(0), np.float32(0), np.float32(0)
    for j in range(new.size):
        d = new[j] - old[j]
        change += d * d
        size += new[j] * new[j]
        # the generalised gradient at the point is metric (point - new)
        uphill += (point[j] - new[j]) * d
        point[j] = new[j] + beta * d
    sums[0] += change
    sums[1] += size
    sums[2] += metric * uphill


@leaf
def newton_extrapolate(
    old: Array,
    new: Array,
    point: Array,
    force: Array,
    slope: Array,
    a: Array,
    beta: np.float32,
    metric: np.float32,
    sums: NDArray[np.float64],
) -> None:
    """Update ``new`` as :func:`newton_update`, and :func:`extrapolate` from it, in one loop.

    Parameters
    ----------
    old, point, beta, metric, sums : as for :func:`extrapolate`.
    new : iterate of one element after the first map, (voxel,), updated.
    force, slope, a : as for :func:`newton_update`.
    """
    change, size, uphill = np.float32(0), np.float32(0), np.float32(0)
    for j in range(new.size):
        x = max(new[j] - force[j] + slope[j] * a[j], np.float32(0))
        d = x - old[j]
        change += d * d
        size += x * x
        uphill += (point[j] - x) * d
        new[j], point[j] = x, x + beta * d
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
    """Add the primal residual to the multiplier, and keep the residual of the u-step up to date.

    Parameters
    ----------
    new, old : contrast s(x) of the new and of the previous iterate, (voxel,); ``old`` is replaced.
    u : split variable, (voxel,).
    multiplier : scaled multiplier, (voxel,), updated.
    residual : A^T (b - A u) + ridge (s(x) + multiplier - u), (voxel,), updated.
    ridge : ridge of the Gram operator.
    sums : sums[3:6] receive |new - u|^2, |new - old|^2 and |u|^2.
    """
    gaps, moves, size = np.float32(0), np.float32(0), np.float32(0)
    for j in range(new.size):
        # primal and dual residual of ADMM
        gap, moved = new[j] - u[j], new[j] - old[j]
        gaps += gap * gap
        moves += moved * moved
        size += u[j] * u[j]
        multiplier[j] += gap
        # the right-hand side holds s(x) + d: it moves with the contrast and with the multiplier
        residual[j] += ridge * (moved + gap)
        old[j] = new[j]
    sums[3] += gaps
    sums[4] += moves
    sums[5] += size
