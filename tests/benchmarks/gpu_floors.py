"""What an iteration must move and compute on an H200, and what the paper's map would take there.

Nothing is measured and no GPU is needed. A floor is the larger of bytes over bandwidth, each array
read and written once, and operations over the float32 peak. What is predicted of a stage is its
traffic as launched at the part of the bandwidth that large copies reach, and of the projectors the
lower end of what ``recon_core/gpu/projector.py`` counts from caches and instructions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from common import table

from tomoatlas.jobs import load_study
from tomoatlas.recon_core.memory import FLOAT
from tomoatlas.recon_core.methods import Method
from tomoatlas.recon_core.solver.admm import RECORD_EVERY
from tomoatlas.sweep.estimate import solve_size
from tomoatlas.sweep.study import Study

BANDWIDTH, PEAK = 4.8e12, 60e12  # an H200's: bytes and float32 operations per second
REACHED = 0.85  # of the bandwidth, by streaming kernels
UPDATES = 1.4e12  # voxel-angle updates per second of the projector, the lower end
STEP_WORK = 100  # operations of the volume step on a voxel of an element, two Newton steps
PAPER_HOURS = 1078
ALONE = (Method.FUSED, Method.CHEMISTRY_TV, Method.ML)


@dataclass(frozen=True)
class Stage:
    """``moved`` bytes at the least, ``launched`` as the kernels do; ``updates`` of a projector.

    ``share``: how often in an iteration.
    """

    name: str
    moved: float
    work: float
    launched: float
    updates: float = 0.0
    share: float = 1.0

    @property
    def floor(self) -> float:
        """Seconds per iteration, at the least."""
        return self.share * max(self.moved / BANDWIDTH, self.work / PEAK)

    @property
    def predicted(self) -> float:
        """Seconds per iteration, not measured."""
        slower = self.updates / UPDATES
        return self.share * max(self.launched / BANDWIDTH / REACHED, slower, self.work / PEAK)


@dataclass(frozen=True)
class Condition:
    """Size (z, y, x) of the volumes and what is measured of them."""

    shape: tuple[int, int, int]
    elements: int
    haadf: int
    chemical: int

    @property
    def volume(self) -> float:
        """Bytes of one volume."""
        return float(FLOAT * math.prod(self.shape))

    @property
    def image(self) -> float:
        """Bytes of one projection."""
        return float(FLOAT * self.shape[1] * self.shape[2])


def print_floors(sizes: tuple[int, ...]) -> None:
    """Both tables; 47 HAADF and 9 chemical tilts of four elements, and the paper's whole map."""
    header = (
        "predicted for an H200: stage",
        "size",
        "bytes (GB)",
        "operations (GFLOP)",
        "floor (ms)",
        "predicted (ms)",
    )
    table(header, (row for size in sizes for row in stage_rows(Condition((size,) * 3, 4, 47, 9))))
    name = "predicted for an H200: fig4_nanocubes"
    table((name, "trials", "iterations", "ms / iteration", "GPU-hours"), study_rows())
    print("Without specimens, simulation, scores and the start at half the resolution.")


def stage_rows(at: Condition) -> Iterator[tuple[object, ...]]:
    """Every stage of a fused iteration, and their sum."""
    every = [*haadf_stages(at), *chemical_stages(at), step_stage(at, True), record_stage(at)]
    for s in every:
        sums = f"{s.share * s.moved / 1e9:.3f}", f"{s.share * s.work / 1e9:.2f}"
        yield s.name, f"{at.shape[0]}³", *sums, f"{1e3 * s.floor:.3f}", f"{1e3 * s.predicted:.3f}"
    moved, work = (sum(s.share * getattr(s, name) for s in every) for name in ("moved", "work"))
    times = (f"{1e3 * sum(getattr(s, name) for s in every):.2f}" for name in ("floor", "predicted"))
    yield "iteration", f"{at.shape[0]}³", f"{moved / 1e9:.2f}", f"{work / 1e9:.1f}", *times


