from __future__ import annotations

import pytest

from tomoatlas.analysis.cells import cell_text, chosen_cells
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
    ],
)
def test_an_axis_left_out_means_all_its_values(study, text, count):
    assert len(chosen_cells(study, text)) == count


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("haadf_tilts=36", "accepted: 9, 35, 71"),
        ("tilts=35", "accepted: acquisition.haadf_tilts, acquisition.chemical_tilts"),
        ("haadf_tilts", "accepted: 9, 35, 71"),
        ("", "not an axis"),
    ],
)
def test_what_names_no_cell_is_refused(study, text, accepted):
    with pytest.raises(BadInput, match=accepted) as refused:
        chosen_cells(study, text)
    assert "--cell" in str(refused.value)


def test_a_study_without_axes_has_one_cell():
    study = parse_study('[study]\nname = "n"\n[specimen]\nkind = "nanocubes"\nsize = 16\n')
    (cell,) = study.cells()
    assert chosen_cells(study, cell_text(cell)) == [cell]
    with pytest.raises(BadInput, match="no axis"):
        chosen_cells(study, "size=16")
