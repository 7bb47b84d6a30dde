"""The volume step of the solver in one sweep over memory (numba, float32, all cores).

At every voxel: the proximal map of coupling and non-negativity for the present TV dual, the step of
the dual, the proximal map again, then momentum and multiplier. Rows are taken in strips, and the
planes of a strip in order of z, so that the next stage finds in the cache what the previous one
wrote: each array is read and written once, where four passes would move 2.4 times the bytes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from . import add_power, jit, leaf
from .dual_step import Block, ascend, differences, dual_of, inside_plane
from .volume_kernels import (
    add_active,
    contrast,
    diagonal_solve,
    extrapolate,
    gradient_update,
    newton_extrapolate,
    newton_update,
    prox_center,
    prox_gradient,
    pulled,
    raise_multiplier,
    sherman_morrison_factor,
    solve_square,
    start_misfit,
    start_pull,
    start_sums,
)

Array = NDArray[np.float32]

BLOCK = 4096  # voxels: what the stages share of so many stays in the second cache
PLANES = 4  # least number in each thread's part of a volume
SHARED = 6  # scratch arrays beside the three of each element


class Fields(NamedTuple):
    """Arrays of the volume step for a batch of trials, the first axis of each.

    Parameters
    ----------
    volumes : iterate, (trial, element, z, y, x), concentrations.
    next_volumes : like ``volumes``, receives the next iterate.
    point : extrapolated iterate, like ``volumes``, updated.
    slope : gradient of the chemical term at ``point``, like ``volumes``.
    dual : TV dual in units of the TV weight, (trial, element, 3, z, y, x), components along z, y,
        x, updated; float32, on a GPU also float16.
    u : split variable of the coupling, (trial, z, y, x); empty without HAADF, like the next three.
    multiplier : scaled multiplier, like ``u``, updated.
    contrast : contrast s of the iterate, like ``u``, updated.
    residual : residual of the u-step, like ``u``, updated.
    guide : volume whose edges cost no TV, in units of the gradient from which on TV yields, (trial,
        z, y, x); empty without one.
    """

    volumes: Array
    next_volumes: Array
    point: Array
    slope: Array
    dual: Array
    u: Array
    multiplier: Array
    contrast: Array
    residual: Array
    guide: Array


class Steps(NamedTuple):
    """Numbers of the volume step.

    Parameters
    ----------
    metric : estimated curvature of the chemical term, (trial, element).
    tv : TV weight, (trial,).
    rho : weight of the coupling, (trial,).
    beta : momentum, (trial,), 0 to 1.
    ridge : ridge of the Gram operator, rho over the precision of HAADF.
    weights : contrast of each element, (element,).
    gamma : exponent of the contrast.
    """

    metric: Array
    tv: Array
    rho: Array
    beta: Array
    ridge: np.float32
    weights: Array
    gamma: float


def volume_step(f: Fields, s: Steps) -> NDArray[np.float64]:
    """Write the next iterate, and update dual, point, multiplier, contrast and residual.

    With a = point - slope/metric + tv div dual/metric and v = u - multiplier, one voxel-wise Newton
    step, from the present iterate, on

        minimise over x >= 0: sum_e metric_e/2 (x_e - a_e)^2 + rho/2 (sum_e w_e x_e^gamma - v)^2,

    then dual += metric/(12 tv) grad x projected on |dual| <= 1 (with a guide on its ellipsoids, of
    axes 1 to a tenth, :func:`~tomoatlas.recon_core.cpu.dual_step.project_guided_dual`), then the
    same from that x with the new dual; point <- x + beta (x - x before); multiplier += s(x) - u.
    The Hessian is diagonal plus rank one: Sherman-Morrison solves it. The second derivative of the
    contrast enters by its magnitude: the Hessian stays positive, and where the sum is below v no
    concentration more than doubles. For gamma = 1 that step would solve the problem without the
    bound, and clipping it afterwards leaves the sum above v, by as much as the negative
    concentrations had cancelled: the multiplier then drives the others too low, and the solve
    settles above the minimum. There the minimum itself is computed instead, whatever the present
    iterate.

    Parameters
    ----------
    f : arrays, updated in place.
    s : numbers of each trial.

    Returns
    -------
    array : (trial, block of voxels, 6), float64: |dx|^2, |x|^2, <metric (point before - x), dx>
        (positive when the momentum points uphill: O'Donoghue and Candes, 2015), |s - u|^2, |ds|^2,
        |u|^2.
    """
    depth, height, width = f.volumes.shape[2:]
    # a part of few planes would spend its time on the two planes it shares
    parts = max(1, min(numba.get_num_threads(), depth // PLANES))
    inside = inside_plane(height, width)
    sums: NDArray[np.float64] = _volume_step(_flat(f), s, inside, depth, width, parts)
    return sums


def _flat(f: Fields) -> Fields:
    """Return the same arrays with (z, y, x) as one axis; views, nothing is copied."""
    return Fields(*(a.reshape(*a.shape[:-3], math.prod(a.shape[-3:])) for a in f))


@jit
def _volume_step(
    f: Any, s: Any, inside: Array, depth: int, width: int, parts: int
) -> NDArray[np.float64]:
    batch, elements, size = f.volumes.shape
    plane = size // depth
    rows = min(max(1, BLOCK // width) * width, plane)
    blocks, most = (plane + rows - 1) // rows, rows + width
    sums = np.zeros((batch, depth * blocks, 6))
    # Parts meet at their first planes: each is stepped before, and finished after, all others.
    for task in numba.prange(batch * parts):
        trial, z = task // parts, (task % parts) * depth // parts
        scratch = np.empty((SHARED + 3 * elements, most), np.float32)
        for b in range(blocks):
            block = _block(trial, z, b, rows, plane, width)
            _backward(f, s, block, f.volumes, scratch)
    for task in numba.prange(batch * parts):
        trial, part = task // parts, task % parts
        first, last = part * depth // parts, (part + 1) * depth // parts
        scratch = np.empty((SHARED + 3 * elements, most), np.float32)
        # a strip of all planes before the next: what one stage wrote is still near for the next one
        for b in range(blocks):
            for z in range(first, last):
                # the dual of plane z needs the new iterate of plane z + 1
                if z + 1 < last:
                    block = _block(trial, z + 1, b, rows, plane, width)
                    _backward(f, s, block, f.volumes, scratch)
                # and that of the next row, which belongs to the next strip at the end of this one
                block = _lagging(trial, z, b, rows, plane, width)
                if s.tv[trial] > 0:
                    ascend(f, s, block, inside, scratch)
                # needs the dual of plane z - 1: that of the first plane is another thread's
                if z > first:
                    _finish(f, s, block, scratch, sums[trial, z * blocks + b])
    for task in numba.prange(batch * parts):
        trial, z = task // parts, (task % parts) * depth // parts
        scratch = np.empty((SHARED + 3 * elements, most), np.float32)
        for b in range(blocks):
            block = _lagging(trial, z, b, rows, plane, width)
            _finish(f, s, block, scratch, sums[trial, z * blocks + b])
    return sums


@leaf
def _block(trial: int, z: int, at: int, rows: int, plane: int, width: int) -> Block:
    """Return block ``at`` of plane z: ``rows`` voxels, or the remainder of the plane."""
    start, stop = z * plane + at * rows, z * plane + min((at + 1) * rows, plane)
    return Block(trial, start, stop, plane, width)


@leaf
def _lagging(trial: int, z: int, at: int, rows: int, plane: int, width: int) -> Block:
    """Return block ``at`` of plane z one row back; the last one reaches to the end of the plane."""
    start, stop = at * rows - width, (at + 1) * rows - width
    stop = stop if stop + width < plane else plane
    return Block(trial, z * plane + max(0, start), z * plane + stop, plane, width)


@leaf
def _backward(f: Any, s: Any, block: Block, origin: Array, scratch: Array) -> None:
    """Proximal map of one block for the present dual."""
    if s.gamma == 1.0 and f.u.shape[1] > 0:
        _minimise(f, s, block, scratch)
    else:
        _newton(f, s, block, origin, scratch)
        _update(f, s, block, origin, scratch)


@leaf
def _minimise(f: Any, s: Any, block: Block, scratch: Array) -> None:
    """Proximal map of one block for a linear contrast: the minimum itself.

    With c_e the minimum without coupling, x_e = max(0, c_e - rho w_e t / metric_e) where t = sum_e
    w_e x_e - v. The residual of that equation is convex and piecewise linear in t: Newton's method
    from below, which drops the elements that would be negative, ends at its root.
    """
    trial, start, stop, _, _ = block
    elements, n = f.volumes.shape[1], stop - start
    pull, a, b = scratch[0, :n], scratch[1, :n], scratch[2, :n]
    for e in range(elements):
        center, inverse = scratch[SHARED + 3 * e + 2, :n], np.float32(1) / s.metric[trial, e]
        dual, before = dual_of(f.dual[trial, e], block, scratch[3:SHARED])
        differences(dual, before, center)
        point, slope = f.point[trial, e, start:stop], f.slope[trial, e, start:stop]
        prox_center(point, slope, inverse, s.tv[trial], center)
    start_pull(pull)
    # each step but the last drops an element: as many steps as elements
    for _ in range(elements):
        start_sums(f.u[trial, start:stop], f.multiplier[trial, start:stop], a, b)
        for e in range(elements):
            lean = s.rho[trial] * s.weights[e] / s.metric[trial, e]
            add_active(scratch[SHARED + 3 * e + 2, :n], s.weights[e], lean, pull, a, b)
        for j in range(n):
            pull[j] = a[j] / b[j]
    for e in range(elements):
        lean = s.rho[trial] * s.weights[e] / s.metric[trial, e]
        out = f.next_volumes[trial, e, start:stop]
        pulled(scratch[SHARED + 3 * e + 2, :n], lean, pull, out)


@leaf
def _newton(f: Any, s: Any, block: Block, origin: Array, scratch: Array) -> None:
    """Prepare the proximal map of one block for the present dual: a Newton step from ``origin``."""
    trial, start, stop, _, _ = block
    elements, n = f.volumes.shape[1], stop - start
    # empty arrays stand for a problem without HAADF, so one signature serves both
    coupled = f.u.shape[1] > 0
    misfit, a, b = scratch[0, :n], scratch[1, :n], scratch[2, :n]
    square = s.gamma == 2.0
    if coupled:
        start_misfit(f.u[trial, start:stop], f.multiplier[trial, start:stop], misfit, a, b)
        for e in range(elements):
            slope, bend = scratch[SHARED + 3 * e, :n], scratch[SHARED + 3 * e + 1, :n]
            x = origin[trial, e, start:stop]
            if square:
                add_power(x, s.weights[e], 2.0, misfit)
            else:
                contrast(x, s.weights[e], s.gamma, slope, bend, misfit)
    for e in range(elements):
        lean, bend = scratch[SHARED + 3 * e, :n], scratch[SHARED + 3 * e + 1, :n]
        force, metric = scratch[SHARED + 3 * e + 2, :n], s.metric[trial, e]
        dual, before = dual_of(f.dual[trial, e], block, scratch[3:SHARED])
        x, point = origin[trial, e, start:stop], f.point[trial, e, start:stop]
        slope, tv, rho = f.slope[trial, e, start:stop], s.tv[trial], s.rho[trial]
        if coupled and square:
            numbers = (s.weights[e], metric, tv, rho)
            solve_square(x, point, slope, dual, before, numbers, misfit, (a, b), force, lean)
            continue
        prox_gradient(x, point, slope, dual, before, metric, tv, force)
        if coupled:
            diagonal_solve(force, lean, bend, misfit, metric, rho, a, b)
    if coupled:
        sherman_morrison_factor(s.rho[trial], a, b)


@leaf
def _update(f: Any, s: Any, block: Block, origin: Array, scratch: Array) -> None:
    """Take the Newton step of one block from ``origin``."""
    trial, start, stop, _, _ = block
    elements, n = f.volumes.shape[1], stop - start
    coupled, a = f.u.shape[1] > 0, scratch[1, :n]
    for e in range(elements):
        force, slope = scratch[SHARED + 3 * e + 2, :n], scratch[SHARED + 3 * e, :n]
        x, out = origin[trial, e, start:stop], f.next_volumes[trial, e, start:stop]
        if coupled:
            newton_update(x, force, slope, a, out)
        else:
            gradient_update(x, force, np.float32(1) / s.metric[trial, e], out)


@leaf
def _finish(f: Any, s: Any, block: Block, scratch: Array, sums: NDArray[np.float64]) -> None:
    """Apply the proximal map for the new dual, then momentum and multiplier, to one block."""
    trial, start, stop, _, _ = block
    n, coupled, moves = stop - start, f.u.shape[1] > 0, s.tv[trial] > 0
    newton = moves and coupled and s.gamma != 1.0
    if newton:
        _newton(f, s, block, f.next_volumes, scratch)
    elif moves:
        _backward(f, s, block, f.next_volumes, scratch)
    for e in range(f.volumes.shape[1]):
        old, new = f.volumes[trial, e, start:stop], f.next_volumes[trial, e, start:stop]
        point, beta, metric = f.point[trial, e, start:stop], s.beta[trial], s.metric[trial, e]
        if newton:
            force, slope = scratch[SHARED + 3 * e + 2, :n], scratch[SHARED + 3 * e, :n]
            newton_extrapolate(old, new, point, force, slope, scratch[1, :n], beta, metric, sums)
        else:
            extrapolate(old, new, point, beta, metric, sums)
    if coupled:
        # contrast of the new iterate, in scratch that the Newton step no longer needs
        total = scratch[0, :n]
        total[:] = np.float32(0)
        for e in range(f.volumes.shape[1]):
            add_power(f.next_volumes[trial, e, start:stop], s.weights[e], s.gamma, total)
        raise_multiplier(
            total,
            f.contrast[trial, start:stop],
            f.u[trial, start:stop],
            f.multiplier[trial, start:stop],
            f.residual[trial, start:stop],
            s.ridge,
            sums,
        )
