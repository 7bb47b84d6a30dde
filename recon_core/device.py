"""Where a reconstruction is computed: arrays, compiled loops, projectors and FFT of one device."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .cpu import kernels, volume_step
from .cpu.filters import SlabFilter
from .geometry import TiltGeometry
from .machine import available_bytes
from .projection import Projector, cached_projector
from .projection.astra import cached_astra_projector
from .settings import ProjectorName

Array = NDArray[np.float32]
Filter = Callable[[Array, Array], None]


class Device(Protocol):
    """Everything the solver asks of the machine; its arrays are those of :attr:`xp`.

    ``kernels`` holds the functions of :mod:`tomoatlas.recon_core.cpu.kernels` and ``volume_step``.
    """

    def __hash__(self) -> int:
        """A device is a key of what is computed on it once."""

    @property
    def name(self) -> str:
        """As a record names it."""

    @property
    def xp(self) -> ModuleType:
        """The array module, numpy or cupy."""

    @property
    def kernels(self) -> Any:
        """The compiled loops."""

    @property
    def dual_type(self) -> type[np.floating[Any]]:
        """What the TV dual is stored as; arithmetic is float32."""

    @property
    def builds_matrices(self) -> bool:
        """Whether a projector holds a sparse matrix and its transpose."""

    def projector(self, geometry: TiltGeometry, kind: ProjectorName = "sparse") -> Projector:
        """The projector of a geometry, built once per process.

        Raises
        ------
        BadInput : this device or installation has no projector of that kind.
        """

    def put(self, array: NDArray[Any]) -> Any:
        """Copy a NumPy array to the device; contiguous, float32."""

    def get(self, array: Any) -> NDArray[Any]:
        """The NumPy array of one of this device's."""

    def filter(self, response: Array) -> Filter:
        """What multiplies the spectrum over (z, y) of its first argument, (..., z, y, x).

        By ``response`` (z, y//2+1, 1); the result goes to its second argument, another array.
        """

    def check_shape(self, shape: tuple[int, ...], images: int) -> None:
        """Refuse volumes (element, z, y, x) and projections of one trial that are no kernel's."""

    def free_bytes(self) -> int:
        """Memory for further arrays."""


class CpuKernels:
    """The loops of :mod:`tomoatlas.recon_core.cpu.kernels` and the volume step, on NumPy arrays."""

    power_sum = staticmethod(kernels.power_sum)
    poisson_slope = staticmethod(kernels.poisson_slope)
    poisson_deviance = staticmethod(kernels.poisson_deviance)
    squares_slope = staticmethod(kernels.squares_slope)
    weighted_squares = staticmethod(kernels.weighted_squares)
    total_variation = staticmethod(kernels.total_variation)
    distance = staticmethod(kernels.distance)
    descent_products = staticmethod(kernels.descent_products)
    descend = staticmethod(kernels.descend)
    volume_step = staticmethod(volume_step.volume_step)


class Cpu:
    """The processor: NumPy arrays, numba loops on every core given."""

    name = "cpu"
    xp: ModuleType = np
    kernels = CpuKernels()
    dual_type = np.float32
    builds_matrices = True

    def projector(self, geometry: TiltGeometry, kind: ProjectorName = "sparse") -> Projector:
        """See :class:`Device`."""
        return cached_astra_projector(geometry) if kind == "astra" else cached_projector(geometry)

    def put(self, array: NDArray[Any]) -> Array:
        """See :class:`Device`."""
        return np.ascontiguousarray(array, dtype=np.float32)

    def get(self, array: NDArray[Any]) -> NDArray[Any]:
        """See :class:`Device`."""
        return array

    def filter(self, response: Array) -> SlabFilter:
        """See :class:`Device`."""
        return SlabFilter(response)

    def check_shape(self, shape: tuple[int, ...], images: int) -> None:
        """See :class:`Device`: there are none."""

    def free_bytes(self) -> int:
        """See :class:`Device`."""
        return available_bytes()


CPU = Cpu()
