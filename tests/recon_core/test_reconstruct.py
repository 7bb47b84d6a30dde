"""The entry point: methods, statuses, symmetries of the data."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from recon_cases import specimen, tilt_series

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import DEFAULT_WEIGHTS, WEIGHT_BOUNDS, Method, Weights
from tomoatlas.recon_core.metrics import nrmse, nrmse_by_element
from tomoatlas.recon_core.result import Status
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.recon_core.tiltseries import MOST_COUNTS, TiltSeries

SERIES = tilt_series()
WEIGHTS = Weights(0.03, 0.5)
SHORT = SolverSettings(max_iterations=60)
Pair = tuple[float, float]


def score(volumes: np.ndarray) -> float:
    return float(np.mean(nrmse_by_element(volumes, specimen().volumes)))


def permuted(series: TiltSeries, order: list[int]) -> TiltSeries:
    return replace(
        series,
        chemical=series.chemical[order],
        elements=tuple(series.elements[i] for i in order),
        chemical_background=tuple(series.chemical_background[i] for i in order),
        chemical_scale=tuple(series.chemical_scale[i] for i in order),
    )


def brighter(series: TiltSeries, factor: float) -> TiltSeries:
    """The same specimen under ``factor`` times the dose, noise included."""
    return replace(
        series,
        haadf=series.haadf * np.float32(factor),
        haadf_background=series.haadf_background * factor,
        haadf_scale=series.haadf_scale * factor,
        chemical=series.chemical * np.float32(factor),
        chemical_background=tuple(b * factor for b in series.chemical_background),
        chemical_scale=tuple(s * factor for s in series.chemical_scale),
    )


@pytest.mark.parametrize("method", [Method.FUSED, Method.CHEMISTRY_TV, Method.ML])
def test_order_of_elements_changes_nothing(method: Method) -> None:
    order = [3, 0, 2, 1]
    plain = reconstruct(SERIES, method, WEIGHTS, SHORT)
    moved = reconstruct(permuted(SERIES, order), method, WEIGHTS, SHORT)
    np.testing.assert_allclose(moved.volumes, plain.volumes[order], atol=2e-3)
    assert moved.history.objective[-1] == pytest.approx(plain.history.objective[-1], rel=1e-4)


@pytest.mark.parametrize("likelihood", ["poisson", "least-squares"])
@pytest.mark.parametrize("method", [Method.FUSED, Method.CHEMISTRY_TV, Method.ML])
def test_dose_changes_the_likelihood_and_nothing_else(method: Method, likelihood: str) -> None:
    """Every data term is proportional to the dose; tv scaled with it, the minimiser stays."""
    settings = SHORT.model_copy(update={"chemistry": likelihood})
    plain = reconstruct(SERIES, method, WEIGHTS, settings)
    more = reconstruct(brighter(SERIES, 4.0), method, Weights(0.03, 4 * 0.5), settings)
    np.testing.assert_allclose(more.volumes, plain.volumes, atol=1e-4)
    np.testing.assert_allclose(
        more.history.objective, np.multiply(plain.history.objective, 4), 1e-4
    )


@pytest.mark.parametrize("tilts", [0, 9])
def test_fused_without_haadf_is_chemistry_tv(tilts: int) -> None:
    series = tilt_series(haadf_tilts=tilts)
    weights = Weights(0.03 if tilts == 0 else 0.0, 0.5)
    settings = SolverSettings(tolerance=1e-6, max_iterations=2000)
    fused = reconstruct(series, Method.FUSED, weights, settings)
    chemistry = reconstruct(series, Method.CHEMISTRY_TV, weights, settings)
    assert fused.history.objective[-1] == pytest.approx(chemistry.history.objective[-1], rel=1e-4)
    assert set(fused.history.haadf) == {0.0}
    for ours, theirs in zip(fused.volumes, chemistry.volumes, strict=True):
        assert nrmse(ours, theirs) < 0.02


def test_baselines_ignore_weights_they_do_not_have() -> None:
    ml = reconstruct(SERIES, Method.ML, WEIGHTS, SHORT)
    np.testing.assert_array_equal(
        ml.volumes, reconstruct(SERIES, Method.ML, settings=SHORT).volumes
    )
    assert set(ml.history.tv) == set(ml.history.haadf) == {0.0}
    with_nan = Weights(float("nan"), 0.5)
    plain = reconstruct(SERIES, Method.CHEMISTRY_TV, WEIGHTS, SHORT)
    np.testing.assert_array_equal(
        reconstruct(SERIES, Method.CHEMISTRY_TV, with_nan, SHORT).volumes, plain.volumes
    )


def test_each_method_is_better_than_the_one_it_extends() -> None:
    settings = SolverSettings(max_iterations=400)
    scores = [
        score(reconstruct(SERIES, method, weights, settings, score).volumes)
        for method, weights in [
            (Method.FUSED, Weights(0.03, 0.5)),
            (Method.CHEMISTRY_TV, Weights(0.0, 0.5)),
            (Method.ML, Weights()),
        ]
    ]
    assert scores[0] < scores[1] < scores[2]
    stopped = score(reconstruct(SERIES, Method.ML_STOPPED, monitor=score).volumes)
    assert stopped < scores[2]


def test_zero_background_works() -> None:
    series = tilt_series(background=0.0)
    assert series.chemical_background == (0.0,) * 4
    for method in (Method.FUSED, Method.CHEMISTRY_TV, Method.ML):
        result = reconstruct(series, method, WEIGHTS, SolverSettings(max_iterations=200))
        assert result.status in (Status.CONVERGED, Status.ITERATION_LIMIT)
        assert np.isfinite(result.history.objective).all()
        assert result.history.objective[-1] < result.history.objective[0]


@pytest.mark.parametrize("method", list(Method))
def test_an_element_without_counts_costs_the_others_nothing(method: Method) -> None:
    there = np.array([True, True, False, True])
    chemical = SERIES.chemical * there[:, None, None, None].astype(np.float32)
    seen: list[tuple[int, ...]] = []

    def watched(volumes: np.ndarray) -> float:
        seen.append(volumes.shape)
        return float(np.linalg.norm(volumes[there] - specimen().volumes[there]))

    result = reconstruct(replace(SERIES, chemical=chemical), method, WEIGHTS, SHORT, watched)
    alone = reconstruct(
        SERIES.of(there),
        method,
        WEIGHTS,
        SHORT,
        lambda volumes: float(np.linalg.norm(volumes - specimen().volumes[there])),
    )
    assert result.status is alone.status
    assert "no counts at all in O" in result.message
    assert result.elements == SERIES.elements
    assert not result.volumes[2].any()
    np.testing.assert_array_equal(result.volumes[there], alone.volumes)
    assert set(seen) == {(4, 12, 12, 12)}


@pytest.mark.parametrize("method", list(Method))
def test_maps_without_any_count_are_bad_data(method: Method) -> None:
    dark = replace(SERIES, chemical=np.zeros_like(SERIES.chemical))
    result = reconstruct(dark, method, WEIGHTS, SHORT, score)
    assert (result.status, result.iterations) == (Status.BAD_DATA, 0)
    assert result.message == "no counts at all in Co, Cu, O, Au"
    assert result.volumes.shape == (4, 12, 12, 12)
    assert not result.volumes.any()


def test_haadf_without_signal_is_bad_data() -> None:
    """Nothing above the background: no scale can be fitted."""
    dark = replace(SERIES, haadf=np.zeros_like(SERIES.haadf), haadf_scale=None)
    result = reconstruct(dark, Method.FUSED, WEIGHTS, SHORT)
    assert result.status is Status.BAD_DATA
    assert "HAADF" in result.message


def test_same_data_same_volumes() -> None:
    first, second = (reconstruct(SERIES, Method.FUSED, WEIGHTS, SHORT) for _ in range(2))
    np.testing.assert_array_equal(first.volumes, second.volumes)
    assert first.history == second.history


@pytest.mark.parametrize("method", [Method.FUSED, Method.CHEMISTRY_TV, Method.ML])
def test_monitor_is_called(method: Method) -> None:
    seen: list[float] = []

    def monitor(volumes: np.ndarray) -> float:
        seen.append(score(volumes))
        return seen[-1]

    result = reconstruct(SERIES, method, WEIGHTS, SHORT, monitor)
    assert len(seen) > 10
    assert seen[-1] == score(result.volumes)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e-23, 1e38])
@pytest.mark.parametrize("name", ["haadf", "tv"])
def test_impossible_weights(name: str, value: float) -> None:
    with pytest.raises(BadInput) as caught:
        reconstruct(SERIES, Method.FUSED, replace(WEIGHTS, **{name: value}))
    assert caught.value.key == name
    assert caught.value.value is value


@pytest.mark.parametrize("weights", [{"haadf": 0.3, "tv": 1.4}, (0.3, 1.4)])
def test_weights_of_another_type(weights: Any) -> None:
    with pytest.raises(BadInput) as caught:
        reconstruct(SERIES, Method.FUSED, weights)
    assert (caught.value.key, caught.value.value) == ("weights", weights)


@pytest.mark.parametrize("gamma", [1.7, 2.0])
@pytest.mark.parametrize("weights", list(product((0.0, *WEIGHT_BOUNDS), repeat=2)))
def test_the_most_extreme_weights_overflow_nothing(weights: Pair, gamma: float) -> None:
    settings = SolverSettings(max_iterations=30, gamma=gamma)
    result = reconstruct(SERIES, Method.FUSED, Weights(*weights), settings)
    assert np.isfinite(result.volumes).all()
    assert np.isfinite(result.history.objective).all()


def test_the_largest_counts_overflow_nothing() -> None:
    result = reconstruct(brighter(SERIES, MOST_COUNTS / 1e5), Method.FUSED, WEIGHTS, SHORT)
    assert result.status is not Status.DIVERGED
    assert np.isfinite(result.history.objective).all()


def test_stopped_ml_needs_a_monitor() -> None:
    with pytest.raises(BadInput) as caught:
        reconstruct(SERIES, Method.ML_STOPPED)
    assert (caught.value.key, caught.value.value) == ("method", "ml-stopped")


def test_stopped_ml_is_labelled_an_oracle() -> None:
    result = reconstruct(SERIES, Method.ML_STOPPED, monitor=score)
    assert "oracle" in result.message
    assert result.status is Status.CONVERGED
    assert result.iterations >= 1


def test_slices_of_any_width() -> None:
    """One slice, and an odd number of them, along the tilt axis."""
    for width in (1, 5):
        narrow = replace(
            SERIES,
            haadf=SERIES.haadf[..., 3 : 3 + width],
            chemical=SERIES.chemical[..., 3 : 3 + width],
        )
        result = reconstruct(narrow, Method.FUSED, WEIGHTS, SHORT)
        assert result.volumes.shape == (4, 12, 12, width)
        assert np.isfinite(result.volumes).all()


@pytest.mark.parametrize("method", [Method.FUSED, Method.CHEMISTRY_TV, Method.ML])
def test_a_batch_is_its_trials_one_by_one(method: Method) -> None:
    weights = [Weights(0.03, 0.5), Weights(0.0, 0.2), Weights(1.0, 0.2), Weights(0.1, 1.0)]
    batch = reconstruct_batch(SERIES, method, weights, SHORT)
    for each, ours in zip(weights, batch, strict=True):
        alone = reconstruct(SERIES, method, each, SHORT)
        np.testing.assert_array_equal(ours.volumes, alone.volumes)
        assert ours.history == alone.history


def test_a_batch_with_unknown_scale_fits_it_for_every_trial() -> None:
    series, weights = replace(SERIES, haadf_scale=None), [Weights(0.03, 0.5), Weights(1.0, 0.5)]
    batch = reconstruct_batch(series, Method.FUSED, weights, SHORT)
    for each, ours in zip(weights, batch, strict=True):
        alone = reconstruct(series, Method.FUSED, each, SHORT)
        np.testing.assert_array_equal(ours.volumes, alone.volumes)


def test_empty_haadf_spoils_no_trial_of_a_batch_that_does_not_look_at_it() -> None:
    dark = replace(SERIES, haadf=np.zeros_like(SERIES.haadf))
    weights = [Weights(0.0, 0.5), Weights(0.1, 0.5), Weights(0.0, 0.2)]
    batch = reconstruct_batch(dark, Method.FUSED, weights, SHORT)
    assert [r.status is Status.BAD_DATA for r in batch] == [False, True, False]
    for each, ours in zip(weights, batch, strict=True):
        alone = reconstruct(dark, Method.FUSED, each, SHORT)
        np.testing.assert_array_equal(ours.volumes, alone.volumes)
        assert (ours.status, ours.message) == (alone.status, alone.message)


def test_empty_batches_and_batches_of_empty_data() -> None:
    assert reconstruct_batch(SERIES, Method.FUSED, [], SHORT) == ()
    dark = replace(SERIES, chemical=np.zeros_like(SERIES.chemical))
    results = reconstruct_batch(dark, Method.FUSED, [WEIGHTS, WEIGHTS], SHORT)
    assert [r.status for r in results] == [Status.BAD_DATA] * 2
    with pytest.raises(BadInput) as caught:
        reconstruct_batch(SERIES, Method.FUSED, [WEIGHTS, Weights(-1.0, 0.5)], SHORT)
    assert (caught.value.key, caught.value.value) == ("haadf", -1.0)
    with pytest.raises(BadInput) as caught:
        reconstruct_batch(SERIES, Method.ML_STOPPED, [WEIGHTS], SHORT)
    assert (caught.value.key, caught.value.value) == ("method", "ml-stopped")


@pytest.mark.parametrize("method", list(Method))
def test_a_method_may_be_named(method: Method) -> None:
    monitor = score if method is Method.ML_STOPPED else None
    by_name = reconstruct(SERIES, str(method), WEIGHTS, SHORT, monitor)
    by_member = reconstruct(SERIES, method, WEIGHTS, SHORT, monitor)
    np.testing.assert_array_equal(by_name.volumes, by_member.volumes)
    assert by_name.facts["method"] == str(method)


def test_an_unknown_method_is_refused_with_the_four_there_are() -> None:
    for call in (
        lambda: reconstruct(SERIES, "sirt"),
        lambda: reconstruct_batch(SERIES, "sirt", [WEIGHTS]),
    ):
        with pytest.raises(BadInput) as refused:
            call()
        assert (refused.value.key, refused.value.value) == ("method", "sirt")
        assert refused.value.accepted == "fused, chemistry-tv, ml, ml-stopped"


def test_without_weights_the_default_pair_is_taken() -> None:
    plain = reconstruct(SERIES, settings=SHORT)
    given = reconstruct(SERIES, Method.FUSED, DEFAULT_WEIGHTS, SHORT)
    np.testing.assert_array_equal(plain.volumes, given.volumes)
    assert (plain.facts["haadf"], plain.facts["tv"]) == (0.02, 1.0)
    assert score(plain.volumes) < score(reconstruct(SERIES, "ml", settings=SHORT).volumes)


def test_a_reconstruction_names_its_elements_weights_and_settings() -> None:
    found = reconstruct_batch(SERIES, "chemistry-tv", [WEIGHTS, Weights(0.0, 0.2)], SHORT)
    assert [one.facts["tv"] for one in found] == [0.5, 0.2]
    assert all("haadf" not in one.facts and one.facts["max_iterations"] == 60 for one in found)
    assert all(one.elements == SERIES.elements for one in found)
    assert all(one.voxel_size_nm == SERIES.voxel_size_nm for one in found)


def test_a_device_may_be_named() -> None:
    named = reconstruct(SERIES, "ml", settings=SHORT, device="cpu")
    np.testing.assert_array_equal(named.volumes, reconstruct(SERIES, "ml", settings=SHORT).volumes)
    with pytest.raises(BadInput) as refused:
        reconstruct(SERIES, "ml", device="tpu")
    assert refused.value.value == "tpu"
