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
from ..projection import check_projector
from ..settings import ProjectorName
from .cupy import CupyLauncher, device_name, fft_of, has_device, to_host
from .kernels import CudaKernels, Launcher, check_shape
from .projector import CudaProjector

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CudaDevice:
    """A GPU as a :class:`tomoatlas.recon_core.device.Device`, by the CUDA kernels.

    Only :meth:`put` and :meth:`get` copy between host and device. The FFT is cuFFT's, whose plans
    are cached.

    Parameters
    ----------
    launcher : runs the kernels; the device's arrays are of its module ``xp``.
    hardware : name of the GPU, for the record of a trial.
    float16_dual : store the TV dual, a third of an iteration's traffic, as float16; :attr:`name`
        shows it.
    """

    launcher: Launcher
    hardware: str
    float16_dual: bool = False
    builds_matrices = False
    # One device serves many trials of one geometry; compare=False, as what is cached makes no other
    # device.
    _projectors: dict[TiltGeometry, CudaProjector] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """Name of the hardware, and the precision of the TV dual if it is not float32."""
        return f"{self.hardware}, half-precision dual" if self.float16_dual else self.hardware

    @property
    def dual_type(self) -> type[np.floating[Any]]:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return np.float16 if self.float16_dual else np.float32

    @property
    def xp(self) -> ModuleType:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return self.launcher.xp

    @property
    def kernels(self) -> CudaKernels:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return CudaKernels(self.launcher)

    def projector(self, geometry: TiltGeometry, kind: ProjectorName = "sparse") -> CudaProjector:
        """See :class:`tomoatlas.recon_core.device.Device`: ASTRA's CUDA pair is not matched."""
        check_projector(kind, on_gpu=True)
        if geometry.mixes_slices:
            raise BadInput(
                "shifts along the tilt axis, its rotation and masks are computed on the CPU only",
                key="device",
                value=self.name,
                accepted="--device cpu",
            )
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
        """See :class:`tomoatlas.recon_core.device.Device`; spectra live in cupy's memory pool."""
        return partial(_filter, response)

    def check_shape(self, shape: tuple[int, ...], images: int) -> None:
        """See :func:`tomoatlas.recon_core.gpu.kernels.check_shape`."""
        check_shape(shape, images)

    def free_bytes(self) -> int:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return self.launcher.free_bytes()


def _filter(response: Array, volume: Array, out: Array) -> None:
    fft, axes = fft_of(volume), (-3, -2)
    # x is last and batched: every slice across the tilt axis is transformed at once
    spectrum = fft.rfft2(volume, axes=axes)
    # in place: a batch's spectra are the largest temporaries of a solve
    spectrum *= response
    out[...] = fft.irfft2(spectrum, s=volume.shape[-3:-1], axes=axes, overwrite_x=True)


def cuda(float16_dual: bool = False) -> CudaDevice:
    """Return the current GPU as a device.

    Parameters
    ----------
    float16_dual : store the TV dual as float16, see :class:`CudaDevice`.

    Raises
    ------
    BadInput : cupy is not installed, or finds no CUDA device.
    """
    return CudaDevice(CupyLauncher(), device_name(), float16_dual)


def device_named(name: str) -> Device:
    """Return the device of a name.

    Parameters
    ----------
    name : ``cpu``; ``cuda``; ``cuda-half``, a GPU with a float16 dual, only on request; ``auto``, a
        GPU if there is one, else the CPU.

    Raises
    ------
    BadInput : another name, or ``cuda`` or ``cuda-half`` without a GPU or cupy.

    Examples
    --------
    >>> device_named("cpu").name
    'cpu'
    """
    if name not in DEVICES:
        raise BadInput("unknown", key="device", value=name, accepted=", ".join(DEVICES))
    if name == "cpu" or (name == "auto" and not has_device()):
        return CPU
    return cuda(float16_dual=name == "cuda-half")
