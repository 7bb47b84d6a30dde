"""Reconstruct a tilt series by one of the methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..contrast import FITTED, contrast_of
from ..device import CPU, Device
from ..errors import BadInput
from ..gpu import device_named
from ..memory import SolveSize, check_fits
from ..methods import (
    ACCEPTED_WEIGHT,
    Method,
    Weights,
    default_weights,
    is_weight,
    method_named,
)
from ..result import History, Reconstruction, Status
from ..settings import GUIDED, SolverSettings, newest_settings
from ..tiltseries import TiltSeries
from .admm import Monitor, init, solve
from .calibration import haadf_scale_holds
from .mlem import MLEM_ITERATIONS, mlem, stopped_mlem
from .multiresolution import initial_state
from .normalisation import with_scale
from .preparation import Preparations, Prepared, fits_levels, own_start
from .problem import FusedProblem, fused_problem
from .state import FusionState

Array = NDArray[np.float32]

NO_WEIGHTS = Weights()


@dataclass(frozen=True)
class _Trials:
    """Trials of one series that are solved together: all have a HAADF weight, or none."""

    method: Method
    weights: Sequence[Weights]
    settings: SolverSettings
    device: Device
    monitor: Monitor | None = None

    @property
    def coupled(self) -> bool:
        """Whether they ask for HAADF."""
        return self.method is Method.FUSED and any(w.haadf > 0 for w in self.weights)


def reconstruct(
    series: TiltSeries,
    method: Method | str = Method.FUSED,
    weights: Weights | None = None,
    settings: SolverSettings | None = None,
    monitor: Monitor | None = None,
    device: Device | str = CPU,
    kept: Preparations | None = None,
) -> Reconstruction:
    """Reconstruct the concentrations of every element from one tilt series.

    Parameters
    ----------
    series : the measured counts.
    method : ``fused``, ``chemistry-tv``, ``ml`` or ``ml-stopped``.
    weights : of the HAADF and the TV term; None means
        :func:`~tomoatlas.recon_core.methods.default_weights`.
    settings : of the solver; None means those of the newest edition.
    monitor : ``monitor(volumes) -> score``, lower is better, sees the iterates (element, z, y, x);
        needed by ``ml-stopped``, for the others optional.
    device : a device, or the name of one: ``auto``, ``cpu``, ``cuda``, ``cuda-half``.
    kept : what was prepared for the last reconstruction; of the same series it need not be prepared
        again. None keeps nothing.

    Returns
    -------
    Reconstruction : with status ``bad-data`` if HAADF is needed and holds no counts, or no element
        holds any. One element without counts has an empty volume, and ``message`` names it.

    Raises
    ------
    BadInput : an unknown method or device, ``ml-stopped`` without a monitor, an impossible weight,
        or more than the free memory.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> plan = ta.Acquisition(haadf_tilts=9, chemical_tilts=5)
    >>> series = ta.simulate(specimen, plan, seed=0)
    >>> result = ta.reconstruct(series, "fused", ta.Weights(haadf=0.3, tv=1.4))
    >>> result.volumes.shape, result.elements
    ((4, 8, 8, 8), ('Co', 'Cu', 'O', 'Au'))
    """
    method, device = method_named(method), _device(device)
    settings = newest_settings() if settings is None else settings
    weights = default_weights(settings.noise, settings.units) if weights is None else weights
    _check(method, weights, monitor)
    kept = Preparations() if kept is None else kept
    (found,) = _together(series, _Trials(method, [weights], settings, device, monitor), kept)
    return _described(found, series, method, weights, settings)


def reconstruct_batch(
    series: TiltSeries,
    method: Method | str,
    weights: Sequence[Weights],
    settings: SolverSettings | None = None,
    device: Device | str = CPU,
    kept: Preparations | None = None,
) -> tuple[Reconstruction, ...]:
    """Reconstruct a tilt series with several pairs of weights at once, sharing the projections.

    Each trial fits an unknown HAADF scale for itself; then they are solved one after the other.

    Parameters
    ----------
    series : the measured counts.
    method : ``fused``, ``chemistry-tv`` or ``ml``.
    weights : one pair for each reconstruction.
    settings : of the solver; None means those of the newest edition.
    device : what to compute on, or its name.
    kept : as of :func:`reconstruct`.

    Returns
    -------
    tuple of Reconstruction : in the order of ``weights``, each as :func:`reconstruct` returns it.

    Raises
    ------
    BadInput : as :func:`reconstruct`; ``ml-stopped``, which has no weights to batch.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=9, chemical_tilts=5), seed=0)
    >>> weights = [ta.Weights(0.02, tv) for tv in (0.5, 1.0)]
    >>> quick = ta.SolverSettings(max_iterations=20)
    >>> len(ta.reconstruct_batch(series, "fused", weights, quick))
    2
    """
    method, device = method_named(method), _device(device)
    settings = newest_settings() if settings is None else settings
    for each in weights:
        _check(method, each, None)
    kept = Preparations() if kept is None else kept
    if method is Method.FUSED and _fits_scale(series, settings):
        return tuple(
            reconstruct(series, method, w, settings, device=device, kept=kept) for w in weights
        )
    groups = [[i for i, w in enumerate(weights) if (w.haadf > 0) == coupled] for coupled in (0, 1)]
    found: dict[int, Reconstruction] = {}
    # a trial without HAADF weight has no coupling to carry: solve such trials apart
    for group in filter(None, groups):
        chosen = [weights[i] for i in group]
        solved = _together(series, _Trials(method, chosen, settings, device), kept)
        found |= dict(zip(group, solved, strict=True))
    return tuple(
        _described(found[i], series, method, each, settings) for i, each in enumerate(weights)
    )


def _fits_scale(series: TiltSeries, settings: SolverSettings) -> bool:
    """Whether each trial fits the HAADF scale, or the levels of coefficients, to its volumes."""
    if settings.start == "series":
        return False
    if settings.contrast == FITTED:
        return fits_levels(settings)
    return not haadf_scale_holds(series, contrast_of(settings))


def _device(device: Device | str) -> Device:
    return device_named(device) if isinstance(device, str) else device


def _described(
    found: Reconstruction,
    series: TiltSeries,
    method: Method,
    weights: Weights,
    settings: SolverSettings,
) -> Reconstruction:
    """Add what the file of a reconstruction records: elements, voxel size, method and settings."""
    own = {name: getattr(weights, name) for name in method.weight_names}
    facts = {"method": str(method), **own, **settings.model_dump()}
    if found.haadf is not None:
        facts |= found.haadf.facts
    size = series.voxel_size_nm
    return replace(found, elements=series.elements, voxel_size_nm=size, facts=facts)


def _together(
    series: TiltSeries, trials: _Trials, kept: Preparations
) -> tuple[Reconstruction, ...]:
    """Solve trials, from the check of the data on."""
    usable, counted = kept.usable(series)
    empty = _unusable(usable, trials, counted)
    if empty:
        return (_bad_data(series, empty),) * len(trials.weights)
    if counted.all():
        return _all_counted(usable, trials, kept)
    if trials.monitor is not None:
        trials = replace(trials, monitor=_completing(trials.monitor, counted))
    found = _all_counted(usable, trials, kept)
    return tuple(_completed(each, series.elements, counted) for each in found)


def _all_counted(
    series: TiltSeries, trials: _Trials, kept: Preparations
) -> tuple[Reconstruction, ...]:
    """Solve trials of a series in which every element has counts."""
    method, settings, device = trials.method, trials.settings, trials.device
    # before anything is allocated
    check_fits(_size(series, len(trials.weights), device, settings), device, method)
    # a solve that blows up ends as diverged, not with a warning
    with np.errstate(over="ignore", invalid="ignore"):
        if method is Method.ML_STOPPED and trials.monitor is not None:
            known = with_scale(series, settings, device)
            return (_stopped(known, settings, trials.monitor, device),)
        with_haadf = trials.coupled and bool(series.haadf_angles_deg)
        return _solved(kept.of(series, method, with_haadf, settings, device), trials)


def _solved(prepared: Prepared, trials: _Trials) -> tuple[Reconstruction, ...]:
    """Solve in the units of the settings; the volumes return in those of the series."""
    unit, model, settings = prepared.unit, prepared.model, trials.settings
    trials = replace(trials, weights=prepared.own(trials.weights))
    problem, state = _initialised(prepared, trials)
    watch = None if trials.monitor is None else _first_trial(trials.monitor, unit)
    ceilings, limit = prepared.bound.ceilings(trials.weights), settings.max_iterations
    found = solve(problem, state, settings.tolerance, limit, watch, ceilings)
    if unit is not None:
        for each in found:  # in place: a batch has no memory for its results twice
            np.multiply(unit, each.volumes, out=each.volumes)
    if model is None or problem.fitted is None:
        return found
    model = replace(model, coefficients=problem.fitted)
    return tuple(replace(each, haadf=model) for each in found)


def _initialised(prepared: Prepared, trials: _Trials) -> tuple[FusedProblem, FusionState]:
    """Build the problem of a method, and the state that its solve begins with."""
    series, settings, device = prepared.series, trials.settings, trials.device
    weights = trials.weights
    if trials.method is Method.FUSED:
        if prepared.start is not None:
            return prepared.start.at(weights)
        return own_start(prepared, weights, settings, device)
    if trials.method is Method.CHEMISTRY_TV:
        # the same solver with HAADF switched off: what differs is the data, not the method
        alone = [Weights(0.0, w.tv) for w in weights]
        return initial_state(series, alone, settings, device)
    problem = fused_problem(series, [NO_WEIGHTS] * len(weights), settings, device)
    # unregularised: no coarse grid and no HAADF to start from; the likelihood alone decides
    problem = replace(problem, chemistry=replace(problem.chemistry, totals=False))
    return problem, init(problem, mlem(problem.chemistry, problem.shape[1:], MLEM_ITERATIONS))


def _size(series: TiltSeries, batch: int, device: Device, settings: SolverSettings) -> SolveSize:
    """Sizes of a solve; the slice is square, as thick as the detector is high."""
    elements, chemical, height, width = series.chemical.shape
    shape = (elements, height, height, width)
    dual = np.dtype(device.dual_type).itemsize
    kinds = settings.regulariser == GUIDED, settings.start == "series"
    return SolveSize(shape, len(series.haadf_angles_deg), chemical, batch, dual, *kinds)


def _first_trial(monitor: Monitor, unit: Array | None) -> Monitor:
    """Show a monitor the first trial of a batch, in the units of the series."""
    if unit is None:
        return lambda volumes: monitor(volumes[0])
    return lambda volumes: monitor((unit * volumes)[0])


def _completing(monitor: Monitor, counted: NDArray[np.bool_]) -> Monitor:
    return lambda volumes: monitor(_with_empty(volumes, counted))


def _with_empty(volumes: Array, counted: NDArray[np.bool_]) -> Array:
    """Add empty volumes of the elements without counts."""
    full = np.zeros((len(counted), *volumes.shape[1:]), np.float32)
    full[counted] = volumes
    return full


def _completed(
    found: Reconstruction, elements: tuple[str, ...], counted: NDArray[np.bool_]
) -> Reconstruction:
    """Add empty volumes of the elements without counts, and name them."""
    absent = ", ".join(name for name, there in zip(elements, counted, strict=True) if not there)
    words = f"no counts at all in {absent}: reconstructed as empty"
    message = f"{found.message}; {words}" if found.message else words
    model = found.haadf
    if model is not None:
        model = replace(model, coefficients=model.coefficients.among(elements))
    volumes = _with_empty(found.volumes, counted)
    return replace(found, volumes=volumes, haadf=model, message=message)


def _unusable(series: TiltSeries, trials: _Trials, counted: NDArray[np.bool_]) -> list[str]:
    """Name what the method cannot do without and has not a single count."""
    if not counted.any():
        return list(series.elements)
    # without counts a channel's Hessian is zero and its volume undetermined
    needed = trials.coupled and len(series.haadf)
    return ["HAADF"] if needed and not series.haadf.any() else []


def _stopped(
    series: TiltSeries, settings: SolverSettings, monitor: Monitor, device: Device
) -> Reconstruction:
    """Reconstruct by MLEM stopped at the best score, the oracle's choice."""
    problem = fused_problem(series, [NO_WEIGHTS], settings, device)
    limit = settings.max_iterations
    volumes, best, scores = stopped_mlem(problem.chemistry, problem.shape[1:], limit, monitor)
    # the best iterate is final only if later ones were worse
    status = Status.CONVERGED if best < len(scores) - 1 else Status.ITERATION_LIMIT
    return Reconstruction(volumes, status, best, message="oracle: stopped at the best score")


def _bad_data(series: TiltSeries, empty: Sequence[str]) -> Reconstruction:
    """Return empty volumes with the reason: the other trials of a study are not affected."""
    height, width = series.chemical.shape[-2:]
    volumes = np.zeros((len(series.elements), height, height, width), np.float32)
    message = f"no counts at all in {', '.join(empty)}"
    return Reconstruction(volumes, Status.BAD_DATA, 0, History(), message)


def _check(method: Method, weights: Weights, monitor: Monitor | None) -> None:
    if not isinstance(weights, Weights):
        raise BadInput(
            "not weights", key="weights", value=weights, accepted="Weights(haadf=..., tv=...)"
        )
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
