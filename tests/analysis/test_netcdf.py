"""atlas.nc as xarray sees it, by h5netcdf and, where installed, by the NetCDF library itself."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from tomoatlas.analysis.atlas import write_atlas, write_netcdf
from tomoatlas.analysis.style import CHEMICAL_TILTS, HAADF_TILTS

xarray = pytest.importorskip("xarray", reason="needs xarray")
ENGINES = [
    e for e, package in (("h5netcdf", "h5netcdf"), ("netcdf4", "netCDF4")) if find_spec(package)
]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_cell_is_at_its_coordinates(folder, engine):
    atlas = write_atlas(folder)
    with xarray.open_dataset(folder / "atlas.nc", engine=engine) as found:
        assert dict(found.sizes) == {HAADF_TILTS: 3, CHEMICAL_TILTS: 3}
        assert found[HAADF_TILTS].values.tolist() == [9, 35, 71]
        for _, row in atlas.table.iterrows():
            where = {axis: row[axis] for axis in atlas.axes}
            for column in ("nrmse", "nrmse_Au", "haadf", "trials"):
                assert float(found[column].sel(where)) == row[column]
        assert "synthetic <study>" in found.attrs["study"]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_variable_says_what_it_is(folder, engine):
    write_atlas(folder)
    with xarray.open_dataset(folder / "atlas.nc", engine=engine) as found:
        assert "Conventions" not in found.attrs, "names with dots are not those of CF"
        for variable in found.variables.values():
            assert variable.attrs["long_name"]
            assert variable.attrs["units"] == "1"
        assert found["nrmse"].attrs["long_name"] == "mean NRMSE over the elements, Fused"
        assert found["nrmse_Au"].attrs["long_name"] == "NRMSE of Au, Fused"
        assert found[HAADF_TILTS].attrs["long_name"] == "HAADF tilts"


def test_missing_cells_and_words(tmp_path):
    table = pd.DataFrame(
        {"kind": ["cubes", "cubes", "shell"], "tilts": [5, 9, 9], "nrmse": [0.5, np.nan, 0.3]}
    )
    write_netcdf(tmp_path / "a.nc", table, ("kind", "tilts"), {"version": "0"})
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as found:
        assert found["kind"].values.tolist() == ["cubes", "shell"]
        assert found["kind"].attrs == {"long_name": "kind"}
        assert np.isnan(found["nrmse"].values).tolist() == [[False, True], [True, False]]
        assert float(found["nrmse"].sel(kind="shell", tilts=9)) == 0.3


def test_an_atlas_of_one_cell_and_of_one_axis(tmp_path):
    table = pd.DataFrame({"nrmse": [0.4], "trials": [3]})
    write_netcdf(tmp_path / "one.nc", table, (), {})
    with xarray.open_dataset(tmp_path / "one.nc", engine="h5netcdf") as found:
        assert found["nrmse"].values.tolist() == [0.4]
    line = pd.DataFrame({"tilts": [9, 5], "nrmse": [0.3, 0.4]})
    write_netcdf(tmp_path / "line.nc", line, ("tilts",), {})
    with xarray.open_dataset(tmp_path / "line.nc", engine="h5netcdf") as found:
        assert found["nrmse"].sel(tilts=9) == 0.3
        assert found["tilts"].values.tolist() == [9, 5]
