"""Exit codes of ``tomoatlas``, and how errors become one line and a code.

Batch scripts branch on the codes: 4 and 5 are worth another job, 2 is not.
"""

from __future__ import annotations

from enum import IntEnum

import click

from ..recon_core.errors import BadInput, Trouble, from_os_error
from ..sweep.launchers import first_rank


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
        click.echo(" ".join(line.split()), err=True)
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
