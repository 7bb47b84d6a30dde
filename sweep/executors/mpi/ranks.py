"""The ranks of an MPI run and their messages: rank 0 manages, every rank evaluates.

Importing this starts MPI.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

from mpi4py import MPI

from ....recon_core.machine import allowed_cores, core_quota
from ...devices import (
    DeviceAssignment,
    DeviceRequest,
    assign,
    check_devices,
    computing_on,
    identified,
    share_of_cores,
    visible_uuids,
)
from ...evaluate import evaluate
from ...launchers import agreed_local_rank, local_rank
from ...versions import Provenance, check_same_code, provenance
from .. import Evaluate, Limits
from ..batches import SINGLY, Batching
from ..local import ProcessExecutor
from ..serve import ignore_signals
from .manager import MpiExecutor
from .worker import ManagerLost, Tag, naps, work

# An MPI without fault tolerance has one number for all of them, that of any unknown error.
LOSSES = {MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED} - {MPI.ERR_UNKNOWN}

OWN_EVALUATION = evaluate

LAST_WORDS_SECONDS = 1.0
"""Wait before an abort: launchers drop what ranks have printed and they have not read yet."""


class MpiTransport:
    """The messages of one rank.

    :attr:`lost` holds the ranks that are gone. MPI reports them only if it was started with fault
    tolerance (ULFM, ``mpirun --with-ft ulfm``); otherwise the loss of a rank ends all of them.

    Matched probes are not used, as those of some MPI libraries do not work; for such a library set
    ``MPI4PY_RC_RECV_MPROBE=0``, so that mpi4py avoids them too.

    Parameters
    ----------
    comm : the communicator of all ranks.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        # Kept until they are through: MPI reads the buffer of a message up to then.
        self._sending: list[MPI.Request] = []
        self._status = MPI.Status()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.lost: set[int] = set()

    def send(self, to: int, tag: Tag, content: object) -> None:
        """Begin to send a message, which may be large and whose receiver may be gone.

        Parameters
        ----------
        to : rank that shall get it.
        tag : what it is.
        content : anything that can be pickled.
        """
        with self._losses():
            self._sending.append(self._comm.isend(content, dest=to, tag=tag))
        self._sending = [request for request in self._sending if not self._sent(request)]

    def receive(self, tag: Tag, source: int | None = None) -> tuple[int, Any] | None:
        """Take a message with this tag: its sender and content.

        Parameters
        ----------
        tag : what it is to be.
        source : rank to take it from; None for any.

        Returns
        -------
        tuple : rank and content; None if there is no message, or a rank has just been lost.
        """
        with self._losses():
            if self._arrived(tag, MPI.ANY_SOURCE if source is None else source):
                sender = self._status.Get_source()
                return sender, self._comm.recv(source=sender, tag=tag)
        return None

    def flush(self, seconds: float) -> bool:
        """Wait until everything is sent, ``seconds`` at most; whether it is."""
        until = time.monotonic() + seconds
        for nap in naps():
            self._sending = [request for request in self._sending if not self._sent(request)]
            if not self._sending or time.monotonic() > until:
                break
            time.sleep(nap)
        return not self._sending

    def abort(self, code: int) -> None:
        """End all ranks at once; the program that launched them exits with ``code``."""
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(LAST_WORDS_SECONDS)
        self._comm.Abort(code)

    def _arrived(self, tag: Tag, source: int) -> bool:
        # The first probe may only drive MPI's progress; the second then sees the message.
        return any(self._comm.iprobe(source, tag, self._status) for _ in range(2))

    def _sent(self, request: MPI.Request) -> bool:
        with self._losses():
            # After a loss it falls through to True: nobody is left to take the message.
            return bool(request.Test())
        return True

    @contextmanager
    def _losses(self) -> Iterator[None]:
        """Turn the error of a lost rank into an entry of ``lost``."""
        try:
            yield
        except MPI.Exception as error:
            if error.Get_error_class() not in LOSSES:
                raise
            # Until it is acknowledged, every receive from any rank fails on the same loss again.
            self._comm.Ack_failed()
            failed = self._comm.Get_failed()
            numbers = list(range(failed.Get_size()))
            self.lost |= set(failed.Translate_ranks(numbers, self._comm.Get_group()))


