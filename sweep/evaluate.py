"""The whole science of a trial: specimen, tilt series, reconstruction, scores."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache

import numba
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..phantoms.acquire import simulate
from ..phantoms.acquisition import Acquisition
from ..phantoms.disturbances import Disturbances
from ..phantoms.specimen import Specimen
from ..recon_core.device import CPU, Device
from ..recon_core.errors import BadInput
from ..recon_core.gpu import device_named
from ..recon_core.machine import available_bytes
from ..recon_core.memory import TooLarge, check_fits, largest_batch
from ..recon_core.methods import Method
from ..recon_core.metrics import (
    haze,
    level,
    nrmse_by_element,
    relative_error,
    stoichiometry,
    totals,
)
from ..recon_core.result import Reconstruction, Status
from ..recon_core.solver import reconstruct, reconstruct_batch
from ..recon_core.solver.preparation import Preparations
from ..recon_core.tiltseries import TiltSeries
from .estimate import solve_size
from .study import Study, Task
from .study.specimens import build
from .study.tables import SpecimenTable
from .study.trial import Trial, TrialResult, TrialStatus
from .versions import provenance

Array = NDArray[np.float32]

Results = list[tuple[int, TrialResult]]

SPECIMENS_KEPT, SERIES_KEPT = 2, 4
"""What a process keeps for the next trial; a trial needs a series, its truth and, to simulate the
series from a finer grid, the specimen on that."""

_PREPARED = Preparations()


def evaluate(study: Study, trial: Trial, device: Device | str = "cpu") -> TrialResult:
    """Reconstruct a trial and score it; a failure is a status with its reason, never an exception.

    The result depends on the arguments alone: seeds follow from study and trial, and no
    environment variable is read. Specimens, series and devices are kept for the next call.

    Parameters
    ----------
    study : with or without axes; the values of the trial's cell are put in.
    trial : cell, method and weights.
    device : what to compute on, or its name (auto, cpu, cuda, cuda-half).

    Returns
    -------
    TrialResult : scores; or status failed, or crashed where the same trial may succeed later.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    name = _device_name(device)
    try:
        # Several BLAS threads would sum in another order: scores must not depend on the cores.
        with threadpool_limits(1, user_api="blas"):
            result = _scored(*reconstruct_trial(study, trial, device)[:2])
    except TooLarge as error:  # what else is in memory now may be gone when it is tried again
        result = replace(_failed(str(error)), status=TrialStatus.CRASHED)
    except Exception as error:  # noqa: BLE001 - one trial must not end the study
        result = _raised(error, name)
    return _signed(result, name, started, time.perf_counter() - clock)


def evaluate_together(tasks: Sequence[Task], device: Device | str = "cpu") -> Iterator[Results]:
    """Evaluate several trials, those of one cell in one solve, as many as the memory holds.

    Every result is that of :func:`evaluate`, to the bit, but for its times: each trial of a solve
    has an equal share of it. A trial that fails costs the others nothing.

    Parameters
    ----------
    tasks : trials with their studies, of any cells and methods.
    device : what to compute on, or its name.

    Yields
    ------
    list : place in ``tasks`` and result of every trial of a solve, as soon as it has ended.

    Raises
    ------
    Exception : of a GPU, whose process can be used no more; none of the trials of that solve has
        been yielded.
    """
    for places in _alike(tasks).values():
        chosen = [tasks[i] for i in places]
        done = 0
        while done < len(chosen):
            part = chosen[done : done + _at_once(chosen[done:], device)]
            found = _one_solve(part, device)
            yield list(zip(places[done : done + len(part)], found, strict=True))
            done += len(part)


def _alike(tasks: Sequence[Task]) -> dict[tuple[str, ...], list[int]]:
    """Places of the trials that one solve can hold: one series, one method, the same settings."""
    groups = defaultdict[tuple[str, ...], list[int]](list)
    for i, (study, trial) in enumerate(tasks):
        at = _condition(study, trial)
        # all of the condition, so that a table of a later version counts too
        data, own = at.model_dump_json(exclude={"limits"}), at.solver_of(trial).model_dump_json()
        alone = str(i) if trial.method is Method.ML_STOPPED else ""  # it watches its own iterates
        groups[data, own, str(trial.method), alone].append(i)
    return groups


