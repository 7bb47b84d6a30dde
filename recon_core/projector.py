"""Parallel-beam projection of a tilt series: forward and its exact adjoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recon_core.errors import BadInput
from recon_core.geometry import TiltGeometry
from recon_core.kernels import sparse_product
from recon_core.rays import projection_matrix

Array = NDArray[np.float32]


class Projector(Protocol):
    """A linear map from volumes (..., z, y, x) to projections (..., angle, y, x)."""

    @property
    def geometry(self) -> TiltGeometry:
        """The tilts and the slice."""

    def forward(self, volumes: Array, out: Array | None = None) -> Array:
        """Project: the sum along every ray, in voxel lengths."""

    def adjoint(self, projections: Array, out: Array | None = None) -> Array:
        """Apply the exact transpose of :meth:`forward`."""


@dataclass(frozen=True)
class SparseProjector:
    """The matrix of one slice (:mod:`recon_core.rays`) applied to every slice at once.

    The tilt axis is contiguous, so a nonzero of the matrix multiplies a whole row of x.

    Raises
    ------
    BadInput : from :meth:`forward` and :meth:`adjoint`, when an array does not fit the geometry.
    """

    geometry: TiltGeometry
    _matrix: sparse.csr_array = field(init=False, repr=False, compare=False)
    _transpose: sparse.csr_array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        matrix = projection_matrix(self.geometry)
        object.__setattr__(self, "_matrix", matrix)
        object.__setattr__(self, "_transpose", sparse.csr_array(matrix.T))

    def forward(self, volumes: Array, out: Array | None = None) -> Array:
        """Project volumes (..., z, y, x) to (..., angle, y, x)."""
        z, y = self.geometry.shape
        return _apply(self._matrix, volumes, (z, y), (self.geometry.angles, y), out, "volume")

    def adjoint(self, projections: Array, out: Array | None = None) -> Array:
        """Back-project projections (..., angle, y, x) to (..., z, y, x)."""
        z, y = self.geometry.shape
        shape = (self.geometry.angles, y)
        return _apply(self._transpose, projections, shape, (z, y), out, "projections")


@lru_cache(maxsize=16)
def cached_projector(geometry: TiltGeometry) -> SparseProjector:
    """The projector of a geometry, built once per process."""
    return SparseProjector(geometry)


def _apply(
    matrix: sparse.csr_array,
    array: Array,
    source: tuple[int, int],
    target: tuple[int, int],
    out: Array | None,
    name: str,
) -> Array:
    array, out = fitted(array, source, target, out, name)
    dense = array.reshape(-1, source[0] * source[1], array.shape[-1])
    flat = out.reshape(-1, target[0] * target[1], array.shape[-1])
    sparse_product(matrix.indptr, matrix.indices, matrix.data, dense, flat)
    return out


def fitted(
    array: Array,
    source: tuple[int, int],
    target: tuple[int, int],
    out: Array | None,
    name: str,
    xp: ModuleType = np,
) -> tuple[Array, Array]:
    """The operand (..., *source, x), contiguous float32, and room for the result (..., *target, x).

    Raises
    ------
    BadInput : ``array`` (called ``name``) or ``out`` does not fit.
    TypeError : one of them is not an array of ``xp``: nothing is copied between devices unasked.
    """
    if any(a is not None and not isinstance(a, xp.ndarray) for a in (array, out)):
        raise TypeError(f"{name} and result must be arrays of {xp.__name__}")
    if array.ndim < 3 or array.shape[-3:-1] != source:
        raise BadInput(
            f"{name} does not fit the tilt geometry",
            key="shape",
            value=array.shape,
            accepted=f"(..., {source[0]}, {source[1]}, x)",
        )
    shape = (*array.shape[:-3], *target, array.shape[-1])
    if out is None:
        out = xp.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise BadInput(
            "cannot hold the result",
            key="out",
            value=out.shape,
            accepted=f"contiguous float32 {shape}",
        )
    return xp.ascontiguousarray(array, dtype=np.float32), out
