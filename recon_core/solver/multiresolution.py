"""What a solve begins with: a start from a grid twice as coarse, and the bound it sets.

Large structures take an iterative reconstruction longest; on pixels of twice the edge, counts of
four added up, they are found at an eighth of the cost. At 128^3 this halves the iterations to the
final accuracy, and ends at lower objectives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..binning import binned
from ..contrast import Contrast, contrast_of
from ..device import Device
from ..methods import Weights
from ..settings import SolverSettings
from ..tiltseries import TiltSeries
from .admm import init, recorded, refresh_metric, start_coupling, step
from .calibration import haadf_scale_at, haadf_scale_holds
from .mlem import MLEM_ITERATIONS, mlem, sensitivity_of
from .problem import FusedProblem, chemical_problem, with_haadf
from .regularisers import TOTAL_VARIATION, guided_by
from .state import FusionState
from .terms import ChemicalTerm

Array = NDArray[np.float32]
Values = NDArray[np.float64]

COARSE_STEPS = 40
SMALLEST, USUAL = 8, 64  # least edge of the coarse grid: of the first, of any coarser one
WARM_STEPS = 20  # chemistry + TV steps before the HAADF term is switched on
SCALE_FITS = 40  # most alternations of fit and short solve for an unknown HAADF scale
SCALE_SETTLED = 2e-3  # they end once the scale changes by less than this, relative
GUIDE_STEPS = 30  # fused steps before the edges of the contrast are taken for a guide
LEVEL_STEPS = 20  # fused steps before fitted coefficients are brought to the levels of the counts
VOXELS = 8.0  # fine voxels in a coarse one: ratio of the work of a projection
ALLOWED = 2.0
"""Times the start's: what HAADF may add. At weights of 1e-4 to 100 it added at most 0.9 times."""


def initial_state(
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
    device: Device,
    smallest: int = SMALLEST,
    contrast: Contrast | None = None,
) -> tuple[FusedProblem, FusionState]:
    """Build the fused problem of a tilt series, and a state near its solution.

    Parameters
    ----------
    series : counts, with a known chemical scale; an unknown HAADF scale is fitted, for one trial
        only.
    weights : one pair per trial.
    settings : exponent, likelihood and the most iterations; half of those at most are spent here.
    device : where it is solved.
    smallest : least edge of the coarser grid, voxels; below it the state starts from the counts.
    contrast : of HAADF; that of the settings if it is not given.

    Returns
    -------
    problem : a trial for each of ``weights``.
    state : its work counts what the coarse grids cost, in projections of this grid.
    """
    contrast = contrast_of(settings) if contrast is None else contrast
    if not has_coarser(series, smallest):
        return _from_counts(series, weights, settings, device, contrast)
    # the same objective on the coarse grid
    coarse = [Weights(w.haadf, TOTAL_VARIATION.coarser * w.tv) for w in weights]
    problem, state = initial_state(binned(series), coarse, settings, device, USUAL, contrast)
    for _ in range(_within(settings, COARSE_STEPS)):
        state = step(problem, state)
    problem, state = refined(series, weights, settings, device, state)  # frees the coarse state
    return switched_on(problem, state, series, weights, settings, contrast)


def with_guide(
    problem: FusedProblem, state: FusionState, settings: SolverSettings
) -> tuple[FusedProblem, FusionState]:
    """Solve a little, and from then on spare the edges of the HAADF contrast that was found.

    Once: the noise of a guide that was found along a guide has edges of its own, and grows.

    Parameters
    ----------
    problem : with TV.
    state : its work grows.
    settings : the most iterations; half of those at most are spent here.

    Returns
    -------
    problem, state : the given ones without HAADF.
    """
    if problem.haadf is None:
        return problem, state
    problem, state = stepped(problem, state, settings, GUIDE_STEPS)
    guide = guided_by(problem.device, problem.contrast(state.volumes))
    return replace(problem, regulariser=guide), refresh_metric(problem, state)


def with_levels(
    problem: FusedProblem,
    state: FusionState,
    series: TiltSeries,
    weights: Weights,
    settings: SolverSettings,
) -> tuple[FusedProblem, FusionState]:
    """Solve a little, then bring fitted coefficients to the levels that the counts have.

    TV has lowered the volumes that the coefficients were fitted to, and HAADF holds them there.
    Concentrations times a factor have the same contrast if the coefficients are divided by its
    power gamma: HAADF cannot tell the two apart, the counts of the element can. Once: what TV takes
    afterwards would be given back each time, and coefficients of what counts hardly show run away.

    Parameters
    ----------
    problem : of one trial; totals not held yet. Without fitted coefficients they are held, and
        nothing else changes.
    state : its work grows, its volumes are scaled.
    series, weights, settings : as of :func:`initial_state`.

    Returns
    -------
    problem : with the new coefficients; totals are held.
    state : its coupling starts anew.
    """
    fitted, held = problem.fitted, replace(problem.chemistry, totals=settings.totals)
    if fitted is None:
        return replace(problem, chemistry=held), state
    problem, state = stepped(problem, state, settings, LEVEL_STEPS)
    found = problem.chemistry.levels(state.volumes)[0]
    factors = problem.device.put(found)[:, None, None, None]
    state.volumes[...] *= factors
    bare, old = replace(problem, haadf=None), replace(state, coupling=None, gram=None)
    fitted = fitted.at_levels([float(level) for level in found])
    problem = with_haadf(bare, series, [weights], settings, fitted.law)
    problem, state = replace(problem, fitted=fitted), start_coupling(problem, old)
    problem = replace(problem, chemistry=held)
    return problem, refresh_metric(problem, state)


