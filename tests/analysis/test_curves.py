from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.legend import Legend

from tomoatlas.analysis.atlas import Atlas
from tomoatlas.analysis.figures.curves import converged_from, curves_figure
from tomoatlas.analysis.maps import pages
from tomoatlas.analysis.style import CHEMICAL_SNR, HAADF_SNR


def snr_page(hole: bool = False, alone: bool = False):
    rows = [
        {HAADF_SNR: h, CHEMICAL_SNR: c, "nrmse": 0.3 + 0.5 / h + 0.1 / c, "nrmse_ml": 1.0 + 1 / c}
        for h in (2, 10, 50, 500)
        for c in (1.5, 3.0, 20.0)
    ]
    table = pd.DataFrame(rows).assign(
        haadf=0.1, tv=1.0, trials=1, nrmse_ml_stopped=0.8, nrmse_chemistry_tv=0.6
    )
    if hole:
        table.loc[4, "nrmse"] = np.nan
    if alone:
        table = table.assign(nrmse_ml=np.nan, nrmse_ml_stopped=np.nan, nrmse_chemistry_tv=np.nan)
    return pages(Atlas(table, (HAADF_SNR, CHEMICAL_SNR)))[0]


def test_curves_stand_at_the_true_values_of_each_axis():
    left, right = curves_figure(snr_page()).axes
    labels = ("HAADF SNR (logarithmic)", "Chemical SNR (logarithmic)")
    assert (left.get_xlabel(), right.get_xlabel()) == labels
    assert (left.get_xscale(), right.get_xscale()) == ("log", "log")
    first = next(line for line in left.lines if line.get_label() == "1.5")
    assert first.get_xdata().tolist() == [2, 10, 50, 500]
    assert first.get_ydata() == pytest.approx([0.3 + 0.5 / h + 0.1 / 1.5 for h in (2, 10, 50, 500)])
    assert [t.get_text() for t in left.get_xticklabels()] == ["2", "10", "50", "500"]
    assert [legend.get_title().get_text() for legend in legends(left)] == ["Chemical SNR"]


def legends(ax):
    return [artist for artist in ax.artists if isinstance(artist, Legend)]


def test_baselines_are_not_listed_as_values_of_an_axis():
    _, right = curves_figure(snr_page()).axes
    values, baselines = legends(right)
    assert values.get_title().get_text() == "HAADF SNR"
    assert [t.get_text() for t in values.get_texts()] == ["2", "10", "50", "500"]
    assert baselines.get_title().get_text() == "without HAADF"
    assert "ML, converged" in [t.get_text() for t in baselines.get_texts()]


def test_methods_that_were_not_run_are_not_named():
    _, right = curves_figure(snr_page(alone=True)).axes
    assert [legend.get_title().get_text() for legend in legends(right)] == ["HAADF SNR"]


def test_the_highest_point_is_not_cut():
    for ax in curves_figure(snr_page()).axes:
        highest = max(np.nanmax(line.get_ydata()) for line in ax.lines)
        assert ax.get_ylim()[1] > 1.04 * highest


def test_curves_differ_in_colour_and_marker():
    left, _ = curves_figure(snr_page()).axes
    curves = [line for line in left.lines if line.get_label() in ("1.5", "3", "20")]
    assert len({(line.get_marker(), line.get_color().tobytes()) for line in curves}) == 3
    assert len({line.get_marker() for line in curves}) == 3


def test_baselines_are_drawn_where_they_depend_on_the_axis():
    left, right = curves_figure(snr_page()).axes
    labels = [line.get_label() for line in left.lines]
    assert "ML, converged" not in labels
    ml = next(line for line in right.lines if line.get_label() == "ML, converged")
    assert ml.get_ydata() == pytest.approx([1 + 1 / 1.5, 1 + 1 / 3, 1.05])


def test_a_hole_breaks_the_curve():
    left, _ = curves_figure(snr_page(hole=True)).axes
    curve = next(line for line in left.lines if line.get_label() == "3")
    assert np.isnan(curve.get_ydata()).tolist() == [False, True, False, False]


def test_nothing_known_is_said():
    page = snr_page()
    page.atlas.table.loc[:, [c for c in page.atlas.table if c.startswith("nrmse")]] = np.nan
    for ax in curves_figure(page).axes:
        assert [t.get_text() for t in ax.texts] == ["no result yet"]


def test_where_a_curve_has_converged():
    assert converged_from(np.array([1.0, 0.5, 0.31, 0.3])) == 2
    assert converged_from(np.array([0.31, 0.5, 0.31, 0.3])) == 2
    assert converged_from(np.array([0.3, np.nan, 0.3, np.nan])) == 0
    assert converged_from(np.array([1.0, 0.3])) is None
    assert converged_from(np.array([np.nan, np.nan])) is None


def test_rings_mark_it():
    figure = curves_figure(snr_page())
    rings = [line for line in figure.axes[0].lines if line.get_fillstyle() == "none"]
    assert [r.get_xdata().tolist() for r in rings] == [[50.0]] * 3
    assert "ring" in figure.get_suptitle()


def test_labels_that_would_overlap_are_left_out():
    page = snr_page()
    table = page.atlas.table.replace({CHEMICAL_SNR: {3.0: 1.6}})
    _, right = curves_figure(pages(Atlas(table, page.atlas.axes))[0]).axes
    assert right.get_xticks().tolist() == [1.5, 1.6, 20.0]
    assert [t.get_text() for t in right.get_xticklabels()] == ["1.5", "", "20"]
