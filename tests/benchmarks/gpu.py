"""Projectors, kernels and fused trials on a GPU: updates per second, time over the floor, memory.

    python tests/benchmarks/gpu.py [SIZE ...] [--tilings]
    python tests/benchmarks/gpu.py [SIZE ...] --floors

Four elements, 47 and 9 tilts, sizes 64, 128 and 256 unless given. GUPS are 10^9 voxel-angle updates
per second. A kernel's floor is the bytes it must move, each array once, over the bandwidth of a
large copy measured in the same process; the volume step's is one sweep, though it takes three
launches. "Half" is with the TV dual at half precision. Batches of trials are timed by ``batch.py``.
``--tilings`` tries other launch shapes of the projector, whose bytes ``gpu_traffic.py`` counts.
``--floors`` prints what an iteration and the paper's map must take on an H200, and measures
nothing. Without it the program ends with status 2 and one line where there is no GPU.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from common import table
from gpu_floors import print_floors
from gpu_traffic import BLOCKS
from gpu_trial import HEADER, trial_rows

from tomoatlas.recon_core.cpu.volume_step import Fields, Steps
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.gpu.cupy import CupyLauncher, cupy_module, device_memory, device_name
from tomoatlas.recon_core.gpu.kernels import BLOCK, CudaKernels
from tomoatlas.recon_core.gpu.projector import CudaProjector, CupySparseProjector, Tiling

ELEMENTS = 4
TILTS = (47, 9)
SIZES = (64, 128, 256)
COPIED = 2**31  # bytes
REPEATS = 20

Function = Callable[[], object]


def main(arguments: list[str]) -> int:
    """Print the tables; 2 where there is no GPU."""
    if "--floors" in arguments:
        print_floors(asked(arguments) or SIZES)
        return 0
    try:
        launcher = CupyLauncher()
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    sizes = asked(arguments) or SIZES
    bandwidth = copy_bandwidth()
    print(f"{machine()}; copy {bandwidth / 1e12:.2f} TB/s (read + written)")
    header = "projector", "size", "tilts", "forward (ms)", "adjoint (ms)"
    rates = "GUPS forward", "GUPS adjoint", "GUPS pair", "floor (ms)", "adjoint error"
    compared = astra_has_cuda()
    table((*header, *rates), projector_rows(launcher, sizes, bandwidth, compared))
    kernels = "kernel", "size", "bytes (GB)", "floor (ms)", "measured (ms)", "over floor"
    table(kernels, kernel_rows(launcher, max(sizes), bandwidth))
    table(HEADER, trial_rows(sizes))
    if "--tilings" in arguments:
        shapes = "lanes", "forward", "adjoint", "tilts", "GUPS forward", "GUPS adjoint"
        table(shapes, tiling_rows(launcher, max(sizes)))
    return 0


def asked(arguments: list[str]) -> tuple[int, ...]:
    """The sizes among the arguments."""
    return tuple(int(a) for a in arguments if a.isdigit())


def machine() -> str:
    """Device, its memory, driver and cupy."""
    cupy = cupy_module()
    newest = cupy.cuda.runtime.driverGetVersion()
    total = device_memory()[1] / 2**30
    cuda = f"driver {driver()} for CUDA {newest // 1000}.{newest % 1000 // 10}"
    return f"{device_name()}, {total:.0f} GiB, {cuda}, cupy {cupy.__version__}"


def driver() -> str:
    """Version of the driver, as its own program tells it."""
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"of unknown version ({error})"
    return done.stdout.splitlines()[0]


def seconds(function: Function) -> float:
    """Median device time of a call, between events on the stream."""
    from cupyx.profiler import benchmark

    times = benchmark(function, n_repeat=REPEATS, n_warmup=3).gpu_times
    return statistics.median(float(t) for t in times[0])


def copy_bandwidth() -> float:
    """Bytes read and written per second by one large copy on the device."""
    cupy = cupy_module()
    source = random((COPIED // 4,))
    target = cupy.empty_like(source)
    return 2 * COPIED / seconds(lambda: cupy.copyto(target, source))


@dataclass(frozen=True)
class Pair:
    """One projector's two directions, each writing to an array of its own."""

    name: str
    forward: Function
    adjoint: Function
    error: Callable[[], float | None]


