"""One fused trial on the current GPU: time per iteration, to convergence, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from common import condition, score

from tomoatlas.recon_core.gpu import CudaDevice, cuda
from tomoatlas.recon_core.gpu.cupy import cupy_module
from tomoatlas.recon_core.memory import SolveSize, fused_bytes
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.result import Reconstruction
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import step
from tomoatlas.recon_core.solver.multiresolution import initial_state
from tomoatlas.recon_core.tiltseries import TiltSeries

HAADF, CHEMICAL = 47, 9
WEIGHTS = Weights(0.1, 1.0)
SETTINGS = SolverSettings()
STEPS = 40
HEADER = (
    "fused trial",
    "status",
    "iterations",
    "ms / iteration",
    "seconds to convergence",
    "NRMSE",
    "peak memory / specimen",
    "estimated",
)


def trial_rows(sizes: tuple[int, ...]) -> Iterator[tuple[object, ...]]:
    """A row for each size and storage of the TV dual, 47 HAADF and 9 chemical tilts."""
    for size, half in product(sizes, (False, True)):
        specimen, series = condition(size, HAADF, CHEMICAL)
        device = cuda(half)
        _forget()
        before = _pool().total_bytes()
        _trial(series, device)  # compiles the kernels, plans the FFT
        milliseconds = 1e3 * iteration_seconds(series, device)
        _pool().free_all_blocks()
        seconds, found = _trial(series, device)
        peak = (_pool().total_bytes() - before) / specimen.volumes.nbytes
        dual = np.dtype(device.dual_type).itemsize
        solve = SolveSize(specimen.volumes.shape, HAADF, CHEMICAL, dual_bytes=dual)
        yield (
            f"{size}³{', half' if half else ''}",
            str(found.status),
            f"{found.iterations:.0f}",
            f"{milliseconds:.2f}",
            f"{seconds:.2f}",
            f"{score(found.volumes, specimen):.4f}",
            f"{peak:.1f}",
            f"{fused_bytes(solve) / specimen.volumes.nbytes:.1f}",
        )


def iteration_seconds(series: TiltSeries, device: CudaDevice) -> float:
    """Of one iteration in the midst of a solve, bounds of the curvature included."""
    problem, state = initial_state(series, [WEIGHTS], SETTINGS, device)
    _synchronise()
    begun = time.perf_counter()
    for _ in range(STEPS):
        state = step(problem, state)
    _synchronise()
    return (time.perf_counter() - begun) / STEPS


def _trial(series: TiltSeries, device: CudaDevice) -> tuple[float, Reconstruction]:
    begun = time.perf_counter()
    found = reconstruct(series, Method.FUSED, WEIGHTS, SETTINGS, device=device)
    return time.perf_counter() - begun, found


def _forget() -> None:
    """Give back what no array holds and the FFT's plans with their work areas, of other sizes."""
    cupy_module().fft.config.get_plan_cache().clear()
    _pool().free_all_blocks()


def _synchronise() -> None:
    cupy_module().cuda.Device().synchronize()


def _pool() -> Any:
    return cupy_module().get_default_memory_pool()
