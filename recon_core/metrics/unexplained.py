"""How much of HAADF the chemical maps of the same tilts leave unexplained, beyond noise.

Every atom scatters: HAADF is a sum of the maps with positive factors, and what is left of it is
that of an element without a map. Both are smoothed alike, and what noise adds to the sums of
products is taken off, so that maps of few counts do not pass for a missing element. Nothing is
reconstructed. Levels of vacuum, a film and small shifts do not enter: what is constant in an image,
or like its gradient, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, special

from ..geometry import Mask
from ..tiltseries import TiltSeries
from .noise import Noise

Values = NDArray[np.float64]
Good = NDArray[np.bool_]

SMOOTHING, REACH = 1.0, 4  # pixels: of the Gaussian, and beyond which it is cut off
NEAR = 1.0  # degrees between the images of a tilt
FEWEST_TILTS, FEWEST_PIXELS = 3, 144  # both modalities, pixels of a tilt that both see
# of the atomic number in what an atom scatters: 1.4 to 2, and more where the law is not linear
POWERS = np.linspace(1.2, 2.4, 13)
SHOWN = 4.0  # standard errors of the maps' variance, without which they can explain nothing
ALIKE = 1e-3  # of the largest eigenvalue: below it maps are too alike to tell apart

_POINT = np.eye(1, 2 * REACH + 1, REACH)[0]
SHARED = float((ndimage.gaussian_filter1d(_POINT, SMOOTHING, radius=REACH) ** 2).sum()) ** 2
"""Part of the variance of independent pixels that smoothing leaves."""


@dataclass(frozen=True)
class Unexplained:
    """What the maps leave of HAADF.

    Parameters
    ----------
    part : of the variance of its images, beyond noise.
    error : standard error, from how much the tilts differ.
    tilts : that were compared.
    scaled : whether counts per atom are known, which bind the factors of the elements together.

    Examples
    --------
    >>> round(Unexplained(0.03, 0.01, tilts=9, scaled=True).chance, 4)
    0.0085
    """

    part: float
    error: float
    tilts: int
    scaled: bool

    @property
    def chance(self) -> float:
        """Probability of as large a part where nothing is missing, by Student's t."""
        return float(special.stdtr(self.tilts - 1, -self.part / max(self.error, 1e-30)))


@dataclass(frozen=True)
class _Products:
    """Sums of products over the pixels of each tilt, without what noise adds to them.

    ``maps`` with each other (tilt, element, element), ``both`` of maps and HAADF (tilt, element),
    ``haadf`` with itself (tilt,).
    """

    maps: Values
    both: Values
    haadf: Values

    def without(self, tilt: int) -> _Products:
        """Products of all tilts but one."""
        return _Products(*(np.delete(each, tilt, axis=0) for each in vars(self).values()))

    @property
    def shown(self) -> bool:
        """Whether the maps together, and HAADF, hold more than noise."""
        sums = self.maps.sum(axis=(1, 2))
        error = float(sums.std(ddof=1)) / np.sqrt(len(sums))
        return bool(sums.mean() > SHOWN * error and (self.haadf > 0).all())


def unexplained(series: TiltSeries, noise: Noise) -> Unexplained | None:
    """Fit HAADF by the maps of the same tilts, and measure what is left.

    Where counts per atom are known, even if only relative to each other, an atom of the number Z
    scatters c Z^p, with one c and p of 1.2 to 2.4. Where they are not, each element has a factor of
    its own, and one that lies wherever a missing one does explains that too.

    Parameters
    ----------
    series : measured counts, masks and where the images lie; its levels are not used.
    noise : of HAADF.

    Returns
    -------
    Unexplained : None where fewer than three tilts have both, images are small or show nothing.

    Examples
    --------
    >>> import numpy as np, tomoatlas as ta
    >>> from tomoatlas.recon_core.metrics.noise import estimate_noise
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=32), ta.Acquisition(haadf_tilts=21))
    >>> no_gold = series.of(np.array([e != "Au" for e in series.elements]))
    >>> for each in (series, no_gold):
    ...     found = unexplained(each, estimate_noise(each.haadf))
    ...     print(found.part > 0.1, found.chance < 0.01)
    False False
    True True
    """
    pairs = _same_tilts(series)
    found = [p for pair in pairs if (p := _products(series, noise, *pair)) is not None]
    if len(found) < FEWEST_TILTS:
        return None
    products = _Products(*map(np.array, zip(*found, strict=True)))
    if not products.shown:
        return None
    signals = _signals(series)
    others = np.array([_part(products.without(i), signals) for i in range(len(found))])
    error = float(others.std() * np.sqrt(len(found) - 1))  # the jackknife's
    return Unexplained(_part(products, signals), error, len(found), signals is not None)


