"""Mirrored data: what comes back mirrored, and what the differences of TV make of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from recon_cases import problem_of, start_of, tilt_series

from tomoatlas.recon_core.cpu.volume_step import Fields, Steps
from tomoatlas.recon_core.device import Device
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.problem import FusedProblem
from tomoatlas.recon_core.solver.regularisers import TotalVariation
from tomoatlas.recon_core.tiltseries import TiltSeries

AXES = {"y": -2, "x": -1}


@dataclass(frozen=True)
class MirroredVariation(TotalVariation):
    """Total variation with backward differences along one axis: that of the mirrored volume."""

    axis: int = -1

    def value(self, device: Device, volumes: np.ndarray) -> np.ndarray:
        return super().value(device, flipped(volumes, self.axis))

    def step(self, device: Device, fields: Fields, steps: Steps) -> np.ndarray:
        # the dual stays in the frame of the mirrored volume
        there = Fields(*(a if a is fields.dual else flipped(a, self.axis) for a in fields))
        sums = super().step(device, there, steps)
        for mine, its in zip(fields, there, strict=True):
            if mine is not fields.dual:
                mine[...] = np.flip(its, self.axis)
        return sums


def flipped(array: np.ndarray, axis: int) -> np.ndarray:
    return np.ascontiguousarray(np.flip(array, axis))


def mirrored(series: TiltSeries, axis: int) -> TiltSeries:
    """The specimen mirrored across the tilt axis (y), tilts reversed, or along it (x)."""
    changed = replace(
        series, haadf=flipped(series.haadf, axis), chemical=flipped(series.chemical, axis)
    )
    if axis == AXES["x"]:
        return changed
    return replace(
        changed,
        haadf_angles_deg=tuple(-a for a in series.haadf_angles_deg),
        chemical_angles_deg=tuple(-a for a in series.chemical_angles_deg),
    )


def apart(volumes: np.ndarray, others: np.ndarray, axis: int) -> float:
    """Relative distance after mirroring one of them back."""
    return float(np.linalg.norm(np.flip(others, axis) - volumes) / np.linalg.norm(volumes))


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
@pytest.mark.parametrize("size", [13, 17])
def test_without_tv_mirrored_data_give_mirrored_volumes(axis: int, size: int) -> None:
    """Rays, filter, coupling and coarse grid prefer no side: where edges have a middle voxel.

    With an even edge the filter of the u-step is measured half a voxel off the middle.
    """
    series, settings = tilt_series(size), SolverSettings(max_iterations=40)
    for method, weights in ((Method.ML, Weights()), (Method.FUSED, Weights(0.1, 0.0))):
        here, there = (
            reconstruct(each, method, weights, settings)
            for each in (series, mirrored(series, axis))
        )
        assert apart(here.volumes, there.volumes, axis) < 1e-3


def solved(problem: FusedProblem) -> np.ndarray:
    return solve(problem, init(problem, start_of(problem)), 1e-12, 40)[0].volumes


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_with_tv_the_direction_of_its_differences_is_all_that_tells_sides_apart(axis: int) -> None:
    series = tilt_series(13)
    here = solved(problem_of(series, 0.1, 1.0))
    there = problem_of(mirrored(series, axis), 0.1, 1.0)
    backward = replace(there, regulariser=MirroredVariation(axis=axis))
    assert apart(here, solved(backward), axis) < 1e-3
    assert apart(here, solved(there), axis) > 2e-2
