"""Several folders of one study become one: managers that worked on cells of their own.

A trial is known by its cell and its settings, never by where it was run, so the journals of several
managers hold together what one would have written. What is merged is another folder: those that it
is made of stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

from ...phantoms.formats.files import unwritable, write_aside
from ...recon_core.errors import BadInput
from ..study import Study, check_divisible
from ..study.axes import flattened
from ..study.checks import MAX_CELLS
from ..study.identity import UNHASHED
from ..study.trial import Record, is_final
from . import MAY_GROW, StudyFolder
from .journal import kept_beside
from .lines import TrialLines, file_lines

NAMED = 5
"""Conflicts that are named; more are counted."""


@dataclass(frozen=True)
class Merged:
    """What a merged folder holds.

    Parameters
    ----------
    study : of all parts together.
    trials : that have ended.
    doubles : trials that several parts hold with the same result, and the merged folder once.
    notes : one sentence each, on lines that are left out and on trials with two results.
    """

    study: Study
    trials: int
    doubles: int
    notes: tuple[str, ...]

    @property
    def planned(self) -> int:
        """Trials that the whole study has."""
        search = self.study.search
        return len(self.study.cells()) * sum(map(search.budget, search.methods))


def merge(parts: Sequence[str | Path], out: str | Path) -> Merged:
    """Write the trials of several study folders into a new one, which ``run`` and ``report`` take.

    The folders may differ in the values of their axes, in limits and in the number of trials of a
    search: the merged study has all values and the larger numbers. A part that is still being
    written is merged as it stands.

    Parameters
    ----------
    parts : study folders; of a trial that several hold, the first one's result counts.
    out : a folder that does not exist yet, or is empty.

    Raises
    ------
    BadInput : a part is no study folder or of another study, or ``out`` holds something.
    Trouble : the disk is full or fails; no merged folder is left.
    """
    folders = [StudyFolder(part) for part in parts]
    if not folders:
        raise BadInput("missing", key="DIR", accepted="the study folders to merge")
    study = _together([(folder.path, folder.study()) for folder in folders])
    home = _new(StudyFolder(out))
    lines = _Lines(study)
    write_aside(home.journal_file, lambda path: _write(path, lines, folders))
    runs = [line for folder in folders for line in file_lines(folder.runs_file)]
    if runs:
        write_aside(home.runs_file, lambda path: path.write_bytes(b"".join(runs)))
    # Last: a journal without its study is taken for nobody's, and not for complete.
    home.keep(study)
    return Merged(study, lines.trials, lines.doubles, tuple(lines.notes()))


def _new(home: StudyFolder) -> StudyFolder:
    """A folder in which nothing can be overwritten."""
    try:
        home.path.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in home.path.iterdir())
    except OSError as error:
        raise unwritable(home.path, error) from error
    if found:
        raise BadInput("holds something", source=home.path, value=found[0], accepted="a new folder")
    return home


def _write(path: Path, lines: _Lines, folders: Iterable[StudyFolder]) -> None:
    with path.open("xb") as file:
        for folder in folders:
            for line in lines.of(folder):
                file.write(line)


def _together(parts: Sequence[tuple[Path, Study]]) -> Study:
    """The study of all parts; BadInput names the first difference that must not be."""
    (first, study), *others = parts
    if others:
        check_divisible(study, "search.strategy", str(study.search.strategy))
    for folder, other in others:
        _check_same(first, study, folder, other)
    studies = [study for _, study in parts]
    axes = {axis: _united(one.axes[axis] for one in studies) for axis in study.axes}
    cells = prod(map(len, axes.values()))
    if cells > MAX_CELLS:
        raise BadInput("too many cells", key="axes", value=cells, accepted=f"<= {MAX_CELLS}")
    names = [key.rpartition(".")[2] for key in MAY_GROW]
    most = {name: max(getattr(one.search, name) for one in studies) for name in names}
    search = study.search.model_copy(update=most)
    return study.model_copy(update={"axes": axes, "search": search})


def _united(values: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """All values once; numbers in ascending order where every part has them so."""
    several = list(values)
    united = tuple(dict.fromkeys(chain.from_iterable(several)))
    numbers = all(type(value) in (int, float) for value in united)
    return tuple(sorted(united)) if numbers and all(_ascending(v) for v in several) else united


def _ascending(values: tuple[Any, ...]) -> bool:
    return list(values) == sorted(values)


def _check_same(first: Path, study: Study, folder: Path, other: Study) -> None:
    """Refuse the part of another study."""
    ours, theirs = _decisive(study), _decisive(other)
    for key in ours | theirs:
        if ours.get(key) != theirs.get(key):
            raise BadInput(
                "another study",
                source=folder,
                key=key,
                value=theirs.get(key),
                accepted=f"{ours.get(key)!r}, as in {first}",
            )


def _decisive(study: Study) -> dict[str, Any]:
    """The settings in which parts must not differ, by dotted key; of the axes their order."""
    free = (*MAY_GROW, *UNHASHED)
    settings = {
        key: value
        for key, value in flattened(study.tables()).items()
        if key not in free and not key.startswith(("axes.", "limits."))
    }
    return {**settings, "axes": list(study.axes)}


@dataclass
class _Conflict:
    """A trial with two results."""

    trial: str
    counts: Path
    result: object
    left_out: Path
    other: object

    def __str__(self) -> str:
        return (
            f"{self.trial} has two results, {self.result} in {self.counts} and {self.other} in "
            f"{self.left_out}: the first one counts."
        )


@dataclass
class _Lines:
    """The lines of several journals that one would hold, and what became of the others."""

    study: Study
    trials: int = 0
    doubles: int = 0
    _known: dict[int, tuple[object, Path]] = field(default_factory=dict)
    _conflicts: list[_Conflict] = field(default_factory=list)
    _found: list[tuple[Path, TrialLines]] = field(default_factory=list)

    def of(self, folder: StudyFolder) -> Iterator[bytes]:
        """The lines of a part that no earlier one holds, as they are."""
        for path in (folder.journal_file, *kept_beside(folder.journal_file)):
            taken = TrialLines(self.study)
            self._found.append((path, taken))
            for line in file_lines(path):
                record = taken.take(line)
                if record is not None and self._is_new(record, folder.path):
                    self.trials += is_final(record)
                    # The last line of a part that is still being written may lack its end.
                    yield line.rstrip(b"\n") + b"\n"

    def notes(self) -> Iterator[str]:
        """What was not merged, one sentence each."""
        for path, taken in self._found:
            yield from (f"{path}: {note}" for note in taken.notes)
        yield from map(str, self._conflicts[:NAMED])
        if len(self._conflicts) > NAMED:
            yield f"{len(self._conflicts) - NAMED} more trials have two results."

    def _is_new(self, record: Record, folder: Path) -> bool:
        """Whether no earlier line holds the same attempt; two results of one are a conflict."""
        attempt = None if is_final(record) else record.get("attempt")
        # A number, not the texts: there may be a million trials.
        key = hash((record["trial_id"], record["number"], repr(attempt)))
        result = record["status"] if record["nrmse"] is None else record["nrmse"]
        if key not in self._known:
            self._known[key] = result, folder
            return True
        first, where = self._known[key]
        # What a run kept beside its journal repeats the lines of that.
        self.doubles += first == result and where is not folder
        if first != result:
            self._conflicts.append(_Conflict(_name(record), where, first, folder, result))
        return False


def _name(record: Mapping[str, Any]) -> str:
    """A trial as a person knows it."""
    cell = ", ".join(f"{axis} = {value}" for axis, value in record["cell"].items())
    return f"Trial {record['number']} of {record['method']}" + (f" at {cell}" if cell else "")
