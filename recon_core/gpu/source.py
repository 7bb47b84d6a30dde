"""What runs the CUDA kernels: the one source text, and the protocol of whatever launches it."""

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
    """Runs a kernel of ``recon_core/cuda`` on arrays of its own module ``xp``."""

    @property
    def xp(self) -> ModuleType:
        """The array module whose arrays :meth:`launch` takes: numpy or cupy."""

    def free_bytes(self) -> int:
        """Memory for further arrays."""

    def launch(self, name: str, grid: Size, block: Size, args: tuple[Any, ...]) -> None:
        """Run kernel ``name``: ``grid`` blocks of ``block`` threads, each (x, y, z).

        ``args`` in the kernel's order: contiguous arrays, and NumPy scalars of the exact type.
        Returns once the kernel is queued; what reads its arrays afterwards waits for it.
        """


@cache
def cuda_source() -> str:
    """All kernels as one translation unit of CUDA C++17 that includes nothing."""
    folder = files("tomoatlas.recon_core.gpu") / "cuda"
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("common.cuh", *SOURCES)]
    return "\n".join(texts).replace(_COMMON, "").replace("#pragma once", "")


def cover(extent: int, tile: int) -> int:
    """Tiles that cover ``extent``."""
    return -(-extent // tile)


def int32(*values: int) -> tuple[np.int32, ...]:
    """Kernel arguments of type int."""
    return tuple(np.int32(value) for value in values)
