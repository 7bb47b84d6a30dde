from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sweep_fakes import SMALL, small_study

from tomoatlas.phantoms.formats import save_specimen
from tomoatlas.phantoms.formats.files import write_aside
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.record import StudyFolder
from tomoatlas.sweep.record.journal import Journal
from tomoatlas.sweep.study import Study, parse_study


@contextmanager
def opened(folder: StudyFolder, study: Study) -> Iterator[Journal]:
    """As a run does."""
    with folder.open_or_create(study) as journal:
        folder.keep(study)
        yield journal


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(tmp_path / "deep" / "run")
    with opened(folder, small_study()) as journal:
        journal.append({"trial_id": "a"})
    return folder


def snapshot(folder: StudyFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.iterdir()}


def test_a_new_folder_says_what_is_run(folder: StudyFolder) -> None:
    assert folder.study() == small_study()
    assert sorted(snapshot(folder)) == ["study.toml", "trials.jsonl"]


def test_the_same_study_opens_it_again(folder: StudyFolder) -> None:
    before = snapshot(folder)
    with opened(folder, small_study()) as journal:
        assert journal.records() == [{"trial_id": "a"}]
    assert snapshot(folder) == before


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(aside: Path) -> None:
        aside.write_text("half")
        raise OSError("disk full")

    with pytest.raises(BadInput) as refused:
        write_aside(path, fail)
    assert refused.value.source == path
    assert "disk full" in refused.value.problem
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_its_budget_may_grow_and_not_shrink(folder: StudyFolder) -> None:
    grown = parse_study(SMALL.replace("trials = 6", "trials = 9"))
    with opened(folder, grown):
        pass
    assert folder.study() == grown
    with (
        pytest.raises(BadInput) as refused,
        opened(folder, small_study()),
    ):
        pass
    assert (refused.value.key, refused.value.value) == ("search.trials", 6)
    assert str(refused.value.accepted).startswith("9 ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[5, 9]", "[5, 7, 9, 12]"),
        ("[5, 9]", "[9, 3, 5]"),
        ("[axes]", "[limits]\ntrial_seconds = 60\nretries = 0\n[axes]"),
    ],
)
def test_axes_may_grow_and_limits_change(folder: StudyFolder, old: str, new: str) -> None:
    grown = parse_study(SMALL.replace(old, new))
    with opened(folder, grown) as journal:
        assert journal.records() == [{"trial_id": "a"}]
    assert folder.study() == grown
    assert sorted(snapshot(folder)) == ["study.toml", "trials.jsonl"]


@pytest.mark.parametrize(
    ("old", "new", "key", "value"),
    [
        ("seed = 3", "seed = 4", "study.seed", 4),
        ("size = 16", "size = 24", "specimen.size", 24),
        ("initial = 3", "initial = 2", "search.initial", 2),
        ("[5, 9]", "[5, 12]", "axes.acquisition.haadf_tilts", [5, 12]),
        ("[search]", "[search]\nlag = 2", "search.lag", 2),
        ("[axes]", '[axes]\n"solver.gamma" = [1.5]', "axes.solver.gamma", [1.5]),
        ("[search]", "[acquisition]\nchemical_snr = 2\n[search]", "acquisition.chemical_snr", 2),
    ],
)
def test_another_study_is_refused_by_its_first_difference(
    folder: StudyFolder, old: str, new: str, key: str, value: object
) -> None:
    before = snapshot(folder)
    other = parse_study(SMALL.replace(old, new))
    with (
        pytest.raises(BadInput) as refused,
        opened(folder, other),
    ):
        pass
    assert refused.value.source == folder.path
    assert (refused.value.key, refused.value.value) == (key, value)
    assert refused.value.accepted
    assert snapshot(folder) == before


def test_axes_in_another_order_are_another_study(tmp_path: Path) -> None:
    lines = ['"acquisition.haadf_tilts" = [5]', '"solver.gamma" = [1.5]']
    head = SMALL.split("[axes]")[0] + "[axes]\n"
    folder = StudyFolder(tmp_path / "run")
    with opened(folder, parse_study(head + "\n".join(lines))):
        pass
    other = parse_study(head + "\n".join(reversed(lines)))
    with pytest.raises(BadInput) as refused, opened(folder, other):
        pass
    assert (refused.value.key, refused.value.value) == ("axes", list(other.axes))


def test_trials_of_an_unknown_study_are_left_alone(folder: StudyFolder) -> None:
    folder.study_file.unlink()
    before = snapshot(folder)
    with (
        pytest.raises(BadInput) as refused,
        opened(folder, small_study()),
    ):
        pass
    assert refused.value.source == folder.path
    assert snapshot(folder) == before


def test_a_second_run_is_refused(folder: StudyFolder) -> None:
    with (
        opened(folder, small_study()),
        pytest.raises(BadInput) as refused,
        opened(folder, small_study()),
    ):
        pass
    assert refused.value.source == folder.journal_file


@pytest.mark.parametrize("path", ["file", "file/run"])
def test_a_folder_that_cannot_be_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(BadInput) as refused,
        opened(StudyFolder(tmp_path / path), small_study()),
    ):
        pass
    assert refused.value.source == tmp_path / path


def test_a_study_is_known_after_its_volume_is_gone(tmp_path: Path) -> None:
    volume = tmp_path / "mine.h5"
    save_specimen(volume, make_specimen("nanocubes", 8, 0))
    study = parse_study(SMALL.replace("nanocubes", str(volume)))
    folder = StudyFolder(tmp_path / "run")
    with opened(folder, study):
        pass
    volume.unlink()
    assert folder.study() == study


def test_a_folder_without_a_study_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        StudyFolder(tmp_path).study()
    assert refused.value.source == tmp_path
