"""Projectors on the GPU: CUDA kernels without a matrix, and the sparse product as reference.

The limits of the kernels, for n^3 voxels, E elements and A tilts: one direction makes U = A E n^3
voxel-angle updates, two multiply-adds each, and moves

    memory   4 E n^3 + 4 A E n^2 bytes: x goes in chunks of 128, slowest, and the tilts of a chunk
             read a layer at nearly the same time, from L2.
    L2       forward 1.9 bytes per update with 47 tilts, 3.5 with 9, nearly 4 with fewer: the 16
             rays of 3 tilts that are a block share rows in L1. Adjoint 0.8: 48 voxel rows do.
    L1       7.4 bytes per update: 6.5 of rows, as not every ray meets every layer and not every
             voxel two rays, and 0.9 of weights, which lanes read together, 16 bytes for 16 updates.
    threads  75 instructions per layer (forward), 79 per tilt (adjoint), for 16 updates: 64 take up
             two rows, the rest is for weights, of one step in eight. As compiled for sm_90.

On an H200 (132 multiprocessors at 1.75 GHz, each 128 bytes of L1 and 4 instructions of 32 threads
per clock; about 5.5 TB/s from L2) that allows 1,400 to 2,900 GUPS (10^9 updates per second) by L2
and 7,000 adjoint, 4,000 by L1, 6,000 by instructions and, from 9 tilts on, over 9,000 by memory.
``tests/benchmarks/gpu_traffic.py`` counts the bytes from L2 and L1, for other blocks too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..geometry import TiltGeometry
from ..projection import fitted
from ..projection.rays import projection_matrix, ray_table
from .cupy import address_of, cupy_module, device_matrix
from .kernels import BLOCK, GROUPS, ROWS, Launcher, cover, int32

Array = NDArray[np.float32]

_LANES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Tiling:
    """Threads of a block of the projector.

    The lanes of a row of the result share its weights, and belong to one warp. Two blocks of the
    default fit a multiprocessor: 24 warps, each with eight loads of 512 bytes in flight.

    Parameters
    ----------
    lanes : threads along x, a divisor of 32.
    forward : rays and tilts of a block of the forward kernel.
    adjoint : voxels along y and z of a block of the adjoint kernel.

    Raises
    ------
    ValueError : the lanes do not divide a warp, or a block has too many rows or threads.
    """

    lanes: int = 8
    forward: tuple[int, int] = (16, 3)
    adjoint: tuple[int, int] = (8, 6)

    def __post_init__(self) -> None:
        if self.lanes not in _LANES:
            raise ValueError(f"lanes = {self.lanes}; accepted: {', '.join(map(str, _LANES))}")
        most = min(ROWS, BLOCK // self.lanes)
        for name, tile in (("forward", self.forward), ("adjoint", self.adjoint)):
            if min(tile) < 1 or math.prod(tile) > most:
                raise ValueError(
                    f"{name} = {tile}; accepted: 1 to {most} rows of {self.lanes} lanes"
                )


@dataclass(frozen=True)
class CudaProjector:
    """Joseph projector by CUDA kernels, without a matrix.

    The operator of :mod:`tomoatlas.recon_core.projection.rays`. The geometry, one record per tilt,
    serves every x, element and trial. Which two voxel rows of a layer a ray passes between, or
    which two rays of a tilt pass beside a voxel row, and their weights, are computed once for all
    lanes along x: lane k does so for the k-th of eight layers or tilts, and all of them read the
    eight results from shared memory. Only the lanes of one warp synchronise. Forward and adjoint
    compute the same weights bit for bit; a row of weight 0 is not read, so that a NaN stays with
    the values it affects; and neither needs atomics: results are reproducible.

    Parameters
    ----------
    geometry : tilts and slice (z, y).
    launcher : compiles and runs the kernels; arrays must be of its module ``xp``.
    tiling : threads of a block; it changes speed, not results.

    Raises
    ------
    BadInput : from :meth:`forward` and :meth:`adjoint`, when an array does not fit the geometry.
    """

    geometry: TiltGeometry
    launcher: Launcher = field(repr=False, compare=False)
    tiling: Tiling = field(default=Tiling(), repr=False, compare=False)
    _tilts: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # field by field, not tilt by tilt: lanes with neighbouring tilts read neighbouring words
        table = ray_table(self.geometry).view(np.int64).reshape(self.geometry.angles, -1)
        fields = np.ascontiguousarray(table.T)
        object.__setattr__(self, "_tilts", self.launcher.xp.asarray(fields))

    def forward(self, volumes: Array, out: Array | None = None) -> Array:
        """Project volumes, see :class:`tomoatlas.recon_core.projection.Projector`.

        Parameters
        ----------
        volumes : (..., z, y, x), float32, on the device.
        out : receives the result, (..., angle, y, x), contiguous float32; None allocates it.
        """
        volumes, out = fitted(volumes, *self._shapes, out, "volume", self.launcher.xp)
        rows = self.geometry.shape[1], self.geometry.angles
        self._launch("forward", rows, self.tiling.forward, volumes, out)
        return out

    def adjoint(self, projections: Array, out: Array | None = None) -> Array:
        """Back-project projections, see :class:`tomoatlas.recon_core.projection.Projector`.

        Parameters
        ----------
        projections : (..., angle, y, x), float32, on the device.
        out : receives the result, (..., z, y, x), contiguous float32; None allocates it.
        """
        volume, series = self._shapes
        projections, out = fitted(projections, series, volume, out, "projections", self.launcher.xp)
        self._launch("adjoint", volume[::-1], self.tiling.adjoint, projections, out)
        return out

    @property
    def _shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Row axes of a volume, (z, y), and of its projections, (angle, y)."""
        return self.geometry.shape, (self.geometry.angles, self.geometry.shape[1])

    def _launch(
        self, name: str, rows: tuple[int, int], tile: tuple[int, int], source: Array, out: Array
    ) -> None:
        """Launch blocks of ``tile`` rows of the result, (y, angle) or (y, z); x is the slowest."""
        columns = _Columns.of(source, out)
        if columns.count:
            # lanes beyond the last column would idle
            lanes = columns.lanes(self.tiling)
            tiles = cover(rows[0], tile[0]), cover(rows[1], tile[1])
            grid = (*tiles, cover(columns.count, lanes * GROUPS))
            # batch and elements are only more columns: one launch for all
            sizes = *self.geometry.shape, columns.lines, columns.count, self.geometry.angles
            args = source, self._tilts, out, *int32(*sizes)
            self.launcher.launch(f"{name}_{columns.vector}", grid, (lanes, *tile), args)


