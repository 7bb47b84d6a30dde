"""The fused problem: three terms of one objective over non-negative concentrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contrast import Contrast, contrast_of, relative_factors
from ..device import CPU, Device
from ..methods import Weights
from ..result import Coefficients
from ..settings import SolverSettings
from ..tiltseries import TiltSeries
from .regularisers import TOTAL_VARIATION, Regulariser
from .terms import ChemicalTerm, HaadfTerm

Array = NDArray[np.float32]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """Weighted values of the objective's terms at one point.

    Parameters
    ----------
    haadf, chemistry, tv : (trial,), float64.
    """

    haadf: Values
    chemistry: Values
    tv: Values

    @property
    def objective(self) -> Values:
        """Sum of the three terms, (trial,)."""
        return self.haadf + self.chemistry + self.tv


@dataclass(frozen=True)
class FusedProblem:
    """Minimise over x_i >= 0, x (element, z, y, x), for each trial of a batch:

        haadf/(2 sigma^2) ||h A_h sum_i (Z_i x_i)^gamma - b_h||^2 + chemistry(x) + tv sum_i TV(x_i)

    with sigma^2 the mean HAADF count (its Poisson variance; weights in other units are converted
    before, :mod:`tomoatlas.recon_core.solver.normalisation`), h the HAADF scale and the chemical
    log-likelihood in counts (Schwartz et al., Nat. Commun. 15, 3555 (2024), Eq. 1, in units of the
    likelihood). The trials share data and geometry and differ in their weights; no trial depends on
    another.

    Parameters
    ----------
    chemistry : likelihood of the chemical counts.
    haadf : least squares of HAADF; None if no trial gives it weight, or without data.
    tv : TV weight, (trial,).
    regulariser : what ``tv`` weighs; total variation, or another of
        :mod:`tomoatlas.recon_core.solver.regularisers`.
    fitted : coefficients of the HAADF contrast that were fitted to the data; None for another law.
    """

    chemistry: ChemicalTerm
    haadf: HaadfTerm | None
    tv: Array
    regulariser: Regulariser = TOTAL_VARIATION
    fitted: Coefficients | None = None

    @property
    def device(self) -> Device:
        """Device on which it is solved."""
        return self.chemistry.device

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape of the unknowns, (trial, element, z, y, x)."""
        z, y = self.chemistry.projector.geometry.shape
        return (len(self.tv), len(self.chemistry.counts), z, y, self.chemistry.counts.shape[-1])

    @property
    def tilts_per_iteration(self) -> int:
        """Projections in one pair of each modality: the unit of work of one trial."""
        return self.chemistry.tilts + (self.haadf.tilts if self.haadf else 0)

    @property
    def convex(self) -> bool:
        """Whether it has one minimum: without HAADF, and where contrast is linear."""
        return self.haadf is None or self.haadf.gamma == 1.0

    def contrast(self, volumes: Array, out: Array | None = None) -> Array:
        """Compute the summed HAADF contrast sum_i w_i x_i^gamma.

        Parameters
        ----------
        volumes : concentrations, (trial, element, z, y, x).
        out : receives the result, (trial, z, y, x); None allocates it.

        Returns
        -------
        array : ``out``.

        Raises
        ------
        ValueError : a problem without HAADF term.
        """
        if self.haadf is None:
            raise ValueError("a problem without HAADF term has no contrast")
        return summed_contrast(self.device, volumes, self.haadf.weights, self.haadf.gamma, out)

    def terms(
        self,
        volumes: Array,
        chemical_rays: Array | None = None,
        contrast: Array | None = None,
        haadf_rays: Array | None = None,
    ) -> Terms:
        """Evaluate each weighted term.

        Parameters
        ----------
        volumes : concentrations, (trial, element, z, y, x), >= 0.
        chemical_rays : workspace, (trial, element, angle, y, x); None allocates it, as for the next
            two.
        contrast : workspace, (trial, z, y, x).
        haadf_rays : workspace, (trial, angle, y, x).
        """
        if self.haadf is None:
            haadf = self.device.xp.zeros(len(self.tv))
        else:
            haadf = self.haadf.value(self.contrast(volumes, contrast), haadf_rays)
        # over all elements: one TV weight per trial
        roughness = self.regulariser.value(self.device, volumes)
        return Terms(haadf, self.chemistry.value(volumes, chemical_rays), self.tv * roughness)

    def weighted(self, own: Weights, weights: Sequence[Weights]) -> FusedProblem:
        """Return the problem of a batch of trials that differs in its weights alone.

        Parameters
        ----------
        own : weights of this problem, which has one trial.
        weights : one pair per trial; with a HAADF weight each, if this problem has one.
        """
        problem = self.of([0] * len(weights))
        problem = replace(problem, tv=self.device.put(np.array([w.tv for w in weights])))
        if problem.haadf is None:
            return problem
        times = self.device.xp.asarray([w.haadf / own.haadf for w in weights])
        # The weight of a term is a factor of its precision: projected data and units stay.
        haadf = replace(problem.haadf, precision=problem.haadf.precision * times)
        return replace(problem, haadf=haadf)

    def of(self, trials: Any) -> FusedProblem:
        """Return the problem of some of the trials.

        Parameters
        ----------
        trials : index of the batch: integers or a mask.
        """
        haadf = self.haadf.of(trials) if self.haadf else None
        regulariser = self.regulariser.of(trials)
        return replace(self, haadf=haadf, tv=self.tv[trials], regulariser=regulariser)


