"""The record of a study: append-only JSON lines, one synced to disk per finished trial."""

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
"""Between two looks whether the lock is free."""


def read_records(path: str | Path) -> list[Record]:
    """The records of a journal, in order; a torn last line is left out, a missing file is empty.

    Reads only, so a journal may be read while a run appends to it.

    Raises
    ------
    BadInput : unreadable, or a line that is no record though it is whole.
    """
    return _parsed(Path(path))[0]


class Journal:
    """The journal of a running study, locked against a second writer until closed.

    Opening it drops a torn last line. The lock is the operating system's: it ends with the process,
    however that dies.

    Raises
    ------
    BadInput : unwritable, already being written by another run, a line that is no record.
    Trouble : the disk is full or fails; a lock that nobody who writes holds was not given up.

    Parameters
    ----------
    patience : seconds to wait for the lock: a run that is being killed may hold it a while longer.

    Attributes
    ----------
    written : records that were appended.
    """

    def __init__(self, path: str | Path, patience: float = 0.0) -> None:
        self.path = Path(path)
        try:
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
            os.fsync(self._file)
            self.written += len(records)
        except BaseException as error:
            self.written = written
            os.ftruncate(self._file, before)
            if isinstance(error, OSError):
                raise _unwritable(self.path, error) from error
            raise

    def close(self) -> None:
        """Close the file and give up the lock; closing twice does nothing."""
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
        raise self._held(alive=not patience or os.fstat(self._file).st_size > size)

    def _held(self, alive: bool) -> BadInput | Trouble:
        """Why a lock is refused: for a run that lives, or one that may be dying."""
        one = "one run on a folder at a time"
        bad = BadInput("another run is writing here", source=self.path, accepted=one)
        return bad if alive else Trouble(str(bad))

    def _locked(self) -> bool:
        with needed("fcntl", purpose=sys.platform, accepted="Linux or macOS; on Windows, WSL"):
            import fcntl
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            # Some parallel file systems have no locks; that must not stop a run.
            warnings.warn(
                f"{self.path}: no lock ({error.strerror}); start one run on this folder only",
                RuntimeWarning,
                stacklevel=4,
            )
        return True

    def _mended(self) -> list[Record]:
        records, whole = _parsed(self.path)
        size = os.fstat(self._file).st_size
        if size > whole:
            os.ftruncate(self._file, whole)
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
        whole += len(line)
    return records, whole


def parsed(line: bytes) -> Record | None:
    """The record that a line holds, its NaN and Infinity as None; None where it holds no record."""
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
    while data:
        data = data[os.write(file, data) :]


def _unwritable(path: Path, error: OSError) -> BadInput | Trouble:
    return from_os_error(error, "cannot be written", path, "a writable study folder")
