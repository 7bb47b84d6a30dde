"""A tilt series from the channels of a microscope's files: angles, axis, pixels and levels agreed.

What was decided on the way is kept in words, for a person to check.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...recon_core.errors import BadInput
from ...recon_core.metrics.agreement import agreement
from ...recon_core.tiltseries import TiltSeries
from .microscope import HAADF, NAME, STAGE, Channel, angle_of_name

Array = NDArray[np.float32]
Values = NDArray[np.float64]

RADIANS, FEWEST = 1.6, 5  # all angles within ±1.6, in five tilts or more: radians
STEADIER = 0.9  # variation of the profile along the axis over that across it, to tell the two apart
SAME = 0.02  # relative: pixel sizes that differ less are the same


@dataclass(frozen=True)
class Choices:
    """What a person may say of the files instead of letting it be found.

    Parameters
    ----------
    haadf_angles, map_angles : degrees; None takes those of the files.
    axis : ``x`` or ``y``, the direction of the tilt axis in the images; ``auto`` finds it.
    binning : pixels per edge that are added up.
    """

    haadf_angles: tuple[float, ...] | None = None
    map_angles: tuple[float, ...] | None = None
    axis: str = "auto"
    binning: int = 1


@dataclass(frozen=True)
class _Stack:
    """Images of one channel of all files, (angle, y, x)."""

    name: str
    images: Array
    angles: tuple[float, ...]
    source: str
    pixel_nm: float | None
    level: float = 0.0


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
    stacks = [_stack(name, part, choices) for name, part in _by_name(list(channels)).items()]
    stacks = [_sorted(_fold_noted(_in_degrees(stack, notes), notes)) for stack in stacks]
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
    _check_angles(maps)
    stacks = _along_x([*haadf, *maps], choices.axis, notes)
    stacks, pixel_nm = _registered(stacks, choices.binning, notes)
    return Gathered(_sense(_series(stacks, pixel_nm, notes), notes), rows, tuple(notes))


def _by_name(channels: list[Channel]) -> dict[str, list[Channel]]:
    named: dict[str, list[Channel]] = {}
    for channel in channels:
        named.setdefault(channel.name, []).append(channel)
    unnamed = named.pop("", [])
    if unnamed and HAADF in named:
        raise BadInput(
            "neither HAADF nor an element by its title or name",
            source=unnamed[0].path,
            accepted=f"HAADF={unnamed[0].path.name} or Co={unnamed[0].path.name}",
        )
    return {HAADF: unnamed} | named if unnamed else named


def _stack(name: str, parts: list[Channel], choices: Choices) -> _Stack:
    # Files of one series may differ by some rows; one stack has one shape.
    height, width = (min(p.images.shape[a] for p in parts) for a in (1, 2))
    images = np.concatenate([_middle(p.images, height, width) for p in parts])
    given = choices.haadf_angles if name == HAADF else choices.map_angles
    angles, source = given, "given"
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
    if len(angles) != len(images):
        raise BadInput(
            f"{len(angles)} angles for {len(images)} images of {name}",
            source=parts[0].path,
            key="--angles",
            value=len(angles),
            accepted=f"{len(images)} angles",
        )
    level = float(np.mean([part.level for part in parts]))
    return _Stack(name, images, tuple(angles), source, parts[0].pixel_nm, level)


def _named_instead(parts: list[Channel]) -> list[Channel]:
    """Take the angles of the files' names where the stage says the same of all of them."""
    staged = {part.angles_deg for part in parts if part.source == STAGE}
    names = [angle_of_name(part.path) for part in parts]
    if len(parts) < 2 or len(staged) != 1 or None in names or len(set(names)) < len(parts):
        return parts
    pairs = zip(parts, names, strict=True)
    return [replace(p, angles_deg=(n,), source=NAME) for p, n in pairs if n is not None]


def _middle(images: Array, height: int, width: int) -> Array:
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]


def _in_degrees(stack: _Stack, notes: list[str]) -> _Stack:
    largest = max(map(abs, stack.angles))
    if len(stack.angles) < FEWEST or not 0 < largest < RADIANS:
        return stack
    _add(notes, f"{stack.name}: angles within ±{largest:.2f} taken for radians")
    return replace(stack, angles=tuple(float(np.rad2deg(a)) for a in stack.angles))


