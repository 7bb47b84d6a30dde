"""Recorded beside predicted counts, and what a figure needs before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest

import tomoatlas as ta
from tomoatlas.analysis.figures import CELL, FIGURES, Entry, draw_figure
from tomoatlas.analysis.figures.projections import projections_figure
from tomoatlas.analysis.figures.source import Source
from tomoatlas.recon_core.contrast import contrast_of
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.metrics.misfit import expected_counts


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
