"""The fused problem: three terms of one objective over non-negative concentrations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon_core.geometry import TiltGeometry
from recon_core.kernels import power_sum, total_variation
from recon_core.projector import cached_projector
from recon_core.settings import SolverSettings, Weights
from recon_core.terms import ChemicalTerm, HaadfTerm
from recon_core.tiltseries import TiltSeries

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Terms:
    """Weighted values of the objective's terms at one point."""

    haadf: float
    chemistry: float
    tv: float

    @property
    def objective(self) -> float:
        """Their sum."""
        return self.haadf + self.chemistry + self.tv


@dataclass(frozen=True)
class FusedProblem:
    """Minimise over x_i >= 0, x (element, z, y, x):

        haadf/(2 sigma^2) ||h A_h sum_i (Z_i x_i)^gamma - b_h||^2 + chemistry(x) + tv sum_i TV(x_i)

    with sigma^2 the mean HAADF count (its Poisson variance), h the HAADF scale and the chemical
    log-likelihood in counts (Schwartz et al., 2024, Eq. 1, in units of the likelihood).
    ``haadf`` is None where the HAADF term has no weight or no data.
    """

    chemistry: ChemicalTerm
    haadf: HaadfTerm | None
    tv: float

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the unknown, (element, z, y, x)."""
        z, y = self.chemistry.projector.geometry.shape
        return (len(self.chemistry.counts), z, y, self.chemistry.counts.shape[-1])

    @property
    def tilts_per_iteration(self) -> int:
        """Projections in one pair of each modality: the unit of work."""
        return self.chemistry.tilts + (self.haadf.tilts if self.haadf else 0)

    def contrast(self, volumes: Array) -> Array:
        """Summed HAADF contrast sum_i w_i x_i^gamma, (z, y, x)."""
        if self.haadf is None:
            raise ValueError("a problem without HAADF term has no contrast")
        return summed_contrast(volumes, self.haadf.weights, self.haadf.gamma)

    def terms(self, volumes: Array) -> Terms:
        """Value of each weighted term at ``volumes``, (element, z, y, x), non-negative."""
        haadf = self.haadf.value(self.contrast(volumes)) if self.haadf else 0.0
        tv = self.tv * float(total_variation(volumes).sum()) if self.tv else 0.0
        return Terms(haadf, self.chemistry.value(volumes), tv)


def fused_problem(series: TiltSeries, weights: Weights, settings: SolverSettings) -> FusedProblem:
    """The problem of one tilt series; its scales must be known (:mod:`recon_core.scales`)."""
    if series.chemical_scale is None:
        raise ValueError("the chemical scale of the tilt series is not set")
    chemistry = ChemicalTerm(
        cached_projector(_geometry(series, series.chemical_angles_deg)),
        series.chemical,
        np.asarray(series.chemical_scale, np.float32),
        np.asarray(series.chemical_background, np.float32),
        settings.chemistry,
    )
    wanted = weights.haadf > 0 and len(series.haadf_angles_deg) > 0
    haadf = _haadf_term(series, weights.haadf, settings.gamma) if wanted else None
    return FusedProblem(chemistry, haadf, weights.tv)


def summed_contrast(volumes: Array, weights: Array, gamma: float) -> Array:
    """sum_i weights_i x_i^gamma, (z, y, x); volumes (element, z, y, x), weights (element,)."""
    out = np.empty(volumes.shape[1:], np.float32)
    rows = out.reshape(-1, volumes.shape[-1])
    power_sum(volumes.reshape(len(volumes), *rows.shape), weights, gamma, rows)
    return out


def contrast_weights(series: TiltSeries, gamma: float) -> tuple[Array, float]:
    """Z_i^gamma over their mean, (element,), and that mean."""
    powers = np.asarray(series.atomic_numbers, np.float64) ** gamma
    return (powers / powers.mean()).astype(np.float32), float(powers.mean())


def _haadf_term(series: TiltSeries, weight: float, gamma: float) -> HaadfTerm:
    if series.haadf_scale is None:
        raise ValueError("the HAADF scale of the tilt series is not set")
    relative, mean = contrast_weights(series, gamma)
    counts_per_contrast = series.haadf_scale * mean
    signal = (series.haadf - np.float32(series.haadf_background)) / np.float32(counts_per_contrast)
    variance = max(float(series.haadf.mean(dtype=np.float64)), 1e-6)
    return HaadfTerm(
        cached_projector(_geometry(series, series.haadf_angles_deg)),
        signal,
        weight * counts_per_contrast**2 / variance,
        relative,
        gamma,
    )


def _geometry(series: TiltSeries, angles_deg: tuple[float, ...]) -> TiltGeometry:
    height = series.chemical.shape[-2]
    return TiltGeometry(angles_deg, (height, height))
