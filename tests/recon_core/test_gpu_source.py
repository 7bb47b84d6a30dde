"""The CUDA sources: compiled by nvcc where there is one, and what the host runs of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from host_launcher import HostLauncher, kernel_names, needs_compiler

from tomoatlas.recon_core.gpu.kernels import (
    DEFINES,
    MAX_ELEMENTS,
    SOURCES,
    THREADS,
    cover,
    cuda_source,
    int32,
)

NVCC = shutil.which("nvcc")
FOLDER = Path(str(files("tomoatlas.recon_core.gpu") / "cuda"))


@cache
def known_architectures() -> list[str]:
    command = [str(NVCC), "--list-gpu-arch"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(NVCC is None, reason="no nvcc to compile the CUDA sources with")
@pytest.mark.parametrize("architecture", ["compute_75", "compute_80", "compute_90"])
def test_nvcc_compiles(architecture: str, tmp_path: Path) -> None:
    if architecture not in known_architectures():
        pytest.skip(f"this nvcc does not know {architecture}")
    source = tmp_path / "kernels.cu"
    source.write_text(cuda_source(), encoding="utf-8")
    options = ["-std=c++17", f"-arch={architecture.replace('compute', 'sm')}", *DEFINES]
    command = [str(NVCC), *options, "-Werror", "all-warnings", "-cubin", str(source)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_source_is_listed() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"common.cuh", *SOURCES}


def test_the_source_for_the_device_includes_nothing() -> None:
    assert "#include" not in cuda_source()
    assert not re.search(r"#pragma once", cuda_source())


def test_kernel_names() -> None:
    names = kernel_names(cuda_source())
    assert len(names) == len(set(names))
    for part in ("primal", "ascend", "finish"):
        made = {name for name in names if name.startswith(part)}
        elements = range(1, MAX_ELEMENTS + 1)
        assert made == {f"{part}_{kind}{e}" for kind in ("", "half_") for e in elements}
    assert {"forward_4", "adjoint_4", "fold"} < set(names)


@pytest.mark.parametrize(("extent", "tiles"), [(0, 0), (1, 1), (8, 1), (9, 2)])
def test_cover(extent: int, tiles: int) -> None:
    assert cover(extent, 8) == tiles


@needs_compiler
def test_the_host_notices_a_write_outside_an_array() -> None:
    a, sums = np.ones(4, np.float32), np.empty(1)
    with pytest.raises(AssertionError, match="distance wrote outside an array"):
        HostLauncher().launch("distance", (2, 1, 1), (THREADS, 1, 1), (sums, a, a, *int32(4)))
