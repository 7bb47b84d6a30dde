from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from tomoatlas.analysis.journal import load_trials
from tomoatlas.analysis.table import atlas_table, best_trial, trials_table
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus


def record(number: int = 0, **changes: object) -> dict[str, object]:
    return {
        "trial_id": f"id{number}",
        "cell": {},
        "method": "fused",
        "number": number,
        "weights": {"haadf": 0.1, "tv": 1.0},
        "status": "ok",
        "nrmse": 0.5,
        "nrmse_by_element": {"Co": 0.4, "O": 0.6},
        "seconds": 1.0,
    } | changes


def test_one_row_per_trial_with_axes_weights_and_elements(folder, study):
    trials = load_trials(folder)
    assert len(trials) == len(study.cells()) * (5 + 3 + 1 + 1)
    assert {"acquisition.haadf_tilts", "haadf", "tv", "nrmse_Au", "number"} <= set(trials.columns)
    assert trials.loc[trials["method"] == "ml", ["haadf", "tv"]].isna().all(axis=None)


def test_the_worker_of_a_trial_is_known_where_the_journal_names_it(folder):
    assert set(load_trials(folder)["worker"]) == {"0"}
    assert load_trials(folder)["host"].nunique() == 1
    old = trials_table([record(0), record(1, worker="3", host="node7")])
    assert old[["worker", "host"]].isna().to_numpy().tolist() == [[True, True], [False, False]]
    assert old.loc[1, ["worker", "host"]].tolist() == ["3", "node7"]


def test_totals_are_columns_where_the_journal_records_them(study):
    table = trials_table([record(0), record(1, totals={"Co": 1.1, "O": None, "Au": -1})])
    assert table["total_Co"].tolist() == pytest.approx([math.nan, 1.1], nan_ok=True)
    assert table[["total_O", "total_Au"]].isna().all(axis=None)
    assert not [name for name in trials_table([record(0)]) if str(name).startswith("total_")]


def test_torn_last_line_is_left_out(folder):
    journal = folder / "trials.jsonl"
    whole = len(load_trials(folder))
    journal.write_bytes(journal.read_bytes()[:-25])
    assert len(load_trials(folder)) == whole - 1


def test_garbage_inside_the_journal_is_left_out_with_a_warning(folder):
    journal = folder / "trials.jsonl"
    whole = len(load_trials(folder))
    journal.write_bytes(b"\x00nonsense\n" + journal.read_bytes())
    with pytest.warns(RuntimeWarning, match="line 1"):
        assert len(load_trials(folder)) == whole


def test_atlas_has_one_row_per_cell_in_order(folder, study):
    table = atlas_table(load_trials(folder), study)
    assert [tuple(row) for row in table[list(study.axes)].to_numpy()] == [
        tuple(v for _, v in cell.values) for cell in study.cells()
    ]
    assert list(table.columns)[2:5] == ["haadf", "tv", "nrmse"]
    assert (table["trials"] == 5).all()
    assert (table["failed"] == 0).all()


def test_row_holds_the_best_trial_with_its_weights(folder, study):
    trials = load_trials(folder)
    table = atlas_table(trials, study)
    fused = trials[(trials["method"] == "fused") & (trials["acquisition.haadf_tilts"] == 35)]
    fused = fused[fused["acquisition.chemical_tilts"] == 9]
    best = fused.loc[fused["nrmse"].idxmin()]
    row = table[(table.iloc[:, 0] == 35) & (table.iloc[:, 1] == 9)].iloc[0]
    for column in ("haadf", "tv", "nrmse", "nrmse_Co"):
        assert row[column] == best[column]


def test_fused_does_not_borrow_a_baselines_score(folder, study):
    table = atlas_table(load_trials(folder), study)
    ordered = ["nrmse", "nrmse_chemistry_tv", "nrmse_ml_stopped", "nrmse_ml"]
    assert (np.diff(table[ordered].to_numpy(), axis=1) > 0).all()


@pytest.mark.parametrize("status", ["failed", "timeout", "crashed"])
def test_only_failures_make_an_empty_cell(status):
    study = parse_study('[study]\nname = "one"\n[specimen]\nkind = "nanocubes"')
    trials = trials_table([record(i, status=status, nrmse=0.01) for i in range(3)])
    row = atlas_table(trials, study).iloc[0]
    assert math.isnan(row["nrmse"])
    assert math.isnan(row["haadf"])
    assert (row["trials"], row["failed"]) == (0, 3)


