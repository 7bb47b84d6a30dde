"""Which code made a trial: found without git, recorded beside it, and no part of its identity."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sweep_fakes import bowl, read_records, small_study

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep import versions as versions_module
from tomoatlas.sweep.evaluate import evaluate
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import TrialResult, TrialStatus, to_record
from tomoatlas.sweep.versions import (
    REVISION,
    REVISIONS,
    Provenance,
    check_same_code,
    checkout_commit,
    provenance,
    revision_note,
    revision_of,
)

COMMIT, OTHER = "1234567890" * 4, "ab" * 20


def checkout(root: Path, head: str, **files: str) -> Path:
    git = root / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text(f"{head}\n")
    for name, text in files.items():
        path = git / name.replace("__", "/").replace("_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    branch = checkout(tmp_path / "branch", "ref: refs/heads/main", refs__heads__main=COMMIT + "\n")
    assert checkout_commit(branch) == COMMIT
    assert checkout_commit(checkout(tmp_path / "detached", COMMIT)) == COMMIT
    packed = f"# pack-refs with: peeled\n{OTHER} refs/heads/man\n{COMMIT} refs/heads/main\n"
    swept = checkout(tmp_path / "packed", "ref: refs/heads/main", packed_refs=packed)
    assert checkout_commit(swept) == COMMIT


def test_the_commit_of_a_worktree(tmp_path: Path) -> None:
    main = checkout(tmp_path / "main", "ref: refs/heads/main", refs__heads__side=COMMIT)
    place = main / ".git" / "worktrees" / "side"
    place.mkdir(parents=True)
    (place / "HEAD").write_text("ref: refs/heads/side\n")
    (place / "commondir").write_text("../..\n")
    side = tmp_path / "side"
    side.mkdir()
    (side / ".git").write_text(f"gitdir: {place}\n")
    assert checkout_commit(side) == COMMIT


@pytest.mark.parametrize("head", ["", "ref: refs/heads/none", "ref: ../../x", "no commit", "\0"])
def test_a_commit_that_cannot_be_read_is_unknown(head: str, tmp_path: Path) -> None:
    assert checkout_commit(checkout(tmp_path, head)) is None


def test_a_folder_inside_a_checkout_is_none(tmp_path: Path) -> None:
    inside = checkout(tmp_path, COMMIT) / "site-packages" / "tomoatlas"
    inside.mkdir(parents=True)
    assert checkout_commit(inside) is None


@pytest.mark.parametrize(
    ("origin", "commit"),
    [
        (None, None),
        ("not JSON", None),
        ('{"dir_info": {"editable": true}}', None),
        (f'{{"vcs_info": {{"vcs": "git", "commit_id": "{COMMIT}"}}}}', COMMIT),
    ],
)
def test_an_installed_version_has_the_commit_that_pip_recorded(
    origin: str | None, commit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = SimpleNamespace(read_text=lambda name: origin)
    monkeypatch.setattr(versions_module, "checkout_commit", lambda root: None)
    monkeypatch.setattr(versions_module, "distribution", lambda name: installed)
    provenance.cache_clear()
    try:
        assert provenance().commit == commit
    finally:
        provenance.cache_clear()


def test_every_revision_says_what_moved() -> None:
    assert max(REVISIONS) == REVISION
    assert sorted(REVISIONS) == list(range(REVISION + 1))
    assert all(REVISIONS.values())


@pytest.mark.parametrize(
    ("record", "revision"),
    [({}, 0), ({"revision": 3}, 3)]
    + [({"revision": wrong}, 0) for wrong in (None, "1", True, 1.0, -1, 10**30, [1])],
)
def test_what_names_no_revision_is_of_an_unrecorded_one(
    record: dict[str, object], revision: int
) -> None:
    assert revision_of(record) == revision


def test_other_revisions_are_named_in_one_line() -> None:
    assert revision_note({}) is None
    assert revision_note({REVISION: 5, 0: 0}) is None
    note = revision_note({REVISION: 5, 0: 2, REVISION + 1: 1}, "cells")
    assert note is not None
    assert "\n" not in note
    assert note.startswith("3 of 8 cells ")
    assert f"1 by revision {REVISION + 1}" in note


MANAGER, NODES = "rank 0 on a", {f"rank {n} on b": Provenance(2, "1.1", COMMIT) for n in (1, 2)}


def test_processes_of_one_code_work_together() -> None:
    check_same_code({MANAGER: Provenance(2, "1.1", None), **NODES})


@pytest.mark.parametrize("code", [Provenance(1, "1.1", COMMIT), Provenance(2, "1.0", COMMIT)])
def test_another_version_or_revision_is_refused_with_both_and_where_they_are(
    code: Provenance,
) -> None:
    with pytest.raises(BadInput) as refused:
        check_same_code({MANAGER: code, "rank 3 on a": code, **NODES})
    error = refused.value
    assert error.source == "rank 1 on b, rank 2 on b"
    assert error.value == str(NODES["rank 1 on b"])
    assert MANAGER in str(error)
    assert str(code) in str(error.accepted)
    assert "\n" not in str(error)


def test_many_processes_of_another_code_are_counted() -> None:
    many = {f"rank {n} on b": Provenance(2, "1.1", None) for n in range(1, 100)}
    with pytest.raises(BadInput) as refused:
        check_same_code({MANAGER: Provenance(1, "1.1", None), **many})
    assert str(refused.value.source).endswith(" and 95 more")


def test_a_trial_records_the_code_that_made_it_and_is_not_known_by_it() -> None:
    study = small_study()
    trial = study.trial(study.cells()[0], Method.ML, 0, Weights())
    made = Provenance(7, "9.9", COMMIT)
    record = to_record(trial, replace(bowl(study, trial), code=made))
    assert (record["revision"], record["version"], record["commit"]) == (7, "9.9", COMMIT)
    assert record["trial_id"] == trial.trial_id
    crashed = to_record(trial, TrialResult(TrialStatus.CRASHED))
    assert (crashed["revision"], crashed["version"]) == (REVISION, provenance().version)


def test_an_evaluation_says_which_code_it_was() -> None:
    text = '[study]\nname = "t"\n[specimen]\nkind = "nanocubes"\nsize = 8\n'
    study = parse_study(text + "[solver]\nmax_iterations = 1\n")
    trial = study.trial(study.cells()[0], Method.ML, 0, Weights())
    assert evaluate(study, trial).code == provenance()


def test_a_run_resumes_what_another_revision_began_and_says_so_once(tmp_path: Path) -> None:
    study, notes = small_study(), []
    run(study, tmp_path, InlineExecutor(bowl), on_note=notes.append)
    assert notes == []
    journal = tmp_path / "trials.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    old = [line.replace(f'"revision": {REVISION}', f'"revision": {REVISION + 1}') for line in lines]
    journal.write_text("".join(old[:4]))
    summary = run(study, tmp_path, InlineExecutor(bowl), on_note=notes.append)
    assert (summary.done, summary.resumed) == (summary.total, 4)
    assert len(notes) == 1
    assert notes[0].startswith("4 of 4 trials ")
    ids = {record["trial_id"] for record in read_records(journal)}
    assert ids == {record["trial_id"] for record in map(json.loads, lines)}
