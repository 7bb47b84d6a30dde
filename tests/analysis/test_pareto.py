from __future__ import annotations

import itertools

import numpy as np
import pytest

from tomoatlas.analysis.figures.draw import figure_bytes
from tomoatlas.analysis.figures.pareto import Compromise, compromises, pareto_figure
from tomoatlas.recon_core.methods import Weights
from tomoatlas.sweep.study import parse_study

TINY = """
[study]
name = "tiny"
[specimen]
kind = "nanocubes"
size = 16
[acquisition]
haadf_tilts = 9
chemical_tilts = 5
chemical_snr = 4.0
[solver]
max_iterations = 80
"""


def test_more_tv_weight_buys_less_variation_with_worse_data_terms():
    study = parse_study(TINY)
    cell = study.cells()[0]
    solved: list[tuple[int, int]] = []
    found = compromises(
        study, cell, Weights(0.05), [0.1, 1.0, 10.0], lambda *counts: solved.append(counts)
    )
    assert solved == [(1, 3), (2, 3), (3, 3)]
    assert [p.tv for p in found] == [0.1, 1.0, 10.0]
    assert found[0].variation > found[1].variation > found[2].variation > 0
    assert found[0].data < found[1].data < found[2].data
    assert all(0 < p.nrmse < 1.5 for p in found)


def test_the_curve_shows_its_points_and_the_best_weight():
    points = [Compromise(0.1, 10.0, 100.0, 0.5), Compromise(0.7, 12.0, 50.0, 0.3)]
    figure = pareto_figure(points, Weights(0.05, 0.7), "9 tilts")
    left, right = figure.axes[:2]
    assert left.lines[0].get_xydata().tolist() == [[100.0, 10.0], [50.0, 12.0]]
    assert [t.get_text() for t in left.texts] == ["tv 0.1", "tv 0.7"]
    assert right.lines[0].get_xydata().tolist() == [[0.1, 0.5], [0.7, 0.3]]
    rings = [ax.lines[-1].get_xydata().tolist() for ax in (left, right)]
    assert rings == [[[50.0, 12.0]], [[0.7, 0.3]]]
    assert right.get_legend().get_texts()[0].get_text() == "best trial, tv = 0.7"
    assert "haadf = 0.05" in figure.get_suptitle()
    assert figure_bytes(figure, "png", dpi=20)


def test_a_solve_that_met_its_limit_is_crossed_not_joined_and_sets_no_colour():
    points = [
        Compromise(0.1, 10.0, 100.0, 0.5),
        Compromise(1.0, 11.0, 70.0, 0.3),
        Compromise(6.0, 9.0, 200.0, 0.865, finished=False),
    ]
    figure = pareto_figure(points, Weights(0.05, 0.2))
    left, right = figure.axes[:2]
    assert np.isnan(left.lines[0].get_xydata()).tolist() == [[False] * 2] * 2 + [[True] * 2]
    assert left.lines[1].get_xydata().tolist() == [[200.0, 9.0]]
    coloured = left.collections[0]
    assert (coloured.norm.vmin, coloured.norm.vmax) == (0.3, 0.5)
    assert len(coloured.get_offsets()) == 2
    assert "iteration limit" in right.get_legend().get_texts()[0].get_text()


@pytest.mark.parametrize(
    ("variations", "data"), [((8e3, 7e4), (1.0e5, 1.3e5)), ((20.0, 21.0), (-5.0, 3.0))]
)
def test_ticks_are_plain_numbers_that_do_not_meet_and_names_stay_inside(variations, data):
    places = zip((0.1, 6.0), data, reversed(variations), strict=True)
    points = [Compromise(tv, d, v, 0.4) for tv, d, v in places]
    figure = pareto_figure(points, Weights(0.05, 0.1))
    figure.draw_without_rendering()
    left = figure.axes[0]
    frame = left.get_window_extent()
    for axis in (left.xaxis, left.yaxis):
        low, high = sorted(axis.get_view_interval())
        shown = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        inside = [text for place, text in shown if low <= place <= high]
        boxes = [text.get_window_extent() for text in inside]
        assert len(boxes) >= 2
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        assert not any("10^" in t.get_text() or "e" in t.get_text() for t in inside)
    assert all(frame.x1 >= t.get_window_extent().x1 for t in left.texts)


def test_one_point_is_drawn_too():
    figure = pareto_figure([Compromise(1.0, 12.0, 50.0, 0.3)], Weights(0.05, 1.0))
    assert figure.axes[0].lines[0].get_xdata() == pytest.approx([50.0])


def test_where_no_solve_finished_all_are_crosses():
    points = [Compromise(tv, 10.0, 50.0, tv, finished=False) for tv in (0.1, 1.0)]
    assert not pareto_figure(points, Weights(0.05, 2.0)).axes[0].collections
