"""Simulated acquisition: the tilt series of a specimen, with Poisson noise at a target SNR.

Linear incoherent imaging after Schwartz et al., Nat. Commun. 15, 3555 (2024): HAADF ∝ A_h Σ_i (Z_i
x_i)^γ or, as the atoms of a thin specimen add up, A_h Σ_i Z_i^γ x_i; chemical maps ∝ A_c x_i, a
vacuum background of 15 % of the maximum. The SNR of a channel is 1 + its mean counts (E[N²]/Var[N]
of Poisson counts), definition A; definition B, <s²>/<s> of the expected counts s, is recorded
beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from scipy.optimize import linear_sum_assignment

from ..recon_core.contrast import LAWS
from ..recon_core.errors import BadInput
from ..recon_core.geometry import STILL, Placement, TiltGeometry, TiltScheme, tilt_angles
from ..recon_core.projection import SparseProjector, cached_projector
from ..recon_core.settings import LawName
from ..recon_core.tiltseries import TiltSeries
from .detector import POISSON, Detector
from .disturbances import (
    CHEMICAL,
    HAADF,
    NONE,
    RECORDED,
    Disturbances,
    Shot,
    disturbed,
    through,
)
from .specimen import Specimen

Array = NDArray[np.float32]
Values = NDArray[np.float64]
PAPER_MEAN_SNR = 2.365
"""Mean of the chemical SNRs of Fig. 4: Co 1.92, Cu 2.89, O 2.69, Au 1.96."""
HAADF_STREAM = 0
"""Random stream of the HAADF channel; an element's is its atomic number."""


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
    haadf_snr: Annotated[float, AfterValidator(_possible)] = 2208.67
    chemical_snr: Annotated[float | dict[str, float], AfterValidator(_possible)] = PAPER_MEAN_SNR
    background: Annotated[float, Field(ge=0, lt=1)] = 0.15
    contrast: LawName = "power"
    gamma: Annotated[float, Field(ge=1, le=2.5)] = 2.0
    oversample: Annotated[int, Field(ge=1, le=4)] = 1
    tilt_scheme: Annotated[TiltScheme, BeforeValidator(_single_axis)] = "equal-angle"
    chemical_subset: bool = False

    @field_validator("tilt_scheme")
    @classmethod
    def _below_edge_on(cls, scheme: TiltScheme, info: ValidationInfo) -> TiltScheme:
        if scheme == "saxton" and 90.0 in map(abs, info.data.get("tilt_range_deg", ())):
            raise BadInput(
                "never arrives at ±90°", accepted="a tilt_range_deg within ±90, exclusive"
            )
        return scheme

    @field_validator("chemical_subset")
    @classmethod
    def _enough_haadf(cls, subset: bool, info: ValidationInfo) -> bool:
        haadf, maps = (info.data.get(f"{name}_tilts", 1) for name in ("haadf", "chemical"))
        if subset and haadf < maps:
            raise BadInput(
                f"{haadf} HAADF tilts for {maps} maps", accepted="false, or more HAADF tilts"
            )
        return subset

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


@dataclass(frozen=True)
class Channel:
    """Expected counts of one modality or element, and how they were scaled.

    Parameters
    ----------
    expected : expected counts, (angle, y, x), float64.
    scale : counts per unit of the projection.
    background : counts of vacuum per pixel.
    """

    expected: NDArray[np.float64]
    scale: float
    background: float

    @property
    def snr_a(self) -> float:
        """SNR by definition A, 1 + mean counts."""
        return 1.0 + float(self.expected.mean())

    @property
    def snr_b(self) -> float:
        """SNR by definition B, <s²>/<s>: mean square of the expected counts over mean variance."""
        return float((self.expected**2).mean() / self.expected.mean())


