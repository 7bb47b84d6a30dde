"""Resolution of a volume, with and without the truth.

Fourier shell correlation with the truth or between the reconstructions of two halves of the counts,
and spectral power along an axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput

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
    """Correlation of two volumes in shells of equal spatial frequency.

    Parameters
    ----------
    frequency : mean of each shell, (shell,), cycles/nm, rising.
    correlation : -1 to 1, (shell,); NaN where either volume has no power in a shell.
    coefficients : number of Fourier coefficients in each shell, (shell,).
    """

    frequency: Floats
    correlation: Floats
    coefficients: NDArray[np.int64]

    def cut_off(self, threshold: float) -> float:
        """Find the frequency at which the correlation falls below a threshold.

        See :func:`crossing`.

        Parameters
        ----------
        threshold : :data:`AGAINST_TRUTH`, :data:`BETWEEN_HALVES` or another correlation.

        Returns
        -------
        float : cycles/nm.
        """
        return crossing(self.frequency, self.correlation, threshold)

    def resolution_nm(self, threshold: float) -> float:
        """Compute the resolution, the inverse of :meth:`cut_off`.

        Parameters
        ----------
        threshold : as for :meth:`cut_off`.

        Returns
        -------
        float : nm; two voxels at best, infinite if the volumes have nothing in common.
        """
        cut_off = self.cut_off(threshold)
        return 1.0 / cut_off if cut_off > 0 else float("inf")


def shell_correlation(
    a: Array, b: Array, voxel_size_nm: float, cone: tuple[str, float] | None = None
) -> ShellCorrelation:
    """Compute the Fourier shell correlation of two volumes up to the Nyquist frequency.

    Re Σ F G* / sqrt(Σ|F|² Σ|G|²) over shells one frequency step of the longest edge wide (Harauz
    and van Heel, Optik 73, 146 (1986)). Blind to scale and offset. No mask or window is applied:
    specimens in vacuum need none, others correlate along the axes where they are cut.

    Parameters
    ----------
    a, b : two volumes of one shape, (z, y, x).
    voxel_size_nm : edge of a voxel, nm.
    cone : an axis, ``z``, ``y`` or ``x``, and the half-angle in degrees of the double cone about it
        to which the shells are restricted; None for whole shells.

    Returns
    -------
    ShellCorrelation : one entry per shell, without the zero frequency.

    Raises
    ------
    BadInput : different shapes, a volume that is not 3D or has an edge of one voxel.

    Examples
    --------
    >>> import numpy as np
    >>> volume = np.random.default_rng(0).random((8, 8, 8), dtype=np.float32)
    >>> found = shell_correlation(volume, 2 * volume + 1, voxel_size_nm=0.5)
    >>> found.correlation.round(6).tolist()
    [1.0, 1.0, 1.0, 1.0]
    >>> found.resolution_nm(AGAINST_TRUTH)
    1.0
    """
    if a.shape != b.shape or a.ndim != 3 or min(a.shape) < 2:
        raise BadInput("not two volumes of one shape", value=(a.shape, b.shape), accepted="3D")
    # shells as wide as the finest frequency step, so that none is empty
    step = 1.0 / (max(a.shape) * voxel_size_nm)
    frequency, twice = _frequencies(a.shape, voxel_size_nm)
    shell = np.rint(frequency / step).astype(np.int64).ravel()
    shells = int(np.floor(0.5 / voxel_size_nm / step + 1e-9)) + 1
    inside = (shell > 0) & (shell < shells)
    if cone is not None:
        inside &= _in_cone(a.shape, frequency * voxel_size_nm, *cone).ravel()
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


def _in_cone(
    shape: tuple[int, ...], radius: Floats, axis: str, half_angle: float
) -> NDArray[np.bool_]:
    """Whether coefficients of ``rfftn`` lie in the double cone about an axis."""
    *lead, last = shape
    along = [*map(np.fft.fftfreq, lead), np.fft.rfftfreq(last)]
    height = np.meshgrid(*along, indexing="ij", sparse=True)[AXES.index(axis)]
    inside: NDArray[np.bool_] = np.abs(height) >= np.cos(np.radians(half_angle)) * radius
    return inside


def _frequencies(shape: tuple[int, ...], voxel_size_nm: float) -> tuple[Floats, Floats]:
    """Length of the frequency of each coefficient of ``rfftn``, and its multiplicity (1 or 2)."""
    along = [np.fft.fftfreq(n, voxel_size_nm) for n in shape[:-1]]
    last = np.fft.rfftfreq(shape[-1], voxel_size_nm)
    squares = np.meshgrid(*(k**2 for k in (*along, last)), indexing="ij", sparse=True)
    # rfftn leaves out the conjugate half: all but the zero and the Nyquist plane stand for two
    twice = np.full(len(last), 2.0)
    twice[0] = 1.0
    if shape[-1] % 2 == 0:
        twice[-1] = 1.0
    return np.sqrt(sum(squares)), twice


@dataclass(frozen=True)
class Spectrum:
    """Power of a volume along one of its axes.

    Parameters
    ----------
    frequency : centre of each shell, (shell,), cycles/nm, rising.
    power : mean |F|² of the coefficients in the shell, (shell,).
    """

    frequency: Floats
    power: Floats

    def cut_off(self, reference: Spectrum, fraction: float = 0.5) -> float:
        """Find the first frequency at which the power falls below a fraction of the reference's.

        The ratio of the two spectra is averaged geometrically over :data:`FRINGES` shells, fewer at
        the ends: the spectrum of a specimen with faces dips between its fringes, and a dip is no
        limit. Noise counts as power: a noisy volume seems sharp here, and not in
        :func:`shell_correlation`.

        Parameters
        ----------
        reference : spectrum of the truth, on the same frequencies.
        fraction : 0.5 is the half-power point of the transfer.

        Returns
        -------
        float : cycles/nm, see :func:`crossing`; 0 for an empty reference.
        """
        known = reference.power > 1e-12 * reference.power.max(initial=0.0)  # others are rounding
        if not known.any():
            return 0.0
        # a mean of logarithms is the geometric mean of the ratios
        ratio = np.log(np.maximum(self.power[known] / reference.power[known], 1e-300))
        whole = np.interp(self.frequency, self.frequency[known], ratio)
        return crossing(self.frequency, np.exp(_smoothed(whole)), fraction)


def _smoothed(values: Floats) -> Floats:
    """Moving mean over :data:`FRINGES` values; at the ends over as many as fit on both sides."""
    place = np.arange(len(values))
    half = np.minimum(np.minimum(place, place[::-1]), FRINGES // 2)
    # differences of the running sum, so that windows of any width cost the same
    total = np.concatenate([[0.0], np.cumsum(values)])
    mean: Floats = (total[place + half + 1] - total[place - half]) / (2 * half + 1)
    return mean


def axis_spectrum(volume: Array, voxel_size_nm: float, axis: str, half_angle: float) -> Spectrum:
    """Compute the mean power in a double cone about an axis.

    A single line of coefficients would follow the specimen's own interference fringes; the cone
    averages over them. The mean of the volume is left out.

    Parameters
    ----------
    volume : (z, y, x).
    voxel_size_nm : edge of a voxel, nm.
    axis : ``z``, ``y`` or ``x``.
    half_angle : between the axis and the surface of the cone, degrees.

    Returns
    -------
    Spectrum : shells one frequency step of that axis wide, up to the Nyquist frequency.

    Examples
    --------
    >>> import numpy as np
    >>> volume = np.random.default_rng(0).random((8, 8, 8), dtype=np.float32)
    >>> axis_spectrum(volume, 1.0, "z", 20.0).frequency.tolist()
    [0.125, 0.25, 0.375, 0.5]
    """
    index = AXES.index(axis)
    power = np.abs(np.fft.fftn(volume.astype(np.float64))) ** 2
    along = [np.fft.fftfreq(n, voxel_size_nm) for n in volume.shape]
    grid = np.meshgrid(*along, indexing="ij", sparse=True)
    radius = np.sqrt(sum(k**2 for k in grid))
    inside = (np.abs(grid[index]) >= np.cos(np.radians(half_angle)) * radius) & (radius > 0)
    step = 1.0 / (volume.shape[index] * voxel_size_nm)
    shells = volume.shape[index] // 2 + 1
    # beyond Nyquist everything falls into one last shell, which is dropped
    shell = np.minimum(np.rint(radius[inside] / step).astype(np.int64), shells)
    count = np.bincount(shell, minlength=shells + 1)[1:shells]
    total = np.bincount(shell, power[inside], shells + 1)[1:shells]
    return Spectrum(np.arange(1, shells) * step, total / np.maximum(count, 1))


def crossing(frequency: Floats, values: Floats, level: float) -> float:
    """Find where a curve first falls below a level, linear between points.

    Parameters
    ----------
    frequency : (point,), rising, cycles/nm.
    values : (point,); NaN points are left out.
    level : the threshold.

    Returns
    -------
    float : in the unit of ``frequency``. The last frequency if the curve never falls below, so that
        nothing finer than the grid is claimed; 0 if it starts below or has no finite point.

    Examples
    --------
    >>> import numpy as np
    >>> crossing(np.array([0.1, 0.2, 0.3]), np.array([1.0, 0.8, 0.2]), 0.5)
    0.25
    >>> crossing(np.array([0.1, 0.2]), np.array([0.3, 0.2]), 0.5)
    0.0
    """
    known = np.isfinite(values)
    frequency, values = frequency[known], values[known]
    below = np.flatnonzero(values < level)
    if not len(values) or (below.size and below[0] == 0):
        return 0.0
    if not below.size:
        return float(frequency[-1])
    i = int(below[0])
    # linear interpolation between the last point above and the first below
    share = (values[i - 1] - level) / (values[i - 1] - values[i])
    return float(frequency[i - 1] + share * (frequency[i] - frequency[i - 1]))
