"""Parallel-beam projection of a tilt series: forward and its exact adjoint.

The matrix of a slice is this project's own (:mod:`.rays`) or, as a second opinion, that of the
ASTRA toolbox's CPU projector 'linear': the same operator, implemented independently and in single
precision (van Aarle et al., Ultramicroscopy 157, 35 (2015)). Either is applied with its transpose,
an exact pair; ASTRA's CUDA projectors are not, so they are not used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import BadInput, needed
from ..geometry import TiltGeometry
from ..settings import ProjectorName
from .images import ImagePlacement
from .rays import projection_matrix
from .sparse_product import OrderedMatrix, by_layers, by_tiles, sparse_product

Array = NDArray[np.float32]

KEY = "solver.projector"
SPARSE = 'solver.projector = "sparse", which needs no package'


class Projector(Protocol):
    """A linear map from volumes (..., z, y, x) to projections (..., angle, y, x)."""

    def __hash__(self) -> int:
        """Hash, as a projector is a key of what is computed from it once."""

    @property
    def geometry(self) -> TiltGeometry:
        """Tilts and slice (z, y)."""

    def forward(self, volumes: Array, out: Array | None = None) -> Array:
        """Project: sum along every ray, in voxel lengths.

        Parameters
        ----------
        volumes : (..., z, y, x), float32.
        out : receives the result, (..., angle, y, x), contiguous float32; None allocates it.

        Returns
        -------
        array : ``out``.
        """

    def adjoint(self, projections: Array, out: Array | None = None) -> Array:
        """Back-project: apply the exact transpose of :meth:`forward`.

        Parameters
        ----------
        projections : (..., angle, y, x), float32.
        out : receives the result, (..., z, y, x), contiguous float32; None allocates it.

        Returns
        -------
        array : ``out``.
        """


@dataclass(frozen=True)
class SparseProjector:
    """The matrix of one slice (:mod:`.rays`), applied to every slice at once.

    The tilt axis is contiguous, so a nonzero of the matrix multiplies a whole row of x. Shifts
    across the axis are part of the matrix; what mixes slices is applied to the images
    (:mod:`.images`).

    Parameters
    ----------
    geometry : tilts and slice (z, y).

    Raises
    ------
    BadInput : from :meth:`forward` and :meth:`adjoint`, when an array does not fit the geometry.

    Examples
    --------
    >>> import numpy as np
    >>> projector = SparseProjector(TiltGeometry((0.0,), (3, 2)))
    >>> projector.forward(np.ones((3, 2, 4), np.float32)).tolist()
    [[[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]]
    """

    geometry: TiltGeometry
    _matrix: OrderedMatrix = field(init=False, repr=False, compare=False)
    _images: ImagePlacement | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        images = ImagePlacement(self.geometry) if self.geometry.mixes_slices else None
        object.__setattr__(self, "_images", images)
        object.__setattr__(self, "_matrix", by_layers(self._slice_matrix(), self.geometry.shape))

    @cached_property
    def _transpose(self) -> OrderedMatrix:
        """A transpose of its own: the adjoint then reads rows too, and is exact.

        Built when asked for: data are only projected.
        """
        return by_tiles(sparse.csr_array(self._slice_matrix().T), self.geometry.shape)

    def _slice_matrix(self) -> sparse.csr_array:
        """Build the matrix of one slice, (angle * y, z * y), float32; its rows are rays."""
        return projection_matrix(self.geometry)

    def forward(self, volumes: Array, out: Array | None = None) -> Array:
        """Project volumes, see :class:`Projector`.

        Parameters
        ----------
        volumes : (..., z, y, x), float32.
        out : receives the result, (..., angle, y, x), contiguous float32; None allocates it.
        """
        z, y = self.geometry.shape
        volumes, out = fitted(volumes, (z, y), (self.geometry.angles, y), out, "volume")
        _apply(self._matrix, volumes, out)
        if self._images is not None:
            out[...] = self._images.apply(out)
        return out

    def adjoint(self, projections: Array, out: Array | None = None) -> Array:
        """Back-project projections, see :class:`Projector`.

        Parameters
        ----------
        projections : (..., angle, y, x), float32.
        out : receives the result, (..., z, y, x), contiguous float32; None allocates it.
        """
        z, y = self.geometry.shape
        shape = (self.geometry.angles, y)
        projections, out = fitted(projections, shape, (z, y), out, "projections")
        if self._images is not None:
            projections = self._images.transpose(projections)
        return _apply(self._transpose, projections, out)


@lru_cache(maxsize=16)
def cached_projector(geometry: TiltGeometry) -> SparseProjector:
    """Return the projector of a geometry, built once per process.

    Parameters
    ----------
    geometry : tilts and slice (z, y).
    """
    return SparseProjector(geometry)


def _apply(matrix: OrderedMatrix, array: Array, out: Array) -> Array:
    # trials and elements are one leading axis: all share the matrix
    dense, flat = (a.reshape(-1, a.shape[-3] * a.shape[-2], a.shape[-1]) for a in (array, out))
    sparse_product(matrix, dense, flat)
    return out


def fitted(
    array: Array,
    source: tuple[int, int],
    target: tuple[int, int],
    out: Array | None,
    name: str,
    xp: ModuleType = np,
) -> tuple[Array, Array]:
    """Check the operand of a projector and provide the memory of its result.

    Parameters
    ----------
    array : operand, (..., *source, x).
    source, target : row axes of operand and result: (z, y) and (angle, y), or the reverse.
    out : memory of the result, (..., *target, x), contiguous float32; None allocates it.
    name : what the error calls the operand.
    xp : array module of both.

    Returns
    -------
    tuple of array : operand, contiguous float32, and memory of the result.

    Raises
    ------
    BadInput : ``array`` or ``out`` does not fit.
    TypeError : one of them is not an array of ``xp``; nothing is copied between devices implicitly.
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
    # no copy if it is so already
    return xp.ascontiguousarray(array, dtype=np.float32), out


class AstraProjector(SparseProjector):
    """A sparse projector with ASTRA's matrix of one slice.

    Parameters
    ----------
    geometry : tilts and slice (z, y).

    Raises
    ------
    BadInput : ASTRA is not installed; otherwise as
        :class:`~tomoatlas.recon_core.projection.SparseProjector`.
    """

    def _slice_matrix(self) -> sparse.csr_array:
        if not self.geometry.placement.is_still:
            raise BadInput(
                "takes no shifted or turned images", key=KEY, value="astra", accepted=SPARSE
            )
        return astra_matrix(self.geometry)


@lru_cache(maxsize=16)
def cached_astra_projector(geometry: TiltGeometry) -> AstraProjector:
    """Return the projector of a geometry, built once per process.

    Parameters
    ----------
    geometry : tilts and slice (z, y).
    """
    return AstraProjector(geometry)


def astra_matrix(geometry: TiltGeometry) -> sparse.csr_array:
    """Build ASTRA's sparse matrix of one slice.

    Parameters
    ----------
    geometry : tilts and slice (z, y).

    Returns
    -------
    csr_array : (angle * y, z * y), float32, columns in order.

    Raises
    ------
    BadInput : ASTRA is not installed.
    """
    astra = _astra()
    detector = astra.create_proj_geom(
        "parallel", 1.0, geometry.shape[1], np.deg2rad(geometry.angles_deg)
    )
    projector = astra.create_projector("linear", detector, astra.create_vol_geom(*geometry.shape))
    try:
        # ASTRA keeps objects in a table of its own: delete what was created
        handle = astra.projector.matrix(projector)
        matrix = sparse.csr_array(astra.matrix.get(handle), dtype=np.float32)
        astra.matrix.delete(handle)
    finally:
        astra.projector.delete(projector)
    matrix.eliminate_zeros()  # a NaN must not spread along a weight of 0
    matrix.sort_indices()
    return matrix


def check_projector(kind: ProjectorName, on_gpu: bool) -> None:
    """Check, before anything is solved, that a kind of projector can be used here.

    Parameters
    ----------
    kind : ``sparse`` or ``astra``.
    on_gpu : whether the device is a GPU.

    Raises
    ------
    BadInput : ASTRA on a GPU, or ASTRA that is not installed.
    """
    if kind != "astra":
        return
    if on_gpu:
        accepted = f"the CPU (--device cpu), or {SPARSE}"
        raise BadInput("computes on the CPU only", key=KEY, value=kind, accepted=accepted)
    _astra()


def _astra() -> ModuleType:
    accepted = f"pip install astra-toolbox (x86-64 Linux and Windows), or {SPARSE}"
    with needed("astra-toolbox", accepted=accepted, purpose=KEY):
        import astra
    module: ModuleType = astra
    return module
