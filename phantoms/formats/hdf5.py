"""The layout of this project's own HDF5 files.

Volumes: ``volumes (element, z, y, x)`` with attributes ``elements, atomic_numbers,
voxel_size_nm``, on the dataset and on the file. Tilt series: ``haadf/projections (angle, y, x)``,
``haadf/angles_deg``, ``chemical/projections (element, angle, y, x)``, ``chemical/angles_deg``,
``chemical/background (element,)``, ``chemical/scale (element,)``; attributes ``elements`` on
``chemical``, ``background`` and ``scale`` on ``haadf``, ``pixel_size_nm`` on the file; what else is
known as attributes of ``facts``. Missing backgrounds are read as 0, missing scales as unknown,
missing sizes as 1 nm.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ...recon_core.tiltseries import TiltSeries, atomic_numbers
from . import h5
from .registry import Concentrations, Format

Array = NDArray[np.float32]


def is_hdf5(path: Path) -> bool:
    """Check whether a file has the groups of this layout.

    Parameters
    ----------
    path : of the file.
    """
    return h5.holds(path, lambda file: any(name in file for name in ("volumes", "chemical")))


def write_hdf5_volumes(
    path: Path,
    content: Concentrations,
    attributes: h5.Attributes = h5.NONE,
    overwrite: bool = False,
) -> None:
    """Write volumes with their elements and voxel size as attributes.

    Parameters
    ----------
    path : of the file.
    content : volumes, elements and voxel size.
    attributes : further ones, of the dataset and of the file.
    overwrite : replace a file that exists.

    Raises
    ------
    BadInput : the file exists, or cannot be written.
    """
    known: dict[str, object] = dict(attributes)
    if content.name is not None:
        known["name"] = content.name
    known["elements"] = content.elements
    known["atomic_numbers"] = np.asarray(atomic_numbers(content.elements))
    known["voxel_size_nm"] = content.voxel_size_nm
    with h5.writing(path, overwrite) as file:
        # attributes on dataset and file, as readers look in either place
        h5.write_array(file, "volumes", np.asarray(content.volumes, np.float32), known)
        h5.write_attributes(file, known)


def read_hdf5_volumes(path: Path) -> Concentrations:
    """Read volumes, their elements and the edge of a voxel.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    Concentrations : voxels of 1 nm if the file does not give their size.

    Raises
    ------
    BadInput : unreadable or incomplete.
    """
    with h5.reading(path) as file:
        volumes = h5.floats(file, "volumes")
        nodes = [file["volumes"], file]
        elements = h5.symbols(h5.attribute(nodes, "elements"), "volumes.attrs[elements]")
        size = h5.attribute(nodes, "voxel_size_nm")
        name = h5.attribute(nodes, "name")
        return Concentrations(
            volumes,
            elements,
            1.0 if size is None else h5.number(size, "voxel_size_nm"),
            name if isinstance(name, str) else None,
        )


def write_hdf5_series(path: Path, series: TiltSeries, overwrite: bool = False) -> None:
    """Write a tilt series with its backgrounds, scales and facts.

    Parameters
    ----------
    path : of the file.
    series : counts, angles and elements.
    overwrite : replace a file that exists.

    Raises
    ------
    BadInput : the file exists, or cannot be written.
    """
    with h5.writing(path, overwrite) as file:
        h5.write_attributes(file, {"pixel_size_nm": series.voxel_size_nm})
        h5.write_array(file, "haadf/projections", series.haadf)
        h5.write_array(file, "haadf/angles_deg", np.asarray(series.haadf_angles_deg, np.float64))
        h5.write_attributes(file["haadf"], {"background": series.haadf_background})
        if series.haadf_scale is not None:
            h5.write_attributes(file["haadf"], {"scale": series.haadf_scale})
        named = {"elements": series.elements, "atomic_numbers": np.asarray(series.atomic_numbers)}
        h5.write_array(file, "chemical/projections", series.chemical, named)
        h5.write_attributes(file["chemical"], named)
        h5.write_array(file, "chemical/angles_deg", np.asarray(series.chemical_angles_deg))
        h5.write_array(file, "chemical/background", np.asarray(series.chemical_background), named)
        if series.chemical_scale is not None:
            h5.write_array(file, "chemical/scale", np.asarray(series.chemical_scale), named)
        h5.write_attributes(file.create_group("facts"), series.facts)


def read_hdf5_series(path: Path) -> TiltSeries:
    """Read a tilt series of this layout.

    Parameters
    ----------
    path : of the file.

    Raises
    ------
    BadInput : unreadable, truncated or incomplete; projections and angles disagree.
    """
    with h5.reading(path) as file:
        return _series(file)


def _series(file: h5py.File) -> TiltSeries:
    chemical = h5.floats(file, "chemical/projections")
    # files by other hands keep the elements in any of these places
    nodes = [file["chemical"], file["chemical/projections"], file.get("chemical/background"), file]
    elements = h5.symbols(h5.attribute(nodes, "elements"), "chemical.attrs[elements]")
    haadf, haadf_angles = _haadf(file, chemical.shape)
    size = h5.attribute([file], "pixel_size_nm")
    return TiltSeries(
        haadf=haadf,
        haadf_angles_deg=haadf_angles,
        chemical=chemical,
        chemical_angles_deg=h5.numbers(file, "chemical/angles_deg"),
        elements=elements,
        # a missing level means vacuum without counts; a missing scale means unknown, and is fitted
        haadf_background=_level(file, "background") or 0.0,
        chemical_background=_levels(file, "chemical/background") or (),
        haadf_scale=_level(file, "scale"),
        chemical_scale=_levels(file, "chemical/scale"),
        voxel_size_nm=1.0 if size is None else h5.number(size, "pixel_size_nm"),
        facts=_facts(file),
    )


def _haadf(file: h5py.File, chemical: tuple[int, ...]) -> tuple[Array, tuple[float, ...]]:
    """Read HAADF projections and angles; a file without the group holds no HAADF tilt."""
    if "haadf" not in file:
        return np.zeros((0, *chemical[-2:]), np.float32), ()
    return h5.floats(file, "haadf/projections"), h5.numbers(file, "haadf/angles_deg")


def _level(file: h5py.File, name: str) -> float | None:
    value = h5.attribute([file.get("haadf")], name)
    return None if value is None else h5.number(value, f"haadf.attrs[{name}]")


def _levels(file: h5py.File, key: str) -> tuple[float, ...] | None:
    return h5.numbers(file, key) if key in file else None


def _facts(file: h5py.File) -> dict[str, float | str]:
    # facts are text or numbers; anything else is an error
    attributes = file["facts"].attrs if "facts" in file else {}
    return {
        name: value if isinstance(value, str) else h5.number(value, f"facts.attrs[{name}]")
        for name, value in attributes.items()
    }


HDF5 = Format(
    "tomoatlas HDF5",
    (".h5", ".hdf5", ".emd"),
    is_hdf5,
    read_hdf5_volumes,
    write_hdf5_volumes,
    read_hdf5_series,
    write_hdf5_series,
)