def simulate(
    specimen: Specimen,
    acquisition: Acquisition | None = None,
    seed: int = 0,
    detector: Detector = POISSON,
    disturbances: Disturbances = NONE,
) -> TiltSeries:
    """Simulate the tilt series of a specimen, in counts.

    Every channel has a random stream of its own, seeded by ``seed`` and its atomic number, so one
    element's noise does not depend on the others or on their order.

    Parameters
    ----------
    specimen : concentrations, on a grid ``acquisition.oversample`` times finer than the data.
    acquisition : tilts, SNRs and background; the defaults of :class:`Acquisition` if left out.
    seed : of the noise, >= 0.
    detector : makes recorded counts of expected ones.
    disturbances : faults of the microscope. Angles, backgrounds and scales of the series are those
        without them.

    Returns
    -------
    TiltSeries : with known backgrounds and scales, and SNRs by both definitions in ``facts``.

    Raises
    ------
    BadInput : a specimen that ``oversample`` does not divide, SNRs of other elements, a damaged
        element that is not there, a negative seed.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=9, chemical_tilts=5), seed=0)
    >>> series.haadf.shape, series.chemical.shape
    ((9, 8, 8), (4, 5, 8, 8))
    """
    acquisition = acquisition or Acquisition()
    if seed < 0:
        raise BadInput("negative seed", key="seed", value=seed, accepted=">= 0")
    # checked before anything is projected
    snrs = acquisition.snr_of(specimen.elements)
    disturbances.check(specimen.elements)
    haadf_angles, chemical_angles = acquisition.angles_deg()
    maps = project(specimen.volumes, chemical_angles, acquisition.oversample)
    channels = [expose(m, snr, acquisition.background) for m, snr in zip(maps, snrs, strict=True)]
    haadf = _haadf_channel(specimen, haadf_angles, acquisition)
    # one random stream per channel, named by its atomic number
    session = _Session(specimen, acquisition, disturbances, detector, seed)
    chemical = session.record(channels, chemical_angles, specimen.atomic_numbers)
    images = session.record([haadf], haadf_angles, (HAADF_STREAM,))[0] if haadf else None
    return TiltSeries(
        haadf=_no_tilts(maps) if images is None else images,
        haadf_angles_deg=haadf_angles,
        chemical=chemical,
        chemical_angles_deg=chemical_angles,
        elements=specimen.elements,
        haadf_background=haadf.background if haadf else 0.0,
        chemical_background=tuple(c.background for c in channels),
        haadf_scale=haadf.scale if haadf else None,
        chemical_scale=tuple(c.scale for c in channels),
        voxel_size_nm=specimen.voxel_size_nm * acquisition.oversample,
        facts=_facts(specimen, acquisition, seed, haadf, channels)
        | disturbances.facts()
        | _named(detector),
    )


@dataclass(frozen=True)
class _Session:
    """What all channels of a tilt series share."""

    specimen: Specimen
    acquisition: Acquisition
    disturbances: Disturbances
    detector: Detector
    seed: int

    def record(
        self, channels: list[Channel], angles_deg: tuple[float, ...], streams: tuple[int, ...]
    ) -> Array:
        """Recorded counts of the channels of one modality, (channel, angle, y, x)."""
        if not self.disturbances.active():
            return self._counted([channel.expected for channel in channels], streams)
        ideal = self._shot(channels, angles_deg, streams == (HAADF_STREAM,))
        shot = disturbed(ideal, self.disturbances, self.seed)
        shot = replace(shot, recorded=self._counted(shot.expected, streams))
        return through(RECORDED, shot, self.disturbances, self.seed).recorded

    def _counted(self, expected: Iterable[Values], streams: tuple[int, ...]) -> Array:
        pairs = zip(expected, streams, strict=True)
        counts = [_count(values, self.detector, self.seed, stream) for values, stream in pairs]
        return np.stack(counts)

    def _shot(self, channels: list[Channel], angles_deg: tuple[float, ...], haadf: bool) -> Shot:
        specimen, acquisition = self.specimen, self.acquisition
        law = LAWS[acquisition.contrast](acquisition.gamma)
        volumes = specimen.volumes
        if haadf:
            volumes = law.of_volumes(volumes, specimen.atomic_numbers)[None]
        scales, levels = np.array([(c.scale, c.background) for c in channels]).T
        expected = np.stack([channel.expected for channel in channels])
        # Back from counts, not projected again: faults then start from the very projections that
        # the undisturbed data have.
        signal = (expected - levels[:, None, None, None]) / scales[:, None, None, None]
        return Shot(
            modality=HAADF if haadf else CHEMICAL,
            specimen=specimen,
            law=law,
            volumes=volumes,
            project=self._project,
            angles_deg=angles_deg,
            undisturbed=signal,
            scales=scales,
            levels=levels,
            expected=expected,
        )

    def _project(
        self, volumes: Array, angles_deg: tuple[float, ...], placement: Placement
    ) -> Array:
        return project(volumes, angles_deg, self.acquisition.oversample, placement)


