from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tomoatlas.jobs import workers
from tomoatlas.jobs.cli import main
from tomoatlas.jobs.workers import Workers, executor_of
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.machine import usable_cores
from tomoatlas.sweep.devices import DeviceRequest
from tomoatlas.sweep.executors import mpi, trials_each
from tomoatlas.sweep.executors.local import InlineExecutor, ProcessExecutor
from tomoatlas.sweep.study import parse_study

STUDY = """
[study]
name = "limited"
[specimen]
kind = "nanocubes"
size = 16
"""


@pytest.mark.parametrize("count", [1, 2])
def test_trials_are_evaluated_in_processes_of_their_own_which_may_die(count: int) -> None:
    with executor_of(parse_study(STUDY), Workers(count, device="cpu")) as executor:
        assert type(executor) is ProcessExecutor
        assert executor.slots == count
        executor.close()


def machine(
    monkeypatch: pytest.MonkeyPatch, gpus: int, mask: str | None = None, problem: str | None = None
) -> None:
    """A computer with GPUs, and CuPy that can use them unless there is a problem."""
    monkeypatch.setattr(workers, "visible_uuids", lambda: tuple(f"GPU-{i}" for i in range(gpus)))
    monkeypatch.setattr(workers, "device_problem", lambda: problem)
    monkeypatch.setattr(workers, "device_count", lambda: 0 if problem else gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if mask is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)


def seen(asked: Workers) -> Sequence[str | None]:
    devices = workers.worker_devices(asked)
    return [device.child_environment.get("CUDA_VISIBLE_DEVICES") for device in devices]


@pytest.mark.parametrize(
    ("gpus", "mask", "asked", "expected"),
    [
        (4, None, Workers(), ["0", "1", "2", "3"]),
        (4, None, Workers(2), ["0", "1"]),
        (4, "3,1", Workers(), ["3", "1"]),
        (1, None, Workers(2, device="cpu"), [None, None]),
        (0, None, Workers(2), [None, None]),
    ],
)
def test_local_workers_get_a_gpu_each(
    gpus: int,
    mask: str | None,
    asked: Workers,
    expected: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, gpus, mask)
    assert seen(asked) == expected


def test_workers_share_a_gpu_only_where_that_is_wished(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(monkeypatch, 2)
    with pytest.raises(BadInput) as caught:
        seen(Workers(3))
    assert caught.value.source == "workers 0, 2"
    assert "--share-devices" in str(caught.value.accepted)
    assert seen(Workers(3, share=True)) == ["0", "1", "0"]
    assert "warning: workers 0, 2 hold the same GPU" in capsys.readouterr().err


@pytest.mark.parametrize("share", [True, False])
def test_the_option_reaches_local_workers_and_ranks(
    share: bool, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[DeviceRequest] = []
    ranks = SimpleNamespace(
        ranks=lambda: 2,
        leave=lambda code: code,
        run_ranks=lambda manage, request, batch: asked.append(request) or 0,
    )
    monkeypatch.setattr("tomoatlas.jobs.run.launched_under_mpi", lambda: True)
    monkeypatch.setattr(mpi, "ranks", ranks, raising=False)
    argv = ["run", str(study_file), "--out", str(tmp_path / "out"), "-q"]
    assert main([*argv, *["--share-devices"] * share]) == 0
    assert [request.sharing for request in asked] == ["warn" if share else "refuse"]


@pytest.mark.parametrize(("address", "count"), [("local", 3), ("node:8786", 0)])
def test_a_dask_cluster_elsewhere_has_devices_of_its_own(
    address: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, 3 if address == "local" else 0, problem=None)
    dask = pytest.importorskip("tomoatlas.sweep.executors.dask")
    asked: list[tuple[object, ...]] = []

    @contextmanager
    def connected(*given: object) -> Iterator[str]:
        asked.append(given)
        yield "client"

    def executor(client: str, request: DeviceRequest) -> InlineExecutor:
        asked.append((client, request.kind))
        return InlineExecutor()

    monkeypatch.setattr(dask, "connected", connected)
    monkeypatch.setattr(dask, "DaskExecutor", executor)
    with executor_of(parse_study(STUDY), Workers(dask=address, device="cuda")):
        assert asked == [(address, count), ("client", "cuda")]


def test_gpus_that_cupy_alone_sees_are_shared_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 0)
    monkeypatch.setattr(workers, "device_count", lambda: 2)
    assert seen(Workers(device="cuda")) == ["0", "1"]


def test_a_gpu_that_cannot_be_used_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(monkeypatch, 1, problem="cupy cannot be imported")
    assert len(seen(Workers())) == usable_cores()
    assert "trials run on the CPU, though there is a GPU: cupy" in capsys.readouterr().err
    with pytest.raises(BadInput) as caught:
        seen(Workers(1, device="cuda"))
    assert caught.value.source == "worker 0"
    assert (caught.value.key, caught.value.value) == ("--device", "cuda")


@pytest.mark.parametrize(
    ("gpus", "asked", "each"), [(2, None, 8), (2, 3, 3), (0, None, 1), (0, 4, 4)]
)
def test_a_gpu_is_given_several_trials_at_a_time(
    gpus: int, asked: int | None, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, gpus)
    with executor_of(parse_study(STUDY), Workers(2, batch=asked)) as executor:
        assert trials_each(executor) == each
        assert executor.slots == 2 * each
        executor.close()


def test_a_job_that_was_given_gpus_never_computes_on_the_cpu_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, 0)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    with pytest.raises(BadInput) as caught:
        seen(Workers(1))
    assert (caught.value.key, caught.value.value) == ("--device", "auto")
    assert seen(Workers(1, device="cpu")) == [None]
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "0")
    assert seen(Workers(1)) == [None]


def test_a_gpu_that_is_not_there_is_refused_in_one_line(
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine(monkeypatch, 1, problem="cupy cannot be imported")
    out = tmp_path / "out"
    argv = ["run", str(study_file), "--out", str(out), "--device", "cuda", "--workers", "1"]
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--device = 'cuda': cupy cannot be imported; accepted: pip install" in line
    assert not out.exists()


ASTRA = STUDY + '[axes]\n"solver.projector" = ["sparse", "astra"]\n'


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("gpus", [0, 1])
def test_a_projector_that_workers_have_not_got_is_refused_in_one_line(
    gpus: int,
    ranks: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """ASTRA is not installed, or there is a GPU, where it does not compute."""
    machine(monkeypatch, gpus)
    if not gpus:
        monkeypatch.setitem(sys.modules, "astra", None)
    monkeypatch.setattr("tomoatlas.jobs.run.launched_under_mpi", lambda: ranks > 1)
    monkeypatch.setattr(mpi, "ranks", SimpleNamespace(ranks=lambda: ranks), raising=False)
    study, out = tmp_path / "study.toml", tmp_path / "out"
    study.write_text(ASTRA)
    assert main(["run", str(study), "--out", str(out), "-q"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("solver.projector")
    assert ("--device cpu" in line) == bool(gpus)
    assert not out.exists()


def test_ranks_without_an_mpi_are_refused_in_one_line(
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Callable[..., BadInput],
) -> None:
    monkeypatch.setattr("tomoatlas.jobs.run.launched_under_mpi", lambda: True)
    monkeypatch.delattr(mpi, "ranks", raising=False)
    monkeypatch.delitem(sys.modules, f"{mpi.__name__}.ranks", raising=False)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    error = refusal("run", str(study_file), "--out", str(tmp_path / "out"), "-q")
    assert error.key == "mpi4py"
    assert error.accepted
    assert not (tmp_path / "out").exists()
