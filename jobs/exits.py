"""Exit codes of ``tomoatlas``."""

from __future__ import annotations

from enum import IntEnum

import click

from ..recon_core.errors import BadInput, Trouble, from_os_error
from ..sweep.launchers import first_rank


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


def exit_saying(line: str, code: Exit = Exit.BAD_INPUT) -> int:
    """Say in one line on stderr why it goes no further; ``code``."""
    if first_rank():
        click.echo(" ".join(line.split()), err=True)
    return code


def exit_with(error: BadInput | Trouble | OSError) -> int:
    """Say in one line on stderr what is wrong; its exit code."""
    if isinstance(error, OSError):
        return exit_with(from_os_error(error, source=error.filename or "input or output"))
    return exit_saying(str(error), Exit.TROUBLE if isinstance(error, Trouble) else Exit.BAD_INPUT)
