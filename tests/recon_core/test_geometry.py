"""Tilt geometry: what is accepted, and the spacing of tilts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts


@pytest.mark.parametrize("angle", [90.001, -91.0, float("nan"), float("inf")])
def test_impossible_tilts_are_named(angle: float) -> None:
    with pytest.raises(BadInput) as caught:
        TiltGeometry((0.0, angle), (4, 4))
    assert (caught.value.key, caught.value.value) == ("angles_deg", angle)


def test_at_least_one_tilt() -> None:
    with pytest.raises(BadInput) as caught:
        TiltGeometry((), (4, 4))
    assert (caught.value.key, caught.value.value) == ("angles_deg", [])


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (-1, 4)])
def test_empty_slices(shape: tuple[int, int]) -> None:
    with pytest.raises(BadInput) as caught:
        TiltGeometry((0.0,), shape)
    assert (caught.value.key, caught.value.value) == ("shape", shape)


def test_equal_geometries_are_one_key() -> None:
    a, b = (TiltGeometry((-10.0, 10.0), (4, 5)) for _ in range(2))
    assert len({a, b}) == 1
    assert a.angles == 2


@given(st.integers(2, 200), st.floats(-90, 89), st.floats(0.5, 1))
def test_tilts_are_even_and_span_the_range(count: int, low: float, part: float) -> None:
    high = low + part * (90 - low)
    tilts = spaced_tilts(count, (low, high))
    assert len(tilts) == count
    assert (tilts[0], tilts[-1]) == pytest.approx((low, high))
    gaps = [b - a for a, b in pairwise(tilts)]
    assert max(gaps) - min(gaps) < 1e-9


def test_one_tilt_stands_in_the_middle_and_none_is_none() -> None:
    assert spaced_tilts(1, (-60, 70)) == (5.0,)
    assert spaced_tilts(0, (-70, 70)) == ()