def fused_problem(
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
    device: Device = CPU,
) -> FusedProblem:
    """Build the fused problem of one tilt series, with a trial for each pair of weights.

    Parameters
    ----------
    series : counts, with known scales (:mod:`tomoatlas.recon_core.solver.calibration`).
    weights : one pair per trial.
    settings : exponent of the contrast and likelihood of the chemistry.
    device : where it is solved; the counts are copied there.
    """
    return with_haadf(
        chemical_problem(series, weights, settings, device), series, weights, settings
    )


def chemical_problem(
    series: TiltSeries, weights: Sequence[Weights], settings: SolverSettings, device: Device = CPU
) -> FusedProblem:
    """Build the problem of chemistry and TV alone.

    Parameters
    ----------
    series : counts, with a known chemical scale.
    weights : one pair per trial; ``haadf`` is not used.
    settings : likelihood of the chemistry.
    device : where it is solved; the counts are copied there.

    Raises
    ------
    ValueError : the chemical scale is unknown.
    """
    if series.chemical_scale is None:
        raise ValueError("the chemical scale of the tilt series is not set")
    chemistry = ChemicalTerm(
        device,
        device.projector(series.chemical_geometry(masked=True), settings.projector),
        device.put(_counts(series)),
        device.put(np.asarray(series.chemical_scale)),
        device.put(np.asarray(series.chemical_background)),
        settings.chemistry,
        settings.totals,
    )
    tv = device.put(np.array([w.tv for w in weights]))
    return FusedProblem(chemistry, None, tv)


def with_haadf(
    problem: FusedProblem,
    series: TiltSeries,
    weights: Sequence[Weights],
    settings: SolverSettings,
    contrast: Contrast | None = None,
) -> FusedProblem:
    """Add the HAADF term of a series to a chemical problem.

    Parameters
    ----------
    problem : of the same series.
    series : counts, with a known HAADF scale.
    weights : one pair per trial.
    settings : exponent of the contrast, projector.
    contrast : how concentrations become signal; that of the settings if it is not given.

    Returns
    -------
    FusedProblem : ``problem`` itself if no trial gives HAADF weight, or the series has no HAADF
        tilt.

    Raises
    ------
    ValueError : the HAADF scale is needed and unknown.
    """
    haadf = np.array([w.haadf for w in weights])
    if not haadf.any() or not series.haadf_angles_deg:
        return problem
    contrast = contrast_of(settings) if contrast is None else contrast
    term = _haadf_term(series, haadf, settings, contrast, problem.device)
    return replace(problem, haadf=term)


def summed_contrast(
    device: Device, volumes: Array, weights: Array, gamma: float, out: Array | None = None
) -> Array:
    """Compute sum_i weights_i x_i^gamma.

    Parameters
    ----------
    device : where the arrays are.
    volumes : concentrations, (trial, element, z, y, x), >= 0.
    weights : of the elements, (element,).
    gamma : exponent.
    out : receives the result, (trial, z, y, x); None allocates it.

    Returns
    -------
    array : ``out``.
    """
    batch, elements, *shape = volumes.shape
    if out is None:
        out = device.xp.empty((batch, *shape), np.float32)
    flat = (batch, elements, -1, shape[-1])
    rows = out.reshape(batch, -1, shape[-1])
    device.kernels.power_sum(volumes.reshape(flat), weights, gamma, rows)
    return out


def _haadf_term(
    series: TiltSeries,
    weights: Values,
    settings: SolverSettings,
    contrast: Contrast,
    device: Device,
) -> HaadfTerm:
    if series.haadf_scale is None:
        raise ValueError("the HAADF scale of the tilt series is not set")
    relative, mean = relative_factors(series, contrast)
    counts_per_contrast = series.haadf_scale * mean
    # data in units of the projected contrast: the scale moves into the precision of the term
    levels = np.asarray(contrast.vacuum(series), np.float32).reshape(-1, 1, 1)
    signal = (series.haadf - levels) / np.float32(counts_per_contrast)
    if series.haadf_mask is not None:  # there the projector gives 0 too
        signal[~series.haadf_mask.array()] = 0
    # one variance for all pixels keeps A^T A a convolution, which the preconditioner needs
    variance = mean_count(series.haadf)
    return HaadfTerm(
        device,
        device.projector(series.haadf_geometry(masked=True), settings.projector),
        device.put(signal),
        device.xp.asarray(weights * counts_per_contrast**2 / variance),
        device.put(relative),
        contrast.gamma,
    )


def mean_count(counts: Array) -> float:
    """Return the mean of counts, the variance of Poisson ones, kept above 0.

    Parameters
    ----------
    counts : any shape.
    """
    return max(float(counts.mean(dtype=np.float64)), 1e-6)


def _counts(series: TiltSeries) -> Array:
    """Chemical counts; where a mask leaves a pixel out, those that vacuum is expected to give."""
    if series.chemical_mask is None:
        return series.chemical
    levels = np.asarray(series.chemical_background, np.float32)[:, None, None, None]
    return np.where(series.chemical_mask.array(), series.chemical, levels)
