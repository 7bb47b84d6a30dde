"""The noise of projections, estimated from the projections alone.

A detector that records every electron with a gain g has noise of variance ``floor + gain * level``
at a pixel of that expected level. Both come from the differences of neighbouring pixels, so that
neither a reconstruction nor the unit of the detector enters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Values = NDArray[np.float64]

PATCH = 5  # pixels per edge
FEWEST, MOST_BINS = 250, 16  # patches in a bin of equal level at least, bins at most
# Mean square of differences over a patch of white noise of variance 1: two quantiles, and the mean
# below the upper one; a test draws them again.
LOWEST, UPPER, MEAN_BELOW = 0.311, 1.94, 0.930
AGREEING = 1.3  # ratios within this of the least are of smooth patches too
FILLED = 1e-6  # differences, as a part of the value, below which a pixel was not recorded
MOST_FILLED = 1 / 3  # of the pixels of a patch
BRIGHT, FEWEST_BINS = 0.3, 4  # part of the largest level that is bright; bins to tell it by
SUBTRACTED = 1.5  # dark pixels noisier than this, times the gain: a level has been subtracted

# Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996): no f(y) + g(x) passes, and white noise
# keeps its variance.
_DIFFERENCE = np.outer((1.0, -2.0, 1.0), (1.0, -2.0, 1.0)) / 6.0


@dataclass(frozen=True)
class Noise:
    """Variance of a pixel as a function of its expected level.

    Parameters
    ----------
    gain : detector units per electron: slope of the variance against the level.
    floor : variance at level 0, squared detector units; above 0 where a level was subtracted.
    darkest : variance of the darkest pixels, the least that a pixel can have.

    Examples
    --------
    >>> import numpy as np
    >>> Noise(gain=2.0, floor=1.0, darkest=3.0).variance(np.array([0.0, 10.0])).tolist()
    [3.0, 21.0]
    """

    gain: float
    floor: float
    darkest: float

    def variance(self, level: Array | Values) -> Values:
        """Return the variance at a level.

        Parameters
        ----------
        level : expected values of pixels, any shape, detector units.
        """
        found: Values = np.maximum(self.floor + self.gain * level.astype(np.float64), self.darkest)
        return found


def estimate_noise(projections: Array) -> Noise:
    """Estimate the noise of projections from their smooth patches.

    Patches are sorted by their level. At each level the variance is that of the smooth ones, as
    edges only ever add to the differences of neighbours; the gain is the least ratio of variance
    to level. Where the darkest pixels are far noisier than that ratio allows, their level has been
    subtracted, and slope and floor are found apart. Without any smooth patch the noise is
    overestimated, and a misfit judged by it understated.

    Parameters
    ----------
    projections : (angle, y, x), any unit; one tilt or more of 7 x 7 pixels or more.

    Returns
    -------
    Noise : of gain 0 for constant projections.

    Raises
    ------
    ValueError : fewer pixels than a patch has.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(100.0, (9, 32, 32)).astype(np.float32)
    >>> bool(0.9 < estimate_noise(counts).gain < 1.1), bool(6 < estimate_noise(7 * counts).gain < 8)
    (True, True)
    """
    level, variance = _bins(*patches(projections))
    ratio = np.divide(
        variance, level, out=np.full_like(level, np.inf), where=level > 1e-9 * abs(level[-1])
    )
    ratio = np.maximum(ratio, 0.0)  # rounding
    # the least of many is too small by chance: the mean of those that agree with it
    gain = float(ratio[ratio <= AGREEING * ratio.min()].mean())
    dark = float(variance[0])
    if ratio[0] <= SUBTRACTED * gain and np.isfinite(gain):
        return Noise(gain, 0.0, min(dark, gain * float(level[0])))
    slope = _slope(level, variance)
    return Noise(slope, dark - slope * float(level[0]), dark)


def most_gain(projections: Array) -> float | None:
    """Estimate from bright patches what one count gives, which structure only makes larger.

    Where :func:`estimate_noise` takes the least ratio of variance to level, which dark patches of
    hardly a count make too small by chance, this is the least of the bright ones alone.

    Parameters
    ----------
    projections : (angle, y, x), any unit.

    Returns
    -------
    float : None where there are too few patches to tell.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson(2.0, (9, 32, 32)).astype(np.float32)
    >>> bool(0.8 < most_gain(counts) < 1.2), bool(most_gain(0.01 * counts) < 0.02)
    (True, True)
    """
    if not projections.size or min(projections.shape[-2:]) < PATCH + 2:
        return None
    level, variance = _bins(*patches(projections))
    if len(level) < FEWEST_BINS or level[-1] <= 0:
        return None
    bright = level > BRIGHT * level[-1]
    return float((variance[bright] / level[bright]).min())


def _slope(level: Values, variance: Values) -> float:
    """Least slope from the darkest level to those in the upper half of the range."""
    rise = level - level[0]
    far = rise > 0.5 * rise[-1]
    return max(0.0, float(((variance - variance[0])[far] / rise[far]).min())) if far.any() else 0.0


def patches(projections: Array) -> tuple[Values, Values]:
    """Return the mean and the mean square difference of every patch that was recorded.

    A border that a program filled in with a constant or with copies has no noise, and no say.

    Parameters
    ----------
    projections : (angle, y, x).

    Returns
    -------
    levels, squares : (patch,), float64, each.

    Raises
    ------
    ValueError : projections smaller than a patch.
    """
    if min(projections.shape[-2:]) < PATCH + 2:
        raise ValueError(f"projections of {projections.shape[-2:]} pixels hold no patch")
    inner = slice(1 + PATCH // 2, -1 - PATCH // 2)  # no pixel is made up at the edges
    levels, squares, filled = [], [], []
    for projection in projections.astype(np.float64):
        difference = ndimage.convolve(projection, _DIFFERENCE)
        # pixels without a count are alike too
        flat = (np.abs(difference) <= FILLED * np.abs(projection)) & (projection != 0)
        levels.append(_smoothed(projection)[inner, inner].ravel())
        squares.append(_smoothed(difference**2)[inner, inner].ravel())
        filled.append(_smoothed(flat.astype(np.float64))[inner, inner].ravel())
    recorded = np.concatenate(filled) <= MOST_FILLED
    if not recorded.any():
        recorded[:] = True
    return np.concatenate(levels)[recorded], np.concatenate(squares)[recorded]


def _smoothed(image: Values) -> Values:
    """Mean over the patch about every pixel."""
    found: Values = ndimage.uniform_filter(image, PATCH)
    return found


def _bins(levels: Values, squares: Values) -> tuple[Values, Values]:
    """Return mean level and variance of the smooth patches in bins of rising level, (bin,) each."""
    order = np.argsort(levels, kind="stable")
    bins = int(np.clip(len(order) // FEWEST, 1, MOST_BINS))
    parts = np.array_split(order, bins)
    variances = [_of_smooth(squares[part]) for part in parts]
    return np.array([levels[part].mean() for part in parts]), np.array(variances)


def _of_smooth(squares: Values) -> float:
    """Return the variance of the smooth patches: start from the calmest, add all that fit."""
    # the 2 % quantile of white noise is LOWEST
    found = float(np.quantile(squares, 0.02)) / LOWEST
    for _ in range(50):
        kept = squares[squares < UPPER * found]
        following = float(kept.mean()) / MEAN_BELOW if kept.size else found
        if abs(following - found) <= 1e-4 * found:
            break
        found = following
    return found
