"""One iteration of the solver on the CPU: against other projectors, and stage by stage.

Fused, 4 elements, 47 HAADF and 9 chemical tilts, every core given. The named alternatives are the
same solver with ASTRA's CPU projector called slice by slice, and with SciPy's product by the same
sparse matrix, one core; the rest of the iteration is ours. Bounds
of a stage: its bytes over the bandwidth of a copy, its multiply-adds over those of a matrix
product, both measured in this process. An iteration is also timed at a gamma whose powers are not
products. Run, on a machine with nothing else to do:

    python tests/benchmarks/iteration.py [SIZE ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from common import condition, table
from projector import AstraProjector, ScipyProjector

from tomoatlas.recon_core.device import Cpu
from tomoatlas.recon_core.geometry import TiltGeometry
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.projection import Projector
from tomoatlas.recon_core.projection.rays import projection_matrix
from tomoatlas.recon_core.settings import ProjectorName, SolverSettings
from tomoatlas.recon_core.solver.admm import fields_of, init, step, steps_of
from tomoatlas.recon_core.solver.likelihood import Poisson
from tomoatlas.recon_core.solver.problem import FusedProblem, fused_problem
from tomoatlas.recon_core.solver.state import FusionState, view_of

FLOAT = 4
REPEATS = 30
ROUNDS = 10
GAMMA = 1.7  # beside the 2 that is a product


class AstraCpu(Cpu):
    """The CPU with ASTRA's projector, called for every slice of every volume."""

    def projector(self, geometry: TiltGeometry, kind: ProjectorName = "sparse") -> Projector:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return AstraProjector(geometry)


class ScipyCpu(Cpu):
    """The CPU with SciPy's sparse product."""

    def projector(self, geometry: TiltGeometry, kind: ProjectorName = "sparse") -> Projector:
        """See :class:`tomoatlas.recon_core.device.Device`."""
        return ScipyProjector(geometry)


@dataclass(frozen=True)
class Stage:
    """A part of an iteration: what it runs, the bytes it moves at least, its multiply-adds."""

    name: str
    run: Callable[[], object]
    nbytes: float
    multiply_adds: float


