"""What every executor must do; run in the tests' process, and on MPI ranks by this file itself."""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from sweep_fakes import EVALUATIONS, atlas_of, bowl, failing_bowl, small_study, weights_seen

from recon_core.settings import Method, Weights
from sweep.driver import run
from sweep.executors.base import Executor
from sweep.executors.inline import InlineExecutor
from sweep.journal import read_records
from sweep.study import Study
from sweep.trial import Trial, TrialResult


def some_trials(study: Study, count: int) -> list[Trial]:
    cell = study.cells()[0]
    return [study.trial(cell, Method.FUSED, t, Weights(0.01 + t, 1.0)) for t in range(count)]


def collected(executor: Executor) -> tuple[Trial, TrialResult]:
    landed = executor.collect()
    assert landed is not None
    return landed


def check_every_trial_comes_back_with_its_own_result(executor: Executor) -> None:
    study = small_study()
    waiting = some_trials(study, 3 * executor.slots + 1)
    expected = {trial: repr(weights_seen(study, trial)) for trial in waiting}
    in_flight = 0
    results = {}
    while waiting or in_flight:
        while waiting and in_flight < executor.slots:
            executor.submit(study, waiting.pop())
            in_flight += 1
        trial, result = collected(executor)
        results[trial] = result
        in_flight -= 1
    assert {t: repr(r) for t, r in results.items()} == expected


def check_a_failure_is_a_status(executor: Executor) -> None:
    study = small_study()
    trial = some_trials(study, 2)[1]
    executor.submit(study, trial)
    back, result = collected(executor)
    assert back == trial
    assert repr(result) == repr(failing_bowl(study, trial))


def check_closing_twice_is_no_more_than_once(executor: Executor) -> None:
    executor.close()
    executor.close()


def check_the_atlas_is_the_same(executor: Executor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journals = [Path(folder) / name / "trials.jsonl" for name in ("one", "many")]
        run(small_study(), journals[0].parent, InlineExecutor(bowl))
        summary = run(small_study(), journals[1].parent, executor)
        one, many = (atlas_of(journal) for journal in journals)
        assert one == many
        assert (summary.done, summary.failed) == (24, 0)
        assert len(read_records(journals[1])) == 24


CHECKS: dict[str, tuple[Callable[[Executor], None], str]] = {
    check.__name__: (check, evaluation)
    for check, evaluation in [
        (check_every_trial_comes_back_with_its_own_result, "weights_seen"),
        (check_a_failure_is_a_status, "failing_bowl"),
        (check_closing_twice_is_no_more_than_once, "bowl"),
        (check_the_atlas_is_the_same, "uneven_bowl"),
    ]
}


def _on_ranks() -> dict[str, str]:
    """Failure of each check on MPI ranks, empty where it passed."""
    from sweep.executors.mpi import run_ranks

    failures = {}
    for name, (check, evaluation) in CHECKS.items():

        def manage(executor: Executor, check: Callable[[Executor], None] = check) -> str:
            try:
                check(executor)
            except AssertionError:
                return traceback.format_exc()
            return ""

        failures[name] = run_ranks(manage, EVALUATIONS[evaluation]) or ""
    return failures


if __name__ == "__main__":
    failures = _on_ranks()
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == 0:
        json.dump(failures, sys.stdout)
