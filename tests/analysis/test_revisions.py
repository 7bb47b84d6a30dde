"""Trials of another revision of the algorithm: read, reported, recommended from, and named."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tomoatlas.analysis.atlas import Atlas, load_atlas, write_atlas
from tomoatlas.analysis.figures import draw_figure
from tomoatlas.analysis.figures.source import Source
from tomoatlas.analysis.journal import JournalReader, load_trials
from tomoatlas.analysis.recommend import recommend
from tomoatlas.analysis.report import write_report
from tomoatlas.analysis.report.slice_images import kept_slices
from tomoatlas.analysis.rerun import Difference, difference, rerun_best, titled
from tomoatlas.jobs import run as running
from tomoatlas.jobs.cli import main
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.evaluate import evaluate
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.versions import REVISION, ROUNDING, provenance

OF_CODE = ("revision", "version", "commit")


def rewritten(folder: Path, change: Any) -> None:
    """Pass every record of the journal, with its number, through ``change``."""
    path = folder / "trials.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records = [change(number, record) for number, record in enumerate(records)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def unrecorded(number: int, record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in OF_CODE}


def half_unrecorded(number: int, record: dict[str, Any]) -> dict[str, Any]:
    return unrecorded(number, record) if number % 2 else record


def test_trials_name_the_code_that_made_them(folder: Path) -> None:
    trials = load_trials(folder)
    assert set(trials["revision"]) == {REVISION}
    assert set(trials["version"]) == {provenance().version}
    assert JournalReader(folder).revision_note is None


def test_a_journal_without_revisions_is_read_without_a_warning(folder: Path) -> None:
    before = load_trials(folder)
    rewritten(folder, unrecorded)
    trials = load_trials(folder)
    assert set(trials["revision"]) == {0}
    assert trials["version"].isna().all()
    assert trials.drop(columns=list(OF_CODE)).equals(before.drop(columns=list(OF_CODE)))
    assert JournalReader(folder).notes == ()


def test_a_mixture_is_named_in_run_status_report_and_recommendation(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(folder, half_unrecorded)
    note = JournalReader(folder).revision_note
    assert note is not None
    count = len(load_trials(folder))
    assert note.startswith(f"{count // 2} of {count} trials ")
    assert main(["status", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [note]
    monkeypatch.setattr(running, "executor_of", lambda *args: nullcontext(InlineExecutor()))
    assert main(["run", str(folder / "study.toml"), "--out", str(folder), "--no-slices"]) == 0
    assert capsys.readouterr().err.count(f"note: {note}\n") == 1
    assert f"{note}." in (folder / "report" / "index.html").read_text(encoding="utf-8")
    asked = ["--haadf-tilts", "35", "--chemical-tilts", "9"]
    assert main(["recommend", str(folder / "atlas.h5"), *asked]) == 0
    named = [line for line in capsys.readouterr().out.splitlines() if "revision" in line]
    assert len(named) == 1


def revision_notes(atlas: Atlas) -> list[str]:
    return [note for note in recommend(atlas, 35, 9).notes if "revision" in note]


@pytest.mark.parametrize("name", ["atlas.csv", "atlas.h5"])
def test_an_atlas_holds_the_revision_of_its_best_trials(folder: Path, name: str) -> None:
    write_atlas(folder)
    assert revision_notes(load_atlas(folder / name)) == []
    rewritten(folder, unrecorded)
    write_atlas(folder)
    atlas = load_atlas(folder / name)
    assert set(atlas.table["revision"]) == {0}
    (note,) = revision_notes(atlas)
    assert note.startswith("9 of 9 best trials ")
    assert "no fault: use the weights as they are" in note


@pytest.mark.parametrize("damage", ["drop", "words"])
def test_an_older_atlas_is_recommended_from(folder: Path, damage: str) -> None:
    table = write_atlas(folder).table
    old = table.drop(columns="revision") if damage == "drop" else table.assign(revision="?")
    old.to_csv(folder / "atlas.csv", index=False)
    (note,) = revision_notes(load_atlas(folder / "atlas.csv"))
    assert note.startswith("9 of 9 best trials ")


def row(study: Study, folder: Path, method: Method) -> Any:
    trials = load_trials(folder)
    return trials[trials["method"] == method].iloc[0]


def test_scores_differ_beyond_rounding_only(study: Study, folder: Path) -> None:
    trial = row(study, folder, Method.ML)
    recorded = float(trial["nrmse"])
    assert difference(trial, recorded) is None
    assert difference(trial, recorded * (1 + 0.9 * ROUNDING)) is None
    found = difference(trial, recorded * (1 + 1.1 * ROUNDING))
    assert found is not None
    assert (found.method, found.recorded, found.revision) == (Method.ML, recorded, REVISION)
    assert found.solved > recorded


def test_a_difference_gives_both_scores_and_both_revisions() -> None:
    text = str(Difference(Method.FUSED, 0.5096, 0.5081, 0))
    assert text.index("0.5096") < text.index(f"revision {REVISION}") < text.index("0.5081")
    many = [Difference(method, 0.5096, 0.5081, 0) for method in Method]
    lines = titled("9 tilts", many).splitlines()
    assert lines[0] == "9 tilts"
    assert max(map(len, lines)) < 70
    assert titled("9 tilts", []) == "9 tilts"


SOLVED = """
[study]
name = "solved"
[specimen]
kind = "nanocubes"
size = 12
[solver]
max_iterations = 4
[search]
trials = 1
methods = ["fused", "ml"]
"""


@pytest.fixture(scope="module")
def solved_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("solved") / "out"
    run(parse_study(SOLVED), folder, InlineExecutor(evaluate))
    return folder


@pytest.fixture
def solved(solved_once: Path, tmp_path: Path) -> Path:
    """A folder of real trials."""
    return Path(shutil.copytree(solved_once, tmp_path / "out"))


def moved(number: int, record: dict[str, Any]) -> dict[str, Any]:
    """The fused trial as an earlier solver may have recorded it."""
    if record["method"] != "fused":
        return record
    return unrecorded(number, record) | {"nrmse": record["nrmse"] * 0.997}


def title(figure: Figure) -> str:
    return figure.get_suptitle()


def test_what_is_solved_again_agrees_with_its_record(solved: Path) -> None:
    source = Source((solved,))
    assert source.rerun.differences == ()
    assert source.notes == ()
    assert "recorded" not in title(draw_figure("slices", source))


def test_a_score_that_is_not_as_recorded_stands_beside_the_figure(solved: Path) -> None:
    recorded = load_trials(solved).set_index("method")["nrmse"]
    rewritten(solved, moved)
    reader = JournalReader(solved)
    found = rerun_best(reader.study, reader.study.cells()[0], reader.trials)
    (difference,) = found.differences
    assert difference.method is Method.FUSED
    assert difference.solved == pytest.approx(recorded["fused"], rel=1e-6)
    assert difference.recorded == pytest.approx(0.997 * recorded["fused"], rel=1e-6)
    assert difference.revision == 0
    scores = [f"{value:.4f}" for value in (difference.solved, difference.recorded)]
    for name in ("slices", "overlay", "convergence", "pareto"):
        source = Source((solved,))
        heading = title(draw_figure(name, source))
        assert [score in heading for score in scores] == [True, True], name
    assert all(score in found.slices.title for score in scores)


def test_and_in_a_note_and_on_the_page(solved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewritten(solved, moved)
    out = solved / "slices.png"
    assert main(["figure", "slices", str(solved), "--out", str(out)]) == 0
    said = capsys.readouterr().err.splitlines()
    notes = [line for line in said if line.startswith("note: ")]
    assert len(notes) == 1
    write_report(solved, ["all"])
    reader = JournalReader(solved)
    kept = kept_slices(solved / "report" / "slices", reader.study, reader.trials)
    assert [f"note: {text}" for text in kept[0]["differences"]] == notes


def test_slices_of_another_revision_are_made_again(
    solved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(solved, ["all"])
    reader = JournalReader(solved)
    place = solved / "report" / "slices"
    assert list(kept_slices(place, reader.study, reader.trials)) == [0]
    monkeypatch.setattr("tomoatlas.analysis.report.slice_images.REVISION", REVISION + 1)
    assert kept_slices(place, reader.study, reader.trials) == {}


def test_shared_baselines_are_solved_again_on_the_data_of_their_own_cell(tmp_path: Path) -> None:
    shared = SOLVED.replace(
        "[search]", '[search]\nstrategy = "contextual"\nbaselines = "shared"', 1
    )
    study = parse_study(shared + '[axes]\n"acquisition.haadf_tilts" = [5, 9]\n')
    folder = tmp_path / "out"
    run(study, folder, InlineExecutor(evaluate))
    trials = load_trials(folder)
    lender, borrower = study.cells()
    assert set(trials[trials["acquisition.haadf_tilts"] == 9]["method"]) == {"fused"}
    found = rerun_best(study, borrower, trials)
    assert found.differences == (), "each trial is the one that was recorded"
    assert list(found.slices.volumes) == list(rerun_best(study, lender, trials).slices.volumes)
    assert len(found.fused.series.haadf_angles_deg) == 9, "the data shown are those of the cell"
