"""Resolution of a volume: Fourier shell correlation, with the truth or between two halves of the
counts, power along an axis, width of an edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..tiltseries import TiltSeries

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

AGAINST_TRUTH = 0.5
"""Correlation with the truth at which the signal is as strong as the noise."""
BETWEEN_HALVES = 0.143
"""Correlation of two half data sets at which that of the whole with the truth is 0.5.

(Rosenthal and Henderson, J. Mol. Biol. 333, 721, 2003.)
"""
FRINGES = 5
"""Shells, an odd number, over which a spectrum's ratio to another is smoothed."""
AXES = ("z", "y", "x")
"""Names of the axes of a volume (z, y, x), x the tilt axis and z the beam."""


@dataclass(frozen=True)
class ShellCorrelation:
    """Correlation of two volumes in shells of equal frequency.

    ``frequency``: mean of each shell, cycles/nm, rising. ``correlation``: -1 to 1, NaN where a
    shell is empty in one of the volumes. ``coefficients``: Fourier coefficients in the shell.
    """

    frequency: Floats
    correlation: Floats
    coefficients: NDArray[np.int64]

    def cut_off(self, threshold: float) -> float:
        """Frequency at which it falls below ``threshold``, as :func:`crossing` says."""
        return crossing(self.frequency, self.correlation, threshold)

    def resolution_nm(self, threshold: float) -> float:
        """Inverse of :meth:`cut_off`: two voxels at best, infinite where nothing is in common."""
        cut_off = self.cut_off(threshold)
        return 1.0 / cut_off if cut_off > 0 else float("inf")


def shell_correlation(a: Array, b: Array, voxel_size_nm: float) -> ShellCorrelation:
    """Fourier shell correlation of two volumes (z, y, x) up to the Nyquist frequency.

    Re Σ F G* / sqrt(Σ|F|² Σ|G|²) over shells one frequency step of the longest edge wide (Harauz
    and van Heel, Optik 73, 146, 1986). Blind to scale and offset. No mask or window is applied:
    specimens in vacuum need none, others correlate along the axes where they are cut.

    Raises
    ------
    BadInput : different shapes, a volume that is not 3D or has an edge of one voxel.
    """
    if a.shape != b.shape or a.ndim != 3 or min(a.shape) < 2:
        raise BadInput("not two volumes of one shape", value=(a.shape, b.shape), accepted="3D")
    step = 1.0 / (max(a.shape) * voxel_size_nm)
    frequency, twice = _frequencies(a.shape, voxel_size_nm)
    shell = np.rint(frequency / step).astype(np.int64).ravel()
    shells = int(np.floor(0.5 / voxel_size_nm / step + 1e-9)) + 1
    inside = (shell > 0) & (shell < shells)
    counts = np.broadcast_to(twice, frequency.shape).ravel()[inside]

    def summed(values: Floats) -> Floats:
        weights = values.ravel()[inside] * counts
        return np.bincount(shell[inside], weights, shells)[1:].astype(np.float64)

    f, g = (np.fft.rfftn(v.astype(np.float64)) for v in (a, b))
    number = summed(np.ones(frequency.shape))
    cross = summed((f * g.conj()).real)
    norm = np.sqrt(summed(np.abs(f) ** 2) * summed(np.abs(g) ** 2))
    correlation = np.divide(cross, norm, out=np.full(shells - 1, np.nan), where=norm > 0)
    mean = np.minimum(summed(frequency) / np.maximum(number, 1), 0.5 / voxel_size_nm)
    return ShellCorrelation(mean, correlation, number.astype(np.int64))


