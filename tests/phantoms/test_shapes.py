"""Coverage of voxels: volumes, planes, separation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomoatlas.phantoms.paint import concentrations, paint
from tomoatlas.phantoms.shapes import Ball, Cube, PorousEllipsoid, RandomWave

seeds = st.integers(0, 2**32 - 1)


def random_cube(seed: int, half_edge: float = 0.15) -> Cube:
    rng = np.random.default_rng(seed)
    axes = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return Cube(rng.uniform(-0.2, 0.2, 3), axes, half_edge)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_a_rotated_cube_has_its_volume(seed: int) -> None:
    cube = random_cube(seed)
    filled = paint(32, 1, [(cube, 0)]).mean(dtype=np.float64)
    assert filled == pytest.approx((2 * cube.half_edge) ** 3, rel=0.02)


@pytest.mark.parametrize("size", [32, 64])
def test_a_ball_has_its_volume(size: int) -> None:
    ball = Ball(np.array([0.03, -0.02, 0.11]), 0.1)
    filled = paint(size, 1, [(ball, 0)]).mean(dtype=np.float64)
    assert filled == pytest.approx(4 / 3 * np.pi * ball.radius**3, rel=0.02)


def test_an_axis_aligned_cube_is_covered_exactly() -> None:
    cube = Cube(np.zeros(3), np.eye(3), 2.25 / 8)
    row = paint(8, 1, [(cube, 0)])[0, 4, 4]
    np.testing.assert_allclose(row, [0, 0.25, 1, 1, 1, 1, 0.25, 0], atol=1e-5)


def test_a_shape_outside_the_box_paints_nothing() -> None:
    assert not paint(16, 1, [(Ball(np.array([2.0, 0, 0]), 0.1), 0)]).any()


@settings(max_examples=60, deadline=None)
@given(seeds, seeds)
def test_separation_agrees_with_sampled_points(a: int, b: int) -> None:
    one, two = random_cube(a), random_cube(b)
    local = np.random.default_rng(0).uniform(-1, 1, (2000, 3)) * two.half_edge
    shared = min(one.distance(p) for p in two.centre + local @ two.axes) < 0
    if shared:
        assert not one.clear_of(two, 0.0)
    assert one.clear_of(two, 0.0) == two.clear_of(one, 0.0)


def test_a_gap_is_kept() -> None:
    one = Cube(np.zeros(3), np.eye(3), 0.1)
    two = Cube(np.array([0.0, 0.0, 0.25]), np.eye(3), 0.1)
    assert one.clear_of(two, 0.049)
    assert not one.clear_of(two, 0.051)


def test_later_bodies_displace_earlier_ones() -> None:
    both = [(Ball(np.zeros(3), 0.3), 0), (Ball(np.full(3, 0.1), 0.2), 1)]
    fractions = paint(24, 2, both)
    assert fractions.sum(axis=0).max() <= 1 + 1e-6
    assert fractions[1].sum() == pytest.approx(paint(24, 1, [(both[1][0], 0)]).sum(), rel=1e-6)


def test_compositions_become_concentrations() -> None:
    fractions = np.full((2, 1, 1, 1), 0.5, np.float32)
    volumes = concentrations(fractions, [{"Co": 0.5, "O": 0.5}, {"O": 1.0}], ("Co", "O"))
    np.testing.assert_array_equal(volumes.ravel(), [0.25, 0.75])


def test_the_wave_on_a_grid_is_the_wave_at_points() -> None:
    wave = RandomWave.draw(np.random.default_rng(1), 20, (0.2, 0.4))
    axis = np.linspace(-0.5, 0.5, 7, dtype=np.float32)
    z, y, x = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    value, steepness = wave.on_grid(z, y, x)
    point = axis[[2, 5, 1]].astype(np.float64)
    assert value[2, 5, 1] == pytest.approx(wave.at(point), abs=1e-4)
    h = 1e-5 * np.eye(3)
    slopes = [(wave.at(point + d) - wave.at(point - d)) / 2e-5 for d in h]
    assert steepness[2, 5, 1] == pytest.approx(np.linalg.norm(slopes), rel=1e-3)


def test_the_whole_ellipsoid_has_its_volume() -> None:
    wave = RandomWave.draw(np.random.default_rng(1), 4, (0.2, 0.4))
    solid = PorousEllipsoid(wave, -100.0, np.array([0.2, 0.3, 0.4]))
    filled = paint(32, 1, [(solid, 0)]).mean(dtype=np.float64)
    assert filled == pytest.approx(4 / 3 * np.pi * 0.2 * 0.3 * 0.4, rel=0.01)
