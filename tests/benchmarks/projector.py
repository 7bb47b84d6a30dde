"""One pair of projections of a volume: ours against ASTRA's CPU projector, slice by slice.

Both in this process, same 'linear' kernel, 47 tilts. Run on an otherwise idle machine:

    python tests/benchmarks/projector.py [SIZE]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import astra
import numpy as np
from common import table

from recon_core.geometry import TiltGeometry, spaced_tilts
from recon_core.projector import SparseProjector

REPEATS = 7


def main(size: int) -> None:
    """Print time per pair and the ratio."""
    geometry = TiltGeometry(spaced_tilts(47, (-70.0, 70.0)), (size, size))
    start = time.perf_counter()
    ours = SparseProjector(geometry)
    build = time.perf_counter() - start
    volume = np.random.default_rng(0).random((size, size, size), dtype=np.float32)
    theirs = _astra_pair(geometry, volume)
    fast = _median(lambda: ours.adjoint(ours.forward(volume)))
    slow = _median(theirs)
    header = (f"{size}³, 47 tilts", "matrix built (s)", "ours (ms)", "ASTRA by slice (ms)", "ratio")
    table(
        header,
        [
            (
                "forward + adjoint",
                f"{build:.2f}",
                f"{fast:.1f}",
                f"{slow:.1f}",
                f"{slow / fast:.0f}×",
            )
        ],
    )


def _astra_pair(geometry: TiltGeometry, volume: np.ndarray) -> Callable[[], None]:
    z, y = geometry.shape
    grid = astra.create_vol_geom(z, y)
    angles = np.deg2rad(geometry.angles_deg)
    detector = astra.create_proj_geom("parallel", 1.0, y, angles)
    projector = astra.create_projector("linear", detector, grid)
    slices = np.ascontiguousarray(volume.transpose(2, 0, 1))

    def pair() -> None:
        for piece in slices:
            handle, sinogram = astra.create_sino(piece, projector)
            back, _ = astra.create_backprojection(sinogram, projector)
            astra.data2d.delete([handle, back])

    return pair


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
