"""The acquisition of a tilt series, ``[acquisition]`` of a study: tilts, contrast, and counts by an
SNR or by a dose.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from scipy.optimize import linear_sum_assignment

from ..recon_core.errors import BadInput
from ..recon_core.geometry import TiltScheme, tilt_angles
from ..recon_core.settings import LawName
from .yields import Microscope

PAPER_MEAN_SNR = 2.365
"""Mean of the chemical SNRs of Fig. 4: Co 1.92, Cu 2.89, O 2.69, Au 1.96."""
PAPER_HAADF_SNR = 2208.67
DEFAULT_SHARE = 0.1
"""Of the dose for HAADF; the published acquisitions have 0.04 to 0.16."""

Positive = Annotated[float, Field(gt=0, le=1e12)]


class PerModality(BaseModel):
    """A quantity that HAADF images and chemical maps have each for themselves.

    Parameters
    ----------
    haadf : of every HAADF image.
    chemical : of every chemical map.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    haadf: Positive
    chemical: Positive


LEAST_RANGE_DEG = 0.1
LEAST_SNR, MOST_SNR = 1.0 + 1e-6, 1e9
"""A count in a million pixels; a billion counts in each, beyond any detector and what float32
tells apart."""


# also False for NaN, so that no bound needs a check of its own
def _ordered_range(tilts: tuple[float, float]) -> tuple[float, float]:
    if not (-90 <= tilts[0] < tilts[1] <= 90 and tilts[1] - tilts[0] >= LEAST_RANGE_DEG):
        raise ValueError(
            "expected two angles within -90 to 90 degrees, the lower first, at least "
            f"{LEAST_RANGE_DEG:g} apart"
        )
    return tilts


SNRS = ("haadf_snr", "chemical_snr")
SCANS = ("current_pA", "dwell_us", "pixel_nm")
DOSES = ("dose_e_per_A2", *SCANS)
OF_DOSE = (*DOSES, "haadf_share", "counts_per_electron", "microscope")
"""Keys that set counts by a dose, all None where SNRs do."""


def _beside(key: str, value: object, other: str) -> BadInput:
    problem = f"given beside {other}"
    return BadInput(problem, key=f"acquisition.{key}", value=value, accepted="one of the two")


def _single_axis(scheme: object) -> object:
    if scheme == "dual-axis":
        raise BadInput("tilts about one axis only", accepted=", ".join(get_args(TiltScheme)))
    return scheme


def _possible(snr: float | dict[str, float]) -> float | dict[str, float]:
    values = snr.values() if isinstance(snr, dict) else [snr]
    if not values or not all(LEAST_SNR <= v <= MOST_SNR for v in values):
        raise ValueError(f"an SNR is 1 + mean counts: expected > 1 and <= {MOST_SNR:g}")
    return snr


