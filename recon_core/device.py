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
from .projection import Projector, cached_astra_projector, cached_projector
from .settings import ProjectorName

Array = NDArray[np.float32]
Filter = Callable[[Array, Array], None]


class Device(Protocol):
    """What the solver needs of a machine; arrays are those of :attr:`xp`.

    ``kernels`` holds the functions of :mod:`tomoatlas.recon_core.cpu.kernels` and ``volume_step``.
    """

    def __hash__(self) -> int:
        """Hash, as a device is a key of what is computed on it once."""

    @property
    def name(self) -> str:
        """Name in the record of a trial."""

    @property
    def xp(self) -> ModuleType:
        """Array module, numpy or cupy."""

    @property
    def kernels(self) -> Any:
        """Compiled loops."""

    @property
    def dual_type(self) -> type[np.floating[Any]]:
        """Storage type of the TV dual; arithmetic is float32."""

    @property
    def builds_matrices(self) -> bool:
        """Whether a projector holds a sparse matrix and its transpose."""

    def projector(self, geometry: TiltGeometry, kind: ProjectorName = "sparse") -> Projector:
        """Return the projector of a geometry, built once per process.

        Parameters
        ----------
        geometry : tilts and slice (z, y).
        kind : ``sparse`` is this project's own, on a GPU without a matrix; ``astra`` the toolbox's.

        Raises
        ------
        BadInput : this device or installation has no projector of that kind.
        """

    def put(self, array: NDArray[Any]) -> Any:
        """Copy a NumPy array to the device.

        Parameters
        ----------
        array : any shape and number type.

        Returns
        -------
        array : of :attr:`xp`, contiguous float32.
        """

    def get(self, array: Any) -> NDArray[Any]:
        """Copy an array from the device.

        Parameters
        ----------
        array : of :attr:`xp`, any shape.

        Returns
        -------
        array : of NumPy; on the CPU the same memory.
        """

    def filter(self, response: Array) -> Filter:
        """Return ``f(volume, out)`` that multiplies the (z, y) spectrum of ``volume``.

        Parameters
        ----------
        response : real factors of the half spectrum, (z, y // 2 + 1, 1), float32.

        Returns
        -------
        callable : ``volume`` and ``out``, another array, are (..., z, y, x).
        """

    def check_shape(self, shape: tuple[int, ...], images: int) -> None:
        """Check that the kernels can index arrays of this size.

        Parameters
        ----------
        shape : volumes of one trial, (element, z, y, x).
        images : number of projections of one trial that one kernel handles.

        Raises
        ------
        BadInput : they cannot.
        """

    def free_bytes(self) -> int:
        """Return the memory available for further arrays, bytes."""


class CpuKernels:
    """The loops of :mod:`tomoatlas.recon_core.cpu.kernels` and the volume step, on NumPy arrays."""

    power_sum = staticmethod(kernels.power_sum)
    poisson_slope = staticmethod(kernels.poisson_slope)
    poisson_deviance = staticmethod(kernels.poisson_deviance)
    squares_slope = staticmethod(kernels.squares_slope)
    weighted_squares = staticmethod(kernels.weighted_squares)
    total_variation = staticmethod(kernels.total_variation)
    guided_variation = staticmethod(kernels.guided_variation)
    distance = staticmethod(kernels.distance)
    descent_products = staticmethod(kernels.descent_products)
    plane_products = staticmethod(kernels.plane_products)
    descend = staticmethod(kernels.descend)
    volume_step = staticmethod(volume_step.volume_step)


class Cpu:
    """The processor: NumPy arrays, numba loops on all the cores it is given."""

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
        # no copy if it is so already
        return np.ascontiguousarray(array, dtype=np.float32)

    def get(self, array: NDArray[Any]) -> NDArray[Any]:
        """See :class:`Device`."""
        return array

    def filter(self, response: Array) -> SlabFilter:
        """See :class:`Device`."""
        return SlabFilter(response)

    def check_shape(self, shape: tuple[int, ...], images: int) -> None:
        """See :class:`Device`; the CPU has no limit."""

    def free_bytes(self) -> int:
        """See :class:`Device`."""
        return available_bytes()


CPU = Cpu()
