"""The two data terms of the fused objective and their gradients, for a batch of trials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..device import Device
from ..projection import Projector

Array = NDArray[np.float32]
Values = NDArray[np.float64]
Likelihood = Literal["poisson", "least-squares"]

LEAST = 1e-6  # expected counts: keeps b / y finite
SLACK = 0.2
"""What a multiplier of 1 lets the total counts of an element exceed the measured, of the signal.

Where volumes must not be negative, noise can only add to them: the likelihood is content with more
counts than there are, wherever they lie. With the excess e of the expected counts over the measured
ones, as part of the signal S, totals are held by the penalty S e^2 / (2 SLACK), linear from e =
SLACK * FIRMEST on. Its multiplier e / SLACK is a uniform push on the concentrations. The penalty
would be stiff: the multiplier is stepped instead, by gradient ascent on its dual.
"""
FIRMEST = 0.8  # the largest multiplier: totals from a wrong background are not followed far
PUSH = 0.02  # step of the multiplier, per iteration
LEVELS = 4.0  # a level further off is no level
NEWTON_STEPS = 20
KNEE = 0.1  # of the median of the counts that are not 0, and of the mean count


@dataclass(frozen=True)
class ChemicalTerm:
    """Negative log-likelihood of the chemical counts, one channel per element.

    With y_i = scale_i A_c x_i + background_i: the Poisson deviance sum(y - b + b log(b/y)), which
    is the negative log-likelihood of Schwartz et al., Nat. Commun. 15, 3555 (2024), Eq. 1, less its
    value at y = b; or least squares with the variance of a Poisson count of the channel's mean.
    Where next to nothing is expected the logarithm goes on as a parabola, see :attr:`knee`.
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
        :data:`SLACK`.
    """

    device: Device
    projector: Projector
    counts: Array
    scale: Array
    background: Array
    likelihood: Likelihood = "poisson"
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
        rays, kernels = self.projector.forward(volumes, rays), self.device.kernels
        held = self._penalty(rays) if self.totals else 0.0
        rays = self._rows(rays)
        data = (self._rows(self.counts)[0], self.scale, self.background)
        if self.likelihood == "poisson":
            sums = kernels.poisson_deviance(rays, *data, self.knee)
        else:
            sums = kernels.weighted_squares(rays, *data, self._precision)
        # rows in a fixed order: the value does not depend on threads
        total: NDArray[np.float64] = sums.sum(axis=1) + held
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
        following = None if held is None else self._pushed(held, rays)
        rows, kernels = self._rows(rays), self.device.kernels
        data = (self._rows(self.counts)[0], self.scale, self.background)
        if self.likelihood == "poisson":
            kernels.poisson_slope(rows, *data, self.knee, rows)
        else:
            kernels.squares_slope(rows, *data, self._precision, rows)
        if held is not None:
            rays += (held * self.scale).astype(np.float32)[..., None, None, None]
            held[...] = following
        self.projector.adjoint(rays, out=out)

    def levels(self, volumes: Array) -> Values:
        """Fit one factor of the concentrations of each element to its counts.

        The Poisson likelihood of the level alone, by Newton steps: volumes that TV has lowered and
        hazed fit best at the factor that restores the rays through the particles.

        Parameters
        ----------
        volumes : concentrations, (..., element, z, y, x).

        Returns
        -------
        array : (..., element), float64, on the host, 1 / :data:`LEVELS` to :data:`LEVELS`; 1 for an
            element without volume or counts.
        """
        device = self.device
        counts, scale, background = map(device.get, (self.counts, self.scale, self.background))
        rays = device.get(self.projector.forward(volumes))
        found = np.ones(rays.shape[:-3])
        for at in np.ndindex(found.shape):
            e = at[-1]
            if counts[e].any() and rays[at].any():
                signal = scale[e] * rays[at].astype(np.float64)
                found[at] = _level(signal, counts[e], max(float(background[e]), LEAST))
        return found

    def _pushed(self, push: Values, rays: Array) -> Values:
        """Return the multiplier a step up the dual; ``rays`` are the projected volumes."""
        step = PUSH * (self._excess(rays) - SLACK * push)
        pushed: Values = self.device.xp.clip(push + step, -FIRMEST, FIRMEST)
        return pushed

    def _penalty(self, rays: Array) -> Values:
        """Penalty of the total counts, (trial,); ``rays`` are the projected volumes."""
        xp, size = self.device.xp, self._signal[1]
        excess = xp.abs(self._excess(rays))
        near = xp.minimum(excess, SLACK * FIRMEST)
        penalty = size * (near**2 / (2.0 * SLACK) + FIRMEST * (excess - near))
        total: Values = penalty.sum(axis=-1)
        return total

    def _excess(self, rays: Array) -> Values:
        """By what part of the signal the expected counts exceed the measured, (trial, element)."""
        expected = self.scale * rays.sum(axis=(-3, -2, -1), dtype=np.float64)
        signal, size = self._signal
        excess: Values = (expected - signal) / size
        return excess

    @cached_property
    def _signal(self) -> tuple[Values, Values]:
        """Counts above background of each element, and their size or noise, (element,)."""
        xp, counts = self.device.xp, self.counts
        total = counts.sum(axis=(1, 2, 3), dtype=np.float64)
        signal = total - self.background * float(counts[0].size)
        # a signal below its noise deserves no firm push
        return signal, xp.maximum(xp.abs(signal), xp.sqrt(total) + 1.0)

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
        self._bend(volumes, bend)
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

    @property
    def _precision(self) -> Array:
        mean = self.counts.mean(axis=(1, 2, 3), dtype=np.float64)
        precision: Array = (1.0 / self.device.xp.maximum(mean, 1e-6)).astype(np.float32)
        return precision

    @cached_property
    def knee(self) -> Array:
        """Expected counts below which the Poisson likelihood goes on as a parabola, (element,).

        Where b counts are found and none are expected, its slope b / y and its curvature b / y^2
        have no bound, and no step length does. A background of some size bounds them by itself.
        """
        on_host = self.device.get(self.counts), self.device.get(self.background)
        knees: Array = self.device.put(_knees(*on_host))
        return knees

    def _rows(self, rays: Array) -> Array:
        """Return projections as (trial, element, ray, x)."""
        elements, width = len(self.counts), rays.shape[-1]
        return rays.reshape(-1, elements, rays.shape[-3] * rays.shape[-2], width)

    def _bend(self, volumes: Array, out: Array) -> None:
        """Write the second derivative of the likelihood by each expected count."""
        # constant curvature: the variance is that of the mean count
        if self.likelihood == "least-squares":
            out[...] = self._precision[:, None, None, None]
            return
        self.expected(volumes, out)
        self.device.xp.maximum(out, self.knee[:, None, None, None], out=out)
        out *= out
        self.device.xp.divide(self.counts, out, out=out)


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


def _knees(counts: Array, background: Array) -> Array:
    """Choose the knee of each element's likelihood, on the host."""
    typical = [np.median(c[c > 0]) if c.any() else 1.0 for c in counts]
    means = counts.mean(axis=(1, 2, 3), dtype=np.float64)
    knees = np.where(background < KNEE * means, KNEE * np.array(typical), LEAST)
    return np.maximum(knees, LEAST).astype(np.float32)


def _level(signal: Values, counts: Array, background: float) -> float:
    """Factor of an expected signal that makes its counts most likely."""
    level = 1.0
    for _ in range(NEWTON_STEPS):
        ratio = signal / (level * signal + background)
        slope, bend = (signal - counts * ratio).sum(), (counts * ratio**2).sum()
        level = min(max(level - slope / max(bend, 1e-30), 1 / LEVELS), LEVELS)
    return float(level)


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