@pytest.mark.parametrize("score", [None, math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_never_wins(score):
    trials = trials_table([record(0, nrmse=score), record(1, nrmse=0.7)])
    best = best_trial(trials, Method.FUSED)
    assert best is not None
    assert best["nrmse"] == 0.7


def test_equal_scores_go_to_the_earlier_trial_whatever_the_order_of_lines():
    lines = [record(2), record(0), record(1)]
    for order in (lines, lines[::-1]):
        best = best_trial(trials_table(order), Method.FUSED)
        assert best is not None
        assert best["number"] == 0


def test_a_doubled_line_counts_once():
    assert len(trials_table([record(0), record(0), record(1)])) == 2


@pytest.mark.parametrize("tabled", [50_000, 4])
def test_a_line_damaged_in_its_cell_does_not_hide_the_sound_one_that_a_run_counts(
    folder, study, monkeypatch, tabled
):
    monkeypatch.setattr("tomoatlas.analysis.journal.TABLED", tabled)
    journal = folder / "trials.jsonl"
    whole = load_trials(folder)
    lines = journal.read_bytes().splitlines(keepends=True)
    damaged = json.loads(lines[0])
    other = next(dict(c.values) for c in study.cells() if dict(c.values) != damaged["cell"])
    journal.write_bytes(json.dumps(damaged | {"cell": other}).encode() + b"\n" + b"".join(lines))
    found = load_trials(folder)
    same = ["trial_id", "number", *(name for name in whole if str(name).startswith("acquisition."))]
    assert len(whole.merge(found, on=same)) == len(whole)
    assert len(found) == len(whole) + 1


def test_empty_journal_gives_nan_rows(study):
    table = atlas_table(trials_table([]), study)
    assert len(table) == 9
    assert table[["nrmse", "nrmse_ml", "haadf", "tv_chemistry_tv"]].isna().all(axis=None)
    assert (table["trials"] == 0).all()


def test_failed_trials_are_counted_and_the_rest_stands(folder_of, study, response):
    def flaky(study_, trial, device="cpu"):
        if trial.method is Method.FUSED and trial.number == 1:
            return TrialResult(TrialStatus.FAILED, error="diverged: too far")
        return response(study_, trial)

    table = atlas_table(load_trials(folder_of(study, flaky)), study)
    assert (table["failed"] == 1).all()
    assert (table["trials"] == 4).all()
    assert table["nrmse"].notna().all()


def test_axis_values_of_every_kind_find_their_cell():
    study = parse_study(
        '[study]\nname = "kinds"\n[specimen]\nkind = "nanocubes"\nsize = 16\n[axes]\n'
        '"specimen.kind" = ["nanocubes", "composite"]\n"solver.gamma" = [1.5, 2.0]\n'
    )
    lines = [
        record(i, cell=dict(json.loads(json.dumps(dict(cell.values)))), nrmse=0.1 * (i + 1))
        for i, cell in enumerate(study.cells())
    ]
    table = atlas_table(trials_table(lines), study)
    assert np.allclose(table["nrmse"], [0.1, 0.2, 0.3, 0.4])
    assert pd.api.types.is_numeric_dtype(table["solver.gamma"])


def test_the_package_offers_what_notebooks_need(folder):
    from tomoatlas import analysis

    trials = analysis.load_trials(folder)
    assert trials.equals(load_trials(folder))
    assert analysis.load_atlas.__module__ == "tomoatlas.analysis.atlas"
    with pytest.raises(AttributeError, match="load_nothing"):
        analysis.load_nothing  # noqa: B018


def test_what_is_no_number_counts_as_unknown():
    table = trials_table([record(0, nrmse="much"), record(1, seconds=None), record(2)])
    assert table["nrmse"].isna().tolist() == [True, False, False]
    assert table["seconds"].isna().tolist() == [False, True, False]


def test_a_table_inside_a_record_may_differ_from_line_to_line():
    records = [
        {"trial_id": "a", "number": 0, "weights": {"tv": 1.0}, "cell": {"x": 5}, "status": "ok"},
        {"trial_id": "b", "number": 1, "weights": None, "nrmse_by_element": {"Au": None}},
        {"trial_id": "c", "number": 2, "nrmse_by_element": {"Co": 0.5}, "nrmse": 0.5},
    ]
    table = trials_table(records)
    assert table["x"].tolist()[0] == 5
    assert table["tv"].isna().tolist() == [False, True, True]
    assert table["nrmse_Co"].tolist()[2] == 0.5
    assert table["nrmse_Au"].isna().all()


def test_attempts_that_were_tried_again_are_in_the_device_time_of_their_trial() -> None:
    crashed = {"trial_id": "a", "number": 3, "status": "crashed", "seconds": 2.0, "final": False}
    ended = {"trial_id": "a", "number": 3, "status": "ok", "seconds": 1.5, "final": True}
    other = {"trial_id": "b", "number": 0, "status": "ok", "seconds": 1.0}
    table = trials_table([crashed, crashed, ended, other])
    assert list(table["seconds"]) == [1.5, 1.0]
    assert list(table["device_seconds"]) == [5.5, 1.0]
