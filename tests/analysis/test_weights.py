"""Weights chosen without the truth: what is held out, simulated and made of the two rules."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tomoatlas.analysis.weights import (
    ALL_SOLVES,
    AutoWeights,
    RuleChoice,
    auto_weights,
    held_out_deviance,
    self_simulated,
    turned,
)
from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.metrics.counts import hold_out
from tomoatlas.recon_core.settings import SolverSettings, newest_settings
from tomoatlas.recon_core.solver import reconstruct

QUICK = newest_settings().model_copy(update={"max_iterations": 8})
PLAN = Acquisition(haadf_tilts=9, chemical_tilts=5, chemical_snr=4.0)


@pytest.fixture(scope="module")
def series():
    return simulate(make_specimen("composite", 16), PLAN, seed=1)


@pytest.fixture(scope="module")
def solved(series):
    return reconstruct(series, settings=QUICK)


def test_the_choice_lies_between_the_rules_and_every_solve_is_counted(series):
    calls = []
    found = auto_weights(series, settings=QUICK, say=lambda *n: calls.append(n))
    one, other = found.held_out.weights, found.simulated.weights
    assert found.weights.tv == pytest.approx(math.sqrt(one.tv * other.tv), rel=1e-3)
    assert found.weights.haadf == pytest.approx(min(one.haadf, other.haadf), rel=1e-3)
    assert calls == [(n + 1, ALL_SOLVES) for n in range(ALL_SOLVES)]
    assert {rule.tried[0][0] for rule in (found.held_out, found.simulated)} == {found.usual}
    assert 0 < found.nrmse < 2
    assert found.facts["auto_held_out_tv"] == one.tv


def test_chemistry_alone_has_one_weight_and_ml_none(series):
    found = auto_weights(series, "chemistry-tv", QUICK)
    assert found.weights.haadf == 0
    assert found.weights.tv > 0
    with pytest.raises(BadInput) as caught:
        auto_weights(series, "ml", QUICK)
    assert caught.value.key == "method"


def choice(haadf: float, tv: float) -> RuleChoice:
    return RuleChoice(Weights(haadf, tv), 1.0, ())


@pytest.mark.parametrize(
    ("one", "other", "chosen", "named"),
    [
        ((0.3, 1.0), (0.4, 2.0), 0.3, ()),
        ((0.05, 1.0), (0.4, 1.0), 0.05, ("haadf",)),
        ((0.3, 0.5), (0.3, 3.0), 0.3, ("tv",)),
        ((0.011, 1.0), (0.02, 1.0), 0.011, ("lower",)),
        ((8.5, 1.0), (9.0, 1.0), 8.5, ("upper",)),
    ],
)
def test_what_is_not_decided_is_named(one, other, chosen, named):
    usual = Weights(0.3, 1.4)
    rules = choice(*one), choice(*other)
    found = AutoWeights(Method.FUSED, Weights(chosen, 1.4), *rules, 0.3, usual)
    assert len(found.doubts) == len(named)
    assert all(word in doubt for word, doubt in zip(named, found.doubts, strict=True))


def test_held_out_counts_prefer_the_volumes_they_come_from(series, solved):
    some, held = hold_out(series, 0.2, seed=3)
    mirrored = replace(solved, volumes=np.ascontiguousarray(solved.volumes[:, :, ::-1, ::-1]))
    empty = replace(solved, volumes=np.zeros_like(solved.volumes))
    scores = [held_out_deviance(some, held, each) for each in (solved, mirrored, empty)]
    assert scores == sorted(scores)


def test_a_simulation_of_a_result_is_as_noisy_as_what_it_leaves_unexplained(series, solved):
    twin = self_simulated(series, solved, QUICK, seed=2)
    assert twin.haadf_angles_deg == series.haadf_angles_deg
    assert np.array_equal(np.rint(twin.chemical), twin.chemical)
    assert twin.chemical.mean() == pytest.approx(series.chemical.mean(), rel=0.1)
    # volumes that fit worse leave more: their twin is noisier, and both more than counts alone
    wrong = replace(solved, volumes=solved.volumes[:, ::-1])
    noisier = self_simulated(series, wrong, QUICK, seed=2)
    vacuum = np.s_[:, :2, :2]
    spreads = [each.haadf[vacuum].std() for each in (series, twin, noisier)]
    assert spreads == sorted(spreads)


def test_volumes_turn_about_the_tilt_axis(solved):
    once = turned(solved.volumes)
    assert np.array_equal(turned(once), solved.volumes[:, ::-1, ::-1])
    along = solved.volumes.sum(axis=(1, 2))
    assert np.allclose(once.sum(axis=(1, 2)), along, rtol=1e-5)


def test_what_few_tilts_do_not_see_is_lost_across_the_beam_alone():
    narrow = PLAN.model_copy(update={"tilt_range_deg": (-25.0, 25.0), "chemical_snr": 30.0})
    series = simulate(make_specimen("composite", 24), narrow, seed=1)
    settings = newest_settings().model_copy(update={"max_iterations": 60})
    solved = reconstruct(series, settings=settings)
    scores = []
    for across in (False, True):
        twin = self_simulated(series, solved, settings, seed=2, across=across)
        truth = turned(solved.volumes) if across else solved.volumes
        assert twin.chemical.sum() == pytest.approx(series.chemical.sum(), rel=0.05)
        found = reconstruct(twin, settings=settings).volumes
        scores.append(float(np.mean(nrmse_by_element(found, truth))))
    assert scores[1] > 1.3 * scores[0]


def test_data_without_counts_are_refused(series):
    empty = replace(series, haadf=np.zeros_like(series.haadf))
    with pytest.raises(BadInput):
        auto_weights(empty, settings=SolverSettings(max_iterations=2))
