"""Edge widths of known edges; profiles along known lines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, erfinv

from tomoatlas.recon_core.metrics.edges import WIDTH_PER_SIGMA, Edge, fit_edge, line_profile

S = np.linspace(0.0, 20.0, 41)


def test_the_factor_between_width_and_sigma() -> None:
    assert pytest.approx(2 * np.sqrt(2) * erfinv(0.8)) == WIDTH_PER_SIGMA


@settings(max_examples=25, deadline=None)
@given(st.floats(6, 14), st.floats(0.6, 2.0), st.floats(-5, 5), st.floats(0.1, 50), st.booleans())
def test_a_blurred_step_has_the_width_of_its_blur(
    centre: float, sigma: float, low: float, height: float, falling: bool
) -> None:
    step = 0.5 * (1 + erf((S - centre) / (np.sqrt(2) * sigma)))
    edge = fit_edge(S, low + height * (1 - step if falling else step))
    assert edge is not None
    assert edge.centre_nm == pytest.approx(centre, abs=1e-3)
    assert edge.width_nm == pytest.approx(2.5631 * sigma, rel=1e-3)
    assert (edge.high - edge.low) == pytest.approx(-height if falling else height, rel=1e-3)


def test_the_width_spans_a_tenth_to_nine_tenths() -> None:
    edge = Edge(5.0, 1.3, 2.0, 12.0)
    ends = edge.at([5.0 - edge.width_nm / 2, 5.0, 5.0 + edge.width_nm / 2])
    assert ends == pytest.approx([3.0, 7.0, 11.0])


def test_noise_moves_the_width_a_little() -> None:
    rng = np.random.default_rng(0)
    step = 0.5 * (1 + erf((S - 10) / (np.sqrt(2) * 1.5)))
    widths = [fit_edge(S, step + 0.03 * rng.standard_normal(len(S))).width_nm for _ in range(20)]
    assert np.mean(widths) == pytest.approx(2.5631 * 1.5, rel=0.05)


@pytest.mark.parametrize("profile", [np.ones(41), np.full(41, np.nan), np.sin(S) * 0 + 3])
def test_no_edge_has_no_width(profile: np.ndarray) -> None:
    assert fit_edge(S, profile) is None


def test_noise_has_no_width() -> None:
    rng = np.random.default_rng(1)
    assert [fit_edge(S, rng.standard_normal(len(S))) for _ in range(20)] == [None] * 20


def test_four_points_are_too_few_and_a_ramp_is_no_edge() -> None:
    assert fit_edge(S[:4], S[:4]) is None
    assert fit_edge(S, S) is None


def test_a_profile_is_linear_between_voxels_and_zero_outside() -> None:
    image = np.add.outer(10.0 * np.arange(6), np.arange(5)).astype(np.float32)
    assert line_profile(image, (1, 0), (5, 4), 5) == pytest.approx([10, 21, 32, 43, 54])
    assert line_profile(image, (0, 0), (0, 1), 3) == pytest.approx([0, 0.5, 1])
    assert line_profile(image, (2, -3), (2, -2), 2) == pytest.approx([0, 0])
    volume = np.broadcast_to(image, (3, 6, 5))
    assert line_profile(volume, (1, 1, 1), (1, 1, 3), 3) == pytest.approx([11, 12, 13])
