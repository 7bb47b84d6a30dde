"""What storage at half precision changes in a fused trial: NRMSE, objective and iterations.

    python tests/benchmarks/half.py [cuda] [SIZE ...]

47 HAADF and 9 chemical tilts, 32 and 64 voxels unless sizes are given. With ``cuda``: the devices
cuda and cuda-half as they are; ends with status 2 and one line where there is no GPU. Without, the
loops of the CPU, with what is named rounded to half precision before and after every volume step.
The TV dual is what cuda-half stores; volumes, point and slope, which no device stores so, are there
to compare. "Nothing, nudged" multiplies the dual by 1 + 2^-22 at every step: as much as another
order of float32 operations would change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from common import condition, score, table

from recon_core.cuda_device import cuda
from recon_core.device import Cpu, CpuKernels, Device
from recon_core.errors import BadInput
from recon_core.reconstruct import reconstruct
from recon_core.settings import Method, SolverSettings, Weights
from recon_core.volume_step import Fields, Steps

SIZES = (32, 64)
WEIGHTS = (Weights(0.01, 0.1), Weights(0.1, 1.0), Weights(1.0, 3.0), Weights(0.03, 10.0))
NUDGE = np.float32(1 + 2**-22)
HEADER = (
    "size",
    "haadf, tv",
    "at half precision",
    "status",
    "iterations",
    "NRMSE",
    "change of NRMSE",
    "change of objective",
)


class Rounded(CpuKernels):
    """The volume step with some of its fields rounded to half precision."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def volume_step(self, f: Fields, s: Steps) -> Any:
        """As the CPU's, on what half precision leaves."""
        self._round(f)
        sums = CpuKernels.volume_step(f, s)
        self._round(f)
        return sums

    def _round(self, f: Fields) -> None:
        for name in self.names:
            getattr(f, name)[...] = getattr(f, name).astype(np.float16)


class Nudged(CpuKernels):
    """The volume step with a dual that is off by about one float32 rounding."""

    def volume_step(self, f: Fields, s: Steps) -> Any:
        """As the CPU's."""
        f.dual[...] *= NUDGE
        return CpuKernels.volume_step(f, s)


def main(arguments: list[str]) -> int:
    """Print one row per size, pair of weights and storage; 2 where there is no GPU."""
    sizes = tuple(int(a) for a in arguments if a.isdigit()) or SIZES
    try:
        devices = on_gpu() if "cuda" in arguments else on_cpu()
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    table(HEADER, (row for size in sizes for row in rows(devices, size)))
    return 0


def on_gpu() -> dict[str, Device]:
    """The GPU with all in float32, and as cuda-half."""
    return {"nothing": cuda(), "TV dual": cuda(half=True)}


def on_cpu() -> dict[str, Device]:
    """The CPU and what rounds on it."""
    return {
        "nothing": Cpu(),
        "nothing, nudged": _computing(Nudged()),
        "TV dual": _computing(Rounded("dual")),
        "TV dual, volumes, point, slope": _computing(Rounded("dual", "spare", "point", "slope")),
    }


def rows(devices: dict[str, Device], size: int) -> Iterator[tuple[object, ...]]:
    """The first device's result, and how the others' differ from it."""
    specimen, series = condition(size, 47, 9)
    for weights in WEIGHTS:
        first: tuple[float, float] | None = None
        for stored, device in devices.items():
            found = reconstruct(series, Method.FUSED, weights, SolverSettings(), device=device)
            here = score(found.volumes, specimen), found.history.objective[-1]
            first = first or here
            changes = (f"{mine / full - 1:+.4%}" for mine, full in zip(here, first, strict=True))
            yield (
                f"{size}³",
                f"{weights.haadf}, {weights.tv}",
                stored,
                str(found.status),
                f"{found.iterations:.0f}",
                f"{here[0]:.5f}",
                *changes,
            )


def _computing(kernels: CpuKernels) -> Cpu:
    device = Cpu()
    device.kernels = kernels
    return device


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
