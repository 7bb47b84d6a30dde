"""Scales that the data do not contain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recon_cases import specimen, tilt_series

from tomoatlas.recon_core.contrast import PowerLaw
from tomoatlas.recon_core.methods import Method, Weights
from tomoatlas.recon_core.metrics import nrmse_by_element
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct
from tomoatlas.recon_core.solver.calibration import (
    haadf_scale_at,
    haadf_scale_holds,
    with_chemical_scale,
)
from tomoatlas.recon_core.tiltseries import TiltSeries

SIZE = 16
SETTINGS = SolverSettings(max_iterations=200)


def clear(**changes: float) -> TiltSeries:
    """Many counts and tilts: nearly noise-free."""
    return tilt_series(SIZE, haadf_tilts=15, chemical_tilts=11, chemical_snr=400.0, **changes)


def score(volumes: np.ndarray) -> float:
    return float(np.mean(nrmse_by_element(volumes, specimen(SIZE).volumes)))


def test_unknown_chemical_scale_puts_the_top_at_one() -> None:
    series = replace(clear(), chemical_scale=None)
    volumes = reconstruct(series, Method.CHEMISTRY_TV, Weights(tv=0.5), SETTINGS).volumes
    tops = np.percentile(volumes.reshape(4, -1), 99.5, axis=1)
    # gold, particles of a voxel or two, sharpens most after the early stop that set the scale
    assert tops[:3] == pytest.approx(1, rel=0.1)
    assert 0.9 < tops[3] < 2.5


def test_fitted_chemical_scale_follows_the_counts() -> None:
    series = replace(clear(), chemical_scale=None)
    double = replace(
        series,
        chemical=2 * series.chemical,
        chemical_background=tuple(2 * b for b in series.chemical_background),
    )
    once, twice = (with_chemical_scale(s).chemical_scale for s in (series, double))
    assert twice == pytest.approx(2 * np.array(once), rel=0.1)


def test_known_chemical_scale_is_kept() -> None:
    assert with_chemical_scale(clear()) is clear()


def test_haadf_scale_at_the_truth() -> None:
    series = clear()
    fitted = haadf_scale_at(series, specimen(SIZE).volumes, PowerLaw(2.0))
    assert fitted == pytest.approx(series.haadf_scale, rel=0.005)


def test_unknown_haadf_scale_is_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    series, fits = clear(), []

    def recorded(*arguments: object) -> float:
        fits.append(haadf_scale_at(*arguments))
        return fits[-1]

    monkeypatch.setattr("tomoatlas.recon_core.solver.multiresolution.haadf_scale_at", recorded)
    reconstruct(replace(series, haadf_scale=None), Method.FUSED, Weights(0.03, 0.5), SETTINGS)
    assert fits[-1] == pytest.approx(series.haadf_scale, rel=0.1)


@pytest.mark.parametrize("gamma", [1.4, 1.7])
def test_another_exponent_refits_the_scale_and_still_helps(gamma: float) -> None:
    series = tilt_series(SIZE)
    settings = SolverSettings(max_iterations=400, gamma=gamma)
    fused = reconstruct(series, Method.FUSED, Weights(0.03, 0.5), settings)
    chemistry = reconstruct(series, Method.CHEMISTRY_TV, Weights(0.0, 0.5), settings)
    assert np.isfinite(fused.volumes).all()
    assert score(fused.volumes) < score(chemistry.volumes)


def test_scale_holds_for_the_exponent_of_the_data_only() -> None:
    series = clear()
    assert haadf_scale_holds(series, PowerLaw(2.0))
    assert not haadf_scale_holds(series, PowerLaw(1.7))
    assert not haadf_scale_holds(replace(series, haadf_scale=None), PowerLaw(2.0))
    assert haadf_scale_holds(replace(series, facts={}), PowerLaw(1.7))
