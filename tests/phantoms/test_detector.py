"""Detectors, shot noise and the seam for another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.detector import PoissonDetector
from tomoatlas.phantoms.kinds import make_specimen

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
