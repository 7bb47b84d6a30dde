"""What weights of 1 mean: units that the data themselves set, whatever their gain or field of view.

Total variation separates signal from noise where its weight matches the noise of the data term's
gradient. An element counted with y counts in a pixel at n tilts and c counts per unit has gradient
noise c sqrt(n / y): with that as its unit the TV weight means the same for every element, dose and
number of tilts, and the solution does not depend on what the unit was before. In the same way the
weight of a least-squares term that TV regularises goes with the noise itself, not with its square:
the HAADF weight is divided by the noise times what the chemistry + TV start leaves unexplained.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..binning import binned
from ..contrast import FITTED, Contrast, LinearLaw, contrast_of
from ..device import Device
from ..methods import Weights
from ..metrics.noise import PATCH, estimate_noise
from ..metrics.vacuum import chemical_backgrounds
from ..result import PRIOR_POWER, Reconstruction
from ..settings import SolverSettings
from ..tiltseries import TiltSeries
from .admm import init, step
from .calibration import with_chemical_scale
from .haadf_fit import projected_powers
from .least_squares import non_negative
from .mlem import MLEM_ITERATIONS, mlem
from .multiresolution import COARSE_STEPS, has_coarser, initial_state, upsample
from .problem import chemical_problem, mean_count
from .regularisers import TOTAL_VARIATION

Array = NDArray[np.float32]
Values = NDArray[np.float64]

SIGNIFICANT = 4.0  # standard deviations of its total count above which an element is there
LEAST_NOISE = 1e-3  # of the unexplained residual: data without noise keep a finite weight
LARGEST = 1e6  # concentrations, which are of the order of 1
REFERENCE_TV = 1.0  # weight of TV of the start, in units of the noise


def noise_units(series: TiltSeries) -> Values:
    """Choose the counts of each element that a unit of its volume gives in a voxel.

    With sqrt(y / n), y the counts where the signal is and n the tilts, the gradient of the chemical
    term has noise 1.

    Parameters
    ----------
    series : counts and backgrounds; scales are not used.

    Returns
    -------
    array : (element,), float64, > 0.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> plan = ta.Acquisition(chemical_tilts=4)
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=16), plan)
    >>> bool((noise_units(series) > 0.2).all())
    True
    """
    levels = [_signal_level(counts, background) for counts, background in _channels(series)]
    return np.sqrt(np.array(levels) / len(series.chemical_angles_deg))


def _signal_level(counts: Array, background: float) -> float:
    """Mean of the expected counts y over pixels weighted by their signal s = y - background.

    It is background + sum s^2 / sum s: vacuum has weight 0.
    """
    total, signal, squares = _sums(counts, background)
    # of at least one count, so that an element without any has a unit too
    least = max(total, 1.0) / counts.size
    if not _is_there(counts, background):
        return least
    # a rare element may be lost in the sum where its square is not
    level = background + squares / max(signal, np.sqrt(total))
    # y weighted by s is no lower than its mean, nor higher than its maximum
    return float(np.clip(level, least, counts.max()))


def _sums(counts: Array, background: float) -> tuple[float, float, float]:
    """Sum the counts b, their signal s, and s^2 by its estimate (b - background)^2 - b."""
    total = float(counts.sum(dtype=np.float64))
    above = counts - np.float32(background)
    squares = float(np.vdot(above, above.astype(np.float64))) - total
    return total, total - background * counts.size, squares


def _is_there(counts: Array, background: float) -> bool:
    """Check whether the signal of an element, or its square, rises above the noise of vacuum."""
    total, signal, squares = _sums(counts, background)
    # of Poisson counts around the mean m the estimate of s^2 has variance 2 m^2
    spread = max(float(np.sqrt(2.0 / counts.size)) * total, 1.0)
    return signal > SIGNIFICANT * float(np.sqrt(total)) or squares > SIGNIFICANT * spread


def in_noise_units(series: TiltSeries) -> TiltSeries:
    """Return the series for volumes in units of each element's noise.

    Parameters
    ----------
    series : counts, with a known chemical scale.

    Returns
    -------
    TiltSeries : with another chemical scale, and the concentration of a unit in ``unit``.

    Raises
    ------
    ValueError : the chemical scale is unknown.
    """
    if series.chemical_scale is None:
        raise ValueError("the chemical scale of the tilt series is not set")
    scale = noise_units(series)
    unit = np.array(series.unit) * scale / np.array(series.chemical_scale)
    return replace(series, chemical_scale=_plain(scale), unit=_plain(unit))


def with_scale(series: TiltSeries, settings: SolverSettings, device: Device) -> TiltSeries:
    """Return the series with the scales and backgrounds that a reconstruction uses.

    Parameters
    ----------
    series : measured counts.
    settings : its ``units`` decide how an unknown scale is chosen, its ``background`` whether
        backgrounds of 0 are found in the vacuum.
    device : where that is computed.

    Returns
    -------
    TiltSeries : ``series`` itself if all is known.
    """
    if settings.background == "vacuum" and not all(series.chemical_background):
        series = with_backgrounds(series)
    if settings.units == "noise":
        return with_agreed_scale(series, settings, device)
    return with_chemical_scale(series, device, settings.projector)


def as_solved(
    series: TiltSeries, solved: Reconstruction, settings: SolverSettings, device: Device
) -> tuple[TiltSeries, Contrast]:
    """Return the series and the HAADF law that the volumes of a result are to be compared with.

    Parameters
    ----------
    series : measured counts.
    solved : its reconstruction, whose fitted model of HAADF is used if it has one.
    settings : that it was solved with.
    device : where an unknown scale is computed once more.
    """
    # the solver's own scale, which its result does not carry
    known = with_scale(series, settings, device)
    if (model := solved.haadf) is not None:
        return model.applied_to(known), model.coefficients.law
    if settings.contrast == FITTED:
        # without HAADF weight nothing was fitted: any law, scaled by least squares
        return replace(known, haadf_scale=None), LinearLaw(settings.gamma)
    return known, contrast_of(settings)


def with_backgrounds(series: TiltSeries) -> TiltSeries:
    """Return the series with the counts of vacuum for backgrounds of 0.

    Parameters
    ----------
    series : measured counts.
    """
    pairs = zip(series.chemical_background, chemical_backgrounds(series), strict=True)
    return replace(series, chemical_background=tuple(own or found for own, found in pairs))


def with_agreed_scale(series: TiltSeries, settings: SolverSettings, device: Device) -> TiltSeries:
    """Return the series with a chemical scale: its own, or one on which counts and HAADF agree.

    At the chemistry + TV start HAADF is fitted by a coefficient k_i of each element. Concentrations
    are in units in which that coefficient is the Z_i^gamma of the contrast, up to a common factor
    that sets their levels near 1. An element that HAADF or the counts hardly show takes the unit of
    the others, and without HAADF each level is set to 1. The level is sum x^2 / sum x, the mean
    over an element's own matter: vacuum has no part in it.

    Parameters
    ----------
    series : measured counts.
    settings : exponent of the contrast; likelihood and projector of the start.
    device : where the start is computed.

    Returns
    -------
    TiltSeries : ``series`` itself if its chemical scale is known; otherwise one without HAADF
        scale, which belongs to the unit of concentration.
    """
    if series.chemical_scale is not None:
        return series
    scale = noise_units(series)
    trial = replace(series, chemical_scale=_plain(scale))
    start = chemistry_start(trial, settings, device)
    per_unit = _levels(device.get(start))
    if series.haadf_angles_deg:
        per_unit = _agreed(trial, start, per_unit, settings, device)
    there = np.array([_is_there(*each) for each in _channels(series)]) & (per_unit > 0)
    found = scale * np.where(there, per_unit, 1.0)
    # counts per concentration as the others have them: one count is then no matter to speak of
    found = np.where(there, found, _geometric_mean(found[there]) if there.any() else found)
    return replace(series, chemical_scale=_plain(found), haadf_scale=None)


def _agreed(
    series: TiltSeries, start: Array, levels: Values, settings: SolverSettings, device: Device
) -> Values:
    """Value of each volume that is concentration 1, by HAADF; 0 for an element it does not show."""
    rays = projected_powers(series, start, contrast_of(settings).gamma, settings, device)
    factors = _explained(rays, series.haadf.astype(np.float64))[0]
    power = PRIOR_POWER if settings.contrast == FITTED else settings.gamma
    of_law = np.array(series.atomic_numbers, np.float64) ** power
    # k x^gamma = Z^p (x / v)^gamma
    values: Values = np.divide(of_law, factors, out=np.zeros(len(factors)), where=factors > 0) ** (
        1.0 / contrast_of(settings).gamma
    )
    shown = values > 0
    if shown.any():
        values *= _geometric_mean(levels[shown]) / _geometric_mean(values[shown])
    return values


def haadf_unit(series: TiltSeries, settings: SolverSettings, device: Device) -> float:
    """Return what a HAADF weight of 1, in units of noise and residual, is in those of the problem.

    There the variance is the mean count.

    Parameters
    ----------
    series : counts, HAADF's among them, with a known chemical scale, in units of its noise.
    settings : exponent of the contrast; likelihood and projector of the start.
    device : where the start is computed.

    Returns
    -------
    float : mean count / (noise x residual), standard deviations where the signal is.
    """
    return mean_count(series.haadf) / haadf_variance(series, settings, device)


def haadf_variance(series: TiltSeries, settings: SolverSettings, device: Device) -> float:
    """Compute the noise of HAADF times its residual at the chemistry + TV start.

    Both are standard deviations at pixels weighted by their signal, in detector units: a gain g
    multiplies the result by g squared. The residual is that of the best coefficient of each element
    and level of each tilt, hence the same for every law of the contrast, vacuum, film and unit of
    the volumes.

    Parameters
    ----------
    series : counts, with a known chemical scale, in units of its noise.
    settings : exponent of the contrast; likelihood and projector of the start.
    device : where the start is computed.

    Returns
    -------
    float : squared detector units, > 0.
    """
    start = chemistry_start(series, settings, device)
    rays = projected_powers(series, start, contrast_of(settings).gamma, settings, device)
    _, model, residual = _explained(rays, series.haadf.astype(np.float64))
    total = float(model.sum())
    weight = model / total if total > 0 else np.full(model.shape, 1.0 / model.size)
    left = float(np.vdot(weight, residual**2))
    if min(series.haadf.shape[-2:]) < PATCH + 2:
        return max(left, 1e-30)
    noise = estimate_noise(series.haadf)
    shot = float(np.vdot(weight, noise.variance(series.haadf)))
    return max(float(np.sqrt(left * max(shot, LEAST_NOISE**2 * left))), 1e-30)


def chemistry_start(series: TiltSeries, settings: SolverSettings, device: Device) -> Array:
    """Solve chemistry + TV roughly at half the resolution, at the reference TV weight.

    Parameters
    ----------
    series : counts, with a known chemical scale, in units of its noise.
    settings : likelihood and projector.
    device : where it is computed.

    Returns
    -------
    array : (element, z, y, x), on the device.
    """
    # one start for every study: what else the settings ask for does not move the unit
    settings = settings.model_copy(update={"totals": False})
    if not has_coarser(series):
        problem = chemical_problem(series, [Weights(0.0, REFERENCE_TV)], settings, device)
        state = init(problem, mlem(problem.chemistry, problem.shape[1:], MLEM_ITERATIONS))
    else:
        coarse = [Weights(0.0, TOTAL_VARIATION.coarser * REFERENCE_TV)]
        problem, state = initial_state(binned(series), coarse, settings, device)
    for _ in range(COARSE_STEPS):
        state = step(problem, state)
    # a start that blew up explains nothing, and its powers might overflow
    found, xp = state.volumes[0], device.xp
    volumes: Array = xp.where(xp.abs(found) < LARGEST, found, np.float32(0))
    height, width = series.chemical.shape[-2:]
    shape = (height, height, width)
    if volumes.shape[1:] == shape:
        return volumes
    fine: Array = xp.empty((len(volumes), *shape), np.float32)
    for one, into in zip(volumes, fine, strict=True):  # one at a time, to bound memory
        into[...] = upsample(xp, one, shape)
    return fine


def _explained(rays: Array, data: Values) -> tuple[Values, Values, Values]:
    """Fit data by non-negative multiples of each element's rays and a level of every tilt.

    Returns the multiples, the model without its levels, and the residual, both like ``data``.
    """
    axes = (-2, -1)  # a film, or a vacuum level that is not given, is in the mean of its tilt
    means = rays.mean(axis=axes, dtype=np.float64, keepdims=True)
    centred = data - data.mean(axis=axes, keepdims=True)
    # normal equations of what is left without the means, tilt by tilt in float64
    gram, along = np.zeros((len(rays), len(rays))), np.zeros(len(rays))
    for tilt, values in enumerate(centred):
        rows = (rays[:, tilt] - means[:, tilt]).reshape(len(rays), -1)
        gram += rows @ rows.T
        along += rows @ values.ravel()
    factors = non_negative(gram, along)
    model: Values = np.tensordot(factors, rays, 1)
    return factors, model, centred - (model - model.mean(axis=axes, keepdims=True))


def _channels(series: TiltSeries) -> list[tuple[Array, float]]:
    """Counts and background of each element."""
    return list(zip(series.chemical, series.chemical_background, strict=True))


def _levels(volumes: Array) -> Values:
    """Mean of each volume weighted by itself, (element,); 0 for an empty one."""
    totals = volumes.sum(axis=(1, 2, 3), dtype=np.float64)
    squares = [float(np.vdot(volume, volume.astype(np.float64))) for volume in volumes]
    levels: Values = np.divide(squares, totals, out=np.zeros(len(volumes)), where=totals > 0)
    return levels


def _geometric_mean(values: Values) -> float:
    return float(np.exp(np.log(values).mean()))


def _plain(values: Values) -> tuple[float, ...]:
    return tuple(map(float, values))
