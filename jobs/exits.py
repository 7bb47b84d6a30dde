"""How a command ends: the exit codes, and the signals that ask a run to end gracefully.

Batch scripts branch on the codes: 4 and 5 are worth another job, 2 is not. Schedulers send signals
before they kill. The first one drains the run: trials that are running finish, and no new ones
start. The second one, or Ctrl-C, ends it at once. Both leave a folder that can be resumed.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import click

from ..recon_core.errors import BadInput, Trouble, from_os_error, printable
from ..sweep.launchers import first_rank, launched_under_mpi
from ..sweep.run import Deadline


class Exit(IntEnum):
    """How a command ended, for scripts."""

    DONE = 0
    BAD_INPUT = 2
    TRIALS_FAILED = 3
    WALLTIME = 4
    """Time was up, or a signal asked for an end; submit again to continue."""
    TROUBLE = 5
    """Of the machine, not of the input; the same command may succeed later."""
    INTERRUPTED = 130


def exit_saying(line: str, code: Exit = Exit.BAD_INPUT) -> int:
    """Print on stderr in one line why the command stops; of several MPI ranks only the first does.

    Parameters
    ----------
    line : the reason; line breaks become spaces.
    code : how the command ended.

    Returns
    -------
    ``code``.
    """
    # Hundreds of ranks fail alike; one line is enough.
    if first_rank():
        click.echo(printable(" ".join(line.split())), err=True)
    return code


def exit_with(error: BadInput | Trouble | OSError) -> int:
    """Print an error on stderr in one line; return its exit code.

    Parameters
    ----------
    error : bad input, trouble of the machine, or an error of the system, which is classified as one
        of them.
    """
    if isinstance(error, OSError):
        # A full disk is trouble that may pass, a wrong path is bad input.
        return exit_with(from_os_error(error, source=error.filename or "input or output"))
    return exit_saying(str(error), Exit.TROUBLE if isinstance(error, Trouble) else Exit.BAD_INPUT)


DRAIN = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that drain a run; LSF sends the last one at the run limit."""


class SignalHandler:
    """What signals ask of a run.

    The first signal of :data:`DRAIN` drains it; a second one, or Ctrl-C, ends it now. After that,
    and while a drained run writes its results, signals are ignored: half a report is useless. A
    handler starts without a run; :meth:`attach` hands over what has been asked so far.
    """

    def __init__(self) -> None:
        self._deadline = Deadline()
        self._ended = False

    @property
    def draining(self) -> bool:
        """Whether a signal has asked for an end."""
        return self._deadline.draining

    def attach(self, deadline: Deadline) -> Deadline:
        """Drain ``deadline`` when a signal arrives, or at once if one already has.

        Parameters
        ----------
        deadline : the deadline of the run.

        Returns
        -------
        ``deadline`` itself.
        """
        if self.draining:
            deadline.drain()
        self._deadline = deadline
        return deadline

    def handle(self, number: int, frame: object) -> None:  # noqa: ARG002 - signature of a handler
        """Act on a signal; installed with :func:`signal.signal`.

        Parameters
        ----------
        number : the signal.
        frame : the interrupted frame; not used.
        """
        # Ctrl-C means now; a scheduler's signal means soon.
        asks = number != signal.SIGINT
        # Once the report is being written, stopping would only lose it.
        if self._ended or (self._deadline.closed and (asks or self.draining)):
            return
        if asks and not self.draining:
            self._deadline.drain()
            return
        self._ended = True
        # Ends the run as Ctrl-C does: what is recorded is kept.
        raise KeyboardInterrupt


@contextmanager
def handling_signals(signals: SignalHandler) -> Iterator[None]:
    """Handle signals inside the block (rank 0 only).

    Python delivers signals to the main thread; in any other thread this does nothing.

    Parameters
    ----------
    signals : what to do with them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # The other ranks ignore them: a launcher signals every rank, and rank 0 drains the run for all.
    handler = signals.handle if first_rank() else signal.SIG_IGN
    # Under nohup SIGINT is ignored; keep it so.
    aware = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    handled = (*DRAIN, signal.SIGINT) if aware else DRAIN
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    # The handlers of a caller, as of a notebook or of pytest, are restored. A rank that leaves
    # stays deaf: as soon as one has left with another code than 0, `srun --kill-on-bad-exit` sends
    # SIGTERM to the others, whose own code shall count.
    finally:
        leaving = launched_under_mpi()
        for number, old in before.items():
            signal.signal(number, signal.SIG_IGN if leaving else old)
