"""The worker of each rank: its device, its share of the cores, its child process."""

from __future__ import annotations

import os
import sys

from mpi4py import MPI

from sweep.devices import (
    Device,
    Request,
    agreed_local_rank,
    assign,
    check_devices,
    local_rank,
    share_of_cores,
    visible_uuids,
)
from sweep.executors.base import Evaluate
from sweep.executors.processes import ProcessExecutor
from sweep.limits import Limits


def make_crew(
    comm: MPI.Intracomm, evaluate: Evaluate, limits: Limits | None, request: Request
) -> ProcessExecutor:
    """The worker of a rank, one child on a device of its own; all ranks call this together.

    Raises
    ------
    BadInput : on all ranks, where the devices do not do.
    """
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    device = _device(node, request)
    threads = share_of_cores(node.allgather(os.sched_getaffinity(0)), node.Get_rank())
    node.Free()
    warnings = check_devices(comm.allgather(device), request)
    if comm.Get_rank() == 0:
        for line in warnings:
            print(f"warning: {line}", file=sys.stderr)
    return ProcessExecutor(1, evaluate, limits, [device.variables], threads)


def _device(node: MPI.Comm, request: Request) -> Device:
    local = agreed_local_rank(node.allgather(local_rank(os.environ)), node.Get_rank())
    uuids = () if request.kind == "cpu" else visible_uuids()
    return assign(os.environ, local, os.uname().nodename, request, uuids)
