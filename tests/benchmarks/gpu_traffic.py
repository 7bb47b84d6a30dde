"""Bytes that the CUDA projector takes from L2 and L1, and what an H200 then allows; needs no GPU.

    python tests/benchmarks/gpu_traffic.py [SIZE]

A block takes a row from L2 once for all its rays that meet it, or for all its voxels; steep tilts
and others step through other layers, and share none. From L1 every pair of a ray and a voxel takes
four bytes. Bytes are per voxel-angle update, size is 256 unless given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from common import table
from numpy.typing import NDArray
from scipy import sparse

from tomoatlas.recon_core.geometry import TiltGeometry, spaced_tilts
from tomoatlas.recon_core.gpu.projector import Tiling
from tomoatlas.recon_core.memory import FLOAT
from tomoatlas.recon_core.projection.rays import projection_matrix, ray_table

TILTS = (47, 9)
BLOCKS = (  # (ray, tilt) and (y, z), as many of the one as of the other
    ((8, 3), (6, 4)),
    (Tiling().forward, Tiling().adjoint),
    ((8, 6), (16, 3)),
    ((32, 3), (12, 8)),
    ((16, 6), (16, 6)),
)
L2, L1 = 5.5e12, 132 * 1.75e9 * 128  # an H200's, bytes per second
WEIGHTS = 0.9  # bytes per update from L1, as recon_core/gpu/projector.py has it


def main(arguments: list[str]) -> int:
    """Print the table."""
    size = int(arguments[0]) if arguments else 256
    header = "tilts", "forward", "adjoint", "L2 forward (B)", "L2 adjoint (B)", "L1 (B)"
    bounds = "GUPS by L2, forward", "adjoint", "by L1"
    table((*header, *bounds), (row for tilts in TILTS for row in traffic_rows(tilts, size)))
    return 0


def traffic_rows(tilts: int, size: int) -> Iterator[tuple[object, ...]]:
    """Every shape of a block, at one number of tilts."""
    geometry = TiltGeometry(spaced_tilts(tilts, (-70.0, 70.0)), (size, size))
    pairs, updates = projection_matrix(geometry).astype(bool), tilts * size**2
    angle, ray = np.divmod(np.arange(tilts * size), size)
    z, y = np.divmod(np.arange(size**2), size)
    steep = ray_table(geometry)["steep"][angle]
    within = FLOAT * pairs.nnz / updates + WEIGHTS
    for forward, adjoint in BLOCKS:
        rays = ray // forward[0], angle // forward[1], steep
        voxels = y // adjoint[0], z // adjoint[1]
        moved = [FLOAT * distinct(*each) / updates for each in ((pairs, rays), (pairs.T, voxels))]
        allowed = (f"{rate / 1e9:.0f}" for rate in (L2 / moved[0], L2 / moved[1], L1 / within))
        yield tilts, forward, adjoint, *(f"{b:.2f}" for b in (*moved, within)), *allowed


def distinct(pairs: sparse.csr_array, parts: tuple[NDArray[np.int_], ...]) -> int:
    """Columns that each block of rows meets, summed over the blocks that ``parts`` number."""
    block = np.ravel_multi_index(parts, tuple(int(part.max()) + 1 for part in parts))
    rows = np.arange(block.size)
    return int((sparse.csr_array((np.ones(rows.size, bool), (block, rows))) @ pairs).nnz)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
