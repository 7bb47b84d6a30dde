"""The record of a study: append-only JSON lines, synced to disk one per finished trial."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from ...recon_core.errors import BadInput, Trouble, from_os_error, needed
from ..study.trial import Record

LOOK_SECONDS = 1.0
"""Time between two attempts to take the lock, seconds."""


class Journal:
    """The journal of a running study, locked against a second writer until closed.

    Opening it drops a torn last line. The lock is the operating system's: it ends with the process,
    however that dies.

    Parameters
    ----------
    path : the file; created if missing.
    patience : seconds to wait for the lock: a run that is being killed may hold it a while longer.

    Attributes
    ----------
    written : number of records appended.

    Raises
    ------
    BadInput : unwritable, already being written by another run, or a line that is not a record.
    Trouble : the disk is full or fails, or a lock was not released although nothing was written.
    """

    def __init__(self, path: str | Path, patience: float = 0.0) -> None:
        self.path = Path(path)
        try:
            # O_APPEND: every write goes to the end, whatever else has the file open.
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.written = 0
        try:
            self._lock(patience)
            self._records = self._mended()
        except BaseException:
            self.close()
            raise

    def records(self) -> list[Record]:
        """The records that were there when the journal was opened."""
        return list(self._records)

    def append(self, *records: Record) -> None:
        """Write records; they are on the disk when this returns, and none of them if it raises.

        Parameters
        ----------
        records : lines to append, in order.

        Raises
        ------
        BadInput, Trouble : the disk is full or gone.
        """
        if not records:
            return
        text = "".join(
            json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n" for record in records
        )
        before, written = os.fstat(self._file).st_size, self.written
        try:
            _write_all(self._file, text.encode())
            # A result that was reported must survive a power cut a moment later.
            os.fsync(self._file)
            self.written += len(records)
        except BaseException as error:
            self.written = written
            # All or nothing: half a line would end the readable part of the journal.
            os.ftruncate(self._file, before)
            if isinstance(error, OSError):
                raise _unwritable(self.path, error) from error
            raise

    def close(self) -> None:
        """Close the file and release the lock; closing twice does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self, patience: float) -> None:
        """Take the lock, waiting for up to ``patience`` seconds."""
        size = os.fstat(self._file).st_size
        if self._locked():
            return
        if patience:
            waiting = f"another run is writing here; waiting {patience:g} s for it to end"
            print(f"{self.path}: {waiting}", file=sys.stderr)
        until = time.monotonic() + patience
        while (left := until - time.monotonic()) > 0.0:
            time.sleep(min(left, LOOK_SECONDS))
            if self._locked():
                return
        # A journal that grew while waiting belongs to a run that is alive.
        raise self._held(alive=not patience or os.fstat(self._file).st_size > size)

    def _held(self, alive: bool) -> BadInput | Trouble:
        """The error for a lock held by a run that is alive, or by one that may be dying."""
        one = "one run on a folder at a time"
        bad = BadInput("another run is writing here", source=self.path, accepted=one)
        return bad if alive else Trouble(str(bad))

    def _locked(self) -> bool:
        """Try once to take the lock."""
        with needed("fcntl", purpose=sys.platform, accepted="Linux or macOS; on Windows, WSL"):
            import fcntl
        try:
            # An advisory lock of the operating system: the kernel frees it when the process dies.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            # Some parallel file systems have no locks; a run must not depend on them.
            warnings.warn(
                f"{self.path}: no lock ({error.strerror}); start one run on this folder only",
                RuntimeWarning,
                stacklevel=4,
            )
        return True

    def _mended(self) -> list[Record]:
        """The records, after a torn last line has been cut off."""
        records, whole = _parsed(self.path)
        size = os.fstat(self._file).st_size
        if size > whole:
            os.ftruncate(self._file, whole)
        # A complete record whose newline alone was lost.
        if whole and os.pread(self._file, 1, whole - 1) != b"\n":
            _write_all(self._file, b"\n")
        return records


def _parsed(path: Path) -> tuple[list[Record], int]:
    """Records of a journal, and the number of bytes that hold them."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise from_os_error(error, source=path) from error
    records: list[Record] = []
    whole = 0
    for number, line in enumerate(lines, start=1):
        record = parsed(line)
        if record is None and not line.endswith(b"\n"):
            break
        if record is None:
            raise BadInput(
                "not a record of a trial", source=path, key=f"line {number}", accepted="JSON lines"
            )
        records.append(record)
        # Counts complete records only: what follows is cut off when the journal is opened for
        # writing.
        whole += len(line)
    return records, whole


def parsed(line: bytes) -> Record | None:
    """The record in a line of a journal.

    Parameters
    ----------
    line : with or without its end.

    Returns
    -------
    The record, its NaN and Infinity as None; None if the line holds no record.

    Examples
    --------
    >>> parsed(b'{"nrmse": NaN}')
    {'nrmse': None}
    >>> parsed(b'{"nrmse": 0.') is None
    True
    """
    try:
        record = orjson.loads(line)
    except ValueError:
        record = _beyond_json(line)
    return record if isinstance(record, dict) else None


def _beyond_json(line: bytes) -> object:
    """What ``json.dumps`` may have written: numbers that are not finite, which become None."""
    try:
        return orjson.loads(orjson.dumps(json.loads(line)))
    except (ValueError, TypeError, RecursionError):
        return None


def _write_all(file: int, data: bytes) -> None:
    """Write all bytes: one call may write only some of them."""
    while data:
        data = data[os.write(file, data) :]


def _unwritable(path: Path, error: OSError) -> BadInput | Trouble:
    return from_os_error(error, "cannot be written", path, "a writable study folder")
