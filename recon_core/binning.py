"""A tilt series on pixels and voxels of twice the edge, where a solver starts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .geometry import Mask
from .tiltseries import Array, TiltSeries


def binned(series: TiltSeries) -> TiltSeries:
    """Return the same acquisition on pixels and voxels of twice the edge.

    Counts of four pixels add up and stay Poisson. A ray crosses half as many voxels, each twice
    as long, and a pixel gathers four rays: scales grow eightfold. An odd edge is taken as half
    a pixel of background longer on both sides, so that the tilt axis stays in the middle.

    Parameters
    ----------
    series : with its placement and masks, which are binned too.
    """
    # four pixels add up; a coarse voxel is twice as long, and four rays cross it
    four, eight = 4.0, 8.0
    levels = np.array(series.chemical_background, np.float32)[:, None, None, None]
    chemical = series.chemical_scale
    return replace(
        series,
        haadf=summed(series.haadf, series.haadf_vacuum.astype(np.float32)[:, None, None]),
        chemical=summed(series.chemical, levels),
        haadf_background=four * series.haadf_background,
        chemical_background=tuple(four * level for level in series.chemical_background),
        haadf_scale=None if series.haadf_scale is None else eight * series.haadf_scale,
        chemical_scale=None if chemical is None else tuple(eight * c for c in chemical),
        voxel_size_nm=2.0 * series.voxel_size_nm,
        haadf_film=four * series.haadf_film,
        haadf_placement=series.haadf_placement.binned(),
        chemical_placement=series.chemical_placement.binned(),
        haadf_mask=_binned_mask(series.haadf_mask),
        chemical_mask=_binned_mask(series.chemical_mask),
    )


def _binned_mask(mask: Mask | None) -> Mask | None:
    """The mask of 2 x 2 pixels: good where all of them are; None if all pixels are."""
    if mask is None:
        return None
    bad = (~mask.array()).astype(np.float32)
    return Mask.of(summed(bad, np.float32(0)) == 0)


def summed(projections: Array, level: Array | np.float32) -> Array:
    """Sum over 2 x 2 pixels; half a pixel of background lies beyond an odd edge.

    Parameters
    ----------
    projections : (..., y, x).
    level : background of a pixel, that broadcasts to ``projections``.

    Examples
    --------
    >>> summed(np.ones((1, 3, 4), np.float32), np.float32(0))
    array([[[3., 3.],
            [3., 3.]]], dtype=float32)
    """
    *lead, y, x = projections.shape
    if y % 2 or x % 2:
        along_x = _halved(projections, level)
        along_y = _halved(along_x.swapaxes(-1, -2), np.float32(2) * level)
        return np.ascontiguousarray(along_y.swapaxes(-1, -2))
    pairs = projections.reshape(*lead, y // 2, 2, x // 2, 2)
    sums: Array = pairs.sum(axis=(-3, -1), dtype=np.float32)
    return sums


def _halved(projections: Array, level: Array | np.float32) -> Array:
    """Sum pairs of pixels along the last axis; of an odd one, halves of both neighbours as well."""
    *lead, n = projections.shape
    if n % 2 == 0:
        pairs: Array = projections.reshape(*lead, n // 2, 2).sum(axis=-1, dtype=np.float32)
        return pairs
    beside = np.broadcast_to(level, (*lead, 1))
    wide = np.concatenate([beside, projections, beside], axis=-1)
    # An odd edge is binned about its middle, as the coarse grid lies: each sum takes a whole pixel
    # and half of both its neighbours.
    halves: Array = 0.5 * (wide[..., :-2:2] + wide[..., 2::2]) + wide[..., 1:-1:2]
    return halves.astype(np.float32)
