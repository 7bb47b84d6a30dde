"""The record of a study: append-only JSON lines, synced to disk one per finished trial.

A line is one write, and what is in the file is never changed: a line that a crash cut short is left
as it is, and the next one begins on a line of its own. A run holds what it has recorded, so that
nothing is lost where somebody replaces, cuts or removes the file meanwhile: then all of it goes to
a new file beside the journal, and the next run on the folder takes that in.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ...recon_core.errors import BadInput, Trouble, from_os_error
from ..study.trial import Record
from .lines import parsed, whole_lines
from .lock import FolderLock

BLOCK = 1 << 20
"""Bytes that are read, and held compressed, at once."""

TAIL = 256
"""Bytes at the end of what was written that are compared before every append."""

KEPT = ".kept-"
"""In the names of files that hold what a journal could not take."""


MOVED, CUT, OVERWRITTEN = "was removed or moved", "was cut", "was overwritten"


class JournalLost(Trouble):
    """The journal is no longer the file that the run was writing; what the run held is kept."""


class Journal:
    """The journal of a running study, locked against a second writer until closed.

    Opening it changes nothing, whatever it holds.

    Parameters
    ----------
    path : the file; created if missing.
    patience : seconds to wait for the lock: a run that is being killed may hold it a while longer.

    Raises
    ------
    BadInput : unwritable, or already being written by another run.
    Trouble : the disk is full or fails, or a lock was not released although nothing was written.
    """

    def __init__(self, path: str | Path, patience: float = 0.0) -> None:
        self.path = Path(path)
        try:
            # O_APPEND: every write goes to the end, whatever else has the file open.
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        if not stat.S_ISREG(os.fstat(self._file).st_mode):  # some devices could be read for ever
            os.close(self._file)
            raise BadInput("not a file", source=self.path, accepted="a writable study folder")
        self._lock: FolderLock | None = None
        self._held, self._state = _Held(), _State()
        self._lost: JournalLost | None = None
        try:
            self._lock = FolderLock(self._file, self.path, patience)
            self._state = _taken_up(self._file, self._held)
        except BaseException:
            self.close()
            raise

    @property
    def written(self) -> int:
        """Number of records appended that are in the file."""
        self._account()
        return self._state.written

    def lines(self) -> Iterator[bytes]:
        """The lines that the journal holds, with their ends."""
        return whole_lines(self._held.blocks())

    def records(self) -> list[Record]:
        """The lines that are records, parsed."""
        return [record for line in self.lines() if (record := parsed(line)) is not None]

    def append(self, *records: Record) -> None:
        """Write records, each in one line; they are on the disk when this returns.

        Where it raises, those that are in the file count as :attr:`written`.

        Parameters
        ----------
        records : lines to append, in order.

        Raises
        ------
        BadInput, Trouble : the disk is full or gone.
        JournalLost : the file was changed by something else; names where the records are kept.
        """
        if not records:
            return
        lines = tuple(_line(record) for record in records)
        self.check(lines)
        self._state = replace(self._state, trying=lines)
        try:
            for line in lines:
                _write(self._file, line)
            # A result that was reported must survive a power cut a moment later.
            os.fsync(self._file)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        finally:
            self._account()
        if self._state.trying:
            # The file was changed between the comparison and now.
            self._lost = self._kept(self._change() or CUT, self._state.trying)
            raise self._lost
        # The records are in the file all the same: whoever merges or reads it loses nothing.
        if self._state.shared:
            raise Trouble(f"{self.path}: another run has written here; this one stops")

    def check(self, lines: tuple[bytes, ...] = (), whole: bool = False) -> None:
        """Compare the file with what was written, and keep all that is held if it differs.

        Parameters
        ----------
        lines : that are about to be written, and are kept as well.
        whole : compare every byte, as at the end of a run, not only the last ones.

        Raises
        ------
        JournalLost : it was removed, replaced, cut or overwritten, or another run took the lock.
        """
        if self._lost is not None:
            raise self._lost
        self._account()
        change = self._change()
        if whole and not change and not _holds(self._file, self._held.blocks()):
            change = OVERWRITTEN
        if change:
            self._lost = self._kept(change, (*self._state.trying, *lines))
            raise self._lost

    def close(self) -> None:
        """Close the file and release the lock; closing twice does nothing."""
        if self._lock is not None:
            self._lock.release()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _account(self) -> None:
        """Count what has reached the file since the last look.

        Also where an append was cut short, as by Ctrl-C: what is in the file is found in it.
        """
        grown = self._file >= 0 and os.fstat(self._file).st_size > self._state.size
        # What was written over before it grew is no place to look in.
        if not grown or not self._state.ends(self._file):
            return
        text = b"".join(_blocks(self._file, self._state.size))
        self._state = self._state.grown(text)
        self._held.add(text)

    def _change(self) -> str:
        """What has become of the file that was being written; empty if it is as it was."""
        # First by name and size, which is cheap: the open file may be intact and yet no longer be
        # the one that readers find.
        change = _changed(self._file, self.path, self._state.size)
        if not change and not self._state.ends(self._file):
            change = OVERWRITTEN
        taken = self._lock.lost_to if self._lock is not None and not change else ""
        return f"was taken over by another run ({taken})" if taken else change

    def _kept(self, change: str, lines: tuple[bytes, ...]) -> JournalLost:
        """Write all that is held, and ``lines``, to a new file; the error that names both."""
        text = b"".join(self._held.blocks())
        text += b"" if text.endswith(b"\n") or not text else b"\n"
        # A file that was only moved takes them as well.
        with suppress(OSError):
            for line in lines if change == MOVED and os.fstat(self._file).st_nlink else ():
                _write(self._file, line)
        return _lost(self.path, change, text + b"".join(lines))


def take_in(journal: Journal) -> int:
    """Take in what earlier runs kept beside a journal; return the number of new records.

    Parameters
    ----------
    journal : open; the files beside it are removed.

    Raises
    ------
    BadInput, Trouble : it cannot be read or written.
    """
    files = kept_beside(journal.path)
    if not files:
        return 0
    # By attempt, not by line: a run may have kept what it had already written.
    before, known = journal.written, {_attempt(record) for record in journal.records()}
    try:
        # File by file: the last line of one may lack its end, and is no beginning of the next.
        lines = [line for path in files for line in whole_lines([path.read_bytes()])]
    except OSError as error:
        raise from_os_error(error, source=journal.path.parent) from error
    kept = {_attempt(record): record for record in filter(None, map(parsed, lines))}
    journal.append(*(record for attempt, record in kept.items() if attempt not in known))
    for path in files:
        # Only when all is in the journal, synced: a crash before this line takes them in once more,
        # and finds them known.
        path.unlink()
    return journal.written - before


def _taken_up(file: int, held: _Held) -> _State:
    """Hold what the file holds."""
    place = 0
    for block in _blocks(file, 0):
        held.add(block)
        place += len(block)
    return _State(size=place, tail=os.pread(file, TAIL, max(0, place - TAIL)))


def _changed(file: int, path: Path, size: int) -> str:
    """What has become of the file of a path, of which ``size`` bytes are known; empty: nothing."""
    here = os.fstat(file)
    try:
        there = path.stat()
    except FileNotFoundError:
        return MOVED
    except OSError as error:
        return f"cannot be found any more ({error.strerror})"
    if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
        return "was replaced"
    return CUT if here.st_size < size else ""


def _lost(path: Path, change: str, text: bytes) -> JournalLost:
    """Write all that is held to a new file; the error that names both."""
    number = sum(1 for line in whole_lines([text]) if parsed(line) is not None)
    try:
        kept = _keep(path, text)
    except OSError as error:
        return JournalLost(f"{path}: {change}; its results cannot be kept: {error}")
    return JournalLost(
        f"{path}: {change} while a run was writing it; all {number} results are in {kept}"
        + (", and the next run takes them in" if kept.parent == path.parent else "")
    )


@dataclass(frozen=True)
class _State:
    """How far a journal has been written; replaced as a whole, so that Ctrl-C cannot split it.

    Parameters
    ----------
    size : bytes of the file that are known.
    tail : the last of them.
    written : records that were appended.
    trying : lines of the last append that are not known to have reached the file.
    shared : whether another run has appended records.
    """

    size: int = 0
    tail: bytes = b""
    written: int = 0
    trying: tuple[bytes, ...] = ()
    shared: bool = False

    def ends(self, file: int) -> bool:
        """Whether the last bytes that are known are where they were."""
        return os.pread(file, len(self.tail), self.size - len(self.tail)) == self.tail

    def grown(self, text: bytes) -> _State:
        """Return the state after more was found in the file.

        Parameters
        ----------
        text : what follows the bytes that are known.
        """
        found, rest = [], text
        for line in self.trying:
            # Looked for, not counted: another run may have appended in between, and a signal may
            # have cut an append short.
            before, own, after = rest.partition(line)
            if not own:
                break
            found.append(before)
            rest = after
        foreign = {line + b"\n" for line in b"".join([*found, rest]).splitlines()}
        return _State(
            size=self.size + len(text),
            tail=(self.tail + text)[-TAIL:],
            written=self.written + len(found),
            trying=self.trying[len(found) :],
            shared=self.shared or any(map(parsed, foreign.difference(self.trying))),
        )


class _Held:
    """All that a journal holds, compressed: a run must be able to write it once more."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._open = bytearray()

    def add(self, text: bytes) -> None:
        """Keep the text of further lines."""
        self._open += text
        if len(self._open) > BLOCK:
            self._packed.append(zlib.compress(self._open, 1))
            self._open = bytearray()

    def blocks(self) -> Iterator[bytes]:
        """Yield the text in the order it was added."""
        for packed in tuple(self._packed):
            yield zlib.decompress(packed)
        yield bytes(self._open)


