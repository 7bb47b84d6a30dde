"""The smooth part of the fused problem and one proximal step of the rest, in a voxel-wise metric.

What the rejected first-order candidates share. Poisson likelihood, one trial: volumes are (1,
element, z, y, x), the TV dual (1, element, 3, z, y, x) in units of the TV weight.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np

from tomoatlas.recon_core.cpu.dual_step import TV_DIVISOR
from tomoatlas.recon_core.cpu.kernels import jit
from tomoatlas.recon_core.geometry import TiltGeometry
from tomoatlas.recon_core.solver.likelihood import Poisson
from tomoatlas.recon_core.solver.problem import FusedProblem

Array = np.ndarray


def bend(problem: FusedProblem, x: Array) -> Array:
    """Derivative of the summed contrast by each concentration, gamma w x^(gamma - 1)."""
    haadf = problem.haadf
    scale = (haadf.gamma * haadf.weights)[:, None, None, None].astype(np.float32)
    return scale * np.maximum(x, 0) ** (haadf.gamma - 1)


def value_and_slope(problem: FusedProblem, x: Array) -> tuple[float, Array]:
    """Chemistry + HAADF and their gradient: one pair of projections of each modality."""
    slope = np.empty_like(x)
    rays = problem.chemistry.projector.forward(x)
    likelihood = Poisson(problem.chemistry.data)
    value = float(likelihood.value(rays).sum())
    likelihood.slope(rays)
    problem.chemistry.projector.adjoint(rays, out=slope)
    misfit = haadf_misfit(problem, x)
    value += 0.5 * precision(problem) * float(np.sum(np.square(misfit), dtype=np.float64))
    pull = problem.haadf.projector.adjoint(misfit)
    slope += np.float32(precision(problem)) * bend(problem, x) * pull[:, None]
    return value, slope


def value(problem: FusedProblem, x: Array) -> float:
    """Chemistry + HAADF: half a pair of projections of each modality."""
    return float((problem.chemistry.value(x) + problem.haadf.value(problem.contrast(x)))[0])


def roughness(problem: FusedProblem, x: Array) -> float:
    """The weighted TV term."""
    return float(problem.tv[0] * problem.device.kernels.total_variation(x).sum())


def haadf_misfit(problem: FusedProblem, x: Array) -> Array:
    """A_h s(x) - signal, (1, angle, y, x)."""
    return problem.haadf.projector.forward(problem.contrast(x)) - problem.haadf.signal


def precision(problem: FusedProblem) -> float:
    """Weight of the squared HAADF misfit."""
    return float(problem.haadf.precision[0])


def row_sums(problem: FusedProblem, x: Array, reach: float = 0.0) -> Array:
    """Row sums of the magnitudes of the Hessian's terms at ``x``: a diagonal bound of it.

    (Gershgorin; for the linear part De Pierro, 1995.) The contrast's derivative is that of at least
    ``reach`` of the element's largest concentration. Costs one and a half pairs of
    chemical projections and two of HAADF.
    """
    chemistry, haadf = problem.chemistry, problem.haadf
    rays = chemistry.projector.forward(np.ones_like(x))
    rays *= chemistry.counts / np.square(chemistry.expected(x))
    bound = chemistry.projector.adjoint(rays)
    bound *= np.square(chemistry.scale)[:, None, None, None]
    lean = bend(problem, floored(x, reach))
    spread = haadf.projector.adjoint(haadf.projector.forward(lean.sum(axis=1)))
    pull = np.abs(haadf.projector.adjoint(haadf_misfit(problem, x)))
    second = (haadf.gamma - 1) * lean / np.maximum(floored(x, reach), 1e-3)
    bound += np.float32(precision(problem)) * (lean * spread[:, None] + second * pull[:, None])
    return np.maximum(bound, 1e-3 * bound.max(axis=(2, 3, 4), keepdims=True)).astype(np.float32)


def floored(x: Array, reach: float) -> Array:
    """``x``, at least ``reach`` times each element's largest concentration."""
    return np.maximum(x, np.float32(reach) * x.max(axis=(2, 3, 4), keepdims=True))


