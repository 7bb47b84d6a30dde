"""Single-axis tilt geometry, and where the images of a measured series lie in it.

The conventions of the whole project: volumes are ``(element, z, y, x)`` or ``(z, y, x)``,
projections ``(angle, y, x)``; x is the tilt axis, last and contiguous, so every slice across it is
crossed by the same rays. z is the beam direction at 0 degrees. Angles are in degrees, lengths in
nm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .errors import BadInput

Shifts = tuple[tuple[float, float], ...]
TiltScheme = Literal["equal-angle", "equal-slope", "saxton", "golden-angle"]

MOST_ROTATION = 45.0  # degrees: beyond, the tilt axis is rather y
EDGE_ON = 0.01  # least cosine of a tilt: a film seen edge-on is not infinitely thick


@dataclass(frozen=True)
class Placement:
    """Where the images of one modality lie: shifts, and the tilt axis in them.

    A recorded image is the projection about x through the middle of the field, turned by the
    rotation about the middle, then shifted. The projector carries it; images are not resampled.

    Parameters
    ----------
    shifts : of each image, (angle, (y, x)), pixels; empty means none.
    axis_offset : y by which all images are shifted besides, pixels: where the axis lies.
    rotation_deg : of the tilt axis in the images, from x towards y, degrees.

    Examples
    --------
    >>> Placement(((0.0, 0.0), (0.0, 0.0))).is_still
    True
    >>> Placement(((0.5, 0.0),), axis_offset=3.0).across(0)
    3.5
    """

    shifts: Shifts = ()
    axis_offset: float = 0.0
    rotation_deg: float = 0.0

    @property
    def is_still(self) -> bool:
        """Whether the images lie where the geometry alone puts them."""
        return not (self.axis_offset or self.rotation_deg or np.any(self.shifts))

    @property
    def mixes_slices(self) -> bool:
        """Whether a row of pixels across the tilt axis sees more than one slice."""
        return bool(self.rotation_deg) or any(x for _, x in self.shifts)

    @property
    def direction(self) -> tuple[float, float]:
        """Cosine and sine of the rotation, 1 and 0 exactly without one."""
        turn = np.deg2rad(self.rotation_deg)
        return float(np.cos(turn)), float(np.sin(turn))

    def across(self, angle: int) -> float:
        """Return the shift of an image across the tilt axis, pixels.

        Parameters
        ----------
        angle : index of the tilt.
        """
        y, x = self._shift(angle)
        cosine, sine = self.direction
        return y * cosine - x * sine

    def along(self, angle: int) -> float:
        """Return the shift of an image along the tilt axis, pixels.

        Parameters
        ----------
        angle : index of the tilt.
        """
        y, x = self._shift(angle)
        cosine, sine = self.direction
        return x * cosine + y * sine

    def of_each(self, images: int) -> Shifts:
        """Return the shift (y, x) of every image, pixels, beside the offset of the axis.

        Parameters
        ----------
        images : how many there are.
        """
        return self.shifts or ((0.0, 0.0),) * images

    def recorded(self, places: NDArray[np.float64], angle: int) -> NDArray[np.float64]:
        """Return where an image shows what the geometry alone puts at some places.

        Parameters
        ----------
        places : (y, x) from the middle of the field, (2, place), pixels.
        angle : index of the tilt.
        """
        found: NDArray[np.float64] = self._turn @ places + np.array(self._shift(angle))[:, None]
        return found

    def unplaced(self, places: NDArray[np.float64], angle: int) -> NDArray[np.float64]:
        """Return where the geometry alone puts what an image shows at some places.

        Parameters
        ----------
        places : (y, x) from the middle of the image, (2, place), pixels.
        angle : index of the tilt.

        Examples
        --------
        >>> placement, places = Placement(axis_offset=2.0, rotation_deg=3.0), np.eye(2)
        >>> np.allclose(placement.unplaced(placement.recorded(places, 0), 0), places)
        True
        """
        found: NDArray[np.float64] = self._turn.T @ (places - np.array(self._shift(angle))[:, None])
        return found

    def binned(self) -> Placement:
        """Return the placement on pixels of twice the edge."""
        halves = tuple((y / 2, x / 2) for y, x in self.shifts)
        return replace(self, shifts=halves, axis_offset=self.axis_offset / 2)

    def of(self, tilts: Sequence[int]) -> Placement:
        """Return the placement of some of the images.

        Parameters
        ----------
        tilts : indices of the images, in their new order.
        """
        return replace(self, shifts=tuple(self.shifts[i] for i in tilts) if self.shifts else ())

    def centred(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Move images to where the geometry alone puts them, by the nearest pixel.

        Parameters
        ----------
        images : as recorded, (angle, y, x).
        """
        if self.is_still:
            return images
        moved = np.empty_like(images)
        middle, turn = (np.array(images.shape[1:]) - 1) / 2, self._turn
        for i, image in enumerate(images):
            # the pixel of the recorded image that shows what belongs here
            offset = middle - turn @ middle + np.array(self._shift(i))
            moved[i] = ndimage.affine_transform(image, turn, offset, order=0, mode="nearest")
        return moved

    def check(self, angles: int, key: str) -> None:
        """Check that there is a finite shift for each image, and that the axis is near x.

        Parameters
        ----------
        angles : number of tilts.
        key : of the modality, ``haadf`` or ``chemical``.

        Raises
        ------
        BadInput : naming the dataset or attribute.
        """
        shape = np.shape(self.shifts)
        if self.shifts and (shape != (angles, 2) or not np.isfinite(self.shifts).all()):
            raise BadInput(
                "no shift for each projection",
                key=f"{key}/shifts",
                value=shape,
                accepted=f"finite numbers ({angles}, 2): (y, x) of every tilt, pixels",
            )
        if not np.isfinite(self.axis_offset):
            raise BadInput("not a length", key=f"{key}.attrs[axis_offset]", value=self.axis_offset)
        if not abs(self.rotation_deg) <= MOST_ROTATION:
            raise BadInput(
                "the tilt axis is not near x",
                key=f"{key}.attrs[rotation_deg]",
                value=self.rotation_deg,
                accepted=f"-{MOST_ROTATION:g} to {MOST_ROTATION:g}; turn the images by 90° first",
            )

    @property
    def _turn(self) -> NDArray[np.float64]:
        """Matrix by which the recorded images are turned, of (y, x)."""
        cosine, sine = self.direction
        return np.array([[cosine, sine], [-sine, cosine]])

    def _shift(self, angle: int) -> tuple[float, float]:
        y, x = self.shifts[angle] if self.shifts else (0.0, 0.0)
        return y + self.axis_offset, x


