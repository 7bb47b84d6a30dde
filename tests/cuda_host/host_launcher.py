"""The CUDA kernels compiled by g++ and run on NumPy arrays: same source, no device."""

from __future__ import annotations

import ctypes
import hashlib
import math
import re
import shutil
import subprocess
import tempfile
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tomoatlas.recon_core.gpu.kernels import DEFINES, Size, cuda_source
from tomoatlas.recon_core.machine import available_bytes

COMPILER = shutil.which("g++")
HEADER = Path(__file__).with_name("cuda_host.h")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function")
FORTIFY = "-U_FORTIFY_SOURCE"  # fibers jump between stacks
FLAGS = ("-std=c++20", "-O2", "-shared", "-fPIC", FORTIFY, *WARNINGS)
GUARD, ALIGNMENT = 1024, 16
BUILDS = HEADER.parents[2] / ".pytest_cache" / "cuda_host"

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++ to run the CUDA kernels with")


class HostLauncher:
    """A :class:`tomoatlas.recon_core.gpu.kernels.Launcher` on NumPy arrays.

    Kernels work on copies between guards of NaN: a write outside an array is an error, a read
    outside shows in the result.
    """

    @property
    def xp(self) -> ModuleType:
        return np

    def free_bytes(self) -> int:
        return available_bytes()

    def launch(self, name: str, grid: Size, block: Size, args: tuple[Any, ...]) -> None:
        assert 0 < math.prod(block) <= 1024
        assert min(grid) > 0
        assert max(grid[1:]) < 65536
        arrays = {_span(a): a for a in args if isinstance(a, np.ndarray)}
        guarded = {span: _Guarded(array) for span, array in arrays.items()}
        values = [
            guarded[_span(a)].address if isinstance(a, np.ndarray) else _scalar(a) for a in args
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        sizes = ((ctypes.c_uint * 3)(*size) for size in (grid, block))
        getattr(_library(), f"launch_{name}")(*sizes, pointers)
        for span, array in arrays.items():
            guarded[span].copy_back(name, array)


class _Guarded:
    """A copy of an array, at the same alignment, with guards before and behind."""

    def __init__(self, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self._room = np.full(array.nbytes + 2 * GUARD + ALIGNMENT, 0xFF, np.uint8)
        offset = GUARD + (array.ctypes.data - self._room.ctypes.data - GUARD) % ALIGNMENT
        self._inside = slice(offset, offset + array.nbytes)
        self._room[self._inside] = np.frombuffer(array, np.uint8)
        self.address = ctypes.c_void_p(self._room.ctypes.data + offset)

    def copy_back(self, name: str, array: np.ndarray) -> None:
        outside = np.delete(self._room, self._inside)
        assert (outside == 0xFF).all(), f"{name} wrote outside an array"
        array.view(np.ndarray)[...] = (
            self._room[self._inside].view(array.dtype).reshape(array.shape)
        )


def kernel_names(source: str) -> list[str]:
    """Kernels that a source exports, those made by VOLUME_STEP(n) included."""
    plain = re.findall(r'extern "C" __global__ void (?:BOUNDS )?(\w+)\(', source)
    made = re.findall(r"^VOLUME_STEP\((\d+)\)", source, re.MULTILINE)
    parts = re.findall(r"(\w+_)##NAME\(", source)
    kinds = [kind or "" for kind in re.findall(r"^    KERNELS\((\w+_)?", source, re.MULTILINE)]
    return [*plain, *("".join(name) for name in product(parts, kinds, made))]


def _span(array: np.ndarray) -> tuple[int, int]:
    return array.ctypes.data, array.nbytes


def _scalar(value: np.generic) -> Any:
    return np.ctypeslib.as_ctypes_type(value.dtype)(value)


def _unit() -> str:
    """The kernels and, for each, an entry that takes its arguments by address."""
    source = cuda_source()
    entries = [
        f'extern "C" void launch_{name}(const unsigned int* grid, const unsigned int* block,'
        f" void** args) {{\n    host::run_grid([](void** a) {{ host::unpack({name}, a); }},"
        " grid, block, args);\n}\n"
        for name in kernel_names(source)
    ]
    return "\n".join(['#include "cuda_host.h"', source, *entries])


@cache
def _library() -> ctypes.CDLL:
    """The compiled kernels, built once for each source text."""
    unit, command = _unit(), [str(COMPILER), *FLAGS, *DEFINES, f"-I{HEADER.parent}"]
    inputs = "\n".join([*command, HEADER.read_text(encoding="utf-8"), unit])
    built = BUILDS / f"{hashlib.sha256(inputs.encode()).hexdigest()[:16]}.so"
    if not built.exists():
        BUILDS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILDS) as scratch:
            fresh = Path(scratch) / "kernels.so"
            build = [*command, "-x", "c++", "-", "-o", str(fresh)]
            subprocess.run(build, input=unit, text=True, check=True)
            fresh.replace(built)  # two test processes may build at once
    return ctypes.CDLL(str(built))
