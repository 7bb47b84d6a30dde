"""The HAADF model fitted to the data: vacuum, film, and one coefficient per element.

    b = A_h sum_i k_i x_i^gamma + vacuum + film / cos(tilt),    k_i >= 0

Vacuum and film come from the darkest pixels of HAADF (:mod:`tomoatlas.recon_core.metrics.vacuum`),
as the haze of volumes would bias a fit. With the exponent 1 the coefficients follow from the maps
as they were measured (:mod:`.haadf_moments`); with others, which act on volumes, they are fitted by
non-negative least squares (Lawson and Hanson, Solving Least Squares Problems, 1974) to volumes of
chemistry and TV alone, and then stay: volumes that have seen HAADF agree with whatever coefficients
it was given, and a fit to them runs away from the truth (``tests/benchmarks/fitted.py``). Nor do
they follow the weights of a trial: more TV takes more from an element, and coefficients that make
good for it keep it away. What TV takes at the weight of the fit they do hold: they serve to predict
HAADF, and are no cross-sections.

Where elements cannot be told apart (O where it is the sum of Co and Cu) they are held near c Z^p,
with c fitted too, by the penalty sum_i (k_i - c Z_i^p)^2 / (2 (spread c0 Z_i^p)^2) beside
||residual||^2 / (2 variance), with c0 the best c alone and the variance as the residual has it:
that of a pixel times the number of pixels whose residuals go together, found from slabs across the
tilt axis.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..binning import binned
from ..contrast import signal_below_vacuum
from ..device import CPU, Device
from ..methods import Weights
from ..metrics.vacuum import Vacuum, estimate_vacuum
from ..result import PRIOR_POWER, Coefficients, HaadfModel
from ..settings import SolverSettings
from ..tiltseries import TiltSeries
from .admm import init, step
from .haadf_moments import coefficients_from_maps
from .least_squares import non_negative, with_prior
from .mlem import MLEM_ITERATIONS, mlem
from .multiresolution import SMALLEST, USUAL, VOXELS, WARM_STEPS, has_coarser
from .problem import chemical_problem, summed_contrast
from .regularisers import TOTAL_VARIATION

Array = NDArray[np.float32]
Values = NDArray[np.float64]

FIT_TV = 1.0  # weight of TV where the coefficients are fitted: near its best for chemistry alone
PRIOR_SPREAD = 2.0  # relative width of the prior: tighter holds back what TV's shrinkage needs
SLABS = 8  # across the tilt axis; their residuals are all but independent


def fitted_model(series: TiltSeries, settings: SolverSettings, device: Device = CPU) -> HaadfModel:
    """Fit the HAADF model of a series: a property of the data, whatever the weights of a trial.

    Parameters
    ----------
    series : measured counts, with a chemical scale.
    settings : exponent, whether there may be a film, likelihood of the chemistry, projector.
    device : where it is computed.

    Raises
    ------
    BadInput : a signal that rises above its vacuum nowhere where there is specimen.
    """
    vacuum = vacuum_of(series, settings)
    if settings.gamma == 1.0:
        found = coefficients_from_maps(vacuum.of(series), settings, device)
    else:
        found = _coefficients_from_volumes(vacuum.of(series), settings, device)
    return HaadfModel(found, vacuum, series.haadf_background)


def _coefficients_from_volumes(
    series: TiltSeries, settings: SolverSettings, device: Device
) -> Coefficients:
    """Fit the coefficients to volumes of chemistry and TV, on the grid where a solve begins."""
    grid, counts, tv, smallest = series, 1.0, FIT_TV, SMALLEST
    while has_coarser(grid, smallest):
        grid, counts, smallest = binned(grid), counts / VOXELS, USUAL
        tv *= TOTAL_VARIATION.coarser
    # a start that does not depend on what else the settings ask for
    settings = settings.model_copy(update={"totals": False})
    problem = chemical_problem(grid, [Weights(0.0, tv)], settings, device)
    state = init(problem, mlem(problem.chemistry, problem.shape[1:], MLEM_ITERATIONS))
    for _ in range(WARM_STEPS):
        state = step(problem, state)
    return fitted_coefficients(grid, state.volumes[0], settings, device).scaled(counts)


def vacuum_of(series: TiltSeries, settings: SolverSettings) -> Vacuum:
    """Find the vacuum level of HAADF, and the film if there may be one.

    Parameters
    ----------
    series : measured counts.
    settings : whether there may be a film.

    Returns
    -------
    Vacuum : what the series records where no vacuum is in view.
    """
    found = estimate_vacuum(series.haadf, series.haadf_angles_deg, settings.film)
    if found.is_seen:
        return found
    return Vacuum(series.haadf_background, series.haadf_film, scatter=found.scatter)


def fitted_coefficients(
    series: TiltSeries,
    volumes: Array,
    settings: SolverSettings,
    device: Device = CPU,
) -> Coefficients:
    """Fit a HAADF coefficient of each element.

    Parameters
    ----------
    series : counts, with the vacuum level and film that hold.
    volumes : concentrations that the counts of the elements alone have given, (element, z, y, x),
        on ``device``.
    settings : exponent and projector.
    device : where it is projected; the projections are copied to the host.

    Returns
    -------
    Coefficients : in counts per voxel of the volumes' grid.

    Raises
    ------
    BadInput : a signal that rises above its vacuum nowhere where there is specimen.
    """
    normal = _normal_equations(series, volumes, settings, device)
    prior = np.asarray(series.atomic_numbers, np.float64) ** PRIOR_POWER
    amount = _amount(normal, prior)
    if amount <= 0:
        raise signal_below_vacuum(series)
    values, errors, shares = _posterior(normal, prior, amount)
    return Coefficients(
        settings.gamma, series.elements, _plain(values), _plain(errors), _plain(shares)
    )


@dataclass(frozen=True)
class NormalEquations:
    """Sums over pixels of a least-squares fit, by slab across the tilt axis.

    Parameters
    ----------
    gram : products of the columns, (slab, element, element).
    right : products of columns and data, (slab, element).
    energy : squares of the data, summed.
    pixels : number of pixels.
    """

    gram: Values
    right: Values
    energy: float
    pixels: int

    @property
    def whole(self) -> tuple[Values, Values]:
        """Gram matrix and right-hand side of all slabs."""
        return self.gram.sum(axis=0), self.right.sum(axis=0)

    def variance(self, values: Values) -> float:
        """Mean square of the residual, at least rounding.

        Parameters
        ----------
        values : coefficients, (element,).
        """
        gram, right = self.whole
        left = float(self.energy - 2.0 * values @ right + values @ gram @ values)
        return max(left, 1e-12 * self.energy) / self.pixels

    def inflation(self, values: Values) -> float:
        """How many pixels' worth of variance a coefficient has, for residuals that go together.

        The variance that the scatter of the slabs gives (a sandwich: Liang and Zeger, Biometrika
        73, 13 (1986)) over that of independent pixels, averaged over the coefficients above 0.

        Parameters
        ----------
        values : coefficients, (element,), of the least-squares solution.
        """
        on = np.flatnonzero(values > 0)
        slabs = len(self.gram)
        if slabs < 2 or not on.size:
            return 1.0
        slopes = (self.right - self.gram @ values)[:, on]
        slopes -= slopes.mean(axis=0)
        inverse = np.linalg.pinv(self.whole[0][np.ix_(on, on)])
        scatter = slopes.T @ slopes * slabs / (slabs - 1)
        robust = np.diag(inverse @ scatter @ inverse)
        alone = np.diag(inverse) * self.variance(values)
        return max(float((robust / alone).mean()), 1.0)


def _normal_equations(
    series: TiltSeries, volumes: Array, settings: SolverSettings, device: Device
) -> NormalEquations:
    columns = projected_powers(series, volumes, settings.gamma, settings, device)
    levels = series.haadf_vacuum[:, None, None]
    edges = np.linspace(0, columns.shape[-1], min(SLABS, columns.shape[-1]) + 1).astype(int)
    gram, right, energy = [], [], 0.0
    # slab by slab: float64 copies of one at a time
    for first, last in itertools.pairwise(edges):
        part = columns[..., first:last].reshape(len(columns), -1).astype(np.float64)
        data = (series.haadf[..., first:last] - levels).ravel()
        gram.append(part @ part.T)
        right.append(part @ data)
        energy += float(data @ data)
    return NormalEquations(np.array(gram), np.array(right), energy, series.haadf.size)


def projected_powers(
    series: TiltSeries, volumes: Array, gamma: float, settings: SolverSettings, device: Device
) -> Array:
    """Project x^gamma of each element, with x its concentration.

    Parameters
    ----------
    series : for its HAADF tilts, and the unit of the volumes.
    volumes : (element, z, y, x), on ``device``.
    gamma : exponent.
    settings : for the projector.
    device : where it is projected.

    Returns
    -------
    array : (element, angle, y, x), float32, on the host.
    """
    projector = device.projector(series.haadf_geometry(volumes.shape[1]), settings.projector)
    columns = np.empty((len(volumes), *series.haadf.shape), np.float32)
    for i, unit in enumerate(series.unit):
        factor = device.put(np.array([unit**gamma]))
        power = summed_contrast(device, volumes[None, i : i + 1], factor, gamma)[0]
        columns[i] = device.get(projector.forward(power))
    return columns


def _amount(normal: NormalEquations, prior: Values) -> float:
    """The c of coefficients c Z^p that fits best."""
    gram, right = normal.whole
    norm = float(prior @ gram @ prior)
    return float(prior @ right) / norm if norm > 0 else 0.0


def _posterior(
    normal: NormalEquations, prior: Values, amount: float
) -> tuple[Values, Values, Values]:
    """Coefficients with the prior, their standard uncertainties, and the share of the prior."""
    gram, right = normal.whole
    free = non_negative(gram, right)
    # what one unit of the normal equations is worth, in the squares of sigmas
    worth = 1.0 / (normal.variance(free) * normal.inflation(free))
    return with_prior(worth * gram, worth * right, prior, amount, PRIOR_SPREAD)


def _plain(values: Values) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
