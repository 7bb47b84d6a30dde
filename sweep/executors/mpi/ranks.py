"""Trials on MPI ranks: rank 0 manages, and every rank evaluates. Importing this starts MPI."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Collection
from dataclasses import astuple

from mpi4py import MPI

from ....recon_core.machine import allowed_cores, core_quota
from ...devices import (
    DeviceAssignment,
    DeviceRequest,
    assign,
    check_devices,
    share_of_cores,
    visible_uuids,
)
from ...evaluate import evaluate
from ...launchers import agreed_local_rank, local_rank
from ...versions import Provenance, check_same_code, provenance
from .. import Evaluate, Limits
from ..local import ProcessExecutor
from .manager import MpiExecutor
from .transport import MpiTransport
from .worker import ManagerLost, work


def rank_worker(
    comm: MPI.Intracomm, evaluate: Evaluate, limits: Limits | None, request: DeviceRequest
) -> ProcessExecutor:
    """Make the worker of this rank, one child on a device of its own; all ranks call this together.

    Parameters
    ----------
    comm : all ranks.
    evaluate : evaluates a trial; a function that can be imported by its name.
    limits : what a trial may take; None for the limits of its study.
    request : what the ranks compute on.

    Raises
    ------
    BadInput : raised on every rank if any rank's device cannot be used.
    """
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    device = _device(node, request)
    allowed = node.allgather(allowed_cores())
    threads = share_of_cores(allowed, node.Get_rank(), core_quota())
    node.Free()
    warnings = check_devices(comm.allgather(device), request)
    if comm.Get_rank() == 0:
        for line in warnings:
            print(f"warning: {line}", file=sys.stderr)
    places = [device.child_environment]
    return ProcessExecutor(1, evaluate, limits, places, threads, device=request.kind)


def _check_code(comm: MPI.Intracomm) -> None:
    """Before all else that ranks exchange, as that may be another version's; on all ranks alike."""
    # Plain values: another version's classes may not be the same.
    everyone = comm.allgather((os.uname().nodename, *astuple(provenance())))
    check_same_code(
        {f"rank {rank} on {host}": Provenance(*code) for rank, (host, *code) in enumerate(everyone)}
    )


def _device(node: MPI.Comm, request: DeviceRequest) -> DeviceAssignment:
    local = agreed_local_rank(node.allgather(local_rank(os.environ)), node.Get_rank())
    uuids = () if request.kind == "cpu" else visible_uuids()
    return assign(os.environ, local, os.uname().nodename, request, uuids)


FINALIZE_SECONDS = 30.0
"""For MPI to end, before a rank is ended at once."""


def ranks() -> int:
    """Number of MPI ranks."""
    return MPI.COMM_WORLD.Get_size()


def run_ranks(
    manage: Callable[[MpiExecutor], int],
    evaluate: Evaluate = evaluate,
    limits: Limits | None = None,
    request: DeviceRequest = DeviceRequest(),  # noqa: B008 - frozen
    comm: MPI.Intracomm = MPI.COMM_WORLD,
) -> int:
    """Call ``manage`` on rank 0 with an executor over all ranks.

    Every rank calls this. Each has one device and one child process on it, rank 0 as well, so that
    N ranks use N devices. When ``manage`` returns or raises, trials in flight are dropped and the
    other ranks end.

    Parameters
    ----------
    manage : the run of a study; its return value is the exit code of rank 0.
    evaluate : evaluates a trial; a function that can be imported by its name.
    limits : what a trial may take; by default the limits of its study.
    request : what the ranks compute on.
    comm : the ranks.

    Returns
    -------
    int : exit code of this rank; pass it to :func:`leave`.

    Raises
    ------
    BadInput : raised on every rank if one has another version of tomoatlas than rank 0 or a device
        that cannot be used; see :func:`tomoatlas.sweep.devices.check_devices`.
    """
    _check_code(comm)
    worker = rank_worker(comm, evaluate, limits, request)
    transport = MpiTransport(comm)
    if transport.rank > 0:
        return _serve(transport, worker)
    executor = MpiExecutor(transport, worker, limits)
    code = 1
    try:
        code = manage(executor)
    finally:
        executor.close()
        executor.dismiss()
        if executor.silent:
            _report_silent(executor.silent)
            transport.abort(code)
    return code


def _report_silent(ranks: Collection[int]) -> None:
    if sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"ranks that do not answer: {sorted(ranks)}; all are ended", file=sys.stderr)


def _serve(transport: MpiTransport, worker: ProcessExecutor) -> int:
    """Work for rank 0. If this rank cannot go on, end all ranks: rank 0 would wait forever."""
    try:
        work(transport, worker)
    except ManagerLost as error:
        print(f"rank {transport.rank} ends: {error}", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - printed, and ended by the abort
        traceback.print_exc()
    else:
        return 0
    transport.abort(1)
    return 1


def leave(code: int) -> int:
    """Finalise MPI and return ``code``, for ``sys.exit``.

    If MPI does not return in time, this rank is ended at once with ``code``, without further
    clean-up: the record is closed and the streams are flushed by now, so nothing is lost.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    overdue = threading.Timer(FINALIZE_SECONDS, os._exit, [code])
    overdue.daemon = True
    overdue.start()
    MPI.Finalize()
    overdue.cancel()
    return code
