"""What runs on a Dask worker: a child process for each of its threads, its device, its cores."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import astuple, replace

from distributed import Worker, WorkerPlugin
from distributed.comm import get_address_host

from ....recon_core.errors import BadInput
from ....recon_core.gpu.cupy import device_problem
from ....recon_core.machine import usable_cores
from ...devices import DeviceRequest, assign, check_devices, visible_uuids
from ...study import Study
from ...study.trial import Trial, TrialResult, TrialStatus
from ...versions import Provenance, check_same_code, provenance
from .. import Evaluate, Limits
from ..child import CannotStart
from ..local import ProcessExecutor

POLL_SECONDS = 0.2
"""Between two checks of a busy worker whether the run has ended."""


class DaskWorkers(WorkerPlugin):  # type: ignore[misc]
    """The warm child processes of one Dask worker, one for each of its threads.

    They have the worker's name; those of several threads are numbered, ``name/0`` the first. Each
    gets one of the GPUs that the worker sees, in turn; workers of a local cluster, which all see
    the same, begin at their number. All share the cores of their host.

    Parameters
    ----------
    evaluate : evaluates a trial; a function that every worker can import by its name.
    limits : what a trial may take; None for the limits of its study.
    request : what the workers compute on.
    threads_by_host : number of threads of all workers of each host.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        limits: Limits | None,
        request: DeviceRequest = DeviceRequest(),  # noqa: B008 - frozen
        threads_by_host: Mapping[str, int] | None = None,
    ) -> None:
        self.name = f"tomoatlas-{uuid.uuid4()}"
        self._evaluate, self._limits, self._request = evaluate, limits, request
        self._threads_by_host = threads_by_host or {}
        self._manager = f"the run on {os.uname().nodename}"
        # Plain values: a worker's version may have another class.
        self._code = astuple(provenance())

    def setup(self, worker: Worker) -> None:
        """Be ready for trials; called by Dask on every worker, also on one that joins later.

        Raises
        ------
        BadInput : this worker has another version of tomoatlas than the run, or a device that
            cannot be used.
        """
        # Made here, not in __init__: the plugin travels to the worker as a pickle, and locks do
        # not.
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._idle: list[ProcessExecutor] = []
        own = f"Dask worker {worker.name} on {os.uname().nodename}"
        check_same_code({self._manager: Provenance(*self._code), own: provenance()})
        count = worker.state.nthreads
        self._threads = _threads(max(count, self._threads_by_host.get(host_of(worker.address), 0)))
        environments = _environments(worker, count, self._request)
        one = count == 1
        numbered = (f"{worker.name}/{number}" for number in itertools.count())
        self._names = itertools.repeat(str(worker.name)) if one else numbered
        self._environments = itertools.cycle(environments)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - Dask's signature
        """End the children; those at work are ended by their own threads."""
        self._over.set()
        with self._lock:
            for child in self._idle:
                child.close()
            self._idle.clear()

    def evaluate(self, study: Study, trial: Trial) -> TrialResult:
        """The result of a trial from a child process, in this thread."""
        with self._lock:
            child = self._idle.pop() if self._idle else self.new_child()
        try:
            child.submit(study, trial)
            while (finished := child.collect(POLL_SECONDS)) is None and not self._over.is_set():
                pass
        except CannotStart:
            child.close()
            raise
        with self._lock:
            if self._over.is_set():
                child.close()
            else:
                self._idle.append(child)
        return (
            finished[1] if finished else TrialResult(TrialStatus.CRASHED, error="the run is over")
        )

    def new_child(self) -> ProcessExecutor:
        """Make a child for one more thread, with the next name and device."""
        return ProcessExecutor(
            1,
            self._evaluate,
            self._limits,
            [next(self._environments)],
            self._threads,
            [next(self._names)],
            self._request.kind,
        )


def _environments(worker: Worker, count: int, request: DeviceRequest) -> list[Mapping[str, str]]:
    """For each thread of a worker, the variables that select its child's device."""
    problem = None if request.kind == "cpu" else device_problem()
    here = replace(request, gpu_problem=problem)
    uuids = () if request.kind == "cpu" else visible_uuids()
    # Workers of a local cluster are numbered and see the same GPUs; others have names, and GPUs of
    # their own.
    first, host = worker.name if isinstance(worker.name, int) else 0, os.uname().nodename
    devices = [assign(os.environ, first + i, host, here, uuids) for i in range(count)]
    try:
        warnings = check_devices(devices, here, "thread")
    except BadInput as error:
        raise error.at(source=f"Dask worker {worker.name}, {error.source}") from error
    for line in warnings:
        print(f"warning: Dask worker {worker.name}, {line}", file=sys.stderr)
    return [device.child_environment for device in devices]


def _threads(together: int) -> int:
    """Threads of a child where ``together`` children share this host's cores.

    Dask's nanny sets OMP_NUM_THREADS to 1; a larger number was set on purpose.
    """
    wished = os.environ.get("OMP_NUM_THREADS", "")
    if wished.isdecimal() and int(wished) > 1:
        return int(wished)
    return max(1, usable_cores() // together)


def host_of(address: str) -> str:
    """The host of a worker, by its address."""
    host: str = get_address_host(address)
    return host
