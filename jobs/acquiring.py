"""Simulated acquisitions from command line options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from phantoms.acquire import Acquisition, simulate
from phantoms.dose import snr_from_dose
from phantoms.files import save_tilt_series
from phantoms.specimen import Specimen
from recon_core.errors import BadInput
from sweep.refusal import refusal

_KEYS = {"tilt_range": "tilt_range_deg", "snr": "chemical_snr"}
ANGSTROM_PER_NM = 10.0


def acquisition_of(options: Mapping[str, Any]) -> Acquisition:
    """The acquisition that the options describe; those not given (None) keep their default.

    Raises
    ------
    BadInput : a value out of range.

    """
    data = {_KEYS.get(name, name): value for name, value in options.items() if value is not None}
    try:
        return Acquisition.model_validate(data)
    except ValidationError as error:
        raise refusal(error, data, Acquisition, "acquisition") from error


def snr_of_dose(
    specimen: Specimen,
    options: Mapping[str, Any],
    dose: float | None,
    counts_per_electron: float | dict[str, float] | None,
) -> float | dict[str, float]:
    """Chemical SNR bought by ``dose`` e/Å² spread over the chemical tilts, per element if so given.

    Raises
    ------
    BadInput : an SNR beside the dose, no dose, no yield, a quantity that is not positive.

    """
    if dose is None:
        raise BadInput(
            "missing", key="--dose", accepted="with --counts-per-electron: electrons per Å²"
        )
    if options.get("snr") is not None:
        raise BadInput("given beside --snr", key="--dose", value=dose, accepted="one of the two")
    if counts_per_electron is None:
        raise BadInput(
            "missing",
            key="--counts-per-electron",
            accepted="with --dose: mean counts per pixel over electrons per pixel",
        )
    pixel = specimen.voxel_size_nm * (options.get("oversample") or 1) * ANGSTROM_PER_NM
    tilts = options["chemical_tilts"]
    if isinstance(counts_per_electron, dict):
        return {e: snr_from_dose(dose, tilts, pixel, c) for e, c in counts_per_electron.items()}
    return snr_from_dose(dose, tilts, pixel, counts_per_electron)


def simulate_file(
    specimen: Specimen, acquisition: Acquisition, seed: int, out: Path, force: bool
) -> str:
    """Write the tilt series of a specimen; return a line about it.

    Raises
    ------
    BadInput : the acquisition does not fit the specimen, or the file cannot be written.

    """
    series = simulate(specimen, acquisition, seed)
    save_tilt_series(out, series, overwrite=force)
    means = zip(
        series.elements, series.chemical.mean(axis=(1, 2, 3), dtype=np.float64), strict=True
    )
    counts = ", ".join(f"{element} {mean:.3g}" for element, mean in means)
    tilts = (
        f"{len(series.haadf_angles_deg)} HAADF, {len(series.chemical_angles_deg)} chemical tilts"
    )
    return f"{out}: {tilts}; mean counts {counts}"
