"""The whole science of a trial: specimen, tilt series, reconstruction, scores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..phantoms.acquire import Acquisition, simulate
from ..phantoms.specimen import Specimen
from ..recon_core.device import CPU, Device
from ..recon_core.errors import BadInput
from ..recon_core.gpu import device_named
from ..recon_core.memory import TooLarge, check_fits
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
from ..recon_core.solver import reconstruct
from ..recon_core.tiltseries import TiltSeries
from .estimate import solve_size
from .study import Study
from .study.specimens import build
from .study.tables import SpecimenTable
from .study.trial import Trial, TrialResult, TrialStatus
from .versions import provenance

Array = NDArray[np.float32]

SPECIMENS_KEPT, SERIES_KEPT = 2, 4
"""What a process keeps for the next trial; a trial needs a series, its truth and, to simulate the
series from a finer grid, the specimen on that."""


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
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    clock = time.perf_counter()
    name = _device_name(device)
    try:
        # Several BLAS threads would sum in another order: scores must not depend on the cores.
        with threadpool_limits(1, user_api="blas"):
            result = _scored(*reconstruct_trial(study, trial, device)[:2])
    except TooLarge as error:  # what else is in memory now may be gone when it is tried again
        result = replace(_failed(str(error)), status=TrialStatus.CRASHED)
    except Exception as error:  # noqa: BLE001 - one trial must not end the study
        result = _raised(error, name)
    seconds = time.perf_counter() - clock
    return replace(result, device=name, started=started, seconds=seconds, code=provenance())


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
    at = study.at(trial.cell) if study.axes else study
    device = _device_of(device)
    dual = np.dtype(device.dual_type).itemsize
    check_fits(solve_size(at, dual), device, trial.method)  # before minutes of simulation
    truth = _specimen(at.specimen.model_dump_json(), 1)
    series = _series(
        at.specimen.model_dump_json(), at.acquisition.model_dump_json(), at.noise_seed()
    )
    oracle = _mean_nrmse(truth.volumes) if trial.method is Method.ML_STOPPED else None
    solved = reconstruct(series, trial.method, trial.weights, at.solver_of(trial), oracle, device)
    return solved, truth, series


def clear_caches() -> None:
    """Forget the specimens and series that this process keeps for the next trial."""
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
def _series(table: str, acquisition_table: str, seed: int) -> TiltSeries:
    acquisition = Acquisition.model_validate_json(acquisition_table)
    return simulate(_specimen(table, acquisition.oversample), acquisition, seed)


def _mean_nrmse(truth: Array) -> Callable[[Array], float]:
    return lambda volumes: float(np.mean(nrmse_by_element(volumes, truth)))


def _scored(reconstruction: Reconstruction, truth: Specimen) -> TrialResult:
    if reconstruction.status in (Status.DIVERGED, Status.BAD_DATA):
        reason = reconstruction.message or "no message"
        return _failed(f"{reconstruction.status}: {reason}", reconstruction.status)
    volumes, elements = reconstruction.volumes, truth.elements
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
