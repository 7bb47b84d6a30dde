"""The two data terms of the fused objective and their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recon_core.kernels import poisson_deviance, weighted_squares
from recon_core.projector import Projector

Array = NDArray[np.float32]
Likelihood = Literal["poisson", "least-squares"]


@dataclass(frozen=True)
class ChemicalTerm:
    """Log-likelihood of the chemical counts, one channel per element.

    With y_i = scale_i A_c x_i + background_i: the Poisson deviance sum(y - b + b log(b/y)), which
    is the negative log-likelihood of Schwartz et al. (2024), Eq. 1, less its value at y = b; or
    least squares with the variance of a Poisson count of the channel's mean.

    ``counts`` (element, angle, y, x); ``scale`` and ``background`` (element,) float32.
    """

    projector: Projector
    counts: Array
    scale: Array
    background: Array
    likelihood: Likelihood = "poisson"

    @property
    def tilts(self) -> int:
        """Projections computed by one forward pass: tilts times elements."""
        elements, angles = self.counts.shape[:2]
        return int(elements * angles)

    def value(self, volumes: Array) -> float:
        """Value of the term at (element, z, y, x)."""
        return self._compare(volumes)[0]

    def gradient(self, volumes: Array, out: Array) -> float:
        """Write scale_i A_c^T (1 - b_i / y_i), (element, z, y, x), to ``out``; return the value."""
        value, slope = self._compare(volumes)
        slope *= self._per_element
        self.projector.adjoint(slope, out=out)
        return value

    def ratio(self, volumes: Array) -> Array:
        """Counts over expected counts b / y of each ray, (element, angle, y, x)."""
        expected = self.expected(volumes)
        np.divide(self.counts, expected, out=expected)
        return expected

    def expected(self, volumes: Array) -> Array:
        """Expected counts scale_i A_c x_i + background_i, (element, angle, y, x), positive."""
        expected = self._signal(volumes)
        expected += self.background[:, None, None, None]
        np.maximum(expected, 1e-6, out=expected)
        return expected

    def curvature(self, volumes: Array, steps: int) -> NDArray[np.float64]:
        """Largest eigenvalue of the Hessian of each element at ``volumes``, (element,).

        By ``steps`` power iterations from a constant volume; all weights of the matrix are
        non-negative, so that they approach the eigenvalue from below.
        """
        bend = self._bend(volumes)
        probe = np.ones_like(volumes)
        norms = np.ones(len(volumes))
        for _ in range(steps):
            projected = self.projector.forward(probe)
            projected *= bend
            self.projector.adjoint(projected, out=probe)
            norms = np.array([np.sqrt(_energy(channel)) for channel in probe])
            for channel, norm in zip(probe, norms, strict=True):
                channel /= np.float32(max(norm, 1e-30))
        return norms * self.scale.astype(np.float64) ** 2

    @property
    def _per_element(self) -> Array:
        return self.scale[:, None, None, None]

    @property
    def _precision(self) -> Array:
        mean = self.counts.mean(axis=(1, 2, 3), dtype=np.float64)
        precision: Array = (1.0 / np.maximum(mean, 1e-6)).astype(np.float32)
        return precision

    def _signal(self, volumes: Array) -> Array:
        signal = self.projector.forward(volumes)
        signal *= self._per_element
        return signal

    def _compare(self, volumes: Array) -> tuple[float, Array]:
        signal = self._signal(volumes)
        flat = (len(signal), -1, signal.shape[-1])
        slope, counts = signal.reshape(flat), self.counts.reshape(flat)
        if self.likelihood == "poisson":
            sums = poisson_deviance(slope, counts, self.background, slope)
        else:
            sums = weighted_squares(slope, counts, self.background, self._precision, slope)
        return float(sums.sum()), signal

    def _bend(self, volumes: Array) -> Array:
        if self.likelihood == "least-squares":
            ones: Array = np.ones_like(self.counts)
            return ones * self._precision[:, None, None, None]
        expected = self.expected(volumes)
        bend: Array = self.counts / expected**2
        return bend


@dataclass(frozen=True)
class HaadfTerm:
    """HAADF least squares, precision/2 ||A_h s - signal||^2 with s = sum_i w_i x_i^gamma.

    (Schwartz et al., 2024, Eq. 1, first term.) ``signal`` (angle, y, x) is the background-free
    data in units of the projected s; ``precision`` carries the weight and the noise variance;
    ``weights`` (element,) are Z_i^gamma over their mean.
    """

    projector: Projector
    signal: Array
    precision: float
    weights: Array
    gamma: float

    @property
    def tilts(self) -> int:
        """Projections computed by one forward pass."""
        return len(self.signal)

    def value(self, contrast: Array) -> float:
        """Value of the term for the summed contrast s, (z, y, x)."""
        residual = self.projector.forward(contrast)
        residual -= self.signal
        return 0.5 * self.precision * _energy(residual)


def _energy(array: Array) -> float:
    """Sum of squares in float64, added row by row so that it never depends on thread counts."""
    rows = array.reshape(-1, array.shape[-1])
    return float(np.einsum("ij,ij->i", rows, rows, optimize=False).sum(dtype=np.float64))