def rank_worker(
    comm: MPI.Intracomm,
    evaluate: Evaluate,
    limits: Limits | None,
    request: DeviceRequest,
    batch: int | None = None,
) -> ProcessExecutor:
    """Make the worker of this rank, one child on a device of its own; all ranks call this together.

    Parameters
    ----------
    comm : all ranks.
    evaluate : evaluates a trial; a function that can be imported by its name.
    limits : what a trial may take; None for the limits of its study.
    request : what the ranks compute on.
    batch : trials that a rank takes at a time, see :meth:`.batches.Batching.of`.

    Raises
    ------
    BadInput : raised on every rank if any rank's device cannot be used.
    """
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    device = _device(node, request)
    allowed = node.allgather(allowed_cores())
    threads = share_of_cores(allowed, node.Get_rank(), core_quota())
    node.Free()
    devices = comm.allgather(identified([device], threads)[0])
    warnings = check_devices(devices, request)
    if comm.Get_rank() == 0:
        for line in warnings:
            print(f"warning: {line}", file=sys.stderr)
    places = [device.child_environment]
    # another evaluation does not know how to evaluate several
    known = evaluate is OWN_EVALUATION
    batching = Batching.of(batch, on_gpu=device.device_id is not None) if known else SINGLY
    worker = ProcessExecutor(
        1, evaluate, limits, places, threads, device=request.kind, batching=batching
    )
    worker.devices = computing_on(devices)
    return worker


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
    batch: int | None = None,
) -> int:
    """Call ``manage`` on rank 0 with an executor over all ranks.

    Every rank calls this. Each has one device and one child process on it, rank 0 as well, so that
    N ranks use N devices. When ``manage`` returns or raises, trials in flight are dropped and the
    other ranks end.

    Parameters
    ----------
    manage : the run of a study; its return value is the exit code of every rank, since launchers
        look at all of them. If it raises, the others exit with 1.
    evaluate : evaluates a trial; a function that can be imported by its name.
    limits : what a trial may take; by default the limits of its study.
    request : what the ranks compute on.
    comm : the ranks.
    batch : most trials that a rank takes at a time, by the project's own evaluation.

    Returns
    -------
    int : exit code of this rank; pass it to :func:`leave`.

    Raises
    ------
    BadInput : raised on every rank if one has another version of tomoatlas than rank 0 or a device
        that cannot be used; see :func:`tomoatlas.sweep.devices.check_devices`.
    """
    _check_code(comm)
    worker = rank_worker(comm, evaluate, limits, request, batch)
    transport = MpiTransport(comm)
    if transport.rank > 0:
        return _serve(transport, worker)
    executor = MpiExecutor(transport, worker)
    code = 1
    try:
        code = manage(executor)
    finally:
        executor.close()
        executor.dismiss(code)
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
        return work(transport, worker)
    except ManagerLost as error:
        print(f"rank {transport.rank} ends: {error}", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - printed, and ended by the abort
        traceback.print_exc()
    transport.abort(1)
    return 1


def leave(code: int) -> int:
    """Finalise MPI and return ``code``, for ``sys.exit``.

    If MPI does not return in time, this rank is ended at once with ``code``, without further
    clean-up: the record is closed and the streams are flushed by now, so nothing is lost. Signals
    are ignored from here on, as by the ranks that wait for this.
    """
    ignore_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    overdue = threading.Timer(FINALIZE_SECONDS, os._exit, [code])
    overdue.daemon = True
    overdue.start()
    MPI.Finalize()
    overdue.cancel()
    return code
