"""How well expected counts explain the measured ones: likelihoods, totals and levels of elements.

Expected counts are y = scale p + background, one scale and one background per element, of projected
concentrations p, (..., element, angle, y, x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..device import Device
from ..settings import LikelihoodName

Array = NDArray[np.float32]
Values = NDArray[np.float64]

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
PUSH = 0.1  # step of the multiplier, per iteration: at 0.02 volumes still follow it after 200
LEVELS = 4.0  # a level further off is no level
NEWTON_STEPS = 20
KNEE = 0.1  # of the median of the counts that are not 0, and of the mean count


@dataclass(frozen=True)
class CountData:
    """The measured counts, and what turns projections into expected ones.

    Parameters
    ----------
    device : where all arrays are.
    counts : b, (element, angle, y, x), float32.
    scale : counts per unit concentration and voxel, (element,), float32.
    background : counts, (element,), float32.
    """

    device: Device
    counts: Array
    scale: Array
    background: Array

    def operands(self, rays: Array) -> tuple[Array, Array, Array, Array]:
        """Return what kernels compare: projections, counts, scale and background.

        Parameters
        ----------
        rays : projected concentrations, (..., element, angle, y, x).

        Returns
        -------
        rows : a view of ``rays``, (trial, element, ray, x).
        counts : (element, ray, x).
        scale, background : (element,).
        """
        elements, angles, y, x = self.counts.shape
        rows = rays.reshape(-1, elements, angles * y, x)
        return rows, self.counts.reshape(elements, angles * y, x), self.scale, self.background

    @cached_property
    def mean(self) -> Values:
        """Mean count of each element, (element,), float64."""
        mean: Values = self.counts.mean(axis=(1, 2, 3), dtype=np.float64)
        return mean

    @cached_property
    def signal(self) -> tuple[Values, Values]:
        """Counts above background of each element, and their size or noise, (element,)."""
        xp, counts = self.device.xp, self.counts
        total = counts.sum(axis=(1, 2, 3), dtype=np.float64)
        signal = total - self.background * float(counts[0].size)
        # a signal below its noise deserves no firm push
        return signal, xp.maximum(xp.abs(signal), xp.sqrt(total) + 1.0)


class Likelihood(Protocol):
    """A negative log-likelihood of counts: its value, and its derivatives by the expected count."""

    def value(self, rays: Array) -> Values:
        """Sum the likelihood along the rows of projected concentrations, (trial, row), float64."""
        ...

    def slope(self, rays: Array) -> None:
        """Replace projected concentrations by the derivative at their expected counts."""
        ...

    def bend(self, expect: Callable[[Array], Array], out: Array, /) -> None:
        """Write the second derivative; ``expect`` writes the expected counts, if it is called."""
        ...


@dataclass(frozen=True)
class Poisson:
    """Half the Poisson deviance, sum(y - b + b log(b/y)).

    Parameters
    ----------
    data : counts b, and the scale and background of y.
    """

    data: CountData

    def value(self, rays: Array) -> Values:
        """See :class:`Likelihood`."""
        kernel = self.data.device.kernels.poisson_deviance
        values: Values = kernel(*self.data.operands(rays), self.knee)
        return values

    def slope(self, rays: Array) -> None:
        """See :class:`Likelihood`."""
        rows, *known = self.data.operands(rays)
        self.data.device.kernels.poisson_slope(rows, *known, self.knee, rows)

    def bend(self, expect: Callable[[Array], Array], out: Array) -> None:
        """See :class:`Likelihood`."""
        xp = self.data.device.xp
        expect(out)
        xp.maximum(out, self.knee[:, None, None, None], out=out)
        out *= out
        xp.divide(self.data.counts, out, out=out)

    @cached_property
    def knee(self) -> Array:
        """Expected counts below which the likelihood goes on as a parabola, (element,).

        Where b counts are found and none are expected, its slope b / y and its curvature b / y^2
        have no bound, and no step length does. A background of some size bounds them by itself.
        """
        device = self.data.device
        on_host = device.get(self.data.counts), device.get(self.data.background)
        knees: Array = device.put(_knees(*on_host))
        return knees


@dataclass(frozen=True)
class LeastSquares:
    """Half the squared distance, with the variance of a Poisson count of the element's mean.

    Parameters
    ----------
    data : counts b, and the scale and background of y.
    """

    data: CountData

    def value(self, rays: Array) -> Values:
        """See :class:`Likelihood`."""
        kernel = self.data.device.kernels.weighted_squares
        values: Values = kernel(*self.data.operands(rays), self._precision)
        return values

    def slope(self, rays: Array) -> None:
        """See :class:`Likelihood`."""
        rows, *known = self.data.operands(rays)
        self.data.device.kernels.squares_slope(rows, *known, self._precision, rows)

    def bend(self, _expect: Callable[[Array], Array], out: Array) -> None:
        """See :class:`Likelihood`; constant, as the variance is that of the mean count."""
        out[...] = self._precision[:, None, None, None]

    @cached_property
    def _precision(self) -> Array:
        least = self.data.device.xp.maximum(self.data.mean, LEAST)
        precision: Array = (1.0 / least).astype(np.float32)
        return precision


LIKELIHOODS: dict[LikelihoodName, Callable[[CountData], Likelihood]] = {
    "poisson": Poisson,
    "least-squares": LeastSquares,
}


def penalty(data: CountData, rays: Array) -> Values:
    """Compute the penalty on the total counts, see :data:`SLACK`; (trial,), float64.

    Parameters
    ----------
    data : the measured counts.
    rays : projected concentrations, (trial, element, angle, y, x).
    """
    xp, size = data.device.xp, data.signal[1]
    excess = xp.abs(_excess(data, rays))
    near = xp.minimum(excess, SLACK * FIRMEST)
    total: Values = (size * (near**2 / (2.0 * SLACK) + FIRMEST * (excess - near))).sum(axis=-1)
    return total


def pushed(data: CountData, push: Values, rays: Array) -> Values:
    """Return the multiplier of the total counts a step up its dual, (trial, element).

    Parameters
    ----------
    data : the measured counts.
    push : the multiplier, (trial, element).
    rays : projected concentrations, (trial, element, angle, y, x).
    """
    step = PUSH * (_excess(data, rays) - SLACK * push)
    following: Values = data.device.xp.clip(push + step, -FIRMEST, FIRMEST)
    return following


def _excess(data: CountData, rays: Array) -> Values:
    """By what part of the signal the expected counts exceed the measured, (trial, element)."""
    expected = data.scale * rays.sum(axis=(-3, -2, -1), dtype=np.float64)
    signal, size = data.signal
    excess: Values = (expected - signal) / size
    return excess


def levels(data: CountData, rays: Array) -> Values:
    """Fit one factor of the concentrations of each element to its counts.

    The Poisson likelihood of the level alone, by Newton steps: volumes that TV has lowered and
    hazed fit best at the factor that restores the rays through the particles.

    Parameters
    ----------
    data : the measured counts.
    rays : projected concentrations, (..., element, angle, y, x).

    Returns
    -------
    array : (..., element), float64, on the host, 1 / :data:`LEVELS` to :data:`LEVELS`; 1 for an
        element without volume or counts.
    """
    get = data.device.get
    counts, scale, background = map(get, (data.counts, data.scale, data.background))
    rays = get(rays)
    found = np.ones(rays.shape[:-3])
    for at in np.ndindex(found.shape):
        e = at[-1]
        if counts[e].any() and rays[at].any():
            signal = scale[e] * rays[at].astype(np.float64)
            found[at] = _level(signal, counts[e], max(float(background[e]), LEAST))
    return found


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
