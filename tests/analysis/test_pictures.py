from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.analysis.figures.draw import figure_bytes
from tomoatlas.analysis.figures.pictures import convergence_figure, overlay_figure, slices_figure
from tomoatlas.analysis.rerun import SliceSet, representative_slice, round_length
from tomoatlas.recon_core.methods import Method
from tomoatlas.recon_core.result import History


@pytest.fixture
def slices() -> SliceSet:
    truth = np.zeros((2, 8, 8, 8), np.float32)
    truth[0, 2:6, 2:6, 1:7] = 0.5
    truth[1, 3:5, 3:5, 5] = 1.0
    volumes = {Method.FUSED: truth * 0.9, Method.ML: np.ones_like(truth)}
    return SliceSet(truth, volumes, ("Co", "Au"), 2.0, "9 tilts")


def test_the_slice_shows_the_scarcest_element(slices):
    assert representative_slice(slices.truth) == 5


def test_one_row_per_element_one_column_per_method(slices):
    figure = slices_figure(slices)
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 6
    assert [ax.get_title() for ax in panels[:3]] == ["Truth", "ML, converged", "Fused"]
    assert [ax.get_ylabel() for ax in panels[::3]] == ["Co", "Au"]


def test_a_row_has_one_scale_and_scores_beneath(slices):
    panels = [ax for ax in slices_figure(slices).axes if ax.images]
    assert {p.images[0].get_clim() for p in panels[:3]} == {(0.0, 0.5)}
    assert {p.images[0].get_clim() for p in panels[3:]} == {(0.0, 1.0)}
    assert [p.get_xlabel() for p in panels[:3]] == ["", "NRMSE 1.414", "NRMSE 0.000"]


def test_the_picture_is_the_slice(slices):
    panels = [ax for ax in slices_figure(slices).axes if ax.images]
    assert np.array_equal(panels[0].images[0].get_array(), slices.truth[0, :, :, 5])


@pytest.mark.parametrize("draw", [slices_figure, overlay_figure])
def test_the_title_of_one_volume_alone_is_not_cut(draw, slices):
    figure = draw(SliceSet(slices.truth, {}, ("Co", "Au"), 2.0, "HAADF tilts 47, Chemical tilts 9"))
    figure.draw_without_rendering()
    title = figure.texts[0].get_window_extent()
    assert figure.bbox.x0 <= title.x0
    assert title.x1 <= figure.bbox.x1


def test_residuals_have_colours_of_okabe_and_ito():
    steps = (1.0, 2.0)
    residuals = convergence_figure(History(steps, *[steps] * 6)).axes[3].lines
    assert [line.get_color() for line in residuals] == ["#0072B2", "#D55E00", "#009E73"]


def test_scale_bar_has_the_length_it_names(slices):
    ax = slices_figure(slices).axes[0]
    assert ax.texts[0].get_text() == "2 nm"
    assert ax.patches[0].get_width() == 1.0


@given(st.floats(1e-6, 1e6))
def test_round_lengths_are_1_2_5_and_not_above(length):
    found = round_length(length)
    assert 0.4 * length <= found <= length * (1 + 1e-6)
    assert f"{found:.0e}"[0] in "125"


def test_convergence_shows_terms_and_the_residuals_there_are():
    history = History(
        (1.0, 2.0), (3.0, 2.0), (-5.0, -6.0), (1.0, 1.5), *[(float("nan"),) * 2] * 2, (0.1, 0.01)
    )
    axes = convergence_figure(history).axes
    assert [ax.lines[0].get_ydata().tolist() for ax in axes[:3]] == [[3, 2], [-5, -6], [1, 1.5]]
    assert [line.get_label() for line in axes[3].lines] == ["change"]


def test_convergence_of_nothing_can_be_drawn():
    assert figure_bytes(convergence_figure(History()), "png")
