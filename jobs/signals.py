"""Signals that ask a run to end well: schedulers send them before they kill."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..sweep.launchers import first_rank
from ..sweep.run.deadline import Deadline

DRAIN = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""LSF sends the last one at the run limit."""


class SignalHandler:
    """What signals ask of a run.

    The first of ``DRAIN`` drains it; a second one, or Ctrl-C, ends it now. After that, and while a
    drained run writes what it leaves behind, nothing more is heard: half a report helps nobody.
    """

    def __init__(self) -> None:
        self._watch = Deadline()
        self._ended = False

    @property
    def draining(self) -> bool:
        """Whether a signal has asked for an end."""
        return self._watch.draining

    def attach(self, deadline: Deadline) -> Deadline:
        """Drain ``watch`` from now on, also for what was heard before."""
        if self.draining:
            deadline.drain()
        self._watch = deadline
        return deadline

    def handle(self, number: int, frame: object) -> None:  # noqa: ARG002 - of a handler
        """A signal has come."""
        asks = number != signal.SIGINT
        if self._ended or (self._watch.closed and (asks or self.draining)):
            return
        if asks and not self.draining:
            self._watch.drain()
            return
        self._ended = True
        raise KeyboardInterrupt


@contextmanager
def handling_signals(signals: SignalHandler) -> Iterator[None]:
    """Let ``ears`` hear signals meanwhile; of several MPI ranks only the first does.

    Only the main thread hears signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signals.handle if first_rank() else signal.SIG_IGN
    # A run in the background, as of nohup, ignores Ctrl-C, and goes on to.
    aware = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    heard = (*DRAIN, signal.SIGINT) if aware else DRAIN
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