def _frequencies(shape: tuple[int, ...], voxel_size_nm: float) -> tuple[Floats, Floats]:
    """|frequency| of every coefficient of ``rfftn``, and how often it stands for (1 or 2)."""
    along = [np.fft.fftfreq(n, voxel_size_nm) for n in shape[:-1]]
    last = np.fft.rfftfreq(shape[-1], voxel_size_nm)
    squares = np.meshgrid(*(k**2 for k in (*along, last)), indexing="ij", sparse=True)
    twice = np.full(len(last), 2.0)
    twice[0] = 1.0
    if shape[-1] % 2 == 0:
        twice[-1] = 1.0
    return np.sqrt(sum(squares)), twice


@dataclass(frozen=True)
class Spectrum:
    """Power of a volume along one of its axes: ``frequency`` in cycles/nm, ``power`` |F|²."""

    frequency: Floats
    power: Floats

    def cut_off(self, reference: Spectrum, fraction: float = 0.5) -> float:
        """First frequency at which the power falls below ``fraction`` of that of ``reference``.

        0.5 is the half-power point of the transfer; see :func:`crossing`. The ratio of the two is
        its geometric mean over :data:`FRINGES` shells, fewer at the ends: between the fringes of a
        specimen with faces its spectrum dips, and a dip is no limit. Noise counts as power: a noisy
        volume seems sharp here, and not in :func:`shell_correlation`.
        """
        known = reference.power > 1e-12 * reference.power.max(initial=0.0)  # others are rounding
        if not known.any():
            return 0.0
        ratio = np.log(np.maximum(self.power[known] / reference.power[known], 1e-300))
        whole = np.interp(self.frequency, self.frequency[known], ratio)
        return crossing(self.frequency, np.exp(_smoothed(whole)), fraction)


def _smoothed(values: Floats) -> Floats:
    """Moving mean over :data:`FRINGES` values, at the ends as many as there are either side."""
    place = np.arange(len(values))
    half = np.minimum(np.minimum(place, place[::-1]), FRINGES // 2)
    total = np.concatenate([[0.0], np.cumsum(values)])
    mean: Floats = (total[place + half + 1] - total[place - half]) / (2 * half + 1)
    return mean


def axis_spectrum(volume: Array, voxel_size_nm: float, axis: str, half_angle: float) -> Spectrum:
    """Mean power in the double cone of ``half_angle`` degrees about ``axis`` (z, y or x).

    Per shell of one frequency step of that axis, up to Nyquist, without the mean of the volume.
    A single line of coefficients would follow the specimen's own interference fringes; the cone
    averages over them.
    """
    index = AXES.index(axis)
    power = np.abs(np.fft.fftn(volume.astype(np.float64))) ** 2
    along = [np.fft.fftfreq(n, voxel_size_nm) for n in volume.shape]
    grid = np.meshgrid(*along, indexing="ij", sparse=True)
    radius = np.sqrt(sum(k**2 for k in grid))
    inside = (np.abs(grid[index]) >= np.cos(np.radians(half_angle)) * radius) & (radius > 0)
    step = 1.0 / (volume.shape[index] * voxel_size_nm)
    shells = volume.shape[index] // 2 + 1
    shell = np.minimum(np.rint(radius[inside] / step).astype(np.int64), shells)
    count = np.bincount(shell, minlength=shells + 1)[1:shells]
    total = np.bincount(shell, power[inside], shells + 1)[1:shells]
    return Spectrum(np.arange(1, shells) * step, total / np.maximum(count, 1))


def crossing(frequency: Floats, values: Floats, level: float) -> float:
    """Where ``values`` first fall below ``level``, linear between points; NaN points are left out.

    The last frequency where they never do, so that nothing finer than the grid is claimed; 0 where
    they are below from the start, or nothing is known.
    """
    known = np.isfinite(values)
    frequency, values = frequency[known], values[known]
    below = np.flatnonzero(values < level)
    if not len(values) or (below.size and below[0] == 0):
        return 0.0
    if not below.size:
        return float(frequency[-1])
    i = int(below[0])
    share = (values[i - 1] - level) / (values[i - 1] - values[i])
    return float(frequency[i - 1] + share * (frequency[i] - frequency[i - 1]))


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
