"""What ranks say to each other, whatever carries it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

TASK, RESULT, BYE, LEAVE = 1, 2, 3, 4
"""To a worker: a trial, or None when there are no more. To the manager: a report; the children are
ended. To a worker: end."""

NAP_SECONDS, LONGEST_NAP_SECONDS = 0.0005, 0.004


class Post(Protocol):
    """Carries the messages of one rank, never waiting; see :class:`~sweep.executors.mail.Mail`."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    @property
    def lost(self) -> set[int]:
        """Ranks that are known to be gone."""

    def send(self, to: int, tag: int, content: object) -> None:
        """Begin to send."""

    def receive(self, tag: int, source: int | None = None) -> tuple[int, Any] | None:
        """A message that has come, with its sender, if any."""

    def flush(self, seconds: float) -> bool:
        """Wait until everything is sent, ``seconds`` at most; whether it is."""


def naps() -> Iterator[float]:
    """Seconds to sleep between looks, longer and longer: a blocking receive burns a core."""
    nap = NAP_SECONDS
    while True:
        yield nap
        nap = min(2 * nap, LONGEST_NAP_SECONDS)
