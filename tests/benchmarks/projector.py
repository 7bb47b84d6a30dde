"""One pair of projections of a volume: ours against SciPy's sparse product and ASTRA by slice.

All in this process, same 'linear' kernel, 47 tilts. SciPy multiplies the very same matrix, and its
transpose as csr, with all slices at once. Run on an otherwise idle machine:

    python tests/benchmarks/projector.py [SIZE]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import astra
import numpy as np
from common import table
from scipy import sparse

from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.gpu.projector import multiply
from tomoatlas.recon_core.projection import Projector, SparseProjector, fitted
from tomoatlas.recon_core.projection.rays import projection_matrix

REPEATS = 7


def main(size: int) -> None:
    """Print time per pair and the ratio."""
    geometry = TiltGeometry(spaced_tilts(47, (-70.0, 70.0)), (size, size))
    start = time.perf_counter()
    ours = SparseProjector(geometry)
    build = time.perf_counter() - start
    volume = np.random.default_rng(0).random((size, size, size), dtype=np.float32)
    simple, theirs = ScipyProjector(geometry), AstraProjector(geometry)
    fast, plain, slow = (_median(partial(_pair, p, volume)) for p in (ours, simple, theirs))
    header = (
        f"{size}³, 47 tilts",
        "matrix built (s)",
        "ours (ms)",
        "SciPy (ms)",
        "ratio",
        "ASTRA by slice (ms)",
        "ratio",
        "ASTRA's largest error of a weight",
    )
    table(
        header,
        [
            (
                "forward + adjoint",
                f"{build:.2f}",
                f"{fast:.1f}",
                f"{plain:.1f}",
                f"{plain / fast:.1f}×",
                f"{slow:.1f}",
                f"{slow / fast:.0f}×",
                f"{weight_error(geometry, theirs):.1e}",
            )
        ],
    )


def _pair(projector: Projector, volume: np.ndarray) -> np.ndarray:
    return projector.adjoint(projector.forward(volume))


class ScipyProjector(SparseProjector):
    """The same matrix multiplied by SciPy: the simple reference."""

    def __post_init__(self) -> None:
        matrix = self._slice_matrix()
        object.__setattr__(self, "_matrix", matrix)
        object.__setattr__(self, "_transpose", sparse.csr_array(matrix.T))

    def forward(self, volumes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Projections (..., angle, y, x) of volumes (..., z, y, x)."""
        series = self.geometry.angles, self.geometry.shape[1]
        fit = fitted(volumes, self.geometry.shape, series, out, "volume")
        return multiply(self._matrix, *fit)

    def adjoint(self, projections: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Back-projections (..., z, y, x) of projections (..., angle, y, x)."""
        series = self.geometry.angles, self.geometry.shape[1]
        fit = fitted(projections, series, self.geometry.shape, out, "projections")
        return multiply(self._transpose, *fit)


@dataclass(frozen=True)
class AstraProjector:
    """ASTRA's CPU projector, slice by slice, of volumes (..., z, y, x)."""

    geometry: TiltGeometry
    handle: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        grid = astra.create_vol_geom(*self.geometry.shape)
        angles = np.deg2rad(self.geometry.angles_deg)
        detector = astra.create_proj_geom("parallel", 1.0, self.geometry.shape[1], angles)
        handle = astra.create_projector("linear", detector, grid)
        object.__setattr__(self, "handle", handle)

    def forward(self, volumes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Sinograms of every slice."""
        return self._sliced(astra.create_sino, volumes, out)

    def adjoint(self, projections: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Back-projections of every slice."""
        return self._sliced(astra.create_backprojection, projections, out)

    def _sliced(
        self, run: Callable[..., Any], source: np.ndarray, out: np.ndarray | None
    ) -> np.ndarray:
        pieces = np.ascontiguousarray(np.moveaxis(source, -1, -3))
        results = np.empty((*pieces.shape[:-2], *self._shape(run)), np.float32)
        for at in np.ndindex(pieces.shape[:-2]):
            handle, result = run(pieces[at], self.handle)
            results[at] = result
            astra.data2d.delete(handle)
        back = np.ascontiguousarray(np.moveaxis(results, -3, -1))
        if out is None:
            return back
        out[...] = back
        return out

    def _shape(self, run: Callable[..., Any]) -> tuple[int, int]:
        sinogram = self.geometry.angles, self.geometry.shape[1]
        return sinogram if run is astra.create_sino else self.geometry.shape


def weight_error(geometry: TiltGeometry, theirs: AstraProjector) -> float:
    """Largest difference between a weight of ASTRA's matrix and ours."""
    handle = astra.projector.matrix(theirs.handle)
    matrix = sparse.csr_array(astra.matrix.get(handle), dtype=np.float32)
    astra.matrix.delete(handle)
    return float(abs(matrix - projection_matrix(geometry)).max())


def _median(function: Callable[[], object]) -> float:
    function()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
