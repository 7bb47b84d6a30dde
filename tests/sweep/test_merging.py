"""Several managers on disjoint cells, and the folder that their journals become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweep_fakes import SMALL, atlas_of, bowl, raising_bowl, read_records, small_study

from tomoatlas.analysis.atlas import write_atlas
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.estimate import Share
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.record.journal import KEPT
from tomoatlas.sweep.record.merging import merge
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study

MAP = """
[study]
name = "map"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 4
initial = 2
chemistry_tv_trials = 2
[axes]
"acquisition.haadf_tilts" = [5, 9, 13]
"acquisition.chemical_tilts" = [3, 5, 7]
"""


def share(folder: Path, study: Study, number: int, of: int) -> Path:
    run(study, folder / f"{number}", InlineExecutor(bowl), share=Share(number, of))
    return folder / f"{number}"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("of", [1, 2, 4, 9])
def test_shares_are_all_cells_once_and_of_all_durations(of: int) -> None:
    study = parse_study(MAP)
    shares = [Share(number, of).cells(study) for number in range(1, of + 1)]
    assert sorted(cell.index for cells in shares for cell in cells) == list(range(9))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    if of == 2:
        assert all(len({cell.values[0][1] for cell in cells}) == 3 for cells in shares)


@pytest.mark.parametrize(("number", "of"), [(0, 2), (3, 2), (1, 10)])
def test_a_share_that_is_none_is_refused(number: int, of: int) -> None:
    with pytest.raises(BadInput) as refused:
        Share(number, of).cells(parse_study(MAP))
    assert refused.value.value == f"{number}/{of}"


def test_merged_shares_are_the_study_of_one_manager(tmp_path: Path) -> None:
    study = parse_study(MAP)
    run(study, tmp_path / "whole", InlineExecutor(bowl))
    parts = [share(tmp_path, study, number, 3) for number in (1, 2, 3)]
    before = [contents(part) for part in parts]
    merged = merge(parts, tmp_path / "all")
    assert (merged.trials, merged.doubles, merged.notes) == (merged.planned, 0, ())
    assert atlas_of(tmp_path / "all/trials.jsonl") == atlas_of(tmp_path / "whole/trials.jsonl")
    for folder in ("all", "whole"):
        write_atlas(tmp_path / folder)
    assert (tmp_path / "all/atlas.csv").read_bytes() == (tmp_path / "whole/atlas.csv").read_bytes()
    assert run(study, tmp_path / "all", InlineExecutor(raising_bowl)).resumed == merged.trials
    assert len(read_records(tmp_path / "all/runs.jsonl")) == 3 + 1
    assert [contents(part) for part in parts] == before


def test_a_share_resumes_and_another_one_may_follow_in_its_folder(tmp_path: Path) -> None:
    study = parse_study(MAP)
    first = run(study, tmp_path / "run", InlineExecutor(bowl), share=Share(1, 2))
    again = run(study, tmp_path / "run", InlineExecutor(raising_bowl), share=Share(1, 2))
    other = run(study, tmp_path / "run", InlineExecutor(bowl), share=Share(2, 2))
    assert (again.resumed, other.resumed) == (first.done, 0)
    assert run(study, tmp_path / "run", InlineExecutor(raising_bowl)).resumed == 9 * 8


def test_a_trial_of_several_folders_is_there_once(tmp_path: Path) -> None:
    study = parse_study(MAP)
    parts = [share(tmp_path, study, 1, 2), share(tmp_path, study, 2, 2)]
    run(study, tmp_path / "2", InlineExecutor(bowl))
    merged = merge([*parts, tmp_path / "1"], tmp_path / "all")
    assert (merged.trials, merged.notes) == (72, ())
    assert merged.doubles == 2 * len(read_records(tmp_path / "1/trials.jsonl"))
    assert len(read_records(tmp_path / "all/trials.jsonl")) == 72


def test_of_two_results_the_first_counts_and_both_are_named(tmp_path: Path) -> None:
    study = small_study()
    for name in ("a", "b"):
        run(study, tmp_path / name, InlineExecutor(bowl))
    journal = tmp_path / "b/trials.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    spoilt = json.loads(first) | {"nrmse": 0.125}
    journal.write_text("".join([json.dumps(spoilt) + "\n", *rest]))
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    (note,) = merged.notes
    assert all(text in note for text in ("0.125", str(tmp_path / "a"), str(tmp_path / "b")))
    assert atlas_of(tmp_path / "all/trials.jsonl") == atlas_of(tmp_path / "a/trials.jsonl")


def test_axes_and_budgets_are_united(tmp_path: Path) -> None:
    texts = [SMALL, SMALL.replace("[5, 9]", "[7, 9]").replace("trials = 6", "trials = 8")]
    for name, text in zip("ab", texts, strict=True):
        run(parse_study(text), tmp_path / name, InlineExecutor(bowl))
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert merged.study.axes == {"acquisition.haadf_tilts": (5, 7, 9)}
    assert merged.study.search.trials == 8
    assert merged.planned == 42
    assert merged.trials == 12 * 2 + 2 * 2 + 12  # 12 of the cell of both, 2 more of the longer
    done = run(merged.study, tmp_path / "all", InlineExecutor(bowl))
    assert (done.resumed, done.done) == (merged.trials, merged.planned)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("seed = 3", "seed = 4", "study.seed"),
        ("initial = 3", "initial = 2", "search.initial"),
        ("[axes]", '[axes]\n"solver.gamma" = [1.5]', "axes"),
    ],
)
def test_another_study_is_refused_and_nothing_is_made(
    tmp_path: Path, old: str, new: str, key: str
) -> None:
    for name, text in (("a", SMALL), ("b", SMALL.replace(old, new))):
        run(parse_study(text), tmp_path / name, InlineExecutor(bowl))
    with pytest.raises(BadInput) as refused:
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert (refused.value.source, refused.value.key) == (tmp_path / "b", key)
    assert not (tmp_path / "all").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    run(small_study(), tmp_path / "a", InlineExecutor(bowl))
    before = contents(tmp_path / "a")
    for out in ("a", "file"):
        (tmp_path / "file").touch()
        with pytest.raises(BadInput):
            merge([tmp_path / "a"], tmp_path / out)
    assert contents(tmp_path / "a") == before


def test_what_a_run_kept_beside_its_journal_is_merged_too(tmp_path: Path) -> None:
    run(small_study(), tmp_path / "a", InlineExecutor(bowl))
    journal = tmp_path / "a/trials.jsonl"
    whole = atlas_of(journal)
    journal.rename(tmp_path / f"a/trials{KEPT}1234.jsonl")
    journal.write_bytes((tmp_path / f"a/trials{KEPT}1234.jsonl").read_bytes()[:1500])
    merged = merge([tmp_path / "a"], tmp_path / "all")
    assert (merged.trials, merged.doubles) == (24, 0)
    assert atlas_of(tmp_path / "all/trials.jsonl") == whole
