from __future__ import annotations

import pytest

from tomoatlas.analysis.cells import cell_text, chosen_cells, conditions, one_condition
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.study import parse_study


def test_a_cell_reads_back_as_itself(study):
    for cell in study.cells():
        assert chosen_cells(study, cell_text(cell)) == [cell]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("all", 9),
        ("haadf_tilts=35", 3),
        ("haadf_tilts=35.0", 3),
        ("acquisition.haadf_tilts = 35 , chemical_tilts=5", 1),
        (["haadf_tilts=35", "chemical_tilts=5"], 1),
        (["haadf_tilts=35,chemical_tilts=5", "haadf_tilts=9,chemical_tilts=9"], 2),
        (["haadf_tilts=35", "haadf_tilts=9"], 6),
        (["haadf_tilts=35", "all"], 9),
        ({"haadf_tilts": 35}, 3),
        ({"acquisition.haadf_tilts": 35.0, "chemical_tilts": "5"}, 1),
        ([], 0),
    ],
)
def test_an_axis_left_out_means_all_its_values(study, text, count):
    assert len(chosen_cells(study, text)) == count


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("haadf_tilts=36", "--cell acquisition.haadf_tilts", "36"),
        ("haadf_tilts=9,35", "--cell acquisition.haadf_tilts", "9,35"),
        ("tilts=35", "--cell", "tilts"),
        ("haadf_tilts", "--cell", "haadf_tilts"),
        ("haadf_tilts=9,", "--cell acquisition.haadf_tilts", "9,"),
        ("haadf_tilts=9,haadf_tilts=35", "--cell", "haadf_tilts=9,haadf_tilts=35"),
        ("=9", "--cell", "=9"),
        ("", "--cell", ""),
    ],
)
def test_what_names_no_cell_is_refused(study, text, key, value):
    with pytest.raises(BadInput) as refused:
        chosen_cells(study, text)
    assert (refused.value.key, refused.value.value) == (key, value)


@pytest.mark.parametrize(
    "texts",
    [
        ["haadf_tilts=9,chemical_tilts=5"],
        ["haadf_tilts=9", "chemical_tilts=5"],
        [{"haadf_tilts": 9, "chemical_tilts": 5}],
    ],
)
def test_commas_and_repetition_name_the_same_cell(study, texts):
    (condition,) = conditions(texts, study.axes)
    assert one_condition(texts, study.axes) == condition
    assert list(condition.values()) == [9, 5]


@pytest.mark.parametrize("texts", ["all", ["haadf_tilts=9", "haadf_tilts=35"]])
def test_one_condition_is_not_several(study, texts):
    with pytest.raises(BadInput) as refused:
        one_condition(texts, study.axes)
    assert (refused.value.key, refused.value.value) == ("--cell", texts)


def test_a_value_may_hold_commas():
    axes = {"specimen.kind": ("a,b.h5", "nanocubes"), "specimen.size": (16, 32)}
    assert conditions("kind=a,b.h5,size=16", axes) == [
        {"specimen.kind": "a,b.h5", "specimen.size": 16}
    ]


def test_a_study_without_axes_has_one_cell():
    study = parse_study('[study]\nname = "n"\n[specimen]\nkind = "nanocubes"\nsize = 16\n')
    (cell,) = study.cells()
    assert chosen_cells(study, cell_text(cell)) == [cell]
    with pytest.raises(BadInput) as caught:
        chosen_cells(study, "size=16")
    assert (caught.value.key, caught.value.value) == ("--cell", "size")


def test_bodies_with_keys_of_one_name_are_told_apart():
    built = parse_study(
        '[study]\nname = "t"\n[specimen]\nkind = "co3o4-mn3o4"\n[axes]\n'
        '"specimen.bodies.large.shell_nm" = [3.0, 4.0]\n'
        '"specimen.bodies.small.shell_nm" = [2.0, 3.0]\n'
    )
    assert len(chosen_cells(built, "large.shell_nm=3,small.shell_nm=2")) == 1
    for cell in built.cells():
        assert chosen_cells(built, cell_text(cell)) == [cell]
    with pytest.raises(BadInput) as refused:
        chosen_cells(built, "shell_nm=3")
    assert refused.value.value == "shell_nm"
