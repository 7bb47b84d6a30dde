"""Trials on the workers of a Dask cluster, which may come and go. Needs the extra ``dask``."""

from __future__ import annotations

import math
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue

import dask
from distributed import (
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Security,
    get_worker,
)

from ....recon_core.errors import BadInput, needed
from ...devices import DeviceRequest
from ...evaluate import evaluate
from ...study import Study, Task
from ...study.trial import Trial, TrialResult, TrialStatus
from .. import Evaluate, Limits
from ..child import CannotStart
from .workers import DaskWorkers, host_of

COUNT_SECONDS = 1.0
"""Between two counts of the workers."""

NOTICE_SECONDS = 60.0
"""Between two notices that there are no workers."""

CONNECT_SECONDS = 30
"""For a scheduler to answer."""

UNPROTECTED = (
    "warning: the Dask cluster {address} has no TLS: whoever can reach its ports can run programs "
    "as you; see https://distributed.dask.org/en/stable/tls.html"
)


class DaskExecutor:
    """Evaluates a trial in a child process of each thread of each Dask worker.

    Dask runs the trials of a lost worker again on others. A trial that loses too many workers
    (``distributed.scheduler.allowed-failures``) comes back as crashed. Workers that join later are
    used; one on which no child can start is retired.

    Parameters
    ----------
    client : of the cluster; its owner closes it.
    evaluate : evaluates a trial; a function that every worker can import by its name.
    limits : what a trial may take; by default the limits of its study.
    request : what the workers compute on; the devices are looked for where they are, not here.

    Raises
    ------
    BadInput : a worker has another version of tomoatlas, or a device that cannot be used.
    """

    devices = ""

    def __init__(
        self,
        client: Client,
        evaluate: Evaluate = evaluate,
        limits: Limits | None = None,
        request: DeviceRequest = DeviceRequest(),  # noqa: B008 - frozen
    ) -> None:
        self._client = client
        self._plugin = DaskWorkers(evaluate, limits, request, _threads_by_host(client))
        self._tasks: dict[Future, Task] = {}
        self._finished: Queue[Future] = Queue()
        self._unfit: set[str] = set()
        self._noticed = -math.inf
        self._slots, self._counted = 0, -COUNT_SECONDS
        self._closed = False
        try:
            client.register_plugin(self._plugin)
        except BadInput:
            client.unregister_worker_plugin(self._plugin.name)
            raise

    @property
    def slots(self) -> int:
        """Number of threads of all workers of the cluster now, without those that cannot start.

        Raises
        ------
        CannotStart : the cluster is gone.
        """
        if time.monotonic() - self._counted > COUNT_SECONDS:
            try:
                threads = self._client.nthreads().items()
                self._slots = sum(n for address, n in threads if address not in self._unfit)
            except (OSError, RuntimeError) as error:
                raise CannotStart(f"the Dask cluster is gone: {error}") from error
            self._counted = time.monotonic()
        return self._slots

    def submit(self, study: Study, trial: Trial) -> None:
        """Hand the trial to the cluster, which sends it to a free worker."""
        future = self._client.submit(
            on_worker, self._plugin.name, study, trial, pure=False, key=f"trial-{uuid.uuid4()}"
        )
        self._tasks[future] = study, trial
        # Called in a thread of the client: a queue hands the future over without a lock of ours.
        future.add_done_callback(self._finished.put)

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """Wait for the first trial that is done, or that Dask has given up."""
        while self._tasks or timeout is not None:
            try:
                future = self._finished.get(timeout=timeout)
            except Empty:
                self._report_empty()
                return None
            (study, trial), outcome = self._tasks.pop(future), _outcome(future)
            if isinstance(outcome, TrialResult):
                return trial, outcome
            # The worker goes first, or Dask would send the trial there again.
            self._retire(outcome)
            self.submit(study, trial)
        return None

    def close(self) -> None:
        """Drop what is in flight and end the child processes; the cluster stays."""
        if self._closed:
            return
        self._closed = True
        # If the cluster is gone, nothing is left to end.
        with suppress(OSError, RuntimeError):
            self._client.cancel(list(self._tasks))
            self._client.unregister_worker_plugin(self._plugin.name)
        self._tasks.clear()

    def _report_empty(self) -> None:
        """Print now and then that there are no workers."""
        if not self.slots and time.monotonic() - self._noticed > NOTICE_SECONDS:
            print("no Dask workers: waiting for some to join", file=sys.stderr)
            self._noticed = time.monotonic()

    def _retire(self, unfit: Unfit) -> None:
        """Use a worker no more; without the last one the run cannot go on."""
        print(f"warning: Dask worker {unfit.address} is retired: {unfit.why}", file=sys.stderr)
        self._unfit.add(unfit.address)
        self._counted = -COUNT_SECONDS
        if not self.slots:
            raise CannotStart(unfit.why)
        self._client.retire_workers([unfit.address])


