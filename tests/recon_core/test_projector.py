"""The CPU projector: conformance, and what is its own."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from host_launcher import HostLauncher, needs_compiler
from recon_cases import tilt_series, two_threads, with_threads
from recon_conformance import ProjectorConformance, normal

from tomoatlas.recon_core.device import CPU
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.gpu import CudaDevice
from tomoatlas.recon_core.projection import (
    AstraProjector,
    Projector,
    SparseProjector,
    astra_matrix,
    cached_astra_projector,
    cached_projector,
)
from tomoatlas.recon_core.projection.rays import projection_matrix
from tomoatlas.recon_core.settings import SolverSettings
from tomoatlas.recon_core.solver import reconstruct

needs_astra = pytest.mark.skipif(find_spec("astra") is None, reason="astra-toolbox is missing")

GEOMETRY = TiltGeometry((-70.0, -20.0, 0.0, 33.0), (16, 16))


class TestSparseProjector(ProjectorConformance):
    def make(self, geometry: TiltGeometry) -> Projector:
        return SparseProjector(geometry)


@needs_astra
class TestAstraProjector(ProjectorConformance):
    def make(self, geometry: TiltGeometry) -> Projector:
        return CPU.projector(geometry, "astra")

    def matrix(self, geometry: TiltGeometry) -> np.ndarray:
        return astra_matrix(geometry).toarray()


@two_threads
def test_threads_do_not_change_the_result() -> None:
    projector, volumes = SparseProjector(GEOMETRY), normal((4, 16, 16, 16), 0)
    one = with_threads(1, lambda: projector.adjoint(projector.forward(volumes)))
    two = with_threads(2, lambda: projector.adjoint(projector.forward(volumes)))
    np.testing.assert_array_equal(one, two)


def test_forward_leaves_its_input_alone() -> None:
    volumes = normal((2, 16, 16, 3), 0)
    before = volumes.copy()
    SparseProjector(GEOMETRY).forward(volumes)
    np.testing.assert_array_equal(volumes, before)


def test_matrix_is_non_negative_and_one_ray_per_row() -> None:
    matrix = projection_matrix(GEOMETRY)
    assert matrix.shape == (4 * 16, 16 * 16)
    assert matrix.dtype == np.float32
    assert matrix.data.min() >= 0


def smooth(size: int) -> np.ndarray:
    """Two Gaussians, off the centre and across the tilt axis, (z, y, x)."""
    z, y, x = (axis / size - 0.5 for axis in np.ogrid[:size, :size, :size])
    first = np.exp(-((z - 0.1) ** 2 + (y + 0.15) ** 2 + x**2) / 0.02)
    return (first + 0.5 * np.exp(-((z + 0.2) ** 2 + y**2 + x**2) / 0.01)).astype(np.float32)


@needs_astra
def test_astra_has_our_conventions() -> None:
    """Sign of the angle, order of pixels and voxels, lengths: a mirror image would be far off."""
    geometry = TiltGeometry(spaced_tilts(15, (-70, 70)), (32, 32))
    ours, theirs = (CPU.projector(geometry, kind) for kind in ("sparse", "astra"))
    volume = smooth(32)
    sinogram = ours.forward(volume)
    np.testing.assert_allclose(theirs.forward(volume), sinogram, atol=1e-3 * sinogram.max())
    back = ours.adjoint(sinogram)
    np.testing.assert_allclose(theirs.adjoint(sinogram), back, atol=1e-3 * back.max())
    assert np.abs(sinogram[::-1] - sinogram).max() > 0.1 * sinogram.max()


@needs_astra
def test_a_projector_is_what_it_was_asked_for() -> None:
    sparse, astra = CPU.projector(GEOMETRY), CPU.projector(GEOMETRY, "astra")
    assert type(sparse) is SparseProjector
    assert isinstance(astra, AstraProjector)
    assert astra is CPU.projector(GEOMETRY, "astra")
    assert astra != sparse


@needs_astra
@pytest.mark.parametrize("method", ["fused", "ml"])
def test_a_reconstruction_with_astra_is_nearly_the_same(method: str) -> None:
    series = replace(tilt_series(16), chemical_scale=None, haadf_scale=None)
    settings = SolverSettings(max_iterations=20)
    astras = settings.model_copy(update={"projector": "astra"})
    ours, theirs = (reconstruct(series, method, settings=s) for s in (settings, astras))
    assert theirs.facts["projector"] == "astra"
    np.testing.assert_allclose(theirs.volumes, ours.volumes, atol=0.02)
    assert (theirs.volumes != ours.volumes).any()


def test_without_astra_one_line_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "astra", None)
    astras = SolverSettings(projector="astra")
    cached_astra_projector.cache_clear()
    with pytest.raises(BadInput) as refused:
        reconstruct(tilt_series(), settings=astras)
    assert refused.value.key == "solver.projector"
    assert "sparse" in str(refused.value.accepted)
    reconstruct(tilt_series(), settings=SolverSettings(max_iterations=1))


@needs_compiler
def test_a_gpu_has_no_astra() -> None:
    device = CudaDevice(HostLauncher(), "a GPU")
    assert device.projector(GEOMETRY, "sparse").geometry == GEOMETRY
    with pytest.raises(BadInput) as refused:
        device.projector(GEOMETRY, "astra")
    assert (refused.value.key, refused.value.value) == ("solver.projector", "astra")


def test_one_projector_per_geometry() -> None:
    assert cached_projector(GEOMETRY) is cached_projector(TiltGeometry(*vars(GEOMETRY).values()))
    assert cached_projector(GEOMETRY) == SparseProjector(GEOMETRY)
