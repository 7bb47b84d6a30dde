"""The one loop: alternating directions on the split fused problem.

The stiff direction of the objective is the summed contrast s(x) = sum_i w_i x_i^gamma under
A_h^T A_h. It is split off as u = s(x) with the scaled multiplier d (ADMM):

    u <- argmin  precision/2 ||A_h u - b||^2 + rho/2 ||u - s(x) - d||^2    one preconditioned step
    x <- argmin  chemistry(x) + tv TV(x) + rho/2 ||s(x) - u + d||^2        one accelerated step
    d <- d + s(x) - u

The x-step is forward-backward: a gradient step on the chemical term in a metric that bounds its
curvature, one warm-started dual step of the TV prox (Beck and Teboulle, 2009), and a voxel-wise
Newton step on the coupling, so no step length depends on the HAADF weight. The problem is not
convex (gamma > 1); what is guaranteed is what is reported: primal residual s(x) - u, dual residual
s(x) - s(x before), and the objective itself at recorded steps, and a solve ends as converged only
when all three have settled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon_core.fusion import FusedProblem, Terms
from recon_core.gram import Gram, gram_of
from recon_core.kernels import coupled_prox, dot, dual_step, extrapolate, positive_prox
from recon_core.result import History, Reconstruction, Status

Array = NDArray[np.float32]
Monitor = Callable[[Array], float]

RIDGE = 0.02  # rho / (precision ||A_h||^2): larger is slower, smaller stalls
TV_DIVISOR = 12.0  # ||grad||^2 in 3D: the dual step is metric / 12
POWER_STEPS = 3
CURVATURE_MARGIN = 1.25  # three power iterations come within a fifth of the bound, from below
REFRESH = 5  # a new curvature bound after 5, 10, 20, 40 ... iterations
MOMENTUM = 0.5  # more, with one dual step per iteration, lets the TV dual lag and oscillate
RECORD = 10  # iterations between evaluations of the objective
CALM = 100.0  # times the tolerance: relative change per iteration of volumes that do not oscillate
DIVERGED = 1e3  # times the first objective


@dataclass(frozen=True)
class Split:
    """Variables of the HAADF half: u, multiplier d, contrast s(x), residual of u; all (z, y, x)."""

    gram: Gram
    u: Array
    d: Array
    contrast: Array
    residual: Array


@dataclass(frozen=True)
class FusionState:
    """Everything the loop carries; its arrays are working memory that each step reuses.

    ``volumes`` the iterate, ``spare`` room for the next, ``point`` the extrapolated iterate,
    ``slope`` the gradient, all (element, z, y, x); ``dual`` the TV dual (3, element, z, y, x);
    ``metric`` (element,) bounds the chemical curvature; ``split`` is None without HAADF.
    ``work`` counts projections (tilts times volumes, a pair counting once).
    """

    volumes: Array
    spare: Array
    point: Array
    slope: Array
    dual: Array
    metric: Array
    split: Split | None
    momentum: float = 1.0
    iteration: int = 0
    work: float = 0.0
    change: float = np.inf
    primal: float = np.nan
    dual_residual: float = np.nan


def init(problem: FusedProblem, start: Array) -> FusionState:
    """State at ``start`` (element, z, y, x), which must be positive where anything may be."""
    state = FusionState(
        volumes=start.copy(),
        spare=np.empty_like(start),
        point=start.copy(),
        slope=np.empty_like(start),
        dual=np.zeros((3, *start.shape), np.float32),
        metric=np.ones(len(start), np.float32),
        split=None,
    )
    return couple(problem, _refresh_metric(problem, state))


def couple(problem: FusedProblem, state: FusionState) -> FusionState:
    """Start the HAADF half at the state's volumes: u = s(x), d = 0."""
    haadf = problem.haadf
    if haadf is None:
        return replace(state, split=None)
    gram = gram_of(haadf.projector.geometry, RIDGE)
    contrast = problem.contrast(state.volumes)
    residual = haadf.projector.adjoint(haadf.signal - haadf.projector.forward(contrast))
    split = Split(gram, contrast.copy(), np.zeros_like(contrast), contrast, residual)
    return replace(state, split=split, work=state.work + haadf.tilts)


def step(problem: FusedProblem, state: FusionState) -> FusionState:
    """One iteration, a pair of projections of each modality: u, then x, then the multiplier."""
    if state.split is not None and problem.haadf is not None:
        state.split.gram.descend(state.split.u, state.split.residual)
        state = replace(state, work=state.work + problem.haadf.tilts)
    if _due(state.iteration):
        state = _refresh_metric(problem, state)
    state = replace(_volume_step(problem, state), iteration=state.iteration + 1)
    return _multiplier_step(problem, state) if state.split is not None else state


def solve(
    problem: FusedProblem,
    state: FusionState,
    tolerance: float,
    max_iterations: float,
    monitor: Monitor | None = None,
) -> Reconstruction:
    """Step until converged or out of work, at least once.

    Converged: over ten iterations the objective has changed by less than ``tolerance``
    (relative), both residuals are below ten times ``tolerance``, and the volumes are calm.
    ``max_iterations`` is in work: one pair of projections of each modality; the evaluations of the
    objective, half a pair in ten iterations, are not counted. ``monitor`` sees the volumes after
    every iteration.
    """
    unit = problem.tilts_per_iteration
    records = [_record(problem, state)]
    status, last = Status.ITERATION_LIMIT, False
    while status is Status.ITERATION_LIMIT and not last:
        state = step(problem, state)
        last = state.work >= max_iterations * unit
        if monitor is not None:
            monitor(state.volumes)
        due = state.iteration % RECORD == 0
        if last or due:
            records.append(_record(problem, state))
            status = _judge(records, tolerance if due else 0.0)
    return Reconstruction(
        state.volumes, status, state.work / unit, _history(records, unit), _REMEDY[status]
    )


