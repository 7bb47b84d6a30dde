"""A tilt series from the channels of a microscope's files: angles, axis, pixels and levels agreed.

What was decided on the way is kept in words, for a person to check.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.geometry import STILL, Mask
from ...recon_core.metrics.agreement import Turn, agreement
from ...recon_core.tiltseries import MOST_COUNTS, TiltSeries
from .angles import FARTHEST, angles_of_names
from .microscope import NAME, STAGE, Channel
from .names import HAADF, OTHER
from .pixels import Stack, add_note, joined, placement_of, registered

Array = NDArray[np.float32]
Values = NDArray[np.float64]

RADIANS, FEWEST = 3.2, 5  # all angles within half a turn, in five tilts or more: radians
GIVEN = "given"  # where angles are from that a person says
ALIKE = 0.1  # degrees: a stage comes back to a tilt as near as this
NEVER_TILTED = 3  # images at one tilt: repeats, but no series
MOST_MISSING = 0.5  # share of pixels without a number
FEWER_LEAPS = 0.1
STEADIER = 0.9  # variation of the profile along the axis over that across it, to tell the two apart


@dataclass(frozen=True)
class Choices:
    """What a person may say of the files instead of letting it be found.

    Parameters
    ----------
    haadf_angles, map_angles : degrees; None takes those of the files.
    axis : ``x`` or ``y``, the direction of the tilt axis in the images; ``auto`` finds it.
    binning : pixels per edge that are added up.
    scales : counts for an atom of each element, of all or None; their ratios are what matters.
    """

    haadf_angles: tuple[float, ...] | None = None
    map_angles: tuple[float, ...] | None = None
    axis: str = "auto"
    binning: int = 1
    scales: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Gathered:
    """A tilt series, and what was understood of its files.

    Parameters
    ----------
    series : counts as they were found, with levels that make them non-negative.
    rows : of a table: channel, tilts, angles, pixels, what is from where.
    notes : what was changed or assumed, a line each.
    """

    series: TiltSeries
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def gather(channels: Iterable[Channel], choices: Choices) -> Gathered:
    """Make one tilt series of channels.

    Parameters
    ----------
    channels : of all files.
    choices : what a person said of them.

    Returns
    -------
    Gathered : tilts in the order of their angles, x along the tilt axis.

    Raises
    ------
    BadInput : no element, channels without angles or with others than the rest, unnamed channels.
    """
    notes: list[str] = []
    stacks = [_stack(*one, choices, notes) for one in _by_name(list(channels), notes).items()]
    stacks = [_unwrapped(_in_degrees(stack, notes), notes) for stack in stacks]
    stacks = [_sorted(_fold_noted(stack, notes)) for stack in stacks]
    rows = tuple(_row(stack) for stack in stacks)
    haadf = [stack for stack in stacks if stack.name == HAADF]
    maps = [stack for stack in stacks if stack.name != HAADF]
    if not maps:
        raise BadInput(
            "no map of an element",
            key="FILES",
            value=[stack.name for stack in stacks],
            accepted="maps named by an element (Co=FILE), or spectrum images with --elements",
        )
    stacks = _along_x([*haadf, *_at_common_tilts(maps, notes)], choices.axis, notes)
    stacks, pixel_nm = registered(stacks, choices.binning, notes)
    series = _scaled(_series(stacks, pixel_nm, notes), choices.scales)
    return Gathered(_sense(series, notes), rows, tuple(notes))


def _by_name(channels: list[Channel], notes: list[str]) -> dict[str, list[Channel]]:
    named: dict[str, list[Channel]] = {}
    for channel in channels:
        named.setdefault(channel.name, []).append(channel)
    if named.pop(OTHER, []):
        add_note(notes, f"{OTHER} images left out: neither HAADF nor the map of an element")
    unnamed = named.pop("", [])
    if not unnamed:
        return named
    if HAADF not in named:
        paths = [channel.path for channel in unnamed]
        if len(set(paths)) < len(paths):
            raise BadInput(
                "several images without a name",
                source=next(path for path in paths if paths.count(path) > 1),
                accepted="one image a file, or titles: HAADF, Co",
            )
        return {HAADF: unnamed} | named
    # other detectors beside HAADF in one file; a file of its own is meant to be used
    beside = {channel.path for channel in named[HAADF]}
    for channel in unnamed:
        if channel.path not in beside:
            raise BadInput(
                "neither HAADF nor an element by its title or name",
                source=channel.path,
                accepted=f"HAADF={channel.path.name} or Co={channel.path.name}",
            )
    add_note(notes, "images of other detectors beside HAADF left out")
    return named


def _check_angles(name: str, angles: tuple[float, ...], path: Path) -> None:
    """Refuse what no stage turns to, and a stack that was never tilted."""
    worst = max(angles, key=lambda a: abs(a) if np.isfinite(a) else np.inf)
    if not abs(worst) <= FARTHEST:
        raise BadInput(
            f"no tilt of {name}",
            source=path,
            key="--angles",
            value=worst,
            accepted=f"degrees from {-FARTHEST:g} to {FARTHEST:g}",
        )
    if len(angles) >= NEVER_TILTED and len(set(angles)) == 1:
        problem = f"all {len(angles)} images of {name} at one tilt"
        accepted = "the angle of each image"
        raise BadInput(problem, source=path, key="--angles", value=worst, accepted=accepted)


def _check_counts(part: Channel) -> None:
    """Refuse images of which a mask would leave little, and numbers that are no counts."""
    bad = 1.0 - float(np.isfinite(part.images).mean()) if part.images.size else 0.0
    if bad > MOST_MISSING:
        raise BadInput(
            f"{bad:.0%} of the pixels of {part.name} are NaN or infinite",
            source=part.path,
            accepted="finite counts; NaN for single pixels and tilts that are not to count",
        )
    most = float(part.images.max(where=np.isfinite(part.images), initial=0.0))
    if most > MOST_COUNTS:
        accepted = f"0 to {MOST_COUNTS:g}"
        raise BadInput(
            "not a count", source=part.path, key=part.name, value=most, accepted=accepted
        )


def _stack(name: str, parts: list[Channel], choices: Choices, notes: list[str]) -> Stack:
    for part in parts:
        _check_counts(part)
    given = choices.haadf_angles if name == HAADF else choices.map_angles
    angles, source = given, GIVEN
    if angles is None:
        parts = _named_instead(parts)
        missing = [part for part in parts if part.angles_deg is None]
        if missing:
            raise BadInput(
                f"no tilt angle of {name}",
                source=missing[0].path,
                key="--angles",
                accepted="angles in the file, its name, a .rawtlt beside it, or --angles",
            )
        angles = tuple(a for part in parts for a in part.angles_deg or ())
        source = parts[0].source
    count = sum(len(part.images) for part in parts)
    if len(angles) != count:
        key = "--angles" if source == GIVEN else source
        raise BadInput(
            f"{len(angles)} angles for {count} images of {name}",
            source=parts[0].path,
            key=key,
            value=len(angles),
            accepted=f"{count} angles" + ("" if source == GIVEN else ", or --angles"),
        )
    _check_angles(name, angles, parts[0].path)
    level = float(np.average([p.level for p in parts], weights=[len(p.images) for p in parts]))
    stacks = [
        Stack(name, p.images, a, source, p.pixel_nm, np.zeros((len(p.images), 2)), level)
        for p, a in zip(parts, _split(angles, parts), strict=True)
    ]
    stack = _without_copies(joined(stacks, notes), notes)
    if repeats := len(stack.angles) - len(set(stack.angles)):
        add_note(notes, f"{name}: {repeats} images at a tilt that another has")
    return stack


def _without_copies(stack: Stack, notes: list[str]) -> Stack:
    """Leave out what a file that is given twice repeats, pixel by pixel: no further counts."""
    kept: list[int] = []
    for i, angle in enumerate(stack.angles):
        same = (j for j in kept if stack.angles[j] == angle)
        # images without a count are alike, and no copies
        copied = any(np.array_equal(stack.images[i], stack.images[j]) for j in same)
        if not copied or not stack.images[i].any():
            kept.append(i)
    if len(kept) == len(stack.angles):
        return stack
    left = len(stack.angles) - len(kept)
    add_note(notes, f"{stack.name}: {left} images that are copies of others left out")
    return stack.of(kept)


def _split(angles: tuple[float, ...], parts: list[Channel]) -> Iterator[tuple[float, ...]]:
    rest = iter(angles)
    return (tuple(itertools.islice(rest, len(part.images))) for part in parts)


def _named_instead(parts: list[Channel]) -> list[Channel]:
    """Take the angles of the files' names, together, where nothing in the files says them.

    A stage that says the same in all of them has not been asked.
    """
    staged = {part.angles_deg for part in parts if part.source == STAGE}
    silent = len(parts) > 1 and len(staged) == 1
    if not (silent or all(part.source in (NAME, "") for part in parts)):
        return parts
    if any(len(part.images) != 1 for part in parts):
        return parts
    names = angles_of_names([part.path for part in parts])
    if names is None or (silent and len(set(names)) < len(parts)):
        return parts
    pairs = zip(parts, names, strict=True)
    return [replace(p, angles_deg=(n,), source=NAME) for p, n in pairs]


def _in_degrees(stack: Stack, notes: list[str]) -> Stack:
    largest = max(map(abs, stack.angles))
    if len(stack.angles) < FEWEST or not 0 < largest < RADIANS:
        return stack
    add_note(notes, f"{stack.name}: angles within ±{largest:.2f} taken for radians")
    return replace(stack, angles=tuple(float(np.rad2deg(a)) for a in stack.angles))


def _unwrapped(stack: Stack, notes: list[str]) -> Stack:
    """Undo what signed integers make of unsigned values: those of the upper half negative."""
    for bits in (8, 16):
        half = 2.0 ** (bits - 1)
        unsigned = _unsigned(stack.images, half)
        if unsigned is not None:
            words = f"values above {half - 1:.0f} were read as negative, taken as unsigned"
            add_note(notes, f"{stack.name}: {words}")
            return replace(stack, images=unsigned)
    return stack


def _unsigned(images: Array, half: float) -> Array | None:
    """The images as unsigned values, whose upper half was read as negative; None if it was not."""
    low, high = float(images.min(initial=0)), float(images.max(initial=0))
    if not (-half <= low < -half / 2 and half / 2 < high < half):
        return None
    unsigned = np.where(images < 0, images + np.float32(2 * half), images)
    # where values wrap, neighbours lie half the range apart
    as_read, instead = (int((np.abs(np.diff(v)) > half).sum()) for v in (images, unsigned))
    return unsigned if as_read and instead <= FEWER_LEAPS * as_read else None


def _fold_noted(stack: Stack, notes: list[str]) -> Stack:
    """Say which angles :func:`_mirrored` will fold: those beyond ±90° are views from behind."""
    beyond = [a for a in stack.angles if not -90 <= a <= 90]
    if beyond:
        words = f"{len(beyond)} angles beyond ±90° folded, their images mirrored"
        add_note(notes, f"{stack.name}: {words} across the axis")
    return stack


def _sorted(stack: Stack) -> Stack:
    return stack.of(np.argsort(stack.angles, kind="stable").tolist())


def _row(stack: Stack) -> tuple[str, ...]:
    low, high = min(stack.angles), max(stack.angles)
    pixel = "unknown" if stack.pixel_nm is None else f"{stack.pixel_nm:.4g} nm"
    height, width = stack.images.shape[1:]
    return (
        stack.name,
        str(len(stack.images)),
        f"{low:.4g}° to {high:.4g}° ({stack.source})",
        f"{height} x {width} of {pixel}",
        f"{float(stack.images.mean(dtype=np.float64, where=np.isfinite(stack.images))):.4g}",
    )


def _at_common_tilts(maps: list[Stack], notes: list[str]) -> list[Stack]:
    """Keep the tilts at which every element has a map."""
    if len({stack.angles for stack in maps}) == 1:
        return maps
    least = min(maps, key=lambda stack: len(stack.angles))
    places = [[_nearest(stack.angles, a) for a in least.angles] for stack in maps]
    common = [i for i in range(len(least.angles)) if all(p[i] is not None for p in places)]
    # a tilt that is there twice is nearest to both of its images of the other element
    chosen = [tuple(p[i] for i in common) for p in places]
    if not common or any(len(set(c)) < len(c) for c in chosen):
        first, other = maps[0], next((s for s in maps if s.angles != maps[0].angles), maps[0])
        raise BadInput(
            f"{other.name} and {first.name} have other tilts",
            key="--angles",
            value=len(other.angles),
            accepted=f"the {len(first.angles)} angles of {first.name}",
        )
    for stack in maps:
        if left := len(stack.angles) - len(common):
            add_note(notes, f"{stack.name}: {left} tilts left out that not all elements have")
    angles = tuple(least.angles[i] for i in common)
    return [
        replace(s.of([i for i in c if i is not None]), angles=angles)
        for s, c in zip(maps, chosen, strict=True)
    ]


def _nearest(angles: tuple[float, ...], angle: float) -> int | None:
    """Index of the angle nearest to another, if it may be the same tilt."""
    apart = np.abs(np.array(angles) - angle)
    return int(apart.argmin()) if apart.min() <= ALIKE else None


def _along_x(stacks: list[Stack], axis: str, notes: list[str]) -> list[Stack]:
    """Turn images so that the tilt axis is x, then mirror those that were taken from behind."""
    if axis == "auto":
        axis, words = _found_axis(stacks[0])
        add_note(notes, words)
    if axis == "y":
        add_note(notes, "the tilt axis is vertical in the images: turned by 90°")
        stacks = [s.turned() for s in stacks]
    return [_sorted(_mirrored(s)) for s in stacks]


def _found_axis(stack: Stack) -> tuple[str, str]:
    """The direction along which the profile hardly changes over the tilts."""
    height, width = stack.images.shape[1:]
    if min(height, width) == 1 < max(height, width):
        axis = "x" if width == 1 else "y"
        return axis, f"tilt axis taken along {axis}, in which {stack.name} has one pixel"
    # A slab across the axis stays in its place at every tilt: summed over the other direction, the
    # profile along the axis is that of the slabs, the same in all images.
    along_x, along_y = (_unsteadiness(stack.images, summed) for summed in (1, 2))
    axis = "x" if along_x <= along_y else "y"
    ratio = min(along_x, along_y) / max(along_x, along_y, 1e-30)
    sure = "" if ratio < STEADIER else ", hardly: give --axis if that is wrong"
    return (
        axis,
        f"tilt axis found along {axis}, where the profile of {stack.name} is steadiest{sure}",
    )


def _unsteadiness(images: Array, summed: int) -> float:
    """Variation of a profile over the tilts, shifts and brightness apart, over its own."""
    profiles = np.where(np.isfinite(images), images, 0).mean(axis=summed, dtype=np.float64)
    # The vacuum, which is no part of the specimen and may differ between images.
    profiles -= np.quantile(profiles, 0.05, axis=1, keepdims=True)
    profiles /= np.maximum(np.linalg.norm(profiles, axis=1, keepdims=True), 1e-30)
    steps = []
    for one, other in itertools.pairwise(profiles):
        # The best of all shifts: an image that has drifted along the axis shows the same profile.
        match = np.correlate(other, one, "full")
        steps.append(2.0 - 2.0 * float(match.max()))
    return float(np.mean(steps)) if steps else 0.0


def _mirrored(stack: Stack) -> Stack:
    angles = np.array(stack.angles)
    turns = np.round(angles / 180.0)
    folded = angles - 180.0 * turns
    behind = turns % 2 != 0
    images, off = stack.images.copy(), stack.off.copy()
    # Half a turn further the beam takes the same lines the other way: the image is reversed across
    # the axis, which is x.
    images[behind] = images[behind, ::-1]
    off[behind, 0] *= -1
    return replace(stack, images=images, off=off, angles=tuple(float(a) for a in folded))


def _series(stacks: list[Stack], pixel_nm: float, notes: list[str]) -> TiltSeries:
    haadf = next((s for s in stacks if s.name == HAADF), None)
    maps = [s for s in stacks if s.name != HAADF]
    lifted = [_lifted(s, notes) for s in maps]
    images = np.zeros((0, *maps[0].images.shape[1:]), np.float32), 0.0
    seen = None
    if haadf is not None:
        images, seen = _lifted(haadf, notes), _seen([haadf], notes)
    return TiltSeries(
        haadf=images[0],
        haadf_angles_deg=() if haadf is None else haadf.angles,
        chemical=np.stack([counts for counts, _ in lifted]),
        chemical_angles_deg=maps[0].angles,
        elements=tuple(s.name for s in maps),
        haadf_background=images[1],
        chemical_background=tuple(level for _, level in lifted),
        voxel_size_nm=pixel_nm,
        haadf_placement=STILL if haadf is None else placement_of(haadf.off, maps[0].off),
        chemical_placement=placement_of(maps[0].off, maps[0].off),
        haadf_mask=seen,
        chemical_mask=_seen(maps, notes),
    )


def _scaled(series: TiltSeries, scales: Mapping[str, float] | None) -> TiltSeries:
    """Give the maps their counts for an atom."""
    if scales is None:
        return series
    wrong = sorted({*scales} ^ {*series.elements})
    if wrong or not all(0 < value < np.inf for value in scales.values()):
        raise BadInput(
            "no scale of each element",
            key="--scale",
            value=", ".join(f"{name}={value:g}" for name, value in scales.items()),
            accepted=f"numbers > 0 for {', '.join(series.elements)}",
        )
    return replace(series, chemical_scale=tuple(float(scales[e]) for e in series.elements))


def _seen(stacks: list[Stack], notes: list[str]) -> Mask | None:
    """Mask of the pixels that are numbers in all channels; None if all are."""
    good = np.all([np.isfinite(stack.images) for stack in stacks], axis=0)
    if good.all():
        return None
    names = ", ".join(s.name for s in stacks if not np.isfinite(s.images).all())
    add_note(notes, f"{names}: {int((~good).sum())} pixels that are NaN or infinite masked")
    return Mask.of(good)


def _lifted(stack: Stack, notes: list[str]) -> tuple[Array, float]:
    """Counts that are not negative, and the level added to make them so."""
    name, level = stack.name, stack.level
    known = np.isfinite(stack.images)
    # below a mask any number will do
    images = np.where(known, stack.images, stack.images.min(where=known, initial=np.inf))
    if level > 0:
        noise = f"what was taken off left the noise of {level:.4g} counts per pixel"
        add_note(notes, f"{name}: {noise}, kept as the level")
    elif (level := -float(images.min())) > 0:
        add_note(
            notes, f"{name}: negative counts, as after a background; {level:.4g} added as a level"
        )
    level = max(0.0, level)  # in this order -0.0 becomes 0.0
    return np.ascontiguousarray(np.maximum(images + np.float32(level), 0), np.float32), level


def _sense(series: TiltSeries, notes: list[str]) -> TiltSeries:
    """Reverse the HAADF tilts if the maps agree with that, and only with that."""
    found = agreement(series.filled())
    if found is None or not found.turned:
        return series
    turn = found.turn
    # The sense of the angles is a convention of the stage; any other turn would mean that images
    # were stored otherwise, which a person should decide.
    if turn != Turn(sense=-1):
        add_note(notes, f"HAADF and maps would agree with {turn}; nothing was changed")
        return series
    add_note(notes, "HAADF tilts are of the opposite sense than those of the maps: reversed")
    order = list(range(len(series.haadf_angles_deg)))[::-1]
    flipped = series.of_tilts(order, range(len(series.chemical_angles_deg)))
    return replace(flipped, haadf_angles_deg=tuple(-a for a in flipped.haadf_angles_deg))