def pair(name: str, at: Condition, volumes: int, tilts: int, directions: int = 2) -> Stage:
    """Projections of ``volumes`` volumes and back: two multiply-adds per voxel and angle."""
    updates = directions * volumes * tilts * math.prod(at.shape)
    moved = directions * volumes * (at.volume + tilts * at.image)
    return Stage(name, moved, 4.0 * updates, moved, updates)


def haadf_stages(at: Condition) -> list[Stage]:
    """The linear half of the splitting; the filter is two real FFTs over (z, y) and a product."""
    voxels, v = math.prod(at.shape), at.volume
    transforms = 2 * 2.5 * voxels * math.log2(at.shape[0] * at.shape[1])
    return [
        pair(f"HAADF pair, {at.haadf} tilts", at, 1, at.haadf),
        Stage("filter", 2 * v, transforms + 2 * voxels, 12 * v),
        Stage("descent", 9 * v, 16.0 * voxels, 9 * v),
    ]


def chemical_stages(at: Condition) -> list[Stage]:
    """Gradient of the chemical term."""
    tilts = at.elements * at.chemical
    rays = 3 * tilts * at.image
    return [
        pair(f"chemical pair, {at.elements} x {at.chemical} tilts", at, at.elements, at.chemical),
        Stage("poisson_slope", rays, 6 * rays / FLOAT / 3, rays),
    ]


def step_stage(at: Condition, coupled: bool) -> Stage:
    """One sweep over memory at the least, three launches in truth."""
    e, voxels = at.elements, math.prod(at.shape)
    least, launched = 11 * e + 7 * coupled, 23 * e + 9 * coupled
    work = STEP_WORK * e * voxels
    return Stage("volume step", least * at.volume, work, launched * at.volume)


def record_stage(at: Condition) -> Stage:
    """The objective: one projection of each modality, contrast, total variation, sums."""
    forward = pair("", at, 1, at.haadf, 1), pair("", at, at.elements, at.chemical, 1)
    sums = (2 * at.elements + 1) * at.volume + 2 * (at.haadf + at.elements * at.chemical) * at.image
    moved, work = (sum(getattr(s, name) for s in forward) for name in ("moved", "work"))
    updates = sum(s.updates for s in forward)
    work += 14 * at.elements * math.prod(at.shape)
    name = f"objective, every {RECORD_EVERY}"
    return Stage(name, moved + sums, work, moved + sums, updates, 1 / RECORD_EVERY)


def study_rows() -> Iterator[tuple[object, ...]]:
    """Trials, typical iterations and hours of each method in the paper's map."""
    study, hours = load_study("fig4_nanocubes"), 0.0
    for method in study.search.methods:
        seconds = [iteration_seconds(study.at(cell), method) for cell in study.cells()]
        each = study.search.budget(method)
        iterations = min(method.traits.iterations, study.solver.max_iterations)
        taken = each * iterations * sum(seconds) / 3600
        hours += taken
        milliseconds = f"{1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f}"
        yield str(method), each * len(seconds), iterations, milliseconds, f"{taken:.2f}"
    yield "in all", "", "", "", f"{hours:.1f}; the paper's: {PAPER_HOURS:,}"


def iteration_seconds(study: Study, method: Method) -> float:
    """Predicted, of a study without axes."""
    size = solve_size(study)
    (elements, *shape), haadf = size.shape, size.haadf_tilts if method is Method.FUSED else 0
    at = Condition((shape[0], shape[1], shape[2]), elements, haadf, size.chemical_tilts)
    stages = chemical_stages(at)
    if method in ALONE:
        stages += [step_stage(at, haadf > 0), record_stage(at)]
    else:  # update and copy of the best
        stages.append(Stage("", 6 * elements * at.volume, 0.0, 6 * elements * at.volume))
    if haadf:
        stages += haadf_stages(at)
    return sum(stage.predicted for stage in stages)
