from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.patches import Rectangle

from tomoatlas.analysis.atlas import Atlas
from tomoatlas.analysis.figures import figure
from tomoatlas.analysis.figures.curves import curves_figure
from tomoatlas.analysis.figures.draw import READABLE, draw_contour, figure_bytes
from tomoatlas.analysis.figures.maps import (
    baselines_figure,
    gain_figure,
    neighbour_factor,
    nrmse_figure,
    rows_without_haadf,
    weights_figure,
)
from tomoatlas.analysis.maps import Page, pages
from tomoatlas.analysis.scatter import SPECIMENS
from tomoatlas.analysis.style import CHEMICAL_TILTS, HAADF_TILTS, METHOD_LABELS, tick_label
from tomoatlas.recon_core.methods import Method

HAADF, CHEMICAL = [9, 35, 71], [5, 9, 18, 36]


def atlas_over(axes: dict[str, list[object]], empty: tuple[int, ...] = ()) -> Atlas:
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    table = pd.DataFrame(rows, index=range(len(rows)))
    table = table.assign(haadf=0.03, tv=0.7, nrmse=np.linspace(0.6, 0.3, len(rows)))
    table = table.assign(nrmse_ml=1.2, nrmse_ml_stopped=0.8, nrmse_chemistry_tv=0.6, trials=5)
    scores = [c for c in table.columns if c.startswith("nrmse")]
    table.loc[list(empty), [*scores, "haadf", "tv"]] = np.nan
    return Atlas(
        table, tuple(axes), {"search": {"space": {"haadf": [0.001, 10], "tv": [0.03, 10]}}}
    )


def page_of(empty: tuple[int, ...] = ()) -> Page:
    return pages(atlas_over({HAADF_TILTS: HAADF, CHEMICAL_TILTS: CHEMICAL}, empty))[0]


def hatched(ax: Axes) -> list[Rectangle]:
    return [p for p in ax.patches if isinstance(p, Rectangle) and p.get_hatch()]


def test_every_cell_shows_its_number_and_empty_ones_are_hatched():
    ax = nrmse_figure(page_of(empty=(0, 7))).axes[0]
    assert len(ax.texts) == 10
    assert sorted(t.get_text() for t in ax.texts)[0] == "0.30"
    assert sorted(p.get_xy() for p in hatched(ax)) == [(-0.5, -0.5), (2.5, 0.5)]


def test_names_of_files_are_no_mathematics_and_leave_room_for_the_map():
    kinds = ["/data/" + "long/" * 40 + r"$\frac$ one.h5", "x^{2$ two_{.h5"]
    (page, *_) = pages(atlas_over({"specimen.kind": kinds, CHEMICAL_TILTS: CHEMICAL}))
    for drawn in (nrmse_figure(page), curves_figure(page)):
        assert figure_bytes(drawn, "svg")  # a warning, as of axes without room, is an error


def test_a_map_of_many_cells_has_colours_without_numbers_and_a_label_here_and_there():
    atlas = atlas_over({HAADF_TILTS: HAADF, CHEMICAL_TILTS: list(range(3, 103))}, empty=(0,))
    ax = nrmse_figure(pages(atlas)[0]).axes[0]
    assert not ax.texts
    assert ax.get_images()[0].get_array().shape == (3, 100)
    assert len(ax.get_xticks()) <= READABLE
    (behind,) = hatched(ax)
    assert (behind.get_width(), behind.get_height()) == (100, 3)
    assert behind.get_zorder() < ax.get_images()[0].get_zorder()


def test_rows_without_haadf_stand_below_with_their_own_numbers():
    atlas = atlas_over({HAADF_TILTS: HAADF, CHEMICAL_TILTS: CHEMICAL})
    atlas.table["nrmse_ml"] = np.tile([1.3, 1.2, 1.1, np.nan], 3) + np.repeat([-0.1, 0.0, 0.1], 4)
    above, below, _ = nrmse_figure(pages(atlas)[0]).axes
    assert next(t.get_text() for t in below.get_yticklabels()) == "ML,\nconverged"
    row = [t.get_text() for t in below.texts if t.get_position()[1] == 0]
    assert row == ["1.30", "1.20", "1.10"]
    assert [p.get_xy() for p in hatched(below)] == [(2.5, -0.5)]
    assert below.images[0].norm is above.images[0].norm
    assert above.get_xlabel() == ""
    assert below.get_xlabel() == "Chemical tilts"


