"""What an iteration moves and computes on a GPU, and how long that takes: predicted, not measured.

A floor is the larger of bytes over bandwidth, each array read and written once, and operations over
the float32 peak. What is predicted of a stage is its traffic as launched at the part of the
bandwidth that large copies reach, and of the projectors the lower end of what
:mod:`tomoatlas.recon_core.gpu.projector` counts from caches and instructions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..memory import FLOAT, SolveSize
from ..methods import Method
from ..settings import RECORD_EVERY

REACHED = 0.85
"""Part of the bandwidth that streaming kernels reach."""

UPDATES_PER_OPERATION = 1.4e12 / 60e12
"""Voxel-angle updates of the projector for each float32 operation of the peak, the lower end."""

STEP_WORK = 100
"""Operations of the volume step on a voxel of an element, two Newton steps."""

LAUNCH_SECONDS = 4e-4
"""Of the some 40 launches of an iteration from Python, 13 of them kernels of this project."""

ITERATING = (Method.FUSED, Method.CHEMISTRY_TV, Method.ML)


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet.

    Parameters
    ----------
    name : as site files name it.
    bandwidth : of its memory, bytes per second.
    peak : float32 operations per second.
    """

    name: str
    bandwidth: float
    peak: float

    @property
    def updates(self) -> float:
        """Voxel-angle updates per second of the projector."""
        return UPDATES_PER_OPERATION * self.peak


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("V100", 0.9e12, 15.7e12),
        Gpu("A100-40GB", 1.555e12, 19.5e12),
        Gpu("A100-80GB", 2.039e12, 19.5e12),
        Gpu("H100", 3.35e12, 60e12),
        Gpu("H200", 4.8e12, 60e12),
    )
}
"""GPUs whose trials can be priced, by name."""


@dataclass(frozen=True)
class Stage:
    """A part of an iteration.

    Parameters
    ----------
    name : of the stage.
    moved : bytes at the least.
    work : float32 operations.
    launched : bytes as the kernels move them.
    updates : voxel-angle updates of a projector.
    share : how often in an iteration.
    """

    name: str
    moved: float
    work: float
    launched: float
    updates: float = 0.0
    share: float = 1.0

    def floor(self, gpu: Gpu) -> float:
        """Seconds per iteration, at the least."""
        return self.share * max(self.moved / gpu.bandwidth, self.work / gpu.peak)

    def predicted(self, gpu: Gpu) -> float:
        """Seconds per iteration, not measured."""
        moved = self.launched / gpu.bandwidth / REACHED
        # A GPU loads, projects and computes at the same time: the slowest of them hides the others.
        return self.share * max(moved, self.updates / gpu.updates, self.work / gpu.peak)


def iteration_seconds(size: SolveSize, method: Method, gpu: Gpu) -> float:
    """Predict the seconds of one iteration.

    Parameters
    ----------
    size : unknowns and tilts.
    method : how they are solved.
    gpu : what it is computed on.

    Examples
    --------
    >>> paper = SolveSize((4, 256, 256, 256), haadf_tilts=47, chemical_tilts=9)
    >>> round(1e3 * iteration_seconds(paper, Method.FUSED, GPUS["H200"]), 1)
    4.5
    """
    return LAUNCH_SECONDS + sum(stage.predicted(gpu) for stage in stages(size, method))


def stages(size: SolveSize, method: Method) -> list[Stage]:
    """The stages of an iteration.

    Parameters
    ----------
    size : unknowns and tilts.
    method : how they are solved.
    """
    coupled = method is Method.FUSED and size.haadf_tilts > 0
    chemical = _chemical_stages(size)
    if method not in ITERATING:  # update and copy of the best
        moved = 6.0 * size.specimen_bytes
        return [*chemical, Stage("update", moved, 0.0, moved)]
    own = [_step_stage(size, coupled), _record_stage(size, coupled)]
    return [*(_haadf_stages(size) if coupled else []), *chemical, *own]


def _voxels(size: SolveSize) -> int:
    return math.prod(size.shape[1:])


def _image(size: SolveSize) -> float:
    """Bytes of one projection."""
    return float(FLOAT * size.shape[2] * size.shape[3])


def _pair(name: str, size: SolveSize, volumes: int, tilts: int, directions: int = 2) -> Stage:
    """Projections of volumes and back: two multiply-adds per voxel and angle."""
    updates = directions * volumes * tilts * _voxels(size)
    moved = directions * volumes * (size.volume_bytes + tilts * _image(size))
    return Stage(name, moved, 4.0 * updates, moved, updates)


def _haadf_stages(size: SolveSize) -> list[Stage]:
    """The linear half of the splitting; the filter is two real FFTs over (z, y) and a product."""
    voxels, v = _voxels(size), float(size.volume_bytes)
    transforms = 2 * 2.5 * voxels * math.log2(size.shape[1] * size.shape[2])
    return [
        _pair(f"HAADF pair, {size.haadf_tilts} tilts", size, 1, size.haadf_tilts),
        Stage("filter", 2 * v, transforms + 2 * voxels, 12 * v),
        Stage("descent", 9 * v, 16.0 * voxels, 9 * v),
    ]


def _chemical_stages(size: SolveSize) -> list[Stage]:
    """Gradient of the chemical term."""
    elements, tilts = size.shape[0], size.chemical_tilts
    rays = 3 * elements * tilts * _image(size)
    return [
        _pair(f"chemical pair, {elements} x {tilts} tilts", size, elements, tilts),
        Stage("poisson_slope", rays, 6 * rays / FLOAT / 3, rays),
    ]


def _step_stage(size: SolveSize, coupled: bool) -> Stage:
    """One sweep over memory at the least, three launches in truth."""
    e, v = size.shape[0], size.volume_bytes
    # Arrays per element and per trial: what one sweep would read and write, and what the three
    # kernels do.
    least, launched = 11 * e + 7 * coupled, 23 * e + 9 * coupled
    return Stage("volume step", least * v, STEP_WORK * e * _voxels(size), launched * v)


def _record_stage(size: SolveSize, coupled: bool) -> Stage:
    """The objective: one projection of each modality, contrast, total variation, sums."""
    elements, haadf = size.shape[0], size.haadf_tilts if coupled else 0
    forward = (
        _pair("", size, 1, haadf, 1),
        _pair("", size, elements, size.chemical_tilts, 1),
    )
    images = 2 * (haadf + elements * size.chemical_tilts) * _image(size)
    moved = sum(s.moved for s in forward) + (2 * elements + 1) * size.volume_bytes + images
    work = sum(s.work for s in forward) + 14 * elements * _voxels(size)
    updates = sum(s.updates for s in forward)
    return Stage(f"objective, every {RECORD_EVERY}", moved, work, moved, updates, 1 / RECORD_EVERY)
