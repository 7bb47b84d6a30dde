"""What every executor must do; run in the tests' process, and on MPI ranks by this file itself."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from sweep_fakes import DIES, EATS, HANGS, RAISES, atlas_of, bowl, faulty, read_records, small_study

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep.executors import MEBIBYTE, Executor, Limits
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

LIMITS = Limits(seconds=4.0, memory_bytes=400 * MEBIBYTE)


def trial_number(study: Study, number: int) -> Trial:
    return study.trial(study.cells()[0], Method.FUSED, number, Weights(0.01 + number, 1.0))


def some_trials(study: Study, count: int) -> list[Trial]:
    return [trial_number(study, t) for t in range(count)]


def collected(executor: Executor) -> tuple[Trial, TrialResult]:
    while (finished := executor.collect(timeout=0.2)) is None:
        pass
    return finished


def outcome(executor: Executor, number: int) -> TrialResult:
    """The result of one trial, after which a sound one must come back as well."""
    study = small_study()
    bad, good = trial_number(study, number), trial_number(study, 0)
    executor.submit(study, bad)
    if number == HANGS:
        assert executor.collect(timeout=0.05) is None, "it gives up in time"
    back, result = collected(executor)
    assert back == bad
    executor.submit(study, good)
    back, sound = collected(executor)
    assert (back, sound.nrmse) == (good, bowl(study, good).nrmse)
    for ended in (result, sound):
        assert ended.worker in names(executor)
        assert ended.host == os.uname().nodename
    return result


def names(executor: Executor) -> set[str]:
    """Names of the workers of every executor here, Dask's local cluster included."""
    return {str(number) for number in range(executor.slots)}


def check_every_trial_comes_back_with_its_own_result(executor: Executor) -> None:
    study = small_study()
    waiting = some_trials(study, 3 * executor.slots + 1)
    expected = {trial: bowl(study, trial).nrmse for trial in waiting}
    in_flight = 0
    results = {}
    workers = set()
    while waiting or in_flight:
        while waiting and in_flight < executor.slots:
            executor.submit(study, waiting.pop())
            in_flight += 1
        trial, result = collected(executor)
        results[trial] = result.nrmse
        workers.add(result.worker)
        in_flight -= 1
    assert results == expected
    assert workers == names(executor), "all have worked, each under its name"


def check_nothing_in_flight_is_nothing_to_collect(executor: Executor) -> None:
    assert executor.collect(timeout=0.01) is None
    assert executor.collect() is None


def check_an_exception_is_a_failure_with_its_reason(executor: Executor) -> None:
    result = outcome(executor, RAISES)
    assert result.status is TrialStatus.FAILED
    assert result.error == "RuntimeError: an evaluation that raises"


def check_a_trial_over_its_time_is_ended(executor: Executor) -> None:
    result = outcome(executor, HANGS)
    assert result.status is TrialStatus.TIMEOUT
    assert result.error == "over its limit of 4 s"
    assert result.seconds > 4.0
    assert result.started


def check_a_trial_over_its_memory_is_ended(executor: Executor) -> None:
    result = outcome(executor, EATS)
    assert result.status is TrialStatus.CRASHED
    assert result.error is not None
    assert result.error.startswith("out of memory: ")
    assert result.error.endswith(" MiB, limit 400 MiB")


def check_a_killed_process_costs_its_trial_alone(executor: Executor) -> None:
    result = outcome(executor, DIES)
    assert result.status is TrialStatus.CRASHED
    assert result.error == "the worker ended with SIGKILL"


def check_the_atlas_is_the_same_and_closing_again_does_nothing(executor: Executor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journals = [Path(folder) / name / "trials.jsonl" for name in ("one", "many")]
        study = small_study(trials=6, lag=2, strategy='"contextual"')
        run(study, journals[0].parent, InlineExecutor(bowl))
        summary = run(study, journals[1].parent, executor)
        one, many = (atlas_of(journal) for journal in journals)
        assert one == many
        assert (summary.done, summary.failed) == (len(one), 0)
        records = read_records(journals[1])
        assert len(records) == len(one)
        assert {record["worker"] for record in records} <= names(executor)
    executor.close()


def check_trials_that_are_killed_name_the_worker_that_each_had(executor: Executor) -> None:
    study = small_study()
    for _ in range(executor.slots):
        executor.submit(study, trial_number(study, HANGS))
    ended = [collected(executor)[1] for _ in range(executor.slots)]
    assert {result.status for result in ended} == {TrialStatus.TIMEOUT}
    assert {result.worker for result in ended} == names(executor)


def check_closing_drops_what_is_in_flight(executor: Executor) -> None:
    study = small_study()
    executor.submit(study, trial_number(study, HANGS))
    executor.close()


Check = Callable[[Executor], None]

ANYWHERE: tuple[Check, ...] = (
    check_every_trial_comes_back_with_its_own_result,
    check_nothing_in_flight_is_nothing_to_collect,
    check_an_exception_is_a_failure_with_its_reason,
)
IN_CHILDREN: tuple[Check, ...] = (
    check_a_trial_over_its_time_is_ended,
    check_a_trial_over_its_memory_is_ended,
    check_a_killed_process_costs_its_trial_alone,
    check_trials_that_are_killed_name_the_worker_that_each_had,
)
LAST: tuple[Check, ...] = (check_the_atlas_is_the_same_and_closing_again_does_nothing,)
NAMES = [check.__name__ for check in (*ANYWHERE, *IN_CHILDREN, *LAST)]


def failures(executor: Executor, in_children: bool = True) -> dict[str, str]:
    """What fails in each check, empty where it passes; all on one executor, evaluating `faulty`."""
    checks = (*ANYWHERE, *(IN_CHILDREN if in_children else ()), *LAST)
    return {check.__name__: _failure(check, executor) for check in checks}


def _failure(check: Check, executor: Executor) -> str:
    try:
        check(executor)
    except Exception:  # noqa: BLE001 - whatever it is, the test of that name shows it
        return traceback.format_exc()
    return ""


def _on_ranks() -> int:
    from tomoatlas.sweep.executors.mpi.ranks import leave, run_ranks

    def print_failures(executor: Executor) -> int:
        json.dump(failures(executor), sys.stdout)
        return 0

    def drop(executor: Executor) -> int:
        check_closing_drops_what_is_in_flight(executor)
        return 0

    run_ranks(drop, faulty, LIMITS)
    return leave(run_ranks(print_failures, faulty, LIMITS))


if __name__ == "__main__":
    sys.exit(_on_ranks())