def _fold_noted(stack: _Stack, notes: list[str]) -> _Stack:
    """Say which angles :func:`_mirrored` will fold: those beyond ±90° are views from behind."""
    beyond = [a for a in stack.angles if not -90 <= a <= 90]
    if beyond:
        words = f"{len(beyond)} angles beyond ±90° folded, their images mirrored"
        _add(notes, f"{stack.name}: {words} across the axis")
    return stack


def _sorted(stack: _Stack) -> _Stack:
    order = np.argsort(stack.angles, kind="stable")
    angles = tuple(stack.angles[i] for i in order)
    return replace(stack, images=stack.images[order], angles=angles)


def _row(stack: _Stack) -> tuple[str, ...]:
    low, high = min(stack.angles), max(stack.angles)
    pixel = "unknown" if stack.pixel_nm is None else f"{stack.pixel_nm:.4g} nm"
    height, width = stack.images.shape[1:]
    return (
        stack.name,
        str(len(stack.images)),
        f"{low:.4g}° to {high:.4g}° ({stack.source})",
        f"{height} x {width} of {pixel}",
        f"{float(stack.images.mean(dtype=np.float64)):.4g}",
    )


def _check_angles(maps: list[_Stack]) -> None:
    for stack in maps[1:]:
        if stack.angles != maps[0].angles:
            raise BadInput(
                f"{stack.name} and {maps[0].name} have other tilts",
                key="--angles",
                value=len(stack.angles),
                accepted=f"the {len(maps[0].angles)} angles of {maps[0].name}",
            )


def _along_x(stacks: list[_Stack], axis: str, notes: list[str]) -> list[_Stack]:
    """Turn images so that the tilt axis is x, then mirror those that were taken from behind."""
    if axis == "auto":
        axis, words = _found_axis(stacks[0])
        _add(notes, words)
    if axis == "y":
        _add(notes, "the tilt axis is vertical in the images: turned by 90°")
        stacks = [replace(s, images=np.rot90(s.images, axes=(1, 2))) for s in stacks]
    return [_sorted(_mirrored(s)) for s in stacks]


def _found_axis(stack: _Stack) -> tuple[str, str]:
    """The direction along which the profile hardly changes over the tilts."""
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
    profiles = images.mean(axis=summed, dtype=np.float64)
    # The vacuum, which is no part of the specimen and may differ between images.
    profiles -= np.quantile(profiles, 0.05, axis=1, keepdims=True)
    profiles /= np.maximum(np.linalg.norm(profiles, axis=1, keepdims=True), 1e-30)
    steps = []
    for one, other in itertools.pairwise(profiles):
        # The best of all shifts: an image that has drifted along the axis shows the same profile.
        match = np.correlate(other, one, "full")
        steps.append(2.0 - 2.0 * float(match.max()))
    return float(np.mean(steps)) if steps else 0.0


def _mirrored(stack: _Stack) -> _Stack:
    angles = np.array(stack.angles)
    turns = np.round(angles / 180.0)
    folded = angles - 180.0 * turns
    behind = turns % 2 != 0
    images = stack.images.copy()
    # Half a turn further the beam takes the same lines the other way: the image is reversed across
    # the axis, which is x.
    images[behind] = images[behind, ::-1]
    return replace(stack, images=images, angles=tuple(float(a) for a in folded))


def _registered(stacks: list[_Stack], binning: int, notes: list[str]) -> tuple[list[_Stack], float]:
    """Bring all channels to the largest pixel among them, and to the field that all cover."""
    known = [s.pixel_nm for s in stacks if s.pixel_nm is not None]
    if not known:
        _add(notes, "no pixel size in the files: 1 nm assumed, the same for all")
        pixel = 1.0
    else:
        # The largest: counts add up to coarser pixels, but nothing makes them finer.
        pixel = max(known)
        stacks = [_on_pixels(s, pixel, notes) for s in stacks]
    if binning > 1:
        stacks = [_added_up(s, binning) for s in stacks]
        pixel *= binning
        _add(notes, f"binned {binning} x {binning}: counts added up")
    height, width = (min(s.images.shape[a] for s in stacks) for a in (1, 2))
    if any(s.images.shape[1:] != (height, width) for s in stacks):
        _add(notes, f"cut to the {height} x {width} pixels in the middle that all channels cover")
    return [replace(s, images=_middle(s.images, height, width)) for s in stacks], pixel


