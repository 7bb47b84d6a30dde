"""What every projector must do, whatever computes it: subclass and say how to make one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.projection import Projector
from tomoatlas.recon_core.projection.rays import projection_matrix

ANGLES = st.lists(st.floats(-90, 90), min_size=1, max_size=4)
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
SHORT = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    # one class, several projectors
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def inner(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a.astype(np.float64), b.astype(np.float64)))


def disc(size: int, radius: float, centre: tuple[float, float] = (0, 0), fine: int = 8):
    """Coverage of the voxels (z, y) by a disc, from fine x fine points each."""
    at = (np.arange(size * fine) + 0.5) / fine - size / 2
    inside = (at[:, None] - centre[0]) ** 2 + (at - centre[1]) ** 2 < radius**2
    return inside.reshape(size, fine, size, fine).mean((1, 3)).astype(np.float32)


class ProjectorConformance:
    """Linear, adjoint, physical; refuses what does not fit."""

    def make(self, geometry: TiltGeometry) -> Projector:
        raise NotImplementedError

    def matrix(self, geometry: TiltGeometry) -> np.ndarray:
        """The dense matrix of one slice: which voxels and rays meet."""
        return projection_matrix(geometry).toarray()

    def put(self, array: np.ndarray) -> Any:
        """The array as the projector takes it, of the same type."""
        return array

    def get(self, array: Any) -> np.ndarray:
        """An array of the projector's, for NumPy to look at."""
        return array

    def forward(self, projector: Projector, volumes: np.ndarray) -> np.ndarray:
        return self.get(projector.forward(self.put(volumes)))

    def adjoint(self, projector: Projector, projections: np.ndarray) -> np.ndarray:
        return self.get(projector.adjoint(self.put(projections)))

    @SHORT
    @given(ANGLES, SHAPES, st.integers(1, 7), st.integers(1, 3))
    def test_adjoint_identity(
        self, angles: list[float], shape: tuple[int, int], width: int, elements: int
    ) -> None:
        projector = self.make(TiltGeometry(tuple(angles), shape))
        x = normal((elements, *shape, width), 0)
        p = normal((elements, len(angles), shape[1], width), 1)
        ax, atp = self.forward(projector, x), self.adjoint(projector, p)
        assert ax.shape == p.shape
        assert atp.shape == x.shape
        assert ax.dtype == atp.dtype == np.float32
        size = np.sqrt(inner(ax, ax) * inner(p, p))
        assert abs(inner(ax, p) - inner(x, atp)) <= 1e-5 * size

    @SHORT
    @given(ANGLES, SHAPES, st.integers(1, 7), st.floats(-3, 3))
    def test_linear(
        self, angles: list[float], shape: tuple[int, int], width: int, factor: float
    ) -> None:
        projector = self.make(TiltGeometry(tuple(angles), shape))
        a, b = normal((*shape, width), 0), normal((*shape, width), 1)
        whole = self.forward(projector, a + np.float32(factor) * b)
        one, other = self.forward(projector, a), self.forward(projector, b)
        np.testing.assert_allclose(whole, one + np.float32(factor) * other, atol=1e-4)

    @pytest.mark.parametrize("shape", [(9, 9), (6, 11), (12, 5)])
    def test_agrees_with_astra_slice_by_slice(self, shape: tuple[int, int]) -> None:
        astra = pytest.importorskip("astra", exc_type=ImportError)
        geometry = TiltGeometry((-70.0, -31.7, 0.0, 12.0, 45.0, 90.0), shape)
        volume = normal((*shape, 3), 0)
        ours = self.forward(self.make(geometry), volume)
        detector = astra.create_proj_geom(
            "parallel", 1.0, shape[1], np.deg2rad(geometry.angles_deg)
        )
        theirs = astra.create_projector("linear", detector, astra.create_vol_geom(*shape))
        try:
            for x in range(3):
                handle, sinogram = astra.create_sino(volume[..., x], theirs)
                astra.data2d.delete(handle)
                error = np.abs(ours[..., x] - sinogram).max()
                assert error <= 1e-5 * np.abs(sinogram).max()
        finally:
            astra.projector.delete(theirs)

    def test_sinogram_of_a_disc(self) -> None:
        """2 sqrt(r^2 - s^2), averaged over a pixel, to 0.5 % of the peak (RMS) at every tilt."""
        size, radius, centre = 64, 20.0, (6.0, -4.0)
        angles = spaced_tilts(13, (-90, 90))
        projector = self.make(TiltGeometry(angles, (size, size)))
        sinogram = self.forward(projector, disc(size, radius, centre)[:, :, None])[..., 0]
        fine = (np.arange(size * 16) + 0.5) / 16 - size / 2
        shadows = np.deg2rad(angles)
        at = centre[1] * np.cos(shadows) - centre[0] * np.sin(shadows)
        chord = 2 * np.sqrt(np.maximum(radius**2 - (fine - at[:, None]) ** 2, 0))
        expected = chord.reshape(len(angles), size, 16).mean(-1)
        errors = np.sqrt(((sinogram - expected) ** 2).mean(1)) / (2 * radius)
        assert errors.max() < 0.005

    def test_mass_is_conserved_inside_the_inscribed_circle(self) -> None:
        angles = spaced_tilts(29, (-70, 70))
        specimen = disc(48, 14.0, (5.0, -3.0))[:, :, None]
        projections = self.forward(self.make(TiltGeometry(angles, (48, 48))), specimen)
        totals = projections.sum((1, 2))
        np.testing.assert_allclose(totals, specimen.sum(), rtol=2e-3)

    def test_untilted_projection_sums_along_the_beam(self) -> None:
        volume = normal((5, 7, 3), 0)
        projection = self.forward(self.make(TiltGeometry((0.0,), (5, 7))), volume)
        np.testing.assert_allclose(projection[0], volume.sum(0), atol=1e-5)

    @pytest.mark.parametrize("width", [64, 65])
    def test_a_nan_stays_with_what_it_touches(self, width: int) -> None:
        """Every x has another voxel that is NaN, or another sample of the projections."""
        geometry = TiltGeometry((-90.0, -61.3, -49.0, -20.0, 0.0, 33.0, 44.0, 70.0), (8, 8))
        touching = self.matrix(geometry) != 0
        nans = np.zeros((8, 8, width), np.float32)
        nans.reshape(64, width)[range(64), range(64)] = np.nan
        projector = self.make(geometry)
        for result, pattern in (
            (self.forward(projector, nans), touching),
            (self.adjoint(projector, nans), touching.T),
        ):
            found = np.isnan(result).reshape(64, width)
            np.testing.assert_array_equal(found[:, :64], pattern)
            assert not found[:, 64:].any()

    def test_slices_along_the_tilt_axis_do_not_mix(self) -> None:
        geometry = TiltGeometry((-50.0, 20.0), (6, 6))
        volume = np.zeros((6, 6, 5), np.float32)
        volume[..., 2] = 1
        projections = self.forward(self.make(geometry), volume)
        assert projections[..., 2].any()
        assert not np.delete(projections, 2, axis=-1).any()

    def test_elements_together_are_each_alone(self) -> None:
        projector = self.make(TiltGeometry((-40.0, 10.0, 65.0), (7, 6)))
        volumes = normal((3, 7, 6, 4), 0)
        projections = self.forward(projector, volumes)
        back = self.adjoint(projector, projections)
        for e in range(3):
            np.testing.assert_array_equal(projections[e], self.forward(projector, volumes[e]))
            np.testing.assert_array_equal(back[e], self.adjoint(projector, projections[e]))

    def test_strided_and_double_input(self) -> None:
        projector = self.make(TiltGeometry((-40.0, 10.0), (7, 6)))
        volume = normal((7, 6, 8), 0)
        expected = self.forward(projector, np.ascontiguousarray(volume[..., ::2]))
        strided = self.put(volume)[..., ::2]
        np.testing.assert_array_equal(self.get(projector.forward(strided)), expected)
        double = strided.astype(np.float64)
        np.testing.assert_array_equal(self.get(projector.forward(double)), expected)

    def test_out_is_filled_and_returned(self) -> None:
        projector = self.make(TiltGeometry((-40.0, 10.0), (7, 6)))
        volumes, out = normal((2, 7, 6, 3), 0), self.put(np.full((2, 2, 6, 3), np.nan, np.float32))
        assert projector.forward(self.put(volumes), out=out) is out
        np.testing.assert_array_equal(self.get(out), self.forward(projector, volumes))
        back = self.put(np.full((2, 7, 6, 3), np.nan, np.float32))
        assert projector.adjoint(out, out=back) is back
        np.testing.assert_array_equal(self.get(back), self.adjoint(projector, self.get(out)))

    @pytest.mark.parametrize(
        ("shape", "dtype"),
        [
            ((3, 2, 6, 3), np.float32),
            ((1, 2, 6, 3), np.float32),
            ((2, 6, 2, 3), np.float32),
            ((2, 2, 6, 3), np.float64),
            ((2, 2, 7, 3), np.float32),
        ],
        ids=["more elements", "fewer elements", "axes", "dtype", "strided"],
    )
    def test_out_that_cannot_hold_the_result(self, shape: tuple[int, ...], dtype: type) -> None:
        projector = self.make(TiltGeometry((-40.0, 10.0), (7, 6)))
        out = self.put(np.zeros(shape, dtype))[:, :, :6]
        with pytest.raises(BadInput) as caught:
            projector.forward(self.put(normal((2, 7, 6, 3), 0)), out=out)
        assert (caught.value.key, caught.value.value) == ("out", out.shape)
        assert "(2, 2, 6, 3)" in str(caught.value.accepted)

    @pytest.mark.parametrize("shape", [(7, 6), (6, 7, 3), (7, 5, 3), (2, 6, 3), ()])
    def test_wrong_volume(self, shape: tuple[int, ...]) -> None:
        projector = self.make(TiltGeometry((-40.0, 10.0), (7, 6)))
        with pytest.raises(BadInput) as caught:
            self.forward(projector, np.zeros(shape, np.float32))
        assert (caught.value.key, caught.value.value) == ("shape", shape)
        assert caught.value.accepted == "(..., 7, 6, x)"

    @pytest.mark.parametrize("shape", [(2, 6), (6, 2, 3), (3, 6, 3), (7, 6, 3)])
    def test_wrong_projections(self, shape: tuple[int, ...]) -> None:
        projector = self.make(TiltGeometry((-40.0, 10.0), (7, 6)))
        with pytest.raises(BadInput) as caught:
            self.adjoint(projector, np.zeros(shape, np.float32))
        assert (caught.value.key, caught.value.value) == ("shape", shape)
        assert caught.value.accepted == "(..., 2, 6, x)"
