"""Reading a journal that may be growing, damaged, or written by a newer version.

What is a trial of the study is kept; everything else in the file is counted and reported, and never
stops a reader: people open reports and watch runs just when something went wrong.
"""

from __future__ import annotations

import gc
import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ..recon_core.methods import Method, Weights
from ..sweep.record import StudyFolder
from ..sweep.record.journal import parsed
from ..sweep.study import Study
from ..sweep.study.trial import Cell, Record, Trial, TrialResult, TrialStatus, to_record
from ..sweep.versions import revision_note
from . import located
from .table import trials_table

# Taken from a record of this version: a key it does not write is one of another version.
_KNOWN_KEYS = frozenset(
    to_record(Trial(Cell(0), Method.ML, 0, Weights(), ""), TrialResult(TrialStatus.OK))
)
_KNOWN_STATUS = frozenset(TrialStatus)
_LINES_NAMED = 5


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
    Table with :data:`~tomoatlas.analysis.table.BASE_COLUMNS`, one column per axis (its path), and
    per element those of :data:`~tomoatlas.analysis.table.ELEMENT_COLUMNS`, as ``nrmse_<El>`` and
    ``total_<El>``. What a journal of an earlier version does not record is missing, and
    ``revision`` is 0 there.

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
    with _no_collection():
        trials, notes = _read_once(folder)
    for note in notes:
        warnings.warn(note, RuntimeWarning, stacklevel=2)
    return trials


def _read_once(folder: str | Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Trials and notes; the records are freed on return, before a collection would visit them."""
    reader = JournalReader(located(folder))
    return reader.trials, reader.notes


@contextmanager
def _no_collection() -> Iterator[None]:
    """Parsed records hold no cycles, and searching 100,000 of them for some doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class JournalReader:
    """The trials of a study folder as its journal stands; :meth:`read` adds what has been appended.

    ``trials`` is a table as :func:`load_trials` returns it, of this study's cells and known methods
    only. A last line without its end is still being written, and left for the next time.

    Parameters
    ----------
    folder : the study folder, or the name of a shipped atlas.

    Raises
    ------
    BadInput : not the folder of a study.
    """

    def __init__(self, folder: str | Path) -> None:
        files = StudyFolder(folder)
        self.study: Study = files.study()
        self._path = files.journal_file
        self._cells = {frozenset(cell.values) for cell in self.study.cells()}
        self._weights = {str(m): set(self.study.search.space.of(m)) for m in Method}
        self._start()
        self.read()

    def read(self) -> bool:
        """Read what the journal holds by now; return whether anything has changed."""
        size = self._path.stat().st_size if self._path.is_file() else 0
        # Read again from the start: what was read may no longer be in the file.
        cut = size < self._offset  # a resumed run has dropped a torn line, or the file is another
        if cut:
            self._start()
        before = self._line
        with _no_collection():
            if size > self._offset:
                self._take_all(size - self._offset)
            if self._line > before:
                self.trials = trials_table(self._records, self.study.search.score)
        return cut or self._line > before

    @property
    def notes(self) -> tuple[str, ...]:
        """What the journal holds besides trials of the study, one sentence each."""
        found = [
            f"{len(lines)} of {self._line} lines of the journal are {problem} "
            f"({_places(lines)}): left out."
            for problem, lines in self._left_out.items()
        ]
        if self._unknown:
            what = ", ".join(f"{kind} ({count}×)" for kind, count in self._unknown.items())
            found.append(f"Written by another version of tomoatlas? Not known here: {what}.")
        return tuple(found)

    @property
    def revision_note(self) -> str | None:
        """One line on trials that another revision of the algorithm made; None without any."""
        return revision_note(Counter(self.trials["revision"].tolist()))

    def _start(self) -> None:
        """Forget everything read, as before the first line."""
        self._offset = self._line = 0
        self._records: list[Record] = []
        self._left_out: dict[str, list[int]] = {}
        self._unknown: Counter[str] = Counter()
        self.trials = trials_table([])

    def _take_all(self, length: int) -> None:
        """Take in ``length`` bytes from where the last read ended."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read(length).splitlines(keepends=True)
        for line in lines:
            record = parsed(line)
            # The writer is in the middle of this line; the next read takes it.
            if record is None and not line.endswith(b"\n"):
                break
            self._offset += len(line)
            self._line += 1
            self._take(record)

    def _take(self, record: Record | None) -> None:
        """Take in one line: a trial, or a reason why it is left out."""
        problem = "not records of trials" if record is None else self._problem(record)
        if record is None or problem:
            self._left_out.setdefault(problem, []).append(self._line)
            return
        if record["status"] not in _KNOWN_STATUS or not _KNOWN_KEYS.issuperset(record):
            self._unknown.update(_unknown(record))
        self._records.append(record)

    def _problem(self, record: Mapping[str, Any]) -> str:
        """Why a record is no trial of the study; empty if it is one."""
        if not _is_trial(record):
            return "not records of trials"
        if record["method"] not in self._weights:
            return f"of an unknown method, {record['method']!r}"
        if not _are_weights(record.get("weights") or {}, self._weights[record["method"]]):
            return "without the weights of their method"
        try:
            cell = frozenset((record.get("cell") or {}).items())
            return "" if cell in self._cells else "of no cell of this study"
        except TypeError:  # a list where an axis has its value
            return "of no cell of this study"


_TABLES = (
    "cell",
    "weights",
    "nrmse_by_element",
    "totals",
    "haze",
    "level",
    "stoichiometry_inside",
)


def _is_trial(record: Mapping[str, Any]) -> bool:
    """Whether the values of a record have the types of a trial's."""
    texts = all(isinstance(record.get(name), str) for name in ("method", "trial_id", "status"))
    tables = all(isinstance(record.get(name) or {}, dict) for name in _TABLES)
    return texts and tables and isinstance(record.get("number"), int)


def _are_weights(given: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether a record has exactly the weights of its method, all of them positive and finite."""
    if given.keys() != names:
        return False
    try:
        return all(map(math.isfinite, given.values())) and (not given or min(given.values()) > 0.0)
    except TypeError:
        return False


def _unknown(record: Mapping[str, Any]) -> list[str]:
    """Keys and states that a newer version may have added; they do not stop a reader."""
    found = [f"key {key!r}" for key in record if key not in _KNOWN_KEYS]
    if record["status"] not in _KNOWN_STATUS:
        found.append(f"status {record['status']!r}")
    return found


def _places(lines: list[int]) -> str:
    """Numbers of the first few lines, in words."""
    shown = ", ".join(str(line) for line in lines[:_LINES_NAMED])
    return f"line {shown}" + (", …" if len(lines) > _LINES_NAMED else "")
