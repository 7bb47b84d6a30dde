"""The fused problem in counts, as the measured series has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recon_cases import problem_of, random_volumes, specimen, tilt_series
from recon_reference import Reference

from tomoatlas.recon_core.contrast import PowerLaw, relative_factors

SERIES = tilt_series(8)


def test_haadf_term_is_half_the_squared_counts_over_their_variance() -> None:
    problem, truth = problem_of(SERIES, 0.3, 0.0), specimen(8)
    projected = problem.haadf.projector.forward(
        PowerLaw(2.0).of_volumes(truth.volumes, truth.atomic_numbers)
    ).astype(float)
    residual = SERIES.haadf_scale * projected + SERIES.haadf_background - SERIES.haadf
    expected = 0.3 * (residual**2).sum() / (2 * SERIES.haadf.mean(dtype=float))
    assert problem.terms(truth.volumes[None]).haadf[0] == pytest.approx(expected, rel=1e-4)
    assert expected / 0.3 == pytest.approx(SERIES.haadf.size / 2, rel=0.5)


def test_terms_sum_to_the_objective_of_the_equation() -> None:
    problem = problem_of(SERIES, 0.3, 0.5)
    x = random_volumes(problem.shape)
    terms, reference = problem.terms(x), Reference(problem)
    assert terms.objective.shape == (1,)
    assert terms.objective == terms.haadf + terms.chemistry + terms.tv
    assert terms.objective == pytest.approx(reference.objective(x[0]), rel=1e-5)


@pytest.mark.parametrize("gamma", [1.4, 1.7, 2.0])
def test_contrast(gamma: float) -> None:
    problem = problem_of(SERIES, 0.3, 0.5, gamma=gamma)
    x = random_volumes(problem.shape)
    z = np.array([27.0, 29.0, 8.0, 79.0])
    direct = ((z[:, None, None, None] * x[0]) ** gamma).sum(0) / (z**gamma).mean()
    np.testing.assert_allclose(problem.contrast(x)[0], direct, rtol=1e-5)
    weights, mean = relative_factors(SERIES, PowerLaw(gamma))
    np.testing.assert_allclose(weights * mean, z**gamma, rtol=1e-6)


def test_no_haadf_term_without_weight_or_tilts() -> None:
    assert problem_of(SERIES, 0.0).haadf is None
    assert problem_of(tilt_series(8, haadf_tilts=0), 1.0).haadf is None
    bare = problem_of(SERIES, 0.0)
    assert bare.terms(random_volumes(bare.shape)).haadf == 0
    with pytest.raises(ValueError, match="HAADF"):
        bare.contrast(random_volumes(bare.shape))


def test_work_counts_every_projection() -> None:
    assert problem_of(SERIES, 0.3).tilts_per_iteration == 9 + 4 * 5
    assert problem_of(SERIES, 0.0).tilts_per_iteration == 4 * 5
    assert problem_of(SERIES, 0.3).shape == (1, 4, 8, 8, 8)


@pytest.mark.parametrize("unknown", ["haadf_scale", "chemical_scale"])
def test_scales_must_be_known(unknown: str) -> None:
    with pytest.raises(ValueError, match="scale"):
        problem_of(replace(SERIES, **{unknown: None}))
