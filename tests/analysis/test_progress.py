from __future__ import annotations

import math

import numpy as np
import pytest

from tomoatlas.analysis.atlas import atlas_of
from tomoatlas.analysis.journal import JournalReader, load_trials
from tomoatlas.analysis.progress import duration, failures_by_class, progress, trials_left
from tomoatlas.analysis.report.data import page_data
from tomoatlas.analysis.table import trials_table
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus

CONTEXTUAL = """
[study]
name = "together"
[specimen]
kind = "nanocubes"
size = 16
[search]
strategy = "contextual"
methods = ["fused", "ml"]
[axes]
"acquisition.chemical_tilts" = [5, 9, 18, 35]
"""


def _bowl(study, trial, device="cpu"):
    weights = trial.weights_record()
    away = sum(0.05 * math.log(weight / 0.5) ** 2 for weight in weights.values())
    nrmse = 0.3 + away + 1.0 / study.acquisition.chemical_tilts
    return TrialResult(TrialStatus.OK, nrmse, {"Co": nrmse}, seconds=1.0)


def test_a_finished_study(folder, study):
    state = progress(load_trials(folder), study)
    assert state.complete
    assert state.counted == "90 of 90"
    assert (state.planned, state.done, state.ok) == (90, 90, 90)
    assert (state.cells, state.cells_done) == (9, 9)
    assert state.device_seconds == {"fused": 90, "chemistry-tv": 54, "ml": 18, "ml-stopped": 18}
    assert state.device_hours == pytest.approx(0.05)
    assert state.seconds_left == 0


def test_what_is_left_is_weighed_by_method(folder, study):
    trials = load_trials(folder)
    trials.loc[trials["method"] == "fused", ["seconds", "device_seconds"]] = 10.0
    fused = trials[(trials["method"] == "fused") & (trials["number"] == 4)]
    state = progress(trials.drop(fused.index), study)
    assert not state.complete
    assert state.cells_done == 0
    assert state.seconds_left == pytest.approx(9 * 10.0)


def test_before_the_first_trial_nothing_is_guessed(study):
    state = progress(trials_table([]), study)
    assert (state.done, state.cells_done, state.seconds_left) == (0, 0, None)


def test_a_record_without_a_time_does_not_spoil_the_forecast(study):
    rows = [
        {"trial_id": "a", "number": 0, "method": "ml", "status": "ok", "nrmse": 0.5},
        {"trial_id": "b", "number": 0, "method": "fused", "status": "ok", "nrmse": 0.5},
    ]
    assert progress(trials_table(rows), study).seconds_left is None
    timed = trials_table([rows[0], rows[1] | {"seconds": 2.0}])
    assert progress(timed, study).seconds_left == pytest.approx(2.0 * (90 - 2))


def test_classes_of_failure():
    rows = [
        {"trial_id": str(i), "status": status, "error": error, "nrmse": None}
        for i, (status, error) in enumerate(
            [
                ("failed", "BadInput: a"),
                ("failed", "BadInput: b"),
                ("timeout", None),
                ("ok", None),
            ]
        )
    ]
    assert failures_by_class(trials_table(rows)) == {
        "failed: BadInput": 2,
        "timeout": 1,
        "no finite score": 1,
    }


def test_ends_of_solves_are_counted_among_good_trials(study):
    ends = ["converged", "iteration-limit", "converged", None, "diverged"]
    rows = [
        {
            "trial_id": str(i),
            "method": "fused",
            "status": "failed" if end == "diverged" else "ok",
            "nrmse": 0.5,
            "seconds": 1.0,
            "solver_status": end,
        }
        for i, end in enumerate(ends)
    ]
    state = progress(trials_table(rows), study)
    assert state.solver == {"converged": 2, "iteration-limit": 1}


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (125, "2 min 5 s"), (7260, "2 h 1 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_search_over_many_cells_is_complete_when_it_has_ended(tmp_path):
    study = parse_study(CONTEXTUAL)
    summary = run(study, tmp_path, InlineExecutor(_bowl))
    state = progress(load_trials(tmp_path), study)
    assert state.complete
    assert (state.planned, state.done) == (summary.done, summary.done)
    assert state.cells_done == state.cells == 4
    assert not trials_left(load_trials(tmp_path), study).any()
    reader = JournalReader(tmp_path)
    page = page_data(atlas_of(tmp_path, reader.trials), reader.trials, study, {})
    planned = sum(np.array(method["planned"]) for method in page["methods"])
    np.testing.assert_array_equal(planned, np.bincount(page["trials"]["cell"]))
    assert not page["alone"]
    journal = tmp_path / "trials.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    shortened = progress(load_trials(tmp_path), study)
    assert not shortened.complete
    assert shortened.counted.startswith(f"{summary.done - 1} of about ")
