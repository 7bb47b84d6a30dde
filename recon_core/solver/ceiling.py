"""The chemical term that no sound solve ends above, from the start that its counts alone give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..device import Device
from ..methods import Weights
from ..settings import SolverSettings
from ..tiltseries import TiltSeries
from .mlem import MLEM_ITERATIONS, mlem, sensitivity_of
from .multiresolution import has_coarser, upsample
from .problem import FusedProblem, chemical_problem
from .terms import ChemicalTerm

Array = NDArray[np.float32]
Values = NDArray[np.float64]

ALLOWED = 2.0
"""Times the start's: what HAADF may add. At weights of 1e-4 to 100 it added at most 0.9 times."""


def chemical_ceilings(
    series: TiltSeries, weights: Sequence[Weights], settings: SolverSettings, device: Device
) -> Values:
    """Bound the chemical term of a sound result for each trial.

    A minimum of chemistry + TV is no higher there than the best constant volumes, and no higher
    than its maximum-likelihood start plus the weighted TV of that start: at both the objective
    would be lower else. HAADF may raise it, by :data:`ALLOWED`. The start is found at half the
    resolution, as that of the solve is, at the cost of about one iteration.

    Parameters
    ----------
    series : counts, with a known chemical scale.
    weights : one pair per trial.
    settings : likelihood of the chemistry, projector.
    device : where it is computed.

    Returns
    -------
    array : (trial,), on the host.
    """
    problem = chemical_problem(series, weights[:1], settings, device)
    chemistry, xp = problem.chemistry, device.xp
    levels = _constant_levels(chemistry)[:, None, None, None]
    constant = xp.broadcast_to(levels, problem.shape[1:]).astype(np.float32)
    highest = _value(problem, constant)
    del constant
    start = _start(series, problem, settings, device)
    value = _value(problem, start)
    rough = float(problem.regulariser.value(device, start[None])[0])
    return ALLOWED * np.array([min(highest, value + w.tv * rough) for w in weights])


def _start(
    series: TiltSeries, problem: FusedProblem, settings: SolverSettings, device: Device
) -> Array:
    """Early-stopped maximum likelihood on the grid where the solve begins, (element, z, y, x)."""
    if not has_coarser(series):
        return mlem(problem.chemistry, problem.shape[1:], MLEM_ITERATIONS)
    coarse = chemical_problem(series.binned(), [Weights()], settings, device)
    volumes = mlem(coarse.chemistry, coarse.shape[1:], MLEM_ITERATIONS)
    start: Array = device.xp.empty(problem.shape[1:], np.float32)
    for one, fine in zip(volumes, start, strict=True):  # one at a time, to bound memory
        fine[...] = upsample(device.xp, one, fine.shape)
    return start


def _value(problem: FusedProblem, volumes: Array) -> float:
    return float(problem.chemistry.value(volumes[None])[0])


def _constant_levels(chemistry: ChemicalTerm) -> Array:
    """Concentration of constant volumes that hold the counts of each element, (element,)."""
    xp = chemistry.device.xp
    counts, width = chemistry.counts, chemistry.counts.shape[-1]
    signal = counts.sum(axis=(1, 2, 3), dtype=np.float64)
    signal -= chemistry.background * float(counts[0].size)
    # what a unit of concentration everywhere adds to all pixels: A 1 summed is A^T 1 summed
    response = chemistry.scale * float(sensitivity_of(chemistry).sum()) * width
    levels: Array = xp.maximum(signal, 0) / response
    return levels
