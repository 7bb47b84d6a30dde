"""Small fused problems that the tests of recon_core share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numba
import numpy as np
import pytest

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver.gram import Gram
from tomoatlas.recon_core.solver.mlem import mlem
from tomoatlas.recon_core.solver.problem import FusedProblem, fused_problem
from tomoatlas.recon_core.tiltseries import TiltSeries

SIZE = 12

two_threads = pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads"
)


@cache
def specimen(size: int = SIZE) -> Specimen:
    return make_specimen("nanocubes", size, 0)


@cache
def tilt_series(size: int = SIZE, **acquisition: object) -> TiltSeries:
    """Nanocubes at 9 HAADF and 5 chemical tilts by default."""
    defaults = {"haadf_tilts": 9, "chemical_tilts": 5, "chemical_snr": 20.0}
    return simulate(specimen(size), Acquisition(**defaults | acquisition), 0)


def problem_of(
    series: TiltSeries, haadf: float = 0.03, tv: float = 0.5, **settings: object
) -> FusedProblem:
    """A batch of one trial."""
    return fused_problem(series, [Weights(haadf, tv)], SolverSettings(**settings))


def start_of(problem: FusedProblem) -> np.ndarray:
    return mlem(problem.chemistry, problem.shape[1:], 10)


def gram_times(gram: Gram, volume: np.ndarray) -> np.ndarray:
    """(A^T A + ridge) volume."""
    there_and_back = gram.projector.adjoint(gram.projector.forward(volume))
    return there_and_back + gram.ridge * volume


def random_volumes(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Positive, float32."""
    return np.random.default_rng(seed).uniform(0.2, 1.0, shape).astype(np.float32)


def with_threads(threads: int, work: Callable[[], np.ndarray]) -> np.ndarray:
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        return work()
    finally:
        numba.set_num_threads(before)
