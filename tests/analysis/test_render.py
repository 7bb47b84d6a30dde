"""The specimen in 3D: content of the picture; skipped where PyVista is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tomoatlas.analysis.figures import render
from tomoatlas.analysis.figures.pictures import element_colours
from tomoatlas.analysis.figures.render import render_figure, surfaces, usual_concentration
from tomoatlas.analysis.rerun import SliceSet
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method


def cube(scale: float = 1.0) -> np.ndarray:
    volumes = np.zeros((3, 16, 16, 16), np.float32)
    volumes[:2, 4:12, 4:12, 4:12] = 0.5 * scale
    volumes[2, 13:16, 6:10, 6:10] = scale
    return volumes


@pytest.fixture
def slices() -> SliceSet:
    return SliceSet(cube(), {Method.FUSED: cube(0.3)}, ("Co", "O", "Au"), 2.0, "9 tilts")


def test_without_pyvista_one_line_names_the_extra(slices, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvista", None)
    render.check_rendering.cache_clear()
    with pytest.raises(BadInput) as caught:
        render_figure(slices)
    assert caught.value.accepted == "pip install 'tomoatlas[render]'"


def test_without_pyvista_a_specimen_has_its_slices_and_no_gap(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvista", None)
    render.check_rendering.cache_clear()
    figure = render.specimen_figure(make_specimen("nanocubes", 8))
    assert len(figure.axes) == 3
    assert "no view in 3D: pip install" in figure.get_suptitle()


def test_a_machine_that_cannot_render_is_named_instead_of_ending_the_process(slices, monkeypatch):
    pytest.importorskip("pyvista", reason="needs the extra render")
    render.check_rendering.cache_clear()
    monkeypatch.setattr(render, "PROBE", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(BadInput) as caught:
        render_figure(slices)
    assert caught.value.value == -11
    assert "libegl1" in str(caught.value.accepted)


@pytest.mark.usefixtures("rendering")
def test_surfaces_have_the_colours_of_their_elements_and_follow_the_truths_level(slices):
    colours = {"Co": "#ff0000", "Au": "#0000ff"}
    picture = surfaces(slices.truth, slices, colours).astype(int)
    red = picture[..., 0] - picture[..., 1] > 60
    blue = picture[..., 2] - picture[..., 0] > 60
    assert red.mean() > 5 * blue.mean() > 0
    rows = [np.argwhere(mask)[:, 0].mean() for mask in (blue, red)]
    assert rows[0] < rows[1]  # gold lies above along z, and z points upwards
    below = surfaces(slices.volumes[Method.FUSED], slices, colours).astype(int)
    assert not (np.abs(below[..., 0] - below[..., 1]) > 60).any()


def test_the_usual_concentration_is_that_of_the_inside():
    assert usual_concentration(cube()[0]) == pytest.approx(0.5)
    peaked = cube()[0]
    peaked[5, 5, 5] = 2.0  # one voxel that overshoots hardly counts
    assert usual_concentration(peaked) == pytest.approx(0.5, rel=0.05)
    assert usual_concentration(np.zeros((2, 2, 2), np.float32)) == 0


@pytest.mark.usefixtures("rendering")
def test_the_figure_shows_truth_and_methods_without_oxygen(slices):
    figure = render_figure(slices)
    assert [ax.get_title() for ax in figure.axes] == ["Truth", "Fused"]
    labels = [t.get_text() for t in figure.legends[0].get_texts()]
    assert labels == ["Co ≥ 0.25", "Au ≥ 0.5"]
    assert "O, which fills" in figure.get_suptitle()
    assert figure.legends[0].get_patches()[1].get_facecolor() is not None
    assert ": 32 × 32 × 32 nm" in figure.get_suptitle()
    assert set(element_colours(("Co", "Au"))) == {"Co", "Au"}
