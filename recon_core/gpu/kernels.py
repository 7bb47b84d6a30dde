"""The CUDA kernels: their source text, and the compiled loops of the CPU as launches of them.

The names, arguments and results are those of :mod:`tomoatlas.recon_core.cpu.kernels` and of the
volume step, on the arrays of a launcher; nothing is copied to the host. Sums are taken on the
device in float64, block by block and then over the blocks of each trial, always in the same order:
they come back as one row per trial, and depend on that trial alone.

Every kernel is bound by memory. Pointwise loops read and write each array once, neighbours come
from cache. The volume step reads what its own launches wrote, so it takes three; with E elements it
moves 23 E + 9 float32 volumes of (z, y, x) where one sweep over memory would move 11 E + 7. Blocks
run side by side and still read what their neighbours have updated, so one sweep would need second
copies of dual, point and multiplier: 4 E + 1 volumes more, half as much again as there are in all.
The TV dual accounts for 12 E of the volumes moved; stored as float16, for half of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..cpu.volume_step import Fields, Steps
from ..errors import BadInput

Array = NDArray[np.float32]
Sums = NDArray[np.float64]
Size = tuple[int, int, int]

GROUPS = 4  # columns of one thread of the projector
CHUNK = 8  # layers, or tilts, whose weights a block of the projector holds
ROWS = 96  # rays, or voxel rows, of such a block at most: their weights take 14 KB of shared memory
BLOCK = 768  # threads of such a block at most: they may have 80 registers each
THREADS = 256  # of a block of every other kernel
MAX_ELEMENTS = 8  # kernels primal_1 ... 8, all elements of a voxel in registers
MAX_VALUES = 2**31 - THREADS  # threads of one trial in a launch, counted by an int
_CONSTANTS = {"GROUPS": GROUPS, "CHUNK": CHUNK, "ROWS": ROWS, "BLOCK": BLOCK, "THREADS": THREADS}
DEFINES = tuple(f"-D{name}={value}" for name, value in _CONSTANTS.items())
SOURCES = ("projector.cu", "pointwise.cu", "volume_step.cu")

_COMMON = '#include "common.cuh"'


class Launcher(Protocol):
    """Compiler and launcher of the kernels in ``cuda/``, on arrays of its module ``xp``."""

    @property
    def xp(self) -> ModuleType:
        """Array module whose arrays :meth:`launch` takes: numpy or cupy."""

    def free_bytes(self) -> int:
        """Return the memory available for further arrays, bytes."""

    def launch(self, name: str, grid: Size, block: Size, args: tuple[Any, ...]) -> None:
        """Queue a kernel; whatever reads its arrays afterwards waits for it.

        Parameters
        ----------
        name : of the kernel.
        grid : number of blocks along (x, y, z).
        block : number of threads in a block along (x, y, z).
        args : in the kernel's order: contiguous arrays, and NumPy scalars of the exact type.
        """


@cache
def cuda_source() -> str:
    """Join all kernels to one translation unit of CUDA C++17 that includes nothing."""
    folder = files("tomoatlas.recon_core.gpu") / "cuda"
    # one translation unit: NVRTC needs no include path, and compiles once
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("common.cuh", *SOURCES)]
    return "\n".join(texts).replace(_COMMON, "").replace("#pragma once", "")


def cover(extent: int, tile: int) -> int:
    """Count the tiles that cover an extent.

    Parameters
    ----------
    extent : length, 0 or more.
    tile : length of a tile, 1 or more.

    Examples
    --------
    >>> cover(10, 4)
    3
    """
    return -(-extent // tile)


def int32(*values: int) -> tuple[np.int32, ...]:
    """Convert integers to kernel arguments of type int.

    Parameters
    ----------
    values : within the range of an int.
    """
    return tuple(np.int32(value) for value in values)


@dataclass(frozen=True)
class CudaKernels:
    """CUDA kernels on contiguous float32 arrays of a launcher.

    They are those of :mod:`tomoatlas.recon_core.cpu.kernels`. The TV dual alone may be float16;
    arithmetic is float32. Sums are (trial, 1) instead of (trial, row).

    Parameters
    ----------
    launcher : compiles and runs the kernels; arrays must be of its module ``xp``.

    Raises
    ------
    TypeError : from every kernel, an array of another module.
    ValueError : from every kernel, an array that is not contiguous or not float32.
    """

    launcher: Launcher

    def power_sum(self, x: Array, weights: Array, gamma: float, out: Array) -> None:
        """See :func:`tomoatlas.recon_core.cpu.kernels.power_sum`."""
        batch, elements, rows, width = x.shape
        size = _Size(batch, rows * width)
        _apply(
            self.launcher,
            "power_sum",
            size,
            (x, weights, np.float32(gamma), out, *int32(elements, size.each)),
        )

    def poisson_slope(
        self, rays: Array, counts: Array, scale: Array, background: Array, knee: Array, out: Array
    ) -> None:
        """See :func:`tomoatlas.recon_core.cpu.kernels.poisson_slope`."""
        size = _Size.of(rays)
        args = (rays, counts, scale, background, knee, out, *_channel(counts, size))
        _apply(self.launcher, "poisson_slope", size, args)

    def poisson_deviance(
        self, rays: Array, counts: Array, scale: Array, background: Array, knee: Array
    ) -> Sums:
        """See :func:`tomoatlas.recon_core.cpu.kernels.poisson_deviance`; (trial, 1)."""
        size = _Size.of(rays)
        args = (rays, counts, scale, background, knee, *_channel(counts, size))
        return _sum(self.launcher, "poisson_deviance", size, args)[..., 0]

    def squares_slope(
        self,
        rays: Array,
        counts: Array,
        scale: Array,
        background: Array,
        precision: Array,
        out: Array,
    ) -> None:
        """See :func:`tomoatlas.recon_core.cpu.kernels.squares_slope`."""
        size = _Size.of(rays)
        args = (rays, counts, scale, background, precision, out, *_channel(counts, size))
        _apply(self.launcher, "squares_slope", size, args)

    def weighted_squares(
        self, rays: Array, counts: Array, scale: Array, background: Array, precision: Array
    ) -> Sums:
        """See :func:`tomoatlas.recon_core.cpu.kernels.weighted_squares`; (trial, 1)."""
        size = _Size.of(rays)
        args = (rays, counts, scale, background, precision, *_channel(counts, size))
        return _sum(self.launcher, "weighted_squares", size, args)[..., 0]

    def total_variation(self, x: Array) -> Sums:
        """See :func:`tomoatlas.recon_core.cpu.kernels.total_variation`; (trial, element)."""
        batch, elements, *shape = x.shape
        size = _Size(batch * elements, math.prod(shape))  # all elements of one would be too many
        sums = _sum(self.launcher, "total_variation", size, (x, *int32(*shape)))
        return sums.reshape(batch, elements)

    def guided_variation(self, x: Array, guide: Array) -> Sums:
        """See :func:`tomoatlas.recon_core.cpu.kernels.guided_variation`; (trial, element)."""
        batch, elements, *shape = x.shape
        size = _Size(batch * elements, math.prod(shape))
        args = (x, guide, *int32(elements, *shape))
        return _sum(self.launcher, "guided_variation", size, args).reshape(batch, elements)

    def distance(self, rays: Array, signal: Array) -> Sums:
        """See :func:`tomoatlas.recon_core.cpu.kernels.distance`; (trial, 1)."""
        size = _Size.of(rays)
        return _sum(self.launcher, "distance", size, (rays, signal, *int32(size.each)))[..., 0]

    def descent_products(
        self, residual: Array, direction: Array, image: Array, ridge: np.float32
    ) -> Sums:
        """See :func:`tomoatlas.recon_core.cpu.kernels.descent_products`; (trial, 1, 2)."""
        size = _Size.of(residual)
        args = (residual, direction, image, np.float32(ridge), *int32(size.each))
        return _sum(self.launcher, "descent_products", size, args, sums=2)

    def plane_products(
        self,
        residual: Array,
        direction: Array,
        image: Array,
        last: Array,
        last_image: Array,
        ridge: np.float32,
    ) -> Sums:
        """See :func:`tomoatlas.recon_core.cpu.kernels.plane_products`; (trial, 1, 5)."""
        size = _Size.of(residual)
        arrays = (residual, direction, image, last, last_image)
        args = (*arrays, np.float32(ridge), *int32(size.each))
        return _sum(self.launcher, "plane_products", size, args, sums=5)

    def descend(
        self,
        lengths: Array,
        direction: Array,
        image: Array,
        last: Array,
        last_image: Array,
        ridge: np.float32,
        solution: Array,
        residual: Array,
    ) -> None:
        """See :func:`tomoatlas.recon_core.cpu.kernels.descend`."""
        size = _Size.of(residual)
        arrays = (lengths, direction, image, last, last_image)
        args = (*arrays, np.float32(ridge), solution, residual, *int32(size.each))
        _apply(self.launcher, "descend", size, args)

    def volume_step(self, f: Fields, s: Steps) -> Sums:
        """See :func:`tomoatlas.recon_core.cpu.volume_step.volume_step`; (trial, 1, 6).

        Parameters
        ----------
        f : arrays, updated in place; ``dual`` float32 or float16.
        s : numbers of each trial.

        Raises
        ------
        BadInput : more elements than one thread holds.
        """
        batch, elements, *shape = f.volumes.shape
        _check_elements(elements)
        size = _Size(batch, math.prod(shape))
        numbers = np.float32(s.ridge), s.weights, np.float32(s.gamma)
        args = (*f, *s[:4], *numbers, *int32(f.u.size > 0, f.guide.size > 0, *shape))
        # the type of the dual selects the kernel; arithmetic is float32 in both
        float16_dual = f.dual if f.dual.dtype == np.float16 else None
        kind = f"{elements}" if float16_dual is None else f"half_{elements}"
        # three launches: each reads neighbours that the previous one has written
        _apply(self.launcher, f"primal_{kind}", size, args, float16_dual)
        _apply(self.launcher, f"ascend_{kind}", size, args, float16_dual)
        return _sum(self.launcher, f"finish_{kind}", size, args, 6, float16_dual)


@dataclass(frozen=True)
class _Size:
    """Threads of a launch: one per value, and blocks that belong to one trial each.

    Parameters
    ----------
    batch : number of trials.
    each : number of values of each trial.
    """

    batch: int
    each: int

    @classmethod
    def of(cls, array: Array) -> _Size:
        """Assign a thread to every value of an array (trial, ...)."""
        return cls(len(array), math.prod(array.shape[1:]))

    @property
    def blocks(self) -> int:
        """Number of blocks of one trial."""
        return cover(self.each, THREADS)

    @property
    def launch(self) -> tuple[Size, Size]:
        """Grid and block of the launch."""
        return (self.blocks, self.batch, 1), (THREADS, 1, 1)


def _sum(
    launcher: Launcher,
    name: str,
    size: _Size,
    args: tuple[Any, ...],
    sums: int = 1,
    float16_dual: Any = None,
) -> Sums:
    """Launch a kernel that writes the sums of its blocks to its first argument; add them."""
    _check(launcher, name, args, float16_dual)
    empty, batch = launcher.xp.empty, size.batch
    parts, total = empty((batch, size.blocks, sums), np.float64), empty((batch, 1, sums))
    launcher.launch(name, *size.launch, (parts, *args))
    # fold the blocks' sums in a fixed order, one block of threads per trial and sum
    folds = (sums, batch, 1), (THREADS, 1, 1)
    launcher.launch("fold", *folds, (total, parts, *int32(size.blocks, sums)))
    return total  # type: ignore[no-any-return]


def _apply(
    launcher: Launcher, name: str, size: _Size, args: tuple[Any, ...], float16_dual: Any = None
) -> None:
    _check(launcher, name, args, float16_dual)
    launcher.launch(name, *size.launch, args)


def _check(launcher: Launcher, name: str, args: tuple[Any, ...], float16_dual: Any) -> None:
    """Check the arrays of a call; the kernel reads ``float16_dual`` as float16."""
    # a wrong type would not fail on the GPU but be misread
    arrays = [a for a in args if not isinstance(a, np.generic)]
    if any(not isinstance(a, launcher.xp.ndarray) for a in arrays):
        raise TypeError(f"{name} needs arrays of {launcher.xp.__name__}")
    if any(not is_readable(a, np.float16 if a is float16_dual else np.float32) for a in arrays):
        seen = ", ".join(f"{a.dtype}{a.shape}" for a in arrays)
        raise ValueError(f"{name} needs contiguous float32 arrays, not {seen}")


def check_shape(shape: tuple[int, ...], images: int) -> None:
    """Check, before anything is on the device, that the kernels can index arrays of this size.

    Parameters
    ----------
    shape : volumes of one trial, (element, z, y, x).
    images : number of projections (y, x) of one trial in one launch.

    Raises
    ------
    BadInput : more elements than one thread holds, more values than one launch can index.
    """
    elements, z, y, x = shape
    _check_elements(elements)
    # indices are 32-bit: half the registers of 64-bit ones
    most = max(z + 1, images) * y * x  # a voxel looks one plane ahead
    if most > MAX_VALUES:
        raise BadInput(
            f"{most:,} voxels or pixels of projections in one launch, too many for the GPU's "
            f"kernels, at {z}x{y}x{x} voxels and {images} projections",
            accepted=f"at most {MAX_VALUES:,}, or --device cpu",
        )


def _check_elements(elements: int) -> None:
    if elements > MAX_ELEMENTS:
        raise BadInput(
            "too many elements for the GPU",
            key="elements",
            value=elements,
            accepted=f"1 to {MAX_ELEMENTS}",
        )


def is_readable(array: Any, stored: type) -> bool:
    """Check whether a kernel can read an array as it lies in memory.

    Parameters
    ----------
    array : of the launcher's module.
    stored : number type that the kernel reads.
    """
    return bool(array.dtype == stored and array.flags.c_contiguous)


def _channel(counts: Array, size: _Size) -> tuple[np.int32, ...]:
    """Number of values in one element's channel, and in all channels of a trial."""
    return int32(size.each // len(counts), size.each)
