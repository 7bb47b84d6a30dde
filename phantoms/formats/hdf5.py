"""The layouts of HDF5 files: this project's own, and the tilt series of the paper's authors.

Ours. Volumes: ``volumes (element, z, y, x)`` with attributes ``elements, atomic_numbers,
voxel_size_nm``, on the dataset and on the file. Tilt series: ``haadf/projections (angle, y, x)``,
``haadf/angles_deg``, ``chemical/projections (element, angle, y, x)``, ``chemical/angles_deg``,
``chemical/background (element,)``, ``chemical/scale (element,)``; attributes ``elements`` on
``chemical``, ``background`` and ``scale`` on ``haadf``, ``pixel_size_nm`` on the file; what else is
known as attributes of ``facts``. Either modality may have ``shifts (angle, (y, x))`` in
pixels with the attributes ``axis_offset`` and ``rotation_deg`` on its group, and ``mask (angle, y,
x)``, 0 where a pixel does not count. Missing backgrounds are read as 0, missing scales as unknown,
missing sizes as 1 nm.

Of the authors of Schwartz et al., Nat. Commun. 15, 3555 (2024): ``haadf/tiltSeries (x, y, angle)``,
``haadf/tiltAngles``, ``eels/<Element>`` or ``edx/<Element> (x, y, angle)`` and
``eels|edx/tiltAngles``; x is the tilt axis.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput, printable
from ...recon_core.geometry import STILL, Mask, Placement
from ...recon_core.tiltseries import LEVEL_ADDED, SYMBOLS, TiltSeries, atomic_numbers
from . import files
from .registry import LAYOUT, Concentrations, Format

Array = NDArray[np.float32]
SPECTRA = ("eels", "edx")


def is_hdf5(path: Path) -> bool:
    """Check whether a file has the groups of this layout.

    Parameters
    ----------
    path : of the file.
    """
    return files.holds(path, lambda file: any(name in file for name in ("volumes", "chemical")))


def write_hdf5_volumes(
    path: Path,
    content: Concentrations,
    attributes: files.Attributes = files.NONE,
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
    with files.writing(path, overwrite) as file:
        # attributes on dataset and file, as readers look in either place
        files.write_array(file, "volumes", np.asarray(content.volumes, np.float32), known)
        files.write_attributes(file, known)


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
    with files.reading(path) as file:
        volumes = files.floats(file, "volumes")
        nodes = [file["volumes"], file]
        elements = files.symbols(files.attribute(nodes, "elements"), "volumes.attrs[elements]")
        size = files.attribute(nodes, "voxel_size_nm")
        name = files.attribute(nodes, "name")
        return Concentrations(
            volumes,
            elements,
            1.0 if size is None else files.number(size, "voxel_size_nm"),
            printable(name) if isinstance(name, str) else None,
            _provenance(file),
        )


OWN = ("elements", "atomic_numbers", "voxel_size_nm", "name")
"""Attributes of volumes that are no provenance."""


def _provenance(file: h5py.File) -> dict[str, object]:
    """Text, numbers and tuples of numbers among the attributes; what is none of them is left."""
    found: dict[str, object] = {}
    for name, value in file.attrs.items():
        if name in OWN:
            continue
        if isinstance(value, str):
            found[printable(name)] = printable(value)
        elif isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biuf":
            plain = value.tolist()
            found[printable(name)] = tuple(plain) if isinstance(plain, list) else plain
    return found


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
    with files.writing(path, overwrite) as file:
        files.write_attributes(file, {"pixel_size_nm": series.voxel_size_nm})
        files.write_array(file, "haadf/projections", series.haadf)
        files.write_array(file, "haadf/angles_deg", np.asarray(series.haadf_angles_deg, np.float64))
        files.write_attributes(file["haadf"], {"background": series.haadf_background})
        if series.haadf_scale is not None:
            files.write_attributes(file["haadf"], {"scale": series.haadf_scale})
        if series.haadf_film:
            files.write_attributes(file["haadf"], {"film": series.haadf_film})
        _write_placement(file, "haadf", series.haadf_placement, series.haadf_mask)
        named = {"elements": series.elements, "atomic_numbers": np.asarray(series.atomic_numbers)}
        files.write_array(file, "chemical/projections", series.chemical, named)
        files.write_attributes(file["chemical"], named)
        files.write_array(file, "chemical/angles_deg", np.asarray(series.chemical_angles_deg))
        files.write_array(
            file, "chemical/background", np.asarray(series.chemical_background), named
        )
        if series.chemical_scale is not None:
            files.write_array(file, "chemical/scale", np.asarray(series.chemical_scale), named)
        _write_placement(file, "chemical", series.chemical_placement, series.chemical_mask)
        files.write_attributes(file.create_group("facts"), series.facts)


def _write_placement(file: h5py.File, group: str, placement: Placement, mask: Mask | None) -> None:
    """Write what is not as usual: images that lie elsewhere, and pixels that do not count."""
    if not placement.is_still:
        shifts = placement.of_each(len(file[f"{group}/angles_deg"]))
        files.write_array(file, f"{group}/shifts", np.asarray(shifts, np.float64))
        axis = {"axis_offset": placement.axis_offset, "rotation_deg": placement.rotation_deg}
        files.write_attributes(file[group], axis)
    if mask is not None:
        # A byte a pixel: other programs read no bits, and bool becomes an enum of HDF5.
        files.write_array(file, f"{group}/mask", mask.array().astype(np.uint8))


def _placement(file: h5py.File, group: str) -> Placement:
    key, node = f"{group}/shifts", file.get(group)
    shifts = np.asarray(files.array(file, key), np.float64) if key in file else np.zeros((0, 2))
    if shifts.ndim != 2 or shifts.shape[1] != 2:
        raise BadInput("wrong shape", key=key, value=shifts.shape, accepted="(angle, 2): (y, x)")
    offset, rotation = (
        0.0 if (value := files.attribute([node], name)) is None else files.number(value, name)
        for name in ("axis_offset", "rotation_deg")
    )
    found = Placement(tuple((float(y), float(x)) for y, x in shifts), offset, rotation)
    return STILL if found.is_still else found


def _mask(file: h5py.File, key: str) -> Mask | None:
    if key not in file:
        return None
    good = files.array(file, key) != 0
    if good.ndim != 3:
        raise BadInput("wrong shape", key=key, value=good.shape, accepted="(angle, y, x)")
    return Mask.of(good)


def read_hdf5_series(path: Path) -> TiltSeries:
    """Read a tilt series of this layout.

    Parameters
    ----------
    path : of the file.

    Raises
    ------
    BadInput : unreadable, truncated or incomplete; projections and angles disagree.
    """
    with files.reading(path) as file:
        return _series(file)


def _series(file: h5py.File) -> TiltSeries:
    if "chemical" not in file:
        raise BadInput("no tilt series", key="chemical/projections", accepted=f".h5 {LAYOUT}")
    chemical, levels = _lifted(files.floats(file, "chemical/projections"), (-3, -2, -1))
    # files by other hands keep the elements in any of these places
    nodes = [file["chemical"], file["chemical/projections"], file.get("chemical/background"), file]
    elements = files.symbols(files.attribute(nodes, "elements"), "chemical.attrs[elements]")
    haadf, haadf_angles = _haadf(file, chemical.shape)
    haadf, haadf_level = _lifted(haadf, None)
    size = files.attribute([file], "pixel_size_nm")
    return TiltSeries(
        haadf=haadf,
        haadf_angles_deg=haadf_angles,
        chemical=chemical,
        chemical_angles_deg=files.numbers(file, "chemical/angles_deg"),
        elements=elements,
        # a missing level means vacuum without counts; a missing scale means unknown, and is fitted
        haadf_background=(_level(file, "background") or 0.0) + float(haadf_level.max()),
        chemical_background=_raised(_levels(file, "chemical/background"), levels),
        haadf_scale=_level(file, "scale"),
        chemical_scale=_levels(file, "chemical/scale"),
        voxel_size_nm=1.0 if size is None else files.number(size, "pixel_size_nm"),
        facts=_facts(file) | _named_levels(elements, levels, float(haadf_level.max())),
        haadf_film=_level(file, "film") or 0.0,
        haadf_placement=_placement(file, "haadf"),
        chemical_placement=_placement(file, "chemical"),
        haadf_mask=_mask(file, "haadf/mask"),
        chemical_mask=_mask(file, "chemical/mask"),
    )


def _lifted(counts: Array, axes: tuple[int, ...] | None) -> tuple[Array, NDArray[np.float32]]:
    """Counts with a level that makes them positive, as of a subtracted background, and the level.

    One level for all ``axes``; 0 where no count is negative. What is not finite stays.
    """
    fits = axes is None or counts.ndim == 1 + len(axes)
    if not fits or not counts.size or not np.isfinite(counts).all():
        return counts, np.zeros(1, np.float32)
    level = np.maximum(-counts.min(axis=axes), np.float32(0))
    if not level.any():
        return counts, level
    # The lowest count and its level add up to 0 but for rounding.
    return np.maximum(counts + level.reshape(-1, *(1,) * (counts.ndim - 1)), 0), level


def _raised(background: tuple[float, ...] | None, levels: NDArray[np.float32]) -> tuple[float, ...]:
    if not levels.any():
        return background or ()
    given = background or (0.0,) * len(levels)
    return tuple(b + float(level) for b, level in zip(given, levels, strict=False))


def _named_levels(
    elements: tuple[str, ...], levels: NDArray[np.float32], haadf: float
) -> dict[str, float | str]:
    """Levels that were added, for the record."""
    named = {"HAADF": haadf} | dict(zip(elements, map(float, levels), strict=False))
    return {f"{LEVEL_ADDED}{name}": level for name, level in named.items() if level > 0}


def _haadf(file: h5py.File, chemical: tuple[int, ...]) -> tuple[Array, tuple[float, ...]]:
    """Read HAADF projections and angles; a file without the group holds no HAADF tilt."""
    if "haadf" not in file:
        return np.zeros((0, *chemical[-2:]), np.float32), ()
    return files.floats(file, "haadf/projections"), files.numbers(file, "haadf/angles_deg")


def _level(file: h5py.File, name: str) -> float | None:
    value = files.attribute([file.get("haadf")], name)
    return None if value is None else files.number(value, f"haadf.attrs[{name}]")


def _levels(file: h5py.File, key: str) -> tuple[float, ...] | None:
    return files.numbers(file, key) if key in file else None


def _facts(file: h5py.File) -> dict[str, float | str]:
    # facts are text or numbers; anything else is an error
    attributes = file["facts"].attrs if "facts" in file else {}
    return {
        printable(name): printable(value)
        if isinstance(value, str)
        else files.number(value, f"facts.attrs[{name}]")
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


def is_own_series(path: Path) -> bool:
    """Check whether a file is a tilt series as this package writes it.

    Parameters
    ----------
    path : of any file.
    """
    return files.holds(path, lambda file: "chemical/projections" in file)


def is_authors_file(path: Path) -> bool:
    """Check whether a file has the authors' groups and not those of this project.

    Parameters
    ----------
    path : of the file.
    """
    return files.holds(path, _has_their_groups)


def _has_their_groups(file: h5py.File) -> bool:
    return "chemical" not in file and (
        "haadf/tiltSeries" in file or any(group in file for group in SPECTRA)
    )


def read_authors_series(path: Path) -> TiltSeries:
    """Read a tilt series in the authors' layout.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    TiltSeries : elements in the order of atomic number; backgrounds 0 and scales unknown.

    Raises
    ------
    BadInput : a dataset missing, both or none of ``eels`` and ``edx``, axes and angles that
        disagree.
    """
    with files.reading(path) as file:
        return _authors_series(file)


def _authors_series(file: h5py.File) -> TiltSeries:
    group = _spectra(file)
    angles = files.numbers(file, f"{group}/tiltAngles")
    # HDF5 lists by name: sort by atomic number, and pass over what is no element
    elements = tuple(sorted((e for e in file[group] if e in SYMBOLS), key=SYMBOLS.index))
    if not elements:
        raise BadInput("no element", key=group, value=sorted(file[group]), accepted=f"{group}/Co …")
    maps = [_tilt_series(file, f"{group}/{element}", angles) for element in elements]
    _check_alike(maps, [f"{group}/{element}" for element in elements])
    haadf_angles = files.numbers(file, "haadf/tiltAngles")
    return TiltSeries(
        haadf=_tilt_series(file, "haadf/tiltSeries", haadf_angles),
        haadf_angles_deg=haadf_angles,
        chemical=np.stack(maps),
        chemical_angles_deg=angles,
        elements=elements,
    )


def _spectra(file: h5py.File) -> str:
    found = [group for group in SPECTRA if isinstance(file.get(group), h5py.Group)]
    # with both present neither is the obvious one
    if len(found) != 1:
        raise BadInput(
            "one group of chemical maps expected",
            key="eels|edx",
            value=found,
            accepted="either eels or edx",
        )
    return found[0]


def _tilt_series(file: h5py.File, key: str, angles: tuple[float, ...]) -> Array:
    """Read a dataset (x, y, angle) as (angle, y, x)."""
    stored = files.floats(file, key)
    if stored.ndim != 3 or stored.shape[2] != len(angles):
        raise BadInput(
            "projections and tiltAngles disagree",
            key=key,
            value=stored.shape,
            accepted=f"(x, y, angle) with {len(angles)} angles",
        )
    # their x is the tilt axis too, but first; here it is last
    return np.ascontiguousarray(stored.transpose(2, 1, 0))


def _check_alike(maps: list[Array], keys: list[str]) -> None:
    for key, projections in zip(keys, maps, strict=True):
        if projections.shape != maps[0].shape:
            raise BadInput(
                "elements of different shapes",
                key=key,
                value=projections.shape[::-1],
                accepted=f"{maps[0].shape[::-1]} as {keys[0]}",
            )


AUTHORS = Format(
    "the authors' HDF5",
    (".h5", ".hdf5"),
    is_authors_file,
    read_series=read_authors_series,
)
