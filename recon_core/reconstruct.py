"""Reconstruct a tilt series by one of the methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recon_core.baselines import MLEM_START, mlem, stopped_mlem
from recon_core.errors import BadInput
from recon_core.fusion import FusedProblem, fused_problem
from recon_core.result import History, Reconstruction, Status
from recon_core.scales import haadf_scale_at, haadf_scale_holds, with_chemical_scale
from recon_core.settings import Method, SolverSettings, Weights
from recon_core.solve import FusionState, Monitor, couple, init, solve, step
from recon_core.tiltseries import TiltSeries

Array = NDArray[np.float32]

NO_WEIGHTS = Weights()
DEFAULT_SETTINGS = SolverSettings()
WARM_STEPS = 20  # chemistry + TV steps before the HAADF term is switched on
SCALE_FITS = 40  # at most; alternations of fit and short solve where the HAADF scale is unknown
SCALE_SETTLED = 2e-3  # relative change of the fitted scale that ends them


def reconstruct(
    series: TiltSeries,
    method: Method,
    weights: Weights = NO_WEIGHTS,
    settings: SolverSettings = DEFAULT_SETTINGS,
    monitor: Monitor | None = None,
) -> Reconstruction:
    """Concentrations of every element from one tilt series.

    ``monitor(volumes) -> score`` (lower is better) sees the iterates; ``ml-stopped`` needs it.
    Data that hold nothing to fit come back with status ``bad-data``.

    Raises
    ------
    BadInput : ``ml-stopped`` without a monitor, or a negative weight.
    """
    _check(method, weights, monitor)
    channels = dict(zip(series.elements, series.chemical, strict=True))
    if method is Method.FUSED and weights.haadf > 0 and len(series.haadf):
        channels["HAADF"] = series.haadf
    empty = [name for name, counts in channels.items() if not counts.any()]
    if empty:
        return _bad_data(series, f"no counts at all in {', '.join(empty)}")
    series = with_chemical_scale(series)
    if method is Method.ML_STOPPED and monitor is not None:
        return _stopped(series, settings, monitor)
    if method is Method.FUSED:
        return _fused(series, weights, settings, monitor)
    tv = weights.tv if method is Method.CHEMISTRY_TV else 0.0
    problem = fused_problem(series, Weights(0.0, tv), settings)
    return _run(problem, init(problem, _start(problem)), settings, monitor)


def _fused(
    series: TiltSeries, weights: Weights, settings: SolverSettings, monitor: Monitor | None
) -> Reconstruction:
    chemistry_only = fused_problem(series, Weights(0.0, weights.tv), settings)
    state = init(chemistry_only, _start(chemistry_only))
    warm = min(WARM_STEPS, settings.max_iterations // 2)
    for _ in range(warm):
        state = step(chemistry_only, state)
    uses_haadf = weights.haadf > 0 and len(series.haadf_angles_deg) > 0
    if uses_haadf and not haadf_scale_holds(series, settings.gamma):
        series, state = _fit_haadf_scale(series, weights, settings, state)
    problem = fused_problem(series, weights, settings)
    return _run(problem, couple(problem, state), settings, monitor)


def _fit_haadf_scale(
    series: TiltSeries, weights: Weights, settings: SolverSettings, state: FusionState
) -> tuple[TiltSeries, FusionState]:
    """Alternate between the HAADF scale and a few fused steps; the blur of the start biases it."""
    scale = np.inf
    for _ in range(SCALE_FITS):
        before, scale = scale, haadf_scale_at(series, state.volumes, settings.gamma)
        if abs(scale - before) < SCALE_SETTLED * scale:
            break
        series = replace(series, haadf_scale=scale)
        problem = fused_problem(series, weights, settings)
        state = couple(problem, state)
        for _ in range(WARM_STEPS // 4):
            state = step(problem, state)
    return series, state


def _run(
    problem: FusedProblem, state: FusionState, settings: SolverSettings, monitor: Monitor | None
) -> Reconstruction:
    return solve(problem, state, settings.tolerance, settings.max_iterations, monitor)


def _start(problem: FusedProblem) -> Array:
    return mlem(problem.chemistry, problem.shape, MLEM_START)


def _stopped(series: TiltSeries, settings: SolverSettings, monitor: Monitor) -> Reconstruction:
    problem = fused_problem(series, Weights(), settings)
    limit = settings.max_iterations
    volumes, best, scores = stopped_mlem(problem.chemistry, problem.shape, limit, monitor)
    status = Status.CONVERGED if best < len(scores) - 1 else Status.ITERATION_LIMIT
    return Reconstruction(volumes, status, best, message="oracle: stopped at the best score")


def _bad_data(series: TiltSeries, message: str) -> Reconstruction:
    height, width = series.chemical.shape[-2:]
    volumes = np.zeros((len(series.elements), height, height, width), np.float32)
    return Reconstruction(volumes, Status.BAD_DATA, 0, History(), message)


def _check(method: Method, weights: Weights, monitor: Monitor | None) -> None:
    for name in method.weight_names:
        value = getattr(weights, name)
        if not (np.isfinite(value) and value >= 0):
            raise BadInput("not a weight", key=name, value=value, accepted=">= 0")
    if method is Method.ML_STOPPED and monitor is None:
        raise BadInput(
            "needs the truth to find the best iteration",
            key="method",
            value=str(method),
            accepted="fused, chemistry-tv, ml",
        )
