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

import numpy as np
from numpy.typing import NDArray

from ..recon_core.contrast import LAWS
from ..recon_core.errors import BadInput
from ..recon_core.geometry import STILL, Placement, TiltGeometry
from ..recon_core.projection import SparseProjector, cached_projector
from ..recon_core.tiltseries import TiltSeries
from .acquisition import Acquisition
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
from .dose import doses, exposed
from .specimen import Specimen

Array = NDArray[np.float32]
Values = NDArray[np.float64]
FEW = 32
"""Slices for each tilt that a finer grid is projected at, at once: less memory than a volume."""
HAADF_STREAM = 0
"""Random stream of the HAADF channel; an element's is its atomic number."""


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
    BadInput : a specimen that ``oversample`` does not divide, SNRs of other elements, a dose that
        gives no counts, a damaged element that is not there, a negative seed.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> specimen = ta.make_specimen("nanocubes", size=8)
    >>> series = ta.simulate(specimen, ta.Acquisition(haadf_tilts=9, chemical_tilts=5), seed=0)
    >>> series.haadf.shape, series.chemical.shape
    ((9, 8, 8), (4, 5, 8, 8))
    """
    planned = acquisition or Acquisition()
    if seed < 0:
        raise BadInput("negative seed", key="seed", value=seed, accepted=">= 0")
    # checked before anything is projected
    acquisition = exposed(planned, specimen)
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
        | _dose_facts(planned, specimen)
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
    images = np.empty((*volumes.shape[:-3], geometry.angles, y // k, x // k), np.float32)
    # A fine matrix is large and used once: a few tilts at a time, and not cached.
    few = max(1, x // FEW)
    for first in range(0, geometry.angles, few):
        tilts = range(first, min(first + few, geometry.angles))
        fine = SparseProjector(geometry.of(tilts)).forward(volumes)
        # mean over k² pixels; the path length shrinks by k more
        blocks = fine.reshape(*fine.shape[:-2], y // k, k, x // k, k)
        images[..., tilts.start : tilts.stop, :, :] = (
            blocks.mean(axis=(-3, -1), dtype=np.float64) / k
        )
    return images


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


def _dose_facts(planned: Acquisition, specimen: Specimen) -> dict[str, float | str]:
    if not planned.by_dose:
        return {}
    spent = doses(planned, specimen.voxel_size_nm * planned.oversample)
    return {"dose_e_per_A2_haadf": spent.haadf, "dose_e_per_A2_chemical": spent.chemical}


def _named(detector: Detector) -> dict[str, float | str]:
    """Record the detector, unless it adds nothing to shot noise."""
    return {} if detector == POISSON else {"detector": repr(detector)}
