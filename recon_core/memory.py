"""Memory of a fused solve, from sizes alone, and whether a device has it.

Counted in float32 volumes of (z, y, x), V, with E elements, and R bytes of chemical projections.
The peak is reached where a solve starts from half the resolution, with the arrays of the coarse one
still there and the curvature of the chemical term being bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from recon_core.device import Device
from recon_core.errors import BadInput

FLOAT = 4
ITERATES = 4  # volumes, spare, point, slope of every element
DUALS = 3  # components of the TV dual of every element
SPLIT = 5  # u, multiplier, contrast, residual, image
FILTER = 6  # direction, spectra before and after each axis, and what cuFFT works in
BOUNDING = 3  # projections at once in a power iteration
DOUBLING = 1  # what interpolation to half the voxel edge holds beside its result
COARSE = 8  # voxels of the fine grid in one of the coarse
COARSE_RAYS = 4
GIB = 2**30


@dataclass(frozen=True)
class SolveSize:
    """What decides the memory: ``shape`` (element, z, y, x), tilts, trials solved together.

    ``dual_bytes`` of a stored number of the TV dual.
    """

    shape: tuple[int, int, int, int]
    haadf_tilts: int
    chemical_tilts: int
    batch: int = 1
    dual_bytes: int = FLOAT

    @property
    def specimen_bytes(self) -> int:
        """The volumes of all elements, once."""
        return self.shape[0] * self.volume_bytes

    @property
    def iterate_bytes(self) -> int:
        """What the iteration keeps of every element, the TV dual included."""
        return (ITERATES * FLOAT + DUALS * self.dual_bytes) * self.specimen_bytes // FLOAT

    @property
    def volume_bytes(self) -> int:
        """One volume (z, y, x)."""
        _, z, y, x = self.shape
        return FLOAT * z * y * x

    @property
    def haadf_bytes(self) -> int:
        """One HAADF projection per tilt."""
        return FLOAT * self.haadf_tilts * self.shape[2] * self.shape[3]

    @property
    def chemical_bytes(self) -> int:
        """One chemical projection per tilt of every element."""
        elements, _, y, x = self.shape
        return FLOAT * elements * self.chemical_tilts * y * x


def fused_bytes(size: SolveSize) -> int:
    """Bytes on the device at the peak of a fused solve with HAADF and TV."""
    return _shared_bytes(size) + size.batch * _trial_bytes(size)


def check_fits(size: SolveSize, device: Device) -> None:
    """Refuse a solve that is larger than the free memory of ``device``, before it allocates.

    Raises
    ------
    BadInput : it does not fit; the line names what is needed, what is free and the largest batch.
    """
    free = device.free_bytes()
    needed = fused_bytes(size)
    if needed <= free:
        return
    largest = max(0, (free - _shared_bytes(size)) // _trial_bytes(size))
    raise BadInput(
        f"needs {needed / GIB:.3g} GiB of memory at {'x'.join(map(str, size.shape[1:]))} voxels x "
        f"{size.shape[0]} elements; {free / GIB:.3g} GiB are free on {device.name}",
        key="batch",
        value=size.batch,
        accepted=f"at most {largest} trials at once" if largest else "a smaller volume",
    )


def _shared_bytes(size: SolveSize) -> int:
    """Counts of every channel, here and half as fine, and the preconditioner, (z, y // 2 + 1)."""
    _, z, y, _ = size.shape
    counts = size.chemical_bytes + size.haadf_bytes
    return counts + counts // COARSE_RAYS + FLOAT * z * (y // 2 + 1)


def _trial_bytes(size: SolveSize) -> int:
    iterates = size.iterate_bytes + size.chemical_bytes
    split = SPLIT * size.volume_bytes + size.haadf_bytes
    bounding = size.specimen_bytes + BOUNDING * size.chemical_bytes
    step = split + max(FILTER * size.volume_bytes, bounding)
    start = size.specimen_bytes + bounding + DOUBLING * size.volume_bytes
    return iterates + max(step, start + _coarse_bytes(size))


def _coarse_bytes(size: SolveSize) -> int:
    """What the solve at half the resolution holds until the fine one has started."""
    volumes = size.iterate_bytes + SPLIT * size.volume_bytes
    rays = size.chemical_bytes + size.haadf_bytes
    return volumes // COARSE + rays // COARSE_RAYS
