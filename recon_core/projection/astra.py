"""The matrix of the ASTRA toolbox's CPU projector, applied as our own: a second opinion.

ASTRA's 'linear' projector is the operator of :mod:`tomoatlas.recon_core.projection.rays`,
implemented independently and in single precision (van Aarle et al., Ultramicroscopy 157, 35
(2015)). Its matrix and the transpose of that are an exact pair; ASTRA's CUDA projectors are not, so
they are not used.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np
from scipy import sparse

from ..errors import BadInput, needed
from ..geometry import TiltGeometry
from ..settings import ProjectorName
from . import SparseProjector

KEY = "solver.projector"
SPARSE = 'solver.projector = "sparse", which needs no package'


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