def projector_rows(
    launcher: CupyLauncher, sizes: tuple[int, ...], bandwidth: float, compared: bool
) -> Iterator[tuple[object, ...]]:
    """Time, rate, memory floor and relative error of the adjoint identity of every projector."""
    for size, tilts in product(sizes, TILTS):
        geometry = TiltGeometry(spaced_tilts(tilts, (-70.0, 70.0)), (size, size))
        updates = ELEMENTS * tilts * size**3 / 1e9
        floor = 4 * ELEMENTS * size**2 * (size + tilts) / bandwidth
        for pair in pairs(launcher, geometry, compared):
            there, back = seconds(pair.forward), seconds(pair.adjoint)
            rates = (f"{2 * updates / t:.0f}" for t in (2 * there, 2 * back, there + back))
            error = pair.error()
            shown = "-" if error is None else f"{error:.0e}"
            times = (f"{1e3 * t:.3f}" for t in (there, back))
            yield pair.name, f"{size}³", tilts, *times, *rates, f"{1e3 * floor:.3f}", shown


def pairs(launcher: CupyLauncher, geometry: TiltGeometry, compared: bool) -> Iterator[Pair]:
    """Ours, the sparse reference and, where ``compared``, ASTRA's; one at a time."""
    yield our_pair("CUDA kernels", CudaProjector(geometry, launcher))
    yield our_pair("cuSPARSE", CupySparseProjector(geometry))
    if compared:
        yield astra_pair(geometry)


def astra_has_cuda() -> bool:
    """Whether ASTRA can be compared with; if not, says why, once."""
    try:
        import astra
    except ImportError as error:
        print(f"without ASTRA, which cannot be imported ({error})")
        return False
    if not astra.use_cuda():
        print("without ASTRA, which has no CUDA here")
        return False
    return True


def our_pair(name: str, projector: CudaProjector | CupySparseProjector) -> Pair:
    """A projector of this project on random volumes."""
    geometry = projector.geometry
    height = geometry.shape[1]
    x = random((ELEMENTS, *geometry.shape, height))
    p = random((ELEMENTS, geometry.angles, height, height))
    ax, atp = projector.forward(x), projector.adjoint(p)

    def error() -> float:
        inner = [float((a * b).sum(dtype=np.float64)) for a, b in ((ax, p), (x, atp))]
        return abs(inner[0] - inner[1]) / abs(inner[0])

    return Pair(
        name,
        lambda: projector.forward(x, out=ax),
        lambda: projector.adjoint(p, out=atp),
        error,
    )


def astra_pair(geometry: TiltGeometry) -> Pair:
    """ASTRA's CUDA projector on the same number of voxels; its adjoint is not its transpose."""
    import astra
    from astra import experimental

    cupy, size = cupy_module(), geometry.shape[0]
    angles = np.deg2rad(geometry.angles_deg)
    slices = ELEMENTS * size
    detector = astra.create_proj_geom("parallel3d", 1.0, 1.0, slices, size, angles)
    projector = astra.create_projector(
        "cuda3d", detector, astra.create_vol_geom(size, size, slices)
    )
    volumes = random((slices, size, size))
    projections = cupy.empty((slices, geometry.angles, size), np.float32)
    return Pair(
        "ASTRA, unmatched",
        lambda: experimental.direct_FP3D(projector, volumes, projections),
        lambda: experimental.direct_BP3D(projector, volumes, projections),
        lambda: None,
    )


def random(shape: tuple[int, ...]) -> Any:
    """Uniform in [0, 1), float32, on the device."""
    return cupy_module().random.default_rng(0).random(shape, dtype=np.float32)


def kernel_rows(
    launcher: CupyLauncher, size: int, bandwidth: float
) -> Iterator[tuple[object, ...]]:
    """Measured time of every kernel over its floor."""
    for name, moved, run in kernel_runs(CudaKernels(launcher), size):
        floor, measured = moved / bandwidth, seconds(run)
        times = (f"{1e3 * t:.3f}" for t in (floor, measured))
        yield name, f"{size}³", f"{moved / 1e9:.2f}", *times, f"{measured / floor:.2f}"


