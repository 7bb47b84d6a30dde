"""The CUDA projector, its kernels run by the host or by a GPU, and the sparse one on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from host_launcher import HostLauncher, needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from recon_conformance import SHORT, ProjectorConformance, inner, normal
from recon_devices import ElsewhereLauncher, OnDevice, needs_gpu
from scipy import sparse

from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.gpu.cupy import CupyLauncher
from tomoatlas.recon_core.gpu.projector import CudaProjector, CupySparseProjector, Tiling
from tomoatlas.recon_core.projection import Projector, SparseProjector
from tomoatlas.recon_core.projection.rays import projection_matrix

HARD = [-90.0, -67.5, -45.0, -0.0, 1e-3, 44.999, 45.0, 45.001, 89.999, 90.0]
ANGLES = st.lists(st.one_of(st.sampled_from(HARD), st.floats(-90, 90)), min_size=1, max_size=5)
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20))
BLOCKS = {  # what threads of one block, or of one warp, may differ in
    "tilts that step through 5 layers, and through 35": ((5, 35), (-70.0, 0.0, 70.0, -20.0)),
    "the other way round": ((37, 6), (60.0, 10.0, -80.0, 44.0)),
    "one tilt": ((17, 18), (33.3,)),
    "rays that meet no voxel": ((3, 40), (60.0, 44.0, -46.0, 88.0, -5.0)),
    "layers and tilts in whole chunks": ((24, 32), spaced_tilts(8, (-70, 70))),
}


def exact(angles: tuple[float, ...], shape: tuple[int, int]) -> sparse.csr_array:
    """The projection matrix, its weights in double precision from here on."""
    return projection_matrix(TiltGeometry(angles, shape)).astype(np.float64)


class CudaConformance(ProjectorConformance):
    """What the matrix does, without one."""

    @SHORT
    @given(ANGLES, SHAPES, st.sampled_from([1, 2, 4, 5, 8, 36]), st.integers(1, 5))
    def test_agrees_with_the_sparse_matrix(
        self, angles: list[float], shape: tuple[int, int], width: int, elements: int
    ) -> None:
        geometry = TiltGeometry(tuple(angles), shape)
        ours, theirs = self.make(geometry), SparseProjector(geometry)
        volumes = normal((elements, *shape, width), 0)
        projections = normal((elements, len(angles), shape[1], width), 1)
        self.compare(self.forward(ours, volumes), theirs.forward(volumes))
        self.compare(self.adjoint(ours, projections), theirs.adjoint(projections))

    def compare(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()

    @pytest.mark.parametrize("width", [7, 36], ids="of {} x".format)
    @pytest.mark.parametrize("block", BLOCKS)
    def test_blocks_of_unlike_threads(self, block: str, width: int) -> None:
        """More columns than a block has, and never a multiple of them."""
        shape, angles = BLOCKS[block]
        projector, matrix = self.make(TiltGeometry(angles, shape)), exact(angles, shape)
        volumes = normal((5, *shape, width), 0)
        projections = normal((5, len(angles), shape[1], width), 1)
        ax, atp = self.forward(projector, volumes), self.adjoint(projector, projections)
        for e in range(5):
            self.close(ax[e], matrix @ volumes[e].reshape(-1, width))
            self.close(atp[e], matrix.T @ projections[e].reshape(-1, width))
        size = np.sqrt(inner(ax, ax) * inner(projections, projections))
        assert abs(inner(ax, projections) - inner(volumes, atp)) <= 1e-6 * size

    def close(self, ours: np.ndarray, exact: np.ndarray) -> None:
        assert np.abs(ours.reshape(exact.shape) - exact).max() <= 1e-6 * np.abs(exact).max()

    @pytest.mark.parametrize("shape", [(96, 40), (33, 97)])
    def test_far_from_the_centre(self, shape: tuple[int, int]) -> None:
        """Positions lose nothing over many layers: 1e-6, where single precision leaves 1e-5."""
        angles, volume = (-70.0, -31.7, 33.0, 45.0, 66.0), normal((*shape, 2), 0)
        ours = self.forward(self.make(TiltGeometry(angles, shape)), volume)
        self.close(ours, exact(angles, shape) @ volume.reshape(-1, 2))

    def test_leading_axes_are_kept(self) -> None:
        projector = self.make(TiltGeometry((-40.0, 10.0), (7, 6)))
        volumes = normal((2, 3, 7, 6, 4), 0)
        projections = self.forward(projector, volumes)
        assert projections.shape == (2, 3, 2, 6, 4)
        np.testing.assert_array_equal(projections[1], self.forward(projector, volumes[1]))
        assert self.adjoint(projector, projections).shape == volumes.shape

    def test_a_view_off_the_vector_boundary(self) -> None:
        """A contiguous view that no 16-byte load can start at: the same numbers."""
        projector = self.make(TiltGeometry((-40.0, 10.0), (7, 6)))
        volume = normal((7, 6, 4), 0)
        view = self.put(np.zeros(1 + volume.size, np.float32))[1:].reshape(volume.shape)
        view[...] = self.put(volume)
        ours = self.get(projector.forward(view))
        np.testing.assert_allclose(ours, self.forward(projector, volume), rtol=1e-6, atol=1e-6)

    def test_nothing_to_project(self) -> None:
        projector = self.make(TiltGeometry((-40.0, 10.0), (7, 6)))
        assert self.forward(projector, np.zeros((0, 7, 6, 3), np.float32)).shape == (0, 2, 6, 3)


@needs_compiler
class TestCudaOnTheHost(CudaConformance):
    def make(self, geometry: TiltGeometry) -> Projector:
        return CudaProjector(geometry, HostLauncher())


@needs_compiler
@pytest.mark.parametrize(
    "tiling", [Tiling(1, (1, 1), (1, 1)), Tiling(2, (3, 5), (2, 7)), Tiling(16, (2, 1), (1, 3))]
)
def test_tiling_does_not_change_the_result(tiling: Tiling) -> None:
    geometry = TiltGeometry(spaced_tilts(7, (-80, 80)), (9, 11))
    volumes, launcher = normal((3, 9, 11, 12), 0), HostLauncher()
    usual, other = CudaProjector(geometry, launcher), CudaProjector(geometry, launcher, tiling)
    projections = usual.forward(volumes)
    np.testing.assert_array_equal(other.forward(volumes), projections)
    np.testing.assert_array_equal(other.adjoint(projections), usual.adjoint(projections))


@pytest.mark.parametrize(
    ("tiling", "named"),
    [
        ((12, (1, 1), (1, 1)), "lanes = 12"),
        ((64, (1, 1), (1, 1)), "lanes = 64"),
        ((8, (32, 4), (8, 6)), r"forward = \(32, 4\).* 96 "),
        ((16, (16, 3), (7, 7)), r"adjoint = \(7, 7\).* 48 "),
        ((1, (97, 1), (8, 6)), r"forward = \(97, 1\).* 96 "),
        ((8, (16, 3), (8, 0)), r"adjoint = \(8, 0\).* 96 "),
    ],
)
def test_tilings_that_no_block_holds(tiling: tuple[Any, ...], named: str) -> None:
    """The line names the argument, its value and how many rows are possible."""
    with pytest.raises(ValueError, match=named):
        Tiling(*tiling)


def test_arrays_of_another_device_are_not_copied() -> None:
    projector = CudaProjector(TiltGeometry((0.0,), (3, 4)), ElsewhereLauncher())
    with pytest.raises(TypeError, match="elsewhere"):
        projector.forward(np.ones((3, 4, 2), np.float32))


@needs_gpu
class TestCudaOnTheDevice(OnDevice, CudaConformance):
    def make(self, geometry: TiltGeometry) -> Projector:
        return CudaProjector(geometry, CupyLauncher())

    def test_a_large_volume(self) -> None:
        geometry = TiltGeometry(spaced_tilts(9, (-70, 70)), (192, 160))
        volumes, projector = normal((4, 192, 160, 64), 0), self.make(geometry)
        projections = normal((4, 9, 160, 64), 1)
        ax, atp = self.forward(projector, volumes), self.adjoint(projector, projections)
        size = np.sqrt(inner(ax, ax) * inner(projections, projections))
        assert abs(inner(ax, projections) - inner(volumes, atp)) <= 1e-5 * size
        expected = projection_matrix(geometry) @ volumes[3].reshape(192 * 160, 64)
        self.compare(ax[3].reshape(expected.shape), expected)


@needs_gpu
class TestSparseOnTheDevice(OnDevice, ProjectorConformance):
    def make(self, geometry: TiltGeometry) -> Projector:
        return CupySparseProjector(geometry)
