"""What this project uses of cupy, on arrays that count their copies and kernels that the host runs.

Functions are NumPy's, sparse products and transforms SciPy's: what is tested is what is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from host_launcher import HostLauncher, kernel_names
from scipy import fft, sparse
from watched import COPIES, WatchedArray, call, watched

from tomoatlas.recon_core.gpu import cupy as backend

FREE, TOTAL, UNUSED = 3 * 2**30, 4 * 2**30, 2**30


class Error(Exception):
    """As ``cupy.cuda.runtime.CUDARuntimeError``."""


class RawModule:
    """Kernels of one source."""

    made: list[RawModule] = []  # noqa: RUF012 - cleared by :func:`installed`

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        self.code, self.options, self.asked = code, options, list[str]()
        self.made.append(self)

    def get_function(self, name: str) -> Callable[..., None]:
        """A kernel, as one calls it: grid, block, arguments."""
        assert name in kernel_names(self.code)
        self.asked.append(name)
        return lambda grid, block, args: HostLauncher().launch(name, grid, block, args)


class Csr:
    """As ``cupyx.scipy.sparse.csr_matrix`` of a matrix of SciPy."""

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        assert isinstance(matrix, sparse.csr_matrix)
        self._matrix, self.shape = matrix, matrix.shape
        COPIES["put"] += 1

    def __matmul__(self, other: WatchedArray) -> Any:
        return call(self._matrix.__matmul__, (other,), {})


def installed(patch: pytest.MonkeyPatch) -> ModuleType:
    """The stand-in, in the place of cupy and cupyx until the test ends."""
    RawModule.made.clear()
    module = type(watched)("cupy")
    runtime = SimpleNamespace(
        CUDARuntimeError=Error,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda _: {"name": b"Stand-in"},
        memGetInfo=lambda: (FREE, TOTAL),
    )
    module.cuda = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(id=0))
    module.RawModule = RawModule
    module.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: UNUSED)
    transforms = {name: _watching(getattr(fft, name)) for name in ("rfft2", "irfft2")}
    patch.setitem(sys.modules, "cupy", module)
    patch.setitem(sys.modules, "cupyx.scipy.fft", SimpleNamespace(**transforms))
    patch.setitem(sys.modules, "cupyx.scipy.sparse", SimpleNamespace(csr_matrix=Csr))
    forget()
    return module


def forget() -> None:
    """What the backend keeps of a module and of its kernels."""
    backend.cupy_module.cache_clear()
    backend.compiled.cache_clear()


def _watching(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: call(function, args, options)
