"""What storage at half precision changes in a fused trial: NRMSE, objective and iterations.

    python tests/benchmarks/half.py [cuda] [SIZE ...]

47 HAADF and 9 chemical tilts, 32 and 64 voxels unless sizes are given. With ``cuda``: the devices
cuda and cuda-half as they are; ends with status 2 and one line where there is no GPU. Without, the
loops of the CPU, with what is named rounded to half precision before and after every volume step.
The TV dual is what cuda-half stores; volumes, point and slope, which no device stores so, are there
to compare. The span of the last fifty iterations, maximum over minimum, tells how settled a trial
was when it ended: one that the limit cut short is no more certain than that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from common import condition, score, table

from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.cpu.volume_step import Fields, Steps
from tomoatlas.recon_core.device import Cpu, CpuKernels, Device
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.gpu import cuda
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

SIZES = (32, 64)
WEIGHTS = (Weights(0.01, 0.1), Weights(0.1, 1.0), Weights(1.0, 3.0), Weights(0.03, 10.0))
EVERY, LAST = 10, 5  # iterations between scores, and scores of the span
HEADER = (
    "size",
    "haadf, tv",
    "at half precision",
    "status",
    "iterations",
    "NRMSE",
    "change of NRMSE",
    "span of NRMSE",
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


@dataclass
class Scores:
    """A monitor that keeps the NRMSE of every tenth iteration."""

    specimen: Specimen
    device: Device
    seen: int = 0
    kept: list[float] = field(default_factory=list)

    def __call__(self, volumes: Any) -> float:
        """See :data:`tomoatlas.recon_core.solver.admm.Monitor`."""
        self.seen += 1
        if self.seen % EVERY == 0:
            self.kept.append(score(self.device.get(volumes), self.specimen))
        return 0.0

    @property
    def span(self) -> float:
        """Largest over smallest of the last fifty iterations, less 1."""
        last = self.kept[-LAST:]
        return max(last) / min(last) - 1


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
    return {"nothing": cuda(), "TV dual": cuda(float16_dual=True)}


def on_cpu() -> dict[str, Device]:
    """The CPU, and what rounds on it."""
    return {
        "nothing": Cpu(),
        "TV dual": _computing(Rounded("dual")),
        "TV dual, volumes, point, slope": _computing(Rounded("dual", "volumes", "point", "slope")),
    }


def rows(devices: dict[str, Device], size: int) -> Iterator[tuple[object, ...]]:
    """The first device's result, and how the others' differ from it."""
    specimen, series = condition(size, 47, 9)
    for weights in WEIGHTS:
        first: tuple[float, float] | None = None
        for stored, device in devices.items():
            scores = Scores(specimen, device)
            found = reconstruct(
                series, Method.FUSED, weights, SolverSettings(), scores, device=device
            )
            here = score(found.volumes, specimen), found.history.objective[-1]
            first = first or here
            error, objective = (mine / full - 1 for mine, full in zip(here, first, strict=True))
            yield (
                f"{size}³",
                f"{weights.haadf}, {weights.tv}",
                stored,
                str(found.status),
                f"{found.iterations:.0f}",
                f"{here[0]:.5f}",
                f"{error:+.4%}",
                f"{scores.span:.2%}",
                f"{objective:+.4%}",
            )


def _computing(kernels: CpuKernels) -> Cpu:
    device = Cpu()
    device.kernels = kernels
    return device


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
