"""Memory of a solve, predicted from its sizes, and whether a device has it.

A fused solve is largest while it filters on a GPU, or while it is initialised from the coarse grid,
whose arrays still exist then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .device import Device
from .errors import BadInput
from .methods import Method

FLOAT = 4
ITERATES = 3  # volumes, next volumes and point of every element
DUALS = 3  # components of every element's TV dual
COUPLING = 6  # u, multiplier, contrast, residual, last step and its image
GUIDE = 2  # the guide of TV, and its copy for those that stay while trials leave a batch
START = 2  # guide and multiplier of a start that trials share
FILTER = 5  # spectra before and after each axis, and cuFFT's own workspace
SLABS = 2  # spectra of the slabs that the threads of a CPU filter, at most
UPSAMPLING = 3  # temporaries of the interpolation to half the voxel edge
BINNED = 4  # fine pixels in a coarse one
MLEM_VOLUMES = 4  # of every element in stopped MLEM: present, best, update, scored
ENTRY = 8  # bytes of a number in a sparse matrix: float32 value and int32 column
ENTRIES = 2  # numbers per voxel of a slice and tilt
GIB = 2**30


@dataclass(frozen=True)
class SolveSize:
    """The sizes that determine the memory of a solve.

    Parameters
    ----------
    shape : unknowns of one trial, (element, z, y, x).
    haadf_tilts : number of HAADF projections; 0 without HAADF.
    chemical_tilts : number of chemical projections of each element.
    batch : number of trials solved together.
    dual_bytes : bytes of a stored number of the TV dual: 4, or 2 for a float16 dual.
    guided : whether TV has a guide.
    shared_start : whether a start is kept for all trials.

    Examples
    --------
    >>> size = SolveSize((4, 64, 64, 64), haadf_tilts=47, chemical_tilts=9)
    >>> size.specimen_bytes / 2**20, size.binned.shape
    (4.0, (4, 32, 32, 32))
    >>> round(fused_bytes(size) / 2**20, 1)
    41.9
    """

    shape: tuple[int, int, int, int]
    haadf_tilts: int
    chemical_tilts: int
    batch: int = 1
    dual_bytes: int = FLOAT
    guided: bool = False
    shared_start: bool = False

    @property
    def binned(self) -> SolveSize:
        """The same solve on the coarse grid, voxels of twice the edge."""
        elements, z, y, x = self.shape
        shape = (elements, -(-z // 2), -(-y // 2), -(-x // 2))
        return replace(self, shape=shape, guided=False, shared_start=False)

    @property
    def specimen_bytes(self) -> int:
        """Bytes of the volumes of all elements."""
        return self.shape[0] * self.volume_bytes

    @property
    def iterate_bytes(self) -> int:
        """Bytes kept for every element: iterates, TV dual, chemical projections and workspace."""
        # the workspace is as large as volumes or projections, whichever is larger
        stored = (ITERATES * FLOAT + DUALS * self.dual_bytes) * self.specimen_bytes // FLOAT
        return stored + self.chemical_bytes + max(self.specimen_bytes, self.chemical_bytes)

    @property
    def volume_bytes(self) -> int:
        """Bytes of one volume (z, y, x)."""
        _, z, y, x = self.shape
        return FLOAT * z * y * x

    @property
    def images(self) -> int:
        """Number of projections of one trial that a single kernel launch handles."""
        return max(self.haadf_tilts, self.shape[0] * self.chemical_tilts)

    @property
    def haadf_bytes(self) -> int:
        """Bytes of one HAADF projection per tilt."""
        return FLOAT * self.haadf_tilts * self.shape[2] * self.shape[3]

    @property
    def chemical_bytes(self) -> int:
        """Bytes of one chemical projection per tilt of every element."""
        elements, _, y, x = self.shape
        return FLOAT * elements * self.chemical_tilts * y * x


class TooLarge(BadInput):
    """A solve that needs more memory than is free at the moment."""


def solve_bytes(size: SolveSize, method: Method) -> int:
    """Predict the peak memory of a solve on its device, without projection matrices.

    Parameters
    ----------
    size : unknowns, tilts and batch.
    method : how it is solved.

    Returns
    -------
    int : bytes.
    """
    return _shared_bytes(size, method) + size.batch * _trial_bytes(size, method)


def fused_bytes(size: SolveSize) -> int:
    """Predict the peak memory of a fused solve with HAADF and TV, see :func:`solve_bytes`.

    Parameters
    ----------
    size : unknowns, tilts and batch.

    Returns
    -------
    int : bytes.
    """
    return solve_bytes(size, Method.FUSED)


def matrix_bytes(size: SolveSize) -> int:
    """Predict the memory of the CPU's projection matrices and their transposes on both grids.

    Parameters
    ----------
    size : unknowns and tilts; the batch shares the matrices.

    Returns
    -------
    int : bytes.
    """
    _, z, y, _ = size.shape
    # a ray meets about two voxels per layer: ENTRIES per voxel and tilt, matrix and transpose
    here = 2 * ENTRY * ENTRIES * z * y * (size.haadf_tilts + size.chemical_tilts)
    return here + here // BINNED


def check_fits(size: SolveSize, device: Device, method: Method = Method.FUSED) -> None:
    """Check, before anything is allocated, that a device can carry out a solve.

    Parameters
    ----------
    size : unknowns, tilts and batch.
    device : its free memory and the limits of its kernels decide.
    method : how it is solved.

    Raises
    ------
    BadInput : more elements, voxels or pixels than the kernels can index.
    TooLarge : the line names what is needed, what is free and the largest batch that fits.
    """
    # limits that no amount of memory lifts come first
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
    largest = largest_batch(size, device, method)
    if size.batch == 1:
        raise TooLarge(problem, accepted="a smaller volume, or more memory")
    accepted = f"at most {largest} trials at once" if largest else "a smaller volume"
    raise TooLarge(problem, key="batch", value=size.batch, accepted=accepted)


def largest_batch(size: SolveSize, device: Device, method: Method = Method.FUSED) -> int:
    """Predict how many trials a device can solve together; 0 if not even one.

    Parameters
    ----------
    size : unknowns and tilts of one trial.
    device : its free memory decides.
    method : how they are solved.
    """
    matrices = matrix_bytes(size) if device.builds_matrices else 0
    # a batch copies its results, a single trial does not
    several = replace(size, batch=max(2, size.batch))
    free = device.free_bytes() - _shared_bytes(several, method) - matrices
    return max(0, free // _trial_bytes(several, method))


def _shared_bytes(size: SolveSize, method: Method) -> int:
    """Counts of every channel on both grids, the filter, (z, y // 2 + 1), and a shared start."""
    if method is Method.ML_STOPPED:
        return size.chemical_bytes
    _, z, y, _ = size.shape
    counts = size.chemical_bytes + size.haadf_bytes
    start = 0
    if size.shared_start and method is Method.FUSED:
        volumes_and_dual = (FLOAT + DUALS * size.dual_bytes) * size.specimen_bytes // FLOAT
        start = volumes_and_dual + START * size.volume_bytes
    return counts + counts // BINNED + FLOAT * z * (y // 2 + 1) + start


def _trial_bytes(size: SolveSize, method: Method) -> int:
    """Peak of one trial: while it iterates, or while it is initialised from the coarse grid."""
    if method is Method.ML_STOPPED:
        return MLEM_VOLUMES * size.specimen_bytes + size.chemical_bytes
    if method is Method.ML:
        return size.iterate_bytes + size.specimen_bytes
    initial = UPSAMPLING * size.volume_bytes + _kept_bytes(size.binned)
    results = size.specimen_bytes if size.batch > 1 else 0
    # the GPU's FFT temporaries, or the CPU's slabs beside the results copied out of a batch
    beside = max(FILTER * size.volume_bytes, SLABS * size.volume_bytes + results)
    return max(_kept_bytes(size) + beside, size.iterate_bytes + initial)


def _kept_bytes(size: SolveSize) -> int:
    """Arrays that the state keeps of one trial, the coupling to HAADF included."""
    beside = COUPLING + (GUIDE if size.guided else 0)
    return size.iterate_bytes + beside * size.volume_bytes + size.haadf_bytes
