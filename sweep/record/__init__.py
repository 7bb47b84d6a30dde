"""The folder of a study: the names of its files, and which study it belongs to."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...phantoms.formats.files import unwritable, write_aside
from ...recon_core.errors import BadInput
from ..study import Study, recorded_study
from ..study.axes import OF_HAADF, flattened
from ..study.identity import UNHASHED
from ..study.tables import Baselines
from ..versions import provenance
from .journal import Journal
from .lines import file_size
from .lock import this_process

MAY_GROW = ("search.trials", "search.chemistry_tv_trials", "search.doubt")
"""Keys that a later run may raise: the proposals of a search are one sequence. An axis may get
more values, since a trial is known by its cell; ``[limits]`` may change at will."""

MAY_SHRINK = ("search.precision",)
"""Keys that a later run may lower: the search goes on where it had ended."""


@dataclass(frozen=True)
class StudyFolder:
    """Where a study is run; the only class with the names of its files.

    Parameters
    ----------
    path : the folder; it need not exist.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))

    @property
    def study_file(self) -> Path:
        """What was run, with all defaults written out."""
        return self.path / "study.toml"

    @property
    def journal_file(self) -> Path:
        """The record: one JSON line per finished trial."""
        return self.path / "trials.jsonl"

    @property
    def volumes(self) -> Path:
        """Volumes that were solved for figures and reports; it may be deleted."""
        return self.path / "volumes"

    @property
    def runs_file(self) -> Path:
        """One JSON line per run: when, where, by which code and on what it computed."""
        return self.path / "runs.jsonl"

    @property
    def atlas_csv(self) -> Path:
        """The atlas as a table, one row per cell."""
        return self.path / "atlas.csv"

    @property
    def atlas_h5(self) -> Path:
        """The atlas as arrays."""
        return self.path / "atlas.h5"

    @property
    def atlas_nc(self) -> Path:
        """The atlas as a NetCDF grid over its axes."""
        return self.path / "atlas.nc"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.path / "report"

    def study(self) -> Study:
        """The study that was run here.

        Raises
        ------
        BadInput : not the folder of a study.
        """
        if not self.study_file.is_file():
            raise BadInput(
                "no study was run here", source=self.path, accepted="the folder of a `run`"
            )
        return recorded_study(self.study_file)

    @contextmanager
    def open_or_create(self, study: Study, patience: float = 0.0) -> Iterator[Journal]:
        """The journal of ``study`` in this folder, locked as long as the context lasts.

        Parameters
        ----------
        study : the study to run.
        patience : seconds to wait for the lock of another run.

        Raises
        ------
        BadInput : the folder belongs to another study, is being written by another run, or cannot
            be written; nothing in it was changed.
        Trouble : the disk is full or fails, or a run that seems dead holds the lock.
        """
        try:
            self._check(study)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from error
        # Checked again under the lock: another run may have written the folder in between.
        with Journal(self.journal_file, patience) as journal:
            self._check(study)
            yield journal

    def _check(self, study: Study) -> None:
        if self.study_file.is_file():
            _check_same(self.path, self.study(), study)
        elif file_size(self.journal_file):
            raise BadInput(
                "holds trials of an unknown study", source=self.path, accepted="a new folder"
            )

    def keep(self, study: Study) -> None:
        """Write down what is run here, once its records are known to belong to it.

        Parameters
        ----------
        study : the study to record.

        Raises
        ------
        BadInput, Trouble : it cannot be written.
        """
        # Unchanged, so that resuming does not touch the file or its time.
        if self.study_file.is_file() and self.study() == study:
            return
        text = study.toml()
        write_aside(self.study_file, lambda path: path.write_text(text, encoding="utf-8"))

    def restore(self, study: Study) -> str:
        """Write down again what was run, if that was changed meanwhile: the record is of it.

        Parameters
        ----------
        study : that was run.

        Returns
        -------
        What has become of the other study, in a sentence; empty where nothing was changed.

        Raises
        ------
        BadInput, Trouble : it cannot be written.
        """
        try:
            if self.study() == study:
                return ""
        except BadInput:
            pass  # gone, or no study any more
        aside = self.study_file.with_name(f"study.changed-{uuid.uuid4().hex[:8]}.toml")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self.study_file.rename(aside)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.keep(study)
        kept = f"; what it held is in {aside.name}" if aside.exists() else ""
        return (
            f"{self.study_file} was changed while this run wrote, and is again what was run{kept}. "
            "To change a study, end its run and edit the file that it was started with."
        )

    def note_run(self, devices: str) -> None:
        """Add a line on the run that begins now; no result depends on it.

        Parameters
        ----------
        devices : what it computes on, see :func:`tomoatlas.sweep.devices.computing_on`.
        """
        here = this_process()
        facts = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "devices": devices,
            "host": here.host,
            "process": here.process,
            "job": here.job or None,
            **asdict(provenance()),
        }
        # Without it the run goes on: where nothing can be written, the journal says so.
        with suppress(OSError, BadInput):
            file_size(self.runs_file)  # a pipe would be opened for ever
            with self.runs_file.open("ab", buffering=0) as file:
                file.write(json.dumps(facts).encode() + b"\n")


def _continues(key: str, before: Any, now: Any) -> bool:
    """Whether a study with the value ``now`` continues what one with ``before`` has begun."""
    # Limits may change at will: no result depends on them.
    if before == now or key.startswith("limits.") or key in UNHASHED:
        return True
    if key in MAY_GROW:
        return bool(now >= before)
    if key in MAY_SHRINK:
        return bool(now <= before)
    is_axis = key.startswith("axes.") and before is not None and now is not None
    return is_axis and set(before) <= set(now)


def _accepted(key: str, before: Any) -> str:
    if key in MAY_GROW:
        return f"{before} or more"
    if key in MAY_SHRINK:
        return f"{before} or less"
    return f"{before!r} and further values" if key.startswith("axes.") and before else repr(before)


def _check_lenders(folder: Path, old: Study, new: Study) -> None:
    """Refuse a new first value of an axis whose first cells hold the baselines of all others."""
    if new.search.baselines is not Baselines.SHARED:
        return
    for path in OF_HAADF & old.axes.keys() & new.axes.keys():
        if new.axes[path][0] != old.axes[path][0]:
            raise BadInput(
                "its first cells hold the baselines of all others",
                source=folder,
                key=f"axes.{path}",
                value=list(new.axes[path]),
                accepted=f"{old.axes[path][0]} first, or a new folder",
            )


def _check_same(folder: Path, old: Study, new: Study) -> None:
    """Refuse to continue a folder with another study; the first difference is named."""
    # By resolved values: a default that is written out, or left out, is no other study.
    before, now = flattened(old.tables()), flattened(new.tables())
    for key in before | now:
        if not _continues(key, before.get(key), now.get(key)):
            raise BadInput(
                "the folder belongs to another study",
                source=folder,
                key=key,
                value=now.get(key),
                accepted=f"{_accepted(key, before.get(key))}, or a new folder",
            )
    _check_lenders(folder, old, new)
    if list(old.axes) != list(new.axes):
        raise BadInput(
            "the folder belongs to another study",
            source=folder,
            key="axes",
            value=list(new.axes),
            accepted=f"{list(old.axes)}, in this order",
        )
