"""Two independent data sets out of one, to see how far its reconstruction repeats itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recon_core.errors import BadInput
from recon_core.tiltseries import TiltSeries

Array = NDArray[np.float32]


def split_counts(series: TiltSeries, seed: int) -> tuple[TiltSeries, TiltSeries]:
    """Every count of the series given to one of two series at random: all tilts at half the dose.

    The halves of a Poisson variable split this way are independent Poisson variables. What the
    tilts do not show (the missing wedge, gaps between few tilts) both halves lack alike, so that
    their agreement says nothing of it.

    Raises
    ------
    BadInput : counts that are not whole numbers.
    """
    rng = np.random.default_rng(seed)
    haadf = _binomial(rng, series.haadf, "haadf/projections")
    chemical = _binomial(rng, series.chemical, "chemical/projections")
    others = series.haadf - haadf, series.chemical - chemical
    return _half(series, haadf, chemical), _half(series, *others)


def _binomial(rng: np.random.Generator, counts: Array, key: str) -> Array:
    whole = np.rint(counts)
    if not np.array_equal(whole, counts):
        raise BadInput("not whole counts", key=key, accepted="counts as detected")
    return rng.binomial(whole.astype(np.int64), 0.5).astype(np.float32)


def _half(series: TiltSeries, haadf: Array, chemical: Array) -> TiltSeries:
    scale = series.chemical_scale
    return replace(
        series,
        haadf=haadf,
        chemical=chemical,
        haadf_background=series.haadf_background / 2,
        chemical_background=tuple(level / 2 for level in series.chemical_background),
        haadf_scale=None if series.haadf_scale is None else series.haadf_scale / 2,
        chemical_scale=None if scale is None else tuple(level / 2 for level in scale),
    )
