"""The dual of total variation: its step and its divergence, block by block (numba, one core).

Volumes are flat: voxel i of (z, y, x) has its neighbours at i + 1, i + width, i + plane. The dual
is zero where its difference would leave the volume (far faces), so only the first plane needs a
case of its own in the divergence. Loops take one-dimensional arrays as long as a block.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import STEEPEST, leaf

Array = NDArray[np.float32]

TV_DIVISOR = np.float32(12)  # ||grad||^2 in 3D: the dual step is metric / 12


class Block(NamedTuple):
    """Voxels of one plane, a stretch of a trial's flat volumes.

    Parameters
    ----------
    trial : index of the trial.
    start, stop : range of flat voxel indices.
    plane, width : voxels of a plane (z) and of a row (z, y).
    """

    trial: int
    start: int
    stop: int
    plane: int
    width: int


@lru_cache(maxsize=16)
def inside_plane(height: int, width: int) -> Array:
    """Return 1 where the differences along y and x stay inside a plane, else 0; (2, plane).

    Parameters
    ----------
    height, width : of a plane, voxels.
    """
    inside = np.ones((2, height, width), np.float32)
    inside[0, height - 1] = 0
    inside[1, :, width - 1] = 0
    return inside.reshape(2, height * width)


@leaf
def dual_of(dual: Array, block: Block, zeros: Array) -> Any:
    """Return the dual of one block, and the same one voxel back along z, y and x.

    Parameters
    ----------
    dual : of one element, (3, voxel).
    block : a stretch of its voxels.
    zeros : workspace for neighbours outside the volume, (3, voxels of a block).
    """
    _, start, stop, plane, width = block
    pz, py, px = dual[0], dual[1], dual[2]
    here = (pz[start:stop], py[start:stop], px[start:stop])
    # all neighbours exist: far faces are zero, so even rows that wrap around contribute nothing
    if start >= plane:
        back, low = pz[start - plane : stop - plane], py[start - width : stop - width]
        return here, (back, low, px[start - 1 : stop - 1])
    n = stop - start
    back, low, left = zeros[0, :n], zeros[1, :n], zeros[2, :n]
    for j in range(n):
        i = start + j
        back[j] = np.float32(0)
        low[j] = py[i - width] if i >= width else np.float32(0)
        left[j] = px[i - 1] if i >= 1 else np.float32(0)
    return here, (back, low, left)


@leaf
def differences(dual: Any, before: Any, out: Array) -> None:
    """Write the sum of three backward differences, the divergence of the dual.

    Parameters
    ----------
    dual : its components along z, y and x, three of (voxel,).
    before : the same one voxel back along z, y and x, three of (voxel,).
    out : (voxel,), written.
    """
    (pz, py, px), (back, low, left) = dual, before
    for j in range(out.size):
        out[j] = (pz[j] - back[j]) + (py[j] - low[j]) + (px[j] - left[j])


@leaf
def ascend(f: Any, s: Any, block: Block, inside: Array, scratch: Array) -> None:
    """Step the dual by metric/(12 tv) grad of the next iterate; project it on its ball.

    Parameters
    ----------
    f, s : :class:`~tomoatlas.recon_core.cpu.volume_step.Fields`, flat, and ``Steps``.
    block : voxels whose dual is stepped.
    inside : from :func:`inside_plane`.
    scratch : workspace, (6 or more, voxels of a block).
    """
    trial, start, stop, plane, _ = block
    n, at = stop - start, start % plane
    sides = (inside[0, at : at + n], inside[1, at : at + n])
    guided = f.guide.shape[1] > 0
    guide = (scratch[2, :n], scratch[3, :n], scratch[4, :n], scratch[5, :n])
    if guided:
        guide_gradient(_ahead(f.guide[trial], block, scratch), sides, guide)
    for e in range(f.volumes.shape[1]):
        x = _ahead(f.next_volumes[trial, e], block, scratch)
        pz, py, px = f.dual[trial, e, 0], f.dual[trial, e, 1], f.dual[trial, e, 2]
        dual = (pz[start:stop], py[start:stop], px[start:stop])
        step = s.metric[trial, e] / TV_DIVISOR / s.tv[trial]
        if guided:
            project_guided_dual(x, sides, guide, dual, step)
        else:
            project_dual(x, sides, dual, step)


@leaf
def _ahead(x: Array, block: Block, scratch: Array) -> tuple[Array, Array, Array, Array]:
    """Return a block of a volume, and the same one voxel on along z, y and x."""
    _, start, stop, plane, width = block
    size, n = x.size, stop - start
    here = x[start:stop]
    # in the last plane the difference along z is zero: here - here
    deeper, higher, right = here, scratch[0, :n], scratch[1, :n]
    if stop + plane <= size:
        deeper = x[start + plane : stop + plane]
    if stop + width <= size:
        higher, right = x[start + width : stop + width], x[start + 1 : stop + 1]
    else:
        for j in range(n):
            higher[j] = x[min(start + j + width, size - 1)]
            right[j] = x[min(start + j + 1, size - 1)]
    return here, deeper, higher, right


@leaf
def project_dual(x: Any, sides: Any, dual: Any, step: np.float32) -> None:
    """Step the dual along the forward differences and project each voxel's vector on the unit ball.

    One step of the dual prox of isotropic TV (Chambolle, J. Math. Imaging Vis. 20, 89 (2004); Beck
    and Teboulle, IEEE Trans. Image Process. 18, 2419 (2009)).

    Parameters
    ----------
    x : concentration of one element, and the same one voxel on along z, y and x; four of (voxel,).
    sides : 1 where the voxel on along y and x is inside the volume, else 0; two of (voxel,).
    dual : its components along z, y and x, updated, of length 1 at most; three of (voxel,).
    step : metric / (12 tv), as ||grad||^2 <= 12 in 3D.
    """
    (here, deeper, higher, right), (inside_y, inside_x) = x, sides
    pz, py, px = dual
    for j in range(here.size):
        a = pz[j] + step * (deeper[j] - here[j])
        b = py[j] + step * inside_y[j] * (higher[j] - here[j])
        c = px[j] + step * inside_x[j] * (right[j] - here[j])
        # projection on the unit ball: vectors inside it stay as they are
        shrink = np.float32(1) / np.sqrt(max(a * a + b * b + c * c, np.float32(1)))
        pz[j], py[j], px[j] = a * shrink, b * shrink, c * shrink


@leaf
def guide_gradient(x: Any, sides: Any, guide: Any) -> None:
    """Write the gradient g of the guide, and what is left of TV's weight along it.

    Parameters
    ----------
    x : guide, in units of the gradient from which on TV yields, and the same one voxel on along z,
        y and x; four of (voxel,).
    sides : 1 where the voxel on along y and x is inside the volume, else 0; two of (voxel,).
    guide : components of g along z, y and x, |g|^2 cut at
        :data:`~tomoatlas.recon_core.cpu.STEEPEST`, and 1 / (1 + |g|^2), a tenth or more, written;
        four of (voxel,).
    """
    (here, deeper, higher, right), (inside_y, inside_x) = x, sides
    gz, gy, gx, along = guide
    for j in range(here.size):
        a, b, c = deeper[j] - here[j], higher[j] - here[j], right[j] - here[j]
        b, c = inside_y[j] * b, inside_x[j] * c
        steep = a * a + b * b + c * c
        limit = np.sqrt(STEEPEST / max(steep, STEEPEST))
        gz[j], gy[j], gx[j] = limit * a, limit * b, limit * c
        along[j] = np.float32(1) / (np.float32(1) + min(steep, STEEPEST))


@leaf
def project_guided_dual(x: Any, sides: Any, guide: Any, dual: Any, step: np.float32) -> None:
    """Step the dual of TV along a guide, as :func:`project_dual` does that of TV.

    The weight of a difference is P = 1 - g g^T / (1 + |g|^2), so that the dual p = P q with q in
    the unit ball. P^-1 = 1 + g g^T takes p to q, which is stepped along P grad x and projected.

    Parameters
    ----------
    x : concentration of one element, and the same one voxel on along z, y and x; four of (voxel,).
    sides : 1 where the voxel on along y and x is inside the volume, else 0; two of (voxel,).
    guide : as :func:`guide_gradient` writes it.
    dual : its components along z, y and x, updated; three of (voxel,).
    step : metric / (12 tv); |P| is at most 1.
    """
    (here, deeper, higher, right), (inside_y, inside_x) = x, sides
    (gz, gy, gx, along), (pz, py, px) = guide, dual
    for j in range(here.size):
        a, b, c = deeper[j] - here[j], higher[j] - here[j], right[j] - here[j]
        b, c = inside_y[j] * b, inside_x[j] * c
        # q = P^-1 p + step P grad x, one term along g
        lean = gz[j] * pz[j] + gy[j] * py[j] + gx[j] * px[j]
        lean -= step * along[j] * (gz[j] * a + gy[j] * b + gx[j] * c)
        a = pz[j] + step * a + lean * gz[j]
        b = py[j] + step * b + lean * gy[j]
        c = px[j] + step * c + lean * gx[j]
        shrink = np.float32(1) / np.sqrt(max(a * a + b * b + c * c, np.float32(1)))
        lean = along[j] * (gz[j] * a + gy[j] * b + gx[j] * c)
        pz[j] = shrink * (a - lean * gz[j])
        py[j] = shrink * (b - lean * gy[j])
        px[j] = shrink * (c - lean * gx[j])
