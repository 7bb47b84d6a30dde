"""The GPU: the one file that imports cupy, and only when asked.

Arrays carry their backend: NumPy arrays are computed with on the CPU, CuPy arrays on the device
that holds them. Everything runs on the current stream.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from ..errors import BadInput
from .source import DEFINES, Size, cuda_source

Array = NDArray[np.float32]

_ACCEPTED = "cpu, or a machine with an NVIDIA GPU and tomoatlas[gpu] installed"


@cache
def cupy_module() -> ModuleType:
    """The cupy module, once it is known to work.

    Raises
    ------
    BadInput : cupy is not installed, or finds no CUDA device.
    """
    try:
        import cupy
    except ImportError as error:
        raise _no_device(f"cupy cannot be imported ({error})") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise _no_device(f"CUDA finds no device ({error})") from error
    if not count:
        raise _no_device("CUDA finds no device")
    module: ModuleType = cupy
    return module


def device_problem() -> str | None:
    """Why no CUDA device can be used; None where one can."""
    try:
        cupy_module()
    except BadInput as error:
        return error.problem
    return None


def has_device() -> bool:
    """Whether cupy and a CUDA device can be used."""
    return device_problem() is None


def device_count() -> int:
    """Number of CUDA devices that this process sees; 0 where none can be used."""
    return 0 if device_problem() else int(cupy_module().cuda.runtime.getDeviceCount())


def xp_of(array: Any) -> ModuleType:
    """The array module of ``array``: cupy for arrays on a device, numpy for all others."""
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(array, cupy.ndarray) else np


def fft_of(array: Any) -> ModuleType:
    """The ``scipy.fft`` of the array's module."""
    return fft if xp_of(array) is np else import_module("cupyx.scipy.fft")


def to_host(array: Any) -> NDArray[Any]:
    """Copy from the device that holds ``array``; a NumPy array is returned as it is."""
    host: NDArray[Any] = array if xp_of(array) is np else array.get()
    return host


def device_name() -> str:
    """Name of the current device, as its vendor gives it."""
    cupy = cupy_module()
    name: bytes = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"]
    return name.decode()


def device_memory() -> tuple[int, int]:
    """Free and total bytes of the current device; cupy's own unused blocks count as free."""
    cupy = cupy_module()
    free, total = cupy.cuda.runtime.memGetInfo()
    return int(free + cupy.get_default_memory_pool().free_bytes()), int(total)


def address_of(array: Any) -> int:
    """Address of the first value, on the host or on the device."""
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return int(interface["data"][0])


def device_matrix(matrix: sparse.csr_array) -> Any:
    """A sparse matrix on the current device, csr."""
    cupy_module()
    return import_module("cupyx.scipy.sparse").csr_matrix(sparse.csr_matrix(matrix))


@dataclass(frozen=True)
class CupyLauncher:
    """Compiles the kernels for the current device and launches them on the current stream.

    Raises
    ------
    BadInput : as :func:`cupy_module`.
    """

    xp: ModuleType = field(default_factory=cupy_module, init=False, repr=False, compare=False)
    _kernels: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def free_bytes(self) -> int:
        """See :class:`tomoatlas.recon_core.gpu.source.Launcher`."""
        return device_memory()[0]

    def launch(self, name: str, grid: Size, block: Size, args: tuple[Any, ...]) -> None:
        """See :class:`tomoatlas.recon_core.gpu.source.Launcher`."""
        if name not in self._kernels:
            self._kernels[name] = _module().get_function(name)
        self._kernels[name](grid, block, args)


@cache
def _module() -> Any:
    """The kernels, compiled when first launched on a device; cupy keeps binaries on disk."""
    return cupy_module().RawModule(code=cuda_source(), options=("--std=c++17", *DEFINES))


def _no_device(problem: str) -> BadInput:
    return BadInput(problem, key="device", value="cuda", accepted=_ACCEPTED)
