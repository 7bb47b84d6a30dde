"""The one loop: alternating directions on the split fused problem, for a batch of trials.

The stiff direction of the objective is the summed contrast s(x) = sum_i w_i x_i^gamma under A_h^T
A_h. It is split off as u = s(x) with the scaled multiplier d (ADMM; Boyd et al., Found. Trends
Mach. Learn. 3, 1 (2011)):

    u <- argmin  precision/2 ||A_h u - b||^2 + rho/2 ||u - s(x) - d||^2    one conjugate step
    x <- argmin  chemistry(x) + tv TV(x) + rho/2 ||s(x) - u + d||^2        one accelerated step
    d <- d + s(x) - u

The x-step is forward-backward: a gradient step on the chemical term in a metric that estimates its
curvature, one warm-started dual step of the TV prox (Chambolle, 2004; Beck and Teboulle, 2009), and
a voxel-wise Newton step on the coupling, so no step length depends on the HAADF weight. The metric
is no bound: it is the largest eigenvalue of the Hessian at a few iterates, from below, times a
margin. Momentum restarts where it points uphill (O'Donoghue and Candes, 2015). Each time the
recorded objective has risen, the limit of the momentum is halved and the metric doubled, for good:
with strong TV it takes both. So a trial that keeps rising ends in plain forward-backward steps with
a warm dual, ever shorter. Such steps converge for chemistry and TV alone, a convex problem, once
the metric is above half the curvature (Chen, Huang and Zhang, 2016). The fused problem is not
convex (gamma > 1) and nothing is proven about it; what is guaranteed is what is reported: primal
residual s(x) - u, dual residual s(x) - s(x before), and the objective itself at recorded steps. A
solve ends as converged only when all three have settled.

Trials of a batch share data and projections, and nothing else: the result of a trial does not
depend on its batch. Everything stays on the problem's device; every ten iterations six numbers per
trial are copied to the host. Every array of the loop is allocated before it, those for estimating
the curvature and the objective included; the rest are sums by row of voxels, a few rows of scratch
and, on a GPU, up to five volumes of a trial that the FFT takes from cupy's pool.

``tests/benchmarks/convergence.py`` measures the alternatives: proximal gradients, prox-linear and
primal-dual steps, subsets of tilts, conjugate gradients for u, other initial states. At HAADF
weights 0.01 to 1, and in the corners of the search space, none ends more than 0.2 % lower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..cpu.volume_step import Fields, Steps
from ..result import Reconstruction, Status
from ..settings import RECORD_EVERY
from .convergence import ConvergenceRecord, record_of, result_of, status_of
from .gram import Line, gram_of
from .problem import FusedProblem
from .state import Coupling, FusionState, compacted, view_of

Array = NDArray[np.float32]
Values = NDArray[np.float64]
Monitor = Callable[[Array], float]

RIDGE = 0.02  # rho / (precision ||A_h||^2): larger is slower, smaller stalls
CONVEX_RIDGE = 0.03  # where the problem is convex; others end up to 0.2 % higher
POWER_STEPS = 3
CURVATURE_MARGIN = 1.25  # three power iterations come to about 0.85 of the eigenvalue
REFRESH_EVERY = 5  # a new curvature estimate after 5, 10, 20, 40 ... iterations
STEADY = 1.05  # times the metric before: up to there momentum outlives a new estimate, if convex
RESTART = 6  # steps of u after which its last one is forgotten: more swing up
MOMENTUM = 0.9  # more lets the TV dual, of one step per iteration, lag and oscillate
CALMED = 0.5  # factor of that limit wherever the objective has risen: strong TV takes less
RAISED = 2.0  # factor of the metric there; less takes more rises to settle, more is slower after


def init(problem: FusedProblem, volumes: Array) -> FusionState:
    """Create the state of a solve at given volumes, which must be positive where anything may be.

    Parameters
    ----------
    problem : terms, weights and device.
    volumes : concentrations on the problem's device, (element, z, y, x) for all trials, or (trial,
        element, z, y, x), which the state then takes over.

    Returns
    -------
    FusionState : with all arrays allocated, the dual 0 and the metric estimated.
    """
    xp, (batch, elements, *size) = problem.device.xp, problem.shape
    if volumes.shape != problem.shape:
        volumes = xp.broadcast_to(volumes, problem.shape).copy()
    volumes = xp.ascontiguousarray(volumes, dtype=np.float32)
    rays = xp.empty((batch, *problem.chemistry.counts.shape), np.float32)
    dual_shape = (batch, elements, problem.regulariser.components, *size)
    state = FusionState(
        volumes=volumes,
        next_volumes=xp.empty_like(volumes),
        point=volumes.copy(),
        dual=xp.zeros(dual_shape, problem.device.dual_type),
        rays=rays,
        workspace=xp.empty((batch, max(volumes[0].size, rays[0].size)), np.float32),
        metric=xp.ones((batch, elements), np.float32),
        momentum=xp.ones(batch),
        limit=xp.where(problem.tv > 0, MOMENTUM, 1.0),
        caution=xp.ones(batch),
        residuals=xp.full((batch, 3), np.nan),
        push=xp.zeros((batch, elements)),
    )
    # every later array is a view of these: the loop allocates no volume
    return start_coupling(problem, refresh_metric(problem, state))


def start_coupling(problem: FusedProblem, state: FusionState) -> FusionState:
    """Start the coupling at the state's volumes, u = s(x) and d = 0.

    Parameters
    ----------
    problem : without HAADF term there is no coupling.
    state : of a solve with or without coupling.

    Returns
    -------
    FusionState : with a new coupling and Gram operator, or with None for both.
    """
    haadf, xp = problem.haadf, problem.device.xp
    if haadf is None:
        return replace(state, coupling=None, gram=None)
    ridge = CONVEX_RIDGE if problem.convex else RIDGE
    gram = gram_of(problem.device, haadf.projector, ridge)
    contrast = problem.contrast(state.volumes)
    # at u = s(x), d = 0 the ridge drops out: the residual of the u-step is A^T (b - A u)
    rays = haadf.projector.forward(contrast)
    residual = haadf.projector.adjoint(haadf.signal - rays)
    multiplier, *last = (xp.zeros_like(contrast) for _ in range(3))
    coupling = Coupling(contrast.copy(), multiplier, contrast, residual, rays, *last)
    return replace(state, coupling=coupling, gram=gram, work=state.work + haadf.tilts)


def step(problem: FusedProblem, state: FusionState) -> FusionState:
    """Carry out one iteration: u, then x and the multiplier.

    It costs a pair of projections of each modality.

    Parameters
    ----------
    problem : terms, weights and device.
    state : its arrays are reused and must not be read afterwards.

    Returns
    -------
    FusionState : one iteration on.
    """
    if state.coupling is not None and state.gram is not None:
        coupling, u = state.coupling, state.coupling.u
        # u-step, in memory that gradient and next iterate do not need yet
        along = Line(view_of(state.workspace, u.shape), view_of(state.next_volumes, u.shape))
        last, restart = Line(coupling.last, coupling.last_image), state.iteration % RESTART == 0
        state.gram.descend(u, coupling.residual, coupling.rays, along, last, restart)
    if metric_due(state.iteration):
        # with gamma > 1 the first estimates are far off, and so is where momentum leads
        state = refresh_metric(problem, state, STEADY if problem.convex else 0.0)
    # x-step: gradient at the extrapolated point, then prox, momentum and dual in one kernel
    problem.chemistry.gradient(state.point, state.rays, state.slope, state.push)
    state = prox_step(problem, state)
    work = state.work + problem.tilts_per_iteration
    return replace(state, iteration=state.iteration + 1, work=work)


def solve(
    problem: FusedProblem,
    state: FusionState,
    tolerance: float,
    max_iterations: float,
    monitor: Monitor | None = None,
    ceilings: Values | None = None,
) -> tuple[Reconstruction, ...]:
    """Step, at least once, until every trial has converged or has spent its work.

    Converged: objective, volumes and coupling have settled to ``tolerance``, as
    :func:`~tomoatlas.recon_core.solver.convergence.status_of` judges. Such a trial leaves the
    batch.

    Parameters
    ----------
    problem : terms, weights and device.
    state : initial state; its arrays are spent.
    tolerance : relative, see above.
    max_iterations : work, in pairs of projections of each modality; evaluations of the objective
        count.
    monitor : sees the volumes of the trials still running, (trial, element, z, y, x), on the host,
        after every iteration; its score is ignored. None to skip the copies.
    ceilings : chemical term above which no trial converges, (trial,); None for no limit.

    Returns
    -------
    tuple of Reconstruction : one per trial, in the order of the batch.
    """
    unit = problem.tilts_per_iteration
    state, first = recorded(problem, state)
    records = [[record] for record in first]
    results: dict[int, Reconstruction] = {}
    running = list(range(len(records)))
    highest = np.full(len(records), np.inf) if ceilings is None else ceilings
    while running:
        state = step(problem, state)
        if monitor is not None:
            monitor(problem.device.get(state.volumes))
        last, due = state.work >= max_iterations * unit, state.iteration % RECORD_EVERY == 0
        if not (last or due):
            continue
        # the only transfer to the host: six numbers per trial
        state, latest = recorded(problem, state)
        for trial, record in zip(running, latest, strict=True):
            records[trial].append(record)
        state = calmed(problem, state, [records[trial] for trial in running])
        settles = tolerance if due else 0.0
        ends = [status_of(records[trial], settles, float(highest[trial])) for trial in running]
        stay = [at for at, end in enumerate(ends) if not last and end is Status.ITERATION_LIMIT]
        for at in set(range(len(running))) - set(stay):
            trial = running[at]
            volumes = _volumes_of(problem, state, at, alone=len(records) == 1)
            results[trial] = result_of(volumes, ends[at], records[trial], unit)
        # compact the batch: a finished trial costs nothing further
        if stay and len(stay) < len(running):
            problem, state = problem.of(stay), _kept(state, stay)
        running = [running[at] for at in stay]
    return tuple(results[trial] for trial in range(len(records)))


def _volumes_of(problem: FusedProblem, state: FusionState, at: int, alone: bool) -> Array:
    """Return the volumes of one trial on the host, in memory that no other trial shares."""
    volumes: Array = problem.device.get(state.volumes[at])
    return volumes if alone or volumes.base is None else volumes.copy()


def calmed(
    problem: FusedProblem, state: FusionState, records: list[list[ConvergenceRecord]]
) -> FusionState:
    """Lower the momentum and shorten the steps of the trials whose objective has risen.

    Parameters
    ----------
    problem : for its device.
    state : of the trials still running.
    records : the records of each of these trials, two or more, oldest first.

    Returns
    -------
    FusionState : the same if no objective has risen.
    """
    rose = [trial[-1].objective > trial[-2].objective for trial in records]
    if not any(rose):
        return state
    xp = problem.device.xp
    limit = xp.where(xp.asarray(rose), CALMED, 1.0) * state.limit
    raised = xp.where(xp.asarray(rose), RAISED, 1.0)
    metric = (raised[:, None] * state.metric).astype(np.float32)
    return replace(state, limit=limit, caution=raised * state.caution, metric=metric)


def prox_step(problem: FusedProblem, state: FusionState) -> FusionState:
    """Take one accelerated forward-backward step on the volumes, and update the multiplier.

    Parameters
    ----------
    problem : terms and weights.
    state : with the chemical gradient at its point in ``slope``.

    Returns
    -------
    FusionState : with the next volumes, momentum and residuals.
    """
    xp = problem.device.xp
    # Nesterov's sequence t, as in FISTA (Beck and Teboulle, 2009), with a limit on its factor
    following = 0.5 * (1.0 + xp.sqrt(1.0 + 4.0 * state.momentum**2))
    beta = xp.minimum((state.momentum - 1.0) / following, state.limit).astype(np.float32)
    arrays, steps = fields_of(problem, state), steps_of(problem, state, beta)
    sums = problem.regulariser.step(problem.device, arrays, steps).sum(axis=1)
    change, size, uphill, gap, moved, target = sums.T  # no list as index: each is copied to a GPU
    # relative to |u| and to |x|
    of = xp.maximum(xp.stack([target, target, size], axis=1), 1e-30)
    residuals = xp.sqrt(xp.stack([gap, moved, change], axis=1) / of)
    if state.coupling is None:
        residuals[:, :2] = np.nan
    return replace(
        state,
        volumes=state.next_volumes,
        next_volumes=state.volumes,
        # gradient restart: forget the momentum of a trial whose last step went against it
        momentum=xp.where(uphill > 0, 1.0, following),
        residuals=residuals,
    )


def fields_of(problem: FusedProblem, state: FusionState) -> Fields:
    """Collect the arrays of the volume step; those of the coupling are empty without HAADF.

    Parameters
    ----------
    problem : for its device.
    state : whose arrays they are.
    """
    none = problem.device.xp.empty((len(problem.tv), 0, 0, 0), np.float32)
    if state.coupling is None:
        coupled = (none, none, none, none)
    else:
        coupling = state.coupling
        coupled = (coupling.u, coupling.d, coupling.contrast, coupling.residual)
    volumes = state.volumes, state.next_volumes, state.point
    return Fields(*volumes, state.slope, state.dual, *coupled, none)


def steps_of(problem: FusedProblem, state: FusionState, beta: Array) -> Steps:
    """Collect the numbers of the volume step; without HAADF the coupling has weight 0.

    Parameters
    ----------
    problem : terms and weights.
    state : for its metric and ridge.
    beta : momentum of each trial, (trial,).
    """
    haadf, gram = problem.haadf, state.gram
    if haadf is None or gram is None:
        none = problem.device.xp.zeros(len(problem.tv), np.float32)
        return Steps(state.metric, problem.tv, none, beta, np.float32(0), state.metric[0], 2.0)
    # rho = ridge * precision: the coupling scales with the HAADF weight, so no step length does
    rho = (haadf.precision * float(gram.ridge)).astype(np.float32)
    return Steps(state.metric, problem.tv, rho, beta, gram.ridge, haadf.weights, haadf.gamma)


def refresh_metric(problem: FusedProblem, state: FusionState, steady: float = 0.0) -> FusionState:
    """Estimate the chemical curvature at the present volumes; drop the momentum where it rose.

    Parameters
    ----------
    problem : for its chemical term.
    state : its workspace is overwritten.
    steady : momentum is kept where the metric of no element rises above this times the one before;
        0 drops it everywhere, as a state needs that is no iterate of the loop.

    Returns
    -------
    FusionState : with metric, momentum and work replaced; the point of those that rose too.
    """
    xp = problem.device.xp
    margin = CURVATURE_MARGIN * state.caution[:, None]
    buffers = state.next_volumes, state.rays, view_of(state.workspace, state.rays.shape)
    metric = problem.chemistry.curvature(state.volumes, POWER_STEPS, *buffers) * margin
    # an element without counts has no curvature; the step must stay finite
    metric = xp.maximum(metric, 1e-12).astype(np.float32)
    # A step extrapolated under a smaller metric is no descent step under this one. Under a larger
    # one it is, and most estimates fall: dropped each time, momentum costs a fifth more iterations.
    rose = (metric > steady * state.metric).any(axis=1)
    xp.copyto(state.point, state.volumes, where=rose[:, None, None, None, None])
    return replace(
        state,
        metric=metric,
        momentum=xp.where(rose, 1.0, state.momentum),
        work=state.work + (POWER_STEPS + 0.5) * problem.chemistry.tilts,
    )


def metric_due(iteration: int) -> bool:
    """Check whether the metric is due: after 5, 10, 20, 40 ... iterations.

    Parameters
    ----------
    iteration : how many have been.
    """
    count, rest = divmod(iteration, REFRESH_EVERY)
    # a power of two times REFRESH_EVERY
    return rest == 0 and count > 0 and count & (count - 1) == 0


def _kept(state: FusionState, trials: Sequence[int]) -> FusionState:
    """Keep some trials of the state."""
    coupling = compacted(state.coupling, trials) if state.coupling else None
    kept: FusionState = compacted(replace(state, coupling=coupling), trials)
    return kept


def recorded(
    problem: FusedProblem, state: FusionState
) -> tuple[FusionState, list[ConvergenceRecord]]:
    """Evaluate the objective, half a pair of projections, and record it for every trial.

    Parameters
    ----------
    problem : terms and weights.
    state : its workspace is overwritten.

    Returns
    -------
    state : with the work added.
    records : one ConvergenceRecord per trial.
    """
    coupling, device = state.coupling, problem.device
    buffers = (
        (view_of(state.next_volumes, coupling.u.shape), coupling.rays) if coupling else (None, None)
    )
    terms = problem.terms(state.volumes, state.rays, *buffers)
    values = device.xp.stack([terms.haadf, terms.chemistry, terms.tv], axis=1)
    table = device.get(device.xp.concatenate([values, state.residuals], axis=1))
    state = replace(state, work=state.work + 0.5 * problem.tilts_per_iteration)
    return state, [record_of(state.work, row) for row in table]
