"""Real trials, from the study to the record, on specimens of 16³ voxels."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweep_fakes import atlas_of, read_records

from tomoatlas.sweep.executors import Executor
from tomoatlas.sweep.executors.batches import Batching
from tomoatlas.sweep.executors.local import InlineExecutor, ProcessExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study

STUDY = parse_study("""
[study]
name = "real"
[specimen]
kind = "nanocubes"
size = 16
[acquisition]
haadf_tilts = 9
chemical_tilts = 5
[solver]
max_iterations = 30
[search]
trials = 4
initial = 3
chemistry_tv_trials = 2
""")


def journal(folder: Path, executor: Executor) -> Path:
    summary = run(STUDY, folder, executor)
    assert (summary.done, summary.failed) == (8, 0)
    return folder / "trials.jsonl"


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return journal(tmp_path_factory.mktemp("real") / "inline", InlineExecutor())


def test_every_method_finds_its_place(inline: Path) -> None:
    best: dict[str, float] = {}
    for record in read_records(inline):
        best[record["method"]] = min(record["nrmse"], best.get(record["method"], 9.0))
        assert set(record["nrmse_by_element"]) == {"Co", "Cu", "O", "Au"}
        assert record["seconds"] > 0
    assert best["fused"] < best["chemistry-tv"] < best["ml-stopped"] < best["ml"]


@pytest.mark.parametrize("batch", [1, 3])
def test_children_find_the_same_to_the_last_digit(batch: int, inline: Path, tmp_path: Path) -> None:
    executor = ProcessExecutor(4 - batch, batching=Batching.of(batch, on_gpu=False))
    assert atlas_of(journal(tmp_path / "run", executor)) == atlas_of(inline)
