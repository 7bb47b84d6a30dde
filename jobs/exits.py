"""Exit codes of ``tomoatlas``."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended, for scripts.

    ``WALLTIME``: the time was up, or a signal asked for an end: submit again, to go on.
    """

    DONE = 0
    BAD_INPUT = 2
    TRIALS_FAILED = 3
    WALLTIME = 4
    INTERRUPTED = 130
