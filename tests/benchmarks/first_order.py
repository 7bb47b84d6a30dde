"""Candidates without a split: proximal gradients, prox-linear steps, primal-dual, subsets of tilts.

Each yields its iterate, (1, element, z, y, x), and the projections spent so far (tilts times
volumes, a pair counting once). All lost to the split (:mod:`candidates`); they are here to show by
how much. Parameters were chosen at 32^3, haadf 0.03 and 0.1, tv 1, and kept where they hold in the
corners of the default space; what was tried stands in brackets. Of these, a start from half the
resolution or from weaker HAADF weights (0.01, 0.1) brought none near the split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np
from smooth import (
    ascend,
    backward,
    bend,
    dual_step,
    floored,
    haadf_misfit,
    precision,
    proximal,
    roughness,
    row_sums,
    row_sums_work,
    subset,
    value,
    value_and_slope,
)

from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver.admm import metric_due, prox_step
from tomoatlas.recon_core.solver.gram import gram_of
from tomoatlas.recon_core.solver.multiresolution import initial_state
from tomoatlas.recon_core.solver.problem import FusedProblem
from tomoatlas.recon_core.solver.state import FusionState
from tomoatlas.recon_core.tiltseries import TiltSeries

Array = np.ndarray
Iterates = Iterator[tuple[Array, float]]

SETTINGS = SolverSettings()
NOT_COARSER = 10**6
ROUNDING = 1e-6  # of the smooth part's value


def from_counts(series: TiltSeries, weights: Weights) -> tuple[FusedProblem, FusionState]:
    """The start of every candidate that has no coarse one: chemistry + TV, 20 steps."""
    return initial_state(series, [weights], SETTINGS, CPU, NOT_COARSER)


def gradient(series: TiltSeries, weights: Weights) -> Iterates:
    """Accelerated proximal gradient with one step length for each element."""
    problem, state = from_counts(series, weights)
    state = replace(state, limit=np.ones(1))
    while True:
        yield state.volumes, state.work
        state = gradient_step(problem, state)


def gradient_step(problem: FusedProblem, state: FusionState) -> FusionState:
    """One step on the whole objective, its HAADF term not split.

    The metric adds the row sums of J^T J ||A||^2, J = gamma w x^(gamma - 1) at its largest.
    """
    lean = bend(problem, state.point)
    _, state.slope[...] = value_and_slope(problem, state.point)
    square = float(gram_of(CPU, problem.haadf.projector, 1.0).ridge)
    tops = lean.max(axis=(0, 2, 3, 4))
    added = precision(problem) * square * tops * tops.sum()
    own = replace(state, metric=(state.metric + added).astype(np.float32), coupling=None, gram=None)
    after = prox_step(replace(problem, haadf=None), own)
    work = state.work + problem.tilts_per_iteration
    return replace(
        after,
        metric=state.metric,
        iteration=state.iteration + 1,
        work=work,
        coupling=state.coupling,
    )


def local_majoriser(
    series: TiltSeries, weights: Weights, limit: float = 0.5, shrink: float = 0.7
) -> Iterates:
    """Accelerated proximal gradient, its voxel-wise metric backtracked to a majoriser.

    The metric is a factor times the row sums of the Hessian at a recent point. The factor doubles
    until the quadratic model lies above the smooth part at the new iterate; then it shrinks, never
    below twice a factor with which the objective rose, where the one dual step of TV lags.
    ``limit`` of the momentum (0.5, 0.9, 1: the last with strong TV far from settled), ``shrink`` of
    the factor (0.7, 0.9).
    """
    problem, state = from_counts(series, weights)
    x, dual, work, unit = state.volumes, state.dual, state.work, problem.tilts_per_iteration
    point, momentum, factor, least, objective = x.copy(), 1.0, 1.0, 1e-3, np.inf
    for iteration in count():
        yield x, work
        if iteration % 10 == 0:
            bound = row_sums(problem, x)
            step, work = dual_step(problem, bound), work + row_sums_work(problem)
        here, slope = value_and_slope(problem, point)
        work += unit
        while True:
            metric = np.float32(factor) * bound
            after = proximal(problem, point, slope, dual, metric, np.float32(factor) * step)
            there, work = value(problem, after), work + 0.5 * unit
            move = after - point
            if there <= here + _dot(move, slope + 0.5 * metric * move) + ROUNDING * abs(here):
                break
            factor *= 2.0
        before, objective = objective, there + roughness(problem, after)
        restart = objective > before or _dot(metric * (point - after), after - x) > 0
        least = 2.0 * factor if objective > before else least
        momentum, beta = (1.0, 0.0) if restart else _following(momentum)
        point = after + np.float32(min(beta, limit)) * (after - x)
        x, factor = after, max(shrink * factor, least)


def prox_linear(
    series: TiltSeries, weights: Weights, inner: int = 10, damping: float = 1.0
) -> Iterates:
    """Gauss-Newton: s linearised at x, a few accelerated steps on that convex problem, damped.

    min over z: chemistry(z) + tv TV(z) + precision/2 ||A_h (s(x) + s'(x)(z - x)) - b||^2
    + damping/2 ||z - x||^2 in the chemical metric. Where the objective rises x stays and the
    damping is four times as large, else half (Levenberg, Marquardt; Lewis and Wright, 2016).
    ``inner`` steps (3, 5, 10), first ``damping`` (0.1, 1).
    """
    problem, state = from_counts(series, weights)
    x, dual, work, unit = state.volumes, state.dual, state.work, problem.tilts_per_iteration
    square = np.float32(float(gram_of(CPU, problem.haadf.projector, 1.0).ridge))
    objective, work = float(problem.terms(x).objective[0]), work + 0.5 * unit
    while True:
        yield x, work
        misfit, lean = haadf_misfit(problem, x), bend(problem, x)
        mass = np.float32(damping) * state.metric[..., None, None, None]
        metric = mass + state.metric[..., None, None, None]
        metric = metric + np.float32(precision(problem)) * square * lean * lean.sum(axis=1)[:, None]
        step = dual_step(problem, metric)
        before, point, momentum = x, x.copy(), 1.0
        for _ in range(inner):
            slope = _linearised_slope(problem, x, point, misfit, lean) + mass * (point - x)
            after = proximal(problem, point, slope, dual, metric, step)
            momentum, beta = _following(momentum)
            point, before = after + np.float32(beta) * (after - before), after
        ended = float(problem.terms(before).objective[0])
        work += (inner + 0.5) * unit + 0.5 * problem.haadf.tilts
        accepted = ended <= objective
        damping = max(damping * (0.5 if accepted else 4.0), 1e-4)
        if accepted:
            x, objective = before, ended


def _linearised_slope(
    problem: FusedProblem, x: Array, point: Array, misfit: Array, lean: Array
) -> Array:
    """Gradient of chemistry and of the HAADF term with s linearised at ``x``."""
    projector, slope = problem.haadf.projector, np.empty_like(x)
    rays = np.empty((len(x), *problem.chemistry.counts.shape), np.float32)
    problem.chemistry.gradient(point, rays, slope)
    rays = misfit + projector.forward((lean * (point - x)).sum(axis=1))
    slope += np.float32(precision(problem)) * lean * projector.adjoint(rays)[:, None]
    return slope


def primal_dual(
    series: TiltSeries, weights: Weights, data: float = 0.1, edges: float = 2.0, reach: float = 0.3
) -> Iterates:
    """NL-PDHGM (Valkonen, 2014) with the diagonal steps of Pock and Chambolle (2011).

    Duals y of the HAADF misfit, q of the Poisson likelihood, and of TV for K(x) = (A_h s(x), A_c x,
    tv grad x). ``data`` weighs the first two blocks, in units of the curvature of their terms
    (0.01, 0.03, 0.05, 0.1, 0.3, 1), ``edges`` the third (0.2, 2, 20: no matter). K' is taken at
    least at ``reach`` times the largest concentration (0.1, 0.3, 0.5, 1): with none it diverges.
    """
    problem, state = from_counts(series, weights)
    chemistry, haadf = problem.chemistry, problem.haadf
    x, dual = state.volumes, state.dual
    work = state.work + 0.5 * problem.tilts_per_iteration
    weight, scale = np.float32(precision(problem)), chemistry.scale[:, None, None, None]
    y, q = weight * haadf_misfit(problem, x), 1.0 - chemistry.ratio(x)
    for iteration in count():
        yield x, work
        if iteration == 0 or metric_due(iteration):
            sigma_y, sigma_q, metric = _diagonal_steps(problem, floored(x, reach), data, edges)
            work += haadf.tilts
        slope = chemistry.projector.adjoint(q * scale)
        slope += bend(problem, x) * haadf.projector.adjoint(y)[:, None]
        after = np.empty_like(x)
        backward(x[0], slope[0], dual[0], metric[0], problem.tv[0], after[0])
        ahead = 2.0 * after - x
        y += sigma_y * haadf_misfit(problem, np.maximum(ahead, 0))
        y /= 1.0 + sigma_y / weight
        expected = scale * chemistry.projector.forward(ahead)
        expected += chemistry.background[:, None, None, None]
        v = q + sigma_q * expected
        q = 0.5 * (v + 1.0 - np.sqrt(np.square(v - 1.0) + 4.0 * sigma_q * chemistry.counts))
        ascend(ahead[0], dual[0], np.full_like(ahead[0], 0.5 * edges))
        x, work = after, work + problem.tilts_per_iteration


def _diagonal_steps(
    problem: FusedProblem, x: Array, data: float, edges: float
) -> tuple[Array, Array, Array]:
    """Steps of y and q, weight over row sum of |K'|, and the inverse of x's, its column sums."""
    chemistry, haadf = problem.chemistry, problem.haadf
    scale, lean = chemistry.scale[:, None, None, None], bend(problem, x)
    rows_y = haadf.projector.forward(lean.sum(axis=1))
    rows_y = np.maximum(rows_y, 1e-2 * rows_y.mean())
    rows_q = scale * chemistry.projector.forward(np.ones_like(x))
    of_y = data * precision(problem) * rows_y.mean()
    mean = chemistry.counts.mean(axis=(1, 2, 3), keepdims=True)
    of_q = data * rows_q.mean(axis=(2, 3, 4), keepdims=True) / mean
    columns = of_y * lean * haadf.projector.adjoint(np.ones_like(rows_y))[:, None]
    columns += of_q * scale * chemistry.projector.adjoint(np.ones_like(rows_q))
    columns += 6.0 * edges * problem.tv[0]
    steps = (of_y / rows_y, of_q / np.maximum(rows_q, 1e-2 * rows_q.mean()), columns)
    return tuple(each.astype(np.float32) for each in steps)


def subsets(
    series: TiltSeries, weights: Weights, parts: int = 9, shorter: float = 3.0, reach: float = 0.1
) -> Iterates:
    """Ordered subsets of tilts, their variance reduced: proximal SAGA (Defazio et al., 2014).

    Every ``parts``-th tilt of both modalities is a subset, taken in turn; the last gradient of each
    is kept. The metric is ``shorter`` times (1, 1.5, 2, 3, 10) the row sums of the Hessian, new
    every tenth pass, the bend of the contrast that of at least ``reach`` times the largest
    concentration (0, 0.03, 0.05, 0.1, 0.3, 1). Fewer subsets (3) are as slow as longer steps are
    unsafe: 1 is faster at tv = 1 and diverges at tv = 6.
    """
    problem, state = from_counts(series, weights)
    x, dual, work = state.volumes, state.dual, state.work
    pieces = [subset(problem, first, parts) for first in range(parts)]
    kept = [value_and_slope(piece, x)[1] for piece in pieces]
    mean, work = sum(kept), work + problem.tilts_per_iteration
    for iteration in count():
        yield x, work
        at = iteration % parts
        if iteration % (10 * parts) == 0:
            metric = np.float32(shorter) * row_sums(problem, x, reach)
            step, work = dual_step(problem, metric), work + row_sums_work(problem)
        fresh = value_and_slope(pieces[at], x)[1]
        change = fresh - kept[at]
        x = proximal(problem, x, mean + np.float32(parts) * change, dual, metric, step)
        mean += change
        kept[at], work = fresh, work + pieces[at].tilts_per_iteration


def _following(momentum: float) -> tuple[float, float]:
    """The next momentum and the factor of the extrapolation (Beck and Teboulle, 2009)."""
    after = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
    return after, (momentum - 1.0) / after


def _dot(a: Array, b: Array) -> float:
    return float(np.sum(a * b, dtype=np.float64))
