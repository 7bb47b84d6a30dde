"""Files that appear whole or not at all: written beside their place, synced, and moved into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...recon_core.errors import BadInput, Trouble, from_os_error


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file beside ``path``, then move it into place in one step.

    Parameters
    ----------
    path : of the file to be written; an existing one is replaced.
    write : writes the file whose path it is given.

    Raises
    ------
    BadInput : the folder cannot be written; an existing file is left as it was.
    Trouble : the disk is full or fails; likewise.
    """
    # in the same folder: a rename is atomic within one file system only
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            write(aside)
            # data first, then the name: a crash between the two leaves the old file
            _sync(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _sync(path: Path) -> None:
    """Flush a file to the disk, so that after a crash its new name is not that of an empty file."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def unwritable(path: Path, error: OSError) -> BadInput | Trouble:
    """Describe a failed write to the person who asked for it.

    Parameters
    ----------
    path : of the file to be written.
    error : as raised by the system.

    Returns
    -------
    BadInput or Trouble : to be raised by the caller.
    """
    return from_os_error(error, "cannot be written", path, "a folder that can be written")
