"""What weights of 1 mean: invariances against gain, unit, field of view and rare elements."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from recon_cases import specimen, tilt_series

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.settings import SolverSettings, newest_settings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.recon_core.solver.normalisation import (
    chemistry_start,
    haadf_variance,
    in_noise_units,
    noise_units,
    with_scale,
)
from tomoatlas.recon_core.solver.problem import chemical_problem
from tomoatlas.recon_core.tiltseries import TiltSeries

SIZE = 24
SETTINGS = SolverSettings(noise="residual", units="noise", max_iterations=60)
WEIGHTS = Weights(1.0, 1.0)


@cache
def series() -> TiltSeries:
    return tilt_series(SIZE, haadf_tilts=15, chemical_tilts=9, chemical_snr=4.0)


def amplified(given: TiltSeries, gain: float) -> TiltSeries:
    return replace(
        given,
        haadf=given.haadf * np.float32(gain),
        haadf_background=given.haadf_background * gain,
        haadf_scale=None if given.haadf_scale is None else given.haadf_scale * gain,
    )


def other_unit(given: TiltSeries, factors: np.ndarray) -> TiltSeries:
    """Concentrations in a unit of their own for each element."""
    assert given.chemical_scale is not None
    scale = np.array(given.chemical_scale) * factors
    return replace(given, chemical_scale=tuple(map(float, scale)), haadf_scale=None)


def padded(given: TiltSeries, pixels: int) -> TiltSeries:
    """The same specimen with more vacuum beside it, along the tilt axis."""
    rng = np.random.default_rng(1)

    def side(counts: np.ndarray, level: np.ndarray) -> np.ndarray:
        shape = (*counts.shape[:-1], pixels)
        return rng.poisson(np.broadcast_to(level, shape)).astype(np.float32)

    def wide(counts: np.ndarray, level: np.ndarray) -> np.ndarray:
        return np.concatenate([side(counts, level), counts, side(counts, level)], axis=-1)

    levels = np.array(given.chemical_background)[:, None, None, None]
    return replace(
        given,
        haadf=wide(given.haadf, np.array(given.haadf_background)),
        chemical=wide(given.chemical, levels),
    )


def exposed(level: float, tilts: int, seed: int = 0) -> TiltSeries:
    """Counts of one level everywhere, without background: the projections of a broad slab."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(level, (1, tilts, 32, 32)).astype(np.float32)
    angles = tuple(np.linspace(-20.0, 20.0, tilts))
    return TiltSeries(np.zeros((0, 32, 32), np.float32), (), counts, angles, ("Au",))


@pytest.mark.parametrize(("level", "tilts"), [(2.0, 3), (2.0, 12), (50.0, 3)])
def test_in_noise_units_the_gradient_of_the_counts_has_noise_one(level: float, tilts: int) -> None:
    given = exposed(level, tilts)
    (unit,) = noise_units(given)
    assert unit == pytest.approx(np.sqrt(level / tilts), rel=0.02)
    inner = in_noise_units(replace(given, chemical_scale=(1.0,)))
    term = chemical_problem(inner, [Weights()], SETTINGS).chemistry
    # A^T (1 - b / y) at the y that is true
    slope = unit * term.projector.adjoint(1 - given.chemical / np.float32(level))
    middle = slope[0, 8:-8, 8:-8]
    # rays share their pixels among voxels: a little below 1
    assert 0.6 < middle.std() < 1.1


def test_the_level_of_a_signal_ignores_vacuum_and_holds_for_a_rare_element() -> None:
    rng = np.random.default_rng(0)
    expected = np.full((1, 9, 64, 64), 0.9)
    expected[..., 30:34, 30:34] = 6.0  # 0.4 % of the pixels
    counts = rng.poisson(expected).astype(np.float32)
    given = TiltSeries(
        np.zeros((0, 64, 64), np.float32),
        (),
        counts,
        tuple(np.linspace(-70.0, 70.0, 9)),
        ("Au",),
        chemical_background=(0.9,),
    )
    assert noise_units(given)[0] == pytest.approx(np.sqrt(6.0 / 9), rel=0.15)
    assert noise_units(padded(given, 64))[0] == pytest.approx(np.sqrt(6.0 / 9), rel=0.15)


