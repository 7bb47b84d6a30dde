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

from . import STEEPEST, TINY, leaf, power

Array = NDArray[np.float32]


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
def differences(dual: Any, before: Any, out: Array) -> None:
    """Write the sum of three backward differences, the divergence of the dual.

    Parameters
    ----------
    dual : its components along z, y and x, three of (voxel,).
    before : the same one voxel back along z, y and x, three of (voxel,).
    out : (voxel,), written.
    """
    (pz, py, px), (back, low, left) = dual, before
    for j in range(out.size):
        out[j] = (pz[j] - back[j]) + (py[j] - low[j]) + (px[j] - left[j])


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
    """Step the dual along the forward differences and project each voxel's vector on the unit ball.

    One step of the dual prox of isotropic TV (Chambolle, J. Math. Imaging Vis. 20, 89 (2004); Beck
    and Teboulle, IEEE Trans. Image Process. 18, 2419 (2009)).

    Parameters
    ----------
    here : concentration of one element, (voxel,).
    deeper, higher, right : the same one voxel on along z, y and x, (voxel,).
    inside_y, inside_x : 1 where that voxel is inside the volume, else 0, (voxel,).
    pz, py, px : components of the dual, (voxel,), updated; their length is at most 1.
    step : metric / (12 tv), as ||grad||^2 <= 12 in 3D.
    """
    for j in range(here.size):
        a = pz[j] + step * (deeper[j] - here[j])
        b = py[j] + step * inside_y[j] * (higher[j] - here[j])
        c = px[j] + step * inside_x[j] * (right[j] - here[j])
        # projection on the unit ball: vectors inside it stay as they are
        shrink = np.float32(1) / np.sqrt(max(a * a + b * b + c * c, np.float32(1)))
        pz[j], py[j], px[j] = a * shrink, b * shrink, c * shrink


@leaf
def guide_gradient(
    here: Array,
    deeper: Array,
    higher: Array,
    right: Array,
    inside_y: Array,
    inside_x: Array,
    gz: Array,
    gy: Array,
    gx: Array,
    along: Array,
) -> None:
    """Write the gradient g of the guide, and what is left of TV's weight along it.

    Parameters
    ----------
    here : guide, in units of the gradient from which on TV yields, (voxel,).
    deeper, higher, right : the same one voxel on along z, y and x, (voxel,).
    inside_y, inside_x : 1 where that voxel is inside the volume, else 0, (voxel,).
    gz, gy, gx : components of g, |g|^2 cut at :data:`~tomoatlas.recon_core.cpu.STEEPEST`, (voxel,),
        written.
    along : 1 / (1 + |g|^2), (voxel,), written.
    """
    for j in range(here.size):
        a, b, c = deeper[j] - here[j], higher[j] - here[j], right[j] - here[j]
        b, c = inside_y[j] * b, inside_x[j] * c
        steep = a * a + b * b + c * c
        limit = np.sqrt(STEEPEST / max(steep, STEEPEST))
        gz[j], gy[j], gx[j] = limit * a, limit * b, limit * c
        along[j] = np.float32(1) / (np.float32(1) + min(steep, STEEPEST))


@leaf
def project_guided_dual(
    here: Array,
    deeper: Array,
    higher: Array,
    right: Array,
    inside_y: Array,
    inside_x: Array,
    gz: Array,
    gy: Array,
    gx: Array,
    along: Array,
    pz: Array,
    py: Array,
    px: Array,
    step: np.float32,
) -> None:
    """Step the dual of TV along a guide, as :func:`project_dual` does that of TV.

    The weight of a difference is P = 1 - g g^T / (1 + |g|^2), so that the dual p = P q with q in
    the unit ball. P^-1 = 1 + g g^T takes p to q, which is stepped along P grad x and projected.

    Parameters
    ----------
    here : concentration of one element, (voxel,).
    deeper, higher, right : the same one voxel on along z, y and x, (voxel,).
    inside_y, inside_x : 1 where that voxel is inside the volume, else 0, (voxel,).
    gz, gy, gx, along : of :func:`guide_gradient`, (voxel,).
    pz, py, px : components of the dual, (voxel,), updated.
    step : metric / (12 tv); |P| is at most 1.
    """
    for j in range(here.size):
        a, b, c = deeper[j] - here[j], higher[j] - here[j], right[j] - here[j]
        b, c = inside_y[j] * b, inside_x[j] * c
        # q = P^-1 p + step P grad x, one term along g
        lean = gz[j] * pz[j] + gy[j] * py[j] + gx[j] * px[j]
        lean -= step * along[j] * (gz[j] * a + gy[j] * b + gx[j] * c)
        a = pz[j] + step * a + lean * gz[j]
        b = py[j] + step * b + lean * gy[j]
        c = px[j] + step * c + lean * gx[j]
        shrink = np.float32(1) / np.sqrt(max(a * a + b * b + c * c, np.float32(1)))
        lean = along[j] * (gz[j] * a + gy[j] * b + gx[j] * c)
        pz[j] = shrink * (a - lean * gz[j])
        py[j] = shrink * (b - lean * gy[j])
        px[j] = shrink * (c - lean * gx[j])


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
