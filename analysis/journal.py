"""Reading a journal that may be growing, damaged, or written by a newer version.

What counts as a trial is decided where a run decides it, by
:class:`~tomoatlas.sweep.record.lines.TrialLines`.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from ..recon_core.machine import uncollected
from ..sweep.record import StudyFolder
from ..sweep.record.lines import TrialLines, file_size, parsed, whole_lines
from ..sweep.study import Study
from ..sweep.study.trial import Record, is_final
from ..sweep.versions import revision_note
from . import located
from .table import trials_table

BLOCK = 1 << 22
"""Bytes of a journal that are read at once."""

TABLED = 50_000
"""Records of which a table is made before more are read."""


def load_trials(folder: str | Path) -> pd.DataFrame:
    """One row per finished trial of a study folder or shipped atlas, in the order of the journal.

    A line torn by a crash is left out, and so are attempts that were retried, whose time is part of
    ``device_seconds``; a trial recorded twice counts once, as first recorded. Warns about lines
    that are not trials of the study, which are left out.

    Parameters
    ----------
    folder : the study folder, or the name of a shipped atlas.

    Returns
    -------
    pandas.DataFrame : with :data:`~tomoatlas.analysis.table.BASE_COLUMNS`, one column per axis (its
        path), and per element those of :data:`~tomoatlas.analysis.table.ELEMENT_COLUMNS`, as
        ``nrmse_<El>`` and ``total_<El>``. What a journal of an earlier version does not record is
        missing, and ``revision`` is 0 there.

    Raises
    ------
    BadInput : not the folder of a study.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> trials = ta.load_trials("fig4_nanocubes_64")
    >>> trials.groupby("method").nrmse.min().round(2).to_dict()
    {'chemistry-tv': 0.33, 'fused': 0.22, 'ml': 0.96, 'ml-stopped': 0.57}
    """
    with uncollected():
        trials, notes = _read_once(folder)
    for note in notes:
        warnings.warn(note, RuntimeWarning, stacklevel=2)
    return trials


def _read_once(folder: str | Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Trials and notes; the records are freed on return, before a collection would visit them."""
    reader = JournalReader(located(folder))
    return reader.trials, reader.notes


class JournalReader:
    """The trials of a study folder as its journal stands; :meth:`read` adds what has been appended.

    ``trials`` is a table as :func:`load_trials` returns it, of this study's cells and known methods
    only. A last line without its end is still being written, and left for the next time.

    Parameters
    ----------
    folder : the study folder, or the name of a shipped atlas.

    Raises
    ------
    BadInput : not the folder of a study, or its journal is no regular file.
    """

    def __init__(self, folder: str | Path) -> None:
        files = StudyFolder(folder)
        self.study: Study = files.study()
        self._path = files.journal_file
        self._start()
        self.read()

    def read(self) -> bool:
        """Read what the journal holds by now; return whether anything has changed.

        Raises
        ------
        BadInput : the journal is no regular file.
        """
        size = file_size(self._path)
        # Read again from the start: what was read may no longer be in the file.
        cut = size < self._offset  # a resumed run has dropped a torn line, or the file is another
        if cut:
            self._start()
        before = self._lines.count
        with uncollected():
            if size > self._offset:
                self._take_all(size - self._offset)
            if self._lines.count > before:
                self.trials = self._table()
        return cut or self._lines.count > before

    @property
    def notes(self) -> tuple[str, ...]:
        """What the journal holds besides trials of the study, one sentence each."""
        return self._lines.notes

    @property
    def revision_note(self) -> str | None:
        """One line on trials that another revision of the algorithm made; None without any."""
        return revision_note(Counter(self.trials["revision"].tolist()))

    def _start(self) -> None:
        """Forget everything read, as before the first line."""
        self._offset = 0
        self._lines = TrialLines(self.study)
        self._records: list[Record] = []
        self._attempts: list[Record] = []
        self._whole: list[pd.DataFrame] = []
        self.trials = trials_table([])

    def _take_all(self, length: int) -> None:
        """Take in ``length`` bytes from where the last read ended."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in whole_lines(_blocks(file, length)):
                # The writer is in the middle of this line; the next read takes it.
                if not line.endswith(b"\n") and parsed(line) is None:
                    break
                self._offset += len(line)
                record = self._lines.take(line)
                if record is not None:
                    self._keep(record)

    def _keep(self, record: Record) -> None:
        """Keep a record, and make a table of many: that takes a tenth of their memory."""
        (self._records if is_final(record) else self._attempts).append(record)
        if len(self._records) >= TABLED:
            self._whole.append(self._newest())
            self._records.clear()

    def _newest(self) -> pd.DataFrame:
        # An attempt that was retried stands before its outcome, maybe far before.
        return trials_table([*self._attempts, *self._records], self.study.search.score)

    def _table(self) -> pd.DataFrame:
        """All trials; repeats were already recognised by their lines."""
        if not self._whole:
            return self._newest()
        if self._records:
            self._whole.append(self._newest())
            self._records.clear()
        together = pd.concat(self._whole, ignore_index=True)
        # The parts beside it would be a million trials once more.
        self._whole = [together]
        return together


def _blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (block := file.read(min(length, BLOCK))):
        length -= len(block)
        yield block
