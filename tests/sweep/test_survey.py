"""Searches over many cells as a study runs them: the same trials whatever happens."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_fakes import ShuffledExecutor, atlas_of, read_records

from tomoatlas.analysis.journal import load_trials
from tomoatlas.analysis.progress import progress
from tomoatlas.analysis.table import atlas_table
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.estimate import Share
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.record import StudyFolder
from tomoatlas.sweep.record.merging import merge
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.run.scheduler import Scheduler
from tomoatlas.sweep.search import searches
from tomoatlas.sweep.search.context import HAADF_TILTS
from tomoatlas.sweep.search.plans import plans
from tomoatlas.sweep.search.survey import Survey
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus, weights_named

TEXT = """
[study]
name = "survey"
seed = 3
[specimen]
kind = "nanocubes"
size = 16
[search]
strategy = "contextual"
trials = 6
chemistry_tv_trials = 5
methods = ["fused", "chemistry-tv", "ml"]
[axes]
"acquisition.haadf_tilts" = [5, 9, 18]
"acquisition.chemical_tilts" = [5, 9, 18]
"""


SMALL = TEXT.replace("trials = 6", "trials = 4", 1).replace("[5, 9, 18]", "[5, 9]", 1)


def study_of(text: str = TEXT, **search: object) -> Study:
    for key, value in search.items():
        text = re.sub(rf"(?m)^{key} = .*\n", "", text)
        text = text.replace("[search]\n", f"[search]\n{key} = {value}\n")
    return parse_study(text)


def moving(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A smooth map whose optimum moves with the tilts; 0.2 to 0.9."""
    cell = dict(trial.cell.values)
    tilts = math.log(cell["acquisition.haadf_tilts"]), math.log(cell["acquisition.chemical_tilts"])
    haadf, tv = (math.log(max(w, 1e-3)) for w in (trial.weights.haadf, trial.weights.tv))
    away = (0.2 * (haadf + 3.0 - 0.5 * tilts[0])) ** 2 + (0.4 * (tv - 0.8 + 0.3 * tilts[1])) ** 2
    nrmse = min(math.exp(away - 0.1 * sum(tilts)) / 1.5, 1.9)
    return TrialResult(TrialStatus.OK, nrmse, {"Co": nrmse}, iterations=7.0, seconds=0.01)


def failing(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """The map, but its strong TV fails, and so does one cell altogether."""
    values = dict(trial.cell.values)
    if trial.weights.tv > 2.0 or set(values.values()) == {9}:
        return TrialResult(TrialStatus.FAILED, error="diverged")
    return moving(study, trial)


def undisturbed(study: Study, folder: Path) -> set[tuple[object, ...]]:
    run(study, folder, InlineExecutor(moving))
    return atlas_of(folder / "trials.jsonl")


@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(slots=st.integers(1, 9), seed=st.integers(0, 9), lag=st.integers(1, 5))
def test_trials_do_not_depend_on_workers_or_order(
    tmp_path_factory: pytest.TempPathFactory, slots: int, seed: int, lag: int
) -> None:
    study = study_of(SMALL, lag=lag)
    folder = tmp_path_factory.mktemp("runs")
    summary = run(study, folder / "shuffled", ShuffledExecutor(slots, seed, moving))
    whole = undisturbed(study, folder / "one")
    assert atlas_of(folder / "shuffled" / "trials.jsonl") == whole
    assert summary.total == summary.done == len(whole)


@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(kept=st.integers(0, 50), seed=st.integers(0, 9), lag=st.integers(1, 5))
def test_any_part_of_a_record_is_resumed_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory, kept: int, seed: int, lag: int
) -> None:
    study = study_of(SMALL, lag=lag)
    folder = tmp_path_factory.mktemp("runs")
    journal = folder / "two" / "trials.jsonl"
    whole = undisturbed(study, folder / "one")
    run(study, folder / "two", ShuffledExecutor(4, seed, moving))
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:kept]))
    run(study, folder / "two", ShuffledExecutor(3, seed + 1, moving))
    assert atlas_of(journal) == whole
    announced: list[int] = []
    again = run(
        study, folder / "two", InlineExecutor(failing), on_start=lambda *n: announced.extend(n)
    )
    assert announced == [len(whole), len(whole)]
    assert (again.resumed, again.done, again.drained) == (len(whole), len(whole), False)


