"""Detectors, shot noise and the seam for another one; doses of the published experiments."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np
import pytest

from tomoatlas.phantoms.acquire import Acquisition, simulate
from tomoatlas.phantoms.detector import PoissonDetector, dose, snr_from_dose
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.recon_core.errors import BadInput

SPECIMEN = make_specimen("nanocubes", 16, 0)
PLAN = Acquisition(haadf_tilts=5, chemical_tilts=3)


@dataclass(frozen=True)
class Gain:
    """A counter that reads each quantum as several."""

    factor: float

    def counts(self, expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return (self.factor * rng.poisson(expected)).astype(np.float32)


def test_poisson_counts_have_their_mean_and_variance() -> None:
    counts = PoissonDetector().counts(np.full((4, 50, 50), 9.0), np.random.default_rng(0))
    assert abs(counts.mean() - 9) < 0.15
    assert abs(counts.var() - 9) < 0.5
    assert counts.dtype == np.float32


def test_a_detector_counts_every_channel_with_its_own_stream() -> None:
    plain, gained = simulate(SPECIMEN, PLAN, 0), simulate(SPECIMEN, PLAN, 0, Gain(3.0))
    np.testing.assert_array_equal(gained.haadf, 3 * plain.haadf)
    np.testing.assert_array_equal(gained.chemical, 3 * plain.chemical)


def test_another_detector_is_recorded_and_shot_noise_is_as_before() -> None:
    assert simulate(SPECIMEN, PLAN, 0, Gain(3.0)).facts["detector"] == "Gain(factor=3.0)"
    assert "detector" not in simulate(SPECIMEN, PLAN, 0).facts


@pytest.mark.parametrize(
    ("arguments", "published"),
    [
        ((115, 24e-6, 41, 6.40), 1.724e4),
        ((115, 3e-3, 9, 6.40), 4.731e5),
        ((115, 24e-6, 41, 7.79), 1.164e4),
        ((115, 0.677e-3, 9, 7.79), 7.207e4),
        ((250, 20e-6, 49, 14.679), 7.10e3),
        ((250, 25 * 20e-6, 10, 14.679), 3.62e4),
    ],
)
def test_published_doses(arguments: tuple[float, float, int, float], published: float) -> None:
    assert dose(*arguments) == pytest.approx(published, rel=2e-3)


def test_snr_is_one_plus_the_counts_of_a_pixel() -> None:
    shared = dose(100, 1e-3, 10, 5.0)
    electrons = 100e-12 * 1e-3 / 1.602176634e-19
    assert snr_from_dose(shared, 10, 5.0, 1e-4) == pytest.approx(1 + 1e-4 * electrons)


@pytest.mark.parametrize(
    "wrong", [(0, 1, 1, 1), (1, -1, 1, 1), (1, 1, 0, 1), (1, 1, 1, float("nan"))]
)
def test_quantities_are_positive(wrong: tuple[float, float, int, float]) -> None:
    at = next(i for i, value in enumerate(wrong) if not value > 0)
    for compute in (dose, snr_from_dose):
        with pytest.raises(BadInput) as caught:
            compute(*wrong)
        assert caught.value.key == list(inspect.signature(compute).parameters)[at]
        assert caught.value.value is wrong[at]
