"""What a measured tilt series is like: a verdict on each property, and the command that mends it.

Where :mod:`.checks` warns of one fault of a kind, this looks at all that a person would ask of a
series before it is used, and finds every pixel and tilt that is bad. What is safe to mend is: a
mask for bad pixels and tilts, never an interpolation, and vacuum levels that were not given or that
vacuum in view contradicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .alignment import can_be_aligned, unsteadiness
from .checks import (
    BLANK,
    BLANK_SIGMAS,
    BRIGHT,
    LEAST_GAIN,
    OFF,
    Finding,
    are_few,
    check_series,
    usual_total,
)
from .errors import BadInput
from .geometry import Mask
from .metrics.hot import hot_pixels
from .metrics.noise import PATCH, estimate_noise, most_gain
from .metrics.padding import padded_pixels
from .metrics.vacuum import Vacuum, chemical_backgrounds, estimate_vacuum
from .tiltseries import TiltSeries

Array = NDArray[np.float32]
Values = NDArray[np.float64]
Good = NDArray[np.bool_]

FULL = 255  # least value of a full detector, of 8 bits
FEW, SATURATED = 4, 0.01  # pixels, and part of those of an image, at the very same largest value
MOST_BAD = 0.5  # of the tilts: beyond, none would be left to use
SAME_TILT = 0.1  # degrees
NAMED = 12  # tilts at most, in words
SHADOWED = 0.25  # spread of an element's totals over the tilts that is more than noise
UNEVEN = 0.15  # spread of HAADF totals from tilt to tilt
SINGLE = 1 / 4  # of the tilts: so few may be to blame for the spread of all
MOVING = 0.3  # pixels, root mean square: half a pixel costs what HAADF gives
FILM_SIGMAS = 6.0
HAADF_LEVEL, MAPS_LEVEL = "haadf/background", "chemical/background"
GOOD, DOUBTFUL, BAD = "good", "doubtful", "bad"
FIX, ALIGN = "tomoatlas inspect TILTS.h5 --fix", "tomoatlas align TILTS.h5 --out F.h5"
LEAVE_OUT = f"{FIX} --leave-out"
IMPORT = "tomoatlas import FILES…"
EXPOSE = "too many to leave out: record them again with less gain; used as they are"


@dataclass(frozen=True)
class Verdict:
    """One property of a series.

    Parameters
    ----------
    name : of the property.
    verdict : ``good``, ``doubtful`` or ``bad``.
    words : what was found, with its numbers.
    remedy : command that mends it, or what to do; empty if nothing is to be done.

    Examples
    --------
    >>> print(Verdict("hot pixels", "bad", "3 of HAADF", "mask them"))
    bad       hot pixels: 3 of HAADF → mask them
    """

    name: str
    verdict: str
    words: str
    remedy: str = ""

    def __str__(self) -> str:
        arrow = f" → {self.remedy}" if self.remedy else ""
        return f"{self.verdict:<9} {self.name}: {self.words}{arrow}"


def inspect(series: TiltSeries) -> tuple[Verdict, ...]:
    """Judge a tilt series, property by property.

    Parameters
    ----------
    series : measured counts.

    Returns
    -------
    tuple of Verdict : in the order in which to mend them.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=32), ta.Acquisition(haadf_tilts=21))
    >>> {verdict.verdict for verdict in inspect(series)}
    {'good'}
    """
    haadf, maps = _modalities(series)
    shown = (haadf, maps) if series.haadf_angles_deg else (maps,)
    # what is bad in one way would look bad in others too; filled in once, no mask is needed
    clean = replace(_masked(series, haadf, maps).filled(), haadf_mask=None, chemical_mask=None)
    vacuum = _vacuum(clean) if min(clean.haadf.shape[1:]) >= PATCH + 2 else None
    shifts, found = tuple(_shifts(clean)), check_series(clean)
    if any(verdict.verdict == BAD for verdict in shifts):
        # images that move leave HAADF unexplained too
        found = tuple(finding for finding in found if finding.kind != "missing-element")
    return (
        *map(_tilts, shown),
        *map(_bad_pixels, shown),
        *(verdict for modality in shown for verdict in _borders(modality)),
        *map(_bad_tilts, shown),
        *_levels(clean, vacuum, found),
        *_noise(clean),
        *_totals(clean, vacuum),
        *shifts,
        *_of_checks(clean, found),
    )


def mended(series: TiltSeries) -> TiltSeries:
    """Mask bad pixels and tilts, and set levels of vacuum that are missing or contradicted.

    Parameters
    ----------
    series : measured counts, which stay as they are.

    Returns
    -------
    TiltSeries : with masks where anything is bad; what a mask left out before stays out. A level
        that is given stays unless vacuum in view shows another, beyond noise.
    """
    # the maps are compared where HAADF is dark, once that is right
    return _with_map_levels(_with_haadf_level(_masked(series, *_modalities(series))))


def without_tilt(series: TiltSeries, modality: str | None, angle_deg: float) -> TiltSeries:
    """Leave out the images at a tilt.

    Parameters
    ----------
    series : measured counts, which stay as they are.
    modality : ``HAADF`` or ``maps``; None for both.
    angle_deg : of the images, degrees; what is nearer than a tenth of a degree is meant.

    Returns
    -------
    TiltSeries : with these images in its masks.

    Raises
    ------
    BadInput : no image at this tilt, or none beside it.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=16))
    >>> without_tilt(series, "maps", 70.0).chemical_mask.left_out
    256
    """
    haadf, maps = _modalities(series)
    masks = {"HAADF": series.haadf_mask, "maps": series.chemical_mask}
    asked = [each for each in (haadf, maps) if modality in (None, each.name)]
    near = {each.name: each.at(angle_deg) for each in asked}
    if not any(near.values()):
        known = {angle for each in asked for angle in each.angles_deg}
        angles = sorted(known, key=lambda angle: abs(angle - angle_deg))
        raise BadInput(
            f"no image of {modality or 'HAADF or the maps'} at this tilt",
            key="--leave-out",
            value=angle_deg,
            accepted=f"{', '.join(f'{a:.4g}' for a in angles[:3])} … degrees",
        )
    for each in asked:
        good = each.seen
        good[near[each.name]] = False
        if not good.any():
            raise BadInput(
                f"no image of {each.name} would be left",
                key="--leave-out",
                value=angle_deg,
                accepted="some of the tilts",
            )
        masks[each.name] = None if good.all() else Mask.of(good)
    return replace(series, haadf_mask=masks["HAADF"], chemical_mask=masks["maps"])


def _with_haadf_level(series: TiltSeries) -> TiltSeries:
    seen = series.filled()
    if series.haadf_background and HAADF_LEVEL not in _contradicted(check_series(seen)):
        return series
    vacuum = _vacuum(seen)
    if vacuum is None or not vacuum.is_seen:
        return series
    film = vacuum.film if _is_film(vacuum) else series.haadf_film
    return replace(series, haadf_background=vacuum.level, haadf_film=film)


def _with_map_levels(series: TiltSeries) -> TiltSeries:
    seen = series.filled()
    # in a film there may be elements, whose counts are no level of the detector
    if any(series.chemical_background) and (
        _is_film(_vacuum(seen)) or MAPS_LEVEL not in _contradicted(check_series(seen))
    ):
        return series
    return replace(series, chemical_background=chemical_backgrounds(seen))


def _contradicted(findings: Sequence[Finding]) -> set[str]:
    """Levels that are given and differ from those of the vacuum in view."""
    return {finding.key for finding in findings if finding.kind == "vacuum-level"}


def _is_film(vacuum: Vacuum | None) -> bool:
    return vacuum is not None and vacuum.film > FILM_SIGMAS * vacuum.film_error


def _masked(series: TiltSeries, haadf: _Modality, maps: _Modality) -> TiltSeries:
    """Leave bad pixels and tilts out."""
    return replace(series, haadf_mask=haadf.good, chemical_mask=maps.good)


def _vacuum(series: TiltSeries) -> Vacuum | None:
    """Vacuum of HAADF and a film in it; None without HAADF."""
    if not series.haadf_angles_deg:
        return None
    return estimate_vacuum(series.haadf, series.haadf_angles_deg, film=True)


@dataclass(frozen=True)
class _Modality:
    """Images of HAADF, or the sum of the elements' maps, and what is bad of them.

    What a mask leaves out is looked at too.
    """

    name: str
    images: Array
    angles_deg: tuple[float, ...]
    mask: Mask | None
    count: float | None = None  # what one gives; None where only the noise tells

    @cached_property
    def hot(self) -> Good:
        return hot_pixels(self.images, self.angles_deg, self.count)

    @cached_property
    def padded(self) -> Good:
        return padded_pixels(self.images, self.seen)

    @cached_property
    def bad(self) -> list[int]:
        dark = self.images.min(axis=(1, 2), keepdims=True, initial=np.inf)
        left = self.padded | ~self.seen
        return bad_tilts(np.where(left, dark, self.images), self.angles_deg)

    @property
    def spoilt(self) -> bool:
        """Whether too many tilts are bad to leave them out: clipped, they still show edges."""
        return len(self.bad) > MOST_BAD * len(self.images)

    @property
    def seen(self) -> Good:
        """Pixels that the mask does not leave out."""
        return np.ones(self.images.shape, np.bool_) if self.mask is None else self.mask.array()

    def at(self, angle_deg: float) -> list[int]:
        """Indices of the images at a tilt."""
        angles = np.asarray(self.angles_deg)
        return [int(i) for i in np.flatnonzero(np.abs(angles - angle_deg) < SAME_TILT)]

    @property
    def good(self) -> Mask | None:
        """Pixels that are good by the mask too; None if all are."""
        good = self.seen & ~self.hot & ~self.padded
        if not self.spoilt:
            good[self.bad] = False
        return None if good.all() else Mask.of(good)


def _modalities(series: TiltSeries) -> tuple[_Modality, _Modality]:
    total = series.chemical.sum(axis=0, dtype=np.float32)
    return (
        _Modality("HAADF", series.haadf, series.haadf_angles_deg, series.haadf_mask),
        _Modality("maps", total, series.chemical_angles_deg, series.chemical_mask, 1.0),
    )


def bad_tilts(images: Array, angles_deg: tuple[float, ...]) -> list[int]:
    """Find images that are blank, overexposed or saturated.

    Parameters
    ----------
    images : counts, (angle, y, x).
    angles_deg : of the images.

    Returns
    -------
    list of int : indices of the tilts.
    """
    if len(images) < 3:
        return []
    order = np.argsort(angles_deg, kind="stable")
    # without the brightest pixels, of which some may be hot
    tops = np.quantile(images[order], 0.99, axis=(1, 2), keepdims=True)
    totals = np.minimum(images[order], tops).sum(axis=(1, 2), dtype=np.float64)
    found = []
    for place, i in enumerate(order):
        usual = max(usual_total(totals, place), 1e-30)
        flat = float(images[i].max()) > 0 and _saturated(images[i])
        away = abs(totals[place] - usual) > BLANK_SIGMAS * np.sqrt(max(usual, 1.0))
        if flat or (away and not BLANK <= totals[place] / usual <= BRIGHT):
            found.append(int(i))
    return sorted(found)


def _saturated(image: Array) -> bool:
    """Whether many pixels have the same value, and it is the largest: a full detector."""
    top = float(image.max())
    return top >= FULL and int((image == top).sum()) > max(FEW, SATURATED * image.size)


def _tilts(modality: _Modality) -> Verdict:
    images, angles = modality.images, modality.angles_deg
    low, high = min(angles), max(angles)
    words = f"{len(images)} from {low:.4g}° to {high:.4g}°, {images.shape[1]} x {images.shape[2]}"
    few = are_few(angles)
    return Verdict(
        f"tilts of {modality.name}",
        DOUBTFUL if few else GOOD,
        words,
        "the missing wedge will show; nothing mends it" if few else "",
    )


def _bad_pixels(modality: _Modality) -> Verdict:
    hot, mask = modality.hot, modality.mask
    count = int(hot.sum() if mask is None else (hot & mask.array()).sum())
    left = 0 if mask is None else mask.left_out
    words = f"{count} hot" + (f", {left} masked" if left else "")
    return Verdict(
        f"pixels of {modality.name}", BAD if count else GOOD, words, FIX if count else ""
    )


def _borders(modality: _Modality) -> Iterator[Verdict]:
    count = int((modality.padded & modality.seen).sum())
    if count:
        words = f"{count} pixels at borders, or alike at all tilts, that no detector recorded"
        yield Verdict(f"borders and labels of {modality.name}", BAD, words, FIX)


def _bad_tilts(modality: _Modality) -> Verdict:
    bad, mask = modality.bad, modality.mask
    if mask is not None:
        bad = sorted({*bad} & {*mask.seen_tilts()})
    named = ", ".join(f"{modality.angles_deg[i]:.4g}°" for i in bad[:NAMED])
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    words = f"blank, overexposed or saturated: {named}{more}" if bad else "none blank or saturated"
    remedy = "" if not bad else EXPOSE if modality.spoilt else FIX
    return Verdict(f"exposure of {modality.name}", BAD if bad else GOOD, words, remedy)


def _levels(
    series: TiltSeries, vacuum: Vacuum | None, findings: Sequence[Finding]
) -> Iterator[Verdict]:
    if vacuum is None:
        return
    wrong = _contradicted(findings)
    words = f"{vacuum}; the file gives {series.haadf_background:.6g}"
    if not vacuum.is_seen:
        yield Verdict("vacuum of HAADF", DOUBTFUL, "not in view at all tilts")
    elif HAADF_LEVEL in wrong or (
        not series.haadf_background and vacuum.level > OFF * vacuum.signal
    ):
        yield Verdict("vacuum of HAADF", DOUBTFUL, words, FIX)
    else:
        yield Verdict("vacuum of HAADF", GOOD, words)
    given = series.chemical_background
    found = chemical_backgrounds(series)
    pairs = zip(series.elements, found, given, strict=True)
    named = ", ".join(f"{e} {f:.3g} ({g:.3g})" for e, f, g in pairs)
    missing = not any(given) and any(f > 0 for f in found)
    words = f"counts per pixel where HAADF is dark (as given): {named}"
    remedy = FIX if missing or MAPS_LEVEL in wrong else ""
    if remedy and any(given) and _is_film(vacuum):
        remedy = "a level recorded without the film, in chemical/background"
    elif remedy and not vacuum.is_seen:
        remedy = "the counts of vacuum, in chemical/background: HAADF does not show where it is"
    yield Verdict("vacuum of the maps", DOUBTFUL if remedy else GOOD, words, remedy)


def _noise(series: TiltSeries) -> Iterator[Verdict]:
    for modality in _modalities(series):
        images = modality.images
        if min(images.shape[1:]) < PATCH + 2 or not images.size:
            continue
        mean = float(images.mean(dtype=np.float64))
        yield Verdict(f"noise of {modality.name}", GOOD, f"mean {mean:.4g}, {_gain(images)}")


def _gain(images: Array) -> str:
    """What one electron or photon gives, in words."""
    unit = "units for an electron or photon by its noise"
    gain, most = estimate_noise(images).gain, most_gain(images)
    # dark pixels without a count show no noise
    if most is not None and gain < LEAST_GAIN <= most:
        return f"at most {most:.3g} {unit}"
    return f"{gain:.3g} {unit}" if gain > 0 else "its noise cannot be told"


def _totals(series: TiltSeries, vacuum: Vacuum | None) -> Iterator[Verdict]:
    """Totals over the tilts: the gain of HAADF, and shadowing of the detectors of the maps."""
    if vacuum is not None and len(series.haadf) >= 3:
        levels = vacuum.at(series.haadf_angles_deg)[:, None, None]
        totals = (series.haadf - levels).sum(axis=(1, 2), dtype=np.float64)
        spread = _spread(totals)
        uneven = spread > UNEVEN
        alone = _alone("HAADF", series.haadf_angles_deg, totals, UNEVEN)
        yield Verdict(
            "gain of HAADF",
            DOUBTFUL if uneven else GOOD,
            f"signal varies by {100 * spread:.0f} % over the tilts",
            alone
            or "specimen leaves the field, or each image was scaled by itself: import images "
            "as they were recorded"
            if uneven
            else "",
        )
    channels = zip(series.elements, series.chemical, series.chemical_background, strict=True)
    for name, counts, level in channels:
        sums = counts.sum(axis=(1, 2), dtype=np.float64)
        signal = sums - level * counts[0].size
        error = float(np.sqrt(sums.mean())) / max(float(signal.mean()), 1e-30)
        spread = _spread(signal)
        most = max(SHADOWED, 4 * error)
        shadowed = spread > most
        alone = _alone("maps", series.chemical_angles_deg, signal, most)
        yield Verdict(
            f"totals of {name}",
            DOUBTFUL if shadowed else GOOD,
            f"{signal.mean():.4g} counts a tilt, ± {100 * spread:.0f} % over the tilts",
            alone or f"shadowed at some tilts? {LEAVE_OUT} maps:ANGLE" if shadowed else "",
        )


def _alone(name: str, angles_deg: tuple[float, ...], totals: Values, most: float) -> str:
    """Leave out single tilts without which the totals of a signal spread no more than they may."""
    usual = float(np.median(totals))
    odd = np.abs(totals - usual) > most * abs(usual)
    if not 0 < odd.sum() <= SINGLE * len(totals) or _spread(totals[~odd]) > most:
        return ""
    given = " ".join(f"--leave-out {name}:{angles_deg[i]:.4g}" for i in np.flatnonzero(odd))
    return f"{FIX} {given}"


def _spread(totals: Values) -> float:
    """Relative standard deviation, 0 to 9.99."""
    mean = float(np.abs(totals.mean()))
    return float(min(totals.std() / max(mean, 1e-30), 9.99))


def _shifts(series: TiltSeries) -> Iterator[Verdict]:
    """Shifts of the HAADF images against one another."""
    if not series.haadf_angles_deg:
        return
    if not can_be_aligned(series.haadf_angles_deg):
        yield Verdict("shifts of HAADF", DOUBTFUL, "cannot be told of so few tilts")
        return
    found = unsteadiness(series)
    if found is None:
        words = "cannot be told: no vacuum surrounds the specimen at all tilts"
        yield Verdict("shifts of HAADF", DOUBTFUL, words, ALIGN)
        return
    moving = max(found) > MOVING
    words = f"{found[0]:.2f} px across the axis, {found[1]:.2f} along it, by centres of mass"
    yield Verdict("shifts of HAADF", BAD if moving else GOOD, words, ALIGN if moving else "")


def _of_checks(series: TiltSeries, findings: Sequence[Finding]) -> Iterator[Verdict]:
    """What the checks before a reconstruction find beside the above."""
    remedies = {
        "radians": (BAD, IMPORT),
        "inverted": (BAD, "HAADF images, bright where atoms are many"),
        "orientation": (BAD, IMPORT),
        "shift": (BAD, ALIGN),
        "tilts": (BAD, f"{IMPORT} --angles"),
        "order": (BAD, f"{IMPORT} --angles"),
        "cut-off": (DOUBTFUL, "a wider field of view"),
        "film": (DOUBTFUL, "tomoatlas reconstruct --film"),
        "unit": (GOOD, ""),
        "no-counts": (DOUBTFUL, ""),
        "same-map": (BAD, IMPORT),
        "missing-element": (DOUBTFUL, f"{IMPORT}, with a map of each element"),
        "not-counts": (DOUBTFUL, "import the counts as they were recorded"),
        "level": (DOUBTFUL, "import the counts without subtracting"),
    }
    found = {f.kind: f for f in findings}
    for kind, (verdict, remedy) in remedies.items():
        if kind in found:
            yield Verdict(kind, verdict, str(found[kind]), remedy)
    if not {"shift", "inverted", "orientation", "tilts"} & found.keys() and len(
        series.haadf_angles_deg
    ):
        yield Verdict("modalities", GOOD, "no shift between HAADF and maps is seen")
