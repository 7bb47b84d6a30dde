"""What the trials of a series share: kept or prepared anew, alone or in a batch, results agree."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from recon_cases import tilt_series

from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.geometry import Mask
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings, newest_settings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.preparation import Preparations, prepared
from tomoatlas.recon_core.tiltseries import TiltSeries

SIZE = 16
SETTINGS = newest_settings().model_copy(update={"max_iterations": 60})
WEIGHTS = [Weights(0.1, 0.7), Weights(1.0, 2.0)]
OTHERS = [
    {"contrast": "power", "gamma": 2.0},
    {"gamma": 1.4},
    {"regulariser": "tv"},
    {"units": "percentile", "noise": "counts"},
]


@cache
def series_of(tilts: int = 5) -> TiltSeries:
    return tilt_series(SIZE, haadf_tilts=11, chemical_tilts=tilts, chemical_snr=4.0)


def volumes(
    series: TiltSeries,
    method: Method,
    weights: Weights,
    settings: SolverSettings,
    kept: Preparations | None = None,
) -> np.ndarray:
    return reconstruct(series, method, weights, settings, kept=kept).volumes


def test_what_is_kept_changes_no_result() -> None:
    """Whatever was solved before: other weights, methods, settings, another series."""
    kept = Preparations()
    asked = [
        (series_of(), Method.FUSED, WEIGHTS[0], SETTINGS),
        (series_of(), Method.FUSED, WEIGHTS[1], SETTINGS),
        (series_of(), Method.CHEMISTRY_TV, WEIGHTS[0], SETTINGS),
        (series_of(), Method.FUSED, replace(WEIGHTS[0], haadf=0.0), SETTINGS),
        (series_of(), Method.FUSED, WEIGHTS[0], SolverSettings(max_iterations=60)),
        (series_of(), Method.ML, WEIGHTS[0], SETTINGS),
        (series_of(7), Method.FUSED, WEIGHTS[0], SETTINGS),
        (series_of(), Method.FUSED, WEIGHTS[0], SETTINGS),
    ]
    for each in asked:
        np.testing.assert_array_equal(volumes(*each, kept), volumes(*each))


def test_one_preparation_serves_all_weights_of_a_series() -> None:
    kept, key = Preparations(), (Method.FUSED, True, SETTINGS, CPU)
    first = kept.of(series_of(), *key)
    assert kept.of(series_of(), *key) is first
    assert kept.of(series_of(7), *key) is not first
    assert kept.of(series_of(), *key) is not first  # one series is kept, the last


def incomplete() -> list[TiltSeries]:
    """A series that is masked, and one without counts of an element."""
    series = series_of()
    good, maps = np.ones(series.haadf.shape, bool), series.chemical.copy()
    good[2, 3, 4], maps[1] = False, 0
    return [replace(series, haadf_mask=Mask.of(good)), replace(series, chemical=maps)]


@pytest.mark.parametrize("at", range(2))
def test_one_preparation_serves_what_is_usable_of_a_series(at: int) -> None:
    kept, key, series = Preparations(), (Method.FUSED, True, SETTINGS, CPU), incomplete()[at]
    first = kept.of(kept.usable(series)[0], *key)
    assert kept.of(kept.usable(series)[0], *key) is first
    assert kept.of(kept.usable(series_of())[0], *key) is not first


@pytest.mark.parametrize("at", range(2))
def test_what_is_kept_of_an_incomplete_series_changes_no_result(at: int) -> None:
    kept, asked = Preparations(), (incomplete()[at], Method.FUSED, WEIGHTS[0], SETTINGS)
    first = volumes(*asked, kept)
    np.testing.assert_array_equal(volumes(*asked, kept), first)


@pytest.mark.parametrize("changed", [{}, *OTHERS])
def test_a_batch_from_one_start_is_its_trials(changed: dict[str, object]) -> None:
    """With an unknown HAADF scale too: the start has fitted it for all."""
    settings = SolverSettings.model_validate(SETTINGS.model_dump() | changed)
    blind = replace(series_of(), haadf_scale=None)
    batch = reconstruct_batch(blind, Method.FUSED, WEIGHTS, settings)
    for ours, weights in zip(batch, WEIGHTS, strict=True):
        np.testing.assert_array_equal(ours.volumes, volumes(blind, Method.FUSED, weights, settings))


def test_without_haadf_weight_nothing_is_shared() -> None:
    alone = replace(WEIGHTS[0], haadf=0.0)
    found = volumes(series_of(), Method.FUSED, alone, SETTINGS)
    np.testing.assert_array_equal(found, volumes(series_of(), Method.CHEMISTRY_TV, alone, SETTINGS))


def test_trials_begin_with_the_duals_of_the_start_eased_by_their_weights() -> None:
    """By the root of the ratio of the weights; the TV dual never beyond its bound of 1."""
    start = prepared(series_of(), Method.FUSED, True, SETTINGS, CPU).start
    assert start is not None
    haadf, tv = start.weights.haadf, start.weights.tv
    pairs = [(haadf, tv), (4 * haadf, 4 * tv), (haadf / 4, tv / 4), (haadf, 0.0)]
    _, state = start.at([Weights(*pair) for pair in pairs])
    assert state.coupling is not None
    for at, (multiplier, dual) in enumerate([(1.0, 1.0), (0.5, 0.5), (2.0, 1.0), (1.0, 1.0)]):
        np.testing.assert_allclose(state.coupling.d[at], multiplier * start.multiplier, rtol=1e-6)
        np.testing.assert_allclose(state.dual[at], dual * start.dual, rtol=1e-6)


@pytest.mark.parametrize("weights", [Weights(0.03, 0.4), Weights(3.0, 4.0)])
def test_the_end_does_not_depend_on_the_start(weights: Weights) -> None:
    """The problem is convex, whatever its guide: from even volumes it ends where trials do."""
    found = prepared(series_of(), Method.FUSED, True, SETTINGS, CPU)
    assert found.start is not None
    own = found.own([weights])
    problem, state = found.start.at(own)
    (near,) = solve(problem, state, 1e-5, 800)
    (far,) = solve(problem, init(problem, np.full(problem.shape[1:], 0.3, np.float32)), 1e-5, 800)
    assert far.history.objective[-1] == pytest.approx(near.history.objective[-1], rel=2e-3)
