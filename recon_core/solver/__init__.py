"""Reconstruct a tilt series by one of the methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..device import CPU, Device
from ..errors import BadInput
from ..memory import SolveSize, check_fits
from ..methods import ACCEPTED_WEIGHT, Method, Weights, is_weight
from ..result import History, Reconstruction, Status
from ..settings import SolverSettings
from ..tiltseries import TiltSeries
from .admm import Monitor, init, solve
from .calibration import haadf_scale_holds, with_chemical_scale
from .mlem import MLEM_START, mlem, stopped_mlem
from .multiresolution import initial_state
from .problem import fused_problem

Array = NDArray[np.float32]

NO_WEIGHTS = Weights()
DEFAULT_SETTINGS = SolverSettings()


def reconstruct(
    series: TiltSeries,
    method: Method,
    weights: Weights = NO_WEIGHTS,
    settings: SolverSettings = DEFAULT_SETTINGS,
    monitor: Monitor | None = None,
    device: Device = CPU,
) -> Reconstruction:
    """Concentrations of every element from one tilt series.

    ``monitor(volumes) -> score`` (lower is better) sees the iterates, (element, z, y, x);
    ``ml-stopped`` needs it. Data that hold nothing to fit come back with status ``bad-data``.

    Raises
    ------
    BadInput : ``ml-stopped`` without a monitor, an impossible weight, or more than the free memory.
    """
    _check(method, weights, monitor)
    empty = _empty_channels(series, method, [weights])
    if empty:
        return _bad_data(series, empty)
    check_fits(_size(series, 1, device), device, method)
    series = with_chemical_scale(series, device)
    if method is Method.ML_STOPPED and monitor is not None:
        return _stopped(series, settings, monitor, device)
    watch = _first_trial(monitor) if monitor is not None else None
    return _solved(series, method, [weights], settings, device, watch)[0]


def reconstruct_batch(
    series: TiltSeries,
    method: Method,
    weights: Sequence[Weights],
    settings: SolverSettings = DEFAULT_SETTINGS,
    device: Device = CPU,
) -> tuple[Reconstruction, ...]:
    """One reconstruction for each of ``weights``, solved together: they share the projections.

    Each is what :func:`reconstruct` gives. Without a known HAADF scale, which every trial fits
    for itself, they are solved one after the other.

    Raises
    ------
    BadInput : as :func:`reconstruct`; ``ml-stopped``, which has no weights to batch.
    """
    for each in weights:
        _check(method, each, None)
    if method is Method.FUSED and not haadf_scale_holds(series, settings.gamma):
        return tuple(reconstruct(series, method, w, settings, device=device) for w in weights)
    groups = [[i for i, w in enumerate(weights) if (w.haadf > 0) == coupled] for coupled in (0, 1)]
    found: dict[int, Reconstruction] = {}
    for group in filter(None, groups):  # the work of a trial without HAADF weight is another
        chosen = [weights[i] for i in group]
        solved = _together(series, method, chosen, settings, device)
        found |= dict(zip(group, solved, strict=True))
    return tuple(found[i] for i in range(len(weights)))


def _together(
    series: TiltSeries,
    method: Method,
    weights: Sequence[Weights],
    settings: SolverSettings,
    device: Device,
) -> tuple[Reconstruction, ...]:
    """Trials that all have a HAADF weight, or none."""
    empty = _empty_channels(series, method, weights)
    if empty:
        return (_bad_data(series, empty),) * len(weights)
    check_fits(_size(series, len(weights), device), device, method)
    return _solved(with_chemical_scale(series, device), method, weights, settings, device, None)


def _solved(
    series: TiltSeries,
    method: Method,
    weights: Sequence[Weights],
    settings: SolverSettings,
    device: Device,
    monitor: Monitor | None,
) -> tuple[Reconstruction, ...]:
    if method is Method.FUSED:
        problem, state = initial_state(series, weights, settings, device)
    elif method is Method.CHEMISTRY_TV:
        alone = [Weights(0.0, w.tv) for w in weights]
        problem, state = initial_state(series, alone, settings, device)
    else:
        problem = fused_problem(series, [NO_WEIGHTS] * len(weights), settings, device)
        state = init(problem, mlem(problem.chemistry, problem.shape[1:], MLEM_START))
    return solve(problem, state, settings.tolerance, settings.max_iterations, monitor)


def _size(series: TiltSeries, batch: int, device: Device) -> SolveSize:
    elements, chemical, height, width = series.chemical.shape
    shape = (elements, height, height, width)
    dual = np.dtype(device.dual_type).itemsize
    return SolveSize(shape, len(series.haadf_angles_deg), chemical, batch, dual)


def _first_trial(monitor: Monitor) -> Monitor:
    return lambda volumes: monitor(volumes[0])


def _empty_channels(series: TiltSeries, method: Method, weights: Sequence[Weights]) -> list[str]:
    channels = dict(zip(series.elements, series.chemical, strict=True))
    if method is Method.FUSED and any(w.haadf > 0 for w in weights) and len(series.haadf):
        channels["HAADF"] = series.haadf
    return [name for name, counts in channels.items() if not counts.any()]


def _stopped(
    series: TiltSeries, settings: SolverSettings, monitor: Monitor, device: Device
) -> Reconstruction:
    problem = fused_problem(series, [NO_WEIGHTS], settings, device)
    limit = settings.max_iterations
    volumes, best, scores = stopped_mlem(problem.chemistry, problem.shape[1:], limit, monitor)
    status = Status.CONVERGED if best < len(scores) - 1 else Status.ITERATION_LIMIT
    return Reconstruction(volumes, status, best, message="oracle: stopped at the best score")


def _bad_data(series: TiltSeries, empty: Sequence[str]) -> Reconstruction:
    height, width = series.chemical.shape[-2:]
    volumes = np.zeros((len(series.elements), height, height, width), np.float32)
    message = f"no counts at all in {', '.join(empty)}"
    return Reconstruction(volumes, Status.BAD_DATA, 0, History(), message)


def _check(method: Method, weights: Weights, monitor: Monitor | None) -> None:
    for name in method.weight_names:
        value = getattr(weights, name)
        if not is_weight(value):
            raise BadInput("not a weight", key=name, value=value, accepted=ACCEPTED_WEIGHT)
    if method is Method.ML_STOPPED and monitor is None:
        raise BadInput(
            "needs the truth to find the best iteration",
            key="method",
            value=str(method),
            accepted="fused, chemistry-tv, ml",
        )
