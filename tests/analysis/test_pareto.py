from __future__ import annotations

import numpy as np
import pytest

from analysis.pareto import Compromise, compromises, pareto_figure
from analysis.save import figure_bytes
from recon_core.settings import Weights
from sweep.study import parse_study

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
"""


def test_more_tv_weight_buys_less_variation_with_worse_data_terms():
    study = parse_study(TINY)
    cell = study.cells()[0]
    found = compromises(study, cell, 0.05, [0.1, 1.0, 10.0])
    assert [p.tv for p in found] == [0.1, 1.0, 10.0]
    assert found[0].variation > found[1].variation > found[2].variation > 0
    assert found[0].data < found[1].data < found[2].data
    assert all(0 < p.nrmse < 1.5 for p in found)


def test_the_curve_shows_its_points_and_the_best_weight():
    points = [Compromise(0.1, 10.0, 100.0, 0.5), Compromise(1.0, 12.0, 50.0, 0.3)]
    figure = pareto_figure(points, Weights(0.05, 0.7), "9 tilts")
    left, right = figure.axes[:2]
    assert left.lines[0].get_xydata().tolist() == [[100.0, 10.0], [50.0, 12.0]]
    assert [t.get_text() for t in left.texts] == ["tv 0.1", "tv 1"]
    assert right.lines[0].get_xydata().tolist() == [[0.1, 0.5], [1.0, 0.3]]
    assert right.lines[1].get_xdata()[0] == 0.7
    assert "haadf = 0.05" in figure.get_suptitle()
    assert figure_bytes(figure, "png", dpi=20)


def test_a_solve_that_met_its_limit_is_crossed_and_not_joined():
    points = [Compromise(0.1, 10.0, 100.0, 0.5), Compromise(6.0, 9.0, 200.0, 0.8, finished=False)]
    figure = pareto_figure(points, Weights(0.05, 0.1))
    joined = figure.axes[0].lines[0].get_xydata()
    assert np.isnan(joined).tolist() == [[False, False], [True, True]]
    crossed = figure.axes[0].collections[1]
    assert crossed.get_offsets().tolist() == [[200.0, 9.0]]
    assert "limit of work" in figure.axes[1].get_legend().get_texts()[0].get_text()


def test_one_point_is_drawn_too():
    figure = pareto_figure([Compromise(1.0, 12.0, 50.0, 0.3)], Weights(0.05, 1.0))
    assert figure.axes[0].lines[0].get_xdata() == pytest.approx([50.0])
