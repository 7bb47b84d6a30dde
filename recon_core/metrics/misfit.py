"""Misfit: how far the data lie from what the volumes predict, in units of the data's own noise.

HAADF is judged by its reduced chi-square, with noise from neighbouring pixels
(:mod:`tomoatlas.recon_core.metrics.noise`), the chemical counts by their Poisson deviance over what
it is expected to be at their level. Both are 1 where the volumes explain the data to the noise, and
a model that cannot do so shows, since no residual enters the noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..contrast import Contrast
from ..geometry import TiltGeometry
from ..projection import cached_projector
from ..tiltseries import TiltSeries
from .noise import PATCH, estimate_noise

Array = NDArray[np.float32]
Values = NDArray[np.float64]

LEAST = 1e-6  # expected counts are kept above it
MOST = 200.0  # counts above which the series of the expected deviance is exact to 1e-6


@dataclass(frozen=True)
class ChannelMisfit:
    """Misfit of one signal; 1 is what noise alone gives.

    Parameters
    ----------
    name : ``HAADF`` or a chemical symbol.
    angles_deg : of the tilts, degrees.
    by_tilt : misfit of each tilt, (angle,).
    overall : of all tilts together.

    Examples
    --------
    >>> print(ChannelMisfit("HAADF", (-35.0, 0.0, 35.0), (2.0, 1.0, 6.0), 3.1))
    HAADF: 3.1 times the noise; worst tilt 35° (6.0)
    """

    name: str
    angles_deg: tuple[float, ...]
    by_tilt: tuple[float, ...]
    overall: float

    @property
    def worst_deg(self) -> float:
        """Angle of the tilt with the largest misfit, degrees."""
        return self.angles_deg[int(np.argmax(self.by_tilt))]

    def __str__(self) -> str:
        worst = f"worst tilt {self.worst_deg:.3g}° ({_plain(max(self.by_tilt))})"
        return f"{self.name}: {_plain(self.overall)} times the noise; {worst}"


@dataclass(frozen=True)
class Misfit:
    """Misfit of every signal of a tilt series.

    Parameters
    ----------
    haadf : reduced chi-square; None for a series without HAADF tilts, or of pixels too few to
        estimate their noise.
    elements : Poisson deviance over its expectation, in the order of the elements.
    """

    haadf: ChannelMisfit | None
    elements: tuple[ChannelMisfit, ...]

    @property
    def channels(self) -> tuple[ChannelMisfit, ...]:
        """HAADF, if there is any, and the elements."""
        return self.elements if self.haadf is None else (self.haadf, *self.elements)

    @property
    def facts(self) -> Mapping[str, float | tuple[float, ...]]:
        """What the file of a reconstruction records: name to value."""
        named = {f"misfit_{channel.name}": channel for channel in self.channels}
        whole = {name: channel.overall for name, channel in named.items()}
        return whole | {f"{name}_by_tilt": channel.by_tilt for name, channel in named.items()}


def misfit(series: TiltSeries, volumes: Array, contrast: Contrast) -> Misfit:
    """Compare a tilt series with the projections of volumes, tilt by tilt.

    A scale that the series leaves unknown is fitted to the volumes: that of HAADF by least squares,
    that of an element so that its total is right.

    Parameters
    ----------
    series : counts, with the scales and backgrounds that the volumes were reconstructed with.
    volumes : concentrations, (element, z, y, x).
    contrast : how concentrations become HAADF signal.

    Returns
    -------
    Misfit : of HAADF and of every element.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> from tomoatlas.recon_core.contrast import PowerLaw
    >>> specimen = ta.make_specimen("nanocubes", size=24)
    >>> series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=9, haadf_snr=20.0))
    >>> found = misfit(series, specimen.volumes, PowerLaw(2.0))
    >>> [channel.name for channel in found.channels]
    ['HAADF', 'Co', 'Cu', 'O', 'Au']
    >>> all(0.9 < channel.overall < 1.1 for channel in found.elements)
    True
    """
    series = series.filled()
    return misfit_of(series, expected_counts(series, volumes, contrast))


@dataclass(frozen=True)
class ExpectedCounts:
    """What volumes predict of a tilt series, without noise.

    Parameters
    ----------
    haadf : (angle, y, x), float32.
    chemical : (element, angle, y, x), float32, > 0.
    """

    haadf: Array
    chemical: Array


def expected_counts(series: TiltSeries, volumes: Array, contrast: Contrast) -> ExpectedCounts:
    """Project volumes to the counts that they predict, at scales as :func:`misfit` has them.

    Parameters
    ----------
    series, volumes, contrast : as of :func:`misfit`.
    """
    depth = volumes.shape[-3]
    chemical = expected_chemical(series, volumes)
    if not series.haadf_angles_deg:
        return ExpectedCounts(series.haadf, chemical)
    haadf = _projected(series.haadf_geometry(depth), _contrast_of(volumes, series, contrast))
    vacuum = np.broadcast_to(contrast.vacuum(series), len(haadf))
    factor = series.haadf_scale if contrast.holds_for(series.facts) else None
    if factor is None:
        factor = _least_squares(haadf, series.haadf, vacuum)
    np.multiply(haadf, np.float32(factor), out=haadf)
    return ExpectedCounts(haadf + vacuum.astype(np.float32)[:, None, None], chemical)


def expected_chemical(series: TiltSeries, volumes: Array) -> Array:
    """Project volumes to the chemical counts that they predict, see :func:`expected_counts`.

    Parameters
    ----------
    series, volumes : as of :func:`misfit`.
    """
    chemical = _projected(series.chemical_geometry(volumes.shape[-3]), volumes)
    for i, rays in enumerate(chemical):  # in place: a copy may not fit
        scale = _chemical_scale(series, i, rays)
        np.multiply(rays, np.float32(scale), out=rays)
        np.maximum(rays + np.float32(series.chemical_background[i]), LEAST, out=rays)
    return chemical


def misfit_of(series: TiltSeries, expected: ExpectedCounts) -> Misfit:
    """Compare a tilt series with what is expected of it, tilt by tilt.

    Parameters
    ----------
    series : counts; bad pixels filled in.
    expected : in its units.
    """
    elements = tuple(_element(series, i, y) for i, y in enumerate(expected.chemical))
    return Misfit(_haadf(series, expected.haadf), elements)


def _haadf(series: TiltSeries, expected: Array) -> ChannelMisfit | None:
    if not series.haadf_angles_deg or min(series.haadf.shape[-2:]) < PATCH + 2:
        return None
    noise = estimate_noise(series.haadf)
    squares = np.empty(len(expected))
    # tilt by tilt: float64 copies of one projection at a time
    for i, (row, counts) in enumerate(zip(expected, series.haadf, strict=True)):
        variance = noise.variance(row)
        residual = (counts - row.astype(np.float64)) ** 2
        # projections of constant value have no noise: any residual is then infinitely far
        with np.errstate(divide="ignore", invalid="ignore"):
            squares[i] = np.nan_to_num(residual / variance, nan=0.0).mean()
    return _channel("HAADF", series.haadf_angles_deg, squares, float(squares.mean()))


def _contrast_of(volumes: Array, series: TiltSeries, contrast: Contrast) -> Array:
    """Sum k_i x_i^gamma, element by element: one volume of temporaries."""
    summed = np.zeros(volumes.shape[1:], np.float32)
    factors = contrast.factors(series.atomic_numbers).astype(np.float32)
    for factor, volume in zip(factors, volumes, strict=True):
        summed += factor * volume ** np.float32(contrast.gamma)
    return summed


def _least_squares(rays: Array, counts: Array, vacuum: Values) -> float:
    """Return the scale at which projections are nearest to counts; 0 for empty volumes."""
    pairs = [
        (row.astype(np.float64), b - level)
        for row, b, level in zip(rays, counts.astype(float), vacuum, strict=True)
    ]
    norm = sum(float(np.vdot(row, row)) for row, _ in pairs)
    along = sum(float(np.vdot(row, b)) for row, b in pairs)
    return max(along / norm, 0.0) if norm > 0 else 0.0


def _element(series: TiltSeries, i: int, expected: Array) -> ChannelMisfit:
    means = expected.astype(np.float64)
    found = deviance(series.chemical[i], means).mean(axis=(1, 2))
    due = expected_deviance(means).mean(axis=(1, 2))
    name = series.elements[i]
    return _channel(name, series.chemical_angles_deg, found / due, float(found.sum() / due.sum()))


def _chemical_scale(series: TiltSeries, i: int, rays: Array) -> float:
    if series.chemical_scale is not None:
        return series.chemical_scale[i]
    return _of_total(rays, series.chemical[i], series.chemical_background[i])


def _of_total(rays: Array, counts: Array, background: float) -> float:
    """Return the scale at which the total of the projections is that of the counts."""
    total = float(rays.sum(dtype=np.float64))
    signal = float(counts.sum(dtype=np.float64)) - background * counts.size
    return max(signal / total, 0.0) if total > 0 else 0.0


def deviance(counts: Array | Values, expected: Values) -> Values:
    """Compute the Poisson deviance 2 (b log(b/y) - b + y) of each pixel.

    Parameters
    ----------
    counts : b, any shape, >= 0.
    expected : y, same shape, > 0.

    Returns
    -------
    array : like ``expected``, float64, >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> deviance(np.array([0.0, 2.0]), np.array([1.0, 2.0])).tolist()
    [2.0, 0.0]
    """
    b = counts.astype(np.float64)
    # b log b is 0 at b = 0
    logs = np.log(np.where(b > 0, b, 1.0)) - np.log(expected)
    found: Values = 2.0 * (b * logs - b + expected)
    return found


def expected_deviance(expected: Values) -> Values:
    """Compute the mean Poisson deviance of counts of given expectations.

    It is 1 for many counts, 1.15 at 1 and falls to 0 with the counts (McCullagh and Nelder,
    Generalized Linear Models, 2nd ed., 1989).

    Parameters
    ----------
    expected : counts, any shape, > 0.

    Returns
    -------
    array : like ``expected``, float64, exact to 1e-4.
    """
    logs, values = _table()
    few = np.interp(np.log(np.maximum(expected, LEAST)), logs, values)
    # series in 1/y of the chi-square approximation
    many = 1.0 + (1.0 + 1.0 / np.maximum(expected, 1.0)) / (6.0 * np.maximum(expected, 1.0))
    found: Values = np.where(expected < MOST, few, many)
    return found


@cache
def _table() -> tuple[Values, Values]:
    """Expected deviance over the logarithm of the expectation, summed over all counts."""
    logs = np.linspace(np.log(LEAST), np.log(MOST), 1000)
    return logs, np.array([_summed_deviance(y) for y in np.exp(logs)])


def _summed_deviance(y: float) -> float:
    b = np.arange(int(y + 12.0 * np.sqrt(y) + 30.0), dtype=np.float64)
    # log of b! by adding up
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(b[1:]))])
    weight = np.exp(b * np.log(y) - y - log_factorial)
    return float(weight @ deviance(b, np.full_like(b, y)))


def _projected(geometry: TiltGeometry, volumes: Array) -> Array:
    """Project (..., z, y, x) to (..., angle, y, x)."""
    return cached_projector(geometry).forward(volumes)


def _channel(
    name: str, angles_deg: tuple[float, ...], by_tilt: Iterable[float], overall: float
) -> ChannelMisfit:
    return ChannelMisfit(name, angles_deg, tuple(float(value) for value in by_tilt), overall)


def _plain(value: float) -> str:
    """Write 3.1, and 12,345 without a fraction."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
