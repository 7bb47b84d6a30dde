"""Solid shapes in fractions of the box, and the share of every voxel they cover.

Positions are (z, y, x) in fractions of the box edge, the origin at its centre, so that a shape
is the same at every grid size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Vector = NDArray[np.float64]
_SIGNS = 2.0 * np.array(list(np.ndindex(2, 2, 2))) - 1.0


class Shape(Protocol):
    """What can be painted into a volume."""

    def coverage(self, z: Array, y: Array, x: Array, width: float) -> Array:
        """Share, 0 to 1, of the cells of edge ``width`` centred at (z, y, x) inside the shape."""

    def bounds(self) -> tuple[Vector, Vector]:
        """Lowest and highest corner, (z, y, x), of an axis-aligned box around the shape."""


def ramp(distance: Array, width: float) -> Array:
    """Share of a cell inside a surface at signed ``distance`` (negative inside) of its centre.

    ``clip(1/2 - distance/width, 0, 1)``: exact for a plane parallel to a face of the cell.
    """
    share = distance * np.float32(-1 / width)
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


@dataclass(frozen=True, eq=False)
class Ball:
    """A ball of ``radius`` around ``centre`` (z, y, x)."""

    centre: Vector
    radius: float

    def coverage(self, z: Array, y: Array, x: Array, width: float) -> Array:
        """See :class:`Shape`; the ramp of the distance to the sphere."""
        cz, cy, cx = self.centre.astype(np.float32)
        distance = np.sqrt((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2)
        return ramp(distance - np.float32(self.radius), width)

    def bounds(self) -> tuple[Vector, Vector]:
        """See :class:`Shape`."""
        return self.centre - self.radius, self.centre + self.radius


@dataclass(frozen=True, eq=False)
class Cube:
    """A cube around ``centre`` (z, y, x); the rows of ``axes`` (3, 3) are its unit normals."""

    centre: Vector
    axes: Vector
    half_edge: float

    def coverage(self, z: Array, y: Array, x: Array, width: float) -> Array:
        """See :class:`Shape`; the product of the ramps of the three pairs of faces."""
        cz, cy, cx = self.centre.astype(np.float32)
        share = np.ones(np.broadcast_shapes(z.shape, y.shape, x.shape), np.float32)
        for az, ay, ax in self.axes.astype(np.float32):
            along = (az * (z - cz) + ay * (y - cy)) + ax * (x - cx)
            np.abs(along, out=along)
            along -= np.float32(self.half_edge)
            share *= ramp(along, width)
        return share

    def bounds(self) -> tuple[Vector, Vector]:
        """See :class:`Shape`."""
        reach = self.half_edge * np.abs(self.axes).sum(axis=0)
        return self.centre - reach, self.centre + reach

    def corners(self) -> Vector:
        """The eight corners, (corner, 3)."""
        return self.centre + self.half_edge * _SIGNS @ self.axes

    def scaled(self, factor: float) -> Cube:
        """The concentric cube with ``factor`` times the edge."""
        return Cube(self.centre, self.axes, factor * self.half_edge)

    def distance(self, point: Vector) -> float:
        """Signed distance of a point (z, y, x) to the surface, negative inside."""
        outside = np.abs(self.axes @ (point - self.centre)) - self.half_edge
        return float(np.linalg.norm(np.maximum(outside, 0)) + min(outside.max(), 0.0))

    def clear_of(self, other: Cube, gap: float) -> bool:
        """Whether a plane separates the two cubes with at least ``gap`` between them.

        Two boxes are apart exactly if one of 15 normals shows it: the faces of each and the
        products of their edges (the separating axis theorem).
        """
        products = np.cross(self.axes[:, None], other.axes[None]).reshape(9, 3)
        lengths = np.linalg.norm(products, axis=1)
        # Parallel edges give no normal of their own; the faces decide then.
        edges = products[lengths > 1e-9] / lengths[lengths > 1e-9, None]
        normals = np.concatenate([self.axes, other.axes, edges])
        reach = self.half_edge * np.abs(normals @ self.axes.T).sum(axis=1)
        reach += other.half_edge * np.abs(normals @ other.axes.T).sum(axis=1)
        between = np.abs(normals @ (other.centre - self.centre))
        return bool((between >= reach + gap).any())
