"""The two data terms of the fused objective and their gradients, for a batch of trials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..device import Device
from ..projection import Projector
from ..settings import LikelihoodName
from .likelihood import (
    LEAST,
    LIKELIHOODS,
    CountData,
    Likelihood,
    levels,
    penalty,
    pushed,
)

Array = NDArray[np.float32]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class ChemicalTerm:
    """Negative log-likelihood of the chemical counts, one channel per element.

    With y_i = scale_i A_c x_i + background_i: the Poisson deviance sum(y - b + b log(b/y)), which
    is the negative log-likelihood of Schwartz et al., Nat. Commun. 15, 3555 (2024), Eq. 1, less its
    value at y = b; or least squares with the variance of a Poisson count of the channel's mean.
    Where next to nothing is expected the logarithm goes on as a parabola, see
    :attr:`~tomoatlas.recon_core.solver.likelihood.Poisson.knee`.
    Volumes are (trial, element, z, y, x), or (element, z, y, x) for one trial.

    Parameters
    ----------
    device : where all arrays are.
    projector : A_c, of the chemical tilts.
    counts : b, (element, angle, y, x), float32.
    scale : counts per unit concentration and voxel, (element,), float32.
    background : counts, (element,), float32.
    likelihood : ``poisson`` or ``least-squares``.
    totals : whether a penalty holds the total of each element at that of its counts, see
        :data:`~tomoatlas.recon_core.solver.likelihood.SLACK`.
    """

    device: Device
    projector: Projector
    counts: Array
    scale: Array
    background: Array
    likelihood: LikelihoodName = "poisson"
    totals: bool = False

    @property
    def tilts(self) -> int:
        """Projections computed by one forward pass of one trial: tilts times elements."""
        elements, angles = self.counts.shape[:2]
        return int(elements * angles)

    def value(self, volumes: Array, rays: Array | None = None) -> NDArray[np.float64]:
        """Evaluate the term.

        Parameters
        ----------
        volumes : concentrations.
        rays : workspace, (trial, element, angle, y, x); None allocates it.

        Returns
        -------
        array : (trial,), float64.
        """
        rays = self.projector.forward(volumes, rays)
        held = penalty(self.data, rays) if self.totals else 0.0
        # rows in a fixed order: the value does not depend on threads
        total: Values = self._misfit.value(rays).sum(axis=1) + held
        return total

    def gradient(self, volumes: Array, rays: Array, out: Array, push: Values | None = None) -> None:
        """Write the gradient, scale_i A_c^T (1 - b_i / y_i) for the Poisson likelihood.

        Parameters
        ----------
        volumes : concentrations.
        rays : workspace, (trial, element, angle, y, x).
        out : like ``volumes``, written.
        push : multiplier of the total counts of each element, (trial, element); where totals are
            held its gradient is added, and it is stepped for the next iteration. None for 0.
        """
        self.projector.forward(volumes, out=rays)
        held = push if self.totals else None
        following = None if held is None else pushed(self.data, held, rays)
        self._misfit.slope(rays)
        if held is not None:
            rays += (held * self.scale).astype(np.float32)[..., None, None, None]
            held[...] = following
        self.projector.adjoint(rays, out=out)

    def levels(self, volumes: Array) -> Values:
        """Fit one factor of the concentrations of each element to its counts, (..., element).

        Parameters
        ----------
        volumes : concentrations, (..., element, z, y, x).
        """
        return levels(self.data, self.projector.forward(volumes))

    def ratio(self, volumes: Array) -> Array:
        """Divide counts by expected counts, b / y, (..., element, angle, y, x).

        Parameters
        ----------
        volumes : concentrations.
        """
        expected = self.expected(volumes)
        return self.device.xp.divide(self.counts, expected, out=expected)  # type: ignore[no-any-return]

    def expected(self, volumes: Array, out: Array | None = None) -> Array:
        """Compute the expected counts scale_i A_c x_i + background_i, kept positive.

        Parameters
        ----------
        volumes : concentrations.
        out : receives the result, (..., element, angle, y, x); None allocates it.
        """
        expected = self.projector.forward(volumes, out)
        expected *= self.scale[:, None, None, None]
        expected += self.background[:, None, None, None]
        return self.device.xp.maximum(expected, LEAST, out=expected)  # type: ignore[no-any-return]

    def curvature(
        self, volumes: Array, steps: int, probe: Array, rays: Array, bend: Array
    ) -> NDArray[np.float64]:
        """Estimate the largest eigenvalue of each element's Hessian.

        By power iteration from a constant volume: all weights of the matrix are non-negative, so
        the estimate approaches the eigenvalue from below.

        Parameters
        ----------
        volumes : concentrations at which the Hessian is taken.
        steps : power iterations.
        probe : workspace, like ``volumes``.
        rays, bend : workspace, (..., element, angle, y, x).

        Returns
        -------
        array : (..., element), float64.
        """
        xp = self.device.xp
        # H = scale^2 A^T diag(b / y^2) A
        self._misfit.bend(partial(self.expected, volumes), bend)
        probe.fill(1)
        norms = xp.ones(volumes.shape[:-3])
        for _ in range(steps):
            self.projector.forward(probe, out=rays)
            # A^T diag(c) A, without building it
            rays *= bend
            self.projector.adjoint(rays, out=probe)
            norms = xp.sqrt(energy(self.device, probe))
            # an element without counts has a zero Hessian
            probe /= xp.maximum(norms, 1e-30).astype(np.float32)[..., None, None, None]
        result: NDArray[np.float64] = norms * self.scale.astype(np.float64) ** 2
        return result

    @cached_property
    def data(self) -> CountData:
        """The counts, and what turns projections into expected ones."""
        return CountData(self.device, self.counts, self.scale, self.background)

    @cached_property
    def _misfit(self) -> Likelihood:
        return LIKELIHOODS[self.likelihood](self.data)


@dataclass(frozen=True)
class HaadfTerm:
    """HAADF least squares, precision/2 ||A_h s - signal||^2 with s = sum_i w_i x_i^gamma.

    (Schwartz et al., Nat. Commun. 15, 3555 (2024), Eq. 1, first term.)

    Parameters
    ----------
    device : where all arrays are.
    projector : A_h, of the HAADF tilts.
    signal : data less background in units of the projected s, (angle, y, x), float32.
    precision : weight over noise variance, (trial,), float64.
    weights : contrast of each element, Z_i^gamma over their mean, (element,).
    gamma : exponent of the contrast.
    """

    device: Device
    projector: Projector
    signal: Array
    precision: NDArray[np.float64]
    weights: Array
    gamma: float

    @property
    def tilts(self) -> int:
        """Projections computed by one forward pass of one trial."""
        return len(self.signal)

    def value(self, contrast: Array, rays: Array | None = None) -> NDArray[np.float64]:
        """Evaluate the term.

        Parameters
        ----------
        contrast : summed contrast s, (trial, z, y, x).
        rays : workspace, (trial, angle, y, x); None allocates it.

        Returns
        -------
        array : (trial,), float64.
        """
        width = contrast.shape[-1]
        rays = self.projector.forward(contrast, rays)
        sums = self.device.kernels.distance(
            rays.reshape(len(contrast), -1, width), self.signal.reshape(-1, width)
        )
        return 0.5 * self.precision * sums.sum(axis=1)  # type: ignore[no-any-return]

    def of(self, trials: Any) -> HaadfTerm:
        """Return the term of some of the trials.

        Parameters
        ----------
        trials : index of the batch: integers or a mask.
        """
        return replace(self, precision=self.precision[trials])


def energy(device: Device, volumes: Array) -> NDArray[np.float64]:
    """Sum the squares of each volume; the result depends neither on threads nor on the batch.

    Parameters
    ----------
    device : where the arrays are.
    volumes : (..., z, y, x), or projections.

    Returns
    -------
    array : (...,), float64.
    """
    *lead, z, y, x = volumes.shape
    rows = volumes.reshape(-1, z * y, x)
    sums = device.kernels.descent_products(rows, rows, rows, np.float32(0))
    total: NDArray[np.float64] = sums[..., 0].sum(axis=1).reshape(lead)
    return total
