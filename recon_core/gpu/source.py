"""The CUDA source text, and the protocol of whatever compiles and launches it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Any, Protocol

import numpy as np

GROUPS = 4  # columns of one thread of the projector
CHUNK = 8  # layers, or tilts, whose weights a block of the projector holds
ROWS = 96  # rays, or voxel rows, of such a block at most: their weights take 14 KB of shared memory
BLOCK = 768  # threads of such a block at most: they may have 80 registers each
THREADS = 256  # of a block of every other kernel
_CONSTANTS = {"GROUPS": GROUPS, "CHUNK": CHUNK, "ROWS": ROWS, "BLOCK": BLOCK, "THREADS": THREADS}
DEFINES = tuple(f"-D{name}={value}" for name, value in _CONSTANTS.items())
SOURCES = ("projector.cu", "pointwise.cu", "volume_step.cu")

_COMMON = '#include "common.cuh"'

Size = tuple[int, int, int]


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
