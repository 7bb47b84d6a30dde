"""The specimens of a study: named ones are built, volumes are read from HDF5 files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...phantoms.acquisition import Acquisition
from ...phantoms.dose import (
    Frame,
    check_without_dose,
    converted,
    estimated_rates,
    given_rates,
)
from ...phantoms.formats import load_specimen
from ...phantoms.kinds import SIZES, SPECIMENS, make_specimen
from ...phantoms.specimen import Specimen
from ...recon_core.errors import BadInput
from ...recon_core.registry import is_file, split_file
from .identity import identifying
from .tables import SpecimenTable, is_volume

# Keys without meaning for a volume from a file, which is identified by its bytes.
_OF_NAMED = frozenset({"kind", "size", "seed"})


@dataclass(frozen=True)
class Outline:
    """Elements and shape of a specimen, known without building it.

    Parameters
    ----------
    elements : chemical symbols.
    shape : (z, y, x), voxels.
    """

    elements: tuple[str, ...]
    shape: tuple[int, int, int]


def outline(table: SpecimenTable) -> Outline:
    """Elements and shape of the specimen of a study.

    Parameters
    ----------
    table : ``[specimen]`` of the study.

    Raises
    ------
    BadInput : an unknown name, or a volume that cannot be read.
    """
    if table.from_file:
        return _in_file(table.kind, *_stamp(table.kind))[0]
    # Asked for a dozen times in each of 100,000 cells. What a file defines may change.
    return _shipped(table) if table.kind in _SHIPPED else _of_kind(table)


def _of_kind(table: SpecimenTable) -> Outline:
    elements = SPECIMENS.get(table.kind).elements_of(table.parameters)
    return Outline(elements, (table.size,) * 3)


_SHIPPED = frozenset(SPECIMENS.shipped())
_shipped = lru_cache(maxsize=64)(_of_kind)


def build(table: SpecimenTable, oversample: int = 1) -> Specimen:
    """The specimen on a grid finer than the study's.

    A named specimen is drawn on the finer grid. A volume from a file contains nothing finer, so
    each of its voxels is repeated along every axis.

    Parameters
    ----------
    table : ``[specimen]`` of the study.
    oversample : factor between the two grids.

    Raises
    ------
    BadInput : an unknown name, a size out of range, or a volume that cannot be read.
    """
    if not table.from_file:
        size = table.size * oversample
        return make_specimen(table.kind, size, table.seed, **table.parameters)
    # Not cached here: a volume of 512³ is gigabytes.
    specimen = load_specimen(table.kind)
    if oversample == 1:
        return specimen
    volumes = specimen.volumes
    for axis in (1, 2, 3):
        volumes = np.repeat(volumes, oversample, axis=axis)
    return Specimen(volumes, specimen.elements, specimen.voxel_size_nm / oversample, specimen.name)


def check_specimen(table: SpecimenTable, acquisition: Acquisition) -> None:
    """Refuse a specimen that does not exist, or that the acquisition does not fit.

    Parameters
    ----------
    table : ``[specimen]`` of the study.
    acquisition : ``[acquisition]`` of the study.

    Raises
    ------
    BadInput : names the key.
    """
    # Raises for an element without an SNR, before any data are simulated.
    exposure(table, acquisition).snr_of(outline(table).elements)
    finest = table.size * acquisition.oversample
    if not table.from_file and finest > SIZES[1]:
        raise BadInput(
            f"the finer grid would have {finest} voxels per edge",
            key="acquisition.oversample",
            value=acquisition.oversample,
            accepted=f"specimen.size x oversample <= {SIZES[1]}",
        )


COARSE = 32
"""Voxels per edge on which counts by a dose are foreseen: what they depend on are means."""


def exposure(table: SpecimenTable, acquisition: Acquisition) -> Acquisition:
    """The acquisition with SNRs in place of its dose, as foreseen without the data.

    Parameters
    ----------
    table : ``[specimen]`` of the study.
    acquisition : ``[acquisition]`` of the study.

    Raises
    ------
    BadInput : see :func:`tomoatlas.phantoms.dose.exposed`.
    """
    if not acquisition.by_dose:
        check_without_dose(acquisition)
        return acquisition
    rates = given_rates(acquisition)
    if rates is None:
        # All that an estimate depends on: cells of other doses or tilts share it.
        basis = acquisition.model_dump_json(include={"microscope", "tilt_range_deg", "background"})
        stamp = _stamp(table.kind) if table.from_file else None
        rates = _estimated(table.model_dump_json(), stamp, basis)
    found = outline(table)
    _, height, width = found.shape
    return converted(acquisition, rates, Frame(found.elements, height * width, voxel_size(table)))


def voxel_size(table: SpecimenTable) -> float:
    """Edge of a voxel of the specimen of a study, nm.

    Parameters
    ----------
    table : ``[specimen]`` of the study.
    """
    if table.from_file:
        return _in_file(table.kind, *_stamp(table.kind))[1]
    coarse = _foreseen(table)
    return coarse.voxel_size_nm * coarse.shape[0] / table.size


@lru_cache(maxsize=64)
def _estimated(table: str, stamp: object, basis: str) -> Mapping[str, float]:  # noqa: ARG001
    specimen = _foreseen(SpecimenTable.model_validate_json(table))
    return estimated_rates(Acquisition.model_validate_json(basis), specimen)


def _foreseen(table: SpecimenTable) -> Specimen:
    """The specimen on few voxels; one from a file as it is."""
    if table.from_file:
        return load_specimen(table.kind)
    parameters = json.dumps(table.parameters, sort_keys=True)
    return _coarse(table.kind, min(table.size, COARSE), table.seed, parameters)


@lru_cache(maxsize=64)
def _coarse(kind: str, size: int, seed: int, parameters: str) -> Specimen:
    return make_specimen(kind, size, seed, **json.loads(parameters))


def check_bodies(table: SpecimenTable) -> None:
    """Refuse a specimen whose parameters its kind accepts one by one, but not together.

    Parameters
    ----------
    table : ``[specimen]`` of the study.

    Raises
    ------
    BadInput : names the key.
    """
    kind = None if table.from_file else SPECIMENS.get(table.kind)
    if kind is not None and kind.check is not None:
        kind.check(table.seed, **dict(kind.completed(table.parameters)))


def specimen_identity(table: SpecimenTable) -> dict[str, Any]:
    """What decides a specimen: name, size, seed and the parameters that are not at their default.

    A volume, and a file that defines or describes a specimen, are identified by their bytes,
    wherever they are. Later keys of the table count where they are not neutral, for a file too.

    Parameters
    ----------
    table : ``[specimen]`` of the study.

    Raises
    ------
    BadInput : the file cannot be read.
    """
    given = identifying(table.set_apart(), "specimen.")
    if table.from_file:
        later = {key: value for key, value in given.items() if key not in _OF_NAMED}
        return {"volume": _file_digest(table.kind, *_stamp(table.kind)), **later}
    if is_file(table.kind):
        path, name = split_file(table.kind)
        given |= {"kind": name, "code": _file_digest(str(path), *_stamp(str(path)))}
    return given


def located(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Study tables in which relative paths of volumes start at a folder.

    Parameters
    ----------
    data : tables as read from TOML; not changed.
    folder : where relative paths start.
    """
    data = dict(data)
    if isinstance(data.get("specimen"), dict) and "kind" in data["specimen"]:
        kind = _absolute(data["specimen"]["kind"], folder)
        data["specimen"] = {**data["specimen"], "kind": kind}
    axes = data.get("axes")
    if isinstance(axes, dict) and isinstance(axes.get("specimen.kind"), list):
        kinds = [_absolute(kind, folder) for kind in axes["specimen.kind"]]
        data["axes"] = {**axes, "specimen.kind": kinds}
    return data


def _absolute(kind: Any, folder: Path) -> Any:
    if isinstance(kind, str) and (is_volume(kind) or is_file(kind)):
        return str((folder / Path(kind).expanduser()).resolve())
    return kind


def _stamp(path: str) -> tuple[int, int]:
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise BadInput(
            error.strerror or "unreadable",
            key="specimen.kind",
            value=path,
            accepted="an HDF5 volume (element, z, y, x)",
        ) from error
    # The key of the caches below: a file that changes is read again.
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=64)
def _in_file(path: str, modified: int, size: int) -> tuple[Outline, float]:  # noqa: ARG001
    """Outline of a volume, and the edge of its voxels, nm."""
    specimen = load_specimen(path)
    return Outline(specimen.elements, specimen.shape), specimen.voxel_size_nm


@lru_cache(maxsize=64)
def _file_digest(path: str, modified: int, size: int) -> str:  # noqa: ARG001
    with Path(path).open("rb") as file:
        # Streamed: a volume may be larger than the memory of a login node.
        return hashlib.file_digest(file, "sha256").hexdigest()
