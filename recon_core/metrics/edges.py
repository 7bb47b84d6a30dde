"""Line profiles through a volume or an image, and how wide their edges are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

WIDTH_PER_SIGMA = 2.5631031310892007
"""10-90 % width of an error function over the sigma of its Gaussian: 2 sqrt(2) erfinv(0.8)."""


EXPLAINED = 0.95
"""Part of the variance of a profile that its fitted edge must explain to count as an edge."""


@dataclass(frozen=True)
class Edge:
    """An error function fitted to an edge: low + (high - low)/2 (1 + erf((s - centre)/(√2 σ))).

    ``centre_nm``: along the profile. ``sigma_nm``: of the Gaussian that blurs a sharp step.
    ``low``, ``high``: values before and behind the edge, along the profile.
    """

    centre_nm: float
    sigma_nm: float
    low: float
    high: float

    @property
    def width_nm(self) -> float:
        """10-90 % width."""
        return WIDTH_PER_SIGMA * self.sigma_nm

    def at(self, position_nm: ArrayLike) -> Floats:
        """The fitted values at positions along the profile."""
        from scipy.special import erf

        scaled = (np.asarray(position_nm) - self.centre_nm) / (np.sqrt(2.0) * self.sigma_nm)
        found: Floats = self.low + 0.5 * (self.high - self.low) * (1.0 + erf(scaled))
        return found


def fit_edge(position_nm: ArrayLike, profile: ArrayLike) -> Edge | None:
    """The error function nearest to ``profile`` in least squares; None where there is no edge.

    ``position_nm``: rising, five points or more. No edge: a constant profile, values that are not
    finite, a fit wider than the profile, or one that explains less than :data:`EXPLAINED` of the
    variance: noise has no width.
    """
    from scipy.optimize import curve_fit

    s, p = np.asarray(position_nm, dtype=np.float64), np.asarray(profile, dtype=np.float64)
    if len(s) < 5 or not np.isfinite(p).all() or np.ptp(p) == 0:
        return None
    length = float(np.ptp(s))
    smallest = 0.05 * length / len(s)
    rise = np.abs(np.gradient(p, s))
    centre = float((s * rise).sum() / rise.sum())
    start = (centre, 0.1 * length, float(p[:2].mean()), float(p[-2:].mean()))
    bounds = ((s[0], smallest, -np.inf, -np.inf), (s[-1], length, np.inf, np.inf))
    try:
        best, _ = curve_fit(lambda x, *q: Edge(*q).at(x), s, p, start, bounds=bounds)
    except RuntimeError:  # no minimum within curve_fit's budget
        return None
    edge = Edge(*(float(value) for value in best))
    explained = 1.0 - float(np.var(p - edge.at(s))) / float(np.var(p))
    return edge if edge.width_nm < length and explained >= EXPLAINED else None


def line_profile(
    image: NDArray[np.float32], start: tuple[float, ...], stop: tuple[float, ...], points: int
) -> Floats:
    """Values of an image or volume along a straight line, linear between voxels.

    ``start``, ``stop``: in voxels, in the order of the array's axes; 0 outside the array.
    """
    from scipy.ndimage import map_coordinates

    share = np.linspace(0.0, 1.0, points)
    places = [a + share * (b - a) for a, b in zip(start, stop, strict=True)]
    found: Floats = map_coordinates(image.astype(np.float64), places, order=1)
    return found
