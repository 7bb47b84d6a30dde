"""The CPU projector: conformance, and what is its own."""

from __future__ import annotations

import numpy as np
from recon_cases import two_threads, with_threads
from recon_conformance import ProjectorConformance, normal

from tomoatlas.recon_core.geometry import TiltGeometry
from tomoatlas.recon_core.projection import Projector, SparseProjector, cached_projector
from tomoatlas.recon_core.projection.rays import projection_matrix

GEOMETRY = TiltGeometry((-70.0, -20.0, 0.0, 33.0), (16, 16))


class TestSparseProjector(ProjectorConformance):
    def make(self, geometry: TiltGeometry) -> Projector:
        return SparseProjector(geometry)


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


def test_one_projector_per_geometry() -> None:
    assert cached_projector(GEOMETRY) is cached_projector(TiltGeometry(*vars(GEOMETRY).values()))
    assert cached_projector(GEOMETRY) == SparseProjector(GEOMETRY)
