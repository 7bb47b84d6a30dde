"""What a study will take: cells, trials, memory and time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recon_core.memory import FLOAT, SolveSize, fused_bytes, matrix_bytes
from recon_core.settings import Method
from sweep.specimens import Outline, outline
from sweep.study import Study

PROJECTIONS_PER_ITERATION = 2
"""Forward and adjoint."""

PROJECTED_VOXELS_PER_SECOND = 5.0e9
"""Voxels times tilts projected per second and core: at 64³ a pair of projections takes 5.5 ms for
47 HAADF tilts and 3.1 ms for 9 chemical tilts of 4 elements."""

VOXEL_WORK = {
    Method.FUSED: 67,
    Method.CHEMISTRY_TV: 45,
    Method.ML: 30,
    Method.ML_STOPPED: 26,
}
"""Work of an iteration on a voxel of one element besides projections (TV, powers, filter, updates,
the oracle's score), in projected voxels: 14, 9.5, 6.5 and 5.5 ms at 64³ with 4 elements."""

TYPICAL_ITERATIONS = {
    Method.FUSED: 180,
    Method.CHEMISTRY_TV: 130,
    Method.ML: 190,
    Method.ML_STOPPED: 25,
}
"""Iterations of a trial at the default tolerance; ``max_iterations`` may be smaller. ML is best
stopped near 15, and goes on for 10 more to be sure."""


@dataclass(frozen=True)
class Estimate:
    """What a study takes.

    ``trials``: by method. ``memory_bytes``: of one trial at a time, the largest. ``seconds``: of
    all trials one after the other on one core; ``device_hours``: the same in hours.
    """

    cells: int
    trials: dict[Method, int]
    memory_bytes: int
    seconds: float

    @property
    def trials_in_all(self) -> int:
        """Trials of all methods."""
        return sum(self.trials.values())

    @property
    def device_hours(self) -> float:
        """Time of one core, or of one device, in hours."""
        return self.seconds / 3600.0


def estimate(study: Study) -> Estimate:
    """Cells, trials, memory and time of a study, from sizes alone; nothing is run.

    Raises
    ------
    BadInput : a specimen that cannot be read.
    """
    cells = [study.at(cell) for cell in study.cells()]
    methods = study.search.methods
    return Estimate(
        cells=len(cells),
        trials={method: study.search.budget(method) * len(cells) for method in methods},
        memory_bytes=max(trial_bytes(at) for at in cells),
        seconds=sum(
            study.search.budget(method) * trial_seconds(at, method)
            for at in cells
            for method in methods
        ),
    )


def trial_bytes(study: Study) -> int:
    """Upper bound of the memory of one trial of a study without axes: solve, truth and data."""
    solve = solve_size(study)
    return fused_bytes(solve) + matrix_bytes(solve) + data_bytes(study)


def data_bytes(study: Study) -> int:
    """What a trial on a GPU keeps in the computer's own memory: truth, data and the result."""
    solve, acquisition = solve_size(study), study.acquisition
    fine = acquisition.oversample**3 if acquisition.oversample > 1 else 0
    return (2 + fine) * solve.specimen_bytes + solve.haadf_bytes + solve.chemical_bytes


def solve_size(study: Study, dual_bytes: int = FLOAT) -> SolveSize:
    """What decides the memory of a solve of a study without axes."""
    size, acquisition = outline(study.specimen), study.acquisition
    shape = (len(size.elements), *size.shape)
    tilts = acquisition.haadf_tilts, acquisition.chemical_tilts
    return SolveSize(shape, *tilts, dual_bytes=dual_bytes)


def trial_seconds(study: Study, method: Method) -> float:
    """Time of one trial on one core of a study without axes: work per iteration at a known rate."""
    size = outline(study.specimen)
    iterations = min(TYPICAL_ITERATIONS[method], study.solver.max_iterations)
    work = math.prod(size.shape) * _work_per_voxel(study, method, size)
    return iterations * work / PROJECTED_VOXELS_PER_SECOND


def _work_per_voxel(study: Study, method: Method, size: Outline) -> float:
    acquisition, elements = study.acquisition, len(size.elements)
    haadf = acquisition.haadf_tilts if method is Method.FUSED else 0
    projections = haadf + acquisition.chemical_tilts * elements
    return PROJECTIONS_PER_ITERATION * projections + VOXEL_WORK[method] * elements