def test_a_lost_line_is_made_good(tmp_path: Path) -> None:
    whole = undisturbed(study_of(), tmp_path)
    journal = tmp_path / "trials.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5] + lines[6:]))
    run(study_of(), tmp_path, ShuffledExecutor(3, 1, moving))
    assert atlas_of(journal) == whole


def test_proposals_know_all_but_the_lag_and_all_before_the_search_ends(tmp_path: Path) -> None:
    study = study_of(lag=3, methods='["fused"]')
    run(study, tmp_path, ShuffledExecutor(9, 0, moving))
    made = sorted(
        (r["proposal"] for r in read_records(tmp_path / "trials.jsonl")), key=lambda p: p["number"]
    )
    assert [p["number"] for p in made] == list(range(len(made)))
    assert [p["known"] for p in made[:11]] == [0] * 8 + [6, 7, 8]
    before = 0
    for proposal in made[8:]:
        expected = max(before, proposal["number"] - 2)
        assert proposal["known"] in (expected, proposal["number"])
        before = proposal["known"]
    assert all(p["gain"] is None or p["gain"] >= study.search.precision for p in made)


def test_a_survey_needs_few_trials_and_finds_every_optimum(tmp_path: Path) -> None:
    study = study_of(methods='["fused"]', trials=20)
    summary = run(study, tmp_path, InlineExecutor(moving))
    best: dict[tuple[object, ...], float] = {}
    for record in read_records(tmp_path / "trials.jsonl"):
        cell = tuple(record["cell"].values())
        best[cell] = min(best.get(cell, math.inf), record["nrmse"])
    regret = [
        nrmse * 1.5 * math.exp(0.1 * (math.log(float(str(a))) + math.log(float(str(b))))) - 1.0
        for (a, b), nrmse in best.items()
    ]
    assert len(regret) == 9
    assert summary.done <= 4 * 9
    assert max(regret) < 0.02


def test_failures_are_among_the_results_and_the_search_goes_on(tmp_path: Path) -> None:
    study = study_of(methods='["fused"]')
    summary = run(study, tmp_path / "one", InlineExecutor(failing))
    again = run(study, tmp_path / "five", ShuffledExecutor(5, 2, failing))
    one, five = (atlas_of(tmp_path / name / "trials.jsonl") for name in ("one", "five"))
    assert one == five
    assert summary.done == again.done == summary.total
    assert summary.failed >= 3
    good = [r for r in read_records(tmp_path / "one" / "trials.jsonl") if r["status"] == "ok"]
    assert len({tuple(r["cell"].values()) for r in good}) == 8


def test_a_grown_study_keeps_its_trials_and_goes_on(tmp_path: Path) -> None:
    first = undisturbed(study_of(), tmp_path)
    text = TEXT.replace('tilts" = [5, 9, 18]\n"', 'tilts" = [5, 9, 18, 35]\n"')
    larger = parse_study(text.replace("trials = 6", "trials = 8", 1))
    summary = run(larger, tmp_path, ShuffledExecutor(3, 0, moving))
    whole = atlas_of(tmp_path / "trials.jsonl")
    assert first < whole
    assert summary.resumed == len(first)
    assert len({row[0] for row in whole if row[1] == "fused"}) == 12


def test_a_more_precise_search_goes_on_and_a_coarser_one_is_another_study(tmp_path: Path) -> None:
    first = undisturbed(study_of(precision=0.01), tmp_path)
    run(study_of(precision=0.001), tmp_path, InlineExecutor(moving))
    assert first < atlas_of(tmp_path / "trials.jsonl")
    with pytest.raises(BadInput) as refused:
        run(study_of(precision=0.01), tmp_path, InlineExecutor(moving))
    assert refused.value.key == "search.precision"


