"""Volumes as NCEM's EMD, in the layout of channels of tomviz; HyperSpy and ncempy read it too."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.tiltseries import SYMBOLS
from . import h5
from .registry import Concentrations, Format

NM = {"n_m": 1.0, "nm": 1.0, "Å": 0.1, "A": 0.1, "u_m": 1e3, "um": 1e3, "µm": 1e3}
"""Nanometres of a unit, as EMD and tomviz write it."""


def write_emd(path: Path, content: Concentrations) -> None:
    """Write EMD 0.2: a group per element, and ``/data/tomography`` with all of them for tomviz.

    The groups share their arrays by hard links. EMD's axes are x, y, z, the first slowest.

    Parameters
    ----------
    path : of a file that does not exist yet.
    content : volumes, elements and voxel size.
    """
    volumes, elements = content.volumes, content.elements
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        # RosettaSciIO reads a shared array once, under its alphabetically first name, and stacks
        # groups whose paths begin alike: hence a name before "data", and a number before C or Cu.
        places = [f"concentrations/{i:02}/{e}" for i, e in enumerate(elements, start=1)]
        for element, place, volume in zip(elements, places, volumes, strict=True):
            group = file.create_group(place)
            _dimensions(group, volume.shape, content.voxel_size_nm)
            group["data"] = volume.T
            group["data"].attrs["name"] = np.bytes_(element)
        together = file.create_group("data/tomography")
        _dimensions(together, volumes.shape[1:], content.voxel_size_nm)
        # a hard link: tomviz shows the first channel as the volume, the others as scalars
        together["data"] = file[f"{places[0]}/data"]
        for element, place in zip(elements[1:], places[1:], strict=True):
            together[f"tomviz_scalars/{element}"] = file[f"{place}/data"]


def _dimensions(group: h5py.Group, shape: tuple[int, ...], voxel_size_nm: float) -> None:
    group.attrs["emd_group_type"] = 1
    for number, (name, count) in enumerate(zip("xyz", reversed(shape), strict=True), start=1):
        # EMD gives positions, not a step
        group[f"dim{number}"] = voxel_size_nm * np.arange(count)
        group[f"dim{number}"].attrs["name"] = np.bytes_(name)
        group[f"dim{number}"].attrs["units"] = np.bytes_("[n_m]")


def is_emd(path: Path) -> bool:
    """Check whether a file is HDF5 with an EMD group below ``data``.

    Parameters
    ----------
    path : of the file.
    """
    return h5.holds(path, lambda file: _group(file) is not None)


def read_emd(path: Path) -> Concentrations:
    """Read the first group below ``data`` as tomviz writes it: one channel for each element.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    Concentrations : in the order of this project's own groups if there are any, else by atomic
        number.

    Raises
    ------
    BadInput : no such group; a channel without the name of an element; other than three axes.
    """
    with h5.reading(path) as file:
        group = _group(file)
        if group is None:
            raise BadInput("no EMD group", key="data", accepted="data/tomography of tomviz")
        channels = _channels(group)
        elements = tuple(sorted(channels, key=lambda e: _place(file, e)))
        volumes = np.stack([channels[element] for element in elements])
        return Concentrations(volumes, elements, _voxel_size_nm(group))


def _group(file: h5py.File) -> h5py.Group | None:
    data = file.get("data")
    groups = data.values() if isinstance(data, h5py.Group) else ()
    found = (g for g in groups if isinstance(g, h5py.Group) and "emd_group_type" in g.attrs)
    return next(found, None)


def _channels(group: h5py.Group) -> dict[str, NDArray[np.float32]]:
    """Read volumes (z, y, x) by element: ``data``, named by its attribute, and tomviz's scalars."""
    scalars = group.get("tomviz_scalars")
    others = {name: f"tomviz_scalars/{name}" for name in (scalars or ())}
    first = h5.attribute([group.get("data")], "name")
    name = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
    found = {}
    for element, key in ({name: "data"} | others).items():
        values = h5.floats(group, key)
        if element not in SYMBOLS or values.ndim != 3:
            raise BadInput(
                "no volume of an element",
                key=f"{group.name}/{key}",
                value=element,
                accepted="three axes, named by a chemical symbol such as Co",
            )
        # EMD's (x, y, z) to (z, y, x)
        found[element] = np.ascontiguousarray(values.T)
    return found


def _place(file: h5py.File, element: str) -> tuple[str, int]:
    """Sort key of an element: its place when it was exported from here, else its atomic number."""
    ours = file.get("concentrations")
    places = [n for n, g in ours.items() if element in g] if isinstance(ours, h5py.Group) else []
    return (places or ["~"])[0], SYMBOLS.index(element)


def _voxel_size_nm(group: h5py.Group) -> float:
    """Return the step of the first axis that has one; 1 nm for a single plane."""
    for number in (1, 2, 3):
        places = h5.numbers(group, f"dim{number}")
        unit = h5.attribute([group[f"dim{number}"]], "units")
        text = unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)
        if len(places) > 1:
            if text.strip("[] ") not in NM:
                raise BadInput(
                    "unknown unit",
                    key=f"{group.name}/dim{number}.attrs[units]",
                    value=text,
                    accepted=", ".join(NM),
                )
            return (places[1] - places[0]) * NM[text.strip("[] ")]
    return 1.0


EMD = Format("EMD", (".emd",), is_emd, read_emd, write_emd)
