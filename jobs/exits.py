"""Exit codes of ``tomoatlas``."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended, for scripts."""

    DONE = 0
    BAD_INPUT = 2
    TRIALS_FAILED = 3
    INTERRUPTED = 130
