"""Files that appear whole or not at all: written aside, synced, and moved in place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...recon_core.errors import BadInput, Trouble, from_os_error


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then move it in place at once.

    Raises
    ------
    BadInput : the folder cannot be written; what was there is left alone.
    Trouble : the disk is full or fails; likewise.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            write(aside)
            _sync(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _sync(path: Path) -> None:
    """Bring a file to the disk, so that after a crash its new name holds no empty one."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def unwritable(path: Path, error: OSError) -> BadInput | Trouble:
    """What ``error`` is to a person who wanted ``path`` to be written."""
    return from_os_error(error, "cannot be written", path, "a folder that can be written")
