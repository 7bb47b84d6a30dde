"""A sparse matrix times rows of x, its terms in an order that keeps what they read in the cache.

A volume is larger than the cache, and every ray crosses all of it: taken ray by ray, each
multiply-add waits for a row from memory. So the volume is taken in blocks of layers that fit the
second cache, and all rays cross one block before the next; the adjoint takes voxels in square
tiles, which few rays of each tilt meet. A row of the result is a sum in one fixed order, whatever
the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..cpu import jit, leaf

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

BLOCK = 2**17  # voxels of a block, if x is as long as y: 512 KiB of the second cache
CACHED = 2**19  # values of projections that the cache keeps while all voxels are taken in order
TILE = 16  # voxels: edge of a tile
TERMS = 8  # added to a row of the result at a time


class OrderedMatrix(NamedTuple):
    """A sparse matrix as segments of its rows, stored in the order in which they are multiplied.

    Parameters
    ----------
    rows : row of each segment, (segment,); every row has one at least.
    begins : whether it is the first segment of its row, (segment,).
    starts : its first term, and their number at the end, (segment + 1,), multiples of
        :data:`TERMS`.
    indices, weights : column and value of each term, (term,); some values are 0.
    """

    rows: Indices
    begins: NDArray[np.bool_]
    starts: Indices
    indices: Indices
    weights: Array


def by_layers(
    matrix: sparse.csr_array, shape: tuple[int, int], voxels: int = BLOCK
) -> OrderedMatrix:
    """Order a projection: block by block of layers, and ray by ray in each.

    Parameters
    ----------
    matrix : (ray, z * y), indices sorted.
    shape : voxels of the slice, (z, y).
    voxels : the most of a block, unless a single layer has more.
    """
    layers = max(1, voxels // shape[1] ** 2)
    return _ordered(matrix, matrix.indices // (layers * shape[1]))


def by_tiles(
    matrix: sparse.csr_array, shape: tuple[int, int], voxels: int = CACHED
) -> OrderedMatrix:
    """Order a back-projection: tile by tile of voxels, and voxel by voxel in each.

    Parameters
    ----------
    matrix : (z * y, ray).
    shape : voxels of the slice, (z, y).
    voxels : if all rays have fewer, they stay in the cache, and there is one tile.
    """
    if matrix.shape[1] * shape[1] <= voxels:
        return _ordered(matrix, np.zeros(matrix.nnz, np.int32))
    rows = np.arange(shape[0] * shape[1])
    z, y = rows // shape[1], rows % shape[1]
    tile = z // TILE * (shape[1] // TILE + 1) + y // TILE
    return _ordered(matrix, np.repeat(tile, np.diff(matrix.indptr)))


def _ordered(matrix: sparse.csr_array, keys: NDArray[np.integer[Any]]) -> OrderedMatrix:
    """Sort nonzeros by key and row; a row without any has an empty segment, so that it is written.

    Parameters
    ----------
    matrix : (row, column).
    keys : of each nonzero, (nonzero,), not descending within a row.
    """
    lengths = np.diff(matrix.indptr)
    # a segment begins with a row, and wherever the key changes in it
    changes = np.ones(matrix.nnz, np.bool_)
    changes[1:] = keys[1:] != keys[:-1]
    changes[matrix.indptr[:-1][lengths > 0]] = True
    first = np.flatnonzero(changes)
    bare = np.flatnonzero(lengths == 0)
    none = np.zeros_like(bare)
    rows = np.append(np.repeat(np.arange(len(lengths)), lengths)[first], bare)
    counts = np.append(np.diff(np.append(first, matrix.nnz)), none)
    order = np.lexsort((rows, np.append(keys[first], none)))
    rows, counts = rows[order], counts[order]
    begins = np.append(first, matrix.indptr[bare])[order]
    full = -(-counts // TERMS) * TERMS
    starts = np.append(0, np.cumsum(full))
    # a segment is filled up with its last column, where a NaN is seen anyway, and weight 0
    at, counts = np.arange(starts[-1]) - np.repeat(starts[:-1], full), np.repeat(counts, full)
    places = np.repeat(begins, full) + np.minimum(at, counts - 1)
    return OrderedMatrix(
        rows.astype(np.int32),
        begins == matrix.indptr[rows],
        starts.astype(np.int32),
        matrix.indices[places],
        np.where(at < counts, matrix.data[places], np.float32(0)),
    )


def sparse_product(matrix: OrderedMatrix, dense: Array, out: Array) -> None:
    """Multiply a sparse matrix with rows of x: out[e, row] = sum_k weights[k] dense[e, indices[k]].

    Parameters
    ----------
    matrix : (row, column).
    dense : (e, column, x).
    out : (e, row, x), written.
    """
    # threads share elements, or the rows of one
    groups = -(-numba.get_num_threads() // max(1, len(out)))
    _product(*matrix, dense, out, groups)


@jit
def _product(
    rows: Indices,
    begins: NDArray[np.bool_],
    starts: Indices,
    indices: Indices,
    weights: Array,
    dense: Array,
    out: Array,
    groups: int,
) -> None:
    elements, total_rows = out.shape[:2]
    for task in numba.prange(elements * groups):
        e, group = task // groups, task % groups
        low, high = group * total_rows // groups, (group + 1) * total_rows // groups
        source = dense[e]
        for segment in range(rows.size):
            row = rows[segment]
            if low <= row < high:
                total = out[e, row]
                if begins[segment]:
                    total[:] = np.float32(0)
                _add(indices, weights, starts[segment], starts[segment + 1], source, total)


@leaf
def _add(
    indices: Indices, weights: Array, first: int, last: int, source: Array, total: Array
) -> None:
    """Add the terms of one segment, eight at a time: an eighth of the loads and stores of total."""
    for k in range(first, last, TERMS):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        w4, w5, w6, w7 = weights[k + 4], weights[k + 5], weights[k + 6], weights[k + 7]
        # unsigned: an index that may be negative costs a comparison a voxel
        i0, i1 = np.uint32(indices[k]), np.uint32(indices[k + 1])
        i2, i3 = np.uint32(indices[k + 2]), np.uint32(indices[k + 3])
        i4, i5 = np.uint32(indices[k + 4]), np.uint32(indices[k + 5])
        i6, i7 = np.uint32(indices[k + 6]), np.uint32(indices[k + 7])
        for j in range(total.size):
            one = (w0 * source[i0, j] + w1 * source[i1, j]) + w2 * source[i2, j]
            two = (w3 * source[i3, j] + w4 * source[i4, j]) + w5 * source[i5, j]
            total[j] += (one + two) + (w6 * source[i6, j] + w7 * source[i7, j])
