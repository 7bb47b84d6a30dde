"""Tilt series in the layout of the authors of Schwartz et al., Nat. Commun. 15, 3555 (2024).

``haadf/tiltSeries (x, y, angle)``, ``haadf/tiltAngles``, ``eels/<Element>`` or ``edx/<Element>
(x, y, angle)`` and ``eels|edx/tiltAngles``; x is the tilt axis.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.tiltseries import SYMBOLS, TiltSeries
from . import h5
from .registry import Format

Array = NDArray[np.float32]
SPECTRA = ("eels", "edx")


def is_authors_file(path: Path) -> bool:
    """Check whether a file has the authors' groups and not those of this project.

    Parameters
    ----------
    path : of the file.
    """
    return h5.holds(path, _has_their_groups)


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
    with h5.reading(path) as file:
        return _series(file)


def _series(file: h5py.File) -> TiltSeries:
    group = _spectra(file)
    angles = h5.numbers(file, f"{group}/tiltAngles")
    # HDF5 lists by name: sort by atomic number, and pass over what is no element
    elements = tuple(sorted((e for e in file[group] if e in SYMBOLS), key=SYMBOLS.index))
    if not elements:
        raise BadInput("no element", key=group, value=sorted(file[group]), accepted=f"{group}/Co …")
    maps = [_tilt_series(file, f"{group}/{element}", angles) for element in elements]
    _check_alike(maps, [f"{group}/{element}" for element in elements])
    haadf_angles = h5.numbers(file, "haadf/tiltAngles")
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
    stored = h5.floats(file, key)
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
