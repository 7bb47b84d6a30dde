"""Solids with a signed distance: spheres, cubes, rods and plates of any orientation.

All of them are one shape, a box with rounded edges, which has an exact distance, shrinks to the
core below a shell, and whose separation from another is a small least-squares problem. Positions
are (z, y, x) in fractions of the box edge, the origin at its centre.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from .shapes import Array, Vector, ramp

Points = NDArray[np.floating[Any]]
_STEP = 1e-5
"""Step of the differences that give a surface's normal, fractions of the box."""


@dataclass(frozen=True, eq=False)
class RoundedBox:
    """All points within ``radius`` of a box: a sphere if the box is a point, a rod if it is a line.

    Parameters
    ----------
    centre : (z, y, x), fractions of the box.
    axes : unit vectors of the edges, one per row, (3, 3).
    halves : half the edges of the inner box, (3,), >= 0.
    radius : of the rounding, >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> rod = RoundedBox(np.zeros(3), np.eye(3), np.array([0.0, 0.0, 0.2]), 0.1)
    >>> float(rod.distance(np.zeros(1), np.zeros(1), np.array([0.5]))[0].round(6))
    0.2
    """

    centre: Vector
    axes: Vector
    halves: Vector
    radius: float

    def distance(self, z: Points, y: Points, x: Points) -> Array:
        """Compute the signed distance to the surface, negative inside.

        Parameters
        ----------
        z, y, x : of the points, broadcastable, fractions of the box.

        Returns
        -------
        array : of the broadcast shape, in the precision of the points.
        """
        kind: Any = np.result_type(z, y, x)
        cz, cy, cx = self.centre.astype(kind)
        across: Array = np.zeros((), kind)
        nearest: Array = np.full((), -np.inf, kind)
        for (az, ay, ax), half in zip(
            self.axes.astype(kind), self.halves.astype(kind), strict=True
        ):
            outside = np.abs((az * (z - cz) + ay * (y - cy)) + ax * (x - cx)) - half
            nearest = np.maximum(nearest, outside)
            across = across + np.maximum(outside, 0) ** 2
        found: Array = np.sqrt(across) + np.minimum(nearest, 0)
        found -= kind.type(self.radius)
        return found

    def coverage(self, z: Array, y: Array, x: Array, width: float) -> Array:
        """See :class:`tomoatlas.phantoms.shapes.Shape`; the ramp of the distance."""
        return ramp(self.distance(z, y, x), width)

    def bounds(self) -> tuple[Vector, Vector]:
        """See :class:`tomoatlas.phantoms.shapes.Shape`."""
        reach = self.halves @ np.abs(self.axes) + self.radius
        return self.centre - reach, self.centre + reach

    @property
    def outer(self) -> float:
        """Radius of the smallest ball about the centre that holds the solid."""
        return float(np.linalg.norm(self.halves)) + self.radius

    @property
    def inner(self) -> float:
        """Radius of the largest ball about the centre inside the solid."""
        return float(self.halves.min()) + self.radius

    @property
    def volume(self) -> float:
        """Volume, fractions of the box's: Steiner's formula for all points within ``radius``."""
        a, b, c = 2 * self.halves
        r = self.radius
        edges, faces = a + b + c, a * b + b * c + c * a
        return float(a * b * c + 2 * faces * r + np.pi * edges * r**2 + 4 / 3 * np.pi * r**3)

    def corners(self) -> Vector:
        """Return the corners of the inner box, (corner, 3)."""
        signs = 2.0 * np.array(list(np.ndindex(2, 2, 2))) - 1.0
        corners: Vector = self.centre + signs * self.halves @ self.axes
        return corners

    def shrunk(self, depth: float) -> RoundedBox | None:
        """Return the solid of all points at least so deep inside; None if there are none.

        Parameters
        ----------
        depth : fraction of the box, >= 0.
        """
        if depth >= self.inner:
            return None
        # The rounding goes first; only then does the box get smaller. So the core is exact.
        rounding = min(depth, self.radius)
        return replace(self, halves=self.halves - (depth - rounding), radius=self.radius - rounding)

    def grown(self, by: float) -> RoundedBox:
        """Return the solid of all points at most so far from this one.

        Parameters
        ----------
        by : fraction of the box, >= 0.
        """
        return replace(self, radius=self.radius + by)

    def moved(self, centre: Vector) -> RoundedBox:
        """Return the same solid elsewhere.

        Parameters
        ----------
        centre : (z, y, x), fractions of the box.
        """
        return replace(self, centre=centre)

    def apart(self, other: RoundedBox) -> float:
        """Compute how far two solids are from each other, negative only where both are round.

        The nearest points of the two inner boxes solve a least-squares problem with bounds.

        Parameters
        ----------
        other : the other solid.

        Returns
        -------
        float : fraction of the box; of overlapping solids at most 0.
        """
        # Points of the inner boxes are c + Σ t h e with -1 <= t <= 1 along each edge: the
        # difference of two is linear in all six t, and its least norm is the distance. Edges of
        # length 0 have no t.
        edges = np.concatenate([self.axes, -other.axes])
        halves = np.concatenate([self.halves, other.halves])
        free = halves > 0
        between = other.centre - self.centre
        nearest = np.linalg.norm(between)
        if free.any():
            matrix = (edges[free] * halves[free, None]).T
            found = lsq_linear(matrix, between, (-1.0, 1.0), method="bvls")
            nearest = np.linalg.norm(found.fun)
        return float(nearest) - self.radius - other.radius

    def clear_of(self, other: RoundedBox, gap: float) -> bool:
        """Check whether two solids are further apart than a gap.

        Parameters
        ----------
        other : the other solid.
        gap : least distance, fraction of the box, >= 0.
        """
        centres = float(np.linalg.norm(other.centre - self.centre))
        # balls about and inside the two settle most pairs
        if centres >= self.outer + other.outer + gap:
            return True
        if centres < self.inner + other.inner + gap:
            return False
        # Bodies that touch, as in a dense lattice, must not overlap by rounding.
        return self.apart(other) >= gap - 1e-9

    def to_surface(self, points: Vector) -> tuple[Vector, Vector]:
        """Move points near the surface onto it.

        Parameters
        ----------
        points : (point, 3), fractions of the box.

        Returns
        -------
        tuple of array : the points on the surface, and the outward normals there, (point, 3).
        """

        def at(shifted: Vector) -> NDArray[np.float64]:
            return np.asarray(self.distance(*shifted.T), np.float64)

        steps = _STEP * np.eye(3)
        slopes = np.stack([at(points + s) - at(points - s) for s in steps], axis=-1)
        normals = slopes / np.maximum(np.linalg.norm(slopes, axis=-1, keepdims=True), 1e-12)
        return points - at(points)[:, None] * normals, normals
