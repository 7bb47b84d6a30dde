"""Where a solve starts: from the same problem at half the resolution.

What takes an iterative reconstruction long is what is large in the specimen; on pixels of twice the
edge, counts of four added up, it is found at an eighth of the cost. At 128^3 this halves the
iterations to the final accuracy, and ends at lower objectives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..device import Device
from ..methods import Weights
from ..settings import SolverSettings
from ..tiltseries import TiltSeries
from .admm import FusionState, init, split_off, step
from .calibration import haadf_scale_at, haadf_scale_holds
from .mlem import MLEM_START, mlem
from .problem import FusedProblem, chemical_problem, with_haadf

Array = NDArray[np.float32]

COARSE_STEPS = 40
SMALLEST, USUAL = 16, 64  # edges of the coarsest grid: at the least, and where there is a choice
WARM_STEPS = 20  # chemistry + TV steps before the HAADF term is switched on
SCALE_FITS = 40  # at most; alternations of fit and short solve where the HAADF scale is unknown
SCALE_SETTLED = 2e-3  # relative change of the fitted scale that ends them
VOXELS = 8.0  # fine voxels in a coarse one: the ratio of the work of a projection


def initial_state(
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
    device: Device,
    smallest: int = SMALLEST,
) -> tuple[FusedProblem, FusionState]:
    """The fused problem of a tilt series and a state near its solution, the work counted.

    The chemical scale must be known; an unknown HAADF scale is fitted, for one trial.
    """
    edge = min(series.chemical.shape[-2:])
    if any(n % 2 for n in series.chemical.shape[-2:]) or edge // 2 < smallest:
        return _from_counts(series, weights, settings, device)
    # tv: an eighth of the voxels, twice the difference between neighbours
    coarse = [Weights(w.haadf, 4.0 * w.tv) for w in weights]
    problem, state = initial_state(series.binned(), coarse, settings, device, USUAL)
    for _ in range(_within(settings, COARSE_STEPS)):
        state = step(problem, state)
    problem, state = _refined(series, weights, settings, device, state)  # the coarse one is gone
    return _switched_on(problem, state, series, weights, settings)


def _from_counts(
    series: TiltSeries, weights: Sequence[Weights], settings: SolverSettings, device: Device
) -> tuple[FusedProblem, FusionState]:
    """From maximum likelihood, stopped early, then chemistry + TV."""
    problem = chemical_problem(series, weights, settings, device)
    state = init(problem, mlem(problem.chemistry, problem.shape[1:], MLEM_START))
    state = replace(state, work=state.work + MLEM_START * problem.chemistry.tilts)
    for _ in range(_within(settings, WARM_STEPS)):
        state = step(problem, state)
    return _switched_on(problem, state, series, weights, settings)


def _refined(
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
    device: Device,
    coarse: FusionState,
) -> tuple[FusedProblem, FusionState]:
    """Chemistry and TV at the full resolution, from a state at half of it."""
    problem = chemical_problem(series, weights, settings, device)
    volumes = device.xp.empty(problem.shape, np.float32)
    _double(device.xp, coarse.volumes, volumes)
    state = init(problem, volumes)
    _double(device.xp, coarse.dual, state.dual)
    _clear_faces(state.dual)
    return problem, replace(state, work=state.work + coarse.work / VOXELS)


def _switched_on(
    problem: FusedProblem,
    state: FusionState,
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
) -> tuple[FusedProblem, FusionState]:
    """The state with the HAADF term, its scale fitted first where it is unknown."""
    uses_haadf = any(w.haadf > 0 for w in weights) and len(series.haadf_angles_deg) > 0
    if uses_haadf and not haadf_scale_holds(series, settings.gamma):
        return _scale_fitted(problem, state, series, weights, settings)
    problem = with_haadf(problem, series, weights, settings)
    return problem, split_off(problem, state)


def _scale_fitted(
    problem: FusedProblem,
    state: FusionState,
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
) -> tuple[FusedProblem, FusionState]:
    """Alternate between the HAADF scale and a few fused steps; the blur of the start biases it.

    Ends early, with the scale of that moment, where the iterations allowed are spent.
    """
    if len(weights) > 1:
        raise ValueError("trials of one batch share the HAADF scale: it must be known")
    bare, scale = problem, np.inf
    for _ in range(SCALE_FITS):
        problem, state = bare, replace(state, split=None, gram=None)  # no two halves at once
        before = scale
        scale = haadf_scale_at(series, state.volumes[0], settings.gamma, problem.device)
        problem = with_haadf(bare, replace(series, haadf_scale=scale), weights, settings)
        state = split_off(problem, state)
        left = settings.max_iterations - state.work / problem.tilts_per_iteration
        if left <= 0 or abs(scale - before) < SCALE_SETTLED * scale:
            break
        for _ in range(min(WARM_STEPS // 4, math.ceil(left))):
            state = step(problem, state)
    return problem, state


def _double(xp: Any, coarse: Array, fine: Array) -> None:
    """:func:`doubled` volume by volume: what it holds beside them is little then."""
    for at in np.ndindex(fine.shape[:-3]):
        fine[at] = upsample(xp, coarse[at].astype(np.float32, copy=False))


def upsample(xp: Any, volumes: Array) -> Array:
    """Volumes (..., z, y, x) on voxels of half the edge, by linear interpolation of the centres."""
    for axis in (-3, -2, -1):
        here = xp.moveaxis(volumes, axis, 0)
        before, after = xp.concatenate([here[:1], here[:-1]]), xp.concatenate([here[1:], here[-1:]])
        fine = xp.stack([0.75 * here + 0.25 * before, 0.75 * here + 0.25 * after], axis=1)
        volumes = xp.moveaxis(fine.reshape(-1, *here.shape[1:]), 0, axis)
    return xp.ascontiguousarray(volumes, dtype=np.float32)  # type: ignore[no-any-return]


def _clear_faces(dual: Array) -> None:
    """Zero the components that point out of the volume; (..., 3, z, y, x)."""
    dual[..., 0, -1, :, :] = 0
    dual[..., 1, :, -1, :] = 0
    dual[..., 2, :, :, -1] = 0


def _within(settings: SolverSettings, steps: int) -> int:
    """``steps``, or half of the iterations allowed."""
    return int(min(steps, settings.max_iterations // 2))
