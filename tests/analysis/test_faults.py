"""What faults cost: none of them is the condition itself, and figures show what was solved."""

from __future__ import annotations

import numpy as np
import pytest

import tomoatlas as ta
from tomoatlas.analysis.figures.faults import (
    DAMPINGS,
    FAULTS,
    NO_FAULT,
    Ranked,
    faults_figure,
    solved_under,
    thickness_figure,
)
from tomoatlas.phantoms.disturbances import Disturbances
from tomoatlas.sweep.evaluate import evaluate

STUDY = ta.parse_study(
    """[study]\nname = "faults"\n[specimen]\nkind = "nanocubes"\nsize = 16\n"""
    """[acquisition]\nhaadf_tilts = 5\nchemical_tilts = 3\n[solver]\nmax_iterations = 5\n"""
)
WEIGHTS = ta.Weights(haadf=0.1, tv=1.0)


def test_no_fault_is_the_condition_itself_and_another_is_not():
    trial = STUDY.trial(STUDY.cells()[0], ta.Method.FUSED, 0, WEIGHTS)
    own = evaluate(STUDY, trial).nrmse_by_element
    assert solved_under(STUDY, WEIGHTS, FAULTS[NO_FAULT]).nrmse_by_element == own
    assert solved_under(STUDY, WEIGHTS, {"film": 0.5}).nrmse_by_element != own


@pytest.mark.parametrize("fault", FAULTS.values())
def test_every_fault_of_the_ranking_is_within_its_law(fault):
    assert bool(Disturbances(**fault).active()) == bool(fault)


def test_the_worst_fault_is_on_top_and_the_bars_reach_from_least_to_most():
    names = [NO_FAULT, "worse", "worst"]
    found = np.array([[0.2, 0.2], [0.3, 0.5], [0.8, 1.0]])
    (ax,) = faults_figure(names, [Ranked("one", "k", found)], "48³").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    line, _, (bars,) = ax.containers[0]
    assert np.allclose(line.get_xdata(), [0.2, 0.4, 0.9])
    assert np.allclose([segment[:, 0] for segment in bars.get_segments()], found)


def test_damping_is_drawn_by_its_law():
    scores = np.linspace(0.2, 0.4, 2 * len(DAMPINGS)).reshape(-1, 2)
    left, right = thickness_figure(scores, ("Co", "O")).axes
    lost = [1 - line.get_ydata()[-1] for line in left.lines]
    assert np.allclose(lost, DAMPINGS)
    assert np.allclose([line.get_ydata() for line in right.lines], scores.T)
