"""Messages between MPI ranks that never wait, and the ranks that are lost. Importing starts MPI."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mpi4py import MPI

from .worker import naps

# An MPI without fault tolerance has one number for all of them, that of any unknown error.
LOSSES = {MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED} - {MPI.ERR_UNKNOWN}

LAST_WORDS_SECONDS = 1.0
"""Before an abort: launchers drop what ranks have printed and they have not read yet."""


class MpiTransport:
    """The messages of one rank.

    ``lost``: ranks that are gone. MPI tells only where it was started with fault tolerance (ULFM,
    ``mpirun --with-ft ulfm``); elsewhere the loss of a rank ends all of them.

    Only probes that need no matched receive are used, as some MPI libraries have none that work;
    ``MPI4PY_RC_RECV_MPROBE=0`` says so to mpi4py.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self._sending: list[MPI.Request] = []
        self._status = MPI.Status()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.lost: set[int] = set()

    def send(self, to: int, tag: int, content: object) -> None:
        """Begin to send; the content may be large, and the receiver may be gone."""
        with self._losses():
            self._sending.append(self._comm.isend(content, dest=to, tag=tag))
        self._sending = [request for request in self._sending if not self._sent(request)]

    def receive(self, tag: int, source: int | None = None) -> tuple[int, Any] | None:
        """A message that has come, with its sender; None where there is none, or a loss is new."""
        with self._losses():
            if self._there(tag, MPI.ANY_SOURCE if source is None else source):
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
        """End all ranks at once, and the program that launched them with ``code``."""
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(LAST_WORDS_SECONDS)
        self._comm.Abort(code)

    def _there(self, tag: int, source: int) -> bool:
        # The first look may only take in what has come, which then the second one sees.
        return any(self._comm.iprobe(source, tag, self._status) for _ in range(2))

    def _sent(self, request: MPI.Request) -> bool:
        with self._losses():
            return bool(request.Test())
        return True

    @contextmanager
    def _losses(self) -> Iterator[None]:
        """Turn the error that tells of a lost rank into an entry of ``lost``."""
        try:
            yield
        except MPI.Exception as error:
            if error.Get_error_class() not in LOSSES:
                raise
            self._comm.Ack_failed()
            failed = self._comm.Get_failed()
            numbers = list(range(failed.Get_size()))
            self.lost |= set(failed.Translate_ranks(numbers, self._comm.Get_group()))