STILL = Placement()


@dataclass(frozen=True)
class Mask:
    """Pixels of a series of projections that count; hashable, as a part of a geometry.

    Parameters
    ----------
    shape : (angle, y, x).
    bits : of the pixels in C order, as :func:`numpy.packbits` packs them.

    Examples
    --------
    >>> mask = Mask.of(np.array([[[True, False]]]))
    >>> mask.array().tolist(), mask.left_out
    ([[[True, False]]], 1)
    """

    shape: tuple[int, int, int]
    bits: bytes

    @classmethod
    def of(cls, good: NDArray[np.bool_]) -> Mask:
        """Build the mask of an array.

        Parameters
        ----------
        good : True where a pixel counts, (angle, y, x).
        """
        angles, y, x = good.shape
        return cls((angles, y, x), np.packbits(good).tobytes())

    def array(self) -> NDArray[np.bool_]:
        """Return the mask as an array, (angle, y, x)."""
        packed = np.frombuffer(self.bits, np.uint8)
        count = self.shape[0] * self.shape[1] * self.shape[2]
        return np.unpackbits(packed, count=count).reshape(self.shape).astype(np.bool_)

    def of_tilts(self, tilts: Sequence[int]) -> Mask:
        """Return the mask of some of the images.

        Parameters
        ----------
        tilts : indices of the images, in their new order.
        """
        return Mask.of(self.array()[list(tilts)])

    def seen_tilts(self) -> list[int]:
        """Return the indices of the images that have a good pixel."""
        return [int(i) for i in np.flatnonzero(self.array().any(axis=(1, 2)))]

    @property
    def left_out(self) -> int:
        """Number of pixels that do not count."""
        return int((~self.array()).sum())


