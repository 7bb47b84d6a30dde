from __future__ import annotations

import json
import math

import pytest
from sweep_fakes import bowl, small_study

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.study.trial import (
    SCORES,
    Score,
    TrialResult,
    TrialStatus,
    score_of,
    to_record,
)

KEYS = (
    "trial_id cell method number proposal size max_iterations reduced attempt final weights status "
    "nrmse nrmse_by_element iterations "
    "seconds device started error solver_status relative_error stoichiometry "
    "stoichiometry_inside totals haze level worker host revision version commit"
)


def test_a_record_has_the_keys_of_the_journal_and_only_the_weights_of_its_method() -> None:
    study = small_study()
    cell = study.cells()[1]
    for method in Method:
        trial = study.trial(cell, method, 2, Weights(0.02, 1.0))
        record = to_record(trial, bowl(study, trial))
        assert " ".join(record) == KEYS
        assert list(record["weights"]) == list(method.weight_names)
        assert record["cell"] == {"acquisition.haadf_tilts": 9}
        assert record["trial_id"] == trial.trial_id
        assert record["status"] == "ok"


def test_numbers_that_are_not_finite_become_null() -> None:
    study = small_study()
    trial = study.trial(study.cells()[0], Method.ML, 0, Weights())
    result = TrialResult(
        TrialStatus.FAILED,
        nrmse_by_element={"Co": math.inf},
        stoichiometry={"Co": {"mean": math.nan, "sigma": 0.1}},
        totals={"Co": 0.9, "Au": math.nan},
        error="diverged",
    )
    record = json.loads(json.dumps(to_record(trial, result), allow_nan=False))
    assert record["nrmse"] is None
    assert record["relative_error"] is None
    assert record["nrmse_by_element"] == {"Co": None}
    assert record["stoichiometry"] == {"Co": {"mean": None, "sigma": 0.1}}
    assert record["totals"] == {"Co": 0.9, "Au": None}


WHOLE = TrialResult(
    TrialStatus.OK,
    nrmse=0.4,
    relative_error=0.5,
    totals={"Co": 1.5, "Au": 0.75, "Ni": math.nan},
    level={"Co": 0.9},
    haze={"Co": 0.1, "Au": 0.3},
    stoichiometry_inside={"Co": {"mean": 0.53, "sigma": 0.1, "true": 0.5}},
)
SCORED = {
    "nrmse": 0.4,
    "relative-error": 0.5,
    "totals": 0.375,
    "level": 0.1,
    "haze": 0.2,
    "stoichiometry": 0.03,
}


@pytest.mark.parametrize("score", Score)
def test_a_score_is_the_same_of_a_result_and_of_its_record(score: Score) -> None:
    study = small_study()
    trial = study.trial(study.cells()[0], Method.FUSED, 0, Weights(0.1, 1.0))
    record = json.loads(json.dumps(to_record(trial, WHOLE), allow_nan=False))
    assert score_of(score, WHOLE) == pytest.approx(SCORED[score])
    assert score_of(score, record) == score_of(score, WHOLE)


@pytest.mark.parametrize("score", Score)
def test_a_score_that_is_not_there_is_unknown(score: Score) -> None:
    key = SCORES[score].key
    for record in ({}, {key: None}, {key: {}}, {key: "x"}, {key: {"Co": []}}):
        assert math.isnan(score_of(score, record))
    assert math.isnan(score_of(score, TrialResult(TrialStatus.FAILED)))
