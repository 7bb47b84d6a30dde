"""HAADF coefficients of the elements from the measured maps alone, before any reconstruction.

Where contrast is linear in concentration, so is a projection of it: at every tilt the HAADF signal
is h = sum_i k_i m_i, with m_i the map of element i without its background. HAADF at the tilts of
the maps is projected from its own least-squares volume. A fit of h to noisy maps would be biased
towards 0, but the variance of counts is known; without it the moments

    g_i = sum over pixels of  m_i (h - sum_j k_j m_j) + k_i v_i,    v_i the variance of m_i

have mean 0 at the true k (least squares corrected for errors in variables; Fuller, Measurement
Error Models, 1987). They are weighted by the inverse of their covariance (Hansen, Econometrica 50,
1029 (1982)), which independent counts give pixel by pixel. No volume enters whose smoothing or haze
the coefficients would have to make good for: they are cross-sections, with standard uncertainties.

Where elements cannot be told apart (O where it is the sum of Co and Cu) they are held near c Z^p by
the penalty sum_i (k_i - c Z_i^p)^2 / (2 (spread c0 Z_i^p)^2), with c fitted too and c0 the best c
alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contrast import signal_below_vacuum
from ..device import CPU, Device
from ..projection import Projector
from ..result import PRIOR_POWER, Coefficients
from ..settings import SolverSettings
from ..tiltseries import TiltSeries
from .least_squares import with_prior
from .terms import energy

Array = NDArray[np.float32]
Values = NDArray[np.float64]

Fit = tuple[Values, Values, Values]

SPREAD = 0.5  # relative width of the prior: Z^1.4 to Z^2, O to Au
NEAR = 7.0  # degrees from a map's tilt to one of HAADF: farther, its projection is a guess
HAADF_STEPS = 12  # conjugate gradients: more follow the noise
REWEIGHTED = 3  # times that the covariance of the moments is taken anew


def coefficients_from_maps(
    series: TiltSeries, settings: SolverSettings, device: Device = CPU
) -> Coefficients:
    """Fit a HAADF coefficient of each element to the measured maps, for a linear contrast.

    Parameters
    ----------
    series : counts, with the vacuum level and film that hold, and a chemical scale.
    settings : for the projector.
    device : where HAADF is projected; its projections are copied to the host.

    Returns
    -------
    Coefficients : in HAADF counts per voxel of concentration 1.

    Raises
    ------
    BadInput : a signal that rises above its vacuum nowhere where there is specimen.
    """
    near = _near(series)
    haadf = _haadf_at(series, near, settings, device)
    maps, variances = _maps(series, near)
    prior = np.asarray(series.atomic_numbers, np.float64) ** PRIOR_POWER
    found = _fitted(maps, variances, haadf, prior)
    if found is None:
        raise signal_below_vacuum(series)
    columns = (tuple(map(float, column)) for column in found)
    return Coefficients(1.0, series.elements, *columns)


def _near(series: TiltSeries) -> list[int]:
    """Tilts of the maps that have one of HAADF near by, at least the nearest."""
    chemical, haadf = np.array(series.chemical_angles_deg), np.array(series.haadf_angles_deg)
    away = np.abs(chemical[:, None] - haadf).min(axis=1)
    return [int(i) for i in np.flatnonzero(away <= max(NEAR, float(away.min())))]


def _haadf_at(
    series: TiltSeries, tilts: list[int], settings: SolverSettings, device: Device
) -> Values:
    """HAADF signal at some tilts of the maps, (pixel,)."""
    recorded = device.projector(series.haadf_geometry(), settings.projector)
    wanted = device.projector(series.chemical_geometry().of(tilts), settings.projector)
    signal = (series.haadf - series.haadf_vacuum[:, None, None]).astype(np.float32)
    volume = inverted(device, recorded, device.put(signal), HAADF_STEPS)
    rays = device.get(wanted.forward(volume))
    flat: Values = rays.ravel().astype(np.float64)
    return flat


def inverted(device: Device, projector: Projector, signal: Array, steps: int) -> Array:
    """Compute a least-squares volume of projections, by conjugate gradients on normal equations.

    Parameters
    ----------
    device : where the arrays are.
    projector : of the projections.
    signal : (angle, y, x).
    steps : of conjugate gradients; few regularise.

    Returns
    -------
    array : (z, y, x).
    """
    xp = device.xp
    residual = signal.copy()
    direction = projector.adjoint(residual)
    volume, left = xp.zeros_like(direction), float(energy(device, direction))
    for _ in range(steps):
        image = projector.forward(direction)
        bend = float(energy(device, image))
        # nothing left to explain, or, of one image, so little that its energy is 0 in float32
        if not (bend > 0 and left > 0):
            break
        length = np.float32(left / bend)
        volume += length * direction
        residual -= length * image
        gradient = projector.adjoint(residual)
        before, left = left, float(energy(device, gradient))
        direction = gradient + np.float32(left / before) * direction
    result: Array = volume
    return result


def _maps(series: TiltSeries, tilts: list[int]) -> tuple[Values, Values]:
    """Projected concentrations of every element, and their variances, (element, pixel)."""
    counts = series.chemical[:, tilts].reshape(len(series.elements), -1).astype(np.float64)
    # per concentration, whatever the unit of the volumes
    scale = (np.array(series.chemical_scale) / np.array(series.unit))[:, None]
    background = np.array(series.chemical_background)[:, None]
    return (counts - background) / scale, counts / scale**2


def _fitted(maps: Values, variances: Values, haadf: Values, prior: Values) -> Fit | None:
    """Solve the moment equations; None where HAADF does not rise with the maps."""
    gram = maps @ maps.T - np.diag(variances.sum(axis=1))
    right = maps @ haadf
    norm = float(prior @ gram @ prior)
    amount = float(prior @ right) / norm if norm > 0 else 0.0
    if amount <= 0:
        return None
    values = amount * prior
    found = values, values, values
    for _ in range(REWEIGHTED):
        moments = maps * (haadf - values @ maps) + values[:, None] * variances
        weight = np.linalg.pinv(moments @ moments.T, hermitian=True)
        found = with_prior(gram @ weight @ gram, gram @ weight @ right, prior, amount, SPREAD)
        values = found[0]
    return found
