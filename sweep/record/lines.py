"""The lines of a journal: which are trials of a study, and what else there is.

Every reader of a journal takes its lines through :class:`TrialLines`: a run that resumes, a report,
a live view. What is a trial of the study is kept; everything else is counted and reported, and
never stops a reader: people resume runs and open reports just when something went wrong.
"""

from __future__ import annotations

import json
import stat
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ...recon_core.errors import BadInput, from_os_error, printable
from ...recon_core.methods import WEIGHT_BOUNDS, Method, Weights
from ..study import Study
from ..study.trial import (
    Cell,
    Record,
    Trial,
    TrialResult,
    TrialStatus,
    is_final,
    to_record,
)

WORST = 2.0
"""The largest possible NRMSE, sqrt(2 (1 - rho)), reached by the negative of the truth."""

LONGEST_S = 1e9
"""More than any trial can have taken, seconds."""

NO_RECORD = "not records of trials"

# Taken from a record of this version: a key it does not write is one of another version.
_KNOWN_KEYS = frozenset(
    to_record(Trial(Cell(0), Method.ML, 0, Weights(), ""), TrialResult(TrialStatus.OK))
)
_KNOWN_STATUS = frozenset(TrialStatus)
_MOST = {"nrmse_by_element": WORST, "totals": 1e30, "level": 1e30, "haze": 1.0}
_TABLES = ("cell", "weights", *_MOST, "stoichiometry_inside")
_TEXTS = (
    "status",
    "device",
    "started",
    "error",
    "solver_status",
    "worker",
    "host",
    "version",
    "commit",
)
BLOCK = 1 << 22
"""Bytes of a journal that are read at once."""

_LINES_NAMED = 5
_PADDING = b"\0 \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parsed(line: bytes) -> Record | None:
    """The record in a line of a journal.

    Parameters
    ----------
    line : with or without its end, and the zeros that a power cut leaves.

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
        record = _beyond_json(line.removeprefix(_BYTE_ORDER_MARK).strip(_PADDING))
    return record if isinstance(record, dict) else None


def _beyond_json(line: bytes) -> object:
    """What ``json.dumps`` may have written: numbers that are not finite, which become None."""
    try:
        return orjson.loads(orjson.dumps(json.loads(line)))
    except (ValueError, TypeError, RecursionError):
        return None


def trial_key(record: Mapping[str, Any]) -> int:
    """What tells trials apart, in a report as in a run: identity, number, and settings.

    Parameters
    ----------
    record : of a trial, in any attempt.

    Returns
    -------
    A hash: a journal may hold a million lines.
    """
    # Settings as well: a line with a damaged number must not hide the sound one.
    cell, weights = record.get("cell") or {}, record.get("weights") or {}
    settings = (record.get("method"), *cell.values(), *weights.values())
    return hash((record.get("trial_id"), record.get("number"), settings))


def whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""The lines of a text that comes in blocks; only the last one may lack its end.

    Parameters
    ----------
    blocks : pieces of the text, in order.

    Examples
    --------
    >>> list(whole_lines([b"a\rb\nc", b"d"]))
    [b'a\rb\n', b'cd']
    """
    rest = b""
    for block in blocks:
        # Not splitlines, for which a carriage return ends a line as well: a damaged line in the
        # middle would look like one that is still being written, after which nothing is read.
        *lines, rest = (rest + block).split(b"\n")
        # A record may straddle two blocks: the last piece waits for the next.
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def file_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file as it stands, with their ends; none where there is no such file.

    Parameters
    ----------
    path : of a journal or the like.

    Raises
    ------
    BadInput, Trouble : it cannot be read.
    """
    if not file_size(path):
        return
    try:
        with path.open("rb") as file:
            yield from whole_lines(iter(partial(file.read, BLOCK), b""))
    except OSError as error:
        raise from_os_error(error, "cannot be read", path) from error


def file_size(path: Path) -> int:
    """Bytes of a file; 0 where there is none.

    Parameters
    ----------
    path : of a journal or the like.

    Raises
    ------
    BadInput, Trouble : it cannot be read, or is no regular file: of a pipe or a device there might
        be no end.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise from_os_error(error, "cannot be read", path) from error
    if not stat.S_ISREG(found.st_mode):
        raise BadInput("not a file", source=path, accepted="what a run has written")
    return found.st_size


