"""What a solve does where its objective has risen: it settles all over the default space."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from recon_cases import specimen, start_of, tilt_series

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.result import Reconstruction, Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.admm import STEADY, calmed, init, refresh_metric, solve
from tomoatlas.recon_core.solver.convergence import ConvergenceRecord
from tomoatlas.recon_core.solver.problem import fused_problem
from tomoatlas.recon_core.tiltseries import TiltSeries
from tomoatlas.sweep.study.tables import SearchSpace

SPACE = SearchSpace()
RECORD = ConvergenceRecord(0.0, 0.0, 1.0, 0.0, np.nan, np.nan, 0.0)


@cache
def corner_series() -> TiltSeries:
    """The paper's tilts and counts: here strong TV makes full steps oscillate without end."""
    counts = {"Co": 1.92, "Cu": 2.89, "O": 2.69, "Au": 1.96}
    return simulate(specimen(24), Acquisition(chemical_snr=counts), 0)


@pytest.mark.parametrize("tv", SPACE.tv)
@pytest.mark.parametrize("haadf", SPACE.haadf)
def test_corners_of_the_default_space_settle(haadf: float, tv: float) -> None:
    series, weights = corner_series(), Weights(haadf, tv)
    # the strongest TV settles last
    found = reconstruct(series, Method.FUSED, weights, SolverSettings(max_iterations=1000))
    bare = reconstruct(series, Method.CHEMISTRY_TV, weights)
    chosen = fused_problem(series, [weights], SolverSettings())
    objective = found.history.objective
    assert found.status is Status.CONVERGED
    assert objective[-1] <= 1.005 * min(objective)
    assert objective[-1] <= chosen.terms(bare.volumes[None]).objective[0]


def test_momentum_is_halved_where_the_objective_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full momentum with strong TV oscillates; halved, it settles lower, and others are left be."""
    weights = [Weights(0.01, 4.0), Weights(0.03, 0.05)]
    chosen = fused_problem(tilt_series(), weights, SolverSettings())
    monkeypatch.setattr("tomoatlas.recon_core.solver.admm.MOMENTUM", 0.98)
    monkeypatch.setattr("tomoatlas.recon_core.solver.admm.RAISED", 1.0)

    def ends(factor: float) -> tuple[Reconstruction, ...]:
        monkeypatch.setattr("tomoatlas.recon_core.solver.admm.CALMED", factor)
        return solve(chosen, init(chosen, start_of(chosen)), 1e-12, 200)

    (wild, gentle), (calmed, same) = ends(1.0), ends(0.5)
    assert (np.diff(wild.history.objective) > 0).any()
    assert calmed.history.objective[-1] < wild.history.objective[-1]
    assert (np.diff(gentle.history.objective) <= 0).all()
    np.testing.assert_array_equal(same.volumes, gentle.volumes)


def test_the_metric_is_raised_where_the_objective_rises_and_stays_so() -> None:
    """Through every new estimate of the curvature; a trial that fell is left be."""
    chosen = fused_problem(tilt_series(), [Weights(0.0, 4.0), Weights(0.0, 0.3)], SolverSettings())
    state = init(chosen, start_of(chosen))
    rising, falling = (replace(RECORD, chemistry=value) for value in (2.0, 0.5))
    after = calmed(chosen, state, [[RECORD, rising], [RECORD, falling]])
    np.testing.assert_array_equal(after.metric[0], 2 * state.metric[0])
    np.testing.assert_array_equal(after.metric[1], state.metric[1])
    np.testing.assert_array_equal(after.limit, state.limit * [0.5, 1.0])
    np.testing.assert_array_equal(refresh_metric(chosen, after).metric, after.metric)


def test_momentum_outlives_a_new_estimate_unless_the_metric_rises() -> None:
    """Of each trial of a batch by itself; a state that is no iterate of the loop loses it."""
    chosen = fused_problem(tilt_series(), [Weights(0.0, 4.0), Weights(0.0, 0.3)], SolverSettings())
    state = init(chosen, start_of(chosen))
    before = np.array([2.0, 0.5], np.float32)[:, None] * state.metric
    state = replace(state, metric=before, momentum=np.array([3.0, 3.0]))
    state.point[...] = 2.0 * state.volumes
    moving = state.point[0].copy()

    kept = refresh_metric(chosen, state, STEADY)
    np.testing.assert_array_equal(kept.momentum, [3.0, 1.0])
    np.testing.assert_array_equal(kept.point[0], moving)
    np.testing.assert_array_equal(kept.point[1], state.volumes[1])

    dropped = refresh_metric(chosen, replace(state, metric=before))
    np.testing.assert_array_equal(dropped.momentum, [1.0, 1.0])
    np.testing.assert_array_equal(dropped.point, state.volumes)