class Acquisition(BaseModel):
    """How a tilt series is acquired, the ``[acquisition]`` table of a study.

    Parameters
    ----------
    tilt_range_deg : lowest and highest angle, degrees, which need not be symmetric; both modalities
        span it.
    haadf_tilts : number of HAADF projections; 0 leaves HAADF out.
    chemical_tilts : number of chemical projections of each element.
    haadf_snr : SNR by definition A, 1 + mean counts per pixel, signal and background.
    chemical_snr : likewise, one for all elements or one per element.
    background : expected counts of vacuum as a fraction of the largest expected signal.
    contrast : HAADF contrast: ``power``, (Z x)^gamma, or ``linear``, Z^gamma x.
    gamma : its exponent.
    oversample : how many times finer the specimen's grid is than the data's. 1 is the inverse
        crime: the data come from the very grid and operator that will reconstruct them.
    tilt_scheme : how the angles lie in the range, see
        :func:`tomoatlas.recon_core.geometry.tilt_angles`; about one axis only.
    chemical_subset : chemical maps are acquired at HAADF tilts, those nearest to the angles of
        their own scheme.
    dose_e_per_A2 : of all images and maps together, e/Å², instead of the SNRs, which follow from it
        (:mod:`tomoatlas.phantoms.dose`).
    haadf_share : of that dose, spread evenly over the HAADF tilts; a tenth if left out. Without
        HAADF tilts the maps have all of it.
    current_pA, dwell_us, pixel_nm : instead of a total dose: probe current, dwell time of a pixel
        summed over frames, and pixel edge of the scans (that of the data if left out); one number,
        or ``{ haadf = …, chemical = … }``. Each tilt then adds to the dose.
    counts_per_electron : with a dose: mean counts of a pixel, background included, over the
        electrons that fell on it; one for each element, and ``HAADF``.
    microscope : with a dose: what to estimate those from instead.

    Examples
    --------
    >>> acquisition = Acquisition(haadf_tilts=47, chemical_snr={"Co": 1.92, "O": 2.69})
    >>> acquisition.snr_of(("Co", "O"))
    (1.92, 2.69)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tilt_range_deg: Annotated[tuple[float, float], AfterValidator(_ordered_range)] = (-70.0, 70.0)
    haadf_tilts: Annotated[int, Field(ge=0, le=10_000)] = 47
    chemical_tilts: Annotated[int, Field(ge=1, le=10_000)] = 9
    haadf_snr: Annotated[float, AfterValidator(_possible)] = PAPER_HAADF_SNR
    chemical_snr: Annotated[float | dict[str, float], AfterValidator(_possible)] = PAPER_MEAN_SNR
    background: Annotated[float, Field(ge=0, lt=1)] = 0.15
    contrast: LawName = "power"
    gamma: Annotated[float, Field(ge=1, le=2.5)] = 2.0
    oversample: Annotated[int, Field(ge=1, le=4)] = 1
    tilt_scheme: Annotated[TiltScheme, BeforeValidator(_single_axis)] = "equal-angle"
    chemical_subset: bool = False
    dose_e_per_A2: Positive | None = None
    haadf_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    current_pA: Positive | PerModality | None = None
    dwell_us: Positive | PerModality | None = None
    pixel_nm: Positive | PerModality | None = None
    counts_per_electron: Annotated[dict[str, Positive], Field(min_length=1)] | None = None
    microscope: Microscope | None = None

    @field_validator("tilt_scheme")
    @classmethod
    def _below_edge_on(cls, scheme: TiltScheme, info: ValidationInfo) -> TiltScheme:
        # Its steps shrink with the cosine of the tilt, which is 0 there.
        if scheme == "saxton" and 90.0 in map(abs, info.data.get("tilt_range_deg", ())):
            raise BadInput(
                "never arrives at ±90°", accepted="a tilt_range_deg within ±90, exclusive"
            )
        return scheme

    @field_validator("chemical_subset")
    @classmethod
    def _enough_haadf(cls, subset: bool, info: ValidationInfo) -> bool:
        # A number of tilts that was refused itself is not there: its own error is enough.
        haadf, maps = (info.data.get(f"{name}_tilts", 1) for name in ("haadf", "chemical"))
        if subset and haadf < maps:
            raise BadInput(
                f"{haadf} HAADF tilts for {maps} maps", accepted="false, or more HAADF tilts"
            )
        return subset

    @model_validator(mode="after")
    def _one_way(self) -> Acquisition:
        """Refuse counts that are given in two ways."""
        scans = {k: getattr(self, k) for k in SCANS if getattr(self, k) is not None}
        if self.dose_e_per_A2 is not None and scans:
            raise _beside(*next(iter(scans.items())), "acquisition.dose_e_per_A2")
        if self.by_dose and not self._default_snr():
            raise _beside("haadf_snr", self.haadf_snr, "a dose; chemical_snr likewise")
        if self.counts_per_electron is not None and self.microscope is not None:
            raise _beside("counts_per_electron", self.counts_per_electron, "microscope")
        return self

    def _default_snr(self) -> bool:
        return self.haadf_snr == PAPER_HAADF_SNR and self.chemical_snr == PAPER_MEAN_SNR

    @model_serializer(mode="wrap")
    def _without_snr(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out SNRs that a dose replaces: they are no part of a study or of its identity."""
        data: dict[str, Any] = dump(self)
        return {k: v for k, v in data.items() if k not in SNRS} if self.by_dose else data

    @property
    def by_dose(self) -> bool:
        """Whether a dose sets the counts, not an SNR."""
        return any(getattr(self, key) is not None for key in DOSES)

    def angles_deg(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the HAADF and the chemical tilt angles, degrees, in the order of acquisition.

        Examples
        --------
        >>> Acquisition(haadf_tilts=5, chemical_tilts=2, chemical_subset=True).angles_deg()
        ((-70.0, -35.0, 0.0, 35.0, 70.0), (-70.0, 70.0))
        """
        counts = self.haadf_tilts, self.chemical_tilts
        haadf, maps = (tilt_angles(n, self.tilt_range_deg, self.tilt_scheme) for n in counts)
        if not self.chemical_subset:
            return haadf, maps
        distances = np.abs(np.subtract.outer(maps, haadf))
        # Assigned together, not each to its nearest: two maps at one HAADF tilt would be one angle.
        return haadf, tuple(haadf[i] for i in linear_sum_assignment(distances)[1])

    def snr_of(self, elements: tuple[str, ...]) -> tuple[float, ...]:
        """Return the chemical SNR of each element.

        Parameters
        ----------
        elements : chemical symbols of the specimen.

        Returns
        -------
        tuple of float : in the order of ``elements``.

        Raises
        ------
        BadInput : ``chemical_snr`` lacks an element or names one that the specimen does not
            contain.
        """
        snr = self.chemical_snr
        if not isinstance(snr, dict):
            return (snr,) * len(elements)
        wrong = [f"{e} missing" for e in elements if e not in snr]
        wrong += [f"{e} not in the specimen" for e in snr if e not in elements]
        if wrong:
            raise BadInput(
                ", ".join(wrong),
                key="acquisition.chemical_snr",
                value=snr,
                accepted=f"one number for all, or one for each of {', '.join(elements)}",
            )
        return tuple(snr[element] for element in elements)
