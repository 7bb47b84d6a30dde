"""Messages between MPI ranks without waiting, and which ranks are lost. Importing starts MPI."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mpi4py import MPI

from .worker import Tag, naps

# An MPI without fault tolerance has one number for all of them, that of any unknown error.
LOSSES = {MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED} - {MPI.ERR_UNKNOWN}

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
            self._comm.Ack_failed()
            failed = self._comm.Get_failed()
            numbers = list(range(failed.Get_size()))
            self.lost |= set(failed.Translate_ranks(numbers, self._comm.Get_group()))