@dataclass
class _Places:
    """How many lines share a problem, and where the first of them are."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        """Count the line with this number."""
        self.count += 1
        if len(self.first) < _LINES_NAMED:
            self.first.append(line)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.first))
        return f"line {shown}" + (", …" if self.count > len(self.first) else "")


class TrialLines:
    """Takes the lines of a journal one after another, and gives the trials of a study in them.

    Parameters
    ----------
    study : whose trials are wanted.

    Attributes
    ----------
    count : number of lines taken.
    """

    def __init__(self, study: Study) -> None:
        self._cells = {frozenset(cell.values): dict(cell.values) for cell in study.cells()}
        methods = study.search.methods
        self._weights = {str(m): frozenset(study.search.space.of(m)) for m in methods}
        self._budgets = {str(method): study.search.budget(method) for method in methods}
        self.count = 0
        self._left_out: dict[str, _Places] = {}
        self._unknown: Counter[str] = Counter()
        self._results: dict[int, int] = {}
        self._conflicts, self._scoreless = _Places(), _Places()

    def take(self, line: bytes) -> Record | None:
        """Take in the next line.

        Parameters
        ----------
        line : with its end.

        Returns
        -------
        The record of a trial of the study: its cell with the study's own values in its order, its
        score and seconds numbers that are possible, or None. None for a line that holds no such
        record, and for a trial that an earlier line holds: the first one counts.
        """
        self.count += 1
        record = parsed(line)
        problem = NO_RECORD if record is None else self._problem(record)
        if record is None or problem:
            # A blank line holds nothing that could be missed.
            if line.strip():
                self._left_out.setdefault(problem, _Places()).add(self.count)
            return None
        record["weights"] = record.get("weights") or {}
        record["cell"] = self._cells[frozenset((record.get("cell") or {}).items())]
        _keep_values(record)
        if record["status"] not in _KNOWN_STATUS or not _KNOWN_KEYS.issuperset(record):
            self._unknown.update(_unknown(record))
        if self._known_already(record):
            return None
        if record["status"] == TrialStatus.OK and record["nrmse"] is None:
            self._scoreless.add(self.count)
        return record

    @property
    def notes(self) -> tuple[str, ...]:
        """What the lines held besides trials of the study, one sentence each."""
        found = [
            f"{places.count} of {self.count} lines of the journal are {problem} ({places}): "
            "left out."
            for problem, places in self._left_out.items()
        ]
        if self._conflicts.count:
            found.append(
                f"{self._conflicts.count} lines of the journal give a trial another result than an "
                f"earlier line ({self._conflicts}): the earlier one counts."
            )
        if self._scoreless.count:
            found.append(
                f"{self._scoreless.count} lines of the journal are of trials that ended well with "
                f"a score that cannot be ({self._scoreless}): taken for failed."
            )
        if self._unknown:
            what = ", ".join(f"{kind} ({count}×)" for kind, count in self._unknown.items())
            found.append(f"Written by another version of tomoatlas? Not known here: {what}.")
        return tuple(found)

    def _problem(self, record: Mapping[str, Any]) -> str:
        """Why a record is no trial of the study; empty if it is one."""
        if not _is_trial(record):
            return NO_RECORD
        method, weights, cell = record["method"], record.get("weights"), record.get("cell") or {}
        if method not in self._weights:
            return f"of {_not_ours(method)}, {method!r}"
        if not _are_weights(weights or {}, self._weights[method]):
            return "without the weights of their method"
        if not 0 <= record["number"] < self._budgets[method]:
            return "beyond the trials of this study"
        try:
            return "" if frozenset(cell.items()) in self._cells else "of no cell of this study"
        except TypeError:  # a list where an axis has its value
            return "of no cell of this study"

    def _known_already(self, record: Record) -> bool:
        """Whether an earlier line holds the same attempt; one with another result is a conflict."""
        attempt = None if is_final(record) else repr(record.get("attempt"))
        key = hash((trial_key(record), attempt))
        result = hash((record["status"], record["nrmse"]))
        first = self._results.get(key)
        if first is None:
            self._results[key] = result
            return False
        if first != result:
            self._conflicts.add(self.count)
        return True


def _is_trial(record: Mapping[str, Any]) -> bool:
    """Whether the values of a record have the types of a trial's."""
    texts = all(isinstance(record.get(name), str) for name in ("method", "trial_id", "status"))
    tables = all(isinstance(record.get(name) or {}, dict) for name in _TABLES)
    return texts and tables and type(record.get("number")) is int and record["trial_id"].isalnum()


def _keep_values(record: Record) -> None:
    """Make None of what cannot be the number that it should be, and texts printable."""
    record["nrmse"] = _within(record.get("nrmse"), WORST)
    record["seconds"] = _within(record.get("seconds"), LONGEST_S)
    if record.get("relative_error") is not None:
        record["relative_error"] = _within(record["relative_error"], 1e30)
    for name, most in _MOST.items():
        if record.get(name):
            # A name becomes a column's: nothing else than letters and digits.
            names = filter(str.isalnum, record[name])
            record[name] = {e: _within(record[name][e], most) for e in names}
    for name in _TEXTS:
        if isinstance(text := record.get(name), str):
            # Nearly all trials share them.
            record[name] = sys.intern(text if text.isprintable() else printable(text))


def _not_ours(method: str) -> str:
    known = method in set(Method)
    return "a method that this study does not have" if known else "an unknown method"


def _are_weights(given: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether a record has exactly the weights of its method, each of them a possible one."""
    # True is a number in Python, and no weight.
    if given.keys() != names or bool in map(type, given.values()):
        return False
    least, most = WEIGHT_BOUNDS
    try:
        # Larger integers may also share a hash, and with it a key, with a sound weight.
        return all(least <= value <= most for value in given.values())
    except TypeError:
        return False


def _within(value: object, most: float) -> float | None:
    """A number from 0 to ``most``, else None: it cannot be the quantity meant."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= most:
        return None
    return value


def _unknown(record: Mapping[str, Any]) -> list[str]:
    """Keys and states that a newer version may have added; they do not stop a reader."""
    found = [f"key {key!r}" for key in record if key not in _KNOWN_KEYS]
    if record["status"] not in _KNOWN_STATUS:
        found.append(f"status {record['status']!r}")
    return found
