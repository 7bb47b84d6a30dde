"""The CUDA sources through NVRTC, the compiler that CuPy calls; it needs no device."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from host_launcher import kernel_names

from tomoatlas.recon_core.gpu.kernels import DEFINES, cuda_source

OPTIONS = ("--std=c++17", *DEFINES)  # as recon_core/gpu/cupy.py gives them


def _candidates() -> Iterator[str]:
    """As pip, the toolkit and the system install it."""
    for folder in sys.path:
        yield from map(str, sorted(Path(folder).glob("nvidia/*/lib/libnvrtc.so.*")))
    for home in (os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"):
        yield from map(str, sorted(Path(home).glob("lib64/libnvrtc.so*")) if home else ())
    if found := ctypes.util.find_library("nvrtc"):
        yield found


@cache
def nvrtc() -> Any:
    """The library, or None."""
    return next((ctypes.CDLL(path) for path in _candidates()), None)


def text(size_of: Any, fill: Any, program: ctypes.c_void_p) -> bytes:
    """What the library writes about a program, sized first."""
    size = ctypes.c_size_t()
    assert size_of(program, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(size.value)
    assert fill(program, buffer) == 0
    return buffer.raw


def compiled(source: str, options: tuple[str, ...]) -> tuple[int, str, bytes]:
    """Status, log and PTX."""
    library, program = nvrtc(), ctypes.c_void_p()
    name, code = b"kernels.cu", source.encode()
    assert library.nvrtcCreateProgram(ctypes.byref(program), code, name, 0, None, None) == 0
    words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    status = library.nvrtcCompileProgram(program, len(words), words)
    log = text(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program).decode()
    ptx = b""
    if status == 0:
        ptx = text(library.nvrtcGetPTXSize, library.nvrtcGetPTX, program)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return status, log, ptx


needs_nvrtc = pytest.mark.skipif(nvrtc() is None, reason="no NVRTC to compile the kernels with")


@needs_nvrtc
@pytest.mark.parametrize("architecture", [75, 80, 90])
def test_nvrtc_compiles_every_kernel(architecture: int) -> None:
    status, log, ptx = compiled(
        cuda_source(), (*OPTIONS, f"--gpu-architecture=compute_{architecture}")
    )
    assert status == 0, log
    for name in kernel_names(cuda_source()):
        assert f".entry {name}(".encode() in ptx


@needs_nvrtc
def test_what_does_not_compile_is_told() -> None:
    status, log, _ = compiled("__global__ void broken() { nothing(); }", OPTIONS)
    assert status != 0
    assert "nothing" in log
