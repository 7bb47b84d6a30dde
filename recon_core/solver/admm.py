"""The one loop: alternating directions on the split fused problem, for a batch of trials.

The stiff direction of the objective is the summed contrast s(x) = sum_i w_i x_i^gamma under
A_h^T A_h. It is split off as u = s(x) with the scaled multiplier d (ADMM):

    u <- argmin  precision/2 ||A_h u - b||^2 + rho/2 ||u - s(x) - d||^2    one preconditioned step
    x <- argmin  chemistry(x) + tv TV(x) + rho/2 ||s(x) - u + d||^2        one accelerated step
    d <- d + s(x) - u

The x-step is forward-backward: a gradient step on the chemical term in a metric that estimates its
curvature, one warm-started dual step of the TV prox (Beck and Teboulle, 2009), and a voxel-wise
Newton step on the coupling, so no step length depends on the HAADF weight. The metric is no bound:
it is the largest eigenvalue of the Hessian at a few iterates, from below, times a margin. Momentum
restarts where it points uphill. Wherever the recorded objective has risen, the limit of the
momentum is halved and the metric doubled, for good: with strong TV it takes both. So a trial
that goes on rising ends in plain forward-backward steps with a warm dual, ever shorter. Such steps
converge for chemistry and TV alone, a convex problem, once the metric is above half the curvature
(Chen, Huang and Zhang, 2016). The fused problem is not convex (gamma > 1) and nothing is proven
of it; what is guaranteed is what is reported: primal residual s(x) - u, dual residual s(x) - s(x
before), and the objective itself at recorded steps, and a solve ends as converged only when all
three have settled.

Trials of a batch share data and projections, and nothing else: the result of a trial does not
depend on its batch. Everything stays on the problem's device; ten iterations apart, six numbers of
each trial come to the host. Every array of the loop is made before it, those of the estimates of
the curvature and of the objective included; what is left are sums by row of voxels, a few rows of
scratch and, on a GPU, up to five volumes of a trial that the FFT takes from cupy's pool.

``tests/benchmarks/convergence.py`` measures what was tried against it: proximal gradients,
prox-linear and primal-dual steps, subsets of tilts, conjugate gradients for u, other starts. At
HAADF weights 0.01 to 1, and in the corners of the search space, none ends more than 0.2 % lower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..cpu.volume_step import Fields, Steps
from ..result import Reconstruction, Status
from .convergence import Record, record_of, result_of, status_of
from .gram import Gram, gram_of
from .problem import FusedProblem
from .workspace import compacted, view_of

Array = NDArray[np.float32]
Values = NDArray[np.float64]
Monitor = Callable[[Array], float]

RIDGE = 0.02  # rho / (precision ||A_h||^2): larger is slower, smaller stalls
POWER_STEPS = 3
CURVATURE_MARGIN = 1.25  # three power iterations come to about 0.85 of the eigenvalue
REFRESH = 5  # a new curvature estimate after 5, 10, 20, 40 ... iterations
MOMENTUM = 0.5  # more, with one dual step per iteration, lets the TV dual lag and oscillate
CALMED = 0.5  # factor of that limit wherever the objective has risen: strong TV takes less
RAISED = 2.0  # factor of the metric there; less takes more rises to settle, more is slower after
RECORD = 10  # iterations between evaluations of the objective


@dataclass(frozen=True)
class Split:
    """The HAADF half: u, multiplier d, contrast s(x), residual of u; all (trial, z, y, x).

    ``rays`` (trial, angle, y, x) is working memory.
    """

    u: Array
    d: Array
    contrast: Array
    residual: Array
    rays: Array


@dataclass(frozen=True)
class FusionState:
    """Everything the loop carries; its arrays are working memory that each step reuses.

    ``volumes`` the iterate, ``spare`` room for the next, ``point`` the extrapolated iterate, all
    (trial, element, z, y, x); ``dual`` the TV dual (trial, element, 3, z, y, x) in units of the TV
    weight, zero at the far faces; ``rays`` room for chemical projections; ``room`` (trial, most)
    for these or for volumes, whatever is more; ``metric`` (trial, element) estimates the
    chemical curvature times ``caution`` (trial,), which starts at 1; ``momentum`` and ``limit`` of
    its factor (trial,); ``split`` and ``gram`` are None without HAADF. ``residuals`` (trial, 3):
    relative primal and dual residual, NaN where nothing is split, and change of the volumes.
    ``work`` counts projections of one trial (tilts times volumes, a pair counting once).
    """

    volumes: Array
    spare: Array
    point: Array
    dual: Array
    rays: Array
    room: Array
    metric: Array
    momentum: Values
    limit: Values
    caution: Values
    residuals: Values
    split: Split | None = None
    gram: Gram | None = None
    iteration: int = 0
    work: float = 0.0

    @property
    def slope(self) -> Array:
        """The gradient, (trial, element, z, y, x), in ``room``."""
        return view_of(self.room, self.volumes.shape)


def init(problem: FusedProblem, start: Array) -> FusionState:
    """State at ``start``, which must be positive where anything may be.

    ``start``: on the problem's device, (element, z, y, x) for all trials, or (trial, element, z, y,
    x), which the state then takes over.
    """
    xp, (batch, elements, *size) = problem.device.xp, problem.shape
    if start.shape != problem.shape:
        start = xp.broadcast_to(start, problem.shape).copy()
    volumes = xp.ascontiguousarray(start, dtype=np.float32)
    rays = xp.empty((batch, *problem.chemistry.counts.shape), np.float32)
    state = FusionState(
        volumes=volumes,
        spare=xp.empty_like(volumes),
        point=volumes.copy(),
        dual=xp.zeros((batch, elements, 3, *size), problem.device.dual_type),
        rays=rays,
        room=xp.empty((batch, max(volumes[0].size, rays[0].size)), np.float32),
        metric=xp.ones((batch, elements), np.float32),
        momentum=xp.ones(batch),
        limit=xp.where(problem.tv > 0, MOMENTUM, 1.0),
        caution=xp.ones(batch),
        residuals=xp.full((batch, 3), np.nan),
    )
    return split_off(problem, _refresh_metric(problem, state))


def split_off(problem: FusedProblem, state: FusionState) -> FusionState:
    """Start the HAADF half at the state's volumes: u = s(x), d = 0."""
    haadf, xp = problem.haadf, problem.device.xp
    if haadf is None:
        return replace(state, split=None, gram=None)
    gram = gram_of(problem.device, haadf.projector.geometry, RIDGE)
    contrast = problem.contrast(state.volumes)
    rays = haadf.projector.forward(contrast)
    residual = haadf.projector.adjoint(haadf.signal - rays)
    split = Split(contrast.copy(), xp.zeros_like(contrast), contrast, residual, rays)
    return replace(state, split=split, gram=gram, work=state.work + haadf.tilts)


