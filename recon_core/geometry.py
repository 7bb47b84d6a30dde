"""Single-axis tilt geometry.

The conventions of the whole project: volumes are ``(element, z, y, x)`` or ``(z, y, x)``,
projections ``(angle, y, x)``; x is the tilt axis, last and contiguous, so every slice across it is
crossed by the same rays. z is the beam direction at 0 degrees. Angles are in degrees, lengths in
nm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput

EDGE_ON = 0.01  # least cosine of a tilt: a film seen edge-on is not infinitely thick


@dataclass(frozen=True)
class TiltGeometry:
    """Parallel-beam tilts about x of a slice (z, y).

    The detector has one pixel per voxel along y; pixel and voxel have unit length, so a projection
    is the sum of the voxels along a ray, in voxel lengths.

    Parameters
    ----------
    angles_deg : tilt angles, (angle,), degrees, within ±90.
    shape : voxels of the slice, (z, y).

    Raises
    ------
    BadInput : no angle, an angle not finite or beyond ±90 degrees, an empty slice.

    Examples
    --------
    >>> geometry = TiltGeometry(angles_deg=(-60.0, 0.0, 60.0), shape=(64, 64))
    >>> geometry.angles
    3
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
    """Check that all angles are finite and within ±90 degrees.

    Parameters
    ----------
    angles_deg : tilt angles, degrees.
    key : what the error calls them.

    Raises
    ------
    BadInput : naming ``key`` and the first offending angle.
    """
    for angle in angles_deg:
        # also False for NaN
        if not -90.0 <= angle <= 90.0:
            raise BadInput("tilt beyond +-90 degrees", key=key, value=angle, accepted="-90 to 90")


def spaced_tilts(count: int, tilt_range_deg: tuple[float, float]) -> tuple[float, ...]:
    """Space tilt angles equally over a range, both ends included.

    Parameters
    ----------
    count : number of tilts; a single one lies in the middle of the range, 0 gives none.
    tilt_range_deg : lowest and highest angle, degrees.

    Returns
    -------
    tuple of float : angles, degrees, rising.

    Examples
    --------
    >>> spaced_tilts(3, (-70.0, 70.0))
    (-70.0, 0.0, 70.0)
    >>> spaced_tilts(1, (-10.0, 70.0))
    (30.0,)
    """
    # linspace puts a single tilt at the low end
    low, high = tilt_range_deg
    if count == 1:
        return (0.5 * (low + high),)
    return tuple(float(angle) for angle in np.linspace(low, high, count))


def film_thickness(angles_deg: tuple[float, ...]) -> NDArray[np.float64]:
    """Compute the path of the beam through a film, in its thickness.

    Parameters
    ----------
    angles_deg : tilt angles, degrees.

    Returns
    -------
    array : (angle,), 1 at 0 degrees.

    Examples
    --------
    >>> film_thickness((0.0, 60.0)).round(6).tolist()
    [1.0, 2.0]
    """
    cosines = np.cos(np.deg2rad(np.asarray(angles_deg, np.float64)))
    return np.asarray(1.0 / np.maximum(cosines, EDGE_ON), np.float64)
