"""Exit codes of ``tomoatlas``."""

from __future__ import annotations

from enum import IntEnum

import click

from jobs.rank import first_rank
from recon_core.errors import BadInput, Trouble, told


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


def refuse(line: str, code: Exit = Exit.BAD_INPUT) -> int:
    """Say in one line on stderr why it goes no further; ``code``."""
    if first_rank():
        click.echo(" ".join(line.split()), err=True)
    return code


def tell(error: BadInput | Trouble | OSError) -> int:
    """Say in one line on stderr what is wrong; its exit code."""
    if isinstance(error, OSError):
        return tell(told(error, source=error.filename or "input or output"))
    return refuse(str(error), Exit.TROUBLE if isinstance(error, Trouble) else Exit.BAD_INPUT)
