from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from tomoatlas.analysis.atlas import Atlas
from tomoatlas.analysis.maps import pages, phase_map, shown_axes
from tomoatlas.analysis.style import CHEMICAL_SNR, CHEMICAL_TILTS, HAADF_SNR, HAADF_TILTS


def atlas_over(**axes: list[object]) -> Atlas:
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    table = pd.DataFrame(rows).assign(haadf=0.1, tv=1.0)
    table["nrmse"] = np.arange(len(table), dtype=float)
    return Atlas(table, tuple(axes))


def test_rows_and_columns_are_where_they_belong():
    atlas = atlas_over(a=[1, 2, 3], b=["x", "y"])
    found = phase_map(atlas, "nrmse", rows="b", cols="a")
    assert found.values.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert (found.row_values, found.col_values) == (("x", "y"), (1, 2, 3))


def test_missing_cells_are_nan_and_order_is_the_studys():
    atlas = atlas_over(a=[30, 10, 20], b=[2, 1])
    atlas = Atlas(atlas.table.drop(index=3), atlas.axes)
    found = phase_map(atlas, "nrmse", rows="b", cols="a")
    assert found.col_values == (30, 10, 20)
    assert found.row_values == (2, 1)
    assert np.isnan(found.values[1, 1])
    assert np.isfinite(found.values).sum() == 5


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ([CHEMICAL_TILTS, HAADF_TILTS], (CHEMICAL_TILTS, HAADF_TILTS)),
        ([CHEMICAL_SNR, HAADF_SNR], (CHEMICAL_SNR, HAADF_SNR)),
        (["solver.gamma", HAADF_TILTS], ("solver.gamma", HAADF_TILTS)),
        (["solver.gamma", CHEMICAL_TILTS], (CHEMICAL_TILTS, "solver.gamma")),
        (["solver.gamma", "specimen.seed"], ("solver.gamma", "specimen.seed")),
        ([CHEMICAL_TILTS], (CHEMICAL_TILTS, None)),
        ([], (None, None)),
    ],
)
def test_chemical_lies_across_haadf_upwards(axes, expected):
    assert shown_axes(axes) == expected


def test_two_chemical_axes_still_make_a_map():
    assert None not in shown_axes([CHEMICAL_TILTS, CHEMICAL_SNR])
    assert None not in shown_axes([HAADF_TILTS, HAADF_SNR])


def test_one_page_per_value_of_the_other_axes():
    atlas = atlas_over(**{"x": [1, 2], HAADF_TILTS: [9, 18], CHEMICAL_TILTS: [5], "y": ["p", "q"]})
    found = pages(atlas)
    assert [page.fixed for page in found] == [{"x": x, "y": y} for x in (1, 2) for y in ("p", "q")]
    assert all(len(page.atlas.table) == 2 for page in found)
    assert found[3].map("nrmse").values.tolist() == [[5.0], [7.0]]


def test_a_curve_keeps_its_gaps():
    atlas = atlas_over(a=[5, 7, 9])
    atlas.table.loc[1, "nrmse"] = np.nan
    values, scores = pages(atlas)[0].curve("nrmse")
    assert values == (5, 7, 9)
    assert np.array_equal(scores, [0.0, np.nan, 2.0], equal_nan=True)


def test_range_ignores_what_is_not_finite():
    atlas = atlas_over(a=[1, 2, 3])
    page = pages(atlas)[0]
    assert page.range(["nrmse"]) == (0.0, 2.0)
    atlas.table["nrmse"] = np.nan
    assert np.isnan(pages(atlas)[0].range(["nrmse"])).all()