def stepped(
    problem: FusedProblem, state: FusionState, settings: SolverSettings, steps: int
) -> tuple[FusedProblem, FusionState]:
    """Take some steps, within half of the iterations allowed and what is left of them.

    Parameters
    ----------
    problem : terms and weights.
    state : its work grows.
    settings : the most iterations.
    steps : at most.
    """
    left = max(0.0, settings.max_iterations - state.work / problem.tilts_per_iteration)
    for _ in range(min(_within(settings, steps), int(left))):
        state = step(problem, state)
    return problem, state


def has_coarser(series: TiltSeries, smallest: int = SMALLEST) -> bool:
    """Check whether a solve starts from half the resolution.

    Parameters
    ----------
    series : for its size.
    smallest : least edge of the coarser grid, voxels.
    """
    edge: int = min(series.chemical.shape[-2:])
    return (edge + 1) // 2 >= smallest


def _from_counts(
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
    device: Device,
    contrast: Contrast,
) -> tuple[FusedProblem, FusionState]:
    """Start from early-stopped maximum likelihood, then chemistry + TV."""
    problem = chemical_problem(series, weights, settings, device)
    state = init(problem, mlem(problem.chemistry, problem.shape[1:], MLEM_ITERATIONS))
    state = replace(state, work=state.work + MLEM_ITERATIONS * problem.chemistry.tilts)
    for _ in range(_within(settings, WARM_STEPS)):
        state = step(problem, state)
    return switched_on(problem, state, series, weights, settings, contrast)


def refined(
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
    device: Device,
    coarse: FusionState,
) -> tuple[FusedProblem, FusionState]:
    """Bring a state from the coarse to the full resolution, for chemistry and TV alone.

    Parameters
    ----------
    series, weights, settings, device : as of :func:`initial_state`.
    coarse : state on the grid twice as coarse.

    Returns
    -------
    problem, state : without HAADF.
    """
    problem = chemical_problem(series, weights, settings, device)
    # volumes and dual carry over; momentum and metric belong to the grid
    volumes = device.xp.empty(problem.shape, np.float32)
    _upsample_into(device.xp, coarse.volumes, volumes)
    state = init(problem, volumes)
    _upsample_into(device.xp, coarse.dual, state.dual)
    problem.regulariser.restrict(state.dual)
    return problem, replace(state, push=coarse.push, work=state.work + coarse.work / VOXELS)


def switched_on(
    problem: FusedProblem,
    state: FusionState,
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
    contrast: Contrast,
) -> tuple[FusedProblem, FusionState]:
    """Switch the HAADF term on, after fitting its scale if that is unknown.

    Parameters
    ----------
    problem, state : without HAADF; their arrays are reused.
    series, weights, settings, contrast : as of :func:`initial_state`.

    Returns
    -------
    problem, state : with it, where it has a weight.
    """
    uses_haadf = any(w.haadf > 0 for w in weights) and len(series.haadf_angles_deg) > 0
    if uses_haadf and not haadf_scale_holds(series, contrast):
        return _scale_fitted(problem, state, series, weights, settings)
    problem = with_haadf(problem, series, weights, settings, contrast)
    return problem, start_coupling(problem, state)


