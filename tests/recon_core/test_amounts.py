"""Totals, haze and level of each element: closed forms and what they are blind to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.recon_core.metrics.amounts import haze, level, totals


def particle() -> np.ndarray:
    """A cube of 5 voxels in 13, two elements of different concentration."""
    truth = np.zeros((2, 13, 13, 13), np.float32)
    truth[:, 4:9, 4:9, 4:9] = 1.0
    truth[1] *= np.float32(0.5)
    return truth


def test_the_truth_is_right_in_all() -> None:
    truth = particle()
    assert totals(truth, truth) == (1.0, 1.0)
    assert haze(truth, truth) == (0.0, 0.0)
    assert level(truth, truth) == (1.0, 1.0)


@given(st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_a_factor_per_element_shows_in_totals_and_level_alone(first: float, second: float) -> None:
    truth = particle()
    changed = truth * np.array([first, second], np.float32)[:, None, None, None]
    assert totals(changed, truth) == pytest.approx((first, second), rel=1e-5)
    assert level(changed, truth) == pytest.approx((first, second), rel=1e-5)
    assert haze(changed, truth) == (0.0, 0.0)


def test_haze_is_what_lies_away_from_the_particle() -> None:
    truth = particle()
    changed = truth.copy()
    changed[0, 6, 6, 10] = 125.0  # two voxels off the surface: a blurred edge
    assert haze(changed, truth)[0] == 0.0
    changed[0, 6, 6, 11] = 250.0
    assert haze(changed, truth)[0] == pytest.approx(0.5)
    assert totals(changed, truth)[0] == pytest.approx(4.0)
    assert level(changed, truth)[0] == 1.0


def test_the_level_leaves_the_surface_out() -> None:
    truth = particle()
    changed = np.zeros_like(truth)
    changed[:, 5:8, 5:8, 5:8] = 0.4
    assert level(changed, truth) == pytest.approx((0.4, 0.8))


def test_nothing_to_compare_with_is_nan() -> None:
    truth = particle()
    truth[1] = 0.0
    truth[1, 6, 6, 6] = 1.0
    empty = np.zeros_like(truth)
    assert np.isnan(totals(truth, empty)).all()
    assert np.isnan(haze(empty, truth)).all()
    assert np.isnan(level(truth, truth)[1])


@given(st.permutations(range(2)))
def test_the_order_of_elements_is_only_an_order(order: list[int]) -> None:
    truth = particle()
    changed = truth * np.array([2.0, 3.0], np.float32)[:, None, None, None]
    for score in (totals, haze, level):
        found = score(changed, truth)
        assert score(changed[order], truth[order]) == tuple(found[i] for i in order)
