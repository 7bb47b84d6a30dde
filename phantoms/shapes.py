"""Solid shapes in fractions of the box, and the share of every voxel they cover.

Positions are (z, y, x) in fractions of the box edge, the origin at its centre, so that a shape is
the same at every grid size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.special import ndtri

Array = NDArray[np.float32]
Vector = NDArray[np.float64]
_SIGNS = 2.0 * np.array(list(np.ndindex(2, 2, 2))) - 1.0


class Shape(Protocol):
    """A solid that can be painted into a volume."""

    def coverage(self, z: Array, y: Array, x: Array, width: float) -> Array:
        """Compute the share of cubic cells that lies inside the shape.

        Parameters
        ----------
        z, y, x : centres of the cells, broadcastable to (z, y, x), fractions of the box.
        width : edge of a cell, fraction of the box.

        Returns
        -------
        array : (z, y, x), float32, 0 to 1.
        """

    def bounds(self) -> tuple[Vector, Vector]:
        """Return the lowest and highest corner (z, y, x) of a box that encloses the shape."""


def ramp(distance: Array, width: float) -> Array:
    """Approximate the share of a cell inside a surface, clip(1/2 - distance/width, 0, 1).

    Exact for a plane parallel to a face of the cell.

    Parameters
    ----------
    distance : signed distance of the cell's centre to the surface, negative inside, any shape.
    width : edge of the cell, in the unit of ``distance``.

    Examples
    --------
    >>> import numpy as np
    >>> ramp(np.array([-1.0, 0.0, 0.25], np.float32), 1.0).tolist()
    [1.0, 0.5, 0.25]
    """
    # in place from here on: this runs for every cell
    share = distance * np.float32(-1 / width)
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


FIELD = 0.47
"""Radius of the cylinder about x, and half its length, in view at every tilt; 0.5 less a margin."""


def field_needed(points: Vector) -> Vector:
    """Compute the radius of the cylinder about x, or half its length, that each point needs.

    Tilting turns about x: the distance from that axis is what must stay in the field.

    Parameters
    ----------
    points : (point, 3), along (z, y, x), fractions of the box.

    Returns
    -------
    array : (point,), fractions of the box.

    Examples
    --------
    >>> import numpy as np
    >>> field_needed(np.array([[0.3, 0.4, 0.1], [0.0, 0.1, -0.2]])).tolist()
    [0.5, 0.2]
    """
    return np.maximum(np.hypot(points[:, 0], points[:, 1]), np.abs(points[:, 2]))


def random_axes(rng: np.random.Generator) -> Vector:
    """Draw an orientation, all being equally likely.

    Parameters
    ----------
    rng : source of the draw.

    Returns
    -------
    array : unit vectors, one per row, (3, 3).
    """
    # normal quaternions are uniform over rotations
    return Rotation.from_quat(rng.normal(size=4)).as_matrix()


@dataclass(frozen=True, eq=False)
class Ball:
    """A ball.

    Parameters
    ----------
    centre : (z, y, x), fractions of the box.
    radius : fraction of the box.
    """

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
    """A cube in any orientation.

    Parameters
    ----------
    centre : (z, y, x), fractions of the box.
    axes : unit normals of its faces, one per row, (3, 3).
    half_edge : half the edge, fraction of the box.

    Examples
    --------
    >>> import numpy as np
    >>> cube = Cube(np.zeros(3), np.eye(3), 0.25)
    >>> cube.distance(np.array([0.5, 0.0, 0.0])), cube.distance(np.zeros(3))
    (0.25, -0.25)
    >>> cube.clear_of(Cube(np.array([0.6, 0.0, 0.0]), np.eye(3), 0.25), gap=0.05)
    True
    """

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
        # the corner farthest along each axis
        reach = self.half_edge * np.abs(self.axes).sum(axis=0)
        return self.centre - reach, self.centre + reach

    def corners(self) -> Vector:
        """Return the eight corners, (corner, 3)."""
        return self.centre + self.half_edge * _SIGNS @ self.axes

    def scaled(self, factor: float) -> Cube:
        """Return the concentric cube of another size.

        Parameters
        ----------
        factor : of the edge.
        """
        return Cube(self.centre, self.axes, factor * self.half_edge)

    def distance(self, point: Vector) -> float:
        """Compute the signed distance of a point to the surface.

        Parameters
        ----------
        point : (z, y, x), fractions of the box.

        Returns
        -------
        float : fraction of the box, negative inside.
        """
        # in the cube's own frame, folded to one octant
        outside = np.abs(self.axes @ (point - self.centre)) - self.half_edge
        return float(np.linalg.norm(np.maximum(outside, 0)) + min(outside.max(), 0.0))

    def clear_of(self, other: Cube, gap: float) -> bool:
        """Check whether a plane separates two cubes with a gap between them.

        Two boxes are apart exactly if one of 15 normals shows it: the faces of each and the
        products of their edges (separating axis theorem; Gottschalk, Lin and Manocha, SIGGRAPH
        1996).

        Parameters
        ----------
        other : the other cube.
        gap : least distance along the separating normal, fraction of the box.
        """
        products = np.cross(self.axes[:, None], other.axes[None]).reshape(9, 3)
        lengths = np.linalg.norm(products, axis=1)
        # Parallel edges give no normal of their own; the faces decide then.
        edges = products[lengths > 1e-9] / lengths[lengths > 1e-9, None]
        normals = np.concatenate([self.axes, other.axes, edges])
        # half the extent of a cube along a normal
        reach = self.half_edge * np.abs(normals @ self.axes.T).sum(axis=1)
        reach += other.half_edge * np.abs(normals @ other.axes.T).sum(axis=1)
        between = np.abs(normals @ (other.centre - self.centre))
        return bool((between >= reach + gap).any())


_FLAT = np.float32(1e-6)
"""Least slope, so that a distance stays finite where the field is flat."""


@dataclass(frozen=True, eq=False)
class RandomWave:
    """A sum of cosines, sqrt(2/n) Σ cos(k·r + phase): zero mean, unit variance.

    The modes are few and fixed, so the field is the same at every grid size. A cut at a level gives
    a bicontinuous solid (Cahn, J. Chem. Phys. 42, 93 (1965)).

    Parameters
    ----------
    wave_vectors : (mode, 3) along (z, y, x), radians per box edge.
    phases : (mode,), radians.
    """

    wave_vectors: Vector
    phases: Vector

    @staticmethod
    def level_of(share: float) -> float:
        """Return the level that a wave exceeds in a share of space.

        Parameters
        ----------
        share : above 0 and below 1.

        Examples
        --------
        >>> RandomWave.level_of(0.5)
        0.0
        """
        # the wave is standard normal at a point
        return float(ndtri(1 - share))

    @classmethod
    def draw(
        cls, rng: np.random.Generator, modes: int, wavelengths: tuple[float, float]
    ) -> RandomWave:
        """Draw modes of isotropic direction and uniformly distributed wavelength.

        Parameters
        ----------
        rng : source of the draw.
        modes : number of cosines.
        wavelengths : shortest and longest, fractions of the box.
        """
        # normalised normal vectors are uniform on the sphere
        directions = rng.normal(size=(modes, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = rng.uniform(*wavelengths, size=(modes, 1))
        return cls(2 * np.pi / lengths * directions, rng.uniform(0, 2 * np.pi, modes))

    def at(self, point: Vector) -> float:
        """Evaluate the wave at one point.

        Parameters
        ----------
        point : (z, y, x), fractions of the box.
        """
        return float(self._amplitude * np.cos(self.wave_vectors @ point + self.phases).sum())

    def at_points(self, points: Vector) -> tuple[Vector, Vector]:
        """Evaluate the wave and its gradient at points.

        Parameters
        ----------
        points : (point, 3), fractions of the box.

        Returns
        -------
        tuple of array : values (point,), and gradients per box edge (point, 3).
        """
        angles = points @ self.wave_vectors.T + self.phases
        value = self._amplitude * np.cos(angles).sum(axis=-1)
        return value, -self._amplitude * np.sin(angles) @ self.wave_vectors

    def on_grid(self, z: Array, y: Array, x: Array) -> tuple[Array, Array]:
        """Evaluate the wave and the length of its gradient on a grid.

        cos(a + b) = cos a cos b - sin a sin b with a of (z, y) and b of x alone turns the sum over
        modes into matrix products.

        Parameters
        ----------
        z, y, x : open axes of the grid, (z, 1, 1), (1, y, 1) and (1, 1, x), fractions of the box.

        Returns
        -------
        tuple of array : value, and gradient per box edge, each (z, y, x), float32.
        """
        # a has (z, y, mode) entries and b (mode, x): far fewer cosines than voxels times modes
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
    """The part of an ellipsoid about the origin in which a wave exceeds a level.

    Parameters
    ----------
    wave : the random field.
    level : threshold, in standard deviations of the field.
    semi_axes : of the ellipsoid along (z, y, x), fractions of the box.
    centre : of the ellipsoid and origin of the wave, (z, y, x), fractions of the box.
    """

    wave: RandomWave
    level: float
    semi_axes: Vector
    centre: Vector = field(default_factory=lambda: np.zeros(3))

    def coverage(self, z: Array, y: Array, x: Array, width: float) -> Array:
        """See :class:`Shape`; distances to first order, value over gradient."""
        cz, cy, cx = self.centre.astype(np.float32)
        z, y, x = z - cz, y - cy, x - cx
        value, steepness = self.wave.on_grid(z, y, x)
        value -= np.float32(self.level)
        value /= -np.maximum(steepness, _FLAT)
        share: Array = ramp(value, width) * ramp(self._to_envelope(z, y, x), width)
        return share

    def bounds(self) -> tuple[Vector, Vector]:
        """See :class:`Shape`."""
        return self.centre - self.semi_axes, self.centre + self.semi_axes

    def holds(self, point: Vector) -> bool:
        """Check whether a point lies in the solid.

        Parameters
        ----------
        point : (z, y, x), fractions of the box.
        """
        # the envelope first: it is cheaper than the wave
        point = point - self.centre
        inside = float(np.linalg.norm(point / self.semi_axes)) < 1
        return inside and self.wave.at(point) > self.level

    def to_surface(self, points: Vector) -> tuple[Vector, Vector]:
        """Move points near the walls of the pores onto them, to second order.

        Parameters
        ----------
        points : (point, 3), fractions of the box.

        Returns
        -------
        tuple of array : the points on the walls, and the normals into the pores, (point, 3).
        """
        normals = np.zeros_like(points)
        for _ in range(2):
            value, slope = self.wave.at_points(points - self.centre)
            steepness = np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), _FLAT)
            normals = -slope / steepness
            points = points + (value - self.level)[:, None] / steepness * normals
        return points, normals

    def _to_envelope(self, z: Array, y: Array, x: Array) -> Array:
        """Signed distance to the ellipsoid, to first order: exact in sign and on the surface."""
        # distance ≈ f / |grad f| for f = |p / semi-axes| - 1
        az, ay, ax = self.semi_axes.astype(np.float32)
        reach = np.sqrt((z / az) ** 2 + (y / ay) ** 2 + (x / ax) ** 2)
        slope = np.sqrt((z / az**2) ** 2 + (y / ay**2) ** 2 + (x / ax**2) ** 2)
        distance: Array = reach * (reach - np.float32(1)) / np.maximum(slope, _FLAT)
        return distance