def test_every_method_has_one_scale_of_colours_whatever_the_figure():
    page = page_of()
    norms = [ax.images[0].norm for ax in nrmse_figure(page).axes if ax.images]
    norms += [ax.images[0].norm for ax in baselines_figure(page).axes if ax.images]
    assert {(norm.vmin, norm.vmax) for norm in norms} == {(0.3, 1.2)}
    assert all(isinstance(norm, LogNorm) for norm in norms)


def test_a_map_over_something_else_has_no_rows_below():
    atlas = atlas_over({CHEMICAL_TILTS: CHEMICAL, "solver.gamma": [1.5, 2.0]})
    assert rows_without_haadf(pages(atlas)[0]) == {}
    assert len(nrmse_figure(pages(atlas)[0]).axes) == 2


def test_the_parting_of_tilts_follows_edges_of_cells_and_crosses_no_number():
    axes = {HAADF_TILTS: [0, 9, 18, 35], CHEMICAL_TILTS: [5, 9, 18]}
    ax = nrmse_figure(pages(atlas_over(axes, empty=tuple(range(12))))[0]).axes[0]
    edges = {tuple(map(tuple, edge)) for edge in ax.collections[-1].get_segments()}
    # Below 9 tilts over 5 and 9 maps, left of 18 tilts over 18 maps.
    assert edges == {
        ((-0.5, 0.5), (0.5, 0.5)),
        ((0.5, 0.5), (1.5, 0.5)),
        ((1.5, 0.5), (1.5, 1.5)),
        ((1.5, 1.5), (2.5, 1.5)),
    }
    apart = {HAADF_TILTS: [100, 200], CHEMICAL_TILTS: [5, 9]}
    page = pages(atlas_over(apart, empty=(0, 1, 2, 3)))[0]
    assert not any(c.get_segments() for c in nrmse_figure(page).axes[0].collections)


def test_gain_over_every_baseline_on_one_scale():
    figure = gain_figure(page_of())
    maps = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in maps] == [
        f"over {METHOD_LABELS[m]}" for m in ("ml", "ml-stopped", "chemistry-tv")
    ]
    first = [t.get_text() for t in maps[0].texts if t.get_position() == (0, 0)]
    assert first == ["50"]  # 1 - 0.6/1.2
    assert len({ax.images[0].norm.vmax for ax in maps}) == 1


def test_weights_say_how_much_neighbours_differ():
    assert neighbour_factor(np.full((3, 3), 0.7)) == pytest.approx(1)
    assert neighbour_factor(np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])) == pytest.approx(
        2 ** np.sqrt(4 / 7)
    )
    assert np.isnan(neighbour_factor(np.array([[1.0, np.nan], [np.nan, 1.0]])))
    titles = [ax.get_title() for ax in weights_figure(page_of()).axes if ax.images]
    ranges = ("searched from 0.001 to 10", "searched from 0.03 to 10")
    assert titles == [f"{searched}\nneighbours differ by a factor 1" for searched in ranges]


def test_ticks_are_the_true_values_and_axes_are_named():
    figure = nrmse_figure(page_of())
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["9", "35", "71"]
    below = figure.axes[1]
    assert [t.get_text() for t in below.get_xticklabels()] == ["5", "9", "18", "36"]
    assert (below.get_xlabel(), ax.get_ylabel()) == ("Chemical tilts", "HAADF tilts")


def test_colourbar_is_labelled_and_spans_the_values():
    figure = nrmse_figure(page_of())
    bar = figure.axes[2]
    assert "⟨NRMSE⟩" in bar.get_ylabel()
    assert bar.get_ylim() == pytest.approx((0.3, 1.2))
    shown = [float(text.get_text()) for text in bar.get_yticklabels()]
    assert {0.3, 0.5, 1.0} <= set(shown)


def test_numbers_contrast_with_their_cell():
    ax = nrmse_figure(page_of()).axes[0]
    image = ax.images[0]

    def luminance(colour: object) -> float:
        return float(np.dot(np.array(to_rgb(colour)) ** 2.2, [0.2126, 0.7152, 0.0722]))

    for text in ax.texts:
        col, row = text.get_position()
        behind = luminance(image.cmap(image.norm(image.get_array()[int(row), int(col)]))[:3])
        pair = sorted((luminance(text.get_color()), behind))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_outline_separates_good_from_bad_and_not_from_unknown():
    values = np.array([[0.3, 0.5], [0.3, np.nan]])
    figure = nrmse_figure(page_of())
    ax = figure.add_subplot()
    assert draw_contour(ax, values, 0.4)
    lines = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert [s.tolist() for s in lines[-1].get_segments()] == [[[0.5, -0.5], [0.5, 0.5]]]
    ticks = np.array(lines[0].get_segments())
    assert (ticks[:, 1, 0] < 0.5).all()  # into the cell at 0.3
    assert not draw_contour(ax, np.full((2, 2), 0.3), 0.4)