def _judge(records: list[_Record], tolerance: float) -> Status:
    first, before, last = records[0].terms, records[-2].terms, records[-1]
    value = last.terms.objective
    if not np.isfinite(value) or value > DIVERGED * first.objective:
        return Status.DIVERGED
    settled = abs(before.objective - value) < tolerance * value and last.change < CALM * tolerance
    if last.primal == last.primal:  # NaN where nothing is split
        settled = settled and max(last.primal, last.dual) < 10.0 * tolerance
    return Status.CONVERGED if settled else Status.ITERATION_LIMIT


def _volume_step(problem: FusedProblem, state: FusionState) -> FusionState:
    """One accelerated forward-backward step on the volumes."""
    problem.chemistry.gradient(state.point, out=state.slope)
    slope = state.slope
    slope /= -state.metric[:, None, None, None]
    slope += state.point
    target = state.split.u - state.split.d if state.split is not None else None
    _backward(problem, state, target, state.volumes)
    if problem.tv:
        dual_step(state.spare, state.metric / TV_DIVISOR, np.float32(problem.tv), state.dual)
        _backward(problem, state, target, state.spare)
    state = replace(state, work=state.work + problem.chemistry.tilts)
    return _accelerate(state, MOMENTUM if problem.tv else 1.0)


def _backward(
    problem: FusedProblem, state: FusionState, target: Array | None, start: Array
) -> None:
    """Proximal map of coupling and non-negativity for the current TV dual, into ``spare``."""
    if target is None or problem.haadf is None or state.split is None:
        positive_prox(state.slope, state.dual, state.metric, state.spare)
        return
    haadf = problem.haadf
    rho = np.float32(haadf.precision * state.split.gram.ridge)
    coupled_prox(
        state.slope,
        state.dual,
        start,
        target,
        haadf.weights,
        state.metric,
        rho,
        haadf.gamma,
        state.spare,
    )


def _accelerate(state: FusionState, limit: float) -> FusionState:
    """Nesterov extrapolation, restarted when the momentum points uphill."""
    following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * state.momentum**2))
    beta = np.float32(min((state.momentum - 1.0) / following, limit))
    flat = (len(state.volumes), -1, state.volumes.shape[-1])
    sums = extrapolate(
        state.volumes.reshape(flat),
        state.spare.reshape(flat),
        beta,
        state.metric,
        state.point.reshape(flat),
    ).sum(axis=1)
    return replace(
        state,
        volumes=state.spare,
        spare=state.volumes,
        momentum=1.0 if sums[2] > 0 else float(following),
        change=float(np.sqrt(sums[0] / max(sums[1], 1e-30))),
    )


def _multiplier_step(problem: FusedProblem, state: FusionState) -> FusionState:
    """Raise the multiplier by the primal residual; keep the u residual true for the next u."""
    if state.split is None:
        raise ValueError("the multiplier step needs the split state")
    split, contrast = state.split, problem.contrast(state.volumes)
    moved, gap = contrast - split.contrast, contrast - split.u
    size = max(_norm(split.u), 1e-30)
    np.add(split.d, gap, out=split.d)
    np.add(split.residual, np.float32(split.gram.ridge) * (moved + gap), out=split.residual)
    return replace(
        state,
        split=replace(split, contrast=contrast),
        primal=_norm(gap) / size,
        dual_residual=_norm(moved) / size,
    )


def _refresh_metric(problem: FusedProblem, state: FusionState) -> FusionState:
    """Bound the chemical curvature at the present volumes and drop the momentum."""
    bound = problem.chemistry.curvature(state.volumes, POWER_STEPS) * CURVATURE_MARGIN
    np.copyto(state.point, state.volumes)
    return replace(
        state,
        metric=np.maximum(bound, 1e-12).astype(np.float32),
        momentum=1.0,
        work=state.work + (POWER_STEPS + 0.5) * problem.chemistry.tilts,
    )


def _due(iteration: int) -> bool:
    count, rest = divmod(iteration, REFRESH)
    return rest == 0 and count > 0 and count & (count - 1) == 0


@dataclass(frozen=True)
class _Record:
    work: float
    terms: Terms
    primal: float
    dual: float
    change: float


def _record(problem: FusedProblem, state: FusionState) -> _Record:
    terms = problem.terms(state.volumes)
    return _Record(state.work, terms, state.primal, state.dual_residual, state.change)


def _history(records: list[_Record], unit: float) -> History:
    return History(
        iterations=tuple(r.work / unit for r in records),
        haadf=tuple(r.terms.haadf for r in records),
        chemistry=tuple(r.terms.chemistry for r in records),
        tv=tuple(r.terms.tv for r in records),
        primal=tuple(r.primal for r in records),
        dual=tuple(r.dual for r in records),
        change=tuple(r.change for r in records),
    )


def _norm(array: Array) -> float:
    rows = array.reshape(-1, array.shape[-1])
    return float(np.sqrt(dot(rows, rows).sum()))


_REMEDY = {
    Status.CONVERGED: "",
    Status.ITERATION_LIMIT: "not converged: raise max_iterations or tolerance",
    Status.DIVERGED: "the objective grew without bound: check counts, backgrounds and scales",
}
