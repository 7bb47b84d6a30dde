"""Paint shapes into a volume of phases, anti-aliased, and turn phases into elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .shapes import Shape
from .solids import RoundedBox

Array = NDArray[np.float32]

SUBSAMPLES = 2
"""Cells per voxel edge at which coverage is evaluated, then averaged."""
SLAB = 2
"""Planes painted at once; bounds the memory of the cells."""
AT_ONCE = 1 << 20
"""Voxels of a solid painted at once."""
FINEST = 8
"""Most cells per voxel edge for a solid, and the cells that its inner radius should span."""
RESOLVED = 3
"""Cells in the radius of a solid to which a ramp adds too little to mind, 3 % of a ball at most."""

RAMP = (np.arange(8) + 0.5) / 16
"""Depths, in cells, of the surfaces inside and outside a solid that its ramp is the mean of."""


def paint(size: int, phases: int, bodies: Iterable[tuple[Shape, int]]) -> Array:
    """Paint bodies into a cubic box and return the volume fraction of each phase.

    Parameters
    ----------
    size : voxels per edge of the box.
    phases : number of phases.
    bodies : (shape, phase) in painting order; a later one displaces the earlier by its coverage, so
        the fractions of a voxel never sum to more than 1.

    Returns
    -------
    array : fractions, (phase, z, y, x), float32, 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from tomoatlas.phantoms.shapes import Ball
    >>> fractions = paint(16, 1, [(Ball(np.zeros(3), 0.25), 0)])
    >>> fractions.shape, float(fractions[0, 8, 8, 8]), float(fractions[0, 0, 0, 0])
    ((1, 16, 16, 16), 1.0, 0.0)
    """
    fractions = np.zeros((phases, size, size, size), np.float32)
    for shape, phase in bodies:
        low, high = shape.bounds()
        # only the bounding box of a shape, a voxel wider, is visited
        start = np.clip(np.floor((low + 0.5) * size).astype(int) - 1, 0, size)
        stop = np.clip(np.ceil((high + 0.5) * size).astype(int) + 1, 0, size)
        solid = shape if isinstance(shape, RoundedBox) else None
        slab = max(SLAB, AT_ONCE // max(int(np.prod(stop[1:] - start[1:])), 1)) if solid else SLAB
        # a slab at a time bounds the memory of the cells
        for z in range(start[0], stop[0], slab):
            rows = [slice(z, min(z + slab, stop[0]))]
            rows += [slice(a, b) for a, b in zip(start[1:], stop[1:], strict=True)]
            covered = (
                solid_coverage(solid, rows, size) if solid else voxel_coverage(shape, rows, size)
            )
            displace(fractions[:, *rows], phase, covered)
    return fractions


def displace(fractions: Array, phase: int, coverage: Array) -> None:
    """Replace the other phases by ``phase`` in the covered share of each voxel, in place.

    Parameters
    ----------
    fractions : (phase, z, y, x), updated.
    phase : index of the phase.
    coverage : covered share of each voxel, (z, y, x), 0 to 1.
    """
    # over-painting: the others keep their ratio in what is left of the voxel
    fractions *= 1 - coverage
    fractions[phase] += coverage


def voxel_coverage(shape: Shape, rows: Sequence[slice], size: int) -> Array:
    """Compute the coverage of voxels by a shape, the mean over :data:`SUBSAMPLES`³ cells of each.

    Parameters
    ----------
    shape : in fractions of the box.
    rows : range of voxels along z, y and x.
    size : voxels per edge of the box.

    Returns
    -------
    array : coverage, (z, y, x) of the range, float32, 0 to 1.
    """
    z, y, x = (cell_centres(r, size) for r in rows)
    # anti-aliasing twice: the ramp within a cell, the mean over cells
    cells = shape.coverage(
        z[:, None, None], y[None, :, None], x[None, None, :], 1 / (size * SUBSAMPLES)
    )
    return mean_of_cells(cells, SUBSAMPLES)


def solid_coverage(solid: RoundedBox, rows: Sequence[slice], size: int) -> Array:
    """Compute what :func:`voxel_coverage` does, with cells only where the surface is near.

    The ramp makes a ball of radius r too large by the share (cell/r)²/4: small solids have finer
    cells, up to :data:`FINEST`. One that is hardly thicker than these is painted fainter by what
    the ramp adds to it, a thinner one as thick as a cell: clusters and films far below a voxel hold
    their mass too.

    Parameters
    ----------
    solid : in fractions of the box.
    rows : range of voxels along z, y and x.
    size : voxels per edge of the box.

    Returns
    -------
    array : coverage, (z, y, x) of the range, float32, 0 to 1.
    """
    cell = 1 / (size * FINEST)
    if solid.inner >= RESOLVED * cell:
        return _surface_coverage(solid, rows, size)
    grown = solid.grown(max(cell - solid.inner, 0.0))
    return np.float32(solid.volume / _ramp_volume(grown, cell)) * _surface_coverage(
        grown, rows, size
    )


def _ramp_volume(solid: RoundedBox, cell: float) -> float:
    """What the cells of a solid at least as thick as one sum to: the ramp is a mean of solids."""
    inward = [solid.shrunk(cell * t) for t in RAMP]
    found = [s.volume for s in (*inward, *(solid.grown(cell * t) for t in RAMP)) if s is not None]
    return float(np.mean(found))


def _surface_coverage(solid: RoundedBox, rows: Sequence[slice], size: int) -> Array:
    """Coverage with cells near the surface, of a solid that they resolve."""
    z, y, x = (cell_centres(r, size, 1) for r in rows)
    distance = solid.distance(z[:, None, None], y[None, :, None], x[None, None, :])
    share = (distance < 0).astype(np.float32)
    cuts = int(np.clip(np.ceil(FINEST / (size * solid.inner)), SUBSAMPLES, FINEST))
    # centres of cells lie up to this far from the voxel's; beyond it all their ramps are 0 or 1
    reach = np.sqrt(0.75) * (1 - 1 / cuts) + 0.5 / cuts
    near = np.nonzero(np.abs(distance) < reach / size)
    shifts = ((np.indices((cuts,) * 3).reshape(3, -1) + 0.5) / cuts - 0.5) / size
    centres = z[near[0]], y[near[1]], x[near[2]]
    z, y, x = (c[:, None] + s for c, s in zip(centres, shifts.astype(np.float32), strict=True))
    share[near] = solid.coverage(z, y, x, 1 / (size * cuts)).mean(axis=1)
    return share


def cell_centres(row: slice, size: int, cuts: int = SUBSAMPLES) -> Array:
    """Return the centres of the cells of some voxels along one axis.

    Parameters
    ----------
    row : range of voxels.
    size : voxels per edge of the box.
    cuts : cells per voxel edge.

    Returns
    -------
    array : (cell,), float32, fractions of the box from its centre.

    Examples
    --------
    >>> cell_centres(slice(0, 1), 2).tolist()
    [-0.375, -0.125]
    """
    cells = np.arange(row.start * cuts, row.stop * cuts)
    return ((cells + 0.5) / (size * cuts) - 0.5).astype(np.float32)


def mean_of_cells(cells: Array, factor: int) -> Array:
    """Average over blocks of cells.

    Parameters
    ----------
    cells : (z, y, x).
    factor : edge of a block, a divisor of each axis.

    Returns
    -------
    array : (z, y, x), shorter by ``factor`` along each axis, float32.
    """
    z, y, x = (n // factor for n in cells.shape)
    blocks = cells.reshape(z, factor, y, factor, x, factor)
    means = np.zeros((z, y, x), np.float32)
    # strided sums: several times faster than a mean over three axes
    for i, j, k in np.ndindex(factor, factor, factor):
        means += blocks[:, i, :, j, :, k]
    means /= np.float32(factor**3)
    return means


def concentrations(
    fractions: Array, compositions: Sequence[Mapping[str, float]], elements: Sequence[str]
) -> Array:
    """Turn volume fractions of phases into concentrations of elements.

    Parameters
    ----------
    fractions : (phase, z, y, x).
    compositions : one per phase: concentration of each of its elements in the pure phase.
    elements : chemical symbols, the order of the result.

    Returns
    -------
    array : concentrations, (element, z, y, x), float32.

    Examples
    --------
    >>> import numpy as np
    >>> half = np.full((1, 1, 1, 1), 0.5, np.float32)
    >>> concentrations(half, [{"Co": 0.5, "O": 0.5}], ("Co", "O")).ravel().tolist()
    [0.25, 0.25]
    """
    volumes = np.zeros((len(elements), *fractions.shape[1:]), np.float32)
    for fraction, composition in zip(fractions, compositions, strict=True):
        for element, share in composition.items():
            # several phases may hold one element
            volumes[elements.index(element)] += np.float32(share) * fraction
    return volumes