def row_sums_work(problem: FusedProblem) -> float:
    """Projections taken by :func:`row_sums`."""
    return 1.5 * problem.chemistry.tilts + 2.0 * problem.haadf.tilts


def dual_step(problem: FusedProblem, metric: Array) -> Array:
    """Step of the TV dual at each voxel, the least metric of its differences over 12 tv."""
    least = metric.copy()
    for axis in (-3, -2, -1):
        here, there = np.moveaxis(least, axis, 0), np.moveaxis(metric, axis, 0)
        here[:-1] = np.minimum(here[:-1], there[1:])
    return least / (TV_DIVISOR * problem.tv[0])


def proximal(
    problem: FusedProblem, point: Array, slope: Array, dual: Array, metric: Array, step: Array
) -> Array:
    """One forward-backward step from ``point`` with one warm-started step of the TV dual."""
    after = np.empty_like(point)
    backward(point[0], slope[0], dual[0], metric[0], problem.tv[0], after[0])
    ascend(after[0], dual[0], step[0])
    backward(point[0], slope[0], dual[0], metric[0], problem.tv[0], after[0])
    return after


def subset(problem: FusedProblem, first: int, parts: int) -> FusedProblem:
    """The problem of every ``parts``-th tilt of both modalities from ``first`` on."""
    chemistry, haadf = problem.chemistry, problem.haadf
    some = slice(first, None, parts)

    def projector(geometry: TiltGeometry) -> object:
        chosen = replace(geometry, angles_deg=geometry.angles_deg[some])
        return problem.device.projector(chosen)

    counts = np.ascontiguousarray(chemistry.counts[:, some])
    signal = np.ascontiguousarray(haadf.signal[some])
    return replace(
        problem,
        chemistry=replace(
            chemistry, projector=projector(chemistry.projector.geometry), counts=counts
        ),
        haadf=replace(haadf, projector=projector(haadf.projector.geometry), signal=signal),
    )


@jit
def backward(
    point: Array, slope: Array, dual: Array, metric: Array, tv: np.float32, out: Array
) -> None:
    """Out = max(point - (slope - tv div dual) / metric, 0), voxel by voxel."""
    elements, depth, height, width = point.shape
    for task in numba.prange(elements * depth * height):
        e, z, y = task // (depth * height), (task // height) % depth, task % height
        pz, py, px = dual[e, 0, z, y], dual[e, 1, z, y], dual[e, 2, z, y]
        back, low = dual[e, 0, max(z - 1, 0), y], dual[e, 1, z, max(y - 1, 0)]
        has_back, has_low = np.float32(z > 0), np.float32(y > 0)
        a, s, m, o = point[e, z, y], slope[e, z, y], metric[e, z, y], out[e, z, y]
        for j in range(width):
            left = px[j - 1] if j > 0 else np.float32(0)
            spread = pz[j] - has_back * back[j] + py[j] - has_low * low[j] + px[j] - left
            o[j] = max(a[j] - (s[j] - tv * spread) / m[j], np.float32(0))


@jit
def ascend(x: Array, dual: Array, step: Array) -> None:
    """Dual += step grad x, each voxel's vector projected on the unit ball."""
    elements, depth, height, width = x.shape
    for task in numba.prange(elements * depth * height):
        e, z, y = task // (depth * height), (task // height) % depth, task % height
        here, t = x[e, z, y], step[e, z, y]
        deeper, higher = x[e, min(z + 1, depth - 1), y], x[e, z, min(y + 1, height - 1)]
        pz, py, px = dual[e, 0, z, y], dual[e, 1, z, y], dual[e, 2, z, y]
        for j in range(width):
            a = pz[j] + t[j] * (deeper[j] - here[j])
            b = py[j] + t[j] * (higher[j] - here[j])
            c = px[j] + t[j] * (here[min(j + 1, width - 1)] - here[j])
            shrink = np.float32(1) / np.sqrt(max(a * a + b * b + c * c, np.float32(1)))
            pz[j], py[j], px[j] = a * shrink, b * shrink, c * shrink
