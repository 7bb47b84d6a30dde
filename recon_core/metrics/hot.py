"""Pixels that a detector made bright, told from bright specimen, in images of few counts too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import pdtrc

from .noise import PATCH, Noise, estimate_noise

Array = NDArray[np.float32]
Values = NDArray[np.float64]
Good = NDArray[np.bool_]

HOT_SIGMAS, HOT_FACTOR = 12.0, 3.0  # above what is bright around, here and in the next tilts
HOT_LEAP = 3.0  # small particles make peaks too: a multiple of the usual ones
HOT_RARE = 0.998  # quantile of peaks, of those above the second brightest neighbour
CHANCE = 1e-6  # of one pixel of a series, by counting
LEAST_COUNT = 1.0  # expected anywhere, by the tail of a count
CLUSTER = 3  # hot pixels beside one another that do not hide a fourth
ROUNDS = 6  # in which pixels that are found no longer hide others
DARK = 0.02  # quantile of the pixels

_BESIDE = np.ones((3, 3, 3), np.bool_)
_BESIDE[1, 1, 1] = False  # in the image and in the tilts before and after
_AROUND = np.zeros((3, 3, 3), np.bool_)
_AROUND[1] = _BESIDE[1]  # in the image alone


def hot_pixels(images: Array, angles_deg: tuple[float, ...], count: float | None = None) -> Good:
    """Find pixels far above all around them, in their image and in the tilts beside it.

    Parameters
    ----------
    images : counts, (angle, y, x).
    angles_deg : of the images.
    count : what one count gives; None takes it from the noise.

    Returns
    -------
    array : True where a pixel is hot, like ``images``.

    Examples
    --------
    >>> images = np.random.default_rng(0).poisson(0.1, (5, 32, 32)).astype(np.float32)
    >>> images[2, 7, 9] = 40
    >>> np.argwhere(hot_pixels(images, (-40.0, -20.0, 0.0, 20.0, 40.0), 1.0)).tolist()
    [[2, 7, 9]]
    """
    found = np.zeros(images.shape, np.bool_)
    if not images.size or min(images.shape[1:]) < PATCH + 2:
        return found
    order = np.argsort(angles_deg, kind="stable")
    noise = estimate_noise(images)
    gain = noise.gain if count is None else count
    ordered = images[order].astype(np.float64)
    hot = outshining(ordered, gain)
    calm = np.where(hot, _median_beside(ordered, hot), ordered)
    found[order] = hot | _peaks(calm, noise, gain)
    return found


def outshining(ordered: Values, gain: float) -> Good:
    """Find pixels that outshine what is brightest at the usual tilt, by a factor and by counting.

    However many there are, they hide neither one another nor themselves: a spot of the specimen is
    more than a pixel wide at most tilts, so that what is brightest beside a brighter pixel is the
    specimen's. A pixel stuck at most tilts is compared in the median image. Fewer than one in
    500 have to outshine single pixels of the usual tilt too.

    Parameters
    ----------
    ordered : images, (angle, y, x), in the order of their angles.
    gain : what one count gives.
    """
    dark = float(np.quantile(ordered, DARK))
    stuck: Good = np.broadcast_to(_stuck(ordered, gain, dark), ordered.shape)
    hot = stuck.copy()
    calm = np.where(hot, _median_beside(ordered, hot), ordered)
    for _ in range(ROUNDS):
        usual = float(np.median(_without_spikes(calm).max(axis=(1, 2))))
        more = ~hot & _far_above(ordered, np.full(ordered.shape, usual), dark, gain)
        if not more.any():
            break
        more &= _far_above(ordered, _beside(calm, CLUSTER + 1), dark, gain)
        hot |= more
        calm = np.where(hot, _median_beside(calm, hot), ordered)
    if (hot & ~stuck).mean() <= 1 - HOT_RARE:
        # so few may be a particle of one pixel on a coarse grid, which shows at the usual tilt too
        usual = float(np.median(np.where(stuck, dark, ordered).max(axis=(1, 2))))
        hot &= stuck | _far_above(ordered, np.full(ordered.shape, usual), dark, gain)
    return hot


def _stuck(ordered: Values, gain: float, dark: float) -> Good:
    """Pixels that are hot in the median over the tilts, (y, x)."""
    usual = np.median(ordered, axis=0)[None]
    brightest = _without_spikes(usual).max()
    far: Good = _far_above(usual, np.full(usual.shape, brightest), dark, gain)[0]
    return far


def _far_above(images: Values, least: Values, dark: float, gain: float) -> Good:
    """Whether pixels lie above a level by a factor, and by more than counting explains."""
    gain = max(gain, 1e-30)  # of a constant image
    counts = np.ceil(images / gain) - 1
    by_chance = pdtrc(counts.clip(0), np.maximum(least / gain, LEAST_COUNT))
    far: Good = (images - dark > HOT_FACTOR * np.maximum(least - dark, 0)) & (
        by_chance < CHANCE / images.size
    )
    return far


def _peaks(ordered: Values, noise: Noise, gain: float) -> Good:
    """Pixels far above the second brightest beside them, more than the usual peaks are."""
    around = _beside(ordered, 2)  # of two hot neighbours neither hides the other
    spread = np.sqrt(np.maximum(noise.variance(around), 1e-30))
    excess = (ordered - around) / spread
    usual = float(np.quantile(np.maximum(excess, 0.0), HOT_RARE))
    above = _far_above(ordered, around, float(np.quantile(ordered, DARK)), gain)
    hot: Good = above & (excess > max(HOT_SIGMAS, HOT_LEAP * usual))
    return hot


def _beside(images: Values, place: int) -> Values:
    """Brightest but ``place`` - 1 beside every pixel."""
    # the first and the last tilt have one beside them, which shows a small particle as two do
    tilts = int(len(images) > 1)
    padded = np.pad(images, ((tilts, tilts), (0, 0), (0, 0)), mode="reflect")
    # nothing beyond the edges, where a copy of the pixel itself would hide it
    found: Values = ndimage.rank_filter(
        padded, -place, footprint=_BESIDE, mode="constant", cval=-np.inf
    )
    return found[tilts : len(images) + tilts]


def _without_spikes(images: Values) -> Values:
    """No pixel brighter than the second brightest around it."""
    around = ndimage.rank_filter(images, -2, footprint=_AROUND, mode="constant", cval=-np.inf)
    found: Values = np.minimum(images, around)
    return found


def _median_beside(images: Values, where: Good) -> Values:
    """Median beside every pixel; nothing is looked at where there is none to replace."""
    if not where.any():
        return images
    found: Values = ndimage.median_filter(images, footprint=_BESIDE, mode="nearest")
    return found
