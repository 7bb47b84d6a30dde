"""Every dependency has wheels for the platforms that the documentation names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.14")
PLATFORMS = ("aarch64-apple-darwin", "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu")
EXTRAS = ("mpi", "dask", "dose", "export", "metrics", "microscope", "notebook", "render")
NO_REGISTRY = ("error sending request", "Failed to fetch", "Failed to download", "Request failed")
NO_REGISTRY += ("Could not connect", "timed out", "dns")

pytestmark = pytest.mark.packaging


def uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed")
    return found


def resolved(platform: str, python: str, *extras: str) -> dict[str, str]:
    """Version by name of what an installation of wheels alone would hold."""
    wanted = [word for extra in extras for word in ("--extra", extra)]
    command = [uv(), "pip", "compile", str(ROOT / "pyproject.toml"), *wanted]
    options = ["--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet"]
    where = ["--python-platform", platform, "--python-version", python]
    try:
        done = subprocess.run(
            [*command, *options, *where], capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("no package registry: no answer within 300 s")
    if done.returncode and any(sign in done.stderr for sign in NO_REGISTRY):
        pytest.skip(f"no package registry: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    lines = (line.split(";")[0].strip() for line in done.stdout.splitlines())
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_everything_has_wheels(platform: str, python: str) -> None:
    found = resolved(platform, python, *EXTRAS)
    assert {"ducc0", "mpi4py", "mpich", "numba", "scikit-optimize"} <= found.keys()
    assert ("astra-toolbox" in found) == (platform == "x86_64-unknown-linux-gnu")


@pytest.mark.parametrize("cuda", ["12", "13"])
@pytest.mark.parametrize("platform", [p for p in PLATFORMS if "linux" in p])
def test_a_gpu_needs_no_toolkit_of_the_machine(platform: str, cuda: str) -> None:
    found = resolved(platform, PYTHONS[0], f"gpu{cuda}")
    assert f"cupy-cuda{cuda}x" in found
    assert found["cuda-toolkit"].split(".")[0] == cuda
