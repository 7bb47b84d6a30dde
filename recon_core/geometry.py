"""Single-axis tilt geometry.

The conventions of the whole project: volumes are ``(element, z, y, x)`` or ``(z, y, x)``,
projections ``(angle, y, x)``; x is the tilt axis, last and contiguous, so every slice across it
sees the same rays. z is the beam direction at 0 degrees. Angles are degrees, lengths nm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import BadInput


@dataclass(frozen=True)
class TiltGeometry:
    """Parallel-beam tilts about x of a slice of ``shape = (z, y)`` voxels.

    The detector has one pixel per voxel along y; pixel and voxel have unit length, so a projection
    is the sum of the voxels along a ray (mean-preserving, in voxel lengths).

    Raises
    ------
    BadInput : no angle, an angle not finite or beyond +-90 degrees, an empty slice.
    """

    angles_deg: tuple[float, ...]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if not self.angles_deg:
            raise BadInput("no tilt angles", key="angles_deg", value=[], accepted="one or more")
        check_angles(self.angles_deg, "angles_deg")
        if min(self.shape) < 1:
            raise BadInput("empty slice", key="shape", value=self.shape, accepted="(z, y) >= 1")

    @property
    def angles(self) -> int:
        """Number of tilts."""
        return len(self.angles_deg)


def check_angles(angles_deg: tuple[float, ...], key: str) -> None:
    """Refuse angles that are not finite or beyond +-90 degrees.

    Raises
    ------
    BadInput : naming ``key`` and the first such angle.
    """
    for angle in angles_deg:
        if not -90.0 <= angle <= 90.0:
            raise BadInput("tilt beyond +-90 degrees", key=key, value=angle, accepted="-90 to 90")


def spaced_tilts(count: int, tilt_range_deg: tuple[float, float]) -> tuple[float, ...]:
    """``count`` equally spaced angles in degrees, both ends included; one alone in the middle."""
    low, high = tilt_range_deg
    if count == 1:
        return (0.5 * (low + high),)
    return tuple(float(angle) for angle in np.linspace(low, high, count))
