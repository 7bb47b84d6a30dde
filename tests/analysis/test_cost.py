from __future__ import annotations

import math

import pytest

from tomoatlas.analysis.cost import failure_costs, grid_cost, method_costs
from tomoatlas.analysis.journal import load_trials
from tomoatlas.analysis.table import trials_table
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus


def test_every_method_with_its_time(folder, study):
    costs = {cost.method: cost for cost in method_costs(load_trials(folder), study)}
    fused = costs[Method.FUSED]
    assert (fused.planned, fused.done, fused.good) == (45, 45, 45)
    assert fused.hours == pytest.approx(45 * 2.0 / 3600)
    assert fused.typical_seconds == 2.0
    assert costs[Method.ML].planned == 9


def test_a_method_without_trials_has_no_time(study):
    assert all(math.isnan(cost.typical_seconds) for cost in method_costs(trials_table([]), study))
    assert grid_cost(trials_table([]), study) is None


def test_a_grid_costs_its_points_at_the_measured_median(folder, study):
    grid = grid_cost(load_trials(folder), study)
    assert grid is not None
    # haadf 0.001 to 3 in steps of 2: 13 points (0.001 · 2^12 > 3); tv 0.1 to 6: 7 points
    assert grid.points == {
        Method.FUSED: 13 * 7,
        Method.CHEMISTRY_TV: 7,
        Method.ML: 1,
        Method.ML_STOPPED: 1,
    }
    assert grid.hours == pytest.approx(9 * 2.0 * (91 + 7 + 1 + 1) / 3600)
    assert grid.search_hours == pytest.approx(9 * 2.0 * (5 + 3 + 1 + 1) / 3600)


def test_a_trial_that_compiled_makes_no_grid_dearer(folder, study):
    trials = load_trials(folder)
    before = grid_cost(trials, study)
    first = (trials["method"] == "fused") & (trials["number"] == 0)
    trials.loc[first, ["seconds", "device_seconds"]] = 65.9
    assert grid_cost(trials, study) == before


def test_failures_cost_by_class(study, folder_of, response):
    def flaky(study, trial, device="cpu"):
        if trial.method is Method.FUSED and trial.number == 1:
            return TrialResult(TrialStatus.FAILED, error="diverged: step", seconds=7.0)
        if trial.method is Method.ML:
            return TrialResult(TrialStatus.TIMEOUT, seconds=3600.0)
        return response(study, trial)

    diverged, timeout = failure_costs(load_trials(folder_of(study, flaky)))
    assert (diverged.kind, diverged.trials) == ("failed: diverged", 9)
    assert diverged.hours == pytest.approx(9 * 7.0 / 3600)
    assert (timeout.kind, timeout.trials) == ("timeout", 9)
    assert timeout.hours == pytest.approx(2 * 9.0)  # tried again once