def kernel_runs(kernels: CudaKernels, size: int) -> Iterator[tuple[str, int, Function]]:
    """Name, bytes that must move, and a call of every kernel, on the arrays of one trial."""
    k, each, ridge, gammas = kernels, random((ELEMENTS,)) + 1, np.float32(0.1), (2.0, 1.7, 1.0)
    rays, counts = random((2, 1, ELEMENTS, TILTS[1] * size, size))
    ray, data = rays.nbytes, (counts[0], each, each)
    yield "poisson_slope", 3 * ray, partial(k.poisson_slope, rays, *data, each, rays)
    yield "poisson_deviance", 2 * ray, partial(k.poisson_deviance, rays, *data, each)
    yield "squares_slope", 3 * ray, partial(k.squares_slope, rays, *data, each, rays)
    yield "weighted_squares", 2 * ray, partial(k.weighted_squares, rays, *data, each)
    haadf = random((2, 1, TILTS[0] * size, size))
    yield "distance", haadf.nbytes, partial(k.distance, haadf[0], haadf[1, 0])
    r, d, a, p, q, u = random((6, 1, size * size, size))
    yield "descent_products", 3 * r.nbytes, partial(k.descent_products, r, d, a, ridge)
    yield "plane_products", 5 * r.nbytes, partial(k.plane_products, r, d, a, p, q, ridge)
    lengths = random((1, 2)) - 0.5
    yield "descend", 10 * r.nbytes, partial(k.descend, lengths, d, a, p, q, ridge, u, r)
    fields, one = step_fields(size), r.nbytes
    half = fields._replace(dual=fields.dual.astype(np.float16))
    x, flat = fields.volumes, (1, ELEMENTS, size * size, size)
    for gamma in gammas:
        power = partial(k.power_sum, x.reshape(flat), each, gamma, r)
        yield f"power_sum, gamma {gamma}", (ELEMENTS + 1) * one, power
    yield "total_variation", x.nbytes, partial(k.total_variation, x)
    for gamma in gammas:
        steps = Steps(each[None], each[:1], each[:1], each[:1] / 4, ridge, each, gamma)
        run = partial(k.volume_step, fields, steps)
        yield f"volume_step, gamma {gamma}", (11 * ELEMENTS + 7) * one, run
        run = partial(k.volume_step, half, steps)
        yield f"volume_step, gamma {gamma}, half", (8 * ELEMENTS + 7) * one, run
    none = cupy_module().empty((1, 0, 0, 0), np.float32)
    alone = fields._replace(u=none, multiplier=none, contrast=none, residual=none)
    yield "volume_step, uncoupled", 11 * x.nbytes, partial(k.volume_step, alone, steps)


def step_fields(size: int) -> Fields:
    """Random arrays of a volume step, the dual zero at the far faces."""
    shape = (1, ELEMENTS, size, size, size)
    dual = random((1, ELEMENTS, 3, size, size, size)) / 10
    dual[:, :, 0, -1], dual[:, :, 1, :, -1], dual[:, :, 2, :, :, -1] = 0, 0, 0
    guide = cupy_module().empty((1, 0, 0, 0), np.float32)
    coupling = random((4, 1, size, size, size))
    return Fields(*(random(shape) for _ in range(4)), dual, *coupling, guide)


def tiling_rows(launcher: CupyLauncher, size: int) -> Iterator[tuple[object, ...]]:
    """Rates of the projector by launch shape."""
    for tilts, lanes, (forward, adjoint) in product(TILTS, (8, 16, 32), BLOCKS):
        if lanes * math.prod(forward) > BLOCK:
            continue
        geometry = TiltGeometry(spaced_tilts(tilts, (-70.0, 70.0)), (size, size))
        updates = ELEMENTS * tilts * size**3 / 1e9
        pair = our_pair("", CudaProjector(geometry, launcher, Tiling(lanes, forward, adjoint)))
        rates = (f"{updates / seconds(run):.0f}" for run in (pair.forward, pair.adjoint))
        yield lanes, forward, adjoint, tilts, *rates


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
