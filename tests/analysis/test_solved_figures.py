"""Figures that solve again, of a real study: what they show is what such a solve gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import tomoatlas as ta
from tomoatlas.analysis.figures import draw_figure
from tomoatlas.analysis.figures.faults import solved_under
from tomoatlas.analysis.figures.haadf import BLURS_PX, DIRECTIONS, resolution_figure, resolutions
from tomoatlas.analysis.figures.source import Source
from tomoatlas.analysis.rerun import best_rows, weights_of_row
from tomoatlas.recon_core.metrics.resolution import AGAINST_TRUTH, shell_correlation
from tomoatlas.sweep.evaluate import evaluate
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study.trial import Cell

STUDY = ta.parse_study(
    """[study]\nname = "solved"\nedition = 3\n[specimen]\nkind = "nanocubes"\nsize = 20\n"""
    """[acquisition]\nhaadf_tilts = 15\nchemical_tilts = 5\n[solver]\nmax_iterations = 60\n"""
    """[search]\ntrials = 3\ninitial = 2\nchemistry_tv_trials = 3\n"""
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("solved") / "out"
    run(STUDY, folder, InlineExecutor())
    return Source((folder,))


@pytest.fixture(scope="module")
def chemistry_tv(source: Source) -> ta.Weights:
    """Weights of the best trial without HAADF."""
    rows = best_rows(STUDY, source.cell, source.trials)
    return weights_of_row(rows[ta.Method.CHEMISTRY_TV])


def scores(method: ta.Method, weights: ta.Weights | None = None) -> list[float]:
    """NRMSE of every element, of a solve of its own."""
    found = evaluate(STUDY, STUDY.trial(Cell(0), method, 0, weights))
    return list(found.nrmse_by_element.values())


def written(figure: Figure) -> dict[str, list[float]]:
    """NRMSE of every element beneath the slices, by the title of their column."""
    panels = [ax for ax in figure.axes if ax.images]
    titles = [ax.get_title().split("\n")[0].strip() for ax in panels if ax.get_title()]
    rows = [panels[i : i + len(titles)] for i in range(0, len(panels), len(titles))]
    columns = list(zip(*rows, strict=True))[1:]  # the truth has none
    return {
        title: [float(ax.get_xlabel().removeprefix("NRMSE ")) for ax in column]
        for title, column in zip(titles[1:], columns, strict=True)
    }


def test_each_term_left_out_has_the_nrmse_of_a_solve_with_that_weight_zero(source, chemistry_tv):
    found, best = written(draw_figure("terms", source)), source.fused.weights
    fused = ta.Method.FUSED
    digits = 5e-4 + 1e-9  # of what is written
    assert found["All terms"] == pytest.approx(scores(fused, best), abs=digits)
    without_tv = scores(fused, replace(best, tv=0.0))
    assert found["Without TV"] == pytest.approx(without_tv, abs=digits)
    without_haadf = scores(fused, replace(chemistry_tv, haadf=0.0))
    assert found["Without HAADF"] == pytest.approx(without_haadf, abs=digits)
    assert found["Without both"] == pytest.approx(scores(ta.Method.ML), abs=digits)
    # Two solvers of the same ill-conditioned fit, which stop in different places of its noise.
    neither = scores(fused, ta.Weights(haadf=0.0, tv=0.0))
    assert found["Without both"] == pytest.approx(neither, rel=0.1)


def test_the_blurrier_haadf_the_less_is_resolved(source):
    weights = source.fused.weights
    solved = [solved_under(STUDY, weights, {"haadf_blur_px": blur}) for blur in (0.0, 1.0, 2.0)]
    found = [resolutions(each.solved.volumes, each.truth.volumes, 1.0)[0].mean() for each in solved]
    assert found == sorted(found)
    assert found[-1] > 1.2 * found[0]


def test_the_figure_shows_the_condition_itself_its_blurs_and_the_maps_alone(source):
    figure = draw_figure("haadf-resolution", source)
    volumes, truth = source.fused.slices.volumes[ta.Method.FUSED], source.fused.slices.truth
    nm = source.fused.slices.voxel_size_nm
    panels = [ax for ax in figure.axes if ax.lines]
    assert [ax.get_title() for ax in panels] == list(DIRECTIONS.values())
    own = shell_correlation(volumes[0], truth[0], nm).resolution_nm(AGAINST_TRUTH)
    (line,) = (
        line for line in panels[0].lines if line.get_label() == source.fused.slices.elements[0]
    )
    assert line.get_xdata().tolist() == list(BLURS_PX)
    assert line.get_ydata()[0] == own
    alone = source.rerun.slices.volumes[ta.Method.CHEMISTRY_TV]
    dashed = {line.get_ydata()[0] for line in panels[0].lines if line.get_linestyle() == "--"}
    expected = resolutions(alone, truth, nm)[0]
    assert dashed == set(expected[np.isfinite(expected)])


def test_what_is_not_resolved_is_not_drawn():
    fused = np.full((len(BLURS_PX), len(DIRECTIONS), 1), 4.0)
    fused[-1] = np.inf
    panel = resolution_figure(fused, None, ("Au",), 1.0).axes[0]
    assert np.isnan(panel.lines[0].get_ydata()[-1])
    assert panel.lines[1].get_ydata()[0] == 2.0
    assert len(panel.lines) == 2
