"""Studies with many cells and searches with many trials; scores of other processors."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
from sweep_fakes import atlas_of, bowl, small_study

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.search.propose import initial_point, predict, propose
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult

SPACE = {"haadf": (1e-3, 3.0), "tv": (0.1, 6.0)}


def other_processor(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A bowl that differs by what AVX-512 does to a score, of either sign."""
    result = bowl(study, trial)
    change = 6e-9 if int(trial.trial_id[0], 16) % 2 else -6e-9
    return replace(result, nrmse=result.nrmse * (1.0 + change))


def weights_of(journal: Path) -> set[tuple[object, ...]]:
    return {(*row[:4], row[6]) for row in atlas_of(journal)}


def test_the_last_digits_of_another_processor_change_no_trial(tmp_path: Path) -> None:
    study = small_study(trials=12, initial=3, methods='["fused"]', score_digits=4)
    run(study, tmp_path / "one", InlineExecutor(bowl))
    run(study, tmp_path / "other", InlineExecutor(other_processor))
    one, other = (tmp_path / name / "trials.jsonl" for name in ("one", "other"))
    assert weights_of(one) == weights_of(other)


def test_the_digits_of_a_score_are_no_part_of_an_identity(tmp_path: Path) -> None:
    plain, rounding = (
        small_study(trials=6, initial=3),
        small_study(trials=6, initial=3, score_digits=4),
    )
    (cell, *_) = plain.cells()
    ids = [study.trial(cell, Method.FUSED, 0, Weights(0.1, 1.0)) for study in (plain, rounding)]
    assert ids[0] == ids[1]
    assert "score_digits" not in plain.toml()
    assert parse_study(rounding.toml()).search.score_digits == 4


def many(count: int) -> list[tuple[Weights, float | None]]:
    weights = [initial_point(SPACE, number, 0) for number in range(count)]
    return [(w, 0.4 + (w.haadf - 0.1) ** 2 if i % 7 else None) for i, w in enumerate(weights)]


def test_a_proposal_after_thousands_of_trials_needs_little_memory() -> None:
    scored = many(3000)
    tracemalloc.start()
    found = propose(SPACE, scored, [], 0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 400e6
    assert found not in [weights for weights, _ in scored]


def test_of_many_trials_the_best_are_never_forgotten() -> None:
    scored = many(1500)
    scored[3] = (scored[3][0], 0.01)
    at = np.array([[0.5, 0.5]])
    with_it = predict(SPACE, scored, at)[0]
    without = predict(SPACE, [*scored[:3], *scored[4:]], at)[0]
    assert with_it != without


def test_a_cell_is_the_study_with_its_values(tmp_path: Path) -> None:
    text = """
[study]
name = "many"
[specimen]
kind = "nanocubes"
size = 16
[axes]
"acquisition.haadf_tilts" = [5, 9]
"acquisition.chemical_snr" = [2.0, 3.0]
"solver.gamma" = [1.7, 2.0]
"specimen.kind" = ["nanocubes", "composite"]
"""
    study = parse_study(text)
    for cell in study.cells():
        alone = parse_study(study.at(cell).toml())
        assert alone == study.at(cell)
        assert not study.at(cell).axes
        values = dict(cell.values)
        assert study.at(cell).acquisition.haadf_tilts == values["acquisition.haadf_tilts"]
        assert study.at(cell).specimen.kind == values["specimen.kind"]
