"""The ray table and the matrix made of it, against ASTRA's and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recon_conformance import SHORT

from tomoatlas.recon_core.geometry import TiltGeometry
from tomoatlas.recon_core.projection.rays import TILT, projection_matrix, ray_table

HARD = [-90.0, -45.0, 0.0, 44.9999999, 45.0, 45.0000001, 90.0]
ANGLES = st.one_of(st.sampled_from(HARD), st.floats(-90, 90))
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def astras(geometry: TiltGeometry) -> np.ndarray:
    """ASTRA's matrix of one slice."""
    astra = pytest.importorskip("astra", exc_type=ImportError)
    angles = np.deg2rad(np.asarray(geometry.angles_deg))
    detector = astra.create_proj_geom("parallel", 1.0, geometry.shape[1], angles)
    projector = astra.create_projector("linear", detector, astra.create_vol_geom(*geometry.shape))
    handle = astra.projector.matrix(projector)
    matrix = astra.matrix.get(handle).toarray()
    astra.matrix.delete(handle)
    astra.projector.delete(projector)
    return matrix


def dense(geometry: TiltGeometry) -> np.ndarray:
    return projection_matrix(geometry).toarray()


@SHORT
@given(st.lists(ANGLES, min_size=1, max_size=4), SHAPES)
def test_the_matrix_is_astras(angles: list[float], shape: tuple[int, int]) -> None:
    geometry = TiltGeometry(tuple(angles), shape)
    # ASTRA's places are float32: of 500 examples one is off by a little more than 1e-5.
    np.testing.assert_allclose(dense(geometry), astras(geometry), atol=3e-5, rtol=0)


@pytest.mark.parametrize("angle", [-75.0, -45.0, -20.0, 0.0, 33.0, 90.0])
def test_opposite_tilts_mirror_each_other(angle: float) -> None:
    """Turning the detector and the specimen's y around is tilting the other way."""
    there, back = (dense(TiltGeometry((sign * angle,), (6, 7))) for sign in (1, -1))
    mirrored = back[::-1].reshape(7, 6, 7)[:, :, ::-1].reshape(7, 42)
    np.testing.assert_allclose(there, mirrored, atol=1e-7)


def test_a_long_diagonal_passes_exactly_through_the_voxels() -> None:
    """At 45 degrees the central ray of an odd square meets each voxel of the diagonal, whole."""
    size = 401
    matrix = projection_matrix(TiltGeometry((45.0,), (size, size)))
    ray = matrix[[size // 2]].toarray().reshape(size, size)
    np.testing.assert_allclose(ray, np.sqrt(2) * np.eye(size), atol=1e-6)


@SHORT
@given(ANGLES, st.tuples(st.integers(1, 300), st.integers(1, 300)), st.data())
def test_the_ray_at_a_voxel_passes_it(
    angle: float, shape: tuple[int, int], data: st.DataObject
) -> None:
    tilt = ray_table(TiltGeometry((angle,), shape))[0]
    layers, rows = shape if tilt["steep"] else shape[::-1]
    layer, row = (int(data.draw(st.integers(0, n - 1))) for n in (layers, rows))
    at = tilt["ray_start"] + row * tilt["ray_per_across"] + layer * tilt["ray_per_layer"]
    ray = at / 2**32
    passes = (tilt["start"] + tilt["per_layer"] * layer) / 2**32 + tilt["per_ray"] / 2**32 * ray
    assert abs(passes - row) < 1e-6


def test_rays_are_a_voxel_apart_or_more() -> None:
    """What the adjoint kernel counts on: two rays at most touch a voxel."""
    table = ray_table(TiltGeometry(tuple(np.linspace(-90, 90, 181)), (9, 9)))
    assert (np.abs(table["per_ray"]) >= 2**32).all()


def test_the_matrix_is_as_small_as_the_compiled_product_takes_it() -> None:
    matrix = projection_matrix(TiltGeometry((-20.0, 60.0), (5, 4)))
    types = (matrix.data.dtype, matrix.indices.dtype, matrix.indptr.dtype)
    assert types == (np.float32, np.int32, np.int32)


def test_a_record_is_the_kernels_struct() -> None:
    assert TILT.itemsize == 56
    assert ray_table(TiltGeometry((0.0, 60.0), (3, 3))).view(np.int64).shape == (14,)
