"""The fused objective in plain float64 NumPy, and another method to minimise it.

Nothing of the solver is used: Schwartz et al., Nat. Commun. 15, 3555 (2024), Eq. 1, with the
gradient of the HAADF term written out, and L-BFGS-B on a smoothed TV.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from tomoatlas.recon_core.geometry import TiltGeometry
from tomoatlas.recon_core.projection.rays import projection_matrix
from tomoatlas.recon_core.solver.problem import FusedProblem

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Objective and gradient of a problem's first trial, volumes (element, z, y, x) float64."""

    problem: FusedProblem

    def project(self, name: str, volumes: Array) -> Array:
        matrix, (z, y) = self.matrix(name), volumes.shape[-3:-1]
        rows = [matrix @ v.reshape(z * y, -1) for v in volumes.reshape(-1, z, y, volumes.shape[-1])]
        return np.stack(rows)

    def back_project(self, name: str, rows: Array, shape: tuple[int, ...]) -> Array:
        return np.stack([self.matrix(name).T @ r for r in rows]).reshape(shape)

    def contrast(self, x: Array) -> Array:
        haadf = self.problem.haadf
        weights = haadf.weights.astype(np.float64)[:, None, None, None]
        return (weights * np.maximum(x, 0) ** haadf.gamma).sum(0)

    def chemistry(self, x: Array) -> tuple[float, Array]:
        term = self.problem.chemistry
        counts = term.counts.astype(np.float64).reshape(len(x), -1, x.shape[-1])
        scale = term.scale.astype(np.float64)[:, None, None]
        expected = scale * self.project("chemistry", x) + term.background[:, None, None]
        if term.likelihood == "poisson":
            expected = np.maximum(expected, 1e-6)
            logs = np.log(np.where(counts > 0, counts, expected) / expected)
            value, slope = (expected - counts + counts * logs).sum(), 1 - counts / expected
        else:
            precision = 1 / counts.mean(axis=(1, 2), keepdims=True)
            value = (precision * (expected - counts) ** 2).sum() / 2
            slope = precision * (expected - counts)
        return float(value), self.back_project("chemistry", scale * slope, x.shape)

    def haadf(self, x: Array) -> tuple[float, Array]:
        """Value and gradient gamma w_i x_i^(gamma - 1) A^T r times the precision."""
        term = self.problem.haadf
        if term is None:
            return 0.0, np.zeros_like(x)
        signal = term.signal.astype(np.float64).reshape(1, -1, x.shape[-1])
        residual = self.project("haadf", self.contrast(x)[None]) - signal
        back = self.back_project("haadf", residual, (1, *x.shape[1:]))
        weights = term.weights.astype(np.float64)[:, None, None, None]
        inner = term.gamma * weights * np.maximum(x, 0) ** (term.gamma - 1)
        return 0.5 * term.precision[0] * float((residual**2).sum()), term.precision[
            0
        ] * inner * back

    def smooth(self, x: Array) -> tuple[float, Array]:
        """Both data terms and their gradient."""
        (c, dc), (h, dh) = self.chemistry(x), self.haadf(x)
        return c + h, dc + dh

    def objective(self, x: Array) -> float:
        x = x.astype(np.float64)
        return self.smooth(x)[0] + float(self.problem.tv[0]) * total_variation(x, 0.0)[0]

    def minimise(
        self, start: Array, evaluations: int, roundings: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
    ) -> tuple[Array, float]:
        """L-BFGS-B from ``start``, the corner of the TV rounded less and less."""
        x = start.astype(np.float64).ravel()
        for rounding in roundings if self.problem.tv[0] else (1.0,):
            x = minimize(
                lambda flat, r=rounding: self.rounded(flat.reshape(start.shape), r),
                x,
                jac=True,
                method="L-BFGS-B",
                bounds=[(0, None)] * x.size,
                options={
                    "maxfun": evaluations,
                    "maxiter": evaluations,
                    "ftol": 1e-13,
                    "gtol": 1e-10,
                    "maxcor": 20,
                },
            ).x
        x = x.reshape(start.shape)
        return x, self.objective(x)

    def rounded(self, x: Array, rounding: float) -> tuple[float, Array]:
        weight = float(self.problem.tv[0])
        value, slope = self.smooth(x)
        tv, bend = total_variation(x, rounding)
        return value + weight * tv, (slope + weight * bend).ravel()

    def matrix(self, name: str) -> sparse.csr_array:
        return _double_matrix(getattr(self.problem, name).projector.geometry)


@cache
def _double_matrix(geometry: TiltGeometry) -> sparse.csr_array:
    return projection_matrix(geometry).astype(np.float64)


def differences(x: Array) -> Array:
    """Forward differences along z, y, x, zero at the far faces: (3, ..., z, y, x)."""
    out = np.zeros((3, *x.shape))
    for axis in range(3):
        inside = [slice(None)] * x.ndim
        inside[axis - 3] = slice(0, -1)
        out[(axis, *inside)] = np.diff(x, axis=axis - 3)
    return out


def negative_divergence(p: Array) -> Array:
    """The adjoint of :func:`differences`."""
    out = np.zeros(p.shape[1:])
    for axis in range(3):
        last = [slice(None)] * out.ndim
        last[axis - 3] = slice(-1, None)
        q = p[axis].copy()
        q[tuple(last)] = 0
        out += np.roll(q, 1, axis - 3) - q
    return out


def total_variation(x: Array, rounding: float) -> tuple[float, Array]:
    """Isotropic TV with its corner rounded, and its gradient."""
    d = differences(x)
    length = np.sqrt((d**2).sum(0) + rounding**2)
    value = float((length - rounding).sum())
    return value, negative_divergence(d / np.where(length > 0, length, 1.0))
