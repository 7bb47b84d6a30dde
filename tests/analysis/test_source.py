"""What figures are drawn from, and refusals in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tomoatlas.analysis.atlas import write_atlas
from tomoatlas.analysis.figures import FIGURES, draw_figure
from tomoatlas.analysis.figures.draw import figure_bytes, kind_of, save_figure
from tomoatlas.analysis.figures.source import Source
from tomoatlas.phantoms.formats import save_specimen, save_volumes
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.record import StudyFolder
from tomoatlas.sweep.study import parse_study

HAADF, CHEMICAL = "acquisition.haadf_tilts", "acquisition.chemical_tilts"


ONE_CELL = """
[study]
name = "one"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 2
initial = 2
chemistry_tv_trials = 1
"""


def test_a_cell_is_asked_for_by_its_path_or_the_end_of_it(folder):
    found = Source((folder,), {"haadf_tilts": "9", CHEMICAL: "18.0"}).cell
    assert dict(found.values) == {HAADF: 9, CHEMICAL: 18}


def test_axes_left_out_are_chosen_near_the_middle(folder):
    assert dict(Source((folder,)).cell.values) == {HAADF: 35, CHEMICAL: 9}
    assert dict(Source((folder,), {"haadf_tilts": "71"}).cell.values) == {HAADF: 71, CHEMICAL: 9}


def test_a_figure_that_needs_more_trials_takes_the_nearest_cell_that_has_them(folder, tmp_path):
    middle = {HAADF: 35, CHEMICAL: 9}
    few = shutil.copytree(folder, tmp_path / "few") / "trials.jsonl"
    found = [json.loads(line) for line in few.read_text().splitlines()]
    fused = [r for r in found if r["cell"] == middle and r["method"] == "fused"]
    few.write_text("".join(json.dumps(r) + "\n" for r in found if r not in fused[1:]))
    source = Source((few.parent,))
    assert dict(source.cell.values) == middle
    assert dict(source.cell_with(5).values) == {HAADF: 9, CHEMICAL: 9}
    draw_figure("landscape", source)
    with pytest.raises(BadInput) as caught:
        source.cell_with(6)
    assert caught.value.key is None
    with pytest.raises(BadInput) as caught:
        Source((few.parent,), {"haadf_tilts": "35", "chemical_tilts": "9"}).cell_with(5)
    assert caught.value.key == "cell"


@pytest.mark.parametrize(
    ("wanted", "key", "accepted"),
    [
        ({"tilts": "9"}, "--cell", f"{HAADF}, {CHEMICAL}"),
        ({"haadf_tilts": "10"}, f"--cell {HAADF}", "9, 35, 71"),
        ({"haadf_tilts": "many"}, f"--cell {HAADF}", "9, 35, 71"),
    ],
)
def test_a_cell_that_is_not_there_is_refused(folder, wanted, key, accepted):
    with pytest.raises(BadInput) as caught:
        _ = Source((folder,), wanted).cell
    assert (caught.value.key, caught.value.accepted) == (key, accepted)
    assert caught.value.value in wanted or caught.value.value in wanted.values()


def test_the_trials_of_a_cell_are_its_own(folder):
    inside = Source((folder,), {"haadf_tilts": "9", "chemical_tilts": "5"}).cell_trials
    assert len(inside) == 10
    assert set(inside[HAADF]) == {9}


def test_a_page_holds_the_wanted_values_fixed(folder_of, study):
    text = study.toml().replace("[axes]", '[axes]\n"solver.gamma" = [1.5, 2.0]')
    folder = folder_of(parse_study(text))
    assert Source((folder,)).page.fixed == {"solver.gamma": 1.5}
    assert Source((folder,), {"gamma": "2"}).page.fixed == {"solver.gamma": 2.0}


def test_an_atlas_alone_gives_its_maps(folder, tmp_path):
    write_atlas(folder)
    alone = tmp_path / "atlas.h5"
    shutil.copy(folder / "atlas.h5", alone)
    assert Source((alone,)).page.axes == 2
    with pytest.raises(BadInput) as caught:
        _ = Source((alone,)).study
    assert caught.value.source == alone


def test_files_are_matched_by_element_and_named_by_method(tmp_path):
    specimen = make_specimen("nanocubes", 16, 0)
    paths = [tmp_path / name for name in ("truth.h5", "a.h5", "b.h5")]
    save_specimen(paths[0], specimen)
    reverse = specimen.volumes[::-1] * 0.5
    save_volumes(paths[1], reverse, specimen.elements[::-1], 2.0, {"method": "fused"})
    save_volumes(paths[2], specimen.volumes, specimen.elements, 2.0)
    found = Source(tuple(paths)).comparison
    assert [s.label for s in found.shown()] == ["Fused", "b"]
    assert np.array_equal(found.volumes["fused"], 0.5 * specimen.volumes)
    alone = Source((paths[0],))
    assert alone.comparison.reference == "truth"
    with pytest.raises(BadInput) as caught:
        _ = alone.against_truth
    assert caught.value.source == paths[0]
    with pytest.raises(BadInput) as caught:
        _ = Source(tuple(paths), {"x": "1"}).comparison


def test_other_elements_or_shapes_are_refused(tmp_path):
    specimen = make_specimen("nanocubes", 16, 0)
    save_specimen(tmp_path / "t.h5", specimen)
    save_volumes(tmp_path / "r.h5", specimen.volumes[:2], specimen.elements[:2], 2.0)
    with pytest.raises(BadInput) as caught:
        _ = Source((tmp_path / "t.h5", tmp_path / "r.h5")).comparison
    assert caught.value.source == tmp_path / "r.h5"
    assert caught.value.value == (specimen.elements[:2], (2, 16, 16, 16))


@pytest.mark.parametrize(
    "name",
    [
        "nrmse",
        "baselines",
        "gain",
        "weights",
        "curves",
        "landscape",
        "search",
        "parallel",
        "timeline",
        "tilts",
    ],
)
def test_figures_of_a_study_by_name(folder, name):
    assert figure_bytes(draw_figure(name, Source((folder,))), "png", dpi=20)


def test_the_tilts_of_a_cell_are_those_of_its_acquisition(folder):
    haadf, chemical, voxel, title = Source(
        (folder,), {"haadf_tilts": "9", "chemical_tilts": "5"}
    ).tilts
    assert (len(haadf), len(chemical)) == (9, 5)
    assert (haadf[0], chemical[-1]) == (-70.0, 70.0)
    assert voxel == make_specimen("nanocubes", 16, 0).voxel_size_nm
    assert title == "HAADF tilts 9, Chemical tilts 5"


def test_tilts_need_neither_a_result_nor_the_specimens_file(tmp_path, study):
    save_specimen(tmp_path / "mine.h5", make_specimen("nanocubes", 16, 0))
    text = study.toml().replace('kind = "nanocubes"', f'kind = "{tmp_path / "mine.h5"}"')
    folder = StudyFolder(tmp_path / "out")
    with folder.open_or_create(parse_study(text)):
        folder.keep(parse_study(text))
    source = Source((tmp_path / "out",))
    assert source.tilts[2] is not None
    (tmp_path / "mine.h5").unlink()
    figure = draw_figure("tilts", source)
    assert figure.get_suptitle() == "HAADF tilts 35, Chemical tilts 9"
    assert "Nyquist" in figure.axes[0].get_xlabel()
    assert figure_bytes(figure, "png", dpi=20)


def test_an_unknown_figure_lists_all(folder):
    with pytest.raises(BadInput) as caught:
        draw_figure("nrms", Source((folder,)))
    assert caught.value.value == "nrms"
    assert all(name in str(caught.value.accepted) for name in FIGURES.names())


def test_a_map_of_one_cell_has_no_gain(folder_of):
    study = parse_study(ONE_CELL)
    with pytest.raises(BadInput) as caught:
        draw_figure("gain", Source((folder_of(study),)))
    assert caught.value.key == "gain"


def test_more_than_one_folder_is_refused(folder, tmp_path):
    with pytest.raises(BadInput) as caught:
        _ = Source((folder, tmp_path)).page
    assert caught.value.source == tmp_path
    with pytest.raises(BadInput) as caught:
        _ = Source((tmp_path / "nothing",)).trials
    assert caught.value.source == tmp_path / "nothing"


def test_files_are_written_by_their_suffix(folder, tmp_path):
    figure = draw_figure("timeline", Source((folder,)))
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        save_figure(figure, tmp_path / f"f.{kind}")
        assert (tmp_path / f"f.{kind}").read_bytes().startswith(start)
    assert "workers busy" in (tmp_path / "f.svg").read_text()
    again = draw_figure("timeline", Source((folder,)))
    assert figure_bytes(again, "png") == (tmp_path / "f.png").read_bytes()
    with pytest.raises(BadInput) as caught:
        kind_of(tmp_path / "f.jpg")
    assert (caught.value.value, caught.value.accepted) == (".jpg", ".png, .svg, .pdf")
