"""Data Exchange, the HDF5 layout of tomopy: ``exchange/data (angle, z, x)``, ``exchange/theta``.

The axis of rotation is upright in the images there. A white and a dark field that are the same
everywhere change no image but its level and unit; others are of a transmission, which is no HAADF.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...recon_core.errors import BadInput
from . import files
from .angles import DEGREES

DATA, THETA, FIELDS = (
    "exchange/data",
    "exchange/theta",
    ("exchange/data_white", "exchange/data_dark"),
)


def is_dxchange(path: Path) -> bool:
    """Check whether a file has the projections of this layout.

    Parameters
    ----------
    path : of the file.
    """
    return files.holds(path, lambda file: isinstance(file.get(DATA), h5py.Dataset))


def read_dxchange(path: Path) -> list[dict[str, Any]]:
    """Read the projections as one signal, as RosettaSciIO would describe it.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    list of dict : without angles where the file has none.

    Raises
    ------
    BadInput : projections of other than three axes, angles of another number, or fields that are
        not the same everywhere.
    """
    with files.reading(path) as file:
        data = files.floats(file, DATA)
        if data.ndim != 3:
            accepted = "(angle, z, x)"
            raise BadInput("no projections", key=DATA, value=data.shape, accepted=accepted)
        for key in FIELDS:
            _check_even(file, key)
        title = files.plain_text(files.attribute([file[DATA]], "description"))
        tilts: dict[str, Any] = {"name": "", "units": ""}
        if THETA in file:
            theta = files.numbers(file, THETA)
            data = np.moveaxis(data, _place(data.shape, len(theta)), 0)
            units = files.plain_text(files.attribute([file[THETA]], "units")).strip("[] ")
            known = units.lower() if units.lower() in DEGREES else "deg"
            tilts = {"name": "theta", "units": known, "axis": np.asarray(theta)}
    axes = [tilts, {"name": "y", "units": ""}, {"name": "x", "units": ""}]
    return [{"data": data, "axes": axes, "metadata": {"General": {"title": title}}}]


def _place(shape: tuple[int, ...], count: int) -> int:
    """Which axis is that of the angles: the first, else the only one as long, as of sinograms."""
    fits = [i for i, size in enumerate(shape) if size == count]
    if not fits or (fits[0] != 0 and len(fits) > 1):
        raise BadInput(
            f"{count} angles in {THETA} for projections",
            key=DATA,
            value=shape,
            accepted=f"({count}, z, x)",
        )
    return fits[0]


def _check_even(file: h5py.File, key: str) -> None:
    field = files.floats(file, key) if key in file else np.zeros(0)
    if field.size and field.min() < field.max():
        raise BadInput(
            "a field that differs from pixel to pixel, as of a transmission",
            key=key,
            value=f"{field.min():.4g} to {field.max():.4g}",
            accepted="HAADF without one, or one that is the same everywhere",
        )
