"""What goes wrong at a microscope, one function each: faults that no reconstruction is given.

A disturbance changes what is expected or recorded of one modality, a :class:`Shot`; scales, levels
and nominal angles of the tilt series stay those of an undisturbed one. All are off by default, and
one that is off is not called. Each draws from a stream of its own, so that it does not depend on
which others there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage
from scipy.optimize import brentq

from ..recon_core.contrast import Contrast
from ..recon_core.errors import BadInput
from ..recon_core.geometry import STILL, Placement, film_thickness
from .specimen import Specimen

Values = NDArray[np.float64]
Project = Callable[[NDArray[np.float32], tuple[float, ...], Placement], NDArray[np.float32]]

HAADF, CHEMICAL = "haadf", "chemical"
STREAM = 1000
"""First number of the random streams, above those of the channels."""

Pixels = Annotated[float, Field(ge=0, le=1000)]
Share = Annotated[float, Field(ge=0, le=1)]
PartialShare = Annotated[float, Field(ge=0, le=0.95)]
Rms = Annotated[float, Field(ge=0, le=2)]


class Disturbances(BaseModel):
    """``[disturbances]``: their strengths; 0 is none.

    Parameters
    ----------
    haadf_shift_px, chemical_shift_px : rms of random shifts of the images along y and x, pixels.
    haadf_drift_px, chemical_drift_px : way of the images from the first tilt to the last, steady
        and in a random direction, pixels.
    axis_offset_px : distance of the tilt axis from the middle of the images, pixels.
    axis_rotation_deg : angle between the tilt axis and x in the images, degrees.
    angle_jitter_deg : rms of the tilts about their nominal angles, degrees.
    haadf_gain, chemical_gain : standard deviation of the logarithm of each tilt's gain.
    haadf_dark, chemical_dark : standard deviation of an error of each tilt's dark level, over the
        mean counts of the channel.
    hot_pixels : share of pixels that hold ``hot_level`` times the channel's brightest signal.
    hot_level : see there.
    haadf_blur_px, chemical_blur_px : standard deviation of a Gaussian that blurs images, pixels.
    overlap : share of an element's counts that is taken for its neighbours in the periodic table,
        among the elements of the specimen, in equal parts.
    film : HAADF of a film of carbon at 0 degrees, over the brightest signal of the specimen; it
        goes with 1/cos(tilt), and no map shows it.
    matrix : HAADF of a matrix around the specimen, over the strongest contrast of a voxel.
    damping : share of the HAADF signal that is lost on the brightest ray: saturation,
        (1 - exp(-a s))/a of a signal s.
    absorption : share of the X-rays of the lightest element that is lost on the longest path,
        (1 - exp(-c t))/(c t) of a thickness t (Horita, Sano and Nemoto, Ultramicroscopy 21, 271
        (1987)); c falls with the third power of the energy of the K line (Moseley, Bragg-Peirce).
    shadowing : share of the X-rays that the holder hides at -90 degrees, times sin(-tilt).
    surroundings : width of what lies on both sides of the field across the tilt axis, over that of
        the field: the specimen's mirror image.
    damage : share of one element that is lost from first to last tilt, as exp(-dose).
    damaged : the element; the lightest, if empty.

    Examples
    --------
    >>> Disturbances(film=0.1).active()
    ('film',)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    haadf_shift_px: Pixels = 0.0
    chemical_shift_px: Pixels = 0.0
    haadf_drift_px: Pixels = 0.0
    chemical_drift_px: Pixels = 0.0
    axis_offset_px: Annotated[float, Field(ge=-1000, le=1000)] = 0.0
    axis_rotation_deg: Annotated[float, Field(ge=-45, le=45)] = 0.0
    angle_jitter_deg: Annotated[float, Field(ge=0, le=20)] = 0.0
    haadf_gain: Rms = 0.0
    chemical_gain: Rms = 0.0
    haadf_dark: Rms = 0.0
    chemical_dark: Rms = 0.0
    hot_pixels: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    hot_level: Annotated[float, Field(gt=0, le=1e4)] = 10.0
    haadf_blur_px: Annotated[float, Field(ge=0, le=100)] = 0.0
    chemical_blur_px: Annotated[float, Field(ge=0, le=100)] = 0.0
    overlap: Share = 0.0
    film: Annotated[float, Field(ge=0, le=100)] = 0.0
    matrix: Annotated[float, Field(ge=0, le=10)] = 0.0
    damping: PartialShare = 0.0
    absorption: PartialShare = 0.0
    shadowing: Share = 0.0
    surroundings: Share = 0.0
    damage: PartialShare = 0.0
    damaged: str = ""

    def active(self) -> tuple[str, ...]:
        """Return the names of the disturbances that are on."""
        return tuple(name for name, found in DISTURBANCES.items() if found.strength(self))

    def check(self, elements: tuple[str, ...]) -> None:
        """Refuse a damaged element that the specimen does not contain.

        Parameters
        ----------
        elements : chemical symbols of the specimen.

        Raises
        ------
        BadInput : naming the key.
        """
        if self.damaged and self.damaged not in elements:
            raise BadInput(
                "not in the specimen",
                key="disturbances.damaged",
                value=self.damaged,
                accepted=", ".join(elements),
            )

    def facts(self) -> dict[str, float | str]:
        """Return what a tilt series records of them."""
        changed = self.model_dump(exclude_defaults=True)
        return {f"disturbed_{name}": value for name, value in changed.items()}


