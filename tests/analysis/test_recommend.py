from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.analysis.atlas import Atlas
from tomoatlas.analysis.recommend import recommend
from tomoatlas.analysis.style import CHEMICAL_SNR, CHEMICAL_TILTS, HAADF_SNR, HAADF_TILTS
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.versions import REVISION

HAADF, CHEMICAL = [0, 9, 35, 71], [5, 9, 18]


def surface(haadf: float, chemical: float) -> tuple[float, float, float]:
    """Weights and score linear in the coordinates of the interpolation."""
    u, v = np.log2(1 + haadf), np.log2(1 + chemical)
    return 10 ** (-1.5 + 0.05 * u), 10 ** (0.1 * v - 0.5), 0.9 - 0.05 * u - 0.06 * v


def atlas_of(settings: dict[str, object] | None = None) -> Atlas:
    rows = []
    for h, c in itertools.product(HAADF, CHEMICAL):
        haadf, tv, nrmse = surface(h, c)
        rows.append({HAADF_TILTS: h, CHEMICAL_TILTS: c, "haadf": haadf, "tv": tv, "nrmse": nrmse})
    table = pd.DataFrame(rows).assign(revision=REVISION)
    return Atlas(table, (HAADF_TILTS, CHEMICAL_TILTS), settings or {})


ATLAS = atlas_of({"acquisition": {"chemical_snr": 2.5, "haadf_snr": 50.0}})


@pytest.mark.parametrize(("haadf", "chemical"), [*itertools.product(HAADF[1:], CHEMICAL)])
def test_a_node_gives_itself(haadf, chemical):
    found = recommend(ATLAS, haadf, chemical, 2.5)
    expected = surface(haadf, chemical)
    assert (found.weights.haadf, found.weights.tv, found.nrmse) == pytest.approx(expected)
    assert found.notes == ()


@given(st.integers(9, 71), st.integers(5, 18))
def test_a_linear_surface_is_met_between_the_nodes_without_error(haadf, chemical):
    found = recommend(ATLAS, haadf, chemical)
    assert (found.weights.haadf, found.weights.tv, found.nrmse) == pytest.approx(
        surface(haadf, chemical)
    )
    assert found.uncertainty == pytest.approx(0.0, abs=1e-12)
    assert found.tv_factor == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("asked", "edge", "named"),
    [
        ((500, 9), (71, 9), "HAADF tilts 500 is outside the atlas (0 to 71)"),
        ((35, 1), (35, 5), "Chemical tilts 1 is outside the atlas (5 to 18)"),
    ],
)
def test_outside_the_range_the_edge_is_given_and_said(asked, edge, named):
    found = recommend(ATLAS, *asked)
    assert found.nrmse == pytest.approx(surface(*edge)[2])
    assert named in found.note


def test_without_haadf_tilts_the_weight_comes_from_the_nearest_with_some():
    table = ATLAS.table.copy()
    table.loc[table[HAADF_TILTS] == 0, "haadf"] = 1e9
    found = recommend(Atlas(table, ATLAS.axes), 0, 9)
    assert found.weights.haadf == pytest.approx(surface(9, 9)[0])
    assert found.nrmse == pytest.approx(surface(0, 9)[2])


def test_a_hole_is_filled_by_its_nearest_cell():
    table = ATLAS.table.copy()
    hole = (table[HAADF_TILTS] == 71) & (table[CHEMICAL_TILTS] == 18)
    table.loc[hole, ["haadf", "tv", "nrmse"]] = np.nan
    found = recommend(Atlas(table, ATLAS.axes), 71, 18)
    assert found.nrmse in (pytest.approx(surface(35, 18)[2]), pytest.approx(surface(71, 9)[2]))


def test_uncertainty_is_the_error_of_prediction():
    table = pd.DataFrame(
        {HAADF_TILTS: [0, 1, 3], "haadf": 0.1, "tv": [1.0, 10.0, 1.0], "nrmse": [0.5, 0.4, 0.5]}
    )
    found = recommend(Atlas(table, (HAADF_TILTS,)), 1, 9)
    assert found.nrmse == pytest.approx(0.4)
    assert found.uncertainty == pytest.approx(0.1)
    assert found.tv_factor == pytest.approx(10.0)


def test_a_grid_too_small_to_predict_gives_half_its_spread():
    table = pd.DataFrame({HAADF_TILTS: [9, 35], "haadf": 0.1, "tv": 1.0, "nrmse": [0.5, 0.3]})
    assert recommend(Atlas(table, (HAADF_TILTS,)), 9, 9).uncertainty == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("snr", "haadf_snr", "named"),
    [
        (4.0, None, "Chemical SNR is fixed at 2.5"),
        (None, 10.0, "HAADF SNR is fixed at 50"),
    ],
)
def test_what_the_atlas_holds_fixed_is_named(snr, haadf_snr, named):
    assert named in recommend(ATLAS, 35, 9, snr, haadf_snr).note


def test_fixed_snrs_of_elements_are_named():
    atlas = atlas_of({"acquisition": {"chemical_snr": {"Co": 1.92, "O": 2.69}}})
    assert "Co 1.92, O 2.69" in recommend(atlas, 35, 9, 2.0).note
    assert recommend(atlas, 35, 9, 2.3).notes == ()


def test_an_unknown_study_is_admitted():
    assert "Chemical SNR does not vary" in recommend(atlas_of(), 35, 9, 2.0).note


def test_snr_axes_are_interpolated_over_log2():
    rows = [
        {CHEMICAL_SNR: s, HAADF_SNR: h, "haadf": 0.1, "tv": 1.0, "nrmse": np.log2(s) + np.log2(h)}
        for s, h in itertools.product([2, 4, 8], [2, 32])
    ]
    atlas = Atlas(pd.DataFrame(rows), (CHEMICAL_SNR, HAADF_SNR))
    found = recommend(atlas, 47, 9, 5.0, 8.0)
    assert found.nrmse == pytest.approx(np.log2(5) + 3)


def test_other_axes_are_averaged_and_named():
    table = pd.concat([ATLAS.table.assign(**{"specimen.seed": s}) for s in (0, 1)])
    table.loc[table["specimen.seed"] == 1, "nrmse"] += 0.2
    found = recommend(Atlas(table, (*ATLAS.axes, "specimen.seed")), 35, 9)
    assert found.nrmse == pytest.approx(surface(35, 9)[2] + 0.1)
    assert "averaged over seed" in found.note


def test_one_cell_answers_everything():
    table = pd.DataFrame({"haadf": [0.1], "tv": [1.0], "nrmse": [0.4]})
    found = recommend(Atlas(table, ()), 1000, 1000)
    assert (found.nrmse, found.weights.tv) == (0.4, 1.0)


@pytest.mark.parametrize(
    "question", [(-1, 9, None), (35, 0, None), (35, 9, 1.0), (35, 9, -3.0), (35, 9, float("nan"))]
)
def test_impossible_questions_are_refused(question):
    with pytest.raises(BadInput) as caught:
        recommend(ATLAS, *question)
    assert caught.value.key in (HAADF_TILTS, CHEMICAL_TILTS, CHEMICAL_SNR)
    assert str(caught.value.accepted).startswith(">")


def test_an_atlas_without_results_is_refused():
    with pytest.raises(BadInput):
        recommend(Atlas(ATLAS.table.assign(nrmse=np.nan), ATLAS.axes), 35, 9)
