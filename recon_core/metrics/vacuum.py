"""The vacuum level of projections, and that of a supporting film, from their darkest pixels.

Where a projection is darkest no specimen lies in the beam; what is recorded there is the level of
the detector and, at a tilt of theta, the film it lies on, thicker by 1/cos(theta). No
reconstruction enters, so that neither its haze nor its model of the contrast does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..geometry import film_thickness
from ..tiltseries import TiltSeries

Array = NDArray[np.float32]
Values = NDArray[np.float64]

DARKEST = 0.1  # of the pixels of a projection are taken for vacuum
INNER, OUTER = 3, 7  # pixels: edges of the square left out and of the square around a pixel
UNEVEN = 0.02  # of the signal: levels of the tilts scatter more where specimen covers the field
FAINT = 0.01  # of the largest signal: HAADF below it is vacuum for the maps
SURE = 1e-9  # least relative error of a level, for projections without noise


@dataclass(frozen=True)
class Vacuum:
    """Counts per pixel where the beam meets no specimen, ``level + film / cos(tilt)``.

    Parameters
    ----------
    level : at every tilt.
    film : what a film adds at no tilt; 0 where none was looked for.
    level_error, film_error : standard uncertainties.
    scatter : of the tilts about these levels beyond their noise, as a part of ``signal``.
    signal : what the brightest pixel of a tilt has above them, the median over tilts.

    Examples
    --------
    >>> print(Vacuum(1663.2, 0.0, 0.6))
    1663.2 ± 0.6 counts
    """

    level: float
    film: float = 0.0
    level_error: float = 0.0
    film_error: float = 0.0
    scatter: float = 0.0
    signal: float = 0.0

    @property
    def is_seen(self) -> bool:
        """Whether the darkest pixels are alike at all tilts, as vacuum is."""
        return self.scatter <= UNEVEN

    def at(self, angles_deg: tuple[float, ...]) -> Values:
        """Compute the counts of each tilt, (angle,).

        Parameters
        ----------
        angles_deg : tilt angles, degrees.
        """
        return self.level + self.film * film_thickness(angles_deg)

    def of(self, series: TiltSeries) -> TiltSeries:
        """Return a tilt series with these HAADF levels.

        Parameters
        ----------
        series : whose own levels are not used.
        """
        return replace(series, haadf_background=self.level, haadf_film=self.film)

    def __str__(self) -> str:
        words = f"{self.level:.6g} ± {self.level_error:.1g} counts"
        if self.film or self.film_error:
            words += f", film {self.film:.4g} ± {self.film_error:.1g} counts at 0°"
        return words


def estimate_vacuum(
    projections: Array, angles_deg: tuple[float, ...], film: bool = False
) -> Vacuum:
    """Estimate the vacuum level of projections, and that of a film if there may be one.

    The pixels that count are those with the darkest surroundings: a pixel itself does not decide
    whether it counts, so that the level is not that of chance minima. The levels of the tilts are
    averaged, or fitted by ``level + film / cos(tilt)``, with weights from their scatter.

    Parameters
    ----------
    projections : (angle, y, x), one or more, any unit.
    angles_deg : tilt angles, degrees.
    film : whether to look for a film.

    Returns
    -------
    Vacuum : not below 0; without meaning unless it :attr:`~Vacuum.is_seen`.

    Examples
    --------
    >>> import numpy as np
    >>> angles = (-60.0, 0.0, 60.0)
    >>> dark = np.ones((3, 16, 16), np.float32) * np.array([25, 20, 25], np.float32)[:, None, None]
    >>> found = estimate_vacuum(dark, angles, film=True)
    >>> round(found.level, 6), round(found.film, 6), found.is_seen
    (15.0, 5.0, True)
    """
    levels, errors, brightest = _darkest(projections)
    columns = np.ones((len(levels), 1))
    if film:
        columns = np.column_stack([columns, film_thickness(angles_deg)])
    found, covariance = _fitted(columns, levels, errors)
    residual = levels - columns @ found
    beyond = max(float((residual**2 - errors**2).mean()), 0.0)
    level, behind = (*np.maximum(found, 0.0), 0.0)[:2]
    error, behind_error = (*np.sqrt(np.diag(covariance)), 0.0)[:2]
    signal = max(brightest - level - behind, 0.0)
    scatter = np.sqrt(beyond) / max(signal, 1e-30)
    numbers = (level, behind, error, behind_error, scatter, signal)
    return Vacuum(*(float(number) for number in numbers))


def _darkest(projections: Array) -> tuple[Values, Values, float]:
    """Mean and standard error of the darkest pixels of every tilt, and a typical brightest one."""
    shape = projections.shape[-2:]
    around = np.maximum(_around(np.ones(shape)), 1.0)
    levels, errors, maxima = np.empty((3, len(projections)))
    for i, projection in enumerate(projections):
        image = projection.astype(np.float64)
        surroundings = _around(image) / around
        chosen = image[surroundings <= np.quantile(surroundings, DARKEST)]
        maxima[i] = image.max()
        levels[i], errors[i] = chosen.mean(), chosen.std() / np.sqrt(chosen.size)
    # the median: a hot pixel is no signal
    brightest = float(np.median(maxima))
    return levels, np.maximum(errors, SURE * max(brightest, SURE)), brightest


def _around(image: Values) -> Values:
    """Sum the square around each pixel without its own middle; nothing lies beyond the edges."""
    outer = ndimage.uniform_filter(image, OUTER, mode="constant") * OUTER**2
    inner = ndimage.uniform_filter(image, INNER, mode="constant") * INNER**2
    summed: Values = outer - inner
    return summed


def _fitted(columns: Values, levels: Values, errors: Values) -> tuple[Values, Values]:
    """Weighted least squares: parameters, and their covariance with the reduced chi-square."""
    weighted = columns / errors[:, None]
    found, *_ = np.linalg.lstsq(weighted, levels / errors, rcond=None)
    residual = (levels - columns @ found) / errors
    freedom = max(len(levels) - columns.shape[1], 1)
    spread = max(float(residual @ residual) / freedom, 1.0)
    covariance: Values = spread * np.linalg.pinv(weighted.T @ weighted)
    return np.asarray(found, np.float64), covariance


def chemical_backgrounds(series: TiltSeries) -> tuple[float, ...]:
    """Estimate the counts of each element in vacuum, where HAADF is darkest.

    HAADF has other noise than the maps: where it is dark they are not dark by chance, so that the
    mean of few counts a pixel is not biased.

    Parameters
    ----------
    series : measured counts; its backgrounds are not used.

    Returns
    -------
    tuple of float : one per element, counts per pixel; the series' own where no vacuum is in view,
        or without HAADF.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=32), ta.Acquisition(haadf_tilts=21))
    >>> found = chemical_backgrounds(series)
    >>> [abs(f / b - 1) < 0.1 for f, b in zip(found, series.chemical_background)]
    [True, True, True, True]
    """
    dark = vacuum_pixels(series)
    if dark is None:
        return series.chemical_background
    return tuple(float(maps[dark].mean(dtype=np.float64)) for maps in series.centred().chemical)


def vacuum_pixels(series: TiltSeries) -> NDArray[np.bool_] | None:
    """Find the pixels of the chemical maps that meet no specimen, where HAADF is darkest.

    Parameters
    ----------
    series : measured counts; its backgrounds are not used.

    Returns
    -------
    array (angle, y, x) : of the maps of :meth:`~TiltSeries.centred`; None where no vacuum is in
        view, or without HAADF.
    """
    if not series.haadf_angles_deg:
        return None
    vacuum = estimate_vacuum(series.haadf, series.haadf_angles_deg, film=True)
    if not vacuum.is_seen:
        return None
    series = series.centred()
    excess = series.haadf - vacuum.at(series.haadf_angles_deg)[:, None, None]
    smooth = ndimage.uniform_filter(excess, (0, INNER, INNER))
    return np.stack([_dark_in(series, smooth, angle) for angle in series.chemical_angles_deg])


def _dark_in(series: TiltSeries, excess: Values, angle_deg: float) -> NDArray[np.bool_]:
    """Pixels without specimen at an angle: dark at both of the HAADF tilts nearest to it."""
    distances = np.abs(np.asarray(series.haadf_angles_deg) - angle_deg)
    nearest = np.argsort(distances, kind="stable")[:2]
    brighter = excess[nearest].max(axis=0)
    limit = max(float(np.quantile(brighter, DARKEST)), FAINT * float(excess.max()))
    found: NDArray[np.bool_] = brighter <= limit
    return found
