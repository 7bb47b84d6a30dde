"""Reading a journal that may be growing, damaged, or written by a newer version.

What is a trial of the study is kept; whatever else stands there is counted and told, never a crash:
people open reports and watch runs just when something went wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from analysis.table import trials_table
from recon_core.settings import Method, Weights
from sweep.folder import StudyFolder
from sweep.study import Study
from sweep.trial import Cell, Record, Trial, TrialResult, TrialStatus, to_record

_KNOWN_KEYS = frozenset(
    to_record(Trial(Cell(0), Method.ML, 0, Weights(), ""), TrialResult(TrialStatus.OK))
)
_KNOWN_STATUS = frozenset(TrialStatus)
_KNOWN_METHODS = frozenset(Method)
_LINES_NAMED = 5


class JournalReader:
    """The trials of a study folder as its journal stands; :meth:`read` takes in what was added.

    ``trials``: as :func:`~analysis.table.load_trials` gives them, of this study's cells and known
    methods only. A last line without its end is still being written, and left for the next time.

    Raises
    ------
    BadInput : not the folder of a study.

    """

    def __init__(self, folder: str | Path) -> None:
        files = StudyFolder(folder)
        self.study: Study = files.study()
        self._path = files.journal_file
        self._cells = {frozenset(cell.values) for cell in self.study.cells()}
        self._start()
        self.read()

    def read(self) -> bool:
        """Read what the journal holds by now; whether anything has changed."""
        size = self._path.stat().st_size if self._path.is_file() else 0
        cut = size < self._offset  # a resumed run has dropped a torn line, or the file is another
        if cut:
            self._start()
        before = self._line
        if size > self._offset:
            self._take_all(size - self._offset)
        if self._line > before:
            self.trials = trials_table(self._records)
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

    def _start(self) -> None:
        self._offset = self._line = 0
        self._records: list[Record] = []
        self._left_out: dict[str, list[int]] = {}
        self._unknown: Counter[str] = Counter()
        self.trials = trials_table([])

    def _take_all(self, length: int) -> None:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read(length).splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n") and _parsed(line) is None:
                break
            self._take(line)

    def _take(self, line: bytes) -> None:
        self._offset += len(line)
        self._line += 1
        record = _parsed(line)
        problem = "not records of trials" if record is None else _problem(record, self._cells)
        if record is None or problem:
            self._left_out.setdefault(problem, []).append(self._line)
            return
        self._unknown.update(_unknown(record))
        self._records.append(record)


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _problem(record: Mapping[str, Any], cells: Collection[frozenset[Any]]) -> str:
    """Why a record is no trial of the study; empty where it is one."""
    tables = [record.get(key) or {} for key in ("cell", "weights", "nrmse_by_element")]
    if not all(isinstance(table, dict) for table in tables):
        return "not records of trials"
    if not (isinstance(record.get("trial_id"), str) and isinstance(record.get("method"), str)):
        return "not records of trials"
    if record["method"] not in _KNOWN_METHODS:
        return f"of an unknown method, {record['method']!r}"
    try:
        return "" if frozenset(tables[0].items()) in cells else "of no cell of this study"
    except TypeError:  # a list where an axis has its value
        return "of no cell of this study"


def _unknown(record: Mapping[str, Any]) -> list[str]:
    """Keys and states that a newer version may have added; they do not stop a reader."""
    found = [f"key {key!r}" for key in record if key not in _KNOWN_KEYS]
    if record.get("status") not in _KNOWN_STATUS:
        found.append(f"status {record.get('status')!r}")
    return found


def _places(lines: list[int]) -> str:
    shown = ", ".join(str(line) for line in lines[:_LINES_NAMED])
    return f"line {shown}" + (", …" if len(lines) > _LINES_NAMED else "")
