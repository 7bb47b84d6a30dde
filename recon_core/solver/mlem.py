"""Maximum likelihood without regularisation: the field's conventional reconstruction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .admm import Monitor
from .terms import ChemicalTerm

Array = NDArray[np.float32]

UNIFORM = 0.1  # starting concentration: positive, of the order of a porous specimen's mean
MLEM_START = 10
PATIENCE = 10


def mlem(term: ChemicalTerm, shape: tuple[int, ...], iterations: int) -> Array:
    """Maximum-likelihood expectation maximisation from a uniform start, (element, z, y, x).

    On the term's device.

    x_i <- x_i / (A^T scale) * A^T (scale b / y), y the expected counts with background
    (Shepp and Vardi, 1982; Politte and Snyder, 1991, for the known background).
    """
    volumes: Array = term.device.xp.full(shape, UNIFORM, np.float32)
    sensitivity = _sensitivity(term)
    for _ in range(iterations):
        mlem_step(term, sensitivity, volumes)
    return volumes


def stopped_mlem(
    term: ChemicalTerm, shape: tuple[int, ...], iterations: int, monitor: Monitor
) -> tuple[Array, int, list[float]]:
    """The MLEM iterate of the lowest score, its iteration and all scores: an oracle.

    It needs the truth (through ``monitor``), so it bounds what early stopping can reach. Ends
    when the score has not improved for ten iterations.
    """
    volumes = term.device.xp.full(shape, UNIFORM, np.float32)
    sensitivity = _sensitivity(term)
    best, best_at, scores = volumes.copy(), 0, [np.inf]
    for iteration in range(1, iterations + 1):
        mlem_step(term, sensitivity, volumes)
        scores.append(monitor(term.device.get(volumes)))
        if scores[-1] < scores[best_at]:
            best_at = iteration
            term.device.xp.copyto(best, volumes)
        elif iteration - best_at >= PATIENCE:
            break
    return term.device.get(best), best_at, scores


def mlem_step(term: ChemicalTerm, sensitivity: Array, volumes: Array) -> None:
    """One multiplicative update of ``volumes`` in place."""
    ratio = term.ratio(volumes)
    update = term.projector.adjoint(ratio)
    update /= sensitivity
    volumes *= update


def _sensitivity(term: ChemicalTerm) -> Array:
    """A^T 1, (z, y, 1); voxels that no ray crosses get 1."""
    ones = term.device.xp.ones((*term.counts.shape[1:3], 1), np.float32)
    sensitivity = term.projector.adjoint(ones)
    sensitivity[sensitivity <= 0] = 1
    return sensitivity
