"""Memory of a solve, from sizes alone, and whether a device has it.

A fused solve is largest where it starts from half the resolution, with the arrays of the coarse
one still there and the curvature of the chemical term being bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from recon_core.device import Device
from recon_core.errors import BadInput
from recon_core.settings import Method

FLOAT = 4
ITERATES = 4  # volumes, spare, point, slope of every element
DUALS = 3  # components of the TV dual of every element
SPLIT = 5  # u, multiplier, contrast, residual, image
FILTER = 6  # direction, spectra before and after each axis, and what cuFFT works in
BOUNDING = 3  # projections at once in a power iteration
DOUBLING = 1  # what interpolation to half the voxel edge holds beside its result
COARSE = 8  # voxels of the fine grid in one of the coarse
COARSE_RAYS = 4
EXPECTING = 4  # volumes of every element that stopped MLEM holds: present, best, update, scored
ENTRY = 8  # bytes of a number in a sparse matrix: float32 value and int32 column
ENTRIES = 2  # numbers per voxel of a slice and tilt
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
    def images(self) -> int:
        """Projections of one trial that are computed with together."""
        return max(self.haadf_tilts, self.shape[0] * self.chemical_tilts)

    @property
    def haadf_bytes(self) -> int:
        """One HAADF projection per tilt."""
        return FLOAT * self.haadf_tilts * self.shape[2] * self.shape[3]

    @property
    def chemical_bytes(self) -> int:
        """One chemical projection per tilt of every element."""
        elements, _, y, x = self.shape
        return FLOAT * elements * self.chemical_tilts * y * x


class TooLarge(BadInput):
    """A solve for which there is not enough memory just now."""


def solve_bytes(size: SolveSize, method: Method) -> int:
    """Bytes on the device at the peak of a solve by ``method``, but for projection matrices."""
    return _shared_bytes(size, method) + size.batch * _trial_bytes(size, method)


def fused_bytes(size: SolveSize) -> int:
    """Bytes on the device at the peak of a fused solve with HAADF and TV."""
    return solve_bytes(size, Method.FUSED)


def matrix_bytes(size: SolveSize) -> int:
    """The projection matrices of the CPU and their transposes, here and at half the resolution."""
    _, z, y, _ = size.shape
    here = 2 * ENTRY * ENTRIES * z * y * (size.haadf_tilts + size.chemical_tilts)
    return here + here // COARSE_RAYS


def check_fits(size: SolveSize, device: Device, method: Method = Method.FUSED) -> None:
    """Refuse a solve that ``device`` cannot do or has not the memory for, before it allocates.

    Raises
    ------
    BadInput : more elements, voxels or pixels than its kernels take.
    TooLarge : the line names what is needed, what is free and the largest batch that fits.
    """
    device.check_shape(size.shape, size.images)
    free = device.free_bytes()
    matrices = matrix_bytes(size) if device.builds_matrices else 0
    needed = solve_bytes(size, method) + matrices
    if needed <= free:
        return
    problem = (
        f"needs {needed / GIB:.3g} GiB of memory at {'x'.join(map(str, size.shape[1:]))} voxels x "
        f"{size.shape[0]} elements; {free / GIB:.3g} GiB are free on {device.name}"
    )
    largest = max(0, (free - _shared_bytes(size, method) - matrices) // _trial_bytes(size, method))
    if size.batch == 1:
        raise TooLarge(problem, accepted="a smaller volume, or more memory")
    accepted = f"at most {largest} trials at once" if largest else "a smaller volume"
    raise TooLarge(problem, key="batch", value=size.batch, accepted=accepted)


def _shared_bytes(size: SolveSize, method: Method) -> int:
    """Counts of every channel, here and half as fine, and the preconditioner, (z, y // 2 + 1)."""
    if method is Method.ML_STOPPED:
        return size.chemical_bytes
    _, z, y, _ = size.shape
    counts = size.chemical_bytes + size.haadf_bytes
    return counts + counts // COARSE_RAYS + FLOAT * z * (y // 2 + 1)


def _trial_bytes(size: SolveSize, method: Method) -> int:
    if method is Method.ML_STOPPED:
        return EXPECTING * size.specimen_bytes + size.chemical_bytes
    iterates = size.iterate_bytes + size.chemical_bytes
    bounding = size.specimen_bytes + BOUNDING * size.chemical_bytes
    if method is Method.ML:
        return iterates + size.specimen_bytes + bounding
    split = SPLIT * size.volume_bytes + size.haadf_bytes
    step = split + max(FILTER * size.volume_bytes, bounding)
    start = size.specimen_bytes + bounding + DOUBLING * size.volume_bytes
    return iterates + max(step, start + _coarse_bytes(size))


def _coarse_bytes(size: SolveSize) -> int:
    """What the solve at half the resolution holds until the fine one has started."""
    volumes = size.iterate_bytes + SPLIT * size.volume_bytes
    rays = size.chemical_bytes + size.haadf_bytes
    return volumes // COARSE + rays // COARSE_RAYS