def test_a_search_that_ended_may_be_doubted_later(tmp_path: Path) -> None:
    first = undisturbed(study_of(precision=0.01), tmp_path)
    run(study_of(precision=0.01, doubt=0.5), tmp_path, InlineExecutor(moving))
    doubted = atlas_of(tmp_path / "trials.jsonl")
    assert first < doubted
    shuffled = tmp_path / "shuffled"
    run(study_of(precision=0.01, doubt=0.5), shuffled, ShuffledExecutor(5, 1, moving))
    assert atlas_of(shuffled / "trials.jsonl") == doubted


def test_a_trial_without_its_place_in_the_order_is_passed_over(tmp_path: Path) -> None:
    study = study_of()
    whole = undisturbed(study, tmp_path)
    journal = tmp_path / "trials.jsonl"
    records = read_records(journal)
    records[3]["proposal"] = None
    records[4]["proposal"] = {"number": 2, "known": 7}
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    scheduler = Scheduler(study, read_records(journal))
    assert scheduler.done == len(whole) - 2
    assert any("2 trials" in note for note in scheduler.notes)


def test_cells_without_haadf_are_searched_apart_and_those_of_other_seeds_together() -> None:
    text = TEXT.replace("[5, 9, 18]", "[0, 9]", 1) + '"specimen.seed" = [0, 1]\n'
    found = [plan for plan in plans(searches(parse_study(text))) if isinstance(plan, Survey)]
    sizes = {(p.searches[0].method, len(p.searches)) for p in found}
    # Fused with HAADF, fused without, and chemistry + TV of all tilts; of both specimens.
    assert len(found) == 3
    assert sizes == {(Method.FUSED, 6), (Method.CHEMISTRY_TV, 12)}
    without = next(p for p in found if p.searches[0].study.acquisition.haadf_tilts == 0)
    trials = [without.next_trial(), without.next_trial()]
    assert all(trial is not None for trial in trials)
    assert {trial.weights.haadf for trial in trials if trial} == {0.02}
    assert len({trial.weights.tv for trial in trials if trial}) == 2


def test_an_exponent_is_searched_with_the_weights_and_left_where_it_has_no_effect() -> None:
    text = TEXT.replace("[5, 9, 18]", "[0, 9]", 1).replace(
        "[axes]", "space = { haadf = [0.01, 1.0], tv = [0.2, 4.0], gamma = [1.5, 2.0] }\n[axes]"
    )
    without, fused = (
        plan
        for plan in plans(searches(parse_study(text)))
        if isinstance(plan, Survey) and plan.searches[0].method is Method.FUSED
    )
    made = [plan.next_trial() for plan in (fused, fused, without, without)]
    weights = [trial.weights_record() for trial in made if trial is not None]
    assert all(1.5 <= w["gamma"] <= 2.0 for w in weights)
    assert weights[0]["gamma"] != weights[1]["gamma"]
    assert weights[2]["gamma"] == weights[3]["gamma"] == 2.0


def test_the_lag_follows_from_the_number_of_cells() -> None:
    by_cells = {
        len(plan.searches): plan.lag
        for axis in ([5, 9], list(range(5, 45)))
        for plan in plans(searches(parse_study(TEXT.replace("[5, 9, 18]", str(axis), 1))))
        if isinstance(plan, Survey)
    }
    assert by_cells == {6: 1, 120: 15}
    assert {plan.lag for plan in plans(searches(study_of(lag=4))) if len(plan.searches) > 1} == {4}
    assert study_of().search.lag is None
    assert parse_study(TEXT.replace('"contextual"', '"per-cell"')).search.lag == 1


def test_a_strategy_is_part_of_a_study_and_not_of_its_trials(tmp_path: Path) -> None:
    contextual = study_of()
    alone = parse_study(TEXT.replace('"contextual"', '"per-cell"'))
    assert contextual.study_hash() != alone.study_hash()
    first = searches(alone)[0].next_trial()
    assert searches(contextual)[0].trial(0, first.weights) == first
    undisturbed(contextual, tmp_path)
    with pytest.raises(BadInput) as refused:
        run(alone, tmp_path, InlineExecutor(moving))
    assert refused.value.key == "search.strategy"