def kept_beside(journal: Path) -> list[Path]:
    """The files that hold what a journal could not take.

    Parameters
    ----------
    journal : whether it exists or not.
    """
    found = journal.parent.glob(f"{journal.stem}{KEPT}*{journal.suffix}")
    return sorted(path for path in found if path.is_file())  # not a pipe, which has no end


def _blocks(descriptor: int, place: int) -> Iterator[bytes]:
    """What a file holds from a place on."""
    while block := os.pread(descriptor, BLOCK, place):
        yield block
        place += len(block)


def _holds(descriptor: int, blocks: Iterator[bytes]) -> bool:
    """Whether a file begins with these blocks."""
    place = 0
    for block in blocks:
        if os.pread(descriptor, len(block), place) != block:
            return False
        place += len(block)
    return True


def _write(descriptor: int, line: bytes) -> None:
    """Write a line in one call; after half a line, all of it again on a line of its own."""
    # A write may be cut short where the disk is nearly full, and the rest fit a moment later.
    for _ in range(2):
        last = os.pread(descriptor, 1, max(0, os.fstat(descriptor).st_size - 1))
        text = line if last in (b"", b"\n") else b"\n" + line
        if os.write(descriptor, text) == len(text):
            return
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _keep(journal: Path, text: bytes) -> Path:
    """Write a text to a file that did not exist, beside the journal if at all possible."""
    # Where the folder itself has gone or is full, another file system may have room.
    for folder in (journal.parent, Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{journal.stem}{KEPT}{uuid.uuid4().hex[:8]}{journal.suffix}"
            with path.open("xb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            return path
    raise OSError(errno.EACCES, "no folder can be written")


def _line(record: Record) -> bytes:
    return (json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _attempt(record: Record) -> tuple[str, str, str]:
    """What a record is of, whatever its values are."""
    return repr(record.get("trial_id")), repr(record.get("number")), repr(record.get("attempt"))


def _unwritable(path: Path, error: OSError) -> BadInput | Trouble:
    return from_os_error(error, "cannot be written", path, "a writable study folder")
