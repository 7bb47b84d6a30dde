from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from sweep_conformance import LIMITS, NAMES, collected, failures, some_trials, trial_number
from sweep_fakes import (
    SMALL,
    atlas_of,
    bowl,
    device_asked,
    endless_bowl,
    faulty,
    slow_bowl,
    small_study,
    worker_killing_bowl,
)
from sweep_launch import wait_for
from sweep_stranger import asked_by_a_stranger

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu.cupy import has_device
from tomoatlas.sweep.devices import DeviceRequest
from tomoatlas.sweep.executors.local import InlineExecutor, ProcessExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus
from tomoatlas.sweep.versions import REVISION, provenance

# Nothing in the designed part needs a proposal.
STUDY = parse_study(SMALL.replace("initial = 3", "initial = 6"))

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def on_dask(client: Any) -> dict[str, str]:
    from tomoatlas.sweep.executors.dask import DaskExecutor

    return failures(DaskExecutor(client, faulty, LIMITS))


@pytest.mark.parametrize("name", NAMES)
def test_executor(on_dask: dict[str, str], name: str) -> None:
    assert not on_dask[name], on_dask[name]


def test_a_run_goes_on_as_workers_are_killed_and_join(
    cluster: Any, client: Any, tmp_path: Path
) -> None:
    from tomoatlas.sweep.executors.dask import DaskExecutor

    executor = DaskExecutor(client, slow_bowl)
    slots = [executor.slots]

    def disturb(trial: Trial, result: TrialResult) -> None:
        if len(slots) == 3:
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            cluster.scale(3)
        if len(slots) == 12:  # whatever the start of a worker takes here
            wait_for(lambda: executor.slots == 3)
        slots.append(executor.slots)

    summary = run(STUDY, tmp_path / "run", executor, disturb)
    assert (summary.done, summary.failed) == (24, 0), "Dask has run the lost trial again"
    assert slots[0] == 2
    assert max(slots) == 3
    run(STUDY, tmp_path / "one", InlineExecutor(bowl))
    assert atlas_of(tmp_path / "run" / "trials.jsonl") == atlas_of(
        tmp_path / "one" / "trials.jsonl"
    )