NONE = Disturbances()


@dataclass(frozen=True)
class Shot:
    """One modality on its way from the specimen to counts.

    Parameters
    ----------
    modality : ``haadf`` or ``chemical``.
    specimen : what is imaged.
    law : HAADF contrast of the specimen.
    volumes : what is projected, (channel, z, y, x): contrast, or the elements.
    project : of volumes, angles and a placement of the images in pixels of the data.
    angles_deg : true tilt angles; at first the nominal ones.
    undisturbed : projections without disturbances, (channel, angle, y, x).
    scales, levels : counts per unit of a projection, and of vacuum, (channel,).
    expected : counts, (channel, angle, y, x); at first those without disturbances.
    placement : of the images.
    signal : projections, (channel, angle, y, x).
    recorded : counts, likewise.
    """

    modality: str
    specimen: Specimen
    law: Contrast
    volumes: NDArray[np.float32]
    project: Project
    angles_deg: tuple[float, ...]
    undisturbed: Values
    scales: Values
    levels: Values
    expected: Values
    placement: Placement = STILL
    signal: Values = field(default_factory=lambda: np.zeros(0))
    recorded: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def progress(self) -> Values:
        """Share of the series that is over at each tilt, 0 to 1, (angle,)."""
        return np.linspace(0, 1, len(self.angles_deg))

    def of(self, haadf: float, chemical: float) -> float:
        """Return the strength for this modality.

        Parameters
        ----------
        haadf, chemical : strengths for each.
        """
        return haadf if self.modality == HAADF else chemical

    def projected(self, volumes: NDArray[np.float32]) -> Values:
        """Project as the shot is taken, with its true angles and placement.

        Parameters
        ----------
        volumes : (..., z, y, x).
        """
        found = self.project(volumes, self.angles_deg, self.placement)
        # interpolated images may swing below zero
        return np.maximum(np.asarray(found, np.float64), 0)


Function = Callable[[Shot, Disturbances, np.random.Generator], Shot]


@dataclass(frozen=True)
class Disturbance:
    """One fault.

    Parameters
    ----------
    stage : what it changes: the ``view`` (angles and placement), the ``signal``, the counts
        ``expected`` or those ``recorded``.
    keys : strengths in ``[disturbances]``; it is on if one of them is not 0.
    change : the function; the stages are gone through in this order, and functions of a stage in
        that of :data:`DISTURBANCES`.
    modality : the only one that it concerns; empty for both.
    """

    stage: str
    keys: tuple[str, ...]
    change: Function
    modality: str = ""

    def strength(self, settings: Disturbances) -> float:
        """Return the largest of the strengths.

        Parameters
        ----------
        settings : of all.
        """
        return max(abs(float(getattr(settings, key))) for key in self.keys)


def through(stage: str, shot: Shot, settings: Disturbances, seed: int) -> Shot:
    """Apply the disturbances of one stage that are on.

    Parameters
    ----------
    stage : which.
    shot : before it.
    settings : strengths.
    seed : of the tilt series.
    """
    for name in settings.active():
        found = DISTURBANCES[name]
        if found.stage == stage and found.modality in ("", shot.modality):
            shot = found.change(shot, settings, stream(seed, name, shot.modality))
    return shot


def disturbed(shot: Shot, settings: Disturbances, seed: int) -> Shot:
    """Compute the expected counts of one modality with all faults that are on.

    Parameters
    ----------
    shot : undisturbed, with its expected counts.
    settings : strengths.
    seed : of the tilt series.

    Returns
    -------
    Shot : with :attr:`Shot.expected`, to be counted and handed to :func:`through` once more.
    """
    seen = through(VIEW, shot, settings, seed)
    moved = seen.angles_deg != shot.angles_deg or not seen.placement.is_still
    signal = seen.projected(shot.volumes) if moved else shot.undisturbed
    seen = through(SIGNAL, replace(seen, signal=signal), settings, seed)
    scales, levels = (v[:, None, None, None] for v in (shot.scales, shot.levels))
    # to the bit as without disturbances, where none concerns this modality
    kept = seen.signal is shot.undisturbed
    expected = shot.expected if kept else scales * seen.signal + levels
    return through(EXPECTED, replace(seen, expected=expected), settings, seed)


