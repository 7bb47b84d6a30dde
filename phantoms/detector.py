"""From electrons to counts: the dose of a tilt series, and the detector that records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..recon_core.errors import BadInput

ELECTRON_CHARGE_C = 1.602176634e-19


class Detector(Protocol):
    """A detector, which turns expected counts into recorded ones.

    Its ``repr`` is recorded with the tilt series, so it must name the detector's settings; that of
    a frozen dataclass does.
    """

    def counts(
        self, expected: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Draw recorded counts.

        Parameters
        ----------
        expected : expected counts, (angle, y, x), float64.
        rng : the channel's own random stream.

        Returns
        -------
        array : like ``expected``, float32.
        """


@dataclass(frozen=True)
class PoissonDetector:
    """An ideal counter: shot noise and nothing else.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> PoissonDetector().counts(np.full((1, 1, 3), 100.0), rng).dtype
    dtype('float32')
    """

    def counts(
        self, expected: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """See :class:`Detector`."""
        return rng.poisson(expected).astype(np.float32)


POISSON = PoissonDetector()


def dose(current_pA: float, dwell_s: float, tilts: int, pixel_angstrom: float) -> float:
    """Compute the dose D = I tau N / (e p²) of the scans of one modality.

    (Schwartz et al., Nat. Commun. 15, 3555 (2024), Methods.)

    Parameters
    ----------
    current_pA : probe current I, pA.
    dwell_s : dwell time tau per pixel, summed over frames, s.
    tilts : number of scans N.
    pixel_angstrom : edge of a pixel p, Å.

    Returns
    -------
    float : e/Å².

    Raises
    ------
    BadInput : a quantity that is not positive.

    Examples
    --------
    HAADF of the paper's Au–Fe3O4 superlattice, 41 tilts:

    >>> round(dose(current_pA=115, dwell_s=24e-6, tilts=41, pixel_angstrom=6.40))
    17243
    """
    _positive(current_pA=current_pA, dwell_s=dwell_s, tilts=tilts, pixel_angstrom=pixel_angstrom)
    # charge per pixel over the elementary charge
    electrons = current_pA * 1e-12 * dwell_s * tilts / ELECTRON_CHARGE_C
    return electrons / pixel_angstrom**2


def snr_from_dose(
    dose_e_per_A2: float, tilts: int, pixel_angstrom: float, counts_per_electron: float
) -> float:
    """Compute the SNR, 1 + mean counts per pixel, of a channel whose tilts share a dose.

    Parameters
    ----------
    dose_e_per_A2 : dose of all tilts together, e/Å².
    tilts : number of projections.
    pixel_angstrom : edge of a pixel, Å.
    counts_per_electron : detected counts per incident electron, averaged over the field of view,
        background included. It depends on specimen, detector and element, so it has to be measured:
        mean counts of a projection over its electrons per pixel.

    Returns
    -------
    float : SNR by definition A, > 1.

    Raises
    ------
    BadInput : a quantity that is not positive.

    Examples
    --------
    >>> snr_from_dose(1000.0, tilts=10, pixel_angstrom=2.0, counts_per_electron=0.01)
    5.0
    """
    _positive(
        dose_e_per_A2=dose_e_per_A2,
        tilts=tilts,
        pixel_angstrom=pixel_angstrom,
        counts_per_electron=counts_per_electron,
    )
    # electrons per pixel and tilt, times the yield
    return 1 + dose_e_per_A2 / tilts * pixel_angstrom**2 * counts_per_electron


def _positive(**quantities: float) -> None:
    for name, value in quantities.items():
        # also False for NaN
        if not 0 < value < float("inf"):
            raise BadInput("not a positive quantity", key=name, value=value, accepted="> 0")