def _at_once(tasks: Sequence[Task], device: Device | str) -> int:
    """How many of these trials one solve takes: all, or even parts that the memory holds."""
    if len(tasks) == 1:
        return 1
    study, trial = tasks[0]
    at = _condition(study, trial)
    try:
        on = _device_of(device)
        size = solve_size(at, np.dtype(on.dual_type).itemsize)
        # the results of all come to the computer that a GPU is in
        host = available_bytes() // (2 * size.specimen_bytes)
        most = max(1, min(largest_batch(size, on, trial.method), host))
    except (BadInput, RuntimeError):  # each trial will say so for itself
        return 1
    # As few solves as possible, then of equal size: 9 trials where 8 fit are 5 and 4.
    return -(-len(tasks) // -(-len(tasks) // most))


def _one_solve(tasks: Sequence[Task], device: Device | str) -> list[TrialResult]:
    """Results of trials of one cell and method."""
    if len(tasks) > 1:
        try:
            return _shared(tasks, device)
        except (BadInput, MemoryError):  # what one cannot be given another may, each by itself
            pass
        except Exception:
            if _device_name(device) != CPU.name:
                raise
    return [evaluate(study, trial, device) for study, trial in tasks]


def _shared(tasks: Sequence[Task], device: Device | str) -> list[TrialResult]:
    """Results of trials that are solved together; each has an equal share of the time."""
    begun, clock = datetime.now(UTC), time.perf_counter()
    name, (study, first) = _device_name(device), tasks[0]
    at = _condition(study, first)
    with threadpool_limits(1, user_api="blas"):
        truth, series = _data(at)
        weights = [trial.weights for _, trial in tasks]
        settings, on = at.solver_of(first), _device_of(device)
        solved = reconstruct_batch(series, first.method, weights, settings, on, _PREPARED)
        # a GPU would wait for scores that one core makes, longer than for a solve of 256³
        with ThreadPoolExecutor(numba.get_num_threads()) as pool:
            results = list(pool.map(lambda each: _scored_or_failed(each, truth, name), solved))
    share = (time.perf_counter() - clock) / len(tasks)
    starts = (begun + timedelta(seconds=share * i) for i in range(len(tasks)))
    return [_signed(r, name, s, share) for r, s in zip(results, starts, strict=True)]


def _scored_or_failed(solved: Reconstruction, truth: Specimen, device: str) -> TrialResult:
    try:
        return _scored(solved, truth)
    except Exception as error:  # noqa: BLE001 - one trial must not end the others
        return _raised(error, device)


def _signed(result: TrialResult, device: str, started: datetime, seconds: float) -> TrialResult:
    """Add what a record says of the attempt."""
    began = started.isoformat(timespec="milliseconds")
    return replace(result, device=device, started=began, seconds=seconds, code=provenance())


def reconstruct_trial(
    study: Study, trial: Trial, device: Device | str = "cpu"
) -> tuple[Reconstruction, Specimen, TiltSeries]:
    """Simulate the data of a trial and reconstruct them, as :func:`evaluate` does.

    Parameters
    ----------
    study : with or without axes; the values of the trial's cell are put in.
    trial : cell, method and weights.
    device : what to compute on, or its name.

    Returns
    -------
    Reconstruction : volumes (element, z, y, x), status and history.
    Specimen : the truth, on the same grid.
    TiltSeries : the simulated data.

    Raises
    ------
    BadInput : a specimen or acquisition that cannot be, no such device, or not enough memory on it.
    """
    at = _condition(study, trial)
    device = _device_of(device)
    dual = np.dtype(device.dual_type).itemsize
    check_fits(solve_size(at, dual), device, trial.method)  # before minutes of simulation
    truth, series = _data(at)
    oracle = _mean_nrmse(truth.volumes) if trial.method is Method.ML_STOPPED else None
    settings = at.solver_of(trial)
    solved = reconstruct(series, trial.method, trial.weights, settings, oracle, device, _PREPARED)
    return solved, truth, series


def truth_of(study: Study, trial: Trial) -> Specimen:
    """The truth of a trial, (element, z, y, x), on the grid of its reconstruction.

    Parameters
    ----------
    study, trial : as of :func:`reconstruct_trial`.
    """
    return _specimen(_condition(study, trial).specimen.model_dump_json(), 1)


def series_of(study: Study, trial: Trial) -> TiltSeries:
    """The simulated data of a trial, without reconstructing them.

    Parameters
    ----------
    study, trial : as of :func:`reconstruct_trial`.
    """
    return _data(_condition(study, trial))[1]


def clear_caches() -> None:
    """Forget what this process keeps for the next trial: specimens, series, what they share."""
    _PREPARED.clear()
    _specimen.cache_clear()
    _series.cache_clear()


def _device_of(device: Device | str) -> Device:
    return _named_device(device) if isinstance(device, str) else device


@cache
def _named_device(name: str) -> Device:
    """Once per process, as a device holds compiled kernels and projectors."""
    return device_named(name)


def _device_name(device: Device | str) -> str:
    """As a record names it; what was asked for if this machine has no such device."""
    try:
        return _device_of(device).name
    except (BadInput, RuntimeError):  # of a driver: the trial fails by it, and shows the reason
        return str(device)


@lru_cache(maxsize=SPECIMENS_KEPT)
def _specimen(table: str, oversample: int) -> Specimen:
    return build(SpecimenTable.model_validate_json(table), oversample)


@lru_cache(maxsize=SERIES_KEPT)
def _series(table: str, acquisition_table: str, faults: str, seed: int) -> TiltSeries:
    acquisition = Acquisition.model_validate_json(acquisition_table)
    disturbances = Disturbances.model_validate_json(faults)
    specimen = _specimen(table, acquisition.oversample)
    return simulate(specimen, acquisition, seed, disturbances=disturbances)


def _condition(study: Study, trial: Trial) -> Study:
    """The study of a trial without axes."""
    return study.at(trial.cell) if study.axes else study


def _data(at: Study) -> tuple[Specimen, TiltSeries]:
    """Truth and simulated data of a study without axes."""
    specimen = at.specimen.model_dump_json()
    tables = at.acquisition.model_dump_json(), at.disturbances.model_dump_json()
    series = _series(specimen, *tables, at.noise_seed())
    return _specimen(specimen, 1), series


def _mean_nrmse(truth: Array) -> Callable[[Array], float]:
    return lambda volumes: float(np.mean(nrmse_by_element(volumes, truth)))


def _scored(reconstruction: Reconstruction, truth: Specimen) -> TrialResult:
    if reconstruction.status in (Status.DIVERGED, Status.BAD_DATA):
        reason = reconstruction.message or "no message"
        return _failed(f"{reconstruction.status}: {reason}", reconstruction.status)
    volumes, elements = reconstruction.volumes, truth.elements
    # A score of such volumes would be NaN, which no search and no table can compare.
    if not np.isfinite(volumes).all():
        return _failed("the reconstruction holds NaN or infinity", reconstruction.status)
    by_element = nrmse_by_element(volumes, truth.volumes)
    pairs = zip(volumes, truth.volumes, strict=True)
    return TrialResult(
        TrialStatus.OK,
        nrmse=float(np.mean(by_element)),
        nrmse_by_element=dict(zip(elements, by_element, strict=True)),
        iterations=float(reconstruction.iterations),
        solver_status=str(reconstruction.status),
        relative_error=float(np.mean([relative_error(v, t) for v, t in pairs])),
        stoichiometry={
            phase.element: {"mean": phase.mean, "sigma": phase.sigma}
            for phase in stoichiometry(volumes, truth.volumes, elements)
        },
        stoichiometry_inside=_inside(volumes, truth),
        totals=dict(zip(elements, totals(volumes, truth.volumes), strict=True)),
        haze=dict(zip(elements, haze(volumes, truth.volumes), strict=True)),
        level=dict(zip(elements, level(volumes, truth.volumes), strict=True)),
    )


def _inside(volumes: Array, truth: Specimen) -> dict[str, dict[str, float]]:
    """Cation fractions one voxel from the boundary of every phase, with the truth's own."""
    pair = (stoichiometry(v, truth.volumes, truth.elements, 1) for v in (volumes, truth.volumes))
    return {
        found.element: {"mean": found.mean, "sigma": found.sigma, "true": true.mean}
        for found, true in zip(*pair, strict=True)
    }


def _raised(error: Exception, device: str) -> TrialResult:
    """Failed; crashed if out of memory or if a GPU failed, which may not happen again."""
    result = _failed(f"{type(error).__name__}: {error}")
    on_gpu = device != CPU.name and not isinstance(error, BadInput)
    chance = on_gpu or isinstance(error, MemoryError)
    return replace(result, status=TrialStatus.CRASHED) if chance else result


def _failed(error: str, status: Status | None = None) -> TrialResult:
    return TrialResult(
        TrialStatus.FAILED,
        error=" ".join(error.split()),
        solver_status=str(status) if status else None,
    )
