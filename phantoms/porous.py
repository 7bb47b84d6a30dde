"""A porous solid: a level cut of a random wave inside an ellipsoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phantoms.shapes import Array, Vector, ramp

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
        """See :class:`phantoms.shapes.Shape`; distances to first order, value over gradient."""
        value, steepness = self.wave.on_grid(z, y, x)
        value -= np.float32(self.level)
        value /= -np.maximum(steepness, _FLAT)
        share: Array = ramp(value, width) * ramp(self._to_envelope(z, y, x), width)
        return share

    def bounds(self) -> tuple[Vector, Vector]:
        """See :class:`phantoms.shapes.Shape`."""
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
