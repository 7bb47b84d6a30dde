"""Counts split at random: into two halves, or into a part kept and a part held out.

Each count of a Poisson variable goes to one of two parts at random (binomial thinning). The parts
are independent Poisson variables, so what is reconstructed from one can be judged by the other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..tiltseries import TiltSeries
from .noise import PATCH, estimate_noise

Array = NDArray[np.float32]

MOST_GAIN = 8.0  # units per electron up to which HAADF may be counts: structure adds to it


def split_counts(series: TiltSeries, seed: int) -> tuple[TiltSeries, TiltSeries]:
    """Assign every count of a series to one of two series at random, each with half the dose.

    The halves of a Poisson variable split this way are independent Poisson variables. HAADF in
    units of a detector is split by noise of the estimated variance, which leaves Gaussian halves
    independent. What the tilts do not show (the missing wedge, gaps between few tilts) is missing
    from both halves alike, so their agreement is no evidence of it.

    Parameters
    ----------
    series : tilt series; maps that are no whole counts are rounded at random, their mean kept.
    seed : of the random assignment.

    Returns
    -------
    tuple of TiltSeries : two series whose counts add up to those of ``series``; backgrounds and
        known scales are halved.
    """
    rng = np.random.default_rng(seed)
    haadf = _half_of_haadf(rng, series.haadf)
    chemical = whole_counts(series.chemical, rng)
    first = _binomial(rng, chemical, 0.5)
    # the rest of each count: binomial thinning makes the two parts independent
    others = np.maximum(series.haadf - haadf, 0), chemical - first
    return _half(series, haadf, first), _half(series, *others)


def hold_out(series: TiltSeries, share: float, seed: int) -> tuple[TiltSeries, Array]:
    """Hold out a share of the chemical counts; HAADF stays as it is.

    Parameters
    ----------
    series : tilt series; maps that are no whole counts are rounded at random, their mean kept.
    share : of the counts that are held out, between 0 and 1.
    seed : of the random assignment.

    Returns
    -------
    kept : series of the other counts, with backgrounds and known scales of their share.
    held : counts held out, (element, angle, y, x).

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=16))
    >>> kept, held = hold_out(series, 0.2, seed=0)
    >>> bool((kept.chemical + held == series.chemical).all())
    True
    """
    rng = np.random.default_rng(seed)
    chemical = whole_counts(series.chemical, rng)
    held = _binomial(rng, chemical, share)
    return _with_maps(series, chemical - held, 1.0 - share), held


def whole_counts(counts: Array, rng: np.random.Generator) -> Array:
    """Round counts up or down at random, so that their mean stays.

    Parameters
    ----------
    counts : >= 0, any shape; whole ones stay as they are.
    rng : what decides.
    """
    low = np.floor(counts)
    if np.array_equal(low, counts):
        return counts
    return (low + (rng.random(counts.shape) < counts - low)).astype(np.float32)


def _half_of_haadf(rng: np.random.Generator, haadf: Array) -> Array:
    """Half of the counts, or of values in another unit, whose noise is estimated."""
    if not len(haadf) or min(haadf.shape[-2:]) < PATCH + 2:
        return _binomial(rng, haadf, 0.5)
    noise = estimate_noise(haadf)
    if noise.gain <= MOST_GAIN and np.array_equal(np.rint(haadf), haadf):
        return _binomial(rng, haadf, 0.5)
    # y/2 + e and y/2 - e are uncorrelated if e has a quarter of the variance of y
    spread = np.sqrt(noise.variance(haadf)) / 2.0
    return np.clip(haadf / 2.0 + spread * rng.standard_normal(haadf.shape), 0.0, haadf).astype(
        np.float32
    )


def _binomial(rng: np.random.Generator, counts: Array, share: float) -> Array:
    return rng.binomial(counts.astype(np.int64), share).astype(np.float32)


def _half(series: TiltSeries, haadf: Array, chemical: Array) -> TiltSeries:
    """The series with other counts of half its dose: backgrounds and known scales are halved."""
    return replace(
        _with_maps(series, chemical, 0.5),
        haadf=haadf,
        haadf_background=series.haadf_background / 2,
        haadf_film=series.haadf_film / 2,
        haadf_scale=None if series.haadf_scale is None else series.haadf_scale / 2,
    )


def _with_maps(series: TiltSeries, chemical: Array, share: float) -> TiltSeries:
    """The series with a share of the chemical counts."""
    scale = series.chemical_scale
    return replace(
        series,
        chemical=chemical,
        chemical_background=tuple(share * level for level in series.chemical_background),
        chemical_scale=None if scale is None else tuple(share * c for c in scale),
    )
