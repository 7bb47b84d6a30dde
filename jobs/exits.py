"""Exit codes of ``tomoatlas``."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended, for scripts.

    ``WALLTIME``: the time was up, or a signal asked for an end: submit again, to go on.
    ``TROUBLE``: of the machine, not of the input: the same command may go well a little later.
    """

    DONE = 0
    BAD_INPUT = 2
    TRIALS_FAILED = 3
    WALLTIME = 4
    TROUBLE = 5
    INTERRUPTED = 130
