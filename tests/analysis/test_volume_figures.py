"""Composites, stoichiometry, Fourier space and profiles: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Wedge

from tomoatlas.analysis.figures.chemistry import stoichiometry_figure
from tomoatlas.analysis.figures.draw import figure_bytes
from tomoatlas.analysis.figures.fourier import fsc_figure, spectra_figure, tilts_figure
from tomoatlas.analysis.figures.pictures import composite, element_colours, overlay_figure
from tomoatlas.analysis.figures.profiles import profiles_figure, sharpest_edge
from tomoatlas.analysis.rerun import SliceSet
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method
from tomoatlas.recon_core.metrics import stoichiometry
from tomoatlas.recon_core.metrics.edges import WIDTH_PER_SIGMA
from tomoatlas.recon_core.metrics.resolution import axis_spectrum, shell_correlation

ELEMENTS = ("Co", "O", "Au")


def blurred(volumes: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.stack([gaussian_filter(v, sigma) for v in volumes]).astype(np.float32)


@pytest.fixture(scope="module")
def slices() -> SliceSet:
    truth = np.zeros((3, 24, 24, 24), np.float32)
    truth[:2, 6:18, 5:17, 4:20] = 0.5
    truth[2, 18:22, 8:12, 8:12] = 1.0
    rng = np.random.default_rng(0)
    noisy = truth + rng.uniform(0, 0.6, truth.shape).astype(np.float32)
    volumes = {"mine": truth * 0.8, Method.FUSED: blurred(truth, 1.5), Method.ML: noisy}
    return SliceSet(truth, volumes, ELEMENTS, 2.0, "9 tilts")


def test_methods_come_in_their_usual_order_then_other_names(slices):
    shown = slices.shown()
    assert [s.label for s in shown] == ["ML, converged", "Fused", "mine"]
    assert len({s.colour for s in shown}) == 3


def test_a_composite_has_the_colour_of_its_element_and_the_brightness_of_its_amount():
    colours = {"Co": "#ff0000", "O": "#00ff00", "Au": "#0000ff"}
    images = np.zeros((3, 1, 4), np.float32)
    images[0, 0] = [1.0, 0.5, 1.0, 2.0]
    images[1, 0] = [0.0, 0.0, 2.0, 0.0]
    rgb = composite(images, np.array([1.0, 2.0, 0.0]), colours)
    assert rgb[0].tolist() == [[1, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [1, 0, 0]]


def test_elements_have_different_colours():
    colours = element_colours(("Co", "Cu", "O", "Au", "Fe", "Mn", "S"))
    assert len(set(colours.values())) == 7
    assert colours["Au"] == "#F0E442"


def test_an_overlay_shows_truth_and_methods_from_two_sides(slices):
    figure = overlay_figure(slices)
    above = figure.axes[:4]
    assert [ax.get_title() for ax in above] == ["Truth", "ML, converged", "Fused", "mine"]
    picture = above[0].images[0].get_array()
    assert picture.shape == (24, 24, 3)
    assert picture[0, 0].tolist() == [0, 0, 0]
    gold = np.array(to_rgb(element_colours(ELEMENTS)["Au"]))
    assert np.asarray(picture[20, 10]) == pytest.approx(gold, abs=1e-6)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == list(ELEMENTS)


def test_stoichiometry_gives_mean_and_sigma_of_every_method(slices):
    figure = stoichiometry_figure(slices)
    ax = figure.axes[0]
    assert ax.get_xlabel() == "Co / (Co + O)"
    found = stoichiometry(slices.volumes[Method.ML], slices.truth, ELEMENTS)[0]
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels[0] == f"ML, converged: {found.mean:.2f} ± {found.sigma:.2f}"
    assert labels[2] == "mine: 0.50 ± 0.00"
    assert ax.lines[0].get_xdata()[0] == 0.5
    for stairs in ax.patches:
        assert stairs.get_data().values.sum() == pytest.approx(100)
    inside = stoichiometry(slices.volumes[Method.ML], slices.truth, ELEMENTS, 1)[0]
    below = figure.axes[1].get_legend().get_texts()[0].get_text()
    assert below == f"ML, converged: {inside.mean:.2f} ± {inside.sigma:.2f}"
    assert "biased" in figure.get_supxlabel()


def test_a_bar_beyond_the_frame_is_named(slices):
    volumes = slices.truth.copy()
    volumes[0, 6:12], volumes[1, 12:18] = 0, 0  # half of the voxels at 0, half at 1
    volumes[:2, 6, 6, :] = 0.5
    figure = stoichiometry_figure(SliceSet(slices.truth, {"x": volumes}, ELEMENTS, 2.0))
    texts = [t.get_text().strip() for t in figure.axes[0].texts]
    assert len(texts) == 2
    assert all(text.endswith("%") and 45 < float(text[:-1]) < 55 for text in texts)


def test_no_oxide_no_stoichiometry(slices):
    metals = SliceSet(slices.truth[::2], {}, ("Co", "Au"), 2.0)
    with pytest.raises(BadInput) as caught:
        stoichiometry_figure(metals)
    assert caught.value.value == ("Co", "Au")


def test_tilts_are_central_lines_at_their_angles():
    haadf, chemical = (-60.0, 0.0, 45.0), (30.0,)
    left, middle, right = tilts_figure(haadf, chemical, 2.0).axes
    angles = [np.degrees(np.arctan2(*line.get_xydata()[1][::-1])) for line in left.lines]
    assert angles == pytest.approx(list(haadf))
    assert np.hypot(*left.lines[0].get_xydata()[1]) == pytest.approx(0.25)
    assert (len(middle.lines), len(right.lines)) == (1, 4)
    assert [line.get_linestyle() for line in right.lines] == ["-", "-", "-", "--"]
    assert "3 tilts, −60° to 45°" in left.get_title()
    wedges = [p for p in left.patches if isinstance(p, Wedge)]
    assert [(w.theta1, w.theta2) for w in wedges] == [(45, 120), (225, 300)]
    assert "nm" in left.get_xlabel()


def test_no_tilts_are_said_to_be_none():
    left = tilts_figure((), (0.0,), 1.0).axes[0]
    assert left.get_title() == "HAADF: no tilts"
    assert not left.lines


def test_tilts_without_a_voxel_size_are_in_units_of_nyquist():
    left = tilts_figure((-60.0, 60.0), (0.0,), None, "here").axes[0]
    assert "Nyquist" in left.get_xlabel()
    assert np.hypot(*left.lines[0].get_xydata()[1]) == pytest.approx(1.0)


def test_voxels_without_signal_are_counted_and_their_share_is_missing_in_the_bars(slices):
    half = slices.truth.copy()
    half[:2, 6:12] = 0
    volumes = {"half": half, "none": np.zeros_like(half)}
    ax = stoichiometry_figure(SliceSet(slices.truth, volumes, ELEMENTS, 2.0)).axes[0]
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == [
        "half: 0.50 ± 0.00; 50% of the voxels hold neither",
        "none: neither cation nor O anywhere",
    ]
    assert [stairs.get_data().values.sum() for stairs in ax.patches] == pytest.approx([50, 0])


def test_fsc_curves_and_resolutions_are_those_of_the_metric(slices):
    halves = (slices.truth, slices.truth)
    figure = fsc_figure(slices, halves)
    assert [ax.get_title() for ax in figure.axes[:3]] == list(ELEMENTS)
    ax = figure.axes[0]
    expected = shell_correlation(slices.volumes[Method.FUSED][0], slices.truth[0], 2.0)
    fused = next(line for line in ax.lines if line.get_label().startswith("Fused:"))
    assert fused.get_ydata() == pytest.approx(expected.correlation)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "mine: ≤ 4 nm" in labels
    assert "Fused, between halves: ≤ 4 nm\nat 0.143: ≤ 4 nm" in labels
    assert [text.get_text().split(":")[0] for text in ax.texts] == ["0.143", "0.5"]


def test_spectra_are_those_of_the_axes(slices):
    figure = spectra_figure(slices)
    panels = figure.axes[:9]
    assert [ax.get_title() for ax in panels[:3]] == ["z, beam", "y", "x, tilt axis"]
    truth = axis_spectrum(slices.truth[2], 2.0, "y", 15.0)
    assert panels[7].lines[0].get_ydata() == pytest.approx(truth.power / truth.power.max())
    blurred_cut = axis_spectrum(slices.volumes[Method.FUSED][2], 2.0, "y", 15.0).cut_off(truth)
    marks = [line for line in panels[7].lines if line.get_marker() == "|"]
    assert blurred_cut in [pytest.approx(float(m.get_xdata()[0])) for m in marks]
    texts = [t.get_text() for t in panels[7].get_legend().get_texts()]
    assert texts[1] == f"{1 / blurred_cut:.3g} nm"


def test_no_cut_off_and_nothing_resolved_are_told_apart(slices):
    volumes = {"loud": slices.truth * 2, "faint": slices.truth * 0.1}
    figure = spectra_figure(SliceSet(slices.truth, volumes, ELEMENTS, 2.0))
    texts = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert texts == ["no cut-off", "not resolved"]


def test_the_sharpest_edge_lies_on_a_face(slices):
    line = sharpest_edge(slices.truth[0])
    assert line is not None
    assert sorted(np.abs(line.normal)) == pytest.approx([0, 1], abs=0.05)
    profile = line.profile(slices.truth[0, :, :, line.x])
    assert profile[:15].max() == 0
    assert profile[-15:] == pytest.approx(0.5)
    assert sharpest_edge(np.zeros((8, 8, 8), np.float32)) is None


def test_profiles_name_the_width_of_a_known_blur(slices):
    figure = profiles_figure(slices)
    ax = figure.axes[1]
    labels = {t.get_text().split(":")[0]: t.get_text() for t in ax.get_legend().get_texts()}
    width = float(labels["Fused"].split(":")[1].split("nm")[0])
    assert width == pytest.approx(WIDTH_PER_SIGMA * 1.5 * 2.0, rel=0.15)
    assert labels["Truth"] == "Truth: ≤ 2.0 nm (a voxel)"
    assert labels["ML, converged"].endswith("no edge")
    assert figure.axes[-1].get_xlabel() == "position across the edge / nm"


def test_an_element_without_an_edge_is_said_to_have_none():
    truth = np.zeros((1, 16, 16, 16), np.float32)
    truth[0] = 1.0
    figure = profiles_figure(SliceSet(truth, {}, ("Co",), 1.0))
    assert "Co: no edge" in figure.axes[1].texts[0].get_text()
    assert not any(ax.axison for ax in figure.axes)


def test_the_last_profiles_drawn_name_the_position(slices):
    truth = np.stack([slices.truth[0], np.ones_like(slices.truth[0])])
    axes = profiles_figure(SliceSet(truth, {}, ("Co", "Au"), 2.0)).axes
    assert [ax.axison for ax in axes] == [True, True, False, False]
    assert [ax.get_xlabel() for ax in axes] == ["", "position across the edge / nm", "", ""]


def test_no_width_below_a_voxel_is_claimed():
    sharp = np.zeros((1, 24, 24, 24), np.float32)
    sharp[0, 6:18, 5:17, 4:20] = 0.5
    ax = profiles_figure(SliceSet(sharp, {"x": blurred(sharp, 1.0)}, ("Co",), 3.0)).axes[1]
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels[0] == "Truth: ≤ 3.0 nm (a voxel)"
    assert float(labels[1].removeprefix("x: ").split(" nm")[0]) > 3.0


def test_an_edge_in_the_wrong_place_says_how_far():
    sharp = np.zeros((1, 24, 24, 24), np.float32)
    sharp[0, 6:18, 5:17, 4:20] = 0.5
    volumes = {"grown": np.zeros_like(sharp), "same": sharp}
    volumes["grown"][0, 4:20, 3:19, 2:22] = 0.5
    ax = profiles_figure(SliceSet(sharp, volumes, ("Co",), 2.0)).axes[1]
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels[1].endswith("(a voxel), 4.0 nm too far out")
    assert labels[2].endswith("in place")


@pytest.mark.parametrize(
    "draw", [overlay_figure, stoichiometry_figure, fsc_figure, spectra_figure, profiles_figure]
)
def test_each_can_be_saved_even_of_an_empty_reconstruction(draw, slices):
    nothing = {Method.FUSED: np.zeros_like(slices.truth)}
    figure = draw(SliceSet(slices.truth, nothing, ELEMENTS, 2.0))
    assert figure_bytes(figure, "png", dpi=20)
