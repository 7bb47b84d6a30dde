"""Advice from tables of cells and from trials: what is expected, how sure, and where it ends."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomoatlas.analysis.atlas import Atlas, load_atlas
from tomoatlas.analysis.recommend import Adviser, recommend
from tomoatlas.analysis.style import CHEMICAL_SNR, CHEMICAL_TILTS, HAADF_SNR, HAADF_TILTS
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import DEFAULT_WEIGHTS
from tomoatlas.sweep.versions import REVISION

HAADF, CHEMICAL = [0, 9, 35, 71], [5, 9, 18]
SPACE = {"haadf": [1e-3, 1.0], "tv": [0.1, 6.0]}
ACQUISITION = {"chemical_snr": 2.5, "haadf_snr": 50.0}


def surface(haadf: float, chemical: float) -> tuple[float, float, float]:
    """Weights and score, their logarithms linear in those of the tilts."""
    u, v = np.log2(1 + haadf), np.log2(chemical)
    return 10 ** (-1.5 + 0.05 * u), 10 ** (0.1 * v - 0.5), np.exp(-0.3 - 0.05 * u - 0.06 * v)


def cells(haadf=HAADF, chemical=CHEMICAL) -> pd.DataFrame:
    rows = []
    for h, c in itertools.product(haadf, chemical):
        weight, tv, nrmse = surface(h, c)
        rows.append({HAADF_TILTS: h, CHEMICAL_TILTS: c, "haadf": weight, "tv": tv, "nrmse": nrmse})
    return pd.DataFrame(rows).assign(revision=REVISION, trials=10, failed=0)


def atlas_of(acquisition=ACQUISITION, table=None, **solver: object) -> Atlas:
    axes = (HAADF_TILTS, CHEMICAL_TILTS)
    tables = {"acquisition": acquisition, "solver": solver, "specimen": {"size": 64}}
    return Atlas(cells() if table is None else table, axes, tables)


ATLAS = atlas_of()
ADVISER = Adviser(ATLAS)


@given(st.integers(9, 71), st.integers(5, 18))
@settings(max_examples=10)
def test_a_smooth_surface_is_met_between_the_cells(haadf, chemical):
    found = ADVISER.recommend(haadf, chemical, 2.5, 50.0, 64)
    weight, tv, nrmse = surface(haadf, chemical)
    assert found.nrmse == pytest.approx(nrmse, rel=0.02)
    assert found.nrmse_low < nrmse < found.nrmse_high
    assert found.weights.haadf == pytest.approx(weight, rel=0.1)
    assert found.weights.tv == pytest.approx(tv, rel=0.1)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("asked", "named"),
    [((120, 9), "HAADF tilts 120 is outside"), ((35, 3), "Chemical tilts 3 is outside")],
)
def test_a_little_outside_is_extrapolated_and_less_sure(asked, named):
    found, inside = ADVISER.recommend(*asked), ADVISER.recommend(35, 9)
    assert found.nrmse == pytest.approx(surface(*asked)[2], rel=0.05)
    assert found.uncertainty / found.nrmse > 1.2 * inside.uncertainty / inside.nrmse
    assert named in found.note


@pytest.mark.parametrize(
    ("asked", "key"),
    [((500, 9), HAADF_TILTS), ((35, 40), CHEMICAL_TILTS), ((35, 1), CHEMICAL_TILTS)],
)
def test_far_outside_is_refused(asked, key):
    with pytest.raises(BadInput) as refused:
        ADVISER.recommend(*asked)
    assert (refused.value.key, refused.value.value) == (key, asked[key == CHEMICAL_TILTS])


def test_without_haadf_its_weight_is_the_usual_one():
    found = ADVISER.recommend(0, 9)
    assert found.weights.haadf == DEFAULT_WEIGHTS.haadf
    assert found.nrmse == pytest.approx(surface(0, 9)[2], rel=0.02)
    assert ADVISER.recommend(4, 9).nrmse < found.nrmse


def test_a_map_that_has_haadf_everywhere_knows_nothing_of_none():
    table = cells(HAADF[1:])
    with pytest.raises(BadInput) as refused:
        recommend(atlas_of(table=table), 0, 9)
    assert (refused.value.key, refused.value.value) == (HAADF_TILTS, 0)


def test_a_hole_is_interpolated_and_named():
    table = cells()
    hole = (table[HAADF_TILTS] == 35) & (table[CHEMICAL_TILTS] == 9)
    table.loc[hole, ["haadf", "tv", "nrmse"]] = np.nan
    found = recommend(atlas_of(table=table), 35, 9)
    assert found.nrmse == pytest.approx(surface(35, 9)[2], rel=0.03)
    assert "HAADF tilts 35, Chemical tilts 9" in found.note
    assert found.conditions["cells"] == 8
    assert recommend(atlas_of(table=table), 71, 18).notes == ()


def test_cells_of_one_trial_and_unfinished_ones_are_named():
    table = cells()
    table.loc[4, "trials"], table.loc[5, "trials"] = 1, 4
    search = {"trials": 10, "strategy": "per-cell"}
    atlas = Atlas(table, ATLAS.axes, {**ATLAS.settings, "search": search})
    found = recommend(atlas, 9, 14)
    assert [note.rpartition(" at ")[2] for note in found.notes] == [
        "HAADF tilts 9, Chemical tilts 9",
        "HAADF tilts 9, Chemical tilts 18",
    ]


def test_intervals_hold_cells_that_were_left_out():
    table = cells([*HAADF[1:], 18, 50, 141], [5, 7, 9, 13, 18, 26])
    noise = np.random.default_rng(3).standard_normal(len(table))
    table["nrmse"] *= np.exp(0.02 * noise)
    asked = table.iloc[::4]
    adviser = Adviser(atlas_of(table=table.drop(asked.index)))
    found = [
        adviser.recommend(int(h), int(c)) for h, c in asked[[HAADF_TILTS, CHEMICAL_TILTS]].values
    ]
    held = [f.nrmse_low < y < f.nrmse_high for f, y in zip(found, asked["nrmse"], strict=True)]
    assert sum(held) >= len(held) - 1
    assert np.mean([f.uncertainty / f.nrmse for f in found]) == pytest.approx(0.025, abs=0.015)


@pytest.mark.parametrize(
    ("units", "power"), [({}, 0.5), ({"units": "noise", "noise": "residual"}, 0.0)]
)
def test_another_dose_moves_tv_by_its_root_unless_weights_are_in_units_of_the_noise(units, power):
    adviser = Adviser(atlas_of(**units))
    found, same = adviser.recommend(35, 9, 4.0), adviser.recommend(35, 9, 2.5)
    assert found.weights.tv / same.weights.tv == pytest.approx(2**power)
    assert found.weights.haadf == same.weights.haadf
    assert found.nrmse < same.nrmse
    assert found.uncertainty / found.nrmse > same.uncertainty / same.nrmse
    assert "Chemical SNR is fixed at 2.5" in found.note
    assert same.notes == ()


def test_another_size_shifts_the_answer_and_says_so():
    found, same = (ADVISER.recommend(35, 9, size=size) for size in (128, 64))
    assert found.nrmse / same.nrmse == pytest.approx(0.84, abs=0.02)
    assert found.weights.tv < same.weights.tv
    assert "size is fixed at 64" in found.note


@pytest.mark.parametrize(
    ("question", "key"),
    [
        ({"snr": 9.0}, CHEMICAL_SNR),
        ({"haadf_snr": 10.0}, HAADF_SNR),
        ({"size": 512}, "specimen.size"),
    ],
)
def test_what_nothing_measured_leads_to_is_refused(question, key):
    with pytest.raises(BadInput) as refused:
        ADVISER.recommend(35, 9, **question)
    assert (refused.value.key, refused.value.value) == (key, *question.values())


def test_the_snrs_of_elements_count_by_their_mean():
    atlas = atlas_of({"chemical_snr": {"Co": 1.92, "O": 2.69}})
    assert "Co 1.92, O 2.69" in recommend(atlas, 35, 9, 2.0).note
    assert recommend(atlas, 35, 9, 2.3).notes == ()


def test_an_unknown_study_is_admitted():
    assert "Chemical SNR does not vary" in recommend(atlas_of({}), 35, 9, 2.0).note


def test_snr_axes_are_interpolated():
    rows = [
        {CHEMICAL_SNR: s, HAADF_SNR: h, "haadf": 0.1, "tv": 1.0, "nrmse": (s - 1) ** -0.2 * h**-0.1}
        for s, h in itertools.product([1.5, 3, 6, 12], [4, 32, 256])
    ]
    found = recommend(Atlas(pd.DataFrame(rows), (CHEMICAL_SNR, HAADF_SNR)), 47, 9, 5.0, 80.0)
    assert found.nrmse_low < 4**-0.2 * 80**-0.1 < found.nrmse_high
    assert found.nrmse == pytest.approx(4**-0.2 * 80**-0.1, rel=0.04)


def test_other_axes_are_averaged_and_their_scatter_widens_the_interval():
    table = pd.concat([cells().assign(**{"specimen.seed": s}) for s in (0, 1)], ignore_index=True)
    table.loc[table["specimen.seed"] == 1, "nrmse"] *= 1.2
    found = recommend(Atlas(table, (*ATLAS.axes, "specimen.seed")), 35, 9)
    assert found.nrmse == pytest.approx(surface(35, 9)[2] * 1.2**0.5, rel=0.02)
    assert found.nrmse_high / found.nrmse_low > 1.2
    assert "averaged over specimen seed" in found.note


def test_one_cell_answers_everything():
    table = pd.DataFrame({"haadf": [0.1], "tv": [1.0], "nrmse": [0.4]})
    found = recommend(Atlas(table, ()), 1000, 1000)
    assert (found.nrmse, found.weights.tv) == (pytest.approx(0.4), 1.0)


def test_trials_show_the_valley_and_not_only_the_best_of_each_cell(folder: Path):
    found = recommend(folder, 35, 9)
    assert found.weights.haadf == pytest.approx(10**-0.5, rel=0.6)
    assert found.weights.tv == pytest.approx(10**-0.5, rel=0.6)
    assert found.nrmse == pytest.approx(0.3 + 0.5 / 12.5**0.5, rel=0.03)
    assert (found.conditions["trials"], found.conditions["cells"]) == (45, 9)
    assert found.conditions["specimen"] == "nanocubes"
    assert recommend(load_atlas(folder), 35, 9) == found


def test_acquisitions_that_reach_a_target_come_cheapest_first():
    target = float(surface(35, 9)[2]) * 1.01
    found = ADVISER.reaching(target)
    costs = [each.cost for each in found]
    assert costs == sorted(costs)
    assert all(each.advice.nrmse <= target for each in found)
    there = {(each.acquisition[HAADF_TILTS], each.acquisition[CHEMICAL_TILTS]) for each in found}
    assert {(35, 9), (71, 9), (71, 18)} <= there
    assert (9, 5) not in there


def test_levels_far_from_the_results_of_an_unfinished_map_are_left_out():
    table = cells([0, 9, 35, 141])
    table.loc[table[HAADF_TILTS].isin([0, 141]), "nrmse"] = np.nan
    adviser = Adviser(atlas_of(table=table))
    found = {each.acquisition[HAADF_TILTS] for each in adviser.reaching(1.0)}
    assert found == {9, 35}
    with pytest.raises(BadInput) as refused:
        ADVISER.reaching(1.0, haadf_snr=5.0)
    assert refused.value.key == HAADF_SNR


@pytest.mark.parametrize("target", [0.01, 0.0, float("nan")])
def test_a_target_that_nothing_reaches_is_refused(target):
    with pytest.raises(BadInput) as refused:
        ADVISER.reaching(target)
    assert refused.value.key == "target_nrmse"


@pytest.mark.parametrize(
    "question", [(-1, 9, None), (35, 0, None), (35, 9, 1.0), (35, 9, -3.0), (35, 9, float("nan"))]
)
def test_impossible_questions_are_refused(question):
    with pytest.raises(BadInput) as caught:
        ADVISER.recommend(*question)
    assert caught.value.key in (HAADF_TILTS, CHEMICAL_TILTS, CHEMICAL_SNR)
    assert str(caught.value.accepted).startswith(">")


def test_an_atlas_without_results_is_refused():
    with pytest.raises(BadInput):
        recommend(atlas_of(table=cells().assign(nrmse=np.nan)), 35, 9)


@pytest.mark.parametrize(("high", "at_edge"), [(6.0, False), (0.35, True)])
def test_weights_at_the_edge_of_the_search_are_said_to_be_bounds(high, at_edge):
    atlas = Atlas(
        ATLAS.table, ATLAS.axes, {**ATLAS.settings, "search": {"space": {"tv": [0.1, high]}}}
    )
    notes = recommend(atlas, 9, 5).notes
    assert any("edge" in note for note in notes) is at_edge
