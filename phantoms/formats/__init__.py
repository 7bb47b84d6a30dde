"""Specimens, reconstructions and tilt series as HDF5 files.

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

from ...recon_core.result import Reconstruction
from ...recon_core.tiltseries import TiltSeries, atomic_numbers
from ..specimen import Specimen, check_volumes, in_square_field
from . import h5
from .authors import is_authors_layout, read_authors_series

Array = NDArray[np.float32]
Volumes = tuple[Array, tuple[str, ...], float]


def save_specimen(path: str | Path, specimen: Specimen, overwrite: bool = False) -> None:
    """Write a specimen.

    Raises
    ------
    BadInput : the file exists, or cannot be written.
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
    """Read a specimen: any HDF5 file with ``volumes (element, z, y, x)`` and ``elements``.

    Where z and y differ, vacuum is put around
    (:func:`tomoatlas.phantoms.specimen.in_square_field`).

    Raises
    ------
    BadInput : unreadable or incomplete, or what :class:`Specimen` refuses.
    """
    with h5.reading(Path(path)) as file:
        volumes, elements, voxel_size_nm = _volumes(file)
        name = h5.attribute([file["volumes"], file], "name")
        title = name if isinstance(name, str) else Path(path).stem
        check_volumes(volumes, elements, voxel_size_nm)
        return Specimen(in_square_field(volumes), elements, voxel_size_nm, title)


def save_reconstruction(
    path: str | Path,
    reconstruction: Reconstruction,
    attributes: h5.Attributes = h5.NONE,
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
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ta.save_reconstruction(f"{folder}/volumes.h5", ta.reconstruct(series))
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
    attributes: h5.Attributes = h5.NONE,
    overwrite: bool = False,
) -> None:
    """Write volumes (element, z, y, x); ``attributes`` go beside the usual ones.

    Raises
    ------
    BadInput : the file exists, or cannot be written; the volumes are no concentrations.
    """
    check_volumes(volumes, elements, voxel_size_nm)
    known: dict[str, object] = dict(attributes)
    known["elements"] = elements
    known["atomic_numbers"] = np.asarray(atomic_numbers(elements))
    known["voxel_size_nm"] = voxel_size_nm
    with h5.writing(Path(path), overwrite) as file:
        h5.write_array(file, "volumes", np.asarray(volumes, np.float32), known)
        h5.write_attributes(file, known)


def load_volumes(path: str | Path) -> Volumes:
    """Read (volumes (element, z, y, x), elements, voxel_size_nm) of a reconstruction or specimen.

    Raises
    ------
    BadInput : unreadable or incomplete; NaN, negative values, wrong axes.
    """
    with h5.reading(Path(path)) as file:
        volumes, elements, voxel_size_nm = _volumes(file)
        check_volumes(volumes, elements, voxel_size_nm)
        return volumes, elements, voxel_size_nm


def _volumes(file: h5py.File) -> Volumes:
    volumes = h5.floats(file, "volumes")
    nodes = [file["volumes"], file]
    elements = h5.symbols(h5.attribute(nodes, "elements"), "volumes.attrs[elements]")
    size = h5.attribute(nodes, "voxel_size_nm")
    return volumes, elements, 1.0 if size is None else h5.number(size, "voxel_size_nm")


def save_tilt_series(path: str | Path, series: TiltSeries, overwrite: bool = False) -> None:
    """Write a tilt series with its backgrounds, scales and facts; reading it gives it back.

    Raises
    ------
    BadInput : the file exists, or cannot be written.
    """
    with h5.writing(Path(path), overwrite) as file:
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


def load_tilt_series(path: str | Path) -> TiltSeries:
    """Read a tilt series of this layout or of the authors'
    (:mod:`tomoatlas.phantoms.formats.authors`).

    Raises
    ------
    BadInput : unreadable, truncated or incomplete; projections and angles disagree.
    """
    with h5.reading(Path(path)) as file:
        return read_authors_series(file) if is_authors_layout(file) else _series(file)


def _series(file: h5py.File) -> TiltSeries:
    chemical = h5.floats(file, "chemical/projections")
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
        haadf_background=_level(file, "background") or 0.0,
        chemical_background=_levels(file, "chemical/background") or (),
        haadf_scale=_level(file, "scale"),
        chemical_scale=_levels(file, "chemical/scale"),
        voxel_size_nm=1.0 if size is None else h5.number(size, "pixel_size_nm"),
        facts=_facts(file),
    )


def _haadf(file: h5py.File, chemical: tuple[int, ...]) -> tuple[Array, tuple[float, ...]]:
    """HAADF projections and angles; a file without the group holds no HAADF tilt."""
    if "haadf" not in file:
        return np.zeros((0, *chemical[-2:]), np.float32), ()
    return h5.floats(file, "haadf/projections"), h5.numbers(file, "haadf/angles_deg")


def _level(file: h5py.File, name: str) -> float | None:
    value = h5.attribute([file.get("haadf")], name)
    return None if value is None else h5.number(value, f"haadf.attrs[{name}]")


def _levels(file: h5py.File, key: str) -> tuple[float, ...] | None:
    return h5.numbers(file, key) if key in file else None


def _facts(file: h5py.File) -> dict[str, float | str]:
    attributes = file["facts"].attrs if "facts" in file else {}
    return {
        name: value if isinstance(value, str) else h5.number(value, f"facts.attrs[{name}]")
        for name, value in attributes.items()
    }
