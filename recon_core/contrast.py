"""HAADF contrast: how concentrations become the signal of the HAADF detector.

A contrast is a sum over elements, s = sum_i k_i x_i^gamma (Schwartz et al., Nat. Commun. 15, 3555
(2024), Eq. 1, with k_i = Z_i^gamma). The compiled loops of the solver, ``power_sum`` and
``volume_step`` of each device, hold that form for any k_i > 0 and 1 <= gamma <= 2: a law that
differs in its factors, its exponent or the counts of vacuum is a class as :class:`PowerLaw`. A law
of another form needs these two loops anew, on every device that it is to run on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .settings import SolverSettings
from .tiltseries import TiltSeries

Array = NDArray[np.float32]


class Contrast(Protocol):
    """What simulation and solver ask of a HAADF contrast s = sum_i k_i x_i^gamma."""

    @property
    def gamma(self) -> float:
        """The exponent of a concentration."""

    def factors(self, atomic_numbers: Sequence[int]) -> NDArray[np.float64]:
        """Return the factor k_i > 0 of each element, (element,)."""

    def vacuum(self, series: TiltSeries) -> float:
        """Return the HAADF counts of a ray without matter."""

    def holds_for(self, facts: Mapping[str, float | str]) -> bool:
        """Check whether the HAADF scale of a tilt series with these facts is of this contrast."""

    def of_volumes(self, volumes: Array, atomic_numbers: Sequence[int]) -> Array:
        """Return the contrast, (z, y, x), of volumes (element, z, y, x): what is simulated."""


@dataclass(frozen=True)
class PowerLaw:
    """Linear incoherent imaging, s = sum_i (Z_i x_i)^gamma.

    Parameters
    ----------
    gamma : exponent: 2 for Rutherford scattering, 1.4 to 2 in practice.

    Examples
    --------
    >>> PowerLaw(2.0).factors((8, 79))
    array([  64., 6241.])
    """

    gamma: float

    def factors(self, atomic_numbers: Sequence[int]) -> NDArray[np.float64]:
        """See :class:`Contrast`: Z_i^gamma."""
        powers: NDArray[np.float64] = np.asarray(atomic_numbers, np.float64) ** self.gamma
        return powers

    def vacuum(self, series: TiltSeries) -> float:
        """See :class:`Contrast`: the background that the series records."""
        return series.haadf_background

    def holds_for(self, facts: Mapping[str, float | str]) -> bool:
        """See :class:`Contrast`: only a simulated series records its exponent."""
        return facts.get("gamma", self.gamma) == self.gamma

    def of_volumes(self, volumes: Array, atomic_numbers: Sequence[int]) -> Array:
        """See :class:`Contrast`."""
        contrast = np.zeros(volumes.shape[1:], np.float32)
        for z, volume in zip(atomic_numbers, volumes, strict=True):
            contrast += (np.float32(z) * volume) ** np.float32(self.gamma)
        return contrast


def contrast_of(settings: SolverSettings) -> Contrast:
    """Return the contrast with which a reconstruction is made."""
    return PowerLaw(settings.gamma)


def relative_factors(series: TiltSeries, contrast: Contrast) -> tuple[Array, float]:
    """Compute the factor of each element relative to their mean.

    Parameters
    ----------
    series : for its elements.
    contrast : how concentrations become signal.

    Returns
    -------
    factors : (element,), float32, with mean 1: keeps the split variable near 1.
    mean : mean of the factors.
    """
    # divided by their mean: s stays near 1 whatever the elements
    factors = contrast.factors(series.atomic_numbers)
    return (factors / factors.mean()).astype(np.float32), float(factors.mean())
