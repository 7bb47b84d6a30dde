"""Where arrays live, and one line where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from recon_devices import needs_gpu

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu import cupy as backend

ASKS: list[Callable[[], object]] = [
    backend.cupy_module,
    backend.CupyLauncher,
    backend.device_name,
    backend.device_memory,
]


class Failure(Exception):
    pass


def cupy_with(devices: Callable[[], int]) -> ModuleType:
    module = ModuleType("cupy")
    runtime = SimpleNamespace(getDeviceCount=devices, CUDARuntimeError=Failure)
    module.cuda = SimpleNamespace(runtime=runtime)
    return module


@pytest.fixture
def forgetful() -> Iterator[None]:
    """The answer whether there is a GPU is not taken from other tests, nor left for them."""
    backend.cupy_module.cache_clear()
    yield
    backend.cupy_module.cache_clear()


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("ask", ASKS)
def test_without_cupy(ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BadInput) as caught:
        ask()
    assert (caught.value.key, caught.value.value) == ("device", "cuda")
    assert "tomoatlas[gpu]" in str(caught.value.accepted)
    assert not backend.has_device()


@pytest.mark.usefixtures("forgetful")
def test_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(lambda: 0))
    with pytest.raises(BadInput) as caught:
        backend.cupy_module()
    assert (caught.value.key, caught.value.value) == ("device", "cuda")


@pytest.mark.usefixtures("forgetful")
def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise Failure("driver too old")

    monkeypatch.setitem(sys.modules, "cupy", cupy_with(fail))
    with pytest.raises(BadInput) as caught:
        backend.cupy_module()
    assert (caught.value.key, caught.value.value) == ("device", "cuda")
    assert "driver too old" in caught.value.problem


def test_numpy_arrays_stay_where_they_are() -> None:
    array = np.zeros(3, np.float32)
    assert backend.xp_of(array) is np
    assert backend.to_host(array) is array
    assert backend.address_of(array[1:]) == array.ctypes.data + 4


@needs_gpu
def test_to_the_device_and_back() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    there = backend.cupy_module().asarray(array)
    assert backend.xp_of(there) is backend.cupy_module()
    assert there.dtype == np.float32
    np.testing.assert_array_equal(backend.to_host(there), array)
    assert backend.address_of(there) == there.data.ptr


def test_fourier_transform_of_either_module() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    spectrum = backend.fft_of(array).rfft2(array)
    np.testing.assert_allclose(spectrum, np.fft.rfft2(array), rtol=1e-5)
    assert spectrum.dtype == np.complex64


@needs_gpu
def test_fourier_transform_on_the_device() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    there = backend.cupy_module().asarray(array)
    spectrum = backend.fft_of(there).rfft2(there)
    assert spectrum.dtype == np.complex64
    np.testing.assert_allclose(backend.to_host(spectrum), np.fft.rfft2(array), rtol=1e-5)


@needs_gpu
def test_what_the_device_is() -> None:
    free, total = backend.device_memory()
    assert 0 < free <= total
    assert backend.device_name()


@pytest.mark.skipif(backend.has_device(), reason="there is a GPU: the benchmark would run")
def test_the_benchmark_says_in_one_line_that_it_needs_a_gpu() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / "tests" / "benchmarks" / "gpu.py")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("device = 'cuda': ")


def test_the_floors_need_no_gpu_and_what_is_predicted_is_above_them() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / "tests" / "benchmarks" / "gpu.py"), "64", "--floors"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "64³" in line]
    # launches move nothing: they have no floor
    times = {row[0]: (float(row[-2] or 0), float(row[-1])) for row in rows}
    assert len(times) == 9
    assert all(floor <= predicted for floor, predicted in times.values())
    total = times.pop("iteration")
    sums = np.sum(list(times.values()), axis=0)
    np.testing.assert_allclose(sums, total, atol=0.02)
    assert "the paper's: 1,078" in done.stdout