def stream(seed: int, name: str, modality: str) -> np.random.Generator:
    """Return the random stream of one disturbance of one modality.

    Parameters
    ----------
    seed : of the tilt series.
    name : of the disturbance.
    modality : ``haadf`` or ``chemical``.
    """
    parts = [seed, STREAM + (modality == HAADF), zlib.crc32(name.encode())]
    return np.random.default_rng(np.random.SeedSequence(parts))


def _moved(shot: Shot, shifts: Values) -> Shot:
    before = np.array(shot.placement.shifts) if shot.placement.shifts else 0.0
    pairs = tuple((float(y), float(x)) for y, x in before + shifts)
    return replace(shot, placement=replace(shot.placement, shifts=pairs))


def _shift(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:
    rms = shot.of(settings.haadf_shift_px, settings.chemical_shift_px)
    return _moved(shot, rms * rng.normal(size=(len(shot.angles_deg), 2)))


def _drift(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:
    way = shot.of(settings.haadf_drift_px, settings.chemical_drift_px)
    turn = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(turn), np.cos(turn)])
    # about the middle of the series, where an alignment would put it
    return _moved(shot, way * np.outer(shot.progress - 0.5, direction))


def _axis(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    placement = replace(
        shot.placement,
        axis_offset=settings.axis_offset_px,
        rotation_deg=settings.axis_rotation_deg,
    )
    return replace(shot, placement=placement)


def _jitter(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:
    errors = settings.angle_jitter_deg * rng.normal(size=len(shot.angles_deg))
    angles = np.clip(np.array(shot.angles_deg) + errors, -90, 90)
    return replace(shot, angles_deg=tuple(map(float, angles)))


def _surroundings(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    voxels = shot.volumes.shape[-2] // shot.signal.shape[-2]  # of a pixel
    width = round(settings.surroundings * shot.signal.shape[-2]) * voxels
    if not width:
        return shot
    sides = [(0, 0)] * (shot.volumes.ndim - 2) + [(width, width), (0, 0)]
    around = np.pad(shot.volumes, sides, mode="symmetric")
    around[..., width:-width, :] = 0
    images = shot.projected(around)
    cut = (images.shape[-2] - shot.signal.shape[-2]) // 2
    return replace(shot, signal=shot.signal + images[..., cut : images.shape[-2] - cut, :])


def _damage(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    elements, numbers = shot.specimen.elements, shot.specimen.atomic_numbers
    lightest = elements[int(np.argmin(numbers))]
    index = elements.index(settings.damaged or lightest)
    left = (1 - settings.damage) ** shot.progress
    signal = shot.signal.copy()
    if shot.modality == CHEMICAL:
        signal[index] *= left[:, None, None]
        return replace(shot, signal=signal)
    one = slice(index, index + 1)
    contrast = shot.law.of_volumes(shot.specimen.volumes[one], numbers[one])
    lost = 1 - left**shot.law.gamma
    signal -= lost[:, None, None] * shot.projected(contrast)
    return replace(shot, signal=np.maximum(signal, 0))


def _matrix(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    matter = shot.specimen.volumes.sum(axis=0)
    free = 1 - np.minimum(matter / matter.max(), 1)
    z, y = (np.arange(n) + 0.5 - n / 2 for n in matter.shape[:2])
    # what is in view at every tilt
    free *= (np.hypot(z[:, None], y) < min(len(z), len(y)) / 2)[..., None]
    density = (settings.matrix * float(shot.volumes.max()) * free).astype(np.float32)
    return replace(shot, signal=shot.signal + shot.projected(density))


def _film(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    carbon = settings.film * shot.undisturbed.max() * film_thickness(shot.angles_deg)
    return replace(shot, signal=shot.signal + carbon[:, None, None])


def _damping(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    rate = rate_of_loss(settings.damping)
    brightest = shot.undisturbed.max()
    return replace(shot, signal=-brightest * np.expm1(-rate * shot.signal / brightest) / rate)


def rate_of_loss(lost: float) -> float:
    """Return the a for which (1 - exp(-a))/a is 1 - lost, the law of damping and of absorption.

    Parameters
    ----------
    lost : share, above 0.

    Examples
    --------
    >>> round(rate_of_loss(0.6), 3)
    2.232
    """
    return float(brentq(lambda a: -np.expm1(-a) / a - (1 - lost), 1e-12, 1e3, xtol=1e-14))


def _absorption(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    path = shot.projected(shot.specimen.volumes.sum(axis=0))
    path = path / path.max()
    # energies of K lines go with (Z - 1)^2, and the absorption of X-rays with energy^-3
    charges = np.maximum(np.array(shot.specimen.atomic_numbers) - 1.0, 1.0)
    rates = rate_of_loss(settings.absorption) * (charges.min() / charges) ** 6
    depths = np.maximum(rates[:, None, None, None] * path, 1e-12)
    return replace(shot, signal=shot.signal * -np.expm1(-depths) / depths)


def _shadowing(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    hidden = settings.shadowing * np.maximum(-np.sin(np.deg2rad(shot.angles_deg)), 0)
    return replace(shot, signal=shot.signal * (1 - hidden)[:, None, None])


def _overlap(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    if len(shot.scales) < 2:
        return shot
    scales = shot.scales[:, None, None, None]
    mixed = np.tensordot(
        mixing(shot.specimen.atomic_numbers, settings.overlap), scales * shot.signal, 1
    )
    return replace(shot, signal=mixed / scales)


def mixing(atomic_numbers: tuple[int, ...], overlap: float) -> Values:
    """Return the shares of each element's counts (column) that are taken for each element (row).

    Parameters
    ----------
    atomic_numbers : two or more.
    overlap : share that goes to the neighbours in order of atomic number.

    Examples
    --------
    >>> mixing((8, 79, 27), 0.2).tolist()
    [[0.8, 0.0, 0.1], [0.0, 0.8, 0.1], [0.2, 0.2, 0.8]]
    """
    order = np.argsort(atomic_numbers)
    found = (1 - overlap) * np.eye(len(order))
    for place, element in enumerate(order):
        neighbours = [order[p] for p in (place - 1, place + 1) if 0 <= p < len(order)]
        found[neighbours, element] = overlap / len(neighbours)
    return found


def _blur(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:  # noqa: ARG001
    width = shot.of(settings.haadf_blur_px, settings.chemical_blur_px)
    if not width:
        return shot
    sigma = (0, 0, width, width)
    return replace(shot, signal=ndimage.gaussian_filter(shot.signal, sigma, mode="reflect"))


def _gain(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:
    spread = shot.of(settings.haadf_gain, settings.chemical_gain)
    gains = np.exp(spread * rng.normal(size=len(shot.angles_deg)))
    return replace(shot, expected=shot.expected * gains[:, None, None])


def _dark(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:
    spread = shot.of(settings.haadf_dark, settings.chemical_dark)
    errors = spread * rng.normal(size=len(shot.angles_deg))[:, None, None]
    means = shot.expected.mean(axis=(1, 2, 3), keepdims=True)
    return replace(shot, expected=np.maximum(shot.expected + errors * means, 0))


def _hot(shot: Shot, settings: Disturbances, rng: np.random.Generator) -> Shot:
    brightest = shot.scales * shot.undisturbed.max(axis=(1, 2, 3))
    levels = np.round(settings.hot_level * brightest)[:, None, None, None]
    places = rng.random(shot.recorded.shape) < settings.hot_pixels
    return replace(shot, recorded=(shot.recorded + places * levels).astype(np.float32))


VIEW, SIGNAL, EXPECTED, RECORDED = "view", "signal", "expected", "recorded"
DISTURBANCES: dict[str, Disturbance] = {
    "shift": Disturbance(VIEW, ("haadf_shift_px", "chemical_shift_px"), _shift),
    "drift": Disturbance(VIEW, ("haadf_drift_px", "chemical_drift_px"), _drift),
    "axis": Disturbance(VIEW, ("axis_offset_px", "axis_rotation_deg"), _axis),
    "jitter": Disturbance(VIEW, ("angle_jitter_deg",), _jitter),
    "surroundings": Disturbance(SIGNAL, ("surroundings",), _surroundings),
    "damage": Disturbance(SIGNAL, ("damage",), _damage),
    "matrix": Disturbance(SIGNAL, ("matrix",), _matrix, HAADF),
    "film": Disturbance(SIGNAL, ("film",), _film, HAADF),
    "damping": Disturbance(SIGNAL, ("damping",), _damping, HAADF),
    "absorption": Disturbance(SIGNAL, ("absorption",), _absorption, CHEMICAL),
    "shadowing": Disturbance(SIGNAL, ("shadowing",), _shadowing, CHEMICAL),
    "overlap": Disturbance(SIGNAL, ("overlap",), _overlap, CHEMICAL),
    "blur": Disturbance(SIGNAL, ("haadf_blur_px", "chemical_blur_px"), _blur),
    "gain": Disturbance(EXPECTED, ("haadf_gain", "chemical_gain"), _gain),
    "dark": Disturbance(EXPECTED, ("haadf_dark", "chemical_dark"), _dark),
    "hot": Disturbance(RECORDED, ("hot_pixels",), _hot),
}
"""Every disturbance, in the order in which those of a stage are applied."""
