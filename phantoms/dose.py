"""Electron dose of a tilt series, and the SNR it buys."""

from __future__ import annotations

from ..recon_core.errors import BadInput

ELECTRON_CHARGE_C = 1.602176634e-19


def dose(current_pA: float, dwell_s: float, tilts: int, pixel_angstrom: float) -> float:
    """Dose D = I tau N / (e p²) in e/Å² of ``tilts`` scans of one modality.

    ``current_pA``: probe current I; ``dwell_s``: dwell time tau per pixel, summed over frames;
    ``pixel_angstrom``: pixel edge p. (Schwartz et al., Nat. Commun. 15, 3555 (2024), Methods.)

    Raises
    ------
    BadInput : a quantity that is not positive.
    """
    _positive(current_pA=current_pA, dwell_s=dwell_s, tilts=tilts, pixel_angstrom=pixel_angstrom)
    electrons = current_pA * 1e-12 * dwell_s * tilts / ELECTRON_CHARGE_C
    return electrons / pixel_angstrom**2


def snr_from_dose(
    dose_e_per_A2: float, tilts: int, pixel_angstrom: float, counts_per_electron: float
) -> float:
    """SNR = 1 + mean counts per pixel of a channel whose ``tilts`` projections share a dose.

    ``counts_per_electron``: detected counts per incident electron, averaged over the field of view
    and background included. It depends on specimen, detector and element, so it has to be known
    from a measurement: mean counts of a projection over its electrons per pixel.

    Raises
    ------
    BadInput : a quantity that is not positive.
    """
    _positive(
        dose_e_per_A2=dose_e_per_A2,
        tilts=tilts,
        pixel_angstrom=pixel_angstrom,
        counts_per_electron=counts_per_electron,
    )
    return 1 + dose_e_per_A2 / tilts * pixel_angstrom**2 * counts_per_electron


def _positive(**quantities: float) -> None:
    for name, value in quantities.items():
        if not 0 < value < float("inf"):
            raise BadInput("not a positive quantity", key=name, value=value, accepted="> 0")
