"""Specimens, reconstructions and tilt series in files: HDF5, and what else is registered.

The layout of the HDF5 files is described in :mod:`tomoatlas.phantoms.formats.hdf5`, the files that
other programs open in :mod:`tomoatlas.phantoms.formats.exchange`; others are added by the registry,
:data:`tomoatlas.phantoms.formats.registry.FORMATS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.result import HaadfModel, Reconstruction, Status
from ...recon_core.tiltseries import TiltSeries
from ..specimen import Specimen, check_volumes, in_square_field
from . import files
from .files import write_aside
from .hdf5 import (
    read_hdf5_series,
    read_hdf5_volumes,
    write_hdf5_series,
    write_hdf5_volumes,
)
from .registry import Concentrations, Format, format_to_read, format_to_write, naming, writes

Array = NDArray[np.float32]
Volumes = tuple[Array, tuple[str, ...], float]


def save_specimen(path: str | Path, specimen: Specimen, overwrite: bool = False) -> None:
    """Write a specimen.

    Parameters
    ----------
    path : of the HDF5 file.
    specimen : volumes, elements, voxel size and name.
    overwrite : replace a file that exists.

    Raises
    ------
    BadInput : the file exists, or cannot be written.

    Examples
    --------
    >>> import tempfile, tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ta.save_specimen(f"{folder}/cubes.h5", specimen)
    ...     same = ta.load_specimen(f"{folder}/cubes.h5")
    >>> bool((same.volumes == specimen.volumes).all())
    True
    """
    save_volumes(
        path,
        specimen.volumes,
        specimen.elements,
        specimen.voxel_size_nm,
        {"name": specimen.name},
        overwrite,
    )


def load_specimen(path: str | Path) -> Specimen:
    """Read a specimen: a file of any format with volumes (element, z, y, x) and their elements.

    If z and y differ, it is padded with vacuum
    (:func:`tomoatlas.phantoms.specimen.in_square_field`).

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    Specimen : named after the file, where that holds no name.

    Raises
    ------
    BadInput : unreadable or incomplete, or no valid :class:`Specimen`.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> ta.load_specimen("absent.h5")
    Traceback (most recent call last):
    tomoatlas.recon_core.errors.BadInput: absent.h5: no such file; accepted: a whole HDF5 file
    """
    content = _read_volumes(Path(path))
    with naming(Path(path)):
        # the slice must be square for every tilt to stay in the field
        return Specimen(
            in_square_field(content.volumes),
            content.elements,
            content.voxel_size_nm,
            content.name or Path(path).stem,
        )


def save_reconstruction(
    path: str | Path,
    reconstruction: Reconstruction,
    attributes: files.Attributes = files.NONE,
    overwrite: bool = False,
) -> None:
    """Write a reconstruction with its method, weights, settings and status as attributes.

    Parameters
    ----------
    path : of the HDF5 file.
    reconstruction : as :func:`~tomoatlas.recon_core.solver.reconstruct` gives it.
    attributes : more of them, for the record.
    overwrite : replace the file if it exists.

    Raises
    ------
    BadInput : the file exists, or cannot be written; the volumes are no concentrations.

    Examples
    --------
    >>> import tempfile, tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=9, chemical_tilts=5), seed=0)
    >>> result = ta.reconstruct(series, settings=ta.SolverSettings(max_iterations=20))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ta.save_reconstruction(f"{folder}/volumes.h5", result)
    ...     volumes, elements, voxel_size_nm = ta.load_volumes(f"{folder}/volumes.h5")
    >>> volumes.shape, elements
    ((4, 8, 8, 8), ('Co', 'Cu', 'O', 'Au'))
    """
    known = {
        "status": str(reconstruction.status),
        "iterations": reconstruction.iterations,
        **reconstruction.facts,
        **attributes,
    }
    save_volumes(
        path,
        reconstruction.volumes,
        reconstruction.elements,
        reconstruction.voxel_size_nm,
        known,
        overwrite,
    )


def save_volumes(
    path: str | Path,
    volumes: Array,
    elements: tuple[str, ...],
    voxel_size_nm: float,
    attributes: files.Attributes = files.NONE,
    overwrite: bool = False,
) -> None:
    """Write volumes, with their elements and voxel size as attributes.

    Parameters
    ----------
    path : of the HDF5 file.
    volumes : concentrations, (element, z, y, x), float32.
    elements : chemical symbols, in the order of ``volumes``.
    voxel_size_nm : edge of a voxel, nm.
    attributes : further ones, of the dataset and of the file.
    overwrite : replace a file that exists.

    Raises
    ------
    BadInput : the file exists, or cannot be written; the volumes cannot be concentrations.
    """
    # reject before the file exists
    check_volumes(volumes, elements, voxel_size_nm)
    content = Concentrations(volumes, elements, voxel_size_nm)
    write_hdf5_volumes(Path(path), content, attributes, overwrite)


def load_volumes(path: str | Path) -> Volumes:
    """Read the volumes of a reconstruction or specimen.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    volumes : (element, z, y, x), float32.
    elements : chemical symbols.
    voxel_size_nm : edge of a voxel, nm; 1 if the file does not give it.

    Raises
    ------
    BadInput : unreadable or incomplete; NaN, negative values, wrong axes.

    Examples
    --------
    >>> import tempfile, tomoatlas as ta
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ta.save_specimen(f"{folder}/cubes.h5", ta.make_specimen("nanocubes", size=8))
    ...     volumes, elements, voxel_size_nm = ta.load_volumes(f"{folder}/cubes.h5")
    >>> elements, volumes.shape
    (('Co', 'Cu', 'O', 'Au'), (4, 8, 8, 8))
    """
    content = _read_volumes(Path(path))
    return content.volumes, content.elements, content.voxel_size_nm


def load_facts(path: str | Path) -> Mapping[str, object]:
    """Read how the volumes of a file were made: method, weights, settings, misfit, version.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    mapping : name to text, number or tuple of numbers; empty for volumes of other programs.
    """
    return _read_volumes(Path(path)).facts


def is_swapped(recon: str | Path, truth: str | Path) -> bool:
    """Whether a reconstruction was certainly given as the truth of a specimen.

    Parameters
    ----------
    recon : file of volumes that are to be scored.
    truth : file of volumes that they are to be scored against.

    Returns
    -------
    bool : True where the truth has the record of a reconstruction, and the other file the name of
        a specimen and no record. Volumes without either, as of other programs, may be both.
    """
    if "method" not in load_facts(truth):
        return False
    content = _read_volumes(Path(recon))
    return content.name is not None and not content.facts


def load_reconstruction(path: str | Path) -> Reconstruction:
    """Read a reconstruction with the record of how it was made.

    Parameters
    ----------
    path : of a file that :func:`save_reconstruction` wrote.

    Returns
    -------
    Reconstruction : without its history.

    Raises
    ------
    BadInput : unreadable or incomplete; no record of method and settings.

    Examples
    --------
    >>> import tempfile, tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=8))
    >>> result = ta.reconstruct(series, "ml", settings=ta.SolverSettings(max_iterations=5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ta.save_reconstruction(f"{folder}/volumes.h5", result)
    ...     load_reconstruction(f"{folder}/volumes.h5").facts["method"]
    'ml'
    """
    content = _read_volumes(Path(path))
    facts = content.facts
    if "method" not in facts or "status" not in facts:
        raise BadInput(
            "no record of how the volumes were made",
            source=path,
            key="method",
            accepted="a file that tomoatlas reconstruct wrote",
        )
    try:
        gamma = float(str(facts.get("gamma", 1.0)))
        model = HaadfModel.of_facts(facts, content.elements, gamma, 0.0)
        status, iterations = Status(str(facts["status"])), float(str(facts.get("iterations", 0.0)))
    except (KeyError, ValueError) as fault:
        accepted = "a file as tomoatlas reconstruct wrote it"
        raise BadInput(f"a damaged record: {fault}", source=path, accepted=accepted) from fault
    return Reconstruction(
        content.volumes,
        status,
        iterations,
        elements=content.elements,
        voxel_size_nm=content.voxel_size_nm,
        facts={n: v for n, v in facts.items() if isinstance(v, str | int | float)},
        haadf=model,
    )


def _read_volumes(path: Path) -> Concentrations:
    read = format_to_read(path, "volumes").read_volumes or read_hdf5_volumes
    with naming(path):
        content = read(path)
        check_volumes(content.volumes, content.elements, content.voxel_size_nm)
        return content


def save_tilt_series(path: str | Path, series: TiltSeries, overwrite: bool = False) -> None:
    """Write a tilt series with its backgrounds, scales and facts, none of which is lost.

    Parameters
    ----------
    path : of the HDF5 file.
    series : counts, angles and elements.
    overwrite : replace a file that exists.

    Raises
    ------
    BadInput : the file exists, or cannot be written.

    Examples
    --------
    >>> import tempfile, tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ta.save_tilt_series(f"{folder}/tilts.h5", series)
    ...     same = ta.load_tilt_series(f"{folder}/tilts.h5")
    >>> same.haadf_angles_deg == series.haadf_angles_deg
    True
    """
    write_hdf5_series(Path(path), series, overwrite)


def load_tilt_series(path: str | Path) -> TiltSeries:
    """Read a tilt series of any format: this project's, the authors', a plugin's.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    TiltSeries : in counts; levels and scales that the file lacks are 0 and None.

    Raises
    ------
    BadInput : unreadable, truncated or incomplete; projections and angles disagree.

    Examples
    --------
    >>> import tempfile, tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=8), seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ta.save_tilt_series(f"{folder}/tilts.h5", series)
    ...     ta.load_tilt_series(f"{folder}/tilts.h5").elements
    ('Co', 'Cu', 'O', 'Au')
    """
    read = format_to_read(Path(path), "series").read_series or read_hdf5_series
    with naming(Path(path)):
        return read(Path(path))


def exported_paths(out: Path, elements: tuple[str, ...]) -> list[Path]:
    """List the files that :func:`export_volumes` writes.

    Parameters
    ----------
    out : path whose suffix names the format.
    elements : chemical symbols.

    Raises
    ------
    BadInput : a suffix that no format writes volumes to.

    Examples
    --------
    >>> [path.name for path in exported_paths(Path("F.mrc"), ("Co", "O"))]
    ['F_Co.mrc', 'F_O.mrc']
    """
    return _paths(format_to_write(out, "volumes"), out, elements)


def export_volumes(
    out: Path,
    volumes: Array,
    elements: tuple[str, ...],
    voxel_size_nm: float,
    facts: Mapping[str, object] = files.NONE,
) -> list[Path]:
    """Write volumes in the format that a path's suffix names.

    Parameters
    ----------
    out : the file, or the stem of one per element.
    volumes : concentrations, (element, z, y, x).
    elements : chemical symbols, in the order of ``volumes``.
    voxel_size_nm : edge of a voxel, nm.
    facts : provenance, name to value: see :func:`load_facts`.

    Returns
    -------
    list of Path : the files written.

    Raises
    ------
    BadInput : another suffix, a missing package (extra ``export``), a folder that cannot be
        written.
    """
    found = format_to_write(out, "volumes")
    data = np.ascontiguousarray(volumes, dtype=np.float32)
    # one file of all elements, unless the format holds a single volume
    whole = Concentrations(data, tuple(elements), voxel_size_nm, facts=facts)
    paths = _paths(found, out, elements)
    parts = [whole]
    if found.one_per_element:
        parts = [
            replace(whole, volumes=volume[None], elements=(element,))
            for volume, element in zip(data, elements, strict=True)
        ]
    for path, part in zip(paths, parts, strict=True):
        _write_volumes(found, path, part)
    return paths


def takes_series_alone(out: Path) -> bool:
    """Check whether the format of a suffix holds tilt series and no volumes.

    Parameters
    ----------
    out : path whose suffix names the format.
    """
    return not writes(out, "volumes") and writes(out, "series")


def export_series(out: Path, series: TiltSeries) -> list[Path]:
    """Write a tilt series in the format that a path's suffix names.

    Parameters
    ----------
    out : the file.
    series : counts, angles and elements.

    Returns
    -------
    list of Path : the one file written.

    Raises
    ------
    BadInput : a suffix that no format writes tilt series to, a folder that cannot be written.
    """
    write = format_to_write(out, "series").write_series
    if write is not None:
        write_aside(out, lambda aside: write(aside, series))
    return [out]


def _write_volumes(found: Format, path: Path, content: Concentrations) -> None:
    write = found.write_volumes
    if write is not None:
        write_aside(path, lambda aside: write(aside, content))


def _paths(found: Format, out: Path, elements: tuple[str, ...]) -> list[Path]:
    if found.one_per_element:
        return [out.with_name(f"{out.stem}_{element}{out.suffix}") for element in elements]
    return [out]
