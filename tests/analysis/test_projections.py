"""Recorded beside predicted counts, and what a figure needs before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest

import tomoatlas as ta
from tomoatlas.analysis.figures import CELL, FIGURES, Entry, draw_figure
from tomoatlas.analysis.figures.dose import Exposure, dose_figure, exposed
from tomoatlas.analysis.figures.projections import projections_figure
from tomoatlas.analysis.figures.source import Source
from tomoatlas.recon_core.contrast import contrast_of
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.metrics.misfit import expected_counts
from tomoatlas.sweep.evaluate import evaluate


@pytest.mark.parametrize("tilts", [5, 0])
def test_the_truth_leaves_noise_alone(tilts):
    specimen = ta.make_specimen("nanocubes", size=16)
    series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=tilts, chemical_tilts=3))
    law = contrast_of(ta.SolverSettings())
    expected = expected_counts(series, specimen.volumes, law)
    figure = projections_figure(series, expected.haadf, expected.chemical, "9 tilts")
    pictures = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    rows = len(series.elements) + (tilts > 0)
    assert len(pictures) == 3 * rows
    assert np.array_equal(pictures[-3], series.chemical[-1, 1])
    assert 0.8 < np.std(pictures[2]) < 1.25
    assert "at 0°" in figure.get_suptitle()


def test_what_a_machine_lacks_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    def lacking():
        raise BadInput("not installed", key="here", accepted="an extra")

    def draw(source):
        raise AssertionError

    monkeypatch.setattr(FIGURES, "get", lambda name: Entry("needs an extra", CELL, draw, lacking))
    with pytest.raises(BadInput) as caught:
        draw_figure("needy", Source((tmp_path,)))
    assert caught.value.key == "here"


def test_a_dose_of_one_is_the_condition_itself():
    study = ta.parse_study(
        """[study]\nname = "dose"\n[specimen]\nkind = "nanocubes"\nsize = 16\n"""
        """[acquisition]\nhaadf_tilts = 5\nchemical_tilts = 3\n[solver]\nmax_iterations = 5\n"""
    )
    weights = ta.Weights(haadf=0.1, tv=1.0)
    same, more = (exposed(study, weights, factor) for factor in (1.0, 1000.0))
    specimen = ta.make_specimen("nanocubes", size=16)
    trial = study.trial(study.cells()[0], ta.Method.FUSED, 0, weights)
    assert same.nrmse == pytest.approx(tuple(evaluate(study, trial).nrmse_by_element.values()))
    assert np.mean(more.nrmse) < np.mean(same.nrmse)
    nothing = Exposure(0.5, (np.inf,) * 4, (1.4,) * 4)
    left, right = dose_figure([nothing, same, more], specimen.elements, 2.0).axes
    assert np.isnan(left.lines[0].get_ydata()[0])
    assert right.lines[0].get_ydata()[1] == same.nrmse[0]


@pytest.mark.parametrize(
    ("edition", "followed"), [(1, ta.Weights(haadf=0.025, tv=2.0)), (3, ta.Weights(0.1, 1.0))]
)
def test_weights_in_units_of_the_noise_follow_the_dose_by_themselves(
    edition, followed, monkeypatch
):
    class Solved(Exception):
        pass

    def solve(study, trial):
        raise Solved(trial.weights)

    monkeypatch.setattr("tomoatlas.analysis.volumes.reconstruct_trial", solve)
    study = ta.parse_study(
        f"""[study]\nname = "dose"\nedition = {edition}\n[specimen]\nkind = "nanocubes"\n"""
    )
    with pytest.raises(Solved) as caught:
        exposed(study, ta.Weights(haadf=0.1, tv=1.0), 4.0)
    assert caught.value.args == (followed,)