def _signals(series: TiltSeries) -> Values | None:
    """What a count of each element scatters, (exponent, element); None without scales."""
    if series.chemical_scale is None:
        return None
    numbers = np.array(series.atomic_numbers, np.float64)
    signals = numbers ** POWERS[:, None] / np.array(series.chemical_scale)
    found: Values = signals / signals.max()
    return found


def _same_tilts(series: TiltSeries) -> list[tuple[int, int]]:
    """Indices of the HAADF image and the maps of each tilt that has both."""
    if not series.haadf_angles_deg:
        return []
    apart = np.abs(np.subtract.outer(series.haadf_angles_deg, series.chemical_angles_deg))
    return [(int(i), j) for j, i in enumerate(apart.argmin(axis=0)) if apart[i, j] <= NEAR]


def _products(
    series: TiltSeries, noise: Noise, image: int, tilt: int
) -> tuple[Values, Values, float] | None:
    """Products of one tilt, of the pixels that both modalities see; None if these are few."""
    seen, places = _seen_by_both(series, image, tilt)
    if int(seen.sum()) < FEWEST_PIXELS:
        return None
    smooth = _smoothed(series.haadf[image])
    level, *gradient = (
        ndimage.map_coordinates(each, places) for each in (smooth, *np.gradient(smooth))
    )
    counts = np.stack([_smoothed(maps)[seen] for maps in series.chemical[:, tilt]])
    # the gradient: what a shift would add, to first order
    free = np.linalg.qr(np.column_stack([np.ones_like(level), *gradient]))[0]
    rows = np.vstack([counts, level])
    rows -= (rows @ free) @ free.T
    every = rows @ rows.T
    variances = [*counts.sum(axis=1), noise.variance(level).sum()]
    every -= SHARED * np.diag(variances)
    return every[:-1, :-1], every[:-1, -1], float(every[-1, -1])


def _smoothed(image: NDArray[np.float32]) -> Values:
    found: Values = ndimage.gaussian_filter(image.astype(np.float64), SMOOTHING, radius=REACH)
    return found


def _seen_by_both(series: TiltSeries, image: int, tilt: int) -> tuple[Good, Values]:
    """Pixels of the maps that HAADF sees too, and where they lie in its image, (2, pixel).

    Only those count that are smoothed within the images, and that no mask leaves out.
    """
    shape = series.chemical.shape[-2:]
    high = np.array(shape)[:, None] - 1.0
    pixels = np.indices(shape).reshape(2, -1).astype(np.float64)
    middle = high / 2
    at_rest = series.chemical_placement.unplaced(pixels - middle, tilt)
    places = series.haadf_placement.recorded(at_rest, image) + middle
    edge = REACH - 1e-6  # rounding
    seen = np.all([(p >= edge) & (p <= high - edge) for p in (pixels, places)], axis=(0, 1))
    seen &= _good(series.chemical_mask, tilt, pixels) & _good(series.haadf_mask, image, places)
    return seen.reshape(shape), places[:, seen]


def _good(mask: Mask | None, image: int, places: Values) -> Good:
    """Whether a mask keeps the pixels of an image at these places."""
    if mask is None:
        return np.ones(places.shape[1], np.bool_)
    good = mask.of_tilts([image]).array()[0]
    y, x = (
        np.clip(np.rint(p).astype(int), 0, n - 1) for p, n in zip(places, good.shape, strict=True)
    )
    found: Good = good[y, x]
    return found


def _part(products: _Products, signals: Values | None) -> float:
    """Part of HAADF that the best factors leave."""
    maps, both = products.maps.sum(axis=0), products.both.sum(axis=0)
    whole = float(products.haadf.sum())
    if signals is None:
        return 1.0 - _by_free(maps, both) / whole
    return 1.0 - _by_one(maps, both, whole, signals) / whole


def _by_one(maps: Values, both: Values, whole: float, signals: Values) -> float:
    """Explained by one factor >= 0, the best of the exponents, (exponent, element)."""
    along = np.maximum(signals @ both, 0.0) ** 2
    squares = ((signals @ maps) * signals).sum(axis=1)
    # noise taken off may leave less than nothing: twice of all is explained at most
    return float((along / np.maximum(squares, along / (2 * whole) + 1e-300)).max())


def _by_free(maps: Values, both: Values) -> float:
    """Explained by factors >= 0 of each element: least squares by a root of its equations."""
    values, vectors = np.linalg.eigh(maps)
    root = vectors * np.sqrt(np.maximum(values, ALIKE * max(float(values[-1]), 1e-300)))
    right = np.linalg.solve(root, both)
    rest = optimize.nnls(root.T, right)[1]
    return float(right @ right - rest**2)
