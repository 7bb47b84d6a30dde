"""Who evaluates the trials of a run that no MPI launcher has started, and on which devices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import click

from jobs.capacity import check_workers
from jobs.memory import check_memory
from recon_core.backend import device_count, device_problem
from recon_core.errors import BadInput
from sweep.devices import MASKS, Request, assign, check_devices, seen_devices, visible_uuids
from sweep.executors.base import Executor
from sweep.executors.processes import ProcessExecutor
from sweep.study import Study


@dataclass(frozen=True)
class Workers:
    """Who is to evaluate trials: ``count`` processes, or a Dask cluster.

    ``count``: None for one per core, or one per GPU. ``dask``: the address of a scheduler, or local
    for a cluster of ``count`` processes. ``device``: auto, cpu, cuda or cuda-half. ``share``:
    several may hold the same GPU.
    """

    count: int | None = None
    dask: str | None = None
    device: str = "auto"
    share: bool = False


def request_of(workers: Workers) -> Request:
    """What to compute on, and whether the programs here can."""
    lacking = None if workers.device == "cpu" else device_problem()
    return replace(_wish(workers), lacking=lacking)


def _wish(workers: Workers) -> Request:
    return Request(workers.device, "warn" if workers.share else "refuse")


@contextmanager
def executor_of(study: Study, workers: Workers) -> Iterator[Executor]:
    """The workers of one computer, or of a Dask cluster.

    Raises
    ------
    BadInput : more workers than the study feeds or the memory holds, devices that do not do, no
        cluster.
    """
    if workers.count:
        check_workers(study, workers.count)
    # Other machines have memory and devices of their own.
    places = _places(workers) if workers.dask in (None, "local") else []
    check_memory(study, places, workers.device)
    if workers.dask is not None:
        with _on_dask(workers.dask, workers, len(places)) as executor:
            yield executor
    else:
        yield ProcessExecutor(len(places), places=places)


def _places(workers: Workers) -> list[Mapping[str, str]]:
    """For each local worker the variables that show it its device: the GPUs in turn, or nothing."""
    request = request_of(workers)
    uuids = () if request.kind == "cpu" else visible_uuids()
    environment = _with_mask(os.environ, uuids, request)
    gpus = () if request.kind == "cpu" or request.lacking else seen_devices(environment, uuids)
    count = workers.count or len(gpus) or len(os.sched_getaffinity(0))
    host = os.uname().nodename
    devices = [assign(environment, i, host, request, uuids) for i in range(count)]
    for line in check_devices(devices, request, "worker"):
        click.echo(f"warning: {line}", err=True)
    return [device.variables for device in devices]


def _with_mask(
    environment: Mapping[str, str], uuids: Sequence[str], request: Request
) -> Mapping[str, str]:
    """With a mask of what CuPy counts, where neither a mask nor nvidia-smi tells."""
    if request.kind == "cpu" or seen_devices(environment, uuids) or not (count := device_count()):
        return environment
    return {**environment, MASKS[0]: ",".join(map(str, range(count)))}


@contextmanager
def _on_dask(address: str, workers: Workers, count: int) -> Iterator[Executor]:
    try:
        from sweep.executors.dask import DaskExecutor, connected
    except ImportError as error:
        accepted = "pip install 'tomoatlas[dask]'"
        raise BadInput(f"{error}", key="--dask", value=address, accepted=accepted) from error
    with connected(address, count) as client:
        yield DaskExecutor(client, request=_wish(workers))
