"""The sparse product against SciPy's, in every order of its terms, by any number of threads."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from recon_cases import two_threads, with_threads
from scipy import sparse

from tomoatlas.recon_core.geometry import TiltGeometry
from tomoatlas.recon_core.projection import SparseProjector
from tomoatlas.recon_core.projection.rays import projection_matrix
from tomoatlas.recon_core.projection.sparse_product import (
    OrderedMatrix,
    by_layers,
    by_tiles,
    sparse_product,
)

SLICE = (40, 24)
GEOMETRY = TiltGeometry((-70.0, -20.0, 0.0, 55.0), SLICE)


def product(matrix: OrderedMatrix, rows: int, dense: np.ndarray) -> np.ndarray:
    out = np.full((len(dense), rows, dense.shape[-1]), np.nan, np.float32)
    sparse_product(matrix, dense, out)
    return out


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(1, 12),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(1, 9),
    st.floats(0, 1),
    st.integers(1, 400),
    st.integers(0, 9),
)
def test_forward_is_the_matrix_in_blocks_of_any_size(
    rows: int, shape: tuple[int, int], width: int, density: float, voxels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    columns = shape[0] * shape[1]
    matrix = sparse.random_array((rows, columns), density=density, rng=rng, dtype=np.float32)
    matrix = sparse.csr_array(matrix)
    matrix.sort_indices()
    dense = rng.standard_normal((2, columns, width)).astype(np.float32)
    out = product(by_layers(matrix, shape, voxels), rows, dense)
    np.testing.assert_allclose(out, [matrix @ d for d in dense], atol=1e-5)


def test_every_row_begins_once_and_every_term_is_in_one_segment() -> None:
    matrix = projection_matrix(GEOMETRY)
    transpose = sparse.csr_array(matrix.T)
    for ordered, plain in (
        (by_layers(matrix, SLICE, 2000), matrix),
        (by_tiles(transpose, SLICE, 100), transpose),
    ):
        assert sorted(ordered.rows[ordered.begins]) == list(range(plain.shape[0]))
        rows = np.repeat(ordered.rows, np.diff(ordered.starts))
        again = sparse.csr_array((ordered.weights, (rows, ordered.indices)), shape=plain.shape)
        assert np.count_nonzero(ordered.weights) == plain.nnz
        assert abs(again - plain).max() == 0


@two_threads
def test_threads_that_share_a_volume_do_not_change_a_bit() -> None:
    projector = SparseProjector(GEOMETRY)
    volume = np.random.default_rng(0).random((1, *SLICE, 19), np.float32)
    with_one = with_threads(1, lambda: projector.adjoint(projector.forward(volume)))
    with_two = with_threads(2, lambda: projector.adjoint(projector.forward(volume)))
    np.testing.assert_array_equal(with_two, with_one)


def test_a_value_that_is_not_finite_spreads_along_its_rays_alone() -> None:
    projector = SparseProjector(GEOMETRY)
    volume = np.ones((*SLICE, 3), np.float32)
    volume[7, 5] = np.nan
    rays = projector.forward(volume)
    met = projection_matrix(GEOMETRY)[:, [7 * SLICE[1] + 5]].toarray().reshape(rays.shape[:2]) > 0
    np.testing.assert_array_equal(np.isnan(rays), np.repeat(met[..., None], 3, axis=2))
