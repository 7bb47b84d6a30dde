"""Coefficients of HAADF from the measured maps: closed forms, invariances, honest errors."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.metrics.vacuum import Vacuum
from tomoatlas.recon_core.result import Coefficients
from tomoatlas.recon_core.settings import SolverSettings, newest_settings
from tomoatlas.recon_core.solver import reconstruct, reconstruct_batch
from tomoatlas.recon_core.solver.haadf_moments import coefficients_from_maps
from tomoatlas.recon_core.tiltseries import TiltSeries

SETTINGS = SolverSettings(contrast="fitted", gamma=1.0)
SIZE = 24


def series(seed: int = 0, snr: float = 3.0, haadf_tilts: int = 35) -> TiltSeries:
    plan = Acquisition(
        haadf_tilts=haadf_tilts,
        chemical_tilts=9,
        chemical_snr=snr,
        contrast="linear",
        oversample=2,
    )
    return simulate(make_specimen("nanocubes", 2 * SIZE, 0), plan, seed)


def true_values(data: TiltSeries) -> np.ndarray:
    assert data.haadf_scale is not None
    return data.haadf_scale * np.array(data.atomic_numbers, float) ** 2


def found(data: TiltSeries) -> Coefficients:
    return coefficients_from_maps(data, SETTINGS)


def test_maps_without_much_noise_give_the_coefficients() -> None:
    data = series(snr=1e5)
    ratio = np.array(found(data).values) / true_values(data)
    # gold stands alone; Co, Cu and their O hold the rest in common
    assert ratio[3] == pytest.approx(1.0, abs=0.05)
    assert ratio[:2] == pytest.approx(1.0, abs=0.2)


def test_noise_of_the_maps_does_not_lower_the_coefficients() -> None:
    # of about two counts: a plain fit to them is biased towards 0
    gold = [found(data).values[3] / true_values(data)[3] for data in map(series, range(6))]
    assert np.mean(gold) == pytest.approx(1.0, abs=0.1)


def test_errors_cover_the_truth() -> None:
    sigmas = []
    for data in map(series, range(8)):
        fit = found(data)
        off = np.array(fit.values) - true_values(data)
        sigmas.extend(off / np.array(fit.errors))
    assert np.mean(np.abs(sigmas) < 2) > 0.8
    assert np.std(sigmas) > 0.2


def test_what_the_data_do_not_identify_is_named() -> None:
    assert found(series()).undecided == ("O",)


def test_units_of_counts_and_concentrations_carry_over() -> None:
    data = series()
    before = np.array(found(data).values)
    amplified = replace(data, haadf=7 * data.haadf, haadf_background=7 * data.haadf_background)
    assert np.array(found(amplified).values) == pytest.approx(7 * before, rel=1e-4)
    assert data.chemical_scale is not None
    factors = np.array([2.0, 0.5, 1.0, 3.0])
    scaled = replace(data, chemical_scale=tuple(factors * data.chemical_scale))
    # the prior holds what the data leave open to the unit of concentration: gold is free of it
    assert found(scaled).values[3] == pytest.approx(3 * before[3], rel=0.1)


def test_a_unit_of_the_volumes_changes_nothing() -> None:
    data = series()
    assert data.chemical_scale is not None
    unit = (0.1, 2.0, 1.0, 5.0)
    scale = tuple(s * u for s, u in zip(data.chemical_scale, unit, strict=True))
    assert found(replace(data, unit=unit, chemical_scale=scale)).values == pytest.approx(
        found(data).values, rel=1e-9
    )


def test_maps_far_from_any_haadf_tilt_do_not_count() -> None:
    data = series(haadf_tilts=3)
    near = [0, 4, 8]  # -70, 0 and 70 degrees
    some = replace(
        data,
        chemical=data.chemical[:, near],
        chemical_angles_deg=tuple(data.chemical_angles_deg[i] for i in near),
    )
    assert found(data).values == pytest.approx(found(some).values, rel=1e-6)


def test_haadf_that_does_not_rise_is_refused() -> None:
    data = series()
    dark = replace(data, haadf=np.zeros_like(data.haadf), haadf_background=5.0)
    with pytest.raises(BadInput) as refused:
        found(dark)
    assert refused.value.key == "haadf/background"


def test_a_fused_solve_uses_them() -> None:
    data = series()
    result = reconstruct(data, "fused", settings=SETTINGS)
    assert result.haadf is not None
    vacuum = result.haadf.vacuum
    assert isinstance(vacuum, Vacuum)
    assert result.haadf.coefficients == found(vacuum.of(data))


def _spoilt(data: TiltSeries) -> dict[str, TiltSeries]:
    """Series that hold next to nothing."""
    dot = np.zeros(data.haadf.shape[-2:], np.float32)
    dot[8, 8] = 1
    return {
        "one pixel in every map": replace(data, chemical=np.zeros_like(data.chemical) + dot),
        "even maps": replace(data, chemical=np.ones_like(data.chemical)),
        "one pixel of HAADF": replace(data, haadf=np.zeros_like(data.haadf) + dot),
        "even HAADF": replace(data, haadf=np.full_like(data.haadf, 50)),
        "HAADF the wrong way round": replace(data, haadf=data.haadf.max() - data.haadf),
        "no map of one element": replace(
            data, chemical=data.chemical * (np.arange(4) > 0)[:, None, None, None]
        ),
    }


@pytest.mark.parametrize("kind", _spoilt(series()))
@pytest.mark.parametrize("known", [True, False])
def test_a_series_that_holds_next_to_nothing_ends_with_a_status_or_is_refused(
    kind: str, known: bool
) -> None:
    data = _spoilt(series())[kind]
    if not known:
        data = replace(data, haadf_scale=None, chemical_scale=None, chemical_background=())
    with contextlib.suppress(BadInput):
        assert np.isfinite(reconstruct(data, "fused").volumes).all()


@pytest.mark.parametrize(("haadf", "maps"), [(1, 7), (1, 1), (2, 1)])
@pytest.mark.parametrize("size", [12, 16])
def test_one_tilt_is_reconstructed_too(haadf: int, maps: int, size: int) -> None:
    specimen = make_specimen("nanocubes", size, 0)
    data = simulate(specimen, Acquisition(haadf_tilts=haadf, chemical_tilts=maps), 1)
    settings = newest_settings().model_copy(update={"max_iterations": 20})
    assert np.isfinite(reconstruct(data, "fused", settings=settings).volumes).all()


def test_a_trial_of_a_batch_is_the_trial_alone() -> None:
    data = series()
    pairs = [Weights(0.3, 1.4), Weights(3.0, 0.5)]
    together = reconstruct_batch(data, "fused", pairs)
    for found, weights in zip(together, pairs, strict=True):
        alone = reconstruct(data, "fused", weights)
        assert np.array_equal(found.volumes, alone.volumes)
        assert found.haadf == alone.haadf
