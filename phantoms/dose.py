"""From a dose to counts: what every channel of a tilt series is given, and what that yields.

A dose is electrons per Å² of the specimen. Of a total one HAADF has a share, and each modality
spreads its own evenly over its tilts; or every scan has a current and a dwell time. Counts per
electron are given, measured (:func:`calibrated`) or estimated (:mod:`tomoatlas.phantoms.yields`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import constants

from ..recon_core.errors import BadInput
from ..recon_core.geometry import TiltGeometry, tilt_angles
from ..recon_core.projection import SparseProjector
from ..recon_core.tiltseries import TiltSeries
from .acquisition import DEFAULT_SHARE, MOST_SNR, OF_DOSE, Acquisition, PerModality
from .materials import ATOMS_PER_NM3
from .specimen import Specimen
from .yields import HAADF_NAME, Microscope, Yield, yields

ANGSTROM_PER_NM = 10.0
LOOKS = 9
"""Tilts at which the brightest pixel is looked for, that of a background in units of it."""


@dataclass(frozen=True)
class Doses:
    """Electrons per Å² of all tilts of each modality.

    Parameters
    ----------
    haadf : of the HAADF images.
    chemical : of the chemical maps.
    """

    haadf: float
    chemical: float

    @property
    def total(self) -> float:
        """Of both."""
        return self.haadf + self.chemical


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
    electrons = current_pA * 1e-12 * dwell_s * tilts / constants.e
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
    return 1 + _mean_counts(dose_e_per_A2, tilts, pixel_angstrom, counts_per_electron)


def _mean_counts(dose_e_per_A2: float, tilts: int, pixel_angstrom: float, rate: float) -> float:
    # A dose is of all tilts, counts are of one: every tilt and every pixel gets an equal part.
    return dose_e_per_A2 / tilts * pixel_angstrom**2 * rate


def _positive(**quantities: float) -> None:
    for name, value in quantities.items():
        # also False for NaN
        if not 0 < value < float("inf"):
            raise BadInput("not a positive quantity", key=name, value=value, accepted="> 0")


def doses(acquisition: Acquisition, pixel_nm: float) -> Doses:
    """The dose that each modality of an acquisition spends.

    Parameters
    ----------
    acquisition : with a total dose, or with currents and dwell times.
    pixel_nm : edge of a pixel of the data, for scans that name none.

    Raises
    ------
    BadInput : a current without a dwell time, or the other way round.

    Examples
    --------
    Those of the paper's Cu–SiC, published as 7.10e3 and 3.62e4 e/Å²:

    >>> scans = {"haadf": 20.0, "chemical": 25 * 20.0}
    >>> spent = doses(Acquisition(haadf_tilts=49, chemical_tilts=10, current_pA=250.0,
    ...     dwell_us=scans, pixel_nm=1.4679), pixel_nm=1.4679)
    >>> round(spent.haadf), round(spent.chemical)
    (7097, 36208)
    """
    total = acquisition.dose_e_per_A2
    if total is not None:
        share = DEFAULT_SHARE if acquisition.haadf_share is None else acquisition.haadf_share
        # Without HAADF tilts nobody spends their share: the maps get all of the dose.
        share = share if acquisition.haadf_tilts else 0.0
        return Doses(total * share, total * (1 - share))
    haadf, chemical = (_scans(acquisition, name, pixel_nm) for name in ("haadf", "chemical"))
    return Doses(haadf, chemical)


def _scans(acquisition: Acquisition, modality: str, pixel_nm: float) -> float:
    """The dose of the scans of one modality, by their current, dwell time and pixel."""
    tilts = getattr(acquisition, f"{modality}_tilts")
    current, dwell = (
        _of(getattr(acquisition, key), modality, key) for key in ("current_pA", "dwell_us")
    )
    pixel = acquisition.pixel_nm
    edge = pixel_nm if pixel is None else _of(pixel, modality, "pixel_nm")
    return dose(current, dwell * 1e-6, tilts, edge * ANGSTROM_PER_NM) if tilts else 0.0


def _of(value: float | PerModality | None, modality: str, key: str) -> float:
    if value is None:
        accepted = "current_pA and dwell_us, or dose_e_per_A2"
        raise BadInput("missing", key=f"acquisition.{key}", accepted=accepted)
    return float(getattr(value, modality)) if isinstance(value, PerModality) else value


def exposed(acquisition: Acquisition, specimen: Specimen) -> Acquisition:
    """The acquisition with the SNRs that its dose gives, by definition A.

    Parameters
    ----------
    acquisition : with a dose; one with SNRs is returned as it is.
    specimen : what is imaged, on the grid that ``acquisition.oversample`` asks for.

    Returns
    -------
    Acquisition : with ``haadf_snr`` and ``chemical_snr`` in place of the dose.

    Raises
    ------
    BadInput : neither counts per electron nor a microscope, or either without a dose; counts of
        other elements; a dose that leaves less than one count in an image.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> yields = {"HAADF": 0.02, "Co": 1e-5, "Cu": 1e-5, "O": 4e-6, "Au": 4e-6}
    >>> plan = ta.Acquisition(dose_e_per_A2=1e3, haadf_share=0.1, counts_per_electron=yields)
    >>> round(exposed(plan, specimen).haadf_snr - 1)  # 2.1 e/Å² of each tilt, 188 Å pixels
    1496
    """
    if not acquisition.by_dose:
        check_without_dose(acquisition)
        return acquisition
    _, height, width = specimen.shape
    finer = acquisition.oversample
    frame = Frame(specimen.elements, height * width / finer**2, specimen.voxel_size_nm * finer)
    return converted(acquisition, counts_per_electron(acquisition, specimen), frame)


@dataclass(frozen=True)
class Frame:
    """What a dose is spread over, and the channels that count it.

    Parameters
    ----------
    elements : chemical symbols.
    pixels : of an image.
    pixel_nm : edge of a pixel of the data, nm.
    """

    elements: tuple[str, ...]
    pixels: float
    pixel_nm: float


def converted(acquisition: Acquisition, rates: Mapping[str, float], frame: Frame) -> Acquisition:
    """The acquisition with the SNRs that its dose gives at known counts per electron.

    Parameters
    ----------
    acquisition : with a dose.
    rates : mean counts of a pixel over the electrons on it, of HAADF and of every element.
    frame : what the dose is spread over.

    Raises
    ------
    BadInput : counts of other elements; a dose that leaves less than one count in an image.
    """
    spent = doses(acquisition, frame.pixel_nm)
    names = ((HAADF_NAME,) if acquisition.haadf_tilts else ()) + frame.elements
    _check_rates(acquisition, rates, names)
    counts = {}
    for name in names:
        share, tilts = (
            (spent.haadf, acquisition.haadf_tilts)
            if name == HAADF_NAME
            else (spent.chemical, acquisition.chemical_tilts)
        )
        edge = frame.pixel_nm * ANGSTROM_PER_NM
        counts[name] = _mean_counts(share, tilts, edge, rates[name])
    _check_counts(acquisition, counts, frame.pixels)
    # What is left is an acquisition by SNR: no dose is converted a second time.
    return acquisition.model_copy(
        update={
            **dict.fromkeys(OF_DOSE, None),
            "haadf_snr": 1 + counts.pop(HAADF_NAME, acquisition.haadf_snr - 1),
            "chemical_snr": {name: 1 + value for name, value in counts.items()},
        }
    )


def check_without_dose(acquisition: Acquisition) -> None:
    """Refuse what means something beside a dose only.

    Parameters
    ----------
    acquisition : without a dose.

    Raises
    ------
    BadInput : counts per electron, a microscope, or a share of the dose.
    """
    for key in ("counts_per_electron", "microscope", "haadf_share"):
        value = getattr(acquisition, key)
        if value is not None:
            given = value.model_dump(mode="json") if isinstance(value, Microscope) else value
            accepted = "beside dose_e_per_A2, or current_pA and dwell_us"
            raise BadInput(
                "given without a dose", key=f"acquisition.{key}", value=given, accepted=accepted
            )


def counts_per_electron(acquisition: Acquisition, specimen: Specimen) -> Mapping[str, float]:
    """Mean counts of a pixel over the electrons on it, background included, of every channel.

    Parameters
    ----------
    acquisition : with counts per electron, or with a microscope to estimate them from.
    specimen : what is imaged.

    Raises
    ------
    BadInput : neither is given.
    """
    given = given_rates(acquisition)
    return estimated_rates(acquisition, specimen) if given is None else given


def given_rates(acquisition: Acquisition) -> Mapping[str, float] | None:
    """Counts per electron as an acquisition gives them; None if they are to be estimated.

    Parameters
    ----------
    acquisition : with a dose.

    Raises
    ------
    BadInput : neither is given.
    """
    if acquisition.counts_per_electron is None and acquisition.microscope is None:
        accepted = "counts of HAADF and of every element, or a table [acquisition.microscope]"
        raise BadInput("missing", key="acquisition.counts_per_electron", accepted=accepted)
    return acquisition.counts_per_electron


def estimated_rates(acquisition: Acquisition, specimen: Specimen) -> Mapping[str, float]:
    """Counts per electron as :func:`counts_per_electron` has them, by the physics of a microscope.

    Parameters
    ----------
    acquisition : of which the microscope, the range of tilts and the background matter.
    specimen : what is imaged.
    """
    found = yields(acquisition.microscope or Microscope(), specimen.elements)
    # A background is a fraction of the brightest pixel, and counts like the signal.
    peaks = _peaks_over_mean(acquisition, specimen, found)
    depth = specimen.shape[0] * specimen.voxel_size_nm
    atoms = specimen.volumes.mean(axis=(1, 2, 3), dtype=np.float64) * ATOMS_PER_NM3 * depth
    rates = dict.fromkeys((HAADF_NAME, *specimen.elements), 0.0)
    for element, per_nm2 in zip(specimen.elements, atoms, strict=True):
        rates[element] = float(per_nm2 * found[element].cross_section_nm2)
        each = found[f"{HAADF_NAME}:{element}"].cross_section_nm2
        rates[HAADF_NAME] += float(per_nm2 * each)
    return {name: rate * (1 + acquisition.background * peaks[name]) for name, rate in rates.items()}


def _peaks_over_mean(
    acquisition: Acquisition, specimen: Specimen, found: Mapping[str, Yield]
) -> dict[str, float]:
    """The brightest pixel over the mean one, of every channel, at a few tilts."""
    angles = tilt_angles(LOOKS, acquisition.tilt_range_deg, "equal-angle")
    projector = SparseProjector(TiltGeometry(angles, specimen.shape[:2]))
    weights = [found[f"{HAADF_NAME}:{e}"].cross_section_nm2 for e in specimen.elements]
    maps = projector.forward(specimen.volumes)
    # HAADF as its atoms add up: an estimate by cross-sections, not of the contrast that is
    # simulated.
    scattered = np.tensordot(np.asarray(weights, np.float32), maps, axes=1)
    channels = {HAADF_NAME: scattered, **dict(zip(specimen.elements, maps, strict=True))}
    return {name: float(m.max() / m.mean(dtype=np.float64)) for name, m in channels.items()}


def _check_rates(
    acquisition: Acquisition, rates: Mapping[str, float], names: tuple[str, ...]
) -> None:
    wrong = [f"{name} missing" for name in names if name not in rates]
    wrong += [f"{n} not in the specimen" for n in rates if n not in (HAADF_NAME, *names)]
    if wrong:
        raise BadInput(
            ", ".join(wrong),
            key="acquisition.counts_per_electron",
            value=acquisition.counts_per_electron,
            accepted=f"one for each of {', '.join(names)}",
        )


def _check_counts(acquisition: Acquisition, counts: Mapping[str, float], pixels: float) -> None:
    """Refuse a dose that leaves nothing to see, or more than is counted."""
    key = "dose_e_per_A2" if acquisition.dose_e_per_A2 is not None else "dwell_us"
    given = getattr(acquisition, key)
    value = given.model_dump() if isinstance(given, PerModality) else given
    for name, mean in counts.items():
        image = mean * pixels
        if image < 1 or mean + 1 > MOST_SNR:
            amount = f"{image:.2g} counts in an image" if image < 1 else f"{mean:.2g} per pixel"
            raise BadInput(
                f"leaves {amount} of {name}",
                key=f"acquisition.{key}",
                value=value,
                accepted=f"one count in an image or more, and up to {MOST_SNR:g} per pixel",
            )


def calibrated(series: TiltSeries, spent: Doses) -> dict[str, tuple[float, float]]:
    """Counts per electron of a measured tilt series, for :class:`Acquisition`.

    They hold for specimens of the same mean thickness, and the same microscope.

    Parameters
    ----------
    series : in counts.
    spent : dose of all of its images, and of all of its maps; 0 leaves a modality out.

    Returns
    -------
    dict : channel → counts per electron, and their relative error by counting.

    Raises
    ------
    BadInput : no dose at all.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=5, chemical_tilts=3))
    >>> sorted(calibrated(series, Doses(haadf=0.0, chemical=1e4)))
    ['Au', 'Co', 'Cu', 'O']
    """
    area = (series.voxel_size_nm * ANGSTROM_PER_NM) ** 2
    channels = {
        HAADF_NAME: series.haadf,
        **dict(zip(series.elements, series.chemical, strict=True)),
    }
    found = {}
    for name, images in channels.items():
        share = spent.haadf if name == HAADF_NAME else spent.chemical
        if share > 0 and images.size:
            counted = float(images.sum(dtype=np.float64))
            if not counted > 0:
                raise BadInput("no counts", key=name, accepted="images in counts")
            # All tilts together: the mean over them is free of how a dose was spread.
            electrons = share * area * images[0].size
            # The error of Poisson counts; that of the dose, which is usually larger, is not known
            # here.
            found[name] = (counted / electrons, float(1 / np.sqrt(counted)))
    if not found:
        raise BadInput("no dose", key="--dose", accepted="that of the maps, of HAADF, or both; > 0")
    return found
