"""Whether HAADF and the chemical maps show one specimen: sign, sense, mirror, shift, angles.

The sum of the maps that fits HAADF best, with non-negative factors, is compared with HAADF at the
angles that both modalities cover; no volume and no scale enters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from ..tiltseries import TiltSeries

Values = NDArray[np.float64]

SMOOTHING = 1.5  # pixels: maps of one count a pixel show nothing unsmoothed
FEWEST_TILTS = 4  # compared, to judge a spread over tilts
FARTHEST = 6  # pixels within which a shift is sought
OPPOSITE, OPPOSITE_EVIDENCE = -0.3, 3.0  # correlation of HAADF and maps
UNEXPLAINED, TURN_EVIDENCE = 0.9, 2.0  # another orientation of HAADF fits the maps better
OFFSETS, LEAST_OFFSET = range(-15, 16), 2  # degrees that angles of HAADF may be off those of maps
FACTORS = (0.9, 1 / 0.9)  # of angles: one modality in gradians
ANGLE_EVIDENCE, FEWEST_ANGLES = 2.5, 6  # the best of thirty, by chance; tilts to tell it by


@dataclass(frozen=True)
class Turn:
    """How HAADF may have been recorded otherwise than the maps.

    Parameters
    ----------
    sense : -1 for tilts of the opposite sign.
    flip_y, flip_x : -1 for images mirrored across or along the tilt axis.
    exchanged : whether x and y of the images are, before they are mirrored.
    """

    sense: int = 1
    flip_y: int = 1
    flip_x: int = 1
    exchanged: bool = False

    def __str__(self) -> str:
        parts = (
            (self.sense, "tilts of the opposite sign"),
            (self.flip_y, "images mirrored across the tilt axis (y)"),
            (self.flip_x, "images mirrored along the tilt axis (x)"),
        )
        found = ["x and y of the images exchanged"] if self.exchanged else []
        return " and ".join([*found, *(w for sign, w in parts if sign < 0)]) or "as recorded"


TURNS = tuple(Turn(sense, y, x) for sense, y, x in product((1, -1), repeat=3))
EXCHANGED = tuple(replace(turn, exchanged=True) for turn in TURNS)


@dataclass(frozen=True)
class Angles:
    """At which of its own tilts HAADF may show what the maps do.

    Parameters
    ----------
    factor, offset : HAADF at ``factor * angle + offset`` degrees is that of the maps at an angle.
    """

    factor: float = 1.0
    offset: float = 0.0

    def __str__(self) -> str:
        if self.factor != 1:
            return f"{self.factor:.3g} times the tilts of the maps, as in gradians"
        return f"tilts {self.offset:+g}° from those of the maps"


ANGLES = (
    *(Angles(offset=float(step)) for step in OFFSETS if abs(step) >= LEAST_OFFSET),
    *(Angles(factor) for factor in FACTORS),
)


@dataclass(frozen=True)
class Agreement:
    """How well maps and HAADF agree, as recorded and otherwise.

    Parameters
    ----------
    turn : the orientation of HAADF that fits the maps best.
    unexplained : variance left with ``turn`` over that left as recorded, 0 to 1.
    evidence : mean gain over tilts by ``turn`` over its standard error.
    shift : (y, x) by which HAADF lies off the maps, pixels.
    shift_unexplained : variance left without the shift over that left as recorded.
    shift_evidence : mean gain over tilts by undoing the shift over its standard error.
    correlation : of HAADF as recorded with the sum of the maps, the mean over tilts.
    correlation_error : its standard error.
    angles : at which HAADF fits the maps best but for those that are given.
    angles_unexplained : variance left with ``angles`` over that left as recorded.
    angles_evidence : mean gain over tilts by ``angles`` over its standard error.
    """

    turn: Turn
    unexplained: float
    evidence: float
    shift: tuple[float, float]
    shift_unexplained: float
    shift_evidence: float
    correlation: float
    correlation_error: float
    angles: Angles
    angles_unexplained: float
    angles_evidence: float

    @property
    def tilted(self) -> bool:
        """Whether HAADF fits the maps at other angles better than chance would let it."""
        sure = self.angles_evidence > ANGLE_EVIDENCE
        return self.angles_unexplained < UNEXPLAINED and sure

    @property
    def inverted(self) -> bool:
        """Whether HAADF is dark where the maps are bright."""
        surely = self.correlation < -OPPOSITE_EVIDENCE * self.correlation_error
        return self.correlation < OPPOSITE and surely

    @property
    def turned(self) -> bool:
        """Whether ``turn`` fits the maps better than chance would let it."""
        return self.unexplained < UNEXPLAINED and self.evidence > TURN_EVIDENCE


def agreement(series: TiltSeries) -> Agreement | None:
    """Compare HAADF with the chemical maps.

    Parameters
    ----------
    series : measured counts and where their images lie; scales and backgrounds are not used.

    Returns
    -------
    Agreement : None if fewer than four tilts can be compared, or a modality shows nothing.
    """
    series = series.centred()
    given = np.asarray(series.chemical_angles_deg)
    if not len(series.haadf_angles_deg) or not given.size:
        return None
    low, high = min(series.haadf_angles_deg), max(series.haadf_angles_deg)
    # the opposite angle must have been recorded too
    reach = min(-low, high)
    common = np.flatnonzero(np.abs(given) <= reach + 1e-6)
    if len(common) < FEWEST_TILTS:
        return None
    maps = np.stack([_smooth(channel[common]) for channel in series.chemical], axis=-1)
    haadf = _smooth(series.haadf)
    turns = TURNS + (EXCHANGED if haadf.shape[1] == haadf.shape[2] else ())
    tilts = given[common]
    errors = {turn: _errors(maps, _turned(haadf, series, tilts, turn)) for turn in turns}
    recorded = errors[TURNS[0]]
    if not recorded.sum() > 0:
        return None
    best = min(turns, key=lambda turn: float(errors[turn].sum()))
    gain = recorded - errors[best]
    here = _turned(haadf, series, tilts, TURNS[0])
    shift, shift_evidence = _shift(maps, here)
    moved = {
        other: _errors(maps, _turned(haadf, series, other.factor * tilts + other.offset, TURNS[0]))
        for other in ANGLES
    }
    angles = min(ANGLES, key=lambda other: float(moved[other].sum()))
    undone = np.roll(here, [-round(step) for step in shift], axis=(1, 2))
    return Agreement(
        best,
        float(errors[best].sum() / recorded.sum()),
        _evidence(gain),
        shift,
        float(_errors(maps, undone).sum() / recorded.sum()),
        shift_evidence,
        *_correlation(maps.sum(axis=-1), here),
        angles,
        float(moved[angles].sum() / recorded.sum()),
        _evidence(recorded - moved[angles]) if len(tilts) >= FEWEST_ANGLES else 0.0,
    )


def _smooth(images: NDArray[np.float32]) -> Values:
    """Smooth (image, y, x) within each image."""
    found: Values = ndimage.gaussian_filter(
        images.astype(np.float64), (0.0, SMOOTHING, SMOOTHING), mode="nearest"
    )
    return found


def _turned(haadf: Values, series: TiltSeries, angles: Values, turn: Turn) -> Values:
    """HAADF at the angles of the maps, interpolated between tilts, if ``turn`` is how it was."""
    order = np.argsort(series.haadf_angles_deg, kind="stable")
    known = np.asarray(series.haadf_angles_deg)[order]
    place = np.interp(turn.sense * angles, known, np.arange(len(known)))
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, len(known) - 1)
    part = (place - below)[:, None, None]
    between = (1 - part) * haadf[order[below]] + part * haadf[order[above]]
    between = between.swapaxes(1, 2) if turn.exchanged else between
    images: Values = between[:, :: turn.flip_y, :: turn.flip_x]
    return images


def _fitted(maps: Values, haadf: Values) -> tuple[Values, Values]:
    """Sum of the maps with the factors >= 0 that fit HAADF best, and HAADF, both about 0."""
    columns = maps - maps.mean(axis=(0, 1, 2))
    target = haadf - haadf.mean()
    flat, along = columns.reshape(-1, maps.shape[-1]), target.ravel()
    # the normal equations through a square root: as small as there are elements
    gram = flat.T @ flat
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(np.maximum(values, 1e-12 * max(values[-1], 1e-300)))
    right = np.linalg.solve(root, flat.T @ along)
    factors, _ = optimize.nnls(root.T, right)
    return columns @ factors, target


def _errors(maps: Values, haadf: Values) -> Values:
    """Squared difference of each tilt from the fitted sum of maps, (tilt,)."""
    model, target = _fitted(maps, haadf)
    errors: Values = ((model - target) ** 2).sum(axis=(1, 2))
    return errors


def _correlation(maps: Values, haadf: Values) -> tuple[float, float]:
    """Correlation of the images of each tilt, mean and its standard error."""
    one, other = (v - v.mean(axis=(1, 2), keepdims=True) for v in (maps, haadf))
    norms = np.sqrt((one**2).sum(axis=(1, 2)) * (other**2).sum(axis=(1, 2)))
    found = (one * other).sum(axis=(1, 2)) / np.maximum(norms, 1e-30)
    return float(found.mean()), float(found.std(ddof=1)) / np.sqrt(len(found))


def _shift(maps: Values, haadf: Values) -> tuple[tuple[float, float], float]:
    """Shift of HAADF against the maps, and the evidence for it."""
    model, target = _fitted(maps, haadf)
    spectrum = np.fft.rfft2(target) * np.conj(np.fft.rfft2(model))
    match = np.fft.irfft2(spectrum, s=target.shape[-2:])
    reach = min(FARTHEST, min(target.shape[-2:]) // 4)
    window = np.roll(match, (reach, reach), (-2, -1))[:, : 2 * reach + 1, : 2 * reach + 1]
    total = window.sum(axis=0)
    y, x = np.unravel_index(int(np.argmax(total)), total.shape)
    gain = window[:, y, x] - window[:, reach, reach]
    shift = (_peak(total[:, x], int(y)) - reach, _peak(total[y], int(x)) - reach)
    return shift, _evidence(gain)


def _peak(values: Values, place: int) -> float:
    """Place of the vertex of the parabola through a maximum and its neighbours."""
    if not 0 < place < len(values) - 1:
        return float(place)
    left, middle, right = values[place - 1 : place + 2]
    bend = left - 2 * middle + right
    return place + (0.5 * float(left - right) / float(bend) if bend < 0 else 0.0)


def _evidence(gains: Values) -> float:
    """Mean over standard error; 0 where nothing is gained."""
    error = float(gains.std(ddof=1)) / np.sqrt(len(gains))
    mean = float(gains.mean())
    return mean / error if error > 0 else 0.0
