"""Volumes that were solved for a figure or a report, kept in the study folder for the next.

``DIR/volumes/KEY.h5`` holds one reconstruction. The key is a digest of the trial's identity, the
algorithm's revision and the version: whatever else would give other volumes has another name. A
file is written whole or not at all, so that figures may be drawn at the same time, and its volumes
are checked when they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..phantoms.formats import files
from ..phantoms.specimen import Specimen
from ..recon_core.errors import BadInput
from ..recon_core.metrics import nrmse_by_element
from ..recon_core.metrics.vacuum import Vacuum
from ..recon_core.result import Coefficients, HaadfModel, History, Reconstruction, Status
from ..recon_core.tiltseries import TiltSeries
from ..sweep.evaluate import reconstruct_trial, series_of, truth_of
from ..sweep.study import Study
from ..sweep.study.identity import digest
from ..sweep.study.trial import Trial
from ..sweep.versions import REVISION, package_version

Array = NDArray[np.float32]

MOST_BYTES = 2 * files.GIB
"""What a folder holds at most: four methods at 256³ and four elements take half of it."""

# Also of a write that was killed. What else lies in the folder is not ours to delete.
_OURS = re.compile(r"\.?[0-9a-f]{32}\.h5(\.\d+\.part)?")


@dataclass(frozen=True)
class SolvedTrial:
    """A trial with its reconstruction; truth and data are made when they are asked for.

    Parameters
    ----------
    study : of the trial.
    trial : cell, method and weights.
    solved : its reconstruction.
    """

    study: Study
    trial: Trial
    solved: Reconstruction

    @property
    def truth(self) -> Specimen:
        """The specimen, on the grid of the reconstruction."""
        return truth_of(self.study, self.trial)

    @property
    def nrmse_by_element(self) -> dict[str, float]:
        """Element → NRMSE."""
        scores = nrmse_by_element(self.solved.volumes, self.truth.volumes)
        return dict(zip(self.truth.elements, map(float, scores), strict=True))

    @property
    def nrmse(self) -> float:
        """Mean over the elements."""
        return float(np.mean(list(self.nrmse_by_element.values())))

    @property
    def series(self) -> TiltSeries:
        """The simulated data."""
        return series_of(self.study, self.trial)


class SolvedVolumes:
    """Solves trials for figures, or takes what an earlier figure solved from a folder.

    Parameters
    ----------
    folder : where volumes are kept; created when the first is. None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._used: set[Path] = set()
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Files that could not be read or written, one line each."""
        return tuple(self._notes)

    def of(self, study: Study, trial: Trial) -> SolvedTrial:
        """A trial, reconstructed on the CPU.

        Parameters
        ----------
        study : of the trial; with or without axes.
        trial : cell, method and weights.

        Raises
        ------
        BadInput : as :func:`~tomoatlas.sweep.evaluate.reconstruct_trial`.
        """
        solved = self.kept((trial.trial_id,), lambda: reconstruct_trial(study, trial)[0])
        return SolvedTrial(study, trial, solved)

    def kept(self, names: tuple[str, ...], solve: Callable[[], Reconstruction]) -> Reconstruction:
        """A reconstruction of the folder; solved, and kept there, where it has none.

        Parameters
        ----------
        names : everything that decides the result but the code: the identity of a trial, and what
            was done to its data.
        solve : makes it.
        """
        if self._folder is None:
            return solve()
        # The version too: data are simulated again by the code that reads the volumes.
        key = digest([*names, REVISION, package_version("tomoatlas")])
        path = self._folder / f"{key[:32]}.h5"
        found = self._read(path, key)
        if found is None:
            found = solve()
            self._keep(path, key, found)
        self._used.add(path)
        return found

    def _read(self, path: Path, key: str) -> Reconstruction | None:
        if not os.path.lexists(path):
            return None
        try:
            with files.reading(path) as file:
                found = _reconstruction(file, key)
        except BadInput as fault:
            self._notes[f"{fault}; solved again"] = None
            return None
        with suppress(OSError):  # of a folder that is not ours: its time is not needed
            os.utime(path)  # what is used stays longest
        return found

    def _keep(self, path: Path, key: str, solved: Reconstruction) -> None:
        folder = path.parent
        if not os.access(folder if folder.is_dir() else folder.parent, os.W_OK):
            return  # another's folder: its figures are drawn all the same
        try:
            folder.mkdir(exist_ok=True)
            if self._make_room(folder, solved.volumes.nbytes):
                _write(path, key, solved)
        except (BadInput, OSError, RuntimeError) as fault:  # as h5py may on a full disk
            self._notes[f"solved volumes are not kept: {fault}"] = None

    def _make_room(self, folder: Path, needed: int) -> bool:
        """Delete what was used longest ago, but nothing that this figure used."""
        held = {p: p.stat() for p in folder.iterdir() if _OURS.fullmatch(p.name) and p.is_file()}
        free = MOST_BYTES - sum(stat.st_size for stat in held.values())
        for path in sorted(held.keys() - self._used, key=lambda p: held[p].st_mtime):
            if free >= needed:
                break
            path.unlink(missing_ok=True)
            free += held[path].st_size
        return free >= needed


NOT_KEPT = SolvedVolumes()
"""Solves everything, and keeps nothing."""


def _write(path: Path, key: str, solved: Reconstruction) -> None:
    record = json.dumps(
        asdict(replace(solved, volumes=np.empty(0, np.float32))) | {"volumes": None}
    )
    attributes = {
        **solved.facts,
        "elements": solved.elements,
        "voxel_size_nm": solved.voxel_size_nm,
        "key": key,
        "sha256": _checksum(solved.volumes, record),
    }
    with files.writing(path, overwrite=True) as file:
        files.write_array(file, "volumes", solved.volumes, attributes)
        # No attribute: those hold 64 KiB, and a history may be longer.
        file["record"] = record


def _reconstruction(file: h5py.File, key: str) -> Reconstruction:
    """What :func:`_write` wrote; BadInput where it is anything else."""
    volumes = files.floats(file, "volumes")
    attributes = file["volumes"].attrs
    if attributes["key"] != key:
        raise BadInput("volumes of something else", key="key", value=attributes["key"])
    record = file["record"].asstr()[()]
    if attributes["sha256"] != _checksum(volumes, record):
        raise BadInput("damaged", key="volumes", accepted="the volumes that were written")
    found: dict[str, Any] = json.loads(record)
    return Reconstruction(
        **found
        | {
            "volumes": volumes,
            "status": Status(found["status"]),
            "history": History(**_tuples(found["history"])),
            "elements": tuple(found["elements"]),
            "haadf": found["haadf"] and _model(found["haadf"]),
        }
    )


def _model(found: Mapping[str, Any]) -> HaadfModel:
    coefficients = Coefficients(**_tuples(found["coefficients"]))
    return HaadfModel(coefficients, Vacuum(**found["vacuum"]), found["given"])


def _tuples(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}


def _checksum(volumes: Array, record: str) -> str:
    found = hashlib.sha256(record.encode())
    found.update(np.ascontiguousarray(volumes).data)
    return found.hexdigest()
