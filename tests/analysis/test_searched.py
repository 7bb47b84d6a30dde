"""A study that searches the exponent beside the weights, and minimises another score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomoatlas.analysis.atlas import Atlas, atlas_of, load_atlas, write_atlas
from tomoatlas.analysis.figures import draw_figure
from tomoatlas.analysis.figures.landscape import shares_of_variance
from tomoatlas.analysis.figures.search import best_so_far
from tomoatlas.analysis.figures.source import Source
from tomoatlas.analysis.journal import JournalReader, load_trials
from tomoatlas.analysis.posterior import posterior
from tomoatlas.analysis.recommend import recommend
from tomoatlas.analysis.report import write_report
from tomoatlas.analysis.rerun import best_rows, weights_of_row
from tomoatlas.analysis.table import best_trial, trials_of_cell
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.commands.weights import WeightOptions, choose_weights, settings_for
from tomoatlas.jobs.terminal.advice import recommendation_text
from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import SCORES, Score, Trial, TrialResult, WeightsAndGamma

STUDY = """
[study]
name = "searched"
[specimen]
kind = "nanocubes"
size = 16
[solver]
contrast = "linear"
[search]
trials = 12
initial = 8
chemistry_tv_trials = 3
methods = ["fused", "chemistry-tv", "ml"]
space = { haadf = [0.01, 1.0], tv = [0.1, 6.0], gamma = [1.0, 2.0] }
score = "totals"
[axes]
"acquisition.haadf_tilts" = [0, 9, 35]
"acquisition.chemical_tilts" = [5, 9]
"""


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(STUDY)


@pytest.fixture(scope="module")
def folder(study: Study, response, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Totals are best at gamma 1.3 and little TV, where the NRMSE is not."""

    def amounts(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
        result = response(study, trial)
        gamma = getattr(trial.weights, "gamma", 1.0)
        error = 0.02 + (gamma - 1.3) ** 2 + 0.1 * trial.weights.tv
        parts = {
            "totals": {"Co": 1 + error, "Cu": 1 - error, "Au": float("nan")},
            "level": {"Co": 0.9},
            "haze": {"Co": 0.1},
            "stoichiometry_inside": {"Co": {"mean": 0.52, "sigma": 0.04, "true": 0.5}},
        }
        return replace(result, **parts)

    out = tmp_path_factory.mktemp("searched") / "out"
    run(study, out, InlineExecutor(amounts))
    return out


def test_the_journal_has_the_exponent_where_it_is_searched(folder: Path) -> None:
    trials = load_trials(folder)
    fused = trials["method"] == "fused"
    assert trials["gamma"].notna().equals(fused)
    assert trials[fused]["gamma"].between(1.0, 2.0).all()
    assert not JournalReader(folder).notes
    records = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert {tuple(record["weights"]) for record in records} == {
        ("haadf", "tv", "gamma"),
        ("tv",),
        (),
    }


def test_a_run_again_has_nothing_to_do(folder: Path, study: Study) -> None:
    def refused(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
        raise AssertionError

    summary = run(study, folder, InlineExecutor(refused))
    assert summary.resumed == summary.total == 6 * (12 + 3 + 1)


def test_a_line_without_the_exponent_is_no_trial_of_the_study(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text((folder / "study.toml").read_text())
    line = json.loads((folder / "trials.jsonl").read_text().splitlines()[0])
    del line["weights"]["gamma"]
    (tmp_path / "trials.jsonl").write_text(json.dumps(line) + "\n")
    reader = JournalReader(tmp_path)
    assert reader.trials.empty
    assert len(reader.notes) == 1


def test_the_best_of_a_cell_is_the_one_of_the_lowest_score(folder: Path, study: Study) -> None:
    trials = load_trials(folder)
    atlas = atlas_of(folder, trials)
    assert atlas.score is Score.TOTALS
    for cell, row in zip(study.cells(), atlas.table.to_dict("records"), strict=True):
        inside = trials_of_cell(trials, dict(cell.values))
        mine = inside[inside["method"] == "fused"]
        first = mine.sort_values("score").iloc[0]
        assert best_trial(inside, Method.FUSED).equals(first)
        assert row["score"] == first["score"] == pytest.approx(abs(row["total_Co"] - 1))
        assert (row["nrmse"], row["gamma"]) == (first["nrmse"], first["gamma"])
        best = best_rows(study, cell, trials)[Method.FUSED]
        assert weights_of_row(best) == WeightsAndGamma(row["haadf"], row["tv"], row["gamma"])
    assert (atlas.table["nrmse"] > trials["nrmse"].min()).all(), "another trial has that"
    assert {"level_Co", "haze_Co", "stoichiometry_Co", "total_Au"} <= set(atlas.table)
    assert atlas.table["stoichiometry_Co"].tolist() == [0.52] * 6


def test_an_atlas_is_read_back_from_every_format(folder: Path) -> None:
    written = write_atlas(folder)
    for name in ("atlas.csv", "atlas.h5"):
        atlas = load_atlas(folder / name)
        pd.testing.assert_frame_equal(atlas.table, written.table, check_dtype=False)
        assert (atlas.notes, atlas.score) == ((), Score.TOTALS)
        assert atlas.weights("gamma").notna().tolist() == [False] * 2 + [True] * 4


def test_the_weights_and_the_exponent_are_recommended_together(folder: Path) -> None:
    atlas = load_atlas(folder)
    found = recommend(atlas, 9, 5)
    row = atlas.table.iloc[2]
    # Little TV and an exponent of 1.3 are best by the totals, which the trials show together.
    assert found.weights.tv < 0.3
    assert found.weights.gamma == found.settings.gamma == pytest.approx(1.3, abs=0.1)
    assert found.settings.contrast == "linear"
    assert (found.score, found.edition) == (Score.TOTALS, 1)
    assert found.gamma_error is not None
    (note,) = [note for note in found.notes if SCORES[Score.TOTALS].label in note]
    expected = float(note.partition(", ")[2].split()[0])
    assert 0.0 <= expected < row["score"] + 0.02


def test_the_command_names_what_the_weights_are_for(folder: Path, capsys) -> None:
    argv = ["recommend", str(folder), "--haadf-tilts", "9", "--chemical-tilts", "5"]
    assert main(argv) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {"haadf", "tv", "gamma", "for", "NRMSE"} <= set(lines)
    assert "linear" in lines["for"]
    assert main([*argv, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts["weights"]) == {"haadf", "tv", "gamma"}
    assert facts["solver"]["gamma"] == facts["weights"]["gamma"]
    assert (facts["score"], facts["edition"]) == ("totals", 1)


def test_a_reconstruction_by_the_atlas_uses_its_contrast_and_exponent(folder: Path) -> None:
    series = simulate(make_specimen("nanocubes", 8), Acquisition(haadf_tilts=9, chemical_tilts=5))
    choice = choose_weights(series, Method.FUSED, WeightOptions(atlas=str(folder)))
    settings, notes = settings_for(choice, {})
    assert (settings.contrast, notes) == ("linear", ())
    assert settings.gamma == pytest.approx(1.3, abs=0.1)
    assert choice.weights == Weights(choice.weights.haadf, choice.weights.tv)


def test_status_names_the_score_and_the_exponent(folder: Path, capsys) -> None:
    assert main(["status", str(folder)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "tilts 35, Chemical tilts 5" in x]
    assert SCORES[Score.TOTALS].label in line
    assert "gamma 1." in line
    assert main(["status", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["score"] == "totals"
    assert {"gamma", "score"} <= set(facts["best"][0])


def test_the_posterior_is_that_of_the_score_at_the_best_exponent(
    folder: Path, study: Study
) -> None:
    space = study.search.space.of(Method.FUSED)
    trials = trials_of_cell(load_trials(folder), dict(study.cells()[-1].values))
    found = posterior(trials, space, Method.FUSED, 9)
    best = best_trial(trials, Method.FUSED)
    assert found.gamma == best["gamma"]
    assert found.mean.shape == (9, 9)
    assert found.mean.min() < 0.3, "scores are near 0.02, the NRMSE above 0.3"
    assert posterior(trials, space, Method.CHEMISTRY_TV, 9).gamma is None
    assert posterior(trials[trials["number"] < 6], space, Method.FUSED, 9) is None


@pytest.mark.parametrize(
    "name", ["nrmse", "weights", "landscape", "search", "importance", "parallel"]
)
def test_figures_are_drawn_by_the_score(folder: Path, name: str) -> None:
    figure = draw_figure(name, Source((folder,), "haadf_tilts=35,chemical_tilts=9"))
    texts = [figure.get_suptitle(), *(t for ax in figure.axes for t in _texts(ax))]
    label = SCORES[Score.TOTALS].label
    assert any(label in text for text in texts), texts
    if name in ("weights", "importance", "parallel"):
        assert any("γ" in text for text in texts)


def _texts(ax) -> list[str]:
    ticks = [tick.get_text() for tick in ax.get_xticklabels()]
    return [ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), *ticks]


def test_the_importance_of_three_weights_adds_up() -> None:
    gamma, tv, haadf = np.meshgrid(*[np.linspace(-1, 1, 9)] * 3, indexing="ij")
    shares = shares_of_variance(2 * gamma + tv + haadf * tv, ("haadf", "tv", "gamma"))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["gamma"] == pytest.approx(4 * shares["tv"])
    assert shares["haadf"] == pytest.approx(0, abs=1e-12)
    assert shares["together"] > 0


def test_the_search_is_followed_by_its_score(folder: Path, study: Study) -> None:
    trials = load_trials(folder)
    best = best_so_far(trials, list(study.axes))
    assert best.iloc[:, -1].max() < 0.3


def test_the_report_says_what_the_best_is(folder: Path) -> None:
    page = write_report(folder, ()).index.read_text(encoding="utf-8")
    assert f"Best trials are those of the lowest {SCORES[Score.TOTALS].label}" in page
    assert '"gamma"' in page


def test_a_weight_means_nothing_under_another_contrast() -> None:
    rows = [
        {"solver.contrast": law, "acquisition.haadf_tilts": tilts}
        | {"haadf": haadf, "tv": 1.0, "nrmse": nrmse + 0.01 * (tilts == 9)}
        for law, haadf, nrmse in (("power", 0.01, 0.4), ("linear", 1.0, 0.3))
        for tilts in (9, 35)
    ]
    settings = {"study": {"edition": 2}, "solver": {"contrast": "power", "gamma": 1.8}}
    axes = ("solver.contrast", "acquisition.haadf_tilts")
    found = recommend(Atlas(pd.DataFrame(rows), axes, settings), 35, 9)
    assert (found.weights.haadf, found.nrmse) == pytest.approx((1.0, 0.3), rel=0.04)
    assert (found.settings.contrast, found.settings.gamma) == ("linear", 1.8)
    assert found.edition == 2
    assert any("contrast linear" in note for note in found.notes)
    one = Atlas(pd.DataFrame(rows[:2]), axes, settings)
    assert recommend(one, 35, 9).settings.contrast == "power"


def test_every_setting_that_weights_are_for_is_carried() -> None:
    solver = {"contrast": "fitted", "gamma": 1.6, "regulariser": "guided", "totals": True}
    table = pd.DataFrame([{"haadf": 0.1, "tv": 1.0, "nrmse": 0.3}])
    atlas = Atlas(table, (), {"study": {"edition": 2}, "solver": {**solver, "tolerance": 1e-3}})
    found = recommend(atlas, 35, 9)
    assert found.settings == SolverSettings.model_validate(solver)
    line = recommendation_text(found).splitlines()[3]
    assert all(word in line for word in ("fitted", "guided", "totals", "edition 2"))


def test_an_atlas_older_than_a_setting_is_for_its_neutral_value() -> None:
    table = pd.DataFrame([{"haadf": 0.1, "tv": 1.0, "nrmse": 0.3}])
    known = recommend(Atlas(table, (), {"solver": {"gamma": 1.7}}), 35, 9)
    assert (known.solver["contrast"], known.edition) == ("power", 1)
    unknown = recommend(Atlas(table, ()), 35, 9)
    assert (unknown.solver, unknown.edition) == ({}, None)
    assert len(unknown.notes) == len(known.notes) + 1


def test_no_model_is_of_two_contrasts(study: Study, response, tmp_path: Path) -> None:
    text = study.toml().replace("[axes]\n", '[axes]\n"solver.contrast" = ["linear", "fitted"]\n')
    both = parse_study(text.replace('score = "totals"', 'score = "nrmse"'))
    run(both, tmp_path / "out", InlineExecutor(response))
    trials = load_trials(tmp_path / "out")
    fused = trials[(trials["method"] == "fused") & (trials["acquisition.haadf_tilts"] > 0)]
    best = fused.loc[fused["score"].idxmin()]
    figure = draw_figure("importance", Source((tmp_path / "out",)))
    same = (fused["solver.contrast"] == best["solver.contrast"]).sum()
    assert same < len(fused)
    assert f"{same} fused trials" in figure.get_suptitle()
    assert f"contrast {best['solver.contrast']}" in figure.get_suptitle()
