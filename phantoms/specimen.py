"""The specimen: concentrations of every element on a voxel grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..recon_core.errors import BadInput
from ..recon_core.tiltseries import atomic_numbers, check_length

Array = NDArray[np.float32]
LAYOUT = "(element, z, y, x)"
MOST_CONCENTRATION = 1e15  # sums of their squares fit a float32


@dataclass(frozen=True)
class Specimen:
    """Concentrations of the elements of one specimen; x is the tilt axis, z the beam.

    Parameters
    ----------
    volumes : concentrations, (element, z, y, x), float32, >= 0.
    elements : chemical symbols, in the order of ``volumes``.
    voxel_size_nm : edge of a voxel, nm.
    name : for titles and records.

    Raises
    ------
    BadInput : a volume that is not 4D, has one voxel along z and y, holds NaN or negative values,
        an element without a voxel, symbols missing, doubled or unknown, an element axis that is not
        first.

    Examples
    --------
    >>> import numpy as np
    >>> specimen = Specimen(np.ones((2, 8, 8, 4), np.float32), ("Co", "O"), voxel_size_nm=0.5)
    >>> specimen.shape, specimen.atomic_numbers
    ((8, 8, 4), (27, 8))
    """

    volumes: Array
    elements: tuple[str, ...]
    voxel_size_nm: float
    name: str = "specimen"

    def __post_init__(self) -> None:
        check_volumes(self.volumes, self.elements, self.voxel_size_nm)
        # frozen: the one place where a field is normalised
        object.__setattr__(self, "volumes", np.ascontiguousarray(self.volumes, dtype=np.float32))
        for element, volume in zip(self.elements, self.volumes, strict=True):
            # no score is defined for it
            if not volume.any():
                raise BadInput(
                    "an element without a voxel",
                    key="volumes",
                    value=element,
                    accepted="every element present somewhere",
                )

    @property
    def atomic_numbers(self) -> tuple[int, ...]:
        """Atomic number of each element, (element,)."""
        return atomic_numbers(self.elements)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        z, y, x = self.volumes.shape[1:]
        return z, y, x


def in_square_field(volumes: Array) -> Array:
    """Pad volumes with vacuum so that z and y have the same length.

    A specimen thicker than wide would leave the field of view when tilted, and the slice that is
    reconstructed from a detector of y pixels is y voxels thick.

    Parameters
    ----------
    volumes : (element, z, y, x).

    Returns
    -------
    array : ``volumes`` itself if z and y agree, else a copy with the specimen in the middle.

    Examples
    --------
    >>> import numpy as np
    >>> in_square_field(np.ones((1, 2, 6, 3))).shape
    (1, 6, 6, 3)
    """
    edge = max(volumes.shape[1:3])
    missing = [edge - side for side in volumes.shape[1:3]]
    if not any(missing):
        return volumes
    # in the middle, an odd voxel behind
    around = [(count // 2, count - count // 2) for count in missing]
    return np.pad(volumes, [(0, 0), *around, (0, 0)])


def check_volumes(volumes: Array, elements: tuple[str, ...], voxel_size_nm: float) -> None:
    """Check that volumes can be concentrations of some elements.

    Parameters
    ----------
    volumes : to be (element, z, y, x), finite, >= 0.
    elements : chemical symbols, one per volume.
    voxel_size_nm : edge of a voxel, nm.

    Raises
    ------
    BadInput : see :class:`Specimen`; an element that is zero everywhere passes here.
    """
    atomic_numbers(elements)
    if not elements or len(set(elements)) != len(elements):
        raise BadInput(
            "elements missing or doubled",
            key="elements",
            value=list(elements),
            accepted="one or more different symbols",
        )
    check_length(voxel_size_nm)
    _check_axes(volumes.shape, elements)
    _check_values(volumes)


def _check_axes(shape: tuple[int, ...], elements: tuple[str, ...]) -> None:
    names = ", ".join(elements)
    # A single line along the tilt axis looks alike at every angle.
    if len(shape) != 4 or 0 in shape or max(shape[1:3]) < 2:
        accepted = f"{LAYOUT}, not empty, two voxels along z or y"
        raise BadInput("wrong shape", key="volumes", value=shape, accepted=accepted)
    if shape[0] == len(elements):
        return
    problem = "wrong number of elements"
    # the likeliest mistake, an element axis that is last, is named as such
    if len(elements) in shape:
        problem = f"wrong axis order, the elements lie along axis {shape.index(len(elements))}"
    raise BadInput(
        problem, key="volumes", value=shape, accepted=f"{LAYOUT}, {len(elements)} first for {names}"
    )


def _check_values(volumes: Array) -> None:
    if not np.isfinite(volumes).all():
        raise BadInput("holds NaN or infinity", key="volumes", accepted="finite concentrations")
    lowest, highest = float(volumes.min()), float(volumes.max())
    if highest > MOST_CONCENTRATION:
        raise BadInput(
            "not a concentration",
            key="volumes",
            value=highest,
            accepted=f"0 to {MOST_CONCENTRATION:g}",
        )
    if lowest < 0:
        raise BadInput(
            "holds negative concentrations", key="volumes", value=lowest, accepted=">= 0"
        )
