"""A GPU as a device of the solver, and devices by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..device import CPU, Device, Filter
from ..errors import BadInput
from ..geometry import TiltGeometry
from ..machine import DEVICES
from .cupy import CupyLauncher, device_name, fft_of, has_device, to_host
from .kernels import CudaKernels, check_shape
from .projector import CudaProjector
from .source import Launcher

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CudaDevice:
    """What the solver asks of a GPU (:class:`tomoatlas.recon_core.device.Device`), by the CUDA
    kernels.

    Its arrays are those of ``launcher``. Only :meth:`put` and :meth:`get` copy between host and
    device. The FFT is cuFFT's, which keeps its plans. ``half`` stores the TV dual, a third of an
    iteration's traffic, at half precision, and says so in :attr:`name`.
    """

    launcher: Launcher
    hardware: str
    half: bool = False
    builds_matrices = False
    _projectors: dict[TiltGeometry, CudaProjector] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """The hardware; and the precision of what it stores, where that is not float32."""
        return f"{self.hardware}, half-precision dual" if self.half else self.hardware

    @property
    def dual_type(self) -> type[np.floating[Any]]:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return np.float16 if self.half else np.float32

    @property
    def xp(self) -> ModuleType:
        """The array module."""
        return self.launcher.xp

    @property
    def kernels(self) -> CudaKernels:
        """The loops of the solver."""
        return CudaKernels(self.launcher)

    def projector(self, geometry: TiltGeometry) -> CudaProjector:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        if geometry not in self._projectors:
            self._projectors[geometry] = CudaProjector(geometry, self.launcher)
        return self._projectors[geometry]

    def put(self, array: NDArray[Any]) -> Any:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return self.xp.asarray(np.ascontiguousarray(array, dtype=np.float32))

    def get(self, array: Any) -> NDArray[Any]:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return to_host(array)

    def filter(self, response: Array) -> Filter:
        """See :class:`tomoatlas.recon_core.device.Device`. What the FFT returns is cupy's
        pool's.
        """
        return partial(_filter, response)

    def check_shape(self, shape: tuple[int, ...], images: int) -> None:
        """See :func:`tomoatlas.recon_core.gpu.kernels.check_shape`."""
        check_shape(shape, images)

    def free_bytes(self) -> int:
        """Memory for further arrays."""
        return self.launcher.free_bytes()


def _filter(response: Array, volume: Array, out: Array) -> None:
    fft, axes = fft_of(volume), (-3, -2)
    spectrum = fft.rfft2(volume, axes=axes)
    spectrum *= response
    out[...] = fft.irfft2(spectrum, s=volume.shape[-3:-1], axes=axes, overwrite_x=True)


def cuda(half: bool = False) -> CudaDevice:
    """The current GPU; ``half`` as :class:`CudaDevice` says.

    Raises
    ------
    BadInput : cupy is not installed, or finds no CUDA device.
    """
    return CudaDevice(CupyLauncher(), device_name(), half)


def device_named(name: str) -> Device:
    """The device of a name: ``cpu``, ``cuda``, or ``auto``, a GPU where there is one.

    ``cuda-half`` is a GPU that stores the TV dual at half precision; it has to be asked for.

    Raises
    ------
    BadInput : another name, or ``cuda`` or ``cuda-half`` without a GPU or cupy.
    """
    if name not in DEVICES:
        raise BadInput("unknown", key="device", value=name, accepted=", ".join(DEVICES))
    if name == "cpu" or (name == "auto" and not has_device()):
        return CPU
    return cuda(half=name == "cuda-half")