def test_units_follow_neither_scale_nor_order() -> None:
    known, unknown = noise_units(series()), noise_units(replace(series(), chemical_scale=None))
    np.testing.assert_array_equal(known, unknown)
    inner = in_noise_units(series())
    assert series().chemical_scale is not None
    counts = np.array(inner.chemical_scale) / np.array(inner.unit)
    assert counts == pytest.approx(series().chemical_scale)


@pytest.mark.parametrize("gain", [0.03, 7.0])
@pytest.mark.parametrize("known", [True, False])
def test_a_gain_of_haadf_changes_nothing(gain: float, known: bool) -> None:
    given = series() if known else replace(series(), haadf_scale=None)
    plain = reconstruct(given, Method.FUSED, WEIGHTS, SETTINGS).volumes
    other = reconstruct(amplified(given, gain), Method.FUSED, WEIGHTS, SETTINGS).volumes
    assert np.linalg.norm(other - plain) < 1e-3 * np.linalg.norm(plain)


def test_the_unit_of_an_element_changes_nothing_but_its_numbers() -> None:
    factors = np.array([3.0, 0.1, 1.0, 40.0])
    plain = reconstruct(series(), Method.CHEMISTRY_TV, WEIGHTS, SETTINGS).volumes
    other = reconstruct(
        other_unit(series(), factors), Method.CHEMISTRY_TV, WEIGHTS, SETTINGS
    ).volumes
    scaled = other * factors[:, None, None, None].astype(np.float32)
    np.testing.assert_allclose(scaled, plain, atol=1e-5 * plain.max())


def test_unknown_scales_give_the_same_volumes_up_to_a_factor_each() -> None:
    plain = reconstruct(series(), Method.CHEMISTRY_TV, WEIGHTS, SETTINGS).volumes
    unknown = replace(series(), chemical_scale=None, haadf_scale=None)
    other = reconstruct(unknown, Method.CHEMISTRY_TV, WEIGHTS, SETTINGS).volumes
    for ours, theirs in zip(other, plain, strict=True):
        factor = np.vdot(ours, theirs) / np.vdot(ours, ours)
        np.testing.assert_allclose(factor * ours, theirs, atol=1e-5 * theirs.max())


def test_a_gain_and_a_wider_field_move_the_variance_by_gain_squared_and_little() -> None:
    inner = in_noise_units(series())
    once = haadf_variance(inner, SETTINGS, CPU)
    assert haadf_variance(amplified(inner, 4.0), SETTINGS, CPU) == pytest.approx(16 * once, 1e-6)
    wide = haadf_variance(in_noise_units(padded(series(), 12)), SETTINGS, CPU)
    assert wide == pytest.approx(once, rel=0.2)


def test_the_variance_is_that_of_the_noise_where_nothing_else_is_left() -> None:
    clear = tilt_series(SIZE, haadf_tilts=15, chemical_tilts=15, chemical_snr=1e5, haadf_snr=6.0)
    found = haadf_variance(in_noise_units(clear), SETTINGS, CPU)
    signal = clear.haadf - clear.haadf_background
    assert found == pytest.approx(np.vdot(signal, clear.haadf) / signal.sum(), rel=0.35)


def test_a_level_of_vacuum_that_is_not_given_leaves_the_variance() -> None:
    inner = in_noise_units(series())
    dark = replace(inner, haadf_background=0.0)
    assert haadf_variance(dark, SETTINGS, CPU) == haadf_variance(inner, SETTINGS, CPU)


