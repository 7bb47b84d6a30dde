"""Calibration: the scales that a measured tilt series does not contain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..contrast import Contrast, relative_factors, signal_below_vacuum
from ..device import CPU, Device
from ..methods import Weights
from ..settings import ProjectorName, SolverSettings
from ..tiltseries import TiltSeries
from .mlem import MLEM_ITERATIONS, mlem
from .problem import fused_problem, summed_contrast

Array = NDArray[np.float32]

FULL = 99.5  # percentile of an early-stopped volume that counts as concentration 1


def with_chemical_scale(
    series: TiltSeries, device: Device = CPU, projector: ProjectorName = "sparse"
) -> TiltSeries:
    """Return the series with a chemical scale: its own, or one that puts each element's top at 1.

    Without a known scale the unit of concentration is free; the 99.5th percentile of an
    early-stopped MLEM volume of each element is set to 1, so that the TV weight keeps its meaning.

    Parameters
    ----------
    series : measured counts.
    device : where MLEM runs.
    projector : as ``solver.projector`` of a study names it.

    Returns
    -------
    TiltSeries : ``series`` itself if its chemical scale is known.
    """
    if series.chemical_scale is not None:
        return series
    # with scale 1 the volumes come out in counts per voxel
    trial = replace(series, chemical_scale=(1.0,) * len(series.elements))
    problem = fused_problem(trial, [Weights()], SolverSettings(projector=projector), device)
    volumes = device.get(mlem(problem.chemistry, problem.shape[1:], MLEM_ITERATIONS))
    # a percentile, as the maximum of a noisy volume is an outlier
    tops = np.percentile(volumes.reshape(len(volumes), -1), FULL, axis=1)
    return replace(series, chemical_scale=tuple(float(max(top, 1e-6)) for top in tops))


def haadf_scale_at(
    series: TiltSeries,
    volumes: Array,
    contrast: Contrast,
    device: Device = CPU,
    projector: ProjectorName = "sparse",
) -> float:
    """Fit the HAADF counts per unit of projected contrast by least squares.

    Parameters
    ----------
    series : measured counts; its own HAADF scale is not used.
    volumes : concentrations at which the scale is fitted, (element, z, y, x), on ``device``.
    contrast : how concentrations become signal.
    device : where it is projected; only the projections are copied to the host.
    projector : as ``solver.projector`` of a study names it.

    Returns
    -------
    float : counts, > 0.

    Raises
    ------
    BadInput : a signal below its background, to which no positive scale fits.
    """
    factors, mean = relative_factors(series, contrast)
    summed = summed_contrast(device, volumes[None], device.put(factors), contrast.gamma)[0]
    geometry = series.haadf_geometry(volumes.shape[1])
    model = device.get(device.projector(geometry, projector).forward(summed))
    norm, along = 0.0, 0.0
    # tilt by tilt: float64 copies of one projection at a time
    levels = np.broadcast_to(contrast.vacuum(series), len(model))
    for rays, counts, level in zip(model, series.haadf, levels, strict=True):
        expected = rays.astype(np.float64)
        # scale = <model, data> / <model, model>
        norm += np.vdot(expected, expected)
        along += np.vdot(expected, counts.astype(np.float64) - level)
    # the model is in units of the mean contrast
    scale = float(along / norm) / mean if norm > 0 else 0.0
    if scale <= 0:
        raise signal_below_vacuum(series)
    return scale


def haadf_scale_holds(series: TiltSeries, contrast: Contrast) -> bool:
    """Check whether the series has a HAADF scale that holds for this contrast.

    Parameters
    ----------
    series : measured counts, with the exponent of its scale in ``facts`` if it was simulated.
    contrast : of the reconstruction.
    """
    return series.haadf_scale is not None and contrast.holds_for(series.facts)
