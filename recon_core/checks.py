"""Checks of a tilt series before it is reconstructed: faults whose values are all legal.

Each check looks for one kind of fault of measured data, such as angles in radians or a vacuum level
that was not given, and needs neither a reconstruction nor a scale. A finding is a doubt for people
to settle, never an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .geometry import film_thickness
from .metrics.agreement import agreement
from .metrics.hot import HOT_FACTOR, HOT_LEAP, HOT_SIGMAS, outshining
from .metrics.noise import PATCH, Noise, estimate_noise, most_gain
from .metrics.padding import padded_pixels
from .metrics.unexplained import unexplained
from .metrics.vacuum import INNER, estimate_vacuum, vacuum_pixels
from .tiltseries import LEVEL_ADDED, TiltSeries

Array = NDArray[np.float32]
Values = NDArray[np.float64]

RADIANS, FEWEST_TILTS = 1.6, 5  # all angles within ±1.6: a quarter turn, were they radians
LEAST_RANGE = 60.0  # degrees
LEAST_GAIN, MOST_GAIN = 0.5, 8.0  # units per electron that still are counts; structure adds to it
EQUAL = 1e-3  # relative: sums of maps that differ less are the same
SCATTER, FEWEST_PIXELS = (0.6, 1.5), 250  # of maps in vacuum, times that of counts: 0.85 to 1.37
CHANCES = 6.0  # standard errors of the scatter of one element
LEAST_COUNT = 0.4  # of the maps: 420 sound series have 0.66 or more, smoothed ones 0.03
GAIN_EDGE = 32  # pixels per edge below which structure hides the gain
USUAL_PEAK = 0.999  # quantile of what pixels rise above the brightest of their neighbours
BLANK, BRIGHT, BLANK_SIGMAS = 0.5, 2.0, 8.0  # total of a tilt over that of its neighbours
LEVEL, LEVEL_SIGMAS = 0.1, 6.0  # dark pixels above the background, as a part of the signal
OFF = 0.02  # HAADF vacuum off its background where it is in view, as a part of the signal
MAPS_OFF = 0.1  # level of the maps where HAADF shows vacuum, off that given, as a part of it
HIDES = 0.03  # noise of HAADF in vacuum, as a part of the signal, below which specimen shows
VACUUM_EDGE = 16  # pixels per edge below which no vacuum is in view
EDGE = 0.15  # signal at the edges across the tilt axis, as a part of the largest
SHIFT, SHIFT_EVIDENCE = 0.75, 3.0  # pixels
FEWEST_IN_ORDER, SMOOTH = 8, 1.5  # tilts; pixels
# tilts on, of the same sign where signs alternate singly or in pairs: standard errors to tell it by
LAGS = {2: 4.0, 4: 8.0}
OUT_OF_ORDER = 1.2  # difference from the next image over that from those
MISSING, CHANCE = 0.015, 0.01  # part of HAADF that maps leave, and that noise leaves as much
DISTURB = {  # what leaves HAADF unexplained though each element has a map
    "no-counts",
    "not-counts",
    "hot-pixel",
    "blank-tilt",
    "filled-border",
    "inverted",
    "order",
    "orientation",
    "shift",
    "tilts",
}


@dataclass(frozen=True)
class Finding:
    """One doubt about a tilt series.

    Parameters
    ----------
    kind : of the fault: ``no-counts``, ``same-map``, ``not-counts``, ``level``, ``radians``,
        ``unit``, ``few-tilts``, ``hot-pixel``, ``blank-tilt``, ``filled-border``,
        ``vacuum-level``, ``film``, ``order``, ``cut-off``, ``inverted``, ``orientation``,
        ``shift``, ``tilts`` or ``missing-element``.
    key : of the data, as in the file: ``haadf/angles_deg``, ``chemical/projections`` …
    value : what was found, in the unit that ``words`` name.
    words : one line for people, what to do included.

    Examples
    --------
    >>> print(Finding("unit", "haadf/projections", 0.1, "no counts"))
    haadf/projections: no counts
    """

    kind: str
    key: str
    value: float
    words: str

    def __str__(self) -> str:
        return f"{self.key}: {self.words}"


@dataclass(frozen=True)
class _Signal:
    """Projections of one signal, in the order of their angles.

    ``total`` are the (angle, y, x) projections of HAADF, or of all elements together.
    """

    name: str
    angles_deg: tuple[float, ...]
    total: Array
    background: float
    noise: Noise

    @property
    def small(self) -> bool:
        """Whether structure hides what one count gives."""
        return bool(min(self.total.shape[-2:]) < GAIN_EDGE)


def check_series(series: TiltSeries) -> tuple[Finding, ...]:
    """Look for faults of a measured tilt series.

    Parameters
    ----------
    series : measured counts, tilts in any order.

    Returns
    -------
    tuple of Finding : at most one of a kind for each signal; empty if nothing is doubtful.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> from dataclasses import replace
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=32), ta.Acquisition(haadf_tilts=21))
    >>> check_series(series)
    ()
    >>> [found.kind for found in check_series(replace(series, haadf_background=0.0))]
    ['vacuum-level']
    """
    series = series.filled()
    signals = tuple(_signals(series))
    found = [*_no_counts(series), *_same_map(series)]
    found += [*_not_counts(series, signals[-1]), *_levels_added(series)]
    found += [finding for signal in signals for finding in _of_signal(signal)]
    found += _vacuum_levels(series)
    if any(finding.kind == "radians" for finding in found):
        return tuple(found)  # what follows compares angles
    found += [*_few_tilts(series), *_of_both(series)]
    disturbed = DISTURB & {finding.kind for finding in found}
    dark = None if disturbed else _vacuum_by_haadf(series, signals[0].noise)
    if dark is not None:
        if not found:  # HAADF that is wrong shows vacuum where there is none
            found += _beside_haadf(series, dark)
        found += _scattered(series, dark)
    if not DISTURB & {finding.kind for finding in found}:
        found += _missing_element(series, signals[0].noise)
    return tuple(found)


def _no_counts(series: TiltSeries) -> Iterator[Finding]:
    absent = [name for name, counts in _pairs(series) if not counts.any()]
    flat = [name for name, counts in _pairs(series) if counts.any() and not np.ptp(counts)]
    if absent or flat:
        words = [f"no counts at all in {', '.join(absent)}: reconstructed as empty"] * bool(absent)
        if flat:
            words += [f"all pixels of {', '.join(flat)} have one value: no map, leave it out"]
        number = float(len(absent) + len(flat))
        yield Finding("no-counts", "chemical/projections", number, "; ".join(words))
    if series.haadf_angles_deg and not np.ptp(series.haadf):
        yield Finding(
            "no-counts",
            "haadf/projections",
            float(series.haadf.flat[0]),
            "all pixels of HAADF have one value: import other images, or the maps alone",
        )


def _pairs(series: TiltSeries) -> Iterator[tuple[str, Array]]:
    """Elements and their maps."""
    return zip(series.elements, series.chemical, strict=True)


def _same_map(series: TiltSeries) -> Iterator[Finding]:
    """Elements whose maps are one map, to the last count."""
    same = [
        f"{one} and {other}"
        for (one, counts), (other, others) in itertools.combinations(_pairs(series), 2)
        if np.ptp(counts) and np.array_equal(counts, others)
    ]
    if same:
        yield Finding(
            "same-map",
            "chemical/projections",
            float(len(same)),
            f"the maps of {', '.join(same)} are the same in every pixel: one file under two names?",
        )


def _not_counts(series: TiltSeries, maps: _Signal) -> Iterator[Finding]:
    """Maps that somebody scaled, smoothed, interpolated or quantified: no longer Poisson counts."""
    least, most = most_gain(maps.total), maps.noise.gain
    recorded = "Give the counts as they were recorded"
    if _are_shares(series.chemical, maps.total):
        value = float(maps.total.max())
        words = f"shares, with one sum in all pixels. {recorded}"
    elif least is not None and 0 < least < LEAST_COUNT:
        value = least
        words = (
            f"one gives {least:.2g}, judged by the noise. Maps that were scaled, quantified, "
            f"smoothed or interpolated? {recorded}"
        )
    elif most > MOST_GAIN and not maps.small:
        value = most
        words = (
            f"one gives {most:.3g}, judged by the noise. Intensities of energy losses, or maps "
            f"that were scaled? {recorded}, or all maps divided by that"
        )
    else:
        return
    yield Finding("not-counts", "chemical/projections", value, f"not X-ray counts: {words}")


def _are_shares(maps: Array, total: Array) -> bool:
    """Whether maps are broken numbers whose sum is the same wherever there is one, as of at.%."""
    shown = total > 0
    if len(maps) < 2 or not shown.any():
        return False
    low, high = np.quantile(total[shown], (0.05, 0.95))
    return bool(high - low <= EQUAL * high and (maps != np.rint(maps)).any())


def _levels_added(series: TiltSeries) -> Iterator[Finding]:
    added = {
        name.removeprefix(LEVEL_ADDED): float(value)
        for name, value in series.facts.items()
        if name.startswith(LEVEL_ADDED)
    }
    if added:
        named = ", ".join(f"{name} {level:.3g}" for name, level in added.items())
        yield Finding(
            "level",
            "chemical/background",
            max(added.values()),
            f"counts below 0, as after a subtracted background: a level was added, {named}. Counts "
            "as they were recorded are better",
        )


def _signals(series: TiltSeries) -> Iterator[_Signal]:
    if series.haadf_angles_deg:
        film = np.float32(series.haadf_film) * film_thickness(series.haadf_angles_deg)
        bare = (series.haadf - film[:, None, None]).astype(np.float32)
        yield _signal("haadf", series.haadf_angles_deg, bare, series.haadf_background)
    total = series.chemical.sum(axis=0, dtype=np.float32)
    yield _signal("chemical", series.chemical_angles_deg, total, sum(series.chemical_background))


def _signal(name: str, angles: tuple[float, ...], total: Array, background: float) -> _Signal:
    order = np.argsort(angles, kind="stable")
    if min(total.shape[-2:]) >= PATCH + 2:
        noise = estimate_noise(total)
    else:
        noise = Noise(1.0, 0.0, float(total.min(initial=0.0)))
    return _Signal(name, tuple(angles[i] for i in order), total[order], background, noise)


def _of_signal(signal: _Signal) -> Iterator[Finding]:
    yield from _radians(signal)
    yield from _unit(signal)
    yield from _hot_pixel(signal)
    yield from _blank_tilt(signal)
    yield from _filled_border(signal)
    yield from _order(signal)
    yield from _cut_off(signal)


def _radians(signal: _Signal) -> Iterator[Finding]:
    largest = max(map(abs, signal.angles_deg), default=0.0)
    if len(signal.angles_deg) >= FEWEST_TILTS and 0 < largest < RADIANS:
        yield Finding(
            "radians",
            f"{signal.name}/angles_deg",
            largest,
            f"all {len(signal.angles_deg)} tilts within ±{largest:.2f}°: angles in radians? "
            "Degrees are expected",
        )


def are_few(angles_deg: Sequence[float]) -> bool:
    """Whether tilts are too few, or too near one another, for a volume.

    Parameters
    ----------
    angles_deg : of the images.
    """
    return len(angles_deg) < FEWEST_TILTS or max(angles_deg) - min(angles_deg) < LEAST_RANGE


def _few_tilts(series: TiltSeries) -> Iterator[Finding]:
    """Of both modalities together: either sees for the other."""
    angles = (*series.haadf_angles_deg, *series.chemical_angles_deg)
    if angles and are_few(angles):
        low, high = min(angles), max(angles)
        yield Finding(
            "few-tilts",
            "haadf/angles_deg" if series.haadf_angles_deg else "chemical/angles_deg",
            high - low,
            f"{len(angles)} images from {low:.4g}° to {high:.4g}°: volumes are smeared along the "
            "beam, and nothing mends it",
        )


def _unit(signal: _Signal) -> Iterator[Finding]:
    """HAADF alone: the maps are counts by their likelihood."""
    gain = signal.noise.gain
    if (
        signal.name != "haadf"
        or gain <= 0
        or LEAST_GAIN <= gain <= (np.inf if signal.small else MOST_GAIN)
    ):
        return
    # with the level subtracted, edges hide the gain
    if gain > 1 and signal.noise.floor != 0:
        return
    yield Finding(
        "unit",
        "haadf/projections",
        gain,
        f"not in counts: one electron gives {gain:.3g} units, judged by the noise. Weights of "
        "edition 1 (noise counts) mean another thing then; those of later ones do not",
    )


def _hot_pixel(signal: _Signal) -> Iterator[Finding]:
    if not signal.total.size:
        return
    images = signal.total.astype(np.float64)
    beside = np.ones((3, 3, 3), bool)
    beside[1, 1, 1] = False
    # the brightest pixel around, in the tilts before and after too; none beyond the edges
    around = ndimage.maximum_filter(images, footprint=beside, mode="constant", cval=-np.inf)
    excess = (images - around) / np.sqrt(np.maximum(signal.noise.variance(around), 1e-30))
    usual = float(np.quantile(np.maximum(excess, 0.0), USUAL_PEAK))
    dark = _darkest(signal.total)[0]
    excess[images - dark <= HOT_FACTOR * (around - dark)] = 0.0
    if excess.max() <= max(HOT_SIGMAS, HOT_LEAP * usual):
        # of so many that the usual peak is one of them
        hot = outshining(images, 1.0 if signal.name == "chemical" else signal.noise.gain)
        if not hot.any():
            return
        excess = np.where(hot, images, 0.0)
    tilt, y, x = np.unravel_index(int(np.argmax(excess)), excess.shape)
    value = float(images[tilt, y, x])
    yield Finding(
        "hot-pixel",
        f"{signal.name}/projections",
        value,
        f"hot pixel at tilt {signal.angles_deg[tilt]:.3g}°, (y, x) = ({y}, {x}): {value:.6g}, "
        f"where its neighbours reach {around[tilt, y, x]:.6g}",
    )


def _blank_tilt(signal: _Signal) -> Iterator[Finding]:
    totals = signal.total.sum(axis=(1, 2), dtype=np.float64)
    if len(totals) < 3:
        return
    usual = np.array([usual_total(totals, i) for i in range(len(totals))])
    pixels = signal.total[0].size
    spread = np.sqrt(pixels * np.maximum(signal.noise.variance(usual / pixels), 1e-30))
    ratio = totals / np.maximum(usual, 1e-30)
    odd = ((ratio < BLANK) | (ratio > BRIGHT)) & (np.abs(totals - usual) > BLANK_SIGMAS * spread)
    if not odd.any():
        return
    worst = int(np.argmax(np.where(odd, np.abs(totals - usual), -1.0)))
    yield Finding(
        "blank-tilt",
        f"{signal.name}/projections",
        float(ratio[worst]),
        f"tilt {signal.angles_deg[worst]:.3g}° holds {ratio[worst]:.2g} times the counts of its "
        "neighbours: blank or overexposed? Leave it out",
    )


def _filled_border(signal: _Signal) -> Iterator[Finding]:
    filled = padded_pixels(signal.total) if signal.total.size else np.zeros(0, np.bool_)
    if filled.any():
        value = float(signal.total[filled].min())
        yield Finding(
            "filled-border",
            f"{signal.name}/projections",
            value,
            f"{int(filled.sum())} pixels at the borders, or alike at all tilts, are not vacuum: "
            "filled in by a program that moved images, a scale bar, a dead row? tomoatlas inspect "
            "--fix masks them",
        )


def _order(signal: _Signal) -> Iterator[Finding]:
    """Images that resemble farther ones more than the next, which are of the other sign of tilt."""
    if len(signal.total) < FEWEST_IN_ORDER:
        return
    smooth = ndimage.gaussian_filter(signal.total.astype(np.float64), (0, SMOOTH, SMOOTH))
    steps = ((smooth[1:] - smooth[:-1]) ** 2).mean(axis=(1, 2))
    for lag, sigmas in LAGS.items():
        whole = ((smooth[lag:] - smooth[:-lag]) ** 2).mean(axis=(1, 2))
        each = np.convolve(steps, np.full(lag, 1 / lag), "valid")
        excess, ratio = each - whole, float(each.sum()) / max(float(whole.sum()), 1e-30)
        error = float(excess.std(ddof=1)) / np.sqrt(len(excess))
        if ratio > OUT_OF_ORDER and excess.mean() > sigmas * error:
            yield Finding(
                "order",
                f"{signal.name}/angles_deg",
                ratio,
                f"images differ from the next, in the order of their tilts, {ratio:.2g} times as "
                f"much as from those {lag} tilts on: taken in a dose-symmetric order, and the "
                "angles sorted? Give the angle of each image",
            )
            return


def usual_total(totals: Values, i: int) -> float:
    """Return the median total of the two tilts on each side of a tilt, of those that show anything.

    Parameters
    ----------
    totals : of every image, in the order of their angles, (angle,).
    i : index of the tilt.

    Examples
    --------
    >>> usual_total(np.array([9.0, 0.0, 9.0, 0.0, 9.0]), 2)
    9.0
    """
    beside = np.concatenate([totals[max(0, i - 2) : i], totals[i + 1 : i + 3]])
    # two blank tilts beside a sound one would make it look overexposed
    shown = beside[beside > BLANK * np.median(totals)]
    return float(np.median(shown if shown.size else beside))


def _cut_off(signal: _Signal) -> Iterator[Finding]:
    """Material at the edges across the tilt axis, where a tilt moves it in and out."""
    if signal.total.shape[1] < 8 or not len(signal.total):
        return
    rows = signal.total.mean(axis=2, dtype=np.float64)  # (angle, y)
    dark = max(signal.background, _darkest(signal.total)[0])
    edges = np.maximum(rows[:, 0], rows[:, -1]) - dark
    largest = float(rows.max()) - dark
    worst = int(np.argmax(edges))
    noise = float(signal.noise.variance(rows[worst].max(keepdims=True))[0])
    error = np.sqrt(max(noise, 0.0) / signal.total.shape[2])
    if largest <= 0 or edges[worst] <= max(EDGE * largest, LEVEL_SIGMAS * error):
        return
    part = float(edges[worst] / largest)
    yield Finding(
        "cut-off",
        f"{signal.name}/projections",
        part,
        f"the edge across the tilt axis holds {100 * part:.0f} % of the largest signal at tilt "
        f"{signal.angles_deg[worst]:.3g}°: is the specimen wider than the field of view?",
    )


def _vacuum_levels(series: TiltSeries) -> Iterator[Finding]:
    """The darkest pixels of the mean over tilts, against the background that is given."""
    named = list(zip(series.elements, series.chemical, series.chemical_background, strict=True))
    wrong = [(name, *found) for name, maps, b in named if (found := _above(maps, b)) is not None]
    if not wrong:
        # weak signals show it together
        given = sum(series.chemical_background)
        found = _above(series.chemical.sum(axis=0, dtype=np.float32), given)
        wrong = [("all elements", *found)] if found is not None else []
    if wrong:
        words = ", ".join(f"{name} {dark:.3g} (given {b:.3g})" for name, dark, b in wrong)
        yield _level_finding("chemical/background", wrong[0][1], words)
    if series.haadf_angles_deg:
        yield from _haadf_level(series)


def _haadf_level(series: TiltSeries) -> Iterator[Finding]:
    """Where vacuum is in view its level is known well; else the darkest pixels give a bound."""
    angles, given = series.haadf_angles_deg, series.haadf_background
    film = series.haadf_film * film_thickness(angles)[:, None, None]
    bare = (series.haadf - film).astype(np.float32)
    vacuum = estimate_vacuum(bare, angles)
    if min(bare.shape[-2:]) < VACUUM_EDGE:
        vacuum = replace(vacuum, scatter=np.inf)
    if vacuum.is_seen:
        if abs(vacuum.level - given) > max(OFF * vacuum.signal, LEVEL_SIGMAS * vacuum.level_error):
            yield _level_finding("haadf/background", vacuum.level, _levels(vacuum.level, given))
        return
    behind = estimate_vacuum(bare, angles, film=True)
    least = max(OFF * behind.signal, LEVEL_SIGMAS * behind.film_error)
    if vacuum.scatter < np.inf and behind.is_seen and behind.film > least:
        yield Finding(
            "film",
            "haadf/projections",
            behind.film,
            f"the darkest pixels brighten with the tilt as a film behind the specimen would, of "
            f"{behind.film:.4g} counts at 0°: reconstruct with contrast fitted and film",
        )
    elif (found := _above(bare, given)) is not None:
        yield _level_finding("haadf/background", found[0], _levels(*found))


def _levels(dark: float, given: float) -> str:
    return f"{dark:.4g} (given {given:.4g})"


def _level_finding(key: str, value: float, levels: str) -> Finding:
    return Finding(
        "vacuum-level",
        key,
        value,
        f"the darkest pixels are not at the background: {levels}. Give the counts of vacuum",
    )


def _above(projections: Array, background: float) -> tuple[float, float] | None:
    """Level of the darkest pixels, and the background, if the former is far above."""
    dark, error, largest = _darkest(projections)
    excess = dark - background
    if excess > max(LEVEL * (largest - background), LEVEL_SIGMAS * error):
        return dark, background
    return None


def _darkest(projections: Array) -> tuple[float, float, float]:
    """Level of the darkest patch of the mean over tilts, its error, and the brightest."""
    mean = projections.mean(axis=0, dtype=np.float64)
    smooth = ndimage.uniform_filter(mean, PATCH, mode="nearest")
    y, x = np.unravel_index(int(np.argmin(smooth)), smooth.shape)
    rows, columns = (slice(max(0, n - PATCH // 2), n + PATCH // 2 + 1) for n in (int(y), int(x)))
    patch = projections[:, rows, columns].astype(np.float64)
    error = float(patch.std()) / np.sqrt(patch.size)
    return float(smooth.min()), error, float(smooth.max())


def _vacuum_by_haadf(series: TiltSeries, noise: Noise) -> NDArray[np.bool_] | None:
    """Pixels of the maps where HAADF, of this noise, shows vacuum; None where it cannot be told."""
    if min(series.chemical.shape[-2:]) < VACUUM_EDGE:
        return None
    dark = vacuum_pixels(series)
    return None if dark is None or _hides_specimen(series, noise) else dark


def _beside_haadf(series: TiltSeries, dark: NDArray[np.bool_]) -> Iterator[Finding]:
    """The maps where HAADF shows vacuum: all elements, as one has few counts."""
    known = np.flatnonzero(series.chemical_background)
    if not known.size:
        return
    counts = series.centred().chemical[known].sum(axis=0, dtype=np.float64)[dark]
    level, given = float(counts.mean()), sum(series.chemical_background)
    error = float(counts.std()) / np.sqrt(counts.size)
    if abs(level - given) > max(MAPS_OFF * given, LEVEL_SIGMAS * error):
        words = f"all elements {level:.3g} (given {given:.3g})"
        yield _level_finding("chemical/background", level, words)


def _scattered(series: TiltSeries, dark: NDArray[np.bool_]) -> Iterator[Finding]:
    """Maps whose pixels scatter otherwise than counts where HAADF shows vacuum."""
    pairs = zip(series.centred().chemical.swapaxes(0, 1), dark, strict=True)
    shown = [maps[:, pixels].astype(np.float64) for maps, pixels in pairs if pixels.sum() > 1]
    sizes = np.array([counts.shape[1] for counts in shown])
    if sizes.sum() < FEWEST_PIXELS:
        return
    # within each tilt, as its level may be another; (element,)
    variance = np.transpose([counts.var(axis=1, ddof=1) for counts in shown]) @ sizes
    level = np.transpose([counts.mean(axis=1) for counts in shown]) @ sizes
    ratios = variance / np.maximum(level, 1e-30)
    # of rare counts the variance itself is uncertain
    chance = CHANCES * np.sqrt((2 + sizes.sum() / np.maximum(level, 1e-30)) / sizes.sum())
    odd = ((ratios < LEAST_COUNT) | (ratios > 1 / LEAST_COUNT)) & (np.abs(ratios - 1) > chance)
    odd &= level > 0
    ratio = float(variance.sum() / max(level.sum(), 1e-30))
    named = [f"{series.elements[i]} {ratios[i]:.2g}" for i in np.flatnonzero(odd)]
    if level.any() and not SCATTER[0] <= ratio <= SCATTER[1]:
        named = [f"{ratio:.2g}"]
    if named:
        yield Finding(
            "not-counts",
            "chemical/projections",
            ratio,
            f"not X-ray counts: in vacuum the maps scatter {', '.join(named)} times as much as "
            "counts. A background was subtracted and cut off at 0, or maps were scaled, averaged "
            "or thresholded? Give the counts as they were recorded",
        )


def _hides_specimen(series: TiltSeries, noise: Noise) -> bool:
    """Whether specimen can lie where HAADF is dark by chance, averaged as vacuum is looked for."""
    signal = estimate_vacuum(series.haadf, series.haadf_angles_deg, film=True).signal
    return bool(np.sqrt(max(noise.darkest, 0.0)) > HIDES * INNER * signal)


def _of_both(series: TiltSeries) -> Iterator[Finding]:
    found = agreement(series)
    if found is None:
        return
    if found.inverted:
        yield Finding(
            "inverted",
            "haadf/projections",
            found.correlation,
            f"HAADF is dark where the maps are bright (correlation {found.correlation:.2f}): an "
            "image in bright field, values of the opposite sign, or the heaviest element without a "
            "map?",
        )
        return
    y, x = found.shift
    shifted = max(abs(y), abs(x)) >= SHIFT and found.shift_evidence > SHIFT_EVIDENCE
    # one of the two: either also mends a part of the other
    if found.turned and not (shifted and found.shift_unexplained < found.unexplained):
        yield Finding(
            "orientation",
            "haadf/angles_deg" if found.turn.sense < 0 else "haadf/projections",
            found.unexplained,
            f"HAADF and maps disagree; with {found.turn} HAADF would leave "
            f"{100 * found.unexplained:.0f} % of the difference",
        )
    elif shifted:
        yield Finding(
            "shift",
            "haadf/projections",
            float(np.hypot(y, x)),
            f"HAADF lies ({y:+.1f}, {x:+.1f}) pixels (y, x) off the maps: align them first",
        )
    elif found.tilted:
        yield Finding(
            "tilts",
            "haadf/angles_deg",
            found.angles.offset,
            f"HAADF fits the maps better at {found.angles}, which would leave "
            f"{100 * found.angles_unexplained:.0f} % of the difference: are the angles of both in "
            "degrees, of one stage, and in the order of the images?",
        )


def _missing_element(series: TiltSeries, noise: Noise) -> Iterator[Finding]:
    """HAADF, of this noise, that the maps of the same tilts do not explain."""
    left = unexplained(series, noise)
    if left is not None and left.part >= MISSING and left.chance <= CHANCE:
        scales = ", scales that are not those of the maps" if left.scaled else ""
        yield Finding(
            "missing-element",
            "haadf/projections",
            left.part,
            f"the maps explain HAADF but for {100 * left.part:.1f} % (± {100 * left.error:.1f} %): "
            f"an element without a map{scales}, or images that are not aligned?",
        )
