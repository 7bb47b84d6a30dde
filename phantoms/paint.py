"""Paint shapes into a volume of phases, anti-aliased, and turn phases into elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .shapes import Shape

Array = NDArray[np.float32]

SUBSAMPLES = 2
"""Cells per voxel edge at which coverage is evaluated, then averaged."""
SLAB = 2
"""Planes painted at once; bounds the memory of the cells."""


def paint(size: int, phases: int, bodies: Iterable[tuple[Shape, int]]) -> Array:
    """Volume fractions of each phase, (phase, z, y, x), in a box of ``size``³ voxels.

    ``bodies`` are (shape, phase); a later one displaces the earlier by its coverage, so the
    fractions of a voxel never sum to more than 1. Only the bounding box of a shape is visited.
    """
    fractions = np.zeros((phases, size, size, size), np.float32)
    for shape, phase in bodies:
        low, high = shape.bounds()
        start = np.clip(np.floor((low + 0.5) * size).astype(int) - 1, 0, size)
        stop = np.clip(np.ceil((high + 0.5) * size).astype(int) + 1, 0, size)
        for z in range(start[0], stop[0], SLAB):
            rows = [slice(z, min(z + SLAB, stop[0]))]
            rows += [slice(a, b) for a, b in zip(start[1:], stop[1:], strict=True)]
            displace(fractions[:, *rows], phase, voxel_coverage(shape, rows, size))
    return fractions


def displace(fractions: Array, phase: int, coverage: Array) -> None:
    """Put ``phase`` in place of the others in the covered share of each voxel, in place."""
    fractions *= 1 - coverage
    fractions[phase] += coverage


def voxel_coverage(shape: Shape, rows: Sequence[slice], size: int) -> Array:
    """Coverage (z, y, x) of the voxels in ``rows``: the mean over :data:`SUBSAMPLES`³ cells."""
    z, y, x = (cell_centres(r, size) for r in rows)
    cells = shape.coverage(
        z[:, None, None], y[None, :, None], x[None, None, :], 1 / (size * SUBSAMPLES)
    )
    return mean_of_cells(cells, SUBSAMPLES)


def cell_centres(row: slice, size: int) -> Array:
    """Centres of the cells of the voxels in ``row``, in fractions of the box."""
    cells = np.arange(row.start * SUBSAMPLES, row.stop * SUBSAMPLES)
    return ((cells + 0.5) / (size * SUBSAMPLES) - 0.5).astype(np.float32)


def mean_of_cells(cells: Array, factor: int) -> Array:
    """Mean over blocks of ``factor``³ along the three axes."""
    z, y, x = (n // factor for n in cells.shape)
    blocks = cells.reshape(z, factor, y, factor, x, factor)
    means = np.zeros((z, y, x), np.float32)
    for i, j, k in np.ndindex(factor, factor, factor):
        means += blocks[:, i, :, j, :, k]
    means /= np.float32(factor**3)
    return means


def concentrations(
    fractions: Array, compositions: Sequence[Mapping[str, float]], elements: Sequence[str]
) -> Array:
    """Concentrations (element, z, y, x) of phases (phase, z, y, x) of given compositions.

    ``compositions``, one per phase: the concentration of each of its elements.
    """
    volumes = np.zeros((len(elements), *fractions.shape[1:]), np.float32)
    for fraction, composition in zip(fractions, compositions, strict=True):
        for element, share in composition.items():
            volumes[elements.index(element)] += np.float32(share) * fraction
    return volumes
