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


_FLAT = np.float32(1e-6)
"""Least slope, so that a distance stays finite where the field is flat."""


@dataclass(frozen=True, eq=False)
class RandomWave:
    """A sum of cosines, sqrt(2/n) Σ cos(k·r + phase): zero mean, unit variance.

    ``wave_vectors`` (mode, 3) along (z, y, x), radians per box edge; ``phases`` (mode,). The modes
    are few and fixed, so the field is the same at every grid size. A cut at a level gives a
    bicontinuous solid (Cahn, J. Chem. Phys. 42, 93 (1965)).
    """

    wave_vectors: Vector
    phases: Vector

    @classmethod
    def draw(
        cls, rng: np.random.Generator, modes: int, wavelengths: tuple[float, float]
    ) -> RandomWave:
        """Isotropic directions, wavelengths (fractions of the box) uniform in a range."""
        directions = rng.normal(size=(modes, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = rng.uniform(*wavelengths, size=(modes, 1))
        return cls(2 * np.pi / lengths * directions, rng.uniform(0, 2 * np.pi, modes))

    def at(self, point: Vector) -> float:
        """Value at one point (z, y, x)."""
        return float(self._amplitude * np.cos(self.wave_vectors @ point + self.phases).sum())

    def on_grid(self, z: Array, y: Array, x: Array) -> tuple[Array, Array]:
        """Value and length of the gradient on the grid (z, y, x) of three open axes.

        cos(a + b) = cos a cos b - sin a sin b with a of (z, y) and b of x alone turns the sum over
        modes into matrix products.
        """
        kz, ky, kx = self.wave_vectors.T.astype(np.float32)
        a = (z[..., None] * kz + y[..., None] * ky + self.phases.astype(np.float32))[:, :, 0]
        b = kx[:, None] * x.reshape(1, -1)
        cos_a, sin_a, cos_b, sin_b = np.cos(a), np.sin(a), np.cos(b), np.sin(b)
        value = cos_a @ cos_b - sin_a @ sin_b
        slopes = [(sin_a * k) @ cos_b + (cos_a * k) @ sin_b for k in (kz, ky, kx)]
        steepness = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2)
        scale = np.float32(self._amplitude)
        value *= scale
        steepness *= scale
        return value, steepness

    @property
    def _amplitude(self) -> float:
        return float(np.sqrt(2 / len(self.phases)))


@dataclass(frozen=True, eq=False)
class PorousEllipsoid:
    """Where ``wave`` exceeds ``level`` inside the ellipsoid of ``semi_axes`` (z, y, x)."""

    wave: RandomWave
    level: float
    semi_axes: Vector

    def coverage(self, z: Array, y: Array, x: Array, width: float) -> Array:
        """See :class:`tomoatlas.phantoms.shapes.Shape`; distances to first order, value over
        gradient.
        """
        value, steepness = self.wave.on_grid(z, y, x)
        value -= np.float32(self.level)
        value /= -np.maximum(steepness, _FLAT)
        share: Array = ramp(value, width) * ramp(self._to_envelope(z, y, x), width)
        return share

    def bounds(self) -> tuple[Vector, Vector]:
        """See :class:`tomoatlas.phantoms.shapes.Shape`."""
        return -self.semi_axes, self.semi_axes

    def holds(self, point: Vector) -> bool:
        """Whether a point (z, y, x) lies in the solid."""
        inside = float(np.linalg.norm(point / self.semi_axes)) < 1
        return inside and self.wave.at(point) > self.level

    def _to_envelope(self, z: Array, y: Array, x: Array) -> Array:
        az, ay, ax = self.semi_axes.astype(np.float32)
        reach = np.sqrt((z / az) ** 2 + (y / ay) ** 2 + (x / ax) ** 2)
        slope = np.sqrt((z / az**2) ** 2 + (y / ay**2) ** 2 + (x / ax**2) ** 2)
        distance: Array = reach * (reach - np.float32(1)) / np.maximum(slope, _FLAT)
        return distance