@contextmanager
def connected(address: str, workers: int) -> Iterator[Client]:
    """A client of a Dask cluster, closed at the end of the block.

    Parameters
    ----------
    address : of the scheduler; ``local`` starts a cluster on this machine, and ends it. Only this
        run can speak to it: it has certificates that are made for it and never leave its memory.
        Any other cluster has the security that Dask's own configuration gives it; where that is
        none, a line on stderr says so.
    workers : number of processes of a local cluster.

    Raises
    ------
    BadInput : no scheduler answers, or a package is not installed.
    """
    if address == "local":
        with _local_cluster(workers) as cluster, Client(cluster) as client:
            yield client
        return
    accepted = "host:port of a running Dask scheduler, or local"
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise BadInput(f"{error}", key="--dask", value=address, accepted=accepted) from error
    with client:
        if not client.scheduler.address.startswith("tls://"):
            print(UNPROTECTED.format(address=address), file=sys.stderr)
        yield client


@contextmanager
def _local_cluster(workers: int) -> Iterator[LocalCluster]:
    """A cluster of processes of this machine that no other user can use or look into."""
    # Whoever reaches a scheduler without TLS can have it run anything as its owner.
    with needed("cryptography", "dask", "--dask local"):
        security = Security.temporary()
    with (
        dask.config.set(
            {f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker")}
        ),
        # What workers write to the disk is loaded again as code.
        tempfile.TemporaryDirectory(prefix="tomoatlas-dask-") as private,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            # A free port: without one Dask opens its usual port to all hosts.
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            security=security,
            local_directory=private,
        ) as cluster,
    ):
        yield cluster


@dataclass(frozen=True)
class Unfit:
    """Comes back instead of a result from a worker on which no child process can start.

    Parameters
    ----------
    address : of the worker.
    why : no child can start.
    """

    address: str
    why: str


def on_worker(name: str, study: Study, trial: Trial) -> TrialResult | Unfit:
    """Evaluate a trial on the Dask worker that runs this.

    Parameters
    ----------
    name : of the plugin that holds the worker's children.
    study, trial : what to evaluate.
    """
    worker = get_worker()
    plugin: DaskWorkers = worker.plugins[name]
    try:
        return plugin.evaluate(study, trial)
    except CannotStart as error:
        return Unfit(worker.address, str(error))


def _outcome(future: Future) -> TrialResult | Unfit:
    """The outcome of a finished task; crashed if Dask has given it up."""
    if future.status == "finished":
        outcome: TrialResult | Unfit = future.result()
        return outcome
    error = future.exception() if future.status == "error" else f"the task was {future.status}"
    reason = " ".join(f"lost worker: {error}".split())
    return TrialResult(TrialStatus.CRASHED, error=reason, worker=_last_worker(error))


def _last_worker(error: object) -> str | None:
    return str(error.last_worker.name) if isinstance(error, KilledWorker) else None


def _threads_by_host(client: Client) -> Counter[str]:
    counts: Counter[str] = Counter()
    for address, threads in client.nthreads().items():
        counts[host_of(address)] += threads
    return counts
