"""Every serious way to solve the fused problem, for :mod:`convergence`; the split is the solver's.

Each candidate yields its iterate, (1, element, z, y, x), and the projections spent so far (tilts
times volumes, a pair counting once), the start and the curvature bounds included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from first_order import (
    SETTINGS,
    from_counts,
    gradient,
    local_majoriser,
    primal_dual,
    prox_linear,
    subsets,
)

from tomoatlas.recon_core.binning import binned
from tomoatlas.recon_core.contrast import contrast_of
from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.solver.admm import RECORD_EVERY, calmed, recorded, step
from tomoatlas.recon_core.solver.gram import Gram, Line, gram_of
from tomoatlas.recon_core.solver.multiresolution import (
    COARSE_STEPS,
    initial_state,
    refined,
    switched_on,
)
from tomoatlas.recon_core.solver.problem import FusedProblem
from tomoatlas.recon_core.solver.state import FusionState
from tomoatlas.recon_core.tiltseries import TiltSeries

Array = np.ndarray
Iterates = Iterator[tuple[Array, float]]
Candidate = Callable[[TiltSeries, Weights], Iterates]
NEIGHBOUR = 150  # iterations at the neighbouring weight


def split(problem: FusedProblem, state: FusionState, inner: int = 1) -> Iterates:
    """The solver's own loop, its recorded objectives counted; ``inner`` HAADF pairs a step."""
    state, before = recorded(problem, state)
    while True:
        yield state.volumes, state.work
        state = step(problem, state)
        state = replace(state, work=state.work + (inner - 1) * problem.haadf.tilts)
        if state.iteration % RECORD_EVERY == 0:
            state, now = recorded(problem, state)
            state = calmed(problem, state, [[before[0], now[0]]])
            before = now


def split_from_counts(series: TiltSeries, weights: Weights) -> Iterates:
    """The split without a coarse start."""
    return split(*from_counts(series, weights))


def split_from_half(series: TiltSeries, weights: Weights) -> Iterates:
    """The solver as it is: the split from the solution at half the resolution."""
    return split(*initial_state(series, [weights], SETTINGS, CPU))


def split_from_quarter(series: TiltSeries, weights: Weights, steps: int = COARSE_STEPS) -> Iterates:
    """The split from a solution at half the resolution that began at a quarter."""
    coarse = Weights(weights.haadf, 4.0 * weights.tv)
    problem, state = initial_state(binned(series), [coarse], SETTINGS, CPU, 1)
    for _ in range(steps):
        state = step(problem, state)
    problem, state = refined(series, [weights], SETTINGS, CPU, state)
    return split(*switched_on(problem, state, series, [weights], SETTINGS, contrast_of(SETTINGS)))


def split_continued(
    series: TiltSeries, weights: Weights, factors: tuple[float, ...] = (0.1,), steps: int = 5
) -> Iterates:
    """The split from the counts, first with ``factors`` of the HAADF weight, ``steps`` each.

    Tried at 32^3: 0.1 for 5 and 15 steps, 0.3 for 10, 0.01 and 0.1 for 15 each.
    """
    problem, state = from_counts(series, weights)
    for factor in factors:
        eased = _eased(problem, factor)
        for _ in range(steps):
            yield state.volumes, state.work
            state = step(eased, state)
    yield from split(problem, state)


def split_from_neighbour(series: TiltSeries, weights: Weights) -> Iterates:
    """The solver begun at its own solution for a third of the HAADF weight, work not counted.

    u, multiplier and duals are kept. Tried at 32^3: the multiplier dropped, no better, or scaled
    with the weight, 0.5 % higher.
    """
    problem, state = initial_state(
        series, [replace(weights, haadf=weights.haadf / 3)], SETTINGS, CPU
    )
    for _ in range(NEIGHBOUR):
        state = step(problem, state)
    return split(_eased(problem, 3.0), replace(state, work=0.0, iteration=0))


def split_with_cg(
    series: TiltSeries, weights: Weights, steps: int = 3, ridge: float = 0.02
) -> Iterates:
    """The split from the counts, u by steps of conjugate gradients without the FFT's filter.

    Tried at 32^3: 2, 3 and 4 steps, ridge 0.005, 0.01, 0.02 and 0.05.
    """
    problem, state = from_counts(series, weights)
    plain = gram_of(CPU, problem.haadf.projector, ridge)
    gram = Conjugate(CPU, plain.projector, plain.ridge, plain.precondition, steps)
    return split(problem, replace(state, gram=gram), steps)


@dataclass(frozen=True)
class Conjugate(Gram):
    """A Gram operator that descends by ``steps`` of conjugate gradients, one pair each."""

    steps: int = 3

    def descend(
        self, solution: Array, residual: Array, rays: Array, along: Line, last: Line, restart: bool
    ) -> None:
        """As :meth:`Gram.descend`, which takes one preconditioned step; forgets the last one."""
        direction, image = along
        direction[...] = residual
        size = _square(residual)
        for _ in range(self.steps):
            self.projector.adjoint(self.projector.forward(direction, out=rays), out=image)
            image += self.ridge * direction
            length = np.float32(size / float(np.sum(direction * image, dtype=np.float64)))
            solution += length * direction
            residual -= length * image
            before, size = size, _square(residual)
            direction *= np.float32(size / before)
            direction += residual


def _eased(problem: FusedProblem, factor: float) -> FusedProblem:
    """The problem with ``factor`` of its HAADF weight."""
    haadf = replace(problem.haadf, precision=factor * problem.haadf.precision)
    return replace(problem, haadf=haadf)


def _square(volume: Array) -> float:
    return float(np.sum(np.square(volume), dtype=np.float64))


WINNER = "split, from half the resolution"
CANDIDATES: dict[str, Candidate] = {
    "proximal gradient, global bound": gradient,
    "proximal gradient, local bound": local_majoriser,
    "prox-linear (Gauss-Newton)": prox_linear,
    "primal-dual, diagonal steps": primal_dual,
    "subsets of tilts (SAGA)": subsets,
    "split, u by conjugate gradients": split_with_cg,
    "split, from the counts": split_from_counts,
    "split, from a tenth of haadf": split_continued,
    "split, from haadf / 3 (its time counted, not its work)": split_from_neighbour,
    "split, from a quarter": split_from_quarter,
    WINNER: split_from_half,
}
