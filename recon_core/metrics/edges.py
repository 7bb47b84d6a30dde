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
    """An error function fitted to an edge, low + (high - low)/2 (1 + erf((s - centre)/(√2 σ))).

    Parameters
    ----------
    centre_nm : position of the edge along the profile, nm.
    sigma_nm : sigma of the Gaussian that blurs a sharp step, nm.
    low, high : values before and behind the edge, in the direction of the profile.

    Examples
    --------
    >>> edge = Edge(centre_nm=5.0, sigma_nm=1.0, low=0.0, high=1.0)
    >>> round(edge.width_nm, 3)
    2.563
    >>> edge.at([5.0]).round(3).tolist()
    [0.5]
    """

    centre_nm: float
    sigma_nm: float
    low: float
    high: float

    @property
    def width_nm(self) -> float:
        """10-90 % width, nm."""
        return WIDTH_PER_SIGMA * self.sigma_nm

    def at(self, position_nm: ArrayLike) -> Floats:
        """Evaluate the fitted error function.

        Parameters
        ----------
        position_nm : positions along the profile, any shape, nm.

        Returns
        -------
        array : values, float64, in the shape of ``position_nm``.
        """
        from scipy.special import erf

        scaled = (np.asarray(position_nm) - self.centre_nm) / (np.sqrt(2.0) * self.sigma_nm)
        found: Floats = self.low + 0.5 * (self.high - self.low) * (1.0 + erf(scaled))
        return found


def fit_edge(position_nm: ArrayLike, profile: ArrayLike) -> Edge | None:
    """Fit an error function to a profile by least squares.

    Parameters
    ----------
    position_nm : positions along the profile, (point,), rising, nm; five or more.
    profile : values at these positions, (point,).

    Returns
    -------
    Edge or None : None for a profile without an edge: fewer than five points, constant or not
        finite, a fit wider than the profile, or one that explains less than :data:`EXPLAINED` of
        the variance (a profile of noise has no width).

    Examples
    --------
    >>> import numpy as np
    >>> s = np.linspace(0, 10, 41)
    >>> found = fit_edge(s, Edge(4.0, 0.8, 0.0, 1.0).at(s))
    >>> round(found.centre_nm, 3), round(found.sigma_nm, 3)
    (4.0, 0.8)
    >>> fit_edge(s, np.ones_like(s)) is None
    True
    """
    from scipy.optimize import curve_fit

    s, p = np.asarray(position_nm, dtype=np.float64), np.asarray(profile, dtype=np.float64)
    if len(s) < 5 or not np.isfinite(p).all() or np.ptp(p) == 0:
        return None
    length = float(np.ptp(s))
    # a sigma far below the spacing of the points fits as well as any smaller one: bound it
    smallest = 0.05 * length / len(s)
    # start at the centre of mass of the slope, a tenth of the profile wide
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
    """Sample an image or volume along a straight line, linear between voxels.

    Parameters
    ----------
    image : (y, x) or (z, y, x).
    start, stop : ends of the line, one coordinate per axis of ``image``, voxels.
    points : number of equally spaced samples, both ends included.

    Returns
    -------
    array : values, (point,), float64; 0 outside the array.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(9, dtype=np.float32).reshape(3, 3)
    >>> line_profile(image, (0, 0), (2, 2), 3).tolist()
    [0.0, 4.0, 8.0]
    """
    from scipy.ndimage import map_coordinates

    share = np.linspace(0.0, 1.0, points)
    places = [a + share * (b - a) for a, b in zip(start, stop, strict=True)]
    found: Floats = map_coordinates(image.astype(np.float64), places, order=1)
    return found
