"""Tilt geometry: what is accepted, and the spacing of tilts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import TiltGeometry, TiltScheme, spaced_tilts, tilt_angles


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


ranges = st.tuples(st.floats(-80, 0), st.floats(5, 80))


@given(st.integers(2, 60), ranges, st.sampled_from(["equal-angle", "equal-slope", "saxton"]))
def test_schemes_rise_from_end_to_end(
    count: int, ends: tuple[float, float], scheme: TiltScheme
) -> None:
    angles = tilt_angles(count, ends, scheme)
    assert (angles[0], angles[-1], len(angles)) == (*ends, count)
    assert all(one < other for one, other in pairwise(angles))


@given(st.integers(3, 60), ranges)
def test_saxton_steps_shrink_with_the_cosine(count: int, ends: tuple[float, float]) -> None:
    angles = np.deg2rad(tilt_angles(count, ends, "saxton"))
    secants = [np.log(np.tan(a / 2 + np.pi / 4)) for a in angles]  # the integral of 1/cos
    np.testing.assert_allclose(np.diff(secants), np.diff(secants)[0], rtol=1e-6)


def test_equal_slopes_are_equal_steps_of_the_tangent_and_then_of_the_cotangent() -> None:
    angles = np.deg2rad(tilt_angles(17, (-90.0, 90.0), "equal-slope"))
    flat = np.abs(angles) < np.pi / 4 + 1e-9
    np.testing.assert_allclose(np.diff(np.tan(angles[flat])), 0.25, atol=1e-9)
    steep = angles[angles > np.pi / 4 - 1e-9]
    np.testing.assert_allclose(np.diff(1 / np.tan(steep)), -0.25, atol=1e-9)


@given(st.integers(2, 80), ranges)
def test_any_beginning_of_the_golden_section_is_spread(
    count: int, ends: tuple[float, float]
) -> None:
    angles = tilt_angles(count, ends, "golden-angle")
    assert angles == tilt_angles(count + 5, ends, "golden-angle")[:count]
    assert ends[0] <= min(angles)
    assert max(angles) <= ends[1]
    gaps = np.diff([*sorted(angles), ends[1]])
    # three lengths of gaps at most, the longest and shortest a power of the golden section apart
    assert gaps.max() <= 2.7 * (ends[1] - ends[0]) / count


@pytest.mark.parametrize("scheme", ["equal-angle", "equal-slope", "saxton"])
def test_one_tilt_of_a_scheme_is_in_the_middle(scheme: TiltScheme) -> None:
    assert tilt_angles(1, (-60.0, 70.0), scheme) == (5.0,)
    assert tilt_angles(0, (-60.0, 70.0), scheme) == ()
