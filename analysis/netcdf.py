"""The atlas as a NetCDF-4 file: every column on a grid over the axes, as xarray reads it.

    >>> xarray.open_dataset("atlas.nc").nrmse.sel({"acquisition.haadf_tilts": 47})

NetCDF-4 is HDF5 with dimension scales, so h5py writes it and nothing else is needed to make one.
Names are those of ``atlas.csv``; every variable has a ``long_name``, numbers have ``units``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from analysis.labels import column_label

SINGLE = "cell"
"""The dimension of an atlas without axes: one cell."""

_UNITS = {"deg": "degree", "nm": "nm", "seconds": "s"}
"""By the last part of a name; all else is counts and ratios."""


def write_netcdf(
    path: Path, table: pd.DataFrame, axes: Sequence[str], facts: Mapping[str, str]
) -> None:
    """Write ``table``, one row per cell, as variables over the dimensions ``axes``.

    Cells that the table lacks, and values unknown, are NaN (counts then are floats). ``facts``
    become attributes of the file.
    """
    names = list(axes) or [SINGLE]
    frame = table if axes else table.assign(**{SINGLE: range(len(table))})
    levels = {name: list(dict.fromkeys(frame[name].tolist())) for name in names}
    grid = pd.MultiIndex.from_product([levels[name] for name in names], names=names)
    whole = frame.set_index(names).reindex(grid if len(names) > 1 else levels[names[0]])
    with h5py.File(path, "w", track_order=True) as file:
        for name in names:
            file.create_dataset(name, data=_stored(levels[name]), track_order=True)
            file[name].make_scale(name)
            _describe(file[name])
        shape = [len(levels[name]) for name in names]
        for column in whole.columns:
            values = whole[column].to_numpy(dtype=float).reshape(shape)
            variable = file.create_dataset(str(column), data=values, track_order=True)
            for place, name in enumerate(names):
                variable.dims[place].attach_scale(file[name])
            _describe(variable)
        file.attrs.update(facts)


def _describe(variable: h5py.Dataset) -> None:
    name = variable.name.rpartition("/")[2]
    variable.attrs["long_name"] = column_label(name)
    if variable.dtype.kind in "if":
        variable.attrs["units"] = _UNITS.get(name.rpartition("_")[2], "1")


def _stored(values: list[Any]) -> np.ndarray[Any, Any]:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values)
    return np.array([str(value) for value in values], dtype=h5py.string_dtype())
