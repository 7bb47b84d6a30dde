"""Which workers evaluate the trials of a run that was not started by an MPI launcher, on
which devices, and whether this computer has the memory.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from ..recon_core.errors import BadInput
from ..recon_core.gpu.cupy import device_count, device_problem
from ..recon_core.gpu.kernels import check_shape
from ..recon_core.machine import available_bytes, usable_cores
from ..recon_core.memory import FLOAT, GIB, fused_bytes
from ..recon_core.projection import check_projector
from ..recon_core.registry import Registry
from ..sweep.devices import (
    MASKS,
    DeviceAssignment,
    DeviceRequest,
    assign,
    check_devices,
    computing_on,
    identified,
    nvidia_gpus,
    seen_devices,
    visible_uuids,
)
from ..sweep.estimate import data_bytes, solve_size, trial_bytes
from ..sweep.executors import Executor
from ..sweep.executors.batches import Batching
from ..sweep.executors.local import InlineExecutor, ProcessExecutor
from ..sweep.study import Study
from .batch.capacity import check_workers

if TYPE_CHECKING:
    from ..sweep.executors.dask import DaskExecutor

AUTO = "auto"
HALF = 2
MEBIBYTE = 2**20


def check_memory(study: Study, places: Sequence[Mapping[str, str]], device: str) -> None:
    """Refuse more workers than this computer has memory for, before any starts.

    Parameters
    ----------
    study : what they evaluate; its largest cell counts for each of them.
    places : per worker the variables that select its GPU; empty on the CPU.
    device : the device as the command line names it.

    Raises
    ------
    BadInput : names what is needed, what is free and how many workers would fit; or more elements
        or voxels than the GPU kernels can index.
    """
    # Workers per GPU: several may share one, and its memory.
    gpus = Counter(place[MASKS[0]] for place in places if MASKS[0] in place)
    cells = [at for _, at in study.conditions()]
    # On a GPU the host holds only the data; the largest cell may come at any time.
    needed = max(map(data_bytes if gpus else trial_bytes, cells))
    _refuse_if_larger(len(places), needed, available_bytes(), "here")
    if not gpus:
        return
    sizes = [solve_size(at, HALF if device == "cuda-half" else FLOAT) for at in cells]
    for size in sizes:
        check_shape(size.shape, size.images)
    needed, free = max(map(fused_bytes, sizes)), _free_of_gpus()
    # A GPU that nvidia-smi does not list is not checked rather than refused.
    for gpu, workers in gpus.items():
        if gpu in free:
            _refuse_if_larger(workers, needed, free[gpu], f"on GPU {gpu}")


def memory_warnings(needed: int) -> list[str]:
    """A warning if one worker would not fit into this computer's memory.

    Parameters
    ----------
    needed : bytes of the largest trial on the CPU.

    Returns
    -------
    No line, or one.
    """
    try:
        _refuse_if_larger(1, needed, available_bytes(), "here")
    except BadInput as error:
        return [f"{error.problem}: tomoatlas run would refuse it on this computer's CPU"]
    return []


def _refuse_if_larger(workers: int, each: int, free: int, where: str) -> None:
    """Refuse workers that together need more memory than is free, and name how many would fit."""
    # Estimates, so without a reserve: the check prevents clear excess, not every failure.
    if workers * each <= free:
        return
    fitting = free // each
    need = f"{workers} worker{'s'[: workers > 1]} need{'s'[: workers == 1]}"
    apiece = f", {each / GIB:.3g} each" if workers > 1 else ""
    raise BadInput(
        f"{need} {workers * each / GIB:.3g} GiB of memory (estimated){apiece}; "
        f"{free / GIB:.3g} GiB are free {where}",
        key="--workers",
        value=workers,
        accepted=f"at most {fitting}" if fitting else "a smaller specimen.size, or more memory",
    )


def _free_of_gpus() -> dict[str, int]:
    """Free bytes of every GPU, by its number and by its UUID; empty without nvidia-smi."""
    rows = nvidia_gpus("index", "uuid", "memory.free")
    # nvidia-smi prints "[N/A]" for a GPU that shares its memory with the host.
    known = [row for row in rows if row[2].isdecimal()]
    return {name: int(mib) * MEBIBYTE for *names, mib in known for name in names}


@dataclass(frozen=True)
class Workers:
    """Who is to evaluate trials: processes, or a Dask cluster.

    Parameters
    ----------
    count : number of processes; None for one per core, or one per GPU.
    dask : address of a scheduler, or ``local`` for a cluster of ``count`` processes; None for no
        Dask.
    device : auto, cpu, cuda or cuda-half.
    share : whether several workers may use the same GPU.
    batch : most trials that a worker takes at a time; None for the usual number, see
        :class:`~tomoatlas.sweep.executors.batches.Batching`.
    executor : name of :data:`EXECUTORS`, or a Python file that defines one; auto is Dask if
        ``dask`` is given, else local processes.
    """

    count: int | None = None
    dask: str | None = None
    device: str = "auto"
    share: bool = False
    executor: str = AUTO
    batch: int | None = None


def request_of(workers: Workers) -> DeviceRequest:
    """What to compute on, and whether the installed packages can.

    Parameters
    ----------
    workers : who is to evaluate trials.
    """
    problem = None if workers.device == "cpu" else device_problem()
    return replace(_wish(workers), gpu_problem=problem)


def _wish(workers: Workers) -> DeviceRequest:
    """The device asked for, and whether sharing one is allowed."""
    return DeviceRequest(workers.device, "warn" if workers.share else "refuse")


def check_projectors(study: Study, on_gpu: bool) -> None:
    """Refuse a study with a projector that its workers cannot use, before any starts.

    Parameters
    ----------
    study : the study; every cell counts.
    on_gpu : whether the workers compute on a GPU.

    Raises
    ------
    BadInput : as :func:`~tomoatlas.recon_core.projection.check_projector`.
    """
    for kind in sorted({at.solver.projector for _, at in study.conditions()}):
        check_projector(kind, on_gpu)


def sees_gpu(request: DeviceRequest) -> bool:
    """Whether a rank with this request would compute on a GPU of this computer.

    Parameters
    ----------
    request : the device asked for.
    """
    if request.kind == "cpu" or request.gpu_problem:
        return False
    return request.kind != "auto" or bool(seen_devices(os.environ, visible_uuids()))


@dataclass(frozen=True)
class ExecutorKind:
    """A way to run trials.

    Parameters
    ----------
    about : one line for listings.
    start : a context manager of an executor (:class:`tomoatlas.sweep.executors.Executor`) for a
        study and its workers; it refuses, before any starts, what these cannot hold, and ends them
        when it is left.
    """

    about: str
    start: Callable[[Study, Workers], AbstractContextManager[Executor]]


EXECUTORS: Registry[ExecutorKind] = Registry(
    "executor",
    "tomoatlas.executors",
    ExecutorKind,
    {
        "local": "tomoatlas.jobs.workers:LOCAL",
        "dask": "tomoatlas.jobs.workers:DASK",
        "inline": "tomoatlas.jobs.workers:INLINE",
    },
    key="--executor",
)
"""Every way to run trials that no MPI launcher has started."""


@contextmanager
def executor_of(study: Study, workers: Workers) -> Iterator[Executor]:
    """The workers of one computer, of a Dask cluster, or of a plugin.

    Parameters
    ----------
    study : the study to evaluate.
    workers : who is to evaluate trials.

    Raises
    ------
    BadInput : more workers than the study can keep busy or the memory holds, a device that cannot
        be used, a projector that it has not got, no cluster, or no such executor.
    """
    # Without a count the number follows from the machine and is reduced, not refused.
    if workers.count:
        check_workers(study, workers.count)
    name = workers.executor
    if name == AUTO:
        name = "local" if workers.dask is None else "dask"
    with EXECUTORS.get(name).start(study, workers) as executor:
        yield executor


@contextmanager
def _local(study: Study, workers: Workers) -> Iterator[Executor]:
    devices = worker_devices(workers)
    places = [device.child_environment for device in devices]
    _check(study, workers, places)
    executor = ProcessExecutor(
        len(places),
        environments=places,
        device=workers.device,
        batching=Batching.of(workers.batch, on_gpu=any(places)),
    )
    executor.devices = computing_on(devices, "worker")
    yield executor


@contextmanager
def _dask(study: Study, workers: Workers) -> Iterator[Executor]:
    address = workers.dask or "local"
    # Other machines have memory and devices of their own.
    devices = worker_devices(workers) if address == "local" else []
    places = [device.child_environment for device in devices]
    _check(study, workers, places)
    with _on_dask(address, workers, len(places)) as executor:
        elsewhere = f"{executor.slots} threads of the Dask cluster {address}"
        executor.devices = computing_on(devices, "worker") if devices else elsewhere
        yield executor


@contextmanager
def _inline(study: Study, workers: Workers) -> Iterator[Executor]:
    _check(study, workers, [{}])
    yield InlineExecutor(device=workers.device)


def _check(study: Study, workers: Workers, places: Sequence[Mapping[str, str]]) -> None:
    check_projectors(study, on_gpu=any(places))
    check_memory(study, places, workers.device)


LOCAL = ExecutorKind("processes of this computer, with limits on each trial", _local)
DASK = ExecutorKind("workers of a Dask cluster (extra: dask)", _dask)
INLINE = ExecutorKind("one after the other in this process, without limits: to debug", _inline)


def worker_devices(workers: Workers) -> list[DeviceAssignment]:
    """What each local worker computes on; GPUs are assigned in turn.

    Parameters
    ----------
    workers : who is to evaluate trials.

    Raises
    ------
    BadInput : a device that cannot be used, or a GPU for several workers without ``share``.
    """
    request = request_of(workers)
    uuids = () if request.kind == "cpu" else visible_uuids()
    environment = _with_mask(os.environ, uuids, request)
    gpus = () if request.kind == "cpu" or request.gpu_problem else seen_devices(environment, uuids)
    # One worker per GPU, or per core this process may use, if no count is given.
    count = workers.count or len(gpus) or usable_cores()
    host = os.uname().nodename
    # The same function that ranks use, with the worker's number in place of the local rank.
    devices = [assign(environment, i, host, request, uuids) for i in range(count)]
    for line in check_devices(devices, request, "worker"):
        click.echo(f"warning: {line}", err=True)
    # Shared evenly: several pools of all cores each would slow each other down.
    threads = max(1, usable_cores() // count)
    return identified(devices, threads)


def _with_mask(
    environment: Mapping[str, str], uuids: Sequence[str], request: DeviceRequest
) -> Mapping[str, str]:
    """The environment with a mask of the GPUs that CuPy counts, if neither a mask nor
    nvidia-smi lists them.
    """
    if request.kind == "cpu" or seen_devices(environment, uuids) or not (count := device_count()):
        return environment
    return {**environment, MASKS[0]: ",".join(map(str, range(count)))}


@contextmanager
def _on_dask(address: str, workers: Workers, count: int) -> Iterator[DaskExecutor]:
    """The workers of a Dask cluster; an error in one line without the package."""
    try:
        from ..sweep.executors.dask import DaskExecutor, connected
    except ImportError as error:
        asked = ("--executor", "dask") if workers.dask is None else ("--dask", address)
        raise BadInput(
            f"dask is not installed ({error})",
            key=asked[0],
            value=asked[1],
            accepted="pip install 'tomoatlas[dask]'",
        ) from error
    with connected(address, count) as client:
        yield DaskExecutor(client, request=_wish(workers))
