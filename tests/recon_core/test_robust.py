"""Data that bound nothing by themselves: no background, or one subtracted beforehand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from recon_cases import problem_of, tilt_series

from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.result import Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.mlem import mlem
from tomoatlas.recon_core.tiltseries import TiltSeries

SIZE = 12
LONG = SolverSettings(max_iterations=500, tolerance=1e-6)
KINDS = ("no background", "subtracted")


@cache
def series_of(kind: str) -> TiltSeries:
    """A specimen without background, or with one that was subtracted and cut off at 0."""
    if kind == "no background":
        return tilt_series(SIZE, background=0.0, chemical_snr=3.0)
    series = tilt_series(SIZE, chemical_snr=3.0)
    levels = np.array(series.chemical_background, np.float32)[:, None, None, None]
    return replace(
        series,
        chemical=np.maximum(series.chemical - levels, 0),
        chemical_background=(0.0,) * 4,
        haadf=np.maximum(series.haadf - np.float32(series.haadf_background), 0),
        haadf_background=0.0,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_maximum_likelihood_without_background_is_that_of_mlem(kind: str) -> None:
    found = reconstruct(series_of(kind), Method.ML, settings=LONG)
    chosen = problem_of(series_of(kind), 0.0, 0.0)
    reference = mlem(chosen.chemistry, chosen.shape[1:], 400)
    assert found.history.chemistry[-1] <= 1.01 * chosen.chemistry.value(reference[None])[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [Weights(0.0, 0.5), Weights(0.1, 1.0), Weights(3.0, 0.1)])
def test_a_solve_without_background_settles_near_a_long_one(kind: str, weights: Weights) -> None:
    method = Method.FUSED if weights.haadf else Method.CHEMISTRY_TV
    found = reconstruct(series_of(kind), method, weights)
    long = reconstruct(series_of(kind), method, weights, LONG)
    assert found.status in (Status.CONVERGED, Status.ITERATION_LIMIT)
    assert found.history.objective[-1] <= 1.02 * long.history.objective[-1]
    assert found.volumes.max() < 10
