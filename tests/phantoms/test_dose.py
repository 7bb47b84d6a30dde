"""Doses of the published experiments (Schwartz et al., Nat. Commun. 15, 3555, 2024)."""

from __future__ import annotations

import inspect

import pytest

from tomoatlas.phantoms.dose import dose, snr_from_dose
from tomoatlas.recon_core.errors import BadInput


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
