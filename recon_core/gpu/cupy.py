"""The only file that imports cupy, and only on request.

Arrays carry their backend: NumPy arrays are processed on the CPU, CuPy arrays on the device that
holds them. Everything runs on the current stream.
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
from .kernels import DEFINES, Size, cuda_source

Array = NDArray[np.float32]

_ACCEPTED = "cpu, or a machine with an NVIDIA GPU and tomoatlas[gpu] installed"


@cache
def cupy_module() -> ModuleType:
    """Import cupy once it is known to work.

    Returns
    -------
    module : cupy.

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
    """Return why no CUDA device can be used, or None if one can."""
    try:
        cupy_module()
    except BadInput as error:
        return error.problem
    return None


def has_device() -> bool:
    """Check whether cupy and a CUDA device can be used."""
    return device_problem() is None


def device_count() -> int:
    """Count the CUDA devices visible to this process; 0 if none can be used."""
    return 0 if device_problem() else int(cupy_module().cuda.runtime.getDeviceCount())


def xp_of(array: Any) -> ModuleType:
    """Return the array module of an array.

    Parameters
    ----------
    array : of NumPy, CuPy or anything that behaves like NumPy's.

    Returns
    -------
    module : cupy for arrays on a device, numpy for all others.
    """
    # no array can be cupy's before cupy has been imported, and this must not import it
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(array, cupy.ndarray) else np


def fft_of(array: Any) -> ModuleType:
    """Return the ``scipy.fft`` of an array's module.

    Parameters
    ----------
    array : of NumPy or CuPy.

    Returns
    -------
    module : ``scipy.fft`` or ``cupyx.scipy.fft``.
    """
    return fft if xp_of(array) is np else import_module("cupyx.scipy.fft")


def to_host(array: Any) -> NDArray[Any]:
    """Copy an array from its device to the host.

    Parameters
    ----------
    array : of NumPy or CuPy, any shape.

    Returns
    -------
    array : of NumPy; a NumPy array is returned as it is.
    """
    # waits for the kernels queued before
    host: NDArray[Any] = array if xp_of(array) is np else array.get()
    return host


def device_name() -> str:
    """Return the name of the current device, as its vendor gives it."""
    cupy = cupy_module()
    name: bytes = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"]
    return name.decode()


def device_memory() -> tuple[int, int]:
    """Return the free and the total bytes of the current device; cupy's unused blocks are free."""
    cupy = cupy_module()
    free, total = cupy.cuda.runtime.memGetInfo()
    # the pool keeps what was freed: to CUDA it looks used
    return int(free + cupy.get_default_memory_pool().free_bytes()), int(total)


def address_of(array: Any) -> int:
    """Return the address of the first value of an array, on the host or on its device.

    Parameters
    ----------
    array : of NumPy or CuPy.

    Returns
    -------
    int : decides whether aligned vector loads are possible.
    """
    # both interfaces hold the pointer under the same key
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return int(interface["data"][0])


def device_matrix(matrix: sparse.csr_array) -> Any:
    """Copy a sparse matrix to the current device.

    Parameters
    ----------
    matrix : of SciPy, csr.

    Returns
    -------
    matrix : of ``cupyx.scipy.sparse``, csr.
    """
    cupy_module()
    return import_module("cupyx.scipy.sparse").csr_matrix(sparse.csr_matrix(matrix))


@dataclass(frozen=True)
class CupyLauncher:
    """Launcher that compiles the kernels for the current device, on the current stream.

    Raises
    ------
    BadInput : as :func:`cupy_module`.
    """

    xp: ModuleType = field(default_factory=cupy_module, init=False, repr=False, compare=False)
    _kernels: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def free_bytes(self) -> int:
        """See :class:`tomoatlas.recon_core.gpu.kernels.Launcher`."""
        return device_memory()[0]

    def launch(self, name: str, grid: Size, block: Size, args: tuple[Any, ...]) -> None:
        """See :class:`tomoatlas.recon_core.gpu.kernels.Launcher`."""
        # a look-up by name costs more than a launch
        if name not in self._kernels:
            self._kernels[name] = compiled().get_function(name)
        self._kernels[name](grid, block, args)


@cache
def compiled() -> Any:
    """Compile the kernels at the first launch on a device; cupy keeps the binaries on disk."""
    return cupy_module().RawModule(code=cuda_source(), options=("--std=c++17", *DEFINES))


def _no_device(problem: str) -> BadInput:
    return BadInput(problem, key="device", value="cuda", accepted=_ACCEPTED)
