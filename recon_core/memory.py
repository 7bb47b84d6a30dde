"""Memory of a solve, from sizes alone, and whether a device has it.

A fused solve is largest while it filters on a GPU, or where it starts from half the resolution,
with the arrays of the coarse one still there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .device import Device
from .errors import BadInput
from .methods import Method

FLOAT = 4
ITERATES = 3  # volumes, spare, point of every element
DUALS = 3  # components of the TV dual of every element
SPLIT = 4  # u, multiplier, contrast, residual
FILTER = 5  # spectra before and after each axis, and what cuFFT works in
SLABS = 2  # spectra of the slabs that threads of a CPU filter, at most
DOUBLING = 3  # what interpolation to half the voxel edge holds beside its result
BINNED = 4  # pixels in one of half the resolution
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
    def binned(self) -> SolveSize:
        """The same at half the resolution."""
        elements, z, y, x = self.shape
        return replace(self, shape=(elements, -(-z // 2), -(-y // 2), -(-x // 2)))

    @property
    def specimen_bytes(self) -> int:
        """The volumes of all elements, once."""
        return self.shape[0] * self.volume_bytes

    @property
    def iterate_bytes(self) -> int:
        """What the iteration keeps of every element: iterates, TV dual, projections, room."""
        stored = (ITERATES * FLOAT + DUALS * self.dual_bytes) * self.specimen_bytes // FLOAT
        return stored + self.chemical_bytes + max(self.specimen_bytes, self.chemical_bytes)

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
    return here + here // BINNED


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
    return counts + counts // BINNED + FLOAT * z * (y // 2 + 1)


def _trial_bytes(size: SolveSize, method: Method) -> int:
    if method is Method.ML_STOPPED:
        return EXPECTING * size.specimen_bytes + size.chemical_bytes
    if method is Method.ML:
        return size.iterate_bytes + size.specimen_bytes
    start = DOUBLING * size.volume_bytes + _kept_bytes(size.binned)
    results = size.specimen_bytes if size.batch > 1 else 0
    beside = max(FILTER * size.volume_bytes, SLABS * size.volume_bytes + results)
    return max(_kept_bytes(size) + beside, size.iterate_bytes + start)


def _kept_bytes(size: SolveSize) -> int:
    """What a state keeps of one trial, the HAADF half included."""
    return size.iterate_bytes + SPLIT * size.volume_bytes + size.haadf_bytes
