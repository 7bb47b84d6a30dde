from __future__ import annotations

import json
import math

from sweep_fakes import bowl, small_study

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus, to_record

KEYS = (
    "trial_id cell method number attempt final weights status nrmse nrmse_by_element iterations "
    "seconds device started error solver_status relative_error stoichiometry totals "
    "worker host revision version commit"
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
