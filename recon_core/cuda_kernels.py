"""The loops of :mod:`recon_core.kernels` as CUDA kernels, one to one.

Same names, arguments and results, on the arrays of a launcher; sums come back on the device, one
float64 per row, and nothing is copied to the host. What bounds every one of them is memory: each
array is read and written once, neighbours come from cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon_core.errors import BadInput
from recon_core.launch import WARP, Launcher, Size, cover, int32

Array = NDArray[np.float32]
Sums = NDArray[np.float64]

MAX_ELEMENTS = 8  # kernels coupled_prox_1 ... 8, all elements of a voxel in registers
ROWS = 8  # rows of a block of 256 threads


@dataclass(frozen=True)
class CudaKernels:
    """Kernels on contiguous float32 arrays of one launcher; see :mod:`recon_core.kernels`.

    Raises
    ------
    TypeError : from every kernel, an array lives elsewhere.
    ValueError : from every kernel, an array is not contiguous or not float32.
    """

    launcher: Launcher

    def power_sum(self, x: Array, weights: Array, gamma: float, out: Array) -> None:
        """out[row] = sum over elements of weights[e] * x[e]**gamma, for x >= 0."""
        args = (x, weights, np.float32(gamma), out, *int32(*x.shape))
        self._apply("power_sum", _by_row(x.shape[1]), args)

    def poisson_deviance(self, signal: Array, counts: Array, background: Array, out: Array) -> Sums:
        """Deviance y - b + b log(b/y) of each ray row; out = 1 - b/y; y = signal + background."""
        args = (signal, counts, background, out, *int32(*counts.shape))
        return self._sum("poisson_deviance", math.prod(counts.shape[:2]), args)

    def weighted_squares(
        self, signal: Array, counts: Array, background: Array, precision: Array, out: Array
    ) -> Sums:
        """precision[e] (signal + background - b)**2 / 2 of each ray row; out its gradient."""
        args = (signal, counts, background, precision, out, *int32(*counts.shape))
        return self._sum("weighted_squares", math.prod(counts.shape[:2]), args)

    def dot(self, a: Array, b: Array) -> Sums:
        """Inner product of each row of two (row, x) arrays."""
        return self._sum("dot", len(a), (a, b, *int32(*a.shape)))

    def total_variation(self, x: Array) -> Sums:
        """Isotropic TV of each voxel column of (element, z, y, x)."""
        return self._sum("total_variation", math.prod(x.shape[:3]), (x, *int32(*x.shape)))

    def extrapolate(
        self, old: Array, new: Array, beta: np.float32, metric: Array, point: Array
    ) -> Sums:
        """Point <- new + beta (new - old), arrays (element, row, x).

        Returns, per row, (3, row): |new - old|^2, |new|^2 and <metric (point_before - new),
        new - old>.
        """
        args = (old, new, np.float32(beta), metric, point, *int32(*new.shape))
        return self._sum("extrapolate", new.shape[1], args, 3).reshape(3, -1)

    def dual_step(self, x: Array, step: Array, bound: np.float32, dual: Array) -> None:
        """Dual += step[e] * grad x, each voxel's vector projected on the ball of radius bound."""
        args = (x, step, np.float32(bound), dual, *int32(*x.shape))
        self._apply("dual_step", _by_voxel(x.shape), args)

    def positive_prox(self, point: Array, dual: Array, metric: Array, out: Array) -> None:
        """Out = max(point + div dual / metric, 0)."""
        args = (point, dual, metric, out, *int32(*point.shape))
        self._apply("positive_prox", _by_voxel(point.shape), args)

    def coupled_prox(
        self,
        point: Array,
        dual: Array,
        start: Array,
        target: Array,
        weights: Array,
        metric: Array,
        rho: np.float32,
        gamma: float,
        out: Array,
    ) -> None:
        """One voxel-wise Newton step on the x-problem with the HAADF coupling.

        Raises
        ------
        BadInput : more elements than one thread holds.
        """
        elements, *shape = point.shape
        if elements > MAX_ELEMENTS:
            raise BadInput(
                "too many elements for the GPU",
                key="elements",
                value=elements,
                accepted=f"1 to {MAX_ELEMENTS}",
            )
        arrays = (point, dual, start, target, weights, metric)
        args = (*arrays, np.float32(rho), np.float32(gamma), out, *int32(*shape))
        self._apply(f"coupled_prox_{elements}", _by_voxel((1, *shape)), args)

    def _sum(self, name: str, rows: int, args: tuple[Any, ...], sums_per_row: int = 1) -> Sums:
        """Launch a kernel that writes sums of every row, its first argument; return them."""
        self._check(name, args)
        sums: Sums = self.launcher.xp.empty(sums_per_row * rows, np.float64)
        self._launch(name, _by_row(rows), (sums, *args))
        return sums

    def _apply(self, name: str, size: tuple[Size, Size], args: tuple[Any, ...]) -> None:
        self._check(name, args)
        self._launch(name, size, args)

    def _check(self, name: str, args: tuple[Any, ...]) -> None:
        arrays = [a for a in args if not isinstance(a, np.generic)]
        if any(not isinstance(a, self.launcher.xp.ndarray) for a in arrays):
            raise TypeError(f"{name} needs arrays of {self.launcher.xp.__name__}")
        if any(a.dtype != np.float32 or not a.flags.c_contiguous for a in arrays):
            seen = ", ".join(f"{a.dtype}{a.shape}" for a in arrays)
            raise ValueError(f"{name} needs contiguous float32 arrays, not {seen}")

    def _launch(self, name: str, size: tuple[Size, Size], args: tuple[Any, ...]) -> None:
        if min(size[0]) > 0:
            self.launcher.launch(name, *size, args)


def _by_row(rows: int) -> tuple[Size, Size]:
    """Grid and block of one warp per row."""
    return (cover(rows, ROWS), 1, 1), (WARP, ROWS, 1)


def _by_voxel(shape: tuple[int, ...]) -> tuple[Size, Size]:
    """Grid and block of one thread per voxel: columns (element, z, y) along x, x along y."""
    elements, depth, height, width = shape
    lanes = WARP if width <= WARP else 2 * WARP
    rows = 4 * WARP // lanes
    return (cover(elements * depth * height, rows), cover(width, lanes), 1), (lanes, rows, 1)
