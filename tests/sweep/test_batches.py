"""Several trials of a worker at a time: the same results, and one trial's fault is its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from host_launcher import HostLauncher, needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from sweep_conformance import collected, some_trials, trial_number
from sweep_fakes import DIES, HANGS, RAISES, atlas_of, bowl, faulty, read_records, small_study

from tomoatlas.recon_core.device import CPU, Cpu, Device
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu import CudaDevice
from tomoatlas.recon_core.memory import fused_bytes, matrix_bytes
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.sweep import evaluate as module
from tomoatlas.sweep.estimate import solve_size, trial_seconds
from tomoatlas.sweep.evaluate import evaluate, evaluate_together
from tomoatlas.sweep.executors import Limits, trials_each
from tomoatlas.sweep.executors.batches import Batching, Waiting
from tomoatlas.sweep.executors.local import InlineExecutor, ProcessExecutor
from tomoatlas.sweep.run import Deadline
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.run.scheduler import Scheduler
from tomoatlas.sweep.study import Task, parse_study
from tomoatlas.sweep.study.trial import Record, Trial, TrialResult, TrialStatus, to_record

STUDY = parse_study("""
[study]
name = "batched"
edition = 2
[specimen]
kind = "nanocubes"
size = 12
[acquisition]
chemical_tilts = 5
[solver]
max_iterations = 6
[axes]
"acquisition.haadf_tilts" = [5, 7]
""")


def faulty_together(tasks: Sequence[Task], device: str) -> Iterator[list[tuple[int, TrialResult]]]:
    """Every trial of a cell and method in one solve; any fault is one of all."""
    groups: dict[object, list[int]] = {}
    for place, (_, trial) in enumerate(tasks):
        groups.setdefault((trial.cell, trial.method), []).append(place)
    for places in groups.values():
        yield [(i, replace(faulty(*tasks[i]), error=f"{len(places)}")) for i in places]


BATCHES = Batching(4, faulty_together)


def of_the_paper(*methods: Method) -> list[Task]:
    """Three trials of every method in both cells."""
    weights = [Weights(0.03, 0.5), Weights(0.1, 0.2), Weights(0.3, 1.0)]
    return [
        (STUDY, STUDY.trial(cell, method, number, each))
        for number, each in enumerate(weights)
        for cell in STUDY.cells()
        for method in methods
    ]


def without_times(trial: Trial, result: TrialResult) -> Record:
    return to_record(trial, replace(result, seconds=0.0, started=""))


def host() -> CudaDevice:
    return CudaDevice(HostLauncher(), "host")


@pytest.mark.parametrize(
    ("device", "tasks"),
    [
        (lambda: CPU, of_the_paper(Method.FUSED, Method.CHEMISTRY_TV)),
        pytest.param(host, of_the_paper(Method.FUSED)[::2], marks=needs_compiler),
    ],
)
def test_a_batch_gives_every_trial_the_result_that_it_has_alone(device, tasks) -> None:
    on: Device = device()
    solves = list(evaluate_together(tasks, on))
    assert Counter(map(len, solves)) == {3: len(tasks) // 3}, "a solve for each cell and method"
    found = dict(pair for solve in solves for pair in solve)
    assert sorted(found) == list(range(len(tasks)))
    for place, (study, trial) in enumerate(tasks):
        assert found[place].status is TrialStatus.OK
        alone = evaluate(study, trial, on)
        assert without_times(trial, found[place]) == without_times(trial, alone)


def test_trials_of_other_data_or_settings_are_never_solved_together() -> None:
    study, cell = STUDY, STUDY.cells()[0]
    changes = [
        {},
        {"limits": study.limits.model_copy(update={"retries": 5})},
        {"disturbances": study.disturbances.model_copy(update={"chemical_gain": 0.1})},
        {"acquisition": study.acquisition.model_copy(update={"background": 0.3})},
        {"solver": study.solver.model_copy(update={"max_iterations": 5})},
    ]
    studies = [study.model_copy(update=change) for change in changes]
    tasks = [(s, s.trial(cell, Method.CHEMISTRY_TV, 0, Weights(0.0, 1.0))) for s in studies]
    solves = [[place for place, _ in solve] for solve in evaluate_together(tasks, "cpu")]
    assert sorted(solves) == [[0, 1], [2], [3], [4]], "limits alone make no difference"


def test_each_trial_of_a_solve_has_an_equal_share_of_its_time() -> None:
    ((*results,),) = evaluate_together(of_the_paper(Method.CHEMISTRY_TV)[::2], "cpu")
    assert len({result.seconds for _, result in results}) == 1
    starts = [result.started for _, result in results]
    assert starts == sorted(set(starts))


class Small(Cpu):
    """A processor with the memory for so many trials."""

    def __init__(self, trials: int) -> None:
        self._trials = trials

    def free_bytes(self) -> int:
        size = solve_size(STUDY.at(STUDY.cells()[0]))
        return fused_bytes(replace(size, batch=self._trials)) + matrix_bytes(size) + 1


def test_the_results_of_a_solve_fit_into_the_computer_of_a_gpu(monkeypatch) -> None:
    tasks = of_the_paper(Method.CHEMISTRY_TV)[::2]
    size = solve_size(STUDY.at(STUDY.cells()[0]))
    monkeypatch.setattr(module, "available_bytes", lambda: 4 * size.specimen_bytes)
    assert [len(solve) for solve in evaluate_together(tasks, "cpu")] == [2, 1]


@pytest.mark.parametrize(("fit", "solves"), [(3, [3]), (2, [2, 1]), (1, [1, 1, 1])])
def test_a_solve_takes_as_many_trials_as_the_memory_holds(fit: int, solves: list[int]) -> None:
    tasks = of_the_paper(Method.FUSED)[::2]
    found = list(evaluate_together(tasks, Small(fit)))
    assert [len(solve) for solve in found] == solves
    assert {result.status for solve in found for _, result in solve} == {TrialStatus.OK}


def test_a_trial_that_fails_in_a_solve_is_one_failed_trial(monkeypatch) -> None:
    scores = module.nrmse_by_element
    tasks = of_the_paper(Method.CHEMISTRY_TV)[::2]
    volumes = module.reconstruct_trial(*tasks[1])[0].volumes

    def second_fails(found, truth):
        if np.array_equal(found, volumes):
            raise ValueError("no score")
        return scores(found, truth)

    monkeypatch.setattr(module, "nrmse_by_element", second_fails)
    (found,) = evaluate_together(tasks, "cpu")
    assert [r.status for _, r in found] == [TrialStatus.OK, TrialStatus.FAILED, TrialStatus.OK]


@pytest.mark.parametrize("error", [BadInput("not together"), MemoryError(), RuntimeError("odd")])
def test_what_cannot_be_solved_together_is_solved_singly(error: Exception, monkeypatch) -> None:
    def refuse(*args):
        raise error

    monkeypatch.setattr(module, "reconstruct_batch", refuse)
    (found,) = evaluate_together(of_the_paper(Method.CHEMISTRY_TV)[::2], "cpu")
    assert {result.status for _, result in found} == {TrialStatus.OK}


def test_an_error_of_a_gpu_is_for_the_process_that_has_it(monkeypatch) -> None:
    def lost(*args):
        raise RuntimeError("unspecified launch failure")

    monkeypatch.setattr(module, "reconstruct_batch", lost)
    with pytest.raises(RuntimeError):
        list(evaluate_together(of_the_paper(Method.CHEMISTRY_TV), host()))


@given(
    cells=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    size=st.integers(1, 8),
    workers=st.integers(1, 4),
)
def test_free_workers_share_what_waits_and_take_like_trials_first(cells, size, workers) -> None:
    study = small_study()
    made = [trial_number(study, i) for i in range(len(cells))]
    tasks = [
        (study, replace(t, cell=replace(t.cell, index=c))) for t, c in zip(made, cells, strict=True)
    ]
    waiting = Waiting(size)
    for task in tasks:
        waiting.add(task)
    taken = waiting.take(workers)
    assert len(taken) == min(size, math.ceil(len(tasks) / workers))
    assert taken[0] == tasks[0]
    others = [waiting.take(10**6)[0] for _ in range(len(waiting))]
    assert len(others) + len(taken) == len(tasks)
    assert [task for task in tasks if task in others] == sorted(others, key=tasks.index)
    first = tasks[0][1].cell
    like = [task for task in taken if task[1].cell == first]
    assert len(like) == min(len(taken), cells.count(cells[0]))


def test_a_study_is_the_same_with_batches_and_without(tmp_path: Path) -> None:
    study = small_study()
    executor = ProcessExecutor(2, faulty, batching=BATCHES)
    assert (executor.slots, trials_each(executor)) == (8, 4)
    summary = run(study, tmp_path / "many", executor)
    run(study, tmp_path / "one", InlineExecutor(faulty))
    many, one = (tmp_path / name / "trials.jsonl" for name in ("many", "one"))
    assert atlas_of(many) == atlas_of(one)
    assert summary.done == len(read_records(many)), "nothing is recorded twice"
    together = {record["error"] for record in read_records(many)}
    assert together - {"1"}, "some were solved together"


@pytest.mark.parametrize(
    ("number", "status", "error"),
    [
        (DIES, TrialStatus.CRASHED, "the worker ended with SIGKILL"),
        (HANGS, TrialStatus.TIMEOUT, "over its limit of 1 s"),
        (RAISES, TrialStatus.FAILED, "RuntimeError: an evaluation that raises"),
    ],
)
def test_a_fault_that_ends_a_batch_is_that_of_one_trial(
    number: int, status: TrialStatus, error: str
) -> None:
    study = small_study()
    trials = [*some_trials(study, 2), trial_number(study, number), trial_number(study, 3)]
    limits = Limits(seconds=1.0)
    with closing(ProcessExecutor(1, faulty, limits, batching=BATCHES)) as executor:
        for trial in trials:
            executor.submit(study, trial)
        found = dict(collected(executor) for _ in trials)
        assert executor.collect(0.0) is None
    assert set(found) == set(trials)
    bad = found.pop(trials[2])
    assert (bad.status, bad.error) == (status, error)
    for trial, result in found.items():
        assert (result.status, result.nrmse) == (TrialStatus.OK, bowl(study, trial).nrmse)


def test_trials_of_a_batch_that_came_before_its_end_count(tmp_path: Path) -> None:
    """Of two cells; the second kills the process when the first has been answered."""
    study = small_study()
    cells = study.cells()
    good = [study.trial(cells[0], Method.FUSED, i, Weights(0.1 + i, 1.0)) for i in range(2)]
    bad = [study.trial(cells[1], Method.FUSED, i, Weights(0.1, 1.0 + i)) for i in (0, DIES)]
    with closing(ProcessExecutor(1, faulty, batching=BATCHES)) as executor:
        for trial in [*good, *bad]:
            executor.submit(study, trial)
        found = dict(collected(executor) for _ in range(4))
    assert [found[trial].error for trial in good] == ["2", "2"], "evaluated once, together"
    assert found[bad[1]].status is TrialStatus.CRASHED
    assert found[bad[0]].status is TrialStatus.OK


class Three(InlineExecutor):
    """Three workers, or one that has three trials at a time."""

    slots = 3

    def __init__(self, each: int) -> None:
        super().__init__(bowl)
        self.trials_each = each


@pytest.mark.parametrize(("each", "started"), [(1, 3), (3, 1)])
def test_time_is_left_for_the_others_of_a_worker(each: int, started: int) -> None:
    study = small_study(methods='["fused"]')
    seconds = max(trial_seconds(study.at(cell), Method.FUSED) for cell in study.cells())
    scheduler = Scheduler(study)
    scheduler.hand_out(Three(each), Deadline(3.0 * seconds))
    assert scheduler.in_flight == started, "one starts anyway, to see how long it takes"