@dataclass(frozen=True)
class TiltGeometry:
    """Parallel-beam tilts about x of a slice (z, y).

    The detector has one pixel per voxel along y; pixel and voxel have unit length, so a projection
    is the sum of the voxels along a ray, in voxel lengths.

    Parameters
    ----------
    angles_deg : tilt angles, (angle,), degrees, within ±90.
    shape : voxels of the slice, (z, y).
    placement : shifts of the images and the axis in them.
    mask : pixels that are projected; the others are 0. None means all.

    Raises
    ------
    BadInput : no angle, an angle not finite or beyond ±90 degrees, an empty slice, shifts or a mask
        of other tilts.

    Examples
    --------
    >>> geometry = TiltGeometry(angles_deg=(-60.0, 0.0, 60.0), shape=(64, 64))
    >>> geometry.angles
    3
    """

    angles_deg: tuple[float, ...]
    shape: tuple[int, int]
    placement: Placement = STILL
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if not self.angles_deg:
            raise BadInput("no tilt angles", key="angles_deg", value=[], accepted="one or more")
        check_angles(self.angles_deg, "angles_deg")
        if min(self.shape) < 1:
            raise BadInput("empty slice", key="shape", value=self.shape, accepted="(z, y) >= 1")
        self.placement.check(self.angles, "geometry")
        if self.placement.is_still:  # zero shifts are none: the same projector, hence the same bits
            object.__setattr__(self, "placement", STILL)
        if self.mask is not None and self.mask.shape[:2] != (self.angles, self.shape[1]):
            expected = (self.angles, self.shape[1], "x")
            raise BadInput("wrong shape", key="mask", value=self.mask.shape, accepted=str(expected))

    @property
    def angles(self) -> int:
        """Number of tilts."""
        return len(self.angles_deg)

    def of(self, tilts: Sequence[int]) -> TiltGeometry:
        """Return the geometry of some of the tilts.

        Parameters
        ----------
        tilts : indices of the tilts, in their new order.
        """
        angles = tuple(self.angles_deg[i] for i in tilts)
        mask = None if self.mask is None else self.mask.of_tilts(tilts)
        return TiltGeometry(angles, self.shape, self.placement.of(tilts), mask)

    @property
    def mixes_slices(self) -> bool:
        """Whether projections along x are more than the same matrix for every slice."""
        return self.mask is not None or self.placement.mixes_slices

    @property
    def still(self) -> TiltGeometry:
        """The same tilts of images that all lie in the middle."""
        return TiltGeometry(self.angles_deg, self.shape)


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


def tilt_angles(
    count: int, tilt_range_deg: tuple[float, float], scheme: TiltScheme = "equal-angle"
) -> tuple[float, ...]:
    """Choose the tilt angles of a scheme, in the order in which they are acquired.

    ``equal-slope`` spaces tan θ equally up to ±45° and cot θ beyond (Miao, Förster and Levi, Phys.
    Rev. B 72, 052103 (2005)); ``saxton`` makes steps proportional to cos θ, as the path through a
    slab asks for (Saxton, Baumeister and Hahn, Ultramicroscopy 13, 57 (1984)), in the limit of
    small steps; ``golden-angle`` goes on by the golden section of the range, so that every
    beginning of it is spread evenly (Köhler, IEEE Nucl. Sci. Symp. 2004, 3961).

    Parameters
    ----------
    count : number of tilts; a single one of a scheme that has both ends is in their middle.
    tilt_range_deg : lowest and highest angle, degrees; for ``saxton`` within ±90, exclusive.
    scheme : which.

    Returns
    -------
    tuple of float : angles, degrees; rising but for ``golden-angle``.

    Examples
    --------
    >>> [round(angle, 1) for angle in tilt_angles(5, (-60.0, 60.0), "saxton")]
    [-60.0, -35.3, 0.0, 35.3, 60.0]
    >>> [round(angle, 1) for angle in tilt_angles(5, (-60.0, 60.0), "golden-angle")]
    [-60.0, 14.2, -31.7, 42.5, -3.3]
    """
    low, high = tilt_range_deg
    if scheme == "golden-angle":
        section = (np.sqrt(5) - 1) / 2
        return tuple(float(low + (high - low) * (i * section % 1)) for i in range(count))
    if scheme == "equal-angle" or count < 2:
        return spaced_tilts(count, tilt_range_deg)
    to, back = _SPACED[scheme]
    first, last = to(np.deg2rad(np.array([low, high])))
    angles = back(np.linspace(first, last, count))
    # the ends as they were asked for, to the last digit
    return (low, *(float(angle) for angle in np.rad2deg(angles[1:-1])), high)


def _slope(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continue tan θ beyond 45° by the cotangent: equal steps of it are equal slopes."""
    steep = np.abs(angle) > np.pi / 4
    cotangent = np.sign(angle) * (2 - 1 / np.tan(np.where(steep, np.abs(angle), 1.0)))
    return np.where(steep, cotangent, np.tan(np.where(steep, 0.0, angle)))


def _from_slope(slope: NDArray[np.float64]) -> NDArray[np.float64]:
    steep = np.abs(slope) > 1
    angle = np.sign(slope) * (np.pi / 2 - np.arctan(2 - np.abs(slope)))
    return np.where(steep, angle, np.arctan(slope))


def _integral_of_secant(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.arcsinh(np.tan(angle)))


def _from_integral(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.arctan(np.sinh(value)))


_SPACED = {
    "equal-slope": (_slope, _from_slope),
    "saxton": (_integral_of_secant, _from_integral),
}
"""Scheme → what it spaces equally, as a function of the angle, and the inverse."""


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