def test_the_caption_names_the_outline_only_where_there_is_one():
    for accuracy, named in ((0.4, True), (0.1, False)):
        figure = nrmse_figure(page_of(), accuracy)
        assert (f"≤ {accuracy}" in figure.get_supxlabel()) == named
        assert len(figure.axes[0].get_title().splitlines()) <= 2


def test_four_methods_share_one_scale():
    figure = baselines_figure(page_of())
    maps = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in maps] == list(METHOD_LABELS.values())
    assert len({(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in maps}) == 1
    assert "oracle" in maps[1].get_title()


def test_gain_is_in_percent_of_the_rival():
    ax = gain_figure(page_of(), [Method.CHEMISTRY_TV]).axes[0]
    numbers = sorted(int(t.get_text()) for t in ax.texts)
    assert (numbers[0], numbers[-1]) == (0, 50)


def test_methods_that_were_not_run_have_no_panel():
    atlas = atlas_over({HAADF_TILTS: HAADF, CHEMICAL_TILTS: CHEMICAL})
    atlas.table["nrmse_ml"] = atlas.table["nrmse_ml_stopped"] = np.nan
    page = pages(atlas)[0]
    both = [ax.get_title() for ax in baselines_figure(page).axes if ax.images]
    assert both == [METHOD_LABELS[m] for m in ("chemistry-tv", "fused")]
    assert [ax.get_title() for ax in gain_figure(page).axes if ax.images] == [f"over {both[0]}"]
    atlas.table["nrmse_chemistry_tv"] = np.nan
    page = pages(atlas)[0]
    assert len([ax for ax in baselines_figure(page).axes if ax.images]) == 1
    assert gain_figure(page) is None


def test_a_number_is_read_on_its_side_of_the_contour():
    atlas = atlas_over({HAADF_TILTS: HAADF, CHEMICAL_TILTS: CHEMICAL})
    atlas.table["nrmse"] = [0.4, 0.4004, 0.396, 0.404, *[0.5] * 8]
    texts = {text.get_text() for text in nrmse_figure(pages(atlas)[0]).axes[0].texts}
    assert texts == {"0.40", "0.4004", "0.404", "0.50"}
    atlas.table[SPECIMENS] = 0.004
    texts = {text.get_text() for text in nrmse_figure(pages(atlas)[0]).axes[0].texts}
    means = ("0.400", "0.4004", "0.396", "0.404", "0.500")
    assert texts == {f"{mean}\n± .004" for mean in means}


def test_the_bar_of_gains_ends_where_the_losses_do():
    atlas = atlas_over({HAADF_TILTS: HAADF, CHEMICAL_TILTS: CHEMICAL})
    atlas.table["nrmse_chemistry_tv"] = 0.99 * atlas.table["nrmse"].max()
    figure = gain_figure(pages(atlas)[0])
    image, bar = figure.axes[0].images[0], figure.axes[-1]
    assert bar.get_ylim() == (-5.0, image.norm.vmax)
    assert image.norm.vmin == -image.norm.vmax


def test_a_loss_gets_colours_centred_on_zero():
    atlas = atlas_over({HAADF_TILTS: HAADF, CHEMICAL_TILTS: CHEMICAL})
    atlas.table["nrmse_chemistry_tv"] = 0.5
    norm = gain_figure(pages(atlas)[0], [Method.CHEMISTRY_TV]).axes[0].images[0].norm
    assert norm.vmin == -norm.vmax
    # A loss of a thousandth is written as 0, and has the colour of 0.
    atlas.table["nrmse_chemistry_tv"] = atlas.table["nrmse"] * 0.999
    norm = gain_figure(pages(atlas)[0], [Method.CHEMISTRY_TV]).axes[0].images[0].norm
    assert norm.vmin == 0


def weight_norms(haadf: list[float], tv: list[float]) -> list[tuple[float, float]]:
    atlas = atlas_over({HAADF_TILTS: [9, 35], CHEMICAL_TILTS: [5, 9]})
    atlas.table["haadf"], atlas.table["tv"] = haadf, tv
    maps = [ax for ax in weights_figure(pages(atlas)[0]).axes if ax.images]
    return [(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in maps]


def test_colours_of_weights_span_those_found_within_the_range_searched():
    norms = weight_norms([0.042, 0.074, 0.05, 0.06], [0.04, 9.0, np.nan, 1.0])
    assert norms == [pytest.approx((0.02, 0.1)), pytest.approx((0.03, 10))]


def test_equal_weights_have_a_range_of_colours_about_them():
    assert weight_norms([0.02] * 4, [1.0] * 4) == [
        pytest.approx((0.01, 0.05)),
        pytest.approx((0.5, 2.0)),
    ]


def test_the_bars_of_weights_are_named_above_with_plain_ticks():
    figure = weights_figure(page_of())
    figure.draw_without_rendering()
    bars = [ax for ax in figure.axes if not ax.images]
    assert [(bar.get_title(), bar.get_ylabel()) for bar in bars] == [
        ("HAADF weight", ""),
        ("TV weight", ""),
    ]
    shown = [text.get_text() for text in bars[1].get_yticklabels()]
    assert {"0.5", "1"} <= set(shown)


def test_weights_of_an_atlas_without_study_span_whole_decades():
    known = atlas_over({HAADF_TILTS: HAADF, CHEMICAL_TILTS: CHEMICAL})
    page = pages(Atlas(known.table, known.axes))[0]
    norm = next(ax for ax in weights_figure(page).axes if ax.images).images[0].norm
    assert (norm.vmin, norm.vmax) == pytest.approx((0.02, 0.05))


def test_one_axis_gives_curves_of_all_methods():
    page = pages(atlas_over({CHEMICAL_TILTS: CHEMICAL}, empty=(1,)))[0]
    ax = nrmse_figure(page).axes[0]
    assert len(ax.lines) == 4
    assert ax.get_ylim()[0] == 0.0
    assert [t.get_text() for t in ax.get_xticklabels()] == ["5", "9", "18", "36"]
    assert gain_figure(page) is None
    assert len(weights_figure(page).axes) == 2


def test_one_cell_gives_bars_with_numbers():
    page = pages(atlas_over({}))[0]
    ax = nrmse_figure(page).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [1.2, 0.8, 0.6, 0.6]
    assert [t.get_text() for t in ax.texts] == ["1.200", "0.800", "0.600", "0.600"]
    assert gain_figure(page) is None
    assert weights_figure(page) is None


def test_one_empty_cell_says_so():
    ax = nrmse_figure(pages(atlas_over({}, empty=(0,)))[0]).axes[0]
    assert [t.get_text() for t in ax.texts] == ["no result"] * 4


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
@pytest.mark.parametrize("draw", [nrmse_figure, baselines_figure, gain_figure, weights_figure])
def test_a_map_without_any_result_can_be_saved(draw, kind):
    page = page_of(empty=tuple(range(12)))
    assert len(figure_bytes(draw(page), kind)) > 1000


def test_words_on_an_axis_and_a_fixed_value_in_the_title():
    axes: dict[str, list[object]] = {
        HAADF_TILTS: HAADF,
        "specimen.kind": ["nanocubes", "composite"],
        "solver.gamma": [1.7, 2.0],
    }
    atlas = atlas_over(axes)
    figure = nrmse_figure(pages(atlas)[1])
    ax, below = figure.axes[:2]
    assert [t.get_text() for t in below.get_xticklabels()] == ["nanocubes", "composite"]
    assert "gamma 2" in ax.get_title()


def test_settings_of_a_person_reach_no_figure(tmp_path):
    own = tmp_path / "matplotlibrc"
    own.write_text("font.size: 30\naxes.grid: True\nsavefig.facecolor: red\nsavefig.bbox: tight\n")
    plain = figure_bytes(figure("nrmse", "fig4_nanocubes_64"), "png", 30)
    with mpl.rc_context(mpl.rc_params_from_file(own, use_default_template=False)):
        assert figure_bytes(figure("nrmse", "fig4_nanocubes_64"), "png", 30) == plain


def test_the_same_figure_is_the_same_file():
    assert figure_bytes(nrmse_figure(page_of()), "png") == figure_bytes(
        nrmse_figure(page_of()), "png"
    )


def test_every_method_is_named_in_full_beside_an_axis():
    assert [tick_label(label) for label in METHOD_LABELS.values()] == [*METHOD_LABELS.values()]
