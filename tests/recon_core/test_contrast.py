"""HAADF contrast: the power law, and the seam for another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from recon_cases import random_volumes, specimen, start_of, tilt_series

from tomoatlas.phantoms.acquire import project
from tomoatlas.recon_core.contrast import (
    LAWS,
    Contrast,
    LinearLaw,
    PowerLaw,
    contrast_of,
    relative_factors,
    signal_below_vacuum,
)
from tomoatlas.recon_core.methods import Weights
from tomoatlas.recon_core.metrics import nrmse
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver.admm import init, solve
from tomoatlas.recon_core.solver.calibration import haadf_scale_at
from tomoatlas.recon_core.solver.problem import chemical_problem, with_haadf
from tomoatlas.recon_core.tiltseries import TiltSeries

SETTINGS = SolverSettings()


@dataclass(frozen=True)
class Linear:
    """s = sum_i Z_i^1.7 x_i, above a vacuum that the series does not record."""

    level: float = 7.0
    gamma: float = 1.0

    def factors(self, atomic_numbers: Sequence[int]) -> np.ndarray:
        return np.asarray(atomic_numbers, np.float64) ** 1.7

    def vacuum(self, series: TiltSeries) -> float:
        return self.level

    def holds_for(self, facts: Mapping[str, float | str]) -> bool:
        return False

    def of_volumes(self, volumes: np.ndarray, atomic_numbers: Sequence[int]) -> np.ndarray:
        return np.tensordot(self.factors(atomic_numbers), volumes, 1).astype(np.float32)


def linear_series(size: int) -> TiltSeries:
    """A series whose HAADF is linear, exact and of scale 2."""
    series, truth = tilt_series(size), specimen(size)
    signal = Linear().of_volumes(truth.volumes, truth.atomic_numbers)
    haadf = 2.0 * project(signal, series.haadf_angles_deg) + Linear().level
    return replace(series, haadf=haadf.astype(np.float32), haadf_scale=2.0)


@pytest.mark.parametrize(
    "law", [PowerLaw(1.4), PowerLaw(2.0), LinearLaw(1.0), LinearLaw(2.0), Linear()]
)
def test_a_contrast_is_the_sum_of_its_factors_times_the_power(law: Contrast) -> None:
    volumes, numbers = random_volumes((2, 3, 4, 5)), (8, 79)
    factors = law.factors(numbers)[:, None, None, None]
    expected = (factors * volumes.astype(float) ** law.gamma).sum(0)
    np.testing.assert_allclose(law.of_volumes(volumes, numbers), expected, rtol=1e-4)


def test_the_scale_of_a_simulated_series_is_of_its_exponent() -> None:
    assert PowerLaw(2.0).holds_for({"gamma": 2.0})
    assert not PowerLaw(1.7).holds_for({"gamma": 2.0})
    assert PowerLaw(1.7).holds_for({})


def test_a_scale_holds_for_the_law_of_its_series_alone() -> None:
    power, linear = (tilt_series(8, contrast=name).facts for name in ("power", "linear"))
    assert PowerLaw(2.0).holds_for(power)
    assert LinearLaw(2.0).holds_for(linear)
    assert not PowerLaw(2.0).holds_for(linear)
    assert not LinearLaw(2.0).holds_for(power)
    assert not LinearLaw(1.7).holds_for(linear)
    assert not LinearLaw(2.0).holds_for({"gamma": 2.0})  # a file older than the choice of laws
    assert LinearLaw(1.7).holds_for({})


def test_the_settings_name_the_law_and_its_exponent() -> None:
    assert contrast_of(SolverSettings(gamma=1.7)) == PowerLaw(1.7)
    assert contrast_of(SolverSettings(contrast="linear", gamma=1.2)) == LinearLaw(1.2)
    assert all(law(2.0).factors((79,)) == 79**2 for law in LAWS.values())


def test_the_problem_holds_any_law_of_the_form() -> None:
    series, law = tilt_series(8), Linear()
    problem = chemical_problem(series, [Weights(0.3, 0.5)], SETTINGS)
    problem = with_haadf(problem, series, [Weights(0.3, 0.5)], SETTINGS, law)
    volumes = random_volumes(problem.shape)
    _, mean = relative_factors(series, law)
    expected = law.of_volumes(volumes[0], series.atomic_numbers) / mean
    np.testing.assert_allclose(problem.contrast(volumes)[0], expected, rtol=1e-4)


def test_another_law_has_its_own_scale_and_vacuum() -> None:
    series = linear_series(16)
    assert haadf_scale_at(series, specimen(16).volumes, Linear()) == pytest.approx(2.0, rel=1e-3)
    problem = chemical_problem(series, [Weights(1.0, 0.5)], SETTINGS)
    problem = with_haadf(problem, series, [Weights(1.0, 0.5)], SETTINGS, Linear())
    at_truth = problem.terms(specimen(16).volumes[None]).haadf[0]
    assert at_truth < 1e-4 * problem.terms(0.5 * specimen(16).volumes[None]).haadf[0]


def test_a_solve_with_another_law_gains_from_its_haadf() -> None:
    series, truth = linear_series(16), specimen(16).volumes
    scores = []
    for weights in ([Weights(0.0, 0.5)], [Weights(0.1, 0.5)]):
        problem = chemical_problem(series, weights, SETTINGS)
        start = start_of(problem)
        problem = with_haadf(problem, series, weights, SETTINGS, Linear())
        (result,) = solve(problem, init(problem, start), 1e-4, 100)
        assert result.history.objective[-1] < result.history.objective[0]
        scores.append(np.mean(nrmse(result.volumes, truth)))
    assert scores[1] < scores[0]


@pytest.mark.parametrize("most", [0.02, 1.0])
def test_maps_that_were_divided_are_named_and_not_the_vacuum_of_haadf(most: float) -> None:
    series = tilt_series(16)
    fault = signal_below_vacuum(series)
    assert fault.key == "haadf/background"
    divided = replace(series, chemical=series.chemical * np.float32(most / series.chemical.max()))
    fault = signal_below_vacuum(divided)
    assert fault.key == "chemical/projections"
    assert "as they were recorded" in str(fault)