def project(
    volumes: Array,
    angles_deg: tuple[float, ...],
    oversample: int = 1,
    placement: Placement = STILL,
) -> Array:
    """Project volumes to pixels that may be larger than their voxels.

    Pixels are means over ``oversample``² fine ones and path lengths are in coarse voxels, so the
    values mean the same at every ``oversample``.

    Parameters
    ----------
    volumes : (..., z, y, x), on the fine grid.
    angles_deg : tilt angles, degrees.
    oversample : fine voxels per pixel edge.
    placement : of the images, in pixels.

    Returns
    -------
    array : (..., angle, y, x), float32, in coarse voxel lengths.

    Raises
    ------
    BadInput : ``oversample`` does not divide the volume.
    """
    z, y, x = volumes.shape[-3:]
    if z % oversample or y % oversample or x % oversample:
        raise BadInput(
            "does not divide the specimen",
            key="acquisition.oversample",
            value=oversample,
            accepted=f"a divisor of (z, y, x) = {(z, y, x)}",
        )
    k = oversample
    # Shifts are given in pixels of the data, and the fine grid has k of its own in each.
    shifts = tuple((k * down, k * along) for down, along in placement.shifts)
    finer = replace(placement, shifts=shifts, axis_offset=k * placement.axis_offset)
    geometry = TiltGeometry(angles_deg, (z, y), finer)
    if oversample == 1:
        return cached_projector(geometry).forward(volumes)
    # A fine matrix is large and used once: do not cache it.
    fine = SparseProjector(geometry).forward(volumes)
    # mean over k² pixels; the path length shrinks by k more
    blocks = fine.reshape(*fine.shape[:-2], y // k, k, x // k, k)
    return np.asarray(blocks.mean(axis=(-3, -1), dtype=np.float64) / k, dtype=np.float32)


def expose(signal: Array, snr: float, background: float) -> Channel:
    """Scale a projection to the mean counts of an SNR, background included.

    Parameters
    ----------
    signal : noise-free projection, (angle, y, x).
    snr : by definition A: mean counts are ``snr - 1``.
    background : fraction of the largest noise-free signal.

    Returns
    -------
    Channel : expected counts.

    Raises
    ------
    BadInput : a projection without signal.

    Examples
    --------
    >>> import numpy as np
    >>> channel = expose(np.array([[[0.0, 1.0]]], np.float32), snr=3.0, background=0.5)
    >>> channel.expected.tolist(), channel.snr_a
    ([[[1.0, 3.0]]], 3.0)
    """
    # vacuum counts are a fraction of the brightest pixel of all tilts, as in the paper
    peak = float(signal.max())
    # the background belongs to the counts that the SNR sets
    mean = float(signal.mean(dtype=np.float64)) + background * peak
    if not mean > 0:
        raise BadInput("no signal at any tilt", key="volumes", accepted="matter inside the field")
    # definition A: SNR = 1 + mean counts
    scale = (snr - 1) / mean
    level = scale * background * peak
    return Channel(scale * signal.astype(np.float64) + level, scale, level)


def _haadf_channel(
    specimen: Specimen, angles_deg: tuple[float, ...], acquisition: Acquisition
) -> Channel | None:
    if not angles_deg:
        return None
    law = LAWS[acquisition.contrast](acquisition.gamma)
    contrast = law.of_volumes(specimen.volumes, specimen.atomic_numbers)
    signal = project(contrast, angles_deg, acquisition.oversample)
    return expose(signal, acquisition.haadf_snr, acquisition.background)


def _no_tilts(maps: Array) -> Array:
    return np.zeros((0, *maps.shape[-2:]), np.float32)


def _count(expected: NDArray[np.float64], detector: Detector, seed: int, stream: int) -> Array:
    # the stream is the atomic number: adding or reordering elements leaves the other channels alone
    rng = np.random.default_rng(np.random.SeedSequence([seed, stream]))
    return detector.counts(expected, rng)


def _facts(
    specimen: Specimen,
    acquisition: Acquisition,
    seed: int,
    haadf: Channel | None,
    channels: list[Channel],
) -> dict[str, float | str]:
    facts: dict[str, float | str] = {
        "specimen": specimen.name,
        "seed": seed,
        "contrast": acquisition.contrast,
        "gamma": acquisition.gamma,
        "oversample": acquisition.oversample,
        "background": acquisition.background,
    }
    # both definitions are kept, as papers differ in which they mean
    named = dict(zip(specimen.elements, channels, strict=True))
    for name, channel in ({"HAADF": haadf} | named if haadf else named).items():
        facts[f"snr_a_{name}"] = channel.snr_a
        facts[f"snr_b_{name}"] = channel.snr_b
    return facts


def _named(detector: Detector) -> dict[str, float | str]:
    """Record the detector, unless it adds nothing to shot noise."""
    return {} if detector == POISSON else {"detector": repr(detector)}