def test_a_batch_is_its_trials() -> None:
    weights = [Weights(0.5, 1.0), Weights(2.0, 0.7)]
    batch = reconstruct_batch(series(), Method.FUSED, weights, SETTINGS)
    for each, ours in zip(weights, batch, strict=True):
        alone = reconstruct(series(), Method.FUSED, each, SETTINGS)
        np.testing.assert_array_equal(ours.volumes, alone.volumes)
        assert (ours.facts["haadf"], ours.facts["tv"]) == (each.haadf, each.tv)


def test_a_monitor_sees_concentrations() -> None:
    seen: list[np.ndarray] = []

    def watched(volumes: np.ndarray) -> float:
        seen.append(volumes.copy())
        return 0.0

    result = reconstruct(series(), Method.CHEMISTRY_TV, WEIGHTS, SETTINGS, watched)
    np.testing.assert_array_equal(seen[-1], result.volumes)


def test_more_vacuum_beside_it_leaves_the_specimen() -> None:
    unknown = replace(series(), chemical_scale=None, haadf_scale=None)
    pad = 12
    plain = reconstruct(unknown, Method.FUSED, WEIGHTS, SETTINGS).volumes
    wide = reconstruct(padded(unknown, pad), Method.FUSED, WEIGHTS, SETTINGS).volumes
    # the element of the fewest voxels included
    for ours, theirs in zip(wide[..., pad:-pad], plain, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9
        assert 0.6 < ours.sum() / theirs.sum() < 1.7


def test_one_count_costs_the_others_nothing() -> None:
    unknown = replace(series(), chemical_scale=None, haadf_scale=None)
    chemical = unknown.chemical.copy()
    chemical[0] = 0
    levels = (0.0, *unknown.chemical_background[1:])
    none = replace(unknown, chemical=chemical, chemical_background=levels)
    single = chemical.copy()
    single[0, 3, 9, 9] = 1
    one = replace(none, chemical=single)
    without, with_one = (
        reconstruct(each, Method.FUSED, WEIGHTS, SETTINGS).volumes for each in (none, one)
    )
    assert not without[0].any()
    assert with_one[0].max() < with_one[1:].max()
    truth = specimen(SIZE).volumes
    for ours, theirs, true in zip(with_one[1:], without[1:], truth[1:], strict=True):
        correlations = [np.corrcoef(v.ravel(), true.ravel())[0, 1] for v in (ours, theirs)]
        assert correlations[0] > correlations[1] - 0.02


def test_counts_and_haadf_agree_on_the_unit() -> None:
    """Two blocks that HAADF tells apart: the coefficients of its law hold in the units chosen."""
    volumes = np.zeros((2, SIZE, SIZE, SIZE), np.float32)
    volumes[0, 8:16, 8:16, 3:10] = 1
    volumes[1, 8:16, 8:16, 14:21] = 0.5
    blocks = Specimen(volumes, ("Fe", "Au"), 1.0)
    plan = Acquisition(haadf_tilts=15, chemical_tilts=15, chemical_snr=400.0)
    clear = simulate(blocks, plan, 0)
    found = with_scale(replace(clear, chemical_scale=None), SETTINGS, CPU)
    assert found.haadf_scale is None
    ratio = np.array(found.chemical_scale) / np.array(clear.chemical_scale)
    assert ratio[1] == pytest.approx(ratio[0], rel=0.05)


def test_the_start_needs_no_other_weights() -> None:
    start = chemistry_start(in_noise_units(series()), SETTINGS, CPU)
    assert start.shape == (4, SIZE, SIZE, SIZE)
    assert (start >= 0).all()


@pytest.mark.parametrize("film", [False, True])
def test_the_fitted_law_knows_neither_gain_nor_unit_nor_absent_elements(film: bool) -> None:
    settings = SolverSettings(
        noise="residual", units="noise", contrast="fitted", gamma=1.4, max_iterations=60, film=film
    )
    plain = reconstruct(series(), Method.FUSED, WEIGHTS, settings)
    other = reconstruct(amplified(series(), 7.0), Method.FUSED, WEIGHTS, settings)
    assert np.linalg.norm(other.volumes - plain.volumes) < 1e-3 * np.linalg.norm(plain.volumes)
    assert plain.haadf is not None
    assert other.haadf is not None
    ours, theirs = (np.array(r.haadf.coefficients.values) for r in (other, plain))
    np.testing.assert_allclose(ours, 7.0 * theirs, rtol=1e-3)
    dark = replace(series(), chemical=series().chemical * np.float32([[[[0]]], *[[[[1]]]] * 3]))
    without = reconstruct(dark, Method.FUSED, WEIGHTS, settings)
    assert without.haadf is not None
    assert without.haadf.coefficients.elements == dark.elements
    assert without.haadf.coefficients.values[0] == 0
    assert not without.volumes[0].any()


def test_coefficients_are_those_of_concentrations_whatever_the_unit_of_the_solve() -> None:
    settings = SolverSettings(contrast="fitted", gamma=1.4, max_iterations=60)
    clear = tilt_series(SIZE, haadf_tilts=15, chemical_tilts=15, chemical_snr=400.0)
    weights = Weights(0.01, 0.1)  # light regularisation: both solve the same problem but for TV
    plain = reconstruct(clear, Method.FUSED, weights, settings)
    inner = settings.model_copy(update={"units": "noise"})
    other = reconstruct(clear, Method.FUSED, weights, inner)
    assert plain.haadf is not None
    assert other.haadf is not None
    ours, theirs = (np.array(r.haadf.coefficients.values) for r in (other, plain))
    np.testing.assert_allclose(ours, theirs, rtol=0.4)


def test_backgrounds_that_are_not_given_are_found_in_the_vacuum() -> None:
    blind = replace(series(), chemical_background=())
    settings = SETTINGS.model_copy(update={"background": "vacuum"})
    found = with_scale(blind, settings, CPU)
    assert found.chemical_background == pytest.approx(series().chemical_background, rel=0.15)
    assert with_scale(series(), settings, CPU) is series()
    assert with_scale(blind, SETTINGS, CPU) is blind
    known = reconstruct(series(), Method.CHEMISTRY_TV, WEIGHTS, settings).volumes
    ours = reconstruct(blind, Method.CHEMISTRY_TV, WEIGHTS, settings).volumes
    nothing = reconstruct(blind, Method.CHEMISTRY_TV, WEIGHTS, SETTINGS).volumes
    assert np.linalg.norm(ours - known) < 0.5 * np.linalg.norm(nothing - known)


def test_a_single_count_is_next_to_nothing_in_the_unit_of_the_others() -> None:
    chemical = series().chemical.copy()
    chemical[0] = 0
    chemical[0, 2, 9, 9] = 1
    given = replace(
        series(),
        chemical=chemical,
        chemical_background=(0.0, *series().chemical_background[1:]),
        chemical_scale=None,
    )
    scale = with_scale(given, SETTINGS, CPU).chemical_scale
    assert scale is not None
    assert scale[0] == pytest.approx(np.exp(np.log(scale[1:]).mean()))


@pytest.mark.parametrize("contrast", ["power", "linear", "fitted"])
def test_a_dozen_counts_end_with_a_status_or_a_refusal(contrast: str) -> None:
    """One map without background of 16 counts: the start of the unit blows up."""
    few = Acquisition(haadf_tilts=1, chemical_tilts=1, background=0.0, chemical_snr=1.05)
    data = simulate(make_specimen("composite", 12, 2), few, 2)
    changes = {"contrast": contrast, "gamma": 2.0, "max_iterations": 30}
    settings = newest_settings().model_copy(update=changes)
    with suppress(BadInput):
        result = reconstruct(data, Method.FUSED, Weights(0.3, 1.4), settings)
        assert np.isfinite(result.volumes).all()
