"""What is solved for one figure is kept for the next, and never taken for anything else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import tomoatlas as ta
from tomoatlas.analysis import is_shipped, shipped_atlas, volumes
from tomoatlas.analysis.figures import draw_figure
from tomoatlas.analysis.figures.draw import figure_bytes
from tomoatlas.analysis.figures.source import Source
from tomoatlas.analysis.report import write_report
from tomoatlas.analysis.volumes import SolvedVolumes
from tomoatlas.recon_core.methods import Method
from tomoatlas.sweep.evaluate import evaluate, reconstruct_trial
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study
from tomoatlas.sweep.study.trial import Trial

TEXT = (
    """[study]\nname = "kept"\nedition = 3\n[specimen]\nkind = "nanocubes"\nsize = 16\n"""
    """[acquisition]\nhaadf_tilts = 5\nchemical_tilts = 3\n[solver]\nmax_iterations = 5\n"""
    """[search]\ntrials = 1\ninitial = 1\nchemistry_tv_trials = 1\n"""
)
STUDY = ta.parse_study(TEXT)
METHODS = 4

Solved = list[str]


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "out"
    run(STUDY, folder, InlineExecutor(evaluate))
    return folder


@pytest.fixture
def folder(run_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_once, tmp_path / "out"))


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> Solved:
    """Identities of the trials that are solved from here on."""
    found: Solved = []

    def counted(study: Study, trial: Trial):
        found.append(trial.trial_id)
        return reconstruct_trial(study, trial)

    monkeypatch.setattr(volumes, "reconstruct_trial", counted)
    return found


def trial_of(weights: ta.Weights, study: Study = STUDY) -> Trial:
    return study.trial(study.cells()[0], Method.FUSED, 0, weights)


def files_of(folder: Path) -> list[Path]:
    return sorted((folder / "volumes").iterdir())


def drawn(name: str, folder: Path) -> tuple[bytes, tuple[str, ...]]:
    source = Source((folder,))
    return figure_bytes(draw_figure(name, source), "png", dpi=40), source.notes


def test_the_next_figure_and_the_report_solve_nothing_and_show_the_same(folder, solved):
    first = drawn("slices", folder)
    assert len(set(solved)) == len(solved) == len(files_of(folder)) == METHODS
    before = list(solved)
    assert drawn("slices", folder) == first
    drawn("overlay", folder)
    drawn("convergence", folder)
    drawn("projections", folder)
    assert write_report(folder, ["all"]).notes == ()
    assert solved == before


@pytest.mark.parametrize("name", ["terms", "fsc", "dose", "pareto", "haadf-resolution"])
def test_a_figure_of_more_solves_is_the_same_when_it_is_drawn_again(name, folder, solved):
    first = drawn(name, folder)
    before = list(solved)
    assert drawn(name, folder) == first
    assert solved == before


def test_every_part_of_a_reconstruction_comes_back(tmp_path):
    study = ta.parse_study(TEXT.replace("[solver]\n", '[solver]\ncontrast = "fitted"\n'))
    trial = trial_of(ta.Weights(0.1, 1.0), study)
    first, again = (SolvedVolumes(tmp_path / "v").of(study, trial).solved for _ in range(2))
    assert again is not first
    assert first.haadf is not None
    assert first.history.iterations
    assert np.array_equal(again.volumes, first.volumes)
    assert again.volumes.dtype == np.float32
    nothing = np.empty(0, np.float32)
    assert repr(replace(again, volumes=nothing)) == repr(replace(first, volumes=nothing))


def other_seed(study: Study) -> Study:
    return study.model_copy(update={"study": study.study.model_copy(update={"seed": 1})})


def other_edition(study: Study) -> Study:
    return ta.parse_study(TEXT.replace("edition = 3", "edition = 1"))


def other_size(study: Study) -> Study:
    return ta.parse_study(TEXT.replace("size = 16", "size = 18"))


@pytest.mark.parametrize("changed", [other_seed, other_edition, other_size])
def test_another_study_is_solved_for_itself(changed: Callable[[Study], Study], tmp_path, solved):
    weights = ta.Weights(0.1, 1.0)
    kept = SolvedVolumes(tmp_path / "v")
    kept.of(STUDY, trial_of(weights))
    study = changed(STUDY)
    found = kept.of(study, trial_of(weights, study))
    assert len(solved) == 2
    assert found.solved.volumes.shape[1:] == 3 * (study.specimen.size,)


def test_other_weights_are_solved_for_themselves(tmp_path, solved):
    kept = SolvedVolumes(tmp_path / "v")
    first, second, again = (kept.of(STUDY, trial_of(ta.Weights(0.1, tv))) for tv in (1.0, 2.0, 1.0))
    assert len(solved) == 2
    assert first.nrmse == again.nrmse != second.nrmse


@pytest.mark.parametrize("what", ["REVISION", "package_version"])
def test_another_revision_or_version_solves_again(what, folder, solved, monkeypatch):
    drawn("slices", folder)
    other = {"REVISION": volumes.REVISION + 1, "package_version": lambda _: "other"}
    monkeypatch.setattr(volumes, what, other[what])
    drawn("slices", folder)
    assert len(solved) == len(files_of(folder)) == 2 * METHODS


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def one_byte(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["volumes"][0, 0, 0, 0] += 1.0


def other_history(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        record = json.loads(file["record"].asstr()[()])
        del file["record"]
        file["record"] = json.dumps(record | {"message": "of another solve"})


def foreign(path: Path) -> None:
    path.write_text("no volumes")


def renamed(path: Path) -> None:
    other = next(p for p in path.parent.iterdir() if p != path)
    shutil.copyfile(other, path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


@pytest.mark.parametrize("spoil", [cut, one_byte, other_history, foreign, renamed, dangling])
def test_what_is_not_what_was_written_is_solved_again_and_said(spoil, folder, solved):
    first, notes = drawn("slices", folder)
    assert notes == ()
    path = files_of(folder)[0]
    spoil(path)
    again, notes = drawn("slices", folder)
    assert again == first
    assert len(solved) == METHODS + 1
    (note,) = notes
    assert str(path) in note
    assert note.endswith("; solved again")
    assert drawn("slices", folder) == (first, ())
    assert len(solved) == METHODS + 1


def test_the_report_says_it_too(folder):
    drawn("slices", folder)
    foreign(files_of(folder)[0])
    (note,) = write_report(folder, ["all"]).notes
    assert note.endswith("; solved again.")


def test_a_folder_that_cannot_be_written_is_drawn_all_the_same(folder, solved, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    first = drawn("slices", folder)
    assert drawn("slices", folder) == first
    assert first[1] == ()
    assert not (folder / "volumes").exists()
    assert len(solved) == 2 * METHODS


def test_what_the_disk_refuses_is_said_once(folder, solved):
    (folder / "volumes").write_text("mine")
    _, notes = drawn("slices", folder)
    (note,) = notes
    assert note.startswith("solved volumes are not kept: ")
    assert (folder / "volumes").read_text() == "mine"


def test_nothing_is_written_to_a_shipped_atlas(monkeypatch):
    shipped = shipped_atlas("fig4_nanocubes_64")
    assert is_shipped(shipped)
    source = Source((Path("fig4_nanocubes_64"),))
    assert source.is_folder
    monkeypatch.setattr(volumes, "_write", lambda *_: pytest.fail("written"))
    reconstruction = reconstruct_trial(STUDY, trial_of(ta.Weights(0.1, 1.0)))[0]
    assert source.volumes.kept(("any",), lambda: reconstruction) is reconstruction
    assert not (shipped / "volumes").exists()


def test_what_was_used_longest_ago_makes_room_and_nothing_else_is_deleted(
    tmp_path, solved, monkeypatch
):
    place = tmp_path / "v"
    first, second, third = (trial_of(ta.Weights(0.1, tv)) for tv in (1.0, 2.0, 3.0))
    kept = SolvedVolumes(place)
    kept.of(STUDY, first)
    kept.of(STUDY, second)
    for path in place.iterdir():
        os.utime(path, (1, 1))
    mine = place / "mine.h5"
    mine.write_bytes(bytes(10**6))
    SolvedVolumes(place).of(STUDY, first)
    monkeypatch.setattr(volumes, "MOST_BYTES", 2 * 4 * 16**3 * 4)
    SolvedVolumes(place).of(STUDY, third)
    assert mine.exists()
    assert len(solved) == 3
    again = SolvedVolumes(place)
    again.of(STUDY, first)
    again.of(STUDY, third)
    assert len(solved) == 3
    again.of(STUDY, second)
    assert len(solved) == 4


def test_a_figure_does_not_delete_what_it_has_just_used(tmp_path, solved, monkeypatch):
    monkeypatch.setattr(volumes, "MOST_BYTES", 2 * 4 * 16**3 * 4 - 1)
    place = tmp_path / "v"
    trials = [trial_of(ta.Weights(0.1, tv)) for tv in (1.0, 2.0, 3.0)]
    for _ in range(2):
        kept = SolvedVolumes(place)
        for trial in trials:
            kept.of(STUDY, trial)
    held = sum(path.stat().st_size for path in place.iterdir())
    assert 0 < held <= volumes.MOST_BYTES
    assert len(solved) < 2 * len(trials), "what fits is not solved again"


DRAW = """
import sys
from pathlib import Path
from tomoatlas.analysis.figures import draw_figure
from tomoatlas.analysis.figures.draw import figure_bytes
from tomoatlas.analysis.figures.source import Source
source = Source((Path(sys.argv[1]),))
for _ in range(3):
    image = figure_bytes(draw_figure("slices", source), "png", dpi=40)
assert source.notes == (), source.notes
sys.stdout.buffer.write(image)
"""


def test_figures_drawn_at_the_same_time_find_whole_files(folder):
    started = [
        subprocess.Popen([sys.executable, "-c", DRAW, folder], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    images = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert images[0] == images[1] == drawn("slices", folder)[0]
    assert len(files_of(folder)) == METHODS