def step(problem: FusedProblem, state: FusionState) -> FusionState:
    """One iteration, a pair of projections of each modality: u, then x and the multiplier."""
    if state.split is not None and state.gram is not None:
        u, residual, rays = state.split.u, state.split.residual, state.split.rays
        direction, image = view_of(state.room, u.shape), view_of(state.spare, u.shape)
        state.gram.descend(u, residual, rays, direction, image)
    if _due(state.iteration):
        state = _refresh_metric(problem, state)
    problem.chemistry.gradient(state.point, state.rays, out=state.slope)
    state = _volume_step(problem, state)
    work = state.work + problem.tilts_per_iteration
    return replace(state, iteration=state.iteration + 1, work=work)


def solve(
    problem: FusedProblem,
    state: FusionState,
    tolerance: float,
    max_iterations: float,
    monitor: Monitor | None = None,
) -> tuple[Reconstruction, ...]:
    """Step until every trial has converged or is out of work, at least once; one result a trial.

    Converged: over ten iterations the objective has changed by less than ``tolerance``
    (relative), both residuals are below ten times ``tolerance``, and the volumes are calm. Such a
    trial leaves the batch. ``max_iterations`` is in work: one pair of projections of each
    modality, evaluations of the objective counted. ``monitor`` sees the volumes, (trial, element,
    z, y, x) of the trials that go on, after every iteration. The arrays of ``state`` are spent.
    """
    unit = problem.tilts_per_iteration
    state, first = _record(problem, state)
    records = [[record] for record in first]
    results: dict[int, Reconstruction] = {}
    running = list(range(len(records)))
    while running:
        state = step(problem, state)
        if monitor is not None:
            monitor(problem.device.get(state.volumes))
        last, due = state.work >= max_iterations * unit, state.iteration % RECORD == 0
        if not (last or due):
            continue
        state, latest = _record(problem, state)
        for trial, record in zip(running, latest, strict=True):
            records[trial].append(record)
        state = _calmed(problem, state, [records[trial] for trial in running])
        ends = [status_of(records[trial], tolerance if due else 0.0) for trial in running]
        goes_on = [not last and status is Status.ITERATION_LIMIT for status in ends]
        stay = [at for at, goes in enumerate(goes_on) if goes]
        for at, (trial, status) in enumerate(zip(running, ends, strict=True)):
            if not goes_on[at]:
                volumes = problem.device.get(state.volumes[at])
                shared = len(records) > 1 and volumes.base is not None  # with other trials
                volumes = volumes.copy() if shared else volumes
                results[trial] = result_of(volumes, status, records[trial], unit)
        if len(stay) < len(running) and stay:
            problem, state = problem.of(stay), _kept(state, stay)
        running = [running[at] for at in stay]
    return tuple(results[trial] for trial in range(len(records)))


