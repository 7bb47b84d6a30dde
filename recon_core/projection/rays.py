"""The Joseph projection operator: linear interpolation along rays, exact to 2^-32 voxel.

A tilt is steep when its rays run nearer to z than to y; layers are then the planes of constant z,
else of constant y. In each layer a ray passes between two voxel rows, and its sample, their linear
interpolate times the length of ray in the layer, adds to the projection (Joseph, IEEE Trans. Med.
Imaging 1, 192 (1982)). With the ray r and the layer k counted from their centres r', k', and the
row from its own,

    steep:      row' = r' / cos(tilt) + k' tan(tilt)
    otherwise:  row' = -r' / sin(tilt) + k' cot(tilt)

Positions are fixed point with 32 binary places: sums of them are exact in any order. ASTRA's
'linear' projector is the same operator, its positions summed in single precision: its weights are
off by 2e-4 at 64 layers, 7e-4 at 128 and 3e-3 at 256.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..geometry import TiltGeometry

_POSITIONS = ("start", "per_ray", "per_layer", "ray_start", "ray_per_across", "ray_per_layer")
TILT = np.dtype(  # struct Tilt of recon_core/gpu/cuda/projector.cu
    [*((name, "<i8") for name in _POSITIONS), ("length", "<f4"), ("steep", "<i4")]
)
_ONE = 2**32

Tilts = NDArray[np.void]


def ray_table(geometry: TiltGeometry) -> Tilts:
    """Tabulate the rays of every tilt, for the matrix and for the CUDA kernels.

    Ray r passes layer k at row ``start + r per_ray + k per_layer``; the ray at row a of layer k is
    ``ray_start + a ray_per_across + k ray_per_layer``; both in units of 2^-32 voxel.

    Parameters
    ----------
    geometry : tilts and slice (z, y).

    Returns
    -------
    array : one record of type ``TILT`` per tilt, (angle,).

    Examples
    --------
    >>> table = ray_table(TiltGeometry((0.0, 60.0), (4, 4)))
    >>> table["steep"].tolist(), (table["per_ray"][0] / 2**32).tolist()
    ([1, 0], 1.0)
    """
    across = (geometry.placement.across(i) for i in range(geometry.angles))
    pairs = zip(geometry.angles_deg, across, strict=True)
    return np.array([_tilt(angle, geometry.shape, offset) for angle, offset in pairs], TILT)


def projection_matrix(geometry: TiltGeometry) -> sparse.csr_array:
    """Build the sparse matrix that projects one slice.

    Parameters
    ----------
    geometry : tilts and slice (z, y).

    Returns
    -------
    csr_array : (angle * y, z * y), float32, columns in order; a weight is a length in voxels.

    Examples
    --------
    >>> matrix = projection_matrix(TiltGeometry((0.0,), (3, 2)))
    >>> matrix.toarray().tolist()
    [[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]]
    """
    height = geometry.shape[1]
    blocks = [_block(tilt, geometry.shape) for tilt in ray_table(geometry)]
    rays, columns, weights = (np.concatenate(part) for part in zip(*blocks, strict=True))
    tilts = np.repeat(np.arange(len(blocks), dtype=np.int32), [len(b[0]) for b in blocks])
    rows = tilts * np.int32(height) + rays
    shape = (len(blocks) * height, geometry.shape[0] * height)
    matrix = sparse.csr_array((weights, (rows, columns)), shape=shape)
    matrix.sort_indices()
    return matrix


def _tilt(angle_deg: float, shape: tuple[int, int], across: float) -> tuple[int | float, ...]:
    """Compute the fields of one record of :data:`TILT`; ``across`` is the shift of the image."""
    sine, cosine = np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))
    steep = bool(abs(sine) < abs(cosine))  # at 45 degrees both are the same operator
    z, y = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    middle = y + across  # the ray through the tilt axis
    spread, slope = (1 / cosine, sine / cosine) if steep else (-1 / sine, cosine / sine)
    row, layer = (y, z) if steep else (z, y)
    # position of ray 0 in layer 0; the inverse relation serves the adjoint kernel
    start = row - middle * spread - layer * slope
    ray_start = middle - (row - layer * slope) / spread
    fixed = (start, spread, slope, ray_start, 1 / spread, -slope / spread)
    # rounded once here: host and device add the same integers, so their weights agree bit for bit
    return (*(round(value * _ONE) for value in fixed), abs(spread), steep)


def _block(
    tilt: np.void, shape: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """List ray, voxel and weight of every pair that meets at one tilt."""
    depth, height = shape
    steep = bool(tilt["steep"])
    layers, across = (depth, height) if steep else (height, depth)
    ray, layer = np.arange(height)[:, None], np.arange(layers)
    position = tilt["start"] + ray * tilt["per_ray"] + layer * tilt["per_layer"]
    # integer part: the voxel row below; fraction: the weight of the row above
    below, above = position >> 32, (position & (_ONE - 1)) / _ONE
    row = np.stack([below, below + 1])
    weight = np.stack([1 - above, above]) * tilt["length"]
    met = (row >= 0) & (row < across) & (weight > 0)
    voxel = layer * height + row if steep else row * height + layer
    rays = np.broadcast_to(ray, row.shape)[met].astype(np.int32)
    return rays, voxel[met].astype(np.int32), weight[met].astype(np.float32)