def _on_pixels(stack: _Stack, pixel: float, notes: list[str]) -> _Stack:
    own = stack.pixel_nm
    if own is None:
        _add(notes, f"{stack.name}: no pixel size, taken for that of the others")
        return stack
    ratio = pixel / own
    if abs(ratio - 1) < SAME:
        return stack
    whole = round(ratio)
    if abs(ratio / whole - 1) < SAME:
        _add(notes, f"{stack.name}: {whole} x {whole} pixels added up to those of {pixel:.4g} nm")
        return replace(_added_up(stack, whole), pixel_nm=pixel)
    _add(
        notes, f"{stack.name}: interpolated to pixels of {pixel:.4g} nm, {ratio:.3g} times its own"
    )
    zoomed = ndimage.zoom(stack.images, (1, 1 / ratio, 1 / ratio), order=1, mode="nearest")
    # Counts belong to an area: a larger pixel collects more of them by its area.
    images, level = (ratio**2 * zoomed).astype(np.float32), ratio**2 * stack.level
    return replace(stack, images=images, level=level, pixel_nm=pixel)


def _added_up(stack: _Stack, factor: int) -> _Stack:
    return replace(stack, images=_binned(stack.images, factor), level=factor**2 * stack.level)


def _binned(images: Array, factor: int) -> Array:
    angles, height, width = images.shape
    y, x = height // factor, width // factor
    top, left = (height - y * factor) // 2, (width - x * factor) // 2
    even = images[:, top : top + y * factor, left : left + x * factor]
    summed: Array = even.reshape(angles, y, factor, x, factor).sum(axis=(2, 4), dtype=np.float32)
    return summed


def _series(stacks: list[_Stack], pixel_nm: float, notes: list[str]) -> TiltSeries:
    haadf = next((s for s in stacks if s.name == HAADF), None)
    maps = [s for s in stacks if s.name != HAADF]
    lifted = [_lifted(s, notes) for s in maps]
    images = np.zeros((0, *maps[0].images.shape[1:]), np.float32), 0.0
    if haadf is not None:
        images = _lifted(haadf, notes)
    return TiltSeries(
        haadf=images[0],
        haadf_angles_deg=() if haadf is None else haadf.angles,
        chemical=np.stack([counts for counts, _ in lifted]),
        chemical_angles_deg=maps[0].angles,
        elements=tuple(s.name for s in maps),
        haadf_background=images[1],
        chemical_background=tuple(level for _, level in lifted),
        voxel_size_nm=pixel_nm,
    )


def _lifted(stack: _Stack, notes: list[str]) -> tuple[Array, float]:
    """Counts that are not negative, and the level added to make them so."""
    name, images, level = stack.name, stack.images, stack.level
    if not np.isfinite(images).all():
        raise BadInput(f"{name} holds NaN or infinity", key=name, accepted="finite counts")
    if level > 0:
        _add(notes, f"{name}: beside its line {level:.4g} counts per pixel, kept as the level")
    elif (level := -float(images.min())) > 0:
        _add(notes, f"{name}: negative counts, as after a background; {level:.4g} added as a level")
    level = max(level, 0.0)
    return np.ascontiguousarray(np.maximum(images + np.float32(level), 0), np.float32), level


def _sense(series: TiltSeries, notes: list[str]) -> TiltSeries:
    """Reverse the HAADF tilts if the maps agree with that, and only with that."""
    found = agreement(series)
    if found is None or not found.turned:
        return series
    turn = found.turn
    # The sense of the angles is a convention of the stage; any other turn would mean that images
    # were stored otherwise, which a person should decide.
    if (turn.sense, turn.flip_y, turn.flip_x) != (-1, 1, 1):
        _add(notes, f"HAADF and maps would agree with {turn}; nothing was changed")
        return series
    _add(notes, "HAADF tilts are of the opposite sense than those of the maps: reversed")
    order = list(range(len(series.haadf_angles_deg)))[::-1]
    flipped = series.of_tilts(order, range(len(series.chemical_angles_deg)))
    return replace(flipped, haadf_angles_deg=tuple(-a for a in flipped.haadf_angles_deg))


def _add(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)