@dataclass(frozen=True)
class _Columns:
    """Arrays (..., row, row, x) as columns of vectors.

    Parameters
    ----------
    vector : floats in a vector, 1 or 4.
    lines : vectors along x.
    count : columns in all, leading indices times ``lines``.
    """

    vector: int
    lines: int
    count: int

    @classmethod
    def of(cls, source: Array, out: Array) -> _Columns:
        """Choose vectors of four where both arrays allow aligned loads."""
        width = source.shape[-1]
        aligned = all(address_of(array) % 16 == 0 for array in (source, out))
        # 16-byte loads need both alignment and a multiple of four
        vector = 4 if width % 4 == 0 and aligned else 1
        return cls(vector, width // vector, math.prod(source.shape[:-3]) * width // vector)

    def lanes(self, tiling: Tiling) -> int:
        """Limit the threads along x to the columns there are."""
        return min(tiling.lanes, 1 << (cover(self.count, GROUPS) - 1).bit_length())


@dataclass(frozen=True)
class CupySparseProjector:
    """The same operator as a csr product of cuSPARSE on CuPy arrays: the simple reference.

    Parameters
    ----------
    geometry : tilts and slice (z, y).

    Raises
    ------
    BadInput : an array does not fit the geometry, or there is no device.
    """

    geometry: TiltGeometry
    _matrix: Any = field(init=False, repr=False, compare=False)
    _transpose: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        matrix = projection_matrix(self.geometry)
        object.__setattr__(self, "_matrix", device_matrix(matrix))
        object.__setattr__(self, "_transpose", device_matrix(sparse.csr_array(matrix.T)))

    def forward(self, volumes: Array, out: Array | None = None) -> Array:
        """Project volumes, see :class:`tomoatlas.recon_core.projection.Projector`.

        Parameters
        ----------
        volumes : (..., z, y, x), float32, on the device.
        out : receives the result, (..., angle, y, x), contiguous float32; None allocates it.
        """
        series = (self.geometry.angles, self.geometry.shape[1])
        fit = fitted(volumes, self.geometry.shape, series, out, "volume", cupy_module())
        return multiply(self._matrix, *fit)

    def adjoint(self, projections: Array, out: Array | None = None) -> Array:
        """Back-project projections, see :class:`tomoatlas.recon_core.projection.Projector`.

        Parameters
        ----------
        projections : (..., angle, y, x), float32, on the device.
        out : receives the result, (..., z, y, x), contiguous float32; None allocates it.
        """
        series = (self.geometry.angles, self.geometry.shape[1])
        fit = fitted(projections, series, self.geometry.shape, out, "projections", cupy_module())
        return multiply(self._transpose, *fit)


def multiply(matrix: Any, array: Array, out: Array) -> Array:
    """Write matrix @ array to ``out`` (..., row, row, x), one leading index at a time.

    Parameters
    ----------
    matrix : of cupyx, (row, column).
    array : (..., row, row, x), on the device.
    out : written.
    """
    width = array.shape[-1]
    flat = out.reshape(-1, matrix.shape[0], width)
    for source, target in zip(array.reshape(-1, matrix.shape[1], width), flat, strict=True):
        # cuSPARSE takes two dimensions: leading indices one by one
        target[...] = matrix @ source
    return out