def test_a_trial_whose_worker_was_lost_too_often_names_the_last(
    cluster: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tomoatlas.sweep.executors.dask import DaskExecutor

    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    study = small_study()
    executor = DaskExecutor(client, worker_killing_bowl)
    before = {str(w["name"]) for w in client.scheduler_info()["workers"].values()}
    executor.submit(study, trial_number(study, 0))
    result = collected(executor)[1]
    executor.close()
    assert result.status is TrialStatus.CRASHED
    assert str(result.error).startswith("lost worker: ")
    assert result.worker in before


def dask_worker(name: object, threads: int = 1) -> Any:
    """What Dask shows a plugin of its worker."""
    state = SimpleNamespace(nthreads=threads)
    return SimpleNamespace(name=name, state=state, address="tcp://127.0.0.1:40000")


def gpus_here(monkeypatch: pytest.MonkeyPatch, count: int, problem: str | None = None) -> None:
    uuids = tuple(f"GPU-{i}" for i in range(count))
    monkeypatch.setattr("tomoatlas.sweep.executors.dask.workers.visible_uuids", lambda: uuids)
    monkeypatch.setattr("tomoatlas.sweep.executors.dask.workers.device_problem", lambda: problem)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def children_made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of the children that workers make from now on, which are not started."""
    made: list[dict[str, Any]] = []
    signature = inspect.signature(ProcessExecutor)
    monkeypatch.setattr(
        "tomoatlas.sweep.executors.dask.workers.ProcessExecutor",
        lambda *given, **named: made.append(signature.bind(*given, **named).arguments),
    )
    return made


@pytest.mark.parametrize(
    ("name", "threads", "mask", "expected"),
    [
        (0, 1, None, ["0", "0"]),
        (5, 1, None, ["5", "5"]),
        ("tcp://node7", 1, None, ["0", "0"]),
        ("node7", 2, None, ["0", "1"]),
        # As dask-cuda does: all GPUs, the worker's own first.
        ("node7", 1, "3,0,1,2", ["3", "3"]),
    ],
)
def test_children_have_gpus_of_their_own(
    name: object,
    threads: int,
    mask: str | None,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tomoatlas.sweep.executors.dask.workers import DaskWorkers

    gpus_here(monkeypatch, 8)
    if mask is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    made = children_made(monkeypatch)
    plugin = DaskWorkers(bowl, None, DeviceRequest("cuda"))
    plugin.setup(dask_worker(name, threads))
    for _ in expected:
        plugin.new_child()
    assert [child["environments"][0]["CUDA_VISIBLE_DEVICES"] for child in made] == expected
    assert {child["device"] for child in made} == {"cuda"}


def test_threads_that_would_share_a_gpu_are_refused_unless_wished(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tomoatlas.sweep.executors.dask.workers import DaskWorkers

    gpus_here(monkeypatch, 1)
    with pytest.raises(BadInput) as refused:
        DaskWorkers(bowl, None, DeviceRequest("cuda")).setup(dask_worker("node7", 2))
    assert refused.value.source == "Dask worker node7, threads 0, 1"
    DaskWorkers(bowl, None, DeviceRequest("cuda", "warn")).setup(dask_worker("node7", 2))
    assert "warning: Dask worker node7, threads 0, 1 hold the same GPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wished", "workers", "expected"), [("1", 4, 16), (None, 1, 64), ("8", 4, 8)]
)
def test_children_share_the_cores_of_their_host(
    wished: str | None, workers: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tomoatlas.sweep.executors.dask.workers import DaskWorkers

    monkeypatch.setattr("tomoatlas.sweep.executors.dask.workers.usable_cores", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wished is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", wished)
    plugin = DaskWorkers(bowl, None, DeviceRequest(), {"127.0.0.1": workers})
    plugin.setup(dask_worker("node7"))
    made = children_made(monkeypatch)
    plugin.new_child()
    assert made[0]["threads"] == expected


def test_workers_are_asked_for_the_device_of_the_request(client: Any) -> None:
    from tomoatlas.sweep.executors.dask import DaskExecutor

    study = small_study()
    with closing(DaskExecutor(client, device_asked, request=DeviceRequest("auto"))) as executor:
        executor.submit(study, trial_number(study, 0))
        assert collected(executor)[1].error == "auto"


@pytest.mark.skipif(has_device(), reason="there is a GPU here")
def test_workers_without_the_device_are_refused_and_left_as_they_were(client: Any) -> None:
    from tomoatlas.sweep.executors.dask import DaskExecutor

    with pytest.raises(BadInput) as refused:
        DaskExecutor(client, bowl, request=DeviceRequest("cuda"))
    assert (refused.value.key, refused.value.value) == ("--device", "cuda")
    assert str(refused.value.source).startswith("Dask worker ")
    plugins = client.run(lambda dask_worker: list(dask_worker.plugins))
    assert not [name for names in plugins.values() for name in names if "tomoatlas" in str(name)]


def test_a_worker_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from tomoatlas.sweep.executors.dask import workers

    crews = workers.DaskWorkers(bowl, None)
    there = replace(provenance(), revision=REVISION + 1)
    monkeypatch.setattr(workers, "provenance", lambda: there)
    with pytest.raises(BadInput) as refused:
        crews.setup(dask_worker("node7"))
    assert str(refused.value.source).startswith("Dask worker node7 on ")
    assert refused.value.value == str(there)


def test_the_threads_of_one_worker_have_names_of_their_own() -> None:
    from tomoatlas.sweep.executors.dask.workers import DaskWorkers

    for threads, expected in ((1, ["node7", "node7"]), (2, ["node7/0", "node7/1"])):
        plugin = DaskWorkers(faulty, LIMITS)
        plugin.setup(dask_worker("node7", threads))
        study = small_study()
        made = [plugin.new_child() for _ in expected]
        for child in made:
            child.submit(study, trial_number(study, 0))
        assert [collected(child)[1].worker for child in made] == expected
        for child in made:
            child.close()


def test_closing_ends_the_children_of_all_workers(client: Any) -> None:
    from tomoatlas.sweep.executors.dask import DaskExecutor

    study = small_study()
    executor = DaskExecutor(client, endless_bowl)
    executor.submit(study, trial_number(study, 0))
    wait_for(lambda: bool(child_commands(client)))
    executor.close()
    wait_for(lambda: not child_commands(client))


def child_commands(client: Any) -> list[int]:
    """The processes that the Dask workers have started."""
    found: dict[str, list[int]] = client.run(own_children)
    return [pid for pids in found.values() for pid in pids]


def own_children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def test_a_worker_on_which_nothing_starts_is_retired_and_the_last_one_ends_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tomoatlas.sweep.executors.child import CannotStart
    from tomoatlas.sweep.executors.dask import DaskExecutor

    study = small_study()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
        closing(DaskExecutor(client, faulty)) as executor,
    ):
        first, second = (plugin_of(worker) for worker in cluster.workers.values())
        first.evaluate = cannot_start
        second.evaluate = bowl
        for trial in some_trials(study, 4):
            executor.submit(study, trial)
        assert {collected(executor)[1].status for _ in range(4)} == {TrialStatus.OK}
        assert executor.slots == 1
        assert "is retired: a worker process cannot start" in capsys.readouterr().err
        second.evaluate = cannot_start
        executor.submit(study, trial_number(study, 0))
        with pytest.raises(CannotStart, match="cannot start"):
            collected(executor)


def plugin_of(worker: Any) -> Any:
    return next(p for p in worker.plugins.values() if type(p).__name__ == "DaskWorkers")


def cannot_start(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    from tomoatlas.sweep.executors.child import CannotStart

    raise CannotStart("a worker process cannot start, exit code 1")


def test_a_cluster_without_workers_is_waited_for_but_not_in_silence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tomoatlas.sweep.executors.dask import DaskExecutor

    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
        closing(DaskExecutor(client, faulty)) as executor,
    ):
        assert [executor.collect(0.0) for _ in range(3)] == [None] * 3
    assert capsys.readouterr().err == "no Dask workers: waiting for some to join\n"


@pytest.mark.parametrize("certificates", ["none", "own"])
def test_another_user_is_refused_by_a_local_cluster(certificates: str) -> None:
    pytest.importorskip("cryptography", reason="the extra `dask` is not installed")
    from tomoatlas.sweep.executors.dask import connected

    with connected("local", 1) as client:
        workers = list(client.scheduler_info()["workers"])
        for address in [client.scheduler.address, *workers]:
            assert address.startswith("tls://")
            address = address if certificates == "own" else address.replace("tls", "tcp")
            asked = asked_by_a_stranger(address, certificates)
            assert asked.returncode == 9, asked.stdout + asked.stderr
        assert client.submit(sum, [1, 2]).result() == 3, "its own run goes on"


def test_a_cluster_without_tls_takes_anybody_and_is_said_to(
    cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from tomoatlas.sweep.executors.dask import connected

    assert asked_by_a_stranger(cluster.scheduler_address, "none").returncode == 0
    with connected(cluster.scheduler_address, 1):
        pass
    assert cluster.scheduler_address in capsys.readouterr().err
