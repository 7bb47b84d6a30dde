"""Maximum likelihood without regularisation: the field's conventional reconstruction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .admm import Monitor
from .terms import ChemicalTerm

Array = NDArray[np.float32]

UNIFORM = 0.1  # starting concentration: positive, of the order of a porous specimen's mean
MLEM_ITERATIONS = 10
PATIENCE = 10


def mlem(term: ChemicalTerm, shape: tuple[int, ...], iterations: int) -> Array:
    """Reconstruct by maximum-likelihood expectation maximisation from uniform volumes.

    x_i <- x_i / (A^T scale) * A^T (scale b / y), y the expected counts with background (Shepp and
    Vardi, IEEE Trans. Med. Imaging 1, 113 (1982); Politte and Snyder, 1991, for the known
    background).

    Parameters
    ----------
    term : counts, scales, backgrounds and projector.
    shape : of the volumes, (element, z, y, x).
    iterations : 0 or more.

    Returns
    -------
    array : concentrations, (element, z, y, x), float32, on the term's device.
    """
    # multiplicative updates keep zeros: start above 0 everywhere
    volumes: Array = term.device.xp.full(shape, UNIFORM, np.float32)
    sensitivity = sensitivity_of(term)
    for _ in range(iterations):
        mlem_step(term, sensitivity, volumes)
    return volumes


def stopped_mlem(
    term: ChemicalTerm, shape: tuple[int, ...], iterations: int, monitor: Monitor
) -> tuple[Array, int, list[float]]:
    """Run MLEM and keep the iterate of the lowest score: an oracle.

    It needs the truth (through ``monitor``), so it bounds what early stopping can reach. Ends when
    the score has not improved for :data:`PATIENCE` iterations.

    Parameters
    ----------
    term : counts, scales, backgrounds and projector.
    shape : of the volumes, (element, z, y, x).
    iterations : the most that are run.
    monitor : score of volumes (element, z, y, x) on the host, lower is better.

    Returns
    -------
    volumes : the best iterate, (element, z, y, x), on the host.
    best : its iteration, 0 for the uniform volumes.
    scores : one per iteration; the first, of the uniform volumes, is infinite.
    """
    volumes = term.device.xp.full(shape, UNIFORM, np.float32)
    sensitivity = sensitivity_of(term)
    best, best_at, scores = volumes.copy(), 0, [np.inf]
    for iteration in range(1, iterations + 1):
        mlem_step(term, sensitivity, volumes)
        scores.append(monitor(term.device.get(volumes)))
        # strictly lower: of equal scores the first counts
        if scores[-1] < scores[best_at]:
            best_at = iteration
            term.device.xp.copyto(best, volumes)
        elif iteration - best_at >= PATIENCE:
            break
    return term.device.get(best), best_at, scores


def mlem_step(term: ChemicalTerm, sensitivity: Array, volumes: Array) -> None:
    """Update the volumes by one multiplicative step, in place.

    Parameters
    ----------
    term : counts, scales, backgrounds and projector.
    sensitivity : from :func:`sensitivity_of`.
    volumes : concentrations, (element, z, y, x), updated.
    """
    ratio = term.ratio(volumes)
    update = term.projector.adjoint(ratio)
    # A^T (b / y) / A^T 1: the scale cancels
    update /= sensitivity
    # weights of shifted images may be negative: the step is not
    term.device.xp.maximum(update, 0, out=update)
    volumes *= update


def sensitivity_of(term: ChemicalTerm) -> Array:
    """Back-project ones: how strongly the tilts see each voxel.

    Parameters
    ----------
    term : for its tilts.

    Returns
    -------
    array : A^T 1, (z, y, 1) if all slices are alike, else (z, y, x); 1 in voxels that no ray
        crosses.
    """
    width = term.counts.shape[-1] if term.projector.geometry.mixes_slices else 1
    ones = term.device.xp.ones((*term.counts.shape[1:3], width), np.float32)
    sensitivity = term.projector.adjoint(ones)
    sensitivity[sensitivity <= 0] = 1
    return sensitivity