def _calmed(problem: FusedProblem, state: FusionState, records: list[list[Record]]) -> FusionState:
    """Less momentum and shorter steps where the objective has risen since the record before."""
    rose = [trial[-1].objective > trial[-2].objective for trial in records]
    if not any(rose):
        return state
    xp = problem.device.xp
    limit = xp.where(xp.asarray(rose), CALMED, 1.0) * state.limit
    raised = xp.where(xp.asarray(rose), RAISED, 1.0)
    metric = (raised[:, None] * state.metric).astype(np.float32)
    return replace(state, limit=limit, caution=raised * state.caution, metric=metric)


def _volume_step(problem: FusedProblem, state: FusionState) -> FusionState:
    """One accelerated forward-backward step on the volumes, and the multiplier."""
    xp = problem.device.xp
    following = 0.5 * (1.0 + xp.sqrt(1.0 + 4.0 * state.momentum**2))
    beta = xp.minimum((state.momentum - 1.0) / following, state.limit).astype(np.float32)
    arrays, steps = _fields(problem, state), _steps(problem, state, beta)
    sums = problem.device.kernels.volume_step(arrays, steps).sum(axis=1)
    change, size, uphill, gap, moved, target = sums.T  # no list as index: each is copied to a GPU
    of = xp.maximum(xp.stack([target, target, size], axis=1), 1e-30)
    residuals = xp.sqrt(xp.stack([gap, moved, change], axis=1) / of)
    if state.split is None:
        residuals[:, :2] = np.nan
    return replace(
        state,
        volumes=state.spare,
        spare=state.volumes,
        momentum=xp.where(uphill > 0, 1.0, following),
        residuals=residuals,
    )


def _fields(problem: FusedProblem, state: FusionState) -> Fields:
    if state.split is None:
        none = problem.device.xp.empty((len(problem.tv), 0, 0, 0), np.float32)
        halves = (none, none, none, none)
    else:
        split = state.split
        halves = (split.u, split.d, split.contrast, split.residual)
    return Fields(state.volumes, state.spare, state.point, state.slope, state.dual, *halves)


def _steps(problem: FusedProblem, state: FusionState, beta: Array) -> Steps:
    haadf, gram = problem.haadf, state.gram
    if haadf is None or gram is None:
        none = problem.device.xp.zeros(len(problem.tv), np.float32)
        return Steps(state.metric, problem.tv, none, beta, np.float32(0), state.metric[0], 2.0)
    rho = (haadf.precision * float(gram.ridge)).astype(np.float32)
    return Steps(state.metric, problem.tv, rho, beta, gram.ridge, haadf.weights, haadf.gamma)


def _refresh_metric(problem: FusedProblem, state: FusionState) -> FusionState:
    """Estimate the chemical curvature at the present volumes and drop the momentum."""
    xp = problem.device.xp
    margin = CURVATURE_MARGIN * state.caution[:, None]
    rooms = state.spare, state.rays, view_of(state.room, state.rays.shape)
    metric = problem.chemistry.curvature(state.volumes, POWER_STEPS, *rooms) * margin
    xp.copyto(state.point, state.volumes)
    return replace(
        state,
        metric=xp.maximum(metric, 1e-12).astype(np.float32),
        momentum=xp.ones_like(state.momentum),
        work=state.work + (POWER_STEPS + 0.5) * problem.chemistry.tilts,
    )


def _due(iteration: int) -> bool:
    count, rest = divmod(iteration, REFRESH)
    return rest == 0 and count > 0 and count & (count - 1) == 0


def _kept(state: FusionState, trials: Sequence[int]) -> FusionState:
    """The state of some of its trials."""
    split = compacted(state.split, trials) if state.split else None
    kept: FusionState = compacted(replace(state, split=split), trials)
    return kept


def _record(problem: FusedProblem, state: FusionState) -> tuple[FusionState, list[Record]]:
    """The state, half a pair of projections later, and a record of every trial."""
    split, device = state.split, problem.device
    rooms = (view_of(state.spare, split.u.shape), split.rays) if split else (None, None)
    terms = problem.terms(state.volumes, state.rays, *rooms)
    values = device.xp.stack([terms.haadf, terms.chemistry, terms.tv], axis=1)
    table = device.get(device.xp.concatenate([values, state.residuals], axis=1))
    state = replace(state, work=state.work + 0.5 * problem.tilts_per_iteration)
    return state, [record_of(state.work, row) for row in table]