def test_cells_that_are_searched_together_are_not_divided(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        Share(1, 2).cells(study_of())
    assert (refused.value.key, refused.value.value) == ("--cells", "1/2")
    for name in ("one", "two"):
        StudyFolder(tmp_path / name).path.mkdir()
        StudyFolder(tmp_path / name).keep(study_of())
    with pytest.raises(BadInput) as refused:
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    assert refused.value.key == "search.strategy"


FIDELITY = TEXT.replace("size = 16", "size = 64").replace("trials = 6", "trials = 12", 1)


def shifted(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """The map, whose optimum for TV moves with the size and for HAADF hardly with iterations."""
    tv = trial.weights.tv * (study.specimen.size / 64) ** 0.7
    haadf = trial.weights.haadf * (study.solver.max_iterations / 400) ** 0.05
    moved = replace(trial, weights=Weights(haadf, tv))
    return moving(study, moved)


def test_a_search_at_half_the_size_is_confirmed_at_the_full_one(tmp_path: Path) -> None:
    study = study_of(FIDELITY, methods='["fused", "ml"]', fidelity="{ size = 0.5 }")
    summary = run(study, tmp_path / "one", InlineExecutor(shifted))
    run(study, tmp_path / "five", ShuffledExecutor(5, 1, shifted))
    one, five = (atlas_of(tmp_path / name / "trials.jsonl") for name in ("one", "five"))
    assert one == five
    assert summary.done == summary.total == len(one)
    fused = [r for r in read_records(tmp_path / "one" / "trials.jsonl") if r["method"] == "fused"]
    by_proposal = sorted(fused, key=lambda r: r["proposal"]["number"])
    sizes = [r["size"] for r in by_proposal]
    confirmed = sizes.count(64)
    assert sizes == [32] * (len(sizes) - confirmed) + [64] * confirmed
    assert 9 <= confirmed <= 18
    assert [r["reduced"] for r in by_proposal] == [size == 32 for size in sizes]
    # The first confirmation knows all that half the size can tell.
    first = by_proposal[len(sizes) - confirmed]["proposal"]
    assert first["known"] == first["number"]
    table = atlas_table(load_trials(tmp_path / "one"), study)
    full = [(r["cell"], r["nrmse"]) for r in fused if not r["reduced"]]
    cells = [dict(cell.values) for cell in study.cells()]
    best = [min(nrmse for where, nrmse in full if where == cell) for cell in cells]
    assert table["nrmse"].tolist() == best
    assert table["trials"].sum() == confirmed
    optimum = [math.exp(-0.1 * sum(math.log(n) for n in c.values())) / 1.5 for c in cells]
    assert max(n / o for n, o in zip(best, optimum, strict=True)) < 1.03
    state = progress(load_trials(tmp_path / "one"), study)
    assert (state.complete, state.cells_done) == (True, 9)


def test_truncated_trials_have_identities_of_their_own(tmp_path: Path) -> None:
    study = study_of(TEXT, methods='["fused"]', fidelity="{ iterations = 40 }", trials=3)
    run(study, tmp_path, InlineExecutor(shifted))
    records = read_records(tmp_path / "trials.jsonl")
    assert {(r["max_iterations"], r["reduced"], r["size"]) for r in records} == {
        (40, True, 16),
        (400, False, 16),
    }
    ids = {
        limit: {r["trial_id"] for r in records if r["max_iterations"] == limit}
        for limit in (40, 400)
    }
    assert not ids[40] & ids[400]
    plain = searches(study_of(TEXT))[0]
    full = next(r for r in records if not r["reduced"] and r["cell"] == dict(plain.cell.values))
    same = plain.trial(full["number"], weights_named(full["weights"]))
    assert same.trial_id == full["trial_id"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('fidelity = { size = 0.5 }\nstrategy = "contextual"', "search.fidelity.size"),
        ('fidelity = { iterations = 400 }\nstrategy = "contextual"', "search.fidelity.iterations"),
        ('fidelity = { iterations = 40 }\nstrategy = "per-cell"', "search.fidelity"),
        ('fidelity = {}\nstrategy = "contextual"', "search.fidelity"),
    ],
)
def test_a_fidelity_that_says_nothing_is_refused(text: str, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_study(TEXT.replace('strategy = "contextual"', text))
    assert refused.value.key == key


def test_a_search_that_starts_from_an_atlas_needs_no_design(tmp_path: Path) -> None:
    fused = study_of(methods='["fused"]')
    run(fused, tmp_path / "small", InlineExecutor(shifted))
    text = TEXT.replace("size = 16", "size = 20").replace("[5, 9, 18]", "[5, 7, 9, 18]", 1)
    study = study_of(text, methods='["fused"]', start=f'"{tmp_path / "small"}"')
    summary = run(study, tmp_path / "one", InlineExecutor(shifted))
    run(study, tmp_path / "five", ShuffledExecutor(5, 3, shifted))
    one, five = (atlas_of(tmp_path / name / "trials.jsonl") for name in ("one", "five"))
    assert one == five
    assert 12 <= summary.done <= 24
    records = read_records(tmp_path / "one" / "trials.jsonl")
    table = atlas_table(load_trials(tmp_path / "one"), study)
    optimum = [
        math.exp(-0.1 * sum(math.log(n) for _, n in cell.values)) / 1.5 for cell in study.cells()
    ]
    assert (table["nrmse"] / optimum).max() < 1.03
    assert progress(load_trials(tmp_path / "one"), study).complete
    before = len(read_records(tmp_path / "small" / "trials.jsonl"))
    assert {r["proposal"]["before"] for r in records} == {before}
    # A start that has lost results would change what is proposed: it is refused.
    lines = (tmp_path / "small" / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "small" / "trials.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(BadInput) as refused:
        run(study, tmp_path / "one", InlineExecutor(shifted))
    assert refused.value.key == "search.start"


def test_a_search_goes_on_when_the_atlas_that_it_began_with_has_grown(tmp_path: Path) -> None:
    small = tmp_path / "small"
    run(study_of(methods='["fused"]', precision=0.05), small, InlineExecutor(shifted))
    text = TEXT.replace("size = 16", "size = 20")
    study = study_of(text, methods='["fused"]', start=f'"{small}"')
    run(study, tmp_path / "whole", InlineExecutor(shifted))
    whole = atlas_of(tmp_path / "whole" / "trials.jsonl")
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", cut)
    lines = (cut / "trials.jsonl").read_text().splitlines(keepends=True)
    (cut / "trials.jsonl").write_text("".join(lines[: len(lines) // 2]))
    before = len(read_records(small / "trials.jsonl"))
    run(study_of(methods='["fused"]', precision=0.001), small, InlineExecutor(shifted))
    assert len(read_records(small / "trials.jsonl")) > before
    run(study, cut, InlineExecutor(shifted))
    assert atlas_of(cut / "trials.jsonl") == whole


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "nanocubes"', 'kind = "composite"'),
        ('kind = "nanocubes"', 'kind = "nanocubes"\nseed = 1'),
        ("[search]", '[solver]\nregulariser = "guided"\n[search]'),
        ("[search]", '[search]\nscore = "haze"'),
        ("[search]", "[search]\nspace = { gamma = [1.5, 2.0] }"),
        ("[search]", "[acquisition]\ntilt_range_deg = [-60, 60]\n[search]"),
    ],
)
def test_an_atlas_of_something_else_is_no_start(tmp_path: Path, old: str, new: str) -> None:
    run(study_of(SMALL, trials=1, methods='["fused"]'), tmp_path, InlineExecutor(moving))
    study = study_of(TEXT.replace(old, new), methods='["fused"]', start=f'"{tmp_path}"')
    with pytest.raises(BadInput) as refused:
        plans(searches(study))
    assert refused.value.key == "search.start"
    with pytest.raises(BadInput) as refused:
        plans(searches(study_of(TEXT, start='"nowhere"')))
    assert refused.value.value == "nowhere"


def test_a_shipped_atlas_starts_a_search_at_another_size() -> None:
    text = f"""
[study]
name = "larger"
[specimen]
kind = "nanocubes"
size = 128
[acquisition]
haadf_snr = 2208.67
chemical_snr = {{ Co = 1.92, Cu = 2.89, O = 2.69, Au = 1.96 }}
oversample = 2
[search]
strategy = "contextual"
start = "fig4_nanocubes_64"
methods = ["fused"]
[axes]
"{HAADF_TILTS}" = [18, 47]
"acquisition.chemical_tilts" = [9, 18]
"""
    (survey,) = plans(searches(parse_study(text)))
    trial = survey.next_trial()
    assert trial is not None
    assert trial.proposal is not None
    assert trial.proposal.before > 400
    # What the atlas holds for its own size.
    assert 0.05 < trial.weights.haadf < 0.6
    assert 0.4 < trial.weights.tv < 3.0


def test_shared_baselines_run_once_and_count_in_every_cell(tmp_path: Path) -> None:
    study = study_of(SMALL, baselines='"shared"')
    summary = run(study, tmp_path, InlineExecutor(moving))
    records = read_records(tmp_path / "trials.jsonl")
    blind = [r for r in records if r["method"] != "fused"]
    assert {r["cell"][HAADF_TILTS] for r in blind} == {5}
    assert len([r for r in blind if r["method"] == "ml"]) == 3, "of maps: 5, 9, 18"
    trials = load_trials(tmp_path)
    state = progress(trials, study)
    assert state.complete
    assert state.done == state.planned == summary.total == len(records)
    table = atlas_table(trials, study).set_index([HAADF_TILTS, "acquisition.chemical_tilts"])
    for column in ("nrmse_ml", "nrmse_chemistry_tv", "tv_chemistry_tv"):
        assert (table.loc[5, column] == table.loc[9, column]).all()
    assert table["nrmse_chemistry_tv"].nunique() > 1
    assert (table.loc[5, "nrmse"] > table.loc[9, "nrmse"]).all(), "fused trials are of each cell"


def test_shared_baselines_stay_where_they_are_as_an_axis_grows(tmp_path: Path) -> None:
    first = study_of(SMALL, baselines='"shared"')
    run(first, tmp_path, InlineExecutor(moving))
    more = parse_study(first.toml().replace("= [5, 9]\n", "= [5, 9, 47]\n"))
    assert more.axes[HAADF_TILTS] == (5, 9, 47)
    before = len(read_records(tmp_path / "trials.jsonl"))
    run(more, tmp_path, InlineExecutor(moving))
    added = read_records(tmp_path / "trials.jsonl")[before:]
    assert {r["method"] for r in added} == {"fused"}
    front = parse_study(first.toml().replace("= [5, 9]\n", "= [4, 5, 9, 47]\n"))
    with pytest.raises(BadInput, match="first cells hold the baselines") as refused:
        run(front, tmp_path, InlineExecutor(moving))
    assert refused.value.key == f"axes.{HAADF_TILTS}"
    assert refused.value.accepted == "5 first, or a new folder"


OF_DOSE = """dose_e_per_A2 = 1e5
[acquisition.counts_per_electron]
HAADF = 0.1
Co = 1e-3
Cu = 1e-3
O = 1e-3
Au = 1e-3"""


@pytest.mark.parametrize(
    ("acquisition", "strategy", "problem"),
    [
        ("gamma = 2.0", "per-cell", "searches over many cells"),
        ("chemical_subset = true", "contextual", "among those of HAADF"),
        (OF_DOSE, "contextual", "share a dose"),
    ],
)
def test_baselines_are_not_shared_where_they_would_not_be_the_same(
    acquisition: str, strategy: str, problem: str
) -> None:
    text = SMALL.replace("[search]", f"[acquisition]\n{acquisition}\n[search]")
    with pytest.raises(BadInput, match=problem) as refused:
        study_of(text, baselines='"shared"', strategy=f'"{strategy}"')
    assert refused.value.key == "search.baselines"