def _scale_fitted(
    problem: FusedProblem,
    state: FusionState,
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
) -> tuple[FusedProblem, FusionState]:
    """Alternate between fitting the HAADF scale and a few fused steps, as blur biases the fit.

    Ends with the scale before the objective rose: noise in the volumes lowers the scale that fits,
    a lower scale raises the noise, and the two run away together. Ends early, with the scale
    reached, when the iterations allowed are spent.
    """
    if len(weights) > 1:
        raise ValueError("trials of one batch share the HAADF scale: it must be known")
    bare, contrast = problem, contrast_of(settings)
    scale, lowest = np.inf, np.inf
    for _ in range(SCALE_FITS):
        # frees the old coupling before there is a new one
        problem, state = bare, replace(state, coupling=None, gram=None)
        before, found, device = scale, state.volumes[0], problem.device
        scale = haadf_scale_at(series, found, contrast, device, settings.projector)
        problem = with_haadf(bare, replace(series, haadf_scale=scale), weights, settings)
        state, (record,) = recorded(problem, start_coupling(problem, state))
        if record.objective > lowest:
            problem, state = bare, replace(state, coupling=None, gram=None)
            problem = with_haadf(bare, replace(series, haadf_scale=before), weights, settings)
            return problem, start_coupling(problem, state)
        lowest = record.objective
        left = settings.max_iterations - state.work / problem.tilts_per_iteration
        if left <= 0 or abs(scale - before) < SCALE_SETTLED * scale:
            break
        for _ in range(min(WARM_STEPS // 4, math.ceil(left))):
            state = step(problem, state)
    return problem, state


def _upsample_into(xp: Any, coarse: Array, fine: Array) -> None:
    """Upsample one volume at a time, to bound temporary memory."""
    for at in np.ndindex(fine.shape[:-3]):
        # a float16 dual too is interpolated in float32
        fine[at] = upsample(xp, coarse[at].astype(np.float32, copy=False), fine.shape[-3:])


def upsample(xp: Any, volumes: Array, shape: tuple[int, ...] | None = None) -> Array:
    """Interpolate volumes linearly to voxels of half the edge.

    Parameters
    ----------
    xp : array module, numpy or cupy.
    volumes : (..., z, y, x).
    shape : of the fine grid, an odd edge one voxel shorter than twice the coarse one; None for
        (2 z, 2 y, 2 x).

    Returns
    -------
    array : (..., *shape), float32; the mean is preserved inside.

    Examples
    --------
    >>> import numpy as np
    >>> upsample(np, np.array([[[1.0, 5.0]]]))[0, 0].tolist()
    [1.0, 2.0, 4.0, 5.0]
    """
    # a fine centre lies a quarter of a coarse voxel off: weights 3/4 and 1/4
    for axis in (-3, -2, -1):
        here = xp.moveaxis(volumes, axis, 0)
        before, after = xp.concatenate([here[:1], here[:-1]]), xp.concatenate([here[1:], here[-1:]])
        if shape is not None and shape[axis] % 2:
            # centres coincide, or lie half-way; the last pair reaches out of the volume
            pair = [here, 0.5 * here + 0.5 * after]
        else:
            pair = [0.75 * here + 0.25 * before, 0.75 * here + 0.25 * after]
        fine = xp.stack(pair, axis=1).reshape(-1, *here.shape[1:])
        fine = fine if shape is None else fine[: shape[axis]]
        volumes = xp.moveaxis(fine, 0, axis)
    return xp.ascontiguousarray(volumes, dtype=np.float32)  # type: ignore[no-any-return]


def _within(settings: SolverSettings, steps: int) -> int:
    """Limit ``steps`` to half of the iterations allowed."""
    return int(min(steps, settings.max_iterations // 2))


@dataclass(frozen=True)
class ChemicalBound:
    """Bound on the chemical term of a sound result.

    A minimum of chemistry + TV is no higher there than the best constant volumes, and no higher
    than its maximum-likelihood start plus the weighted TV of that start: at both the objective
    would be lower else. HAADF may raise it, by :data:`ALLOWED`.

    Parameters
    ----------
    constant : chemical term of the best constant volumes.
    start : of the start.
    roughness : TV of the start.
    """

    constant: float
    start: float
    roughness: float

    def ceilings(self, weights: Sequence[Weights]) -> Values:
        """Return the bound for each trial, (trial,).

        Parameters
        ----------
        weights : one pair per trial.
        """
        rough = self.roughness
        return ALLOWED * np.array([min(self.constant, self.start + w.tv * rough) for w in weights])


def chemical_bound(series: TiltSeries, settings: SolverSettings, device: Device) -> ChemicalBound:
    """Bound the chemical term of sound results.

    The start is found at half the resolution, as that of a solve is, at the cost of about one
    iteration.

    Parameters
    ----------
    series : counts, with a known chemical scale.
    settings : likelihood of the chemistry, projector.
    device : where it is computed.
    """
    problem = chemical_problem(series, [Weights()], settings, device)
    chemistry, xp = problem.chemistry, device.xp
    levels = _constant_levels(chemistry)[:, None, None, None]
    constant = xp.broadcast_to(levels, problem.shape[1:]).astype(np.float32)
    highest = _chemical_value(problem, constant)
    del constant
    start = _likely_start(series, problem, settings, device)
    value = _chemical_value(problem, start)
    return ChemicalBound(highest, value, float(problem.regulariser.value(device, start[None])[0]))


def _likely_start(
    series: TiltSeries, problem: FusedProblem, settings: SolverSettings, device: Device
) -> Array:
    """Early-stopped maximum likelihood on the grid where the solve begins, (element, z, y, x)."""
    if not has_coarser(series):
        return mlem(problem.chemistry, problem.shape[1:], MLEM_ITERATIONS)
    coarse = chemical_problem(binned(series), [Weights()], settings, device)
    volumes = mlem(coarse.chemistry, coarse.shape[1:], MLEM_ITERATIONS)
    start: Array = device.xp.empty(problem.shape[1:], np.float32)
    for one, fine in zip(volumes, start, strict=True):  # one at a time, to bound memory
        fine[...] = upsample(device.xp, one, fine.shape)
    return start


def _chemical_value(problem: FusedProblem, volumes: Array) -> float:
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