def best(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Shortest of several runs in seconds; the first, which compiles, is not counted."""
    run()
    times = []
    for _ in range(repeats):
        clock = time.perf_counter()
        run()
        times.append(time.perf_counter() - clock)
    return min(times)


def iterations(problems: Sequence[FusedProblem], warm: int, steps: int) -> list[float]:
    """Seconds of a step of each problem, the best of ``ROUNDS`` means over ``steps``, in turn.

    In turn, so that other work on the machine meets all of them alike.
    """
    states = [init(p, np.full(p.shape, 0.1, np.float32)) for p in problems]
    for _ in range(warm):
        states = [step(p, state) for p, state in zip(problems, states, strict=True)]
    best = [np.inf] * len(problems)
    for _ in range(ROUNDS):
        for i, problem in enumerate(problems):
            clock = time.perf_counter()
            for _ in range(steps):
                states[i] = step(problem, states[i])
            best[i] = min(best[i], (time.perf_counter() - clock) / steps)
    return best


def stages(problem: FusedProblem, state: FusionState) -> Iterator[Stage]:
    """The parts of :func:`tomoatlas.recon_core.solver.admm.step`."""
    chemistry, haadf, coupling, gram = problem.chemistry, problem.haadf, state.coupling, state.gram
    voxels, elements = coupling.u.size, state.metric.shape[1]
    volumes, rays = elements * voxels, state.rays.size
    flat = (1, -1, coupling.u.shape[-1])
    image = view_of(state.next_volumes, coupling.u.shape)
    nonzeros = [
        projection_matrix(p.geometry).nnz * coupling.u.shape[-1]
        for p in (haadf.projector, chemistry.projector)
    ]
    yield Stage(
        "ramp filter of the residual (FFT)",
        lambda: gram.precondition(coupling.residual, image),
        FLOAT * voxels * 2,
        2.5 * voxels * np.log2(voxels / coupling.u.shape[-1]) / 2,
    )
    yield Stage(
        "HAADF pair",
        lambda: haadf.projector.adjoint(
            haadf.projector.forward(coupling.u, out=coupling.rays), out=image
        ),
        FLOAT * 2 * (voxels + coupling.rays.size),
        2 * nonzeros[0],
    )
    r, d, a = (x.reshape(flat) for x in (coupling.residual, coupling.u, image))
    kernels, no, spare = problem.device.kernels, np.zeros((1, 2), np.float32), d.copy()
    last = [x.reshape(flat) for x in (coupling.last, coupling.last_image)]
    yield Stage(
        "descent of u",
        lambda: (
            kernels.plane_products(r, d, a, *last, gram.ridge),
            kernels.descend(no, d, a, *last, gram.ridge, spare, r),
        ),
        FLOAT * 15 * voxels,
        24 * voxels,
    )
    yield Stage(
        "chemical pair",
        lambda: chemistry.projector.adjoint(
            chemistry.projector.forward(state.point, out=state.rays), out=state.slope
        ),
        FLOAT * 2 * (volumes + rays),
        2 * elements * nonzeros[1],
    )
    likelihood = Poisson(chemistry.data)
    yield Stage("Poisson ratios", lambda: likelihood.slope(state.rays), FLOAT * 3 * rays, 4 * rays)
    beta = np.zeros(1, np.float32)
    fields, steps = fields_of(problem, state), steps_of(problem, state, beta)
    yield Stage(
        "volume step: prox, TV dual, prox, momentum, multiplier",
        lambda: kernels.volume_step(fields, steps),
        FLOAT * (volumes * (3 + 3 + 3 + 2) + voxels * 7),
        70 * volumes,
    )


@numba.njit(parallel=True)
def _copy(source: np.ndarray, target: np.ndarray) -> None:
    for i in numba.prange(len(source)):
        target[i] = source[i]


def bandwidth() -> float:
    """Bytes per second of a copy of 256 MiB by all cores, read and written."""
    source = np.ones((1 << 11, 1 << 14), np.float32)
    target = np.zeros_like(source)
    return 2 * source.nbytes / best(lambda: _copy(source, target), 8)


def peak() -> float:
    """Multiply-adds per second of a float32 matrix product."""
    n = 2048
    a, b = np.ones((n, n), np.float32), np.ones((n, n), np.float32)
    return float(n**3 / best(lambda: a @ b, 8))


def profile(size: int) -> None:
    """Print the stages of an iteration at one size."""
    _, series = condition(size, 47, 9)
    problem = fused_problem(series, [Weights(0.03, 1.0)], SolverSettings())
    state = step(problem, init(problem, np.full(problem.shape, 0.1, np.float32)))
    copied, multiplied = bandwidth(), peak()
    print(f"\n{size}³: copy {copied / 1e9:.1f} GB/s, matrix product {multiplied / 1e9:.0f} GFMA/s")

    def rows() -> Iterator[tuple[object, ...]]:
        total, floors = 0.0, 0.0
        for stage in stages(problem, state):
            seconds = best(stage.run)
            memory, arithmetic = stage.nbytes / copied, stage.multiply_adds / multiplied
            floor = max(memory, arithmetic)
            total, floors = total + seconds, floors + floor
            yield (
                stage.name,
                f"{1e3 * seconds:.2f}",
                f"{stage.nbytes / 1e6:.1f}",
                f"{1e3 * memory:.2f}",
                f"{stage.multiply_adds / 1e6:.0f}",
                f"{1e3 * arithmetic:.2f}",
                f"{seconds / floor:.1f}",
            )
        whole = f"all; the larger floors add up to {1e3 * floors:.2f} ms"
        yield whole, f"{1e3 * total:.2f}", "", "", "", "", f"{total / floors:.1f}"

    table(
        (
            "stage",
            "ms",
            "MB at least",
            "ms at copy speed",
            "10⁶ multiply-adds",
            "ms at matrix speed",
            "over the larger floor",
        ),
        rows(),
    )


def main(sizes: list[int]) -> None:
    """Print milliseconds of an iteration, at another gamma and with others' projectors; stages."""

    def rows() -> Iterator[tuple[object, ...]]:
        for size in sizes:
            _, series = condition(size, 47, 9)
            weights = [Weights(0.03, 1.0)]
            square, general = SolverSettings(), SolverSettings(gamma=GAMMA)
            both = [fused_problem(series, weights, s) for s in (square, general)]
            ours, power = iterations(both, 41, 10)  # past the curvature bounds of 5, 10, 20 and 40
            others = [fused_problem(series, weights, square, d) for d in (ScipyCpu(), AstraCpu())]
            found = [
                f"{size}³",
                f"{1e3 * ours:.1f}",
                f"{1e3 * power:.1f}",
                f"{power / ours:.2f}×",
            ]
            for theirs in iterations(others, 11, 1):
                found += [f"{1e3 * theirs:.0f}", f"{theirs / ours:.0f}×"]
            yield tuple(found)

    header = ("size", "ms / iteration", f"gamma {GAMMA}", "ratio", "with SciPy's product", "ratio")
    table((*header, "with ASTRA's projector by slice", "ratio"), rows())
    for size in sizes:
        profile(size)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [64, 128])
