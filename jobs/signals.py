"""Signals that ask a run to end well: schedulers send them before they kill."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sweep.watch import Watch

DRAIN = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def drained_by_signals(watch: Watch) -> Iterator[None]:
    """SIGTERM and SIGUSR1 drain the run meanwhile; a second one ends it now, as Ctrl-C does.

    Only the main thread hears signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _asker(watch)) for number in DRAIN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _asker(watch: Watch) -> Callable[[int, object], None]:
    def ask(number: int, frame: object) -> None:  # noqa: ARG001
        if watch.draining:
            raise KeyboardInterrupt
        watch.drain()

    return ask
