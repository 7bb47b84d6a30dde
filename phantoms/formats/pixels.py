"""Stacks of images brought to the same pixels and the same field, with what that moves them by.

Counts belong to an area: they are added up to coarser pixels, never made finer. Where the edges do
not divide, the middle of the images moves by a part of a pixel; it is noted, and the projector
follows it, so that no image is resampled for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.geometry import Placement

Array = NDArray[np.float32]
Values = NDArray[np.float64]

SAME = 0.02  # relative: pixel sizes that differ less are the same where the fields say so too
NEARER = 0.003  # likewise, whatever the fields: half a pixel at the edge of 300


@dataclass(frozen=True)
class Stack:
    """Images of one channel.

    Parameters
    ----------
    name : ``HAADF`` or a chemical symbol.
    images : (angle, y, x).
    angles : of the images, degrees.
    source : of the angles, in words.
    pixel_nm : edge of a pixel; None if unknown.
    off : where the middle of the recorded field lies from that of each image, pixels,
        (angle, (y, x)).
    level : mean counts of a background that was taken off.
    """

    name: str
    images: Array
    angles: tuple[float, ...]
    source: str
    pixel_nm: float | None
    off: Values
    level: float = 0.0

    @property
    def field(self) -> tuple[int, int]:
        """Pixels along y and x."""
        return self.images.shape[1], self.images.shape[2]

    def of(self, tilts: Sequence[int]) -> Stack:
        """Return some of the images, in a new order.

        Parameters
        ----------
        tilts : their indices.
        """
        order = list(tilts)
        angles = tuple(self.angles[i] for i in order)
        return replace(self, images=self.images[order], angles=angles, off=self.off[order])

    def turned(self) -> Stack:
        """Return the images turned by 90°, so that an upright axis lies along x."""
        off = np.stack([-self.off[:, 1], self.off[:, 0]], axis=1)
        return replace(self, images=np.rot90(self.images, axes=(1, 2)), off=off)

    def cut(self, height: int, width: int) -> Stack:
        """Return the middle of the images.

        Parameters
        ----------
        height, width : pixels.
        """
        spare = np.array(self.field) - (height, width)
        top, left = spare // 2
        images = self.images[:, top : top + height, left : left + width]
        # of an odd number of rows one more is cut at the far side
        return replace(self, images=images, off=self.off + (spare / 2 - spare // 2))

    def added_up(self, factor: int) -> Stack:
        """Return images of whole numbers of pixels added up.

        Parameters
        ----------
        factor : pixels per edge.
        """
        y, x = (n // factor for n in self.field)
        even = self.cut(y * factor, x * factor)
        blocks = even.images.reshape(len(self.images), y, factor, x, factor)
        summed = blocks.sum(axis=(2, 4), dtype=np.float32)
        level, off = factor**2 * self.level, even.off / factor
        pixel = None if self.pixel_nm is None else factor * self.pixel_nm
        return replace(self, images=summed, level=level, off=off, pixel_nm=pixel)

    def spread(self, ratio: float) -> Stack:
        """Return the counts on pixels a broken number of times as large, each by its share.

        Parameters
        ----------
        ratio : edge of a new pixel over that of an old one, above 1.
        """
        down, across = (_shares(n, ratio) for n in self.field)
        known = np.isfinite(self.images)
        images = _spread(down, np.where(known, self.images, 0), across)
        if not known.all():
            # as where pixels are added up: with a part that is no number the sum is none
            images[_spread(down > 0, ~known, across > 0) > 0] = np.nan
        pixel = None if self.pixel_nm is None else ratio * self.pixel_nm
        level, off = ratio**2 * self.level, self.off / ratio
        return replace(self, images=images.astype(np.float32), level=level, off=off, pixel_nm=pixel)


def _spread(down: NDArray[Any], images: NDArray[Any], across: NDArray[Any]) -> Values:
    summed: Values = np.einsum("iy,ayx,jx->aij", 1.0 * down, images, 1.0 * across, optimize=True)
    return summed


def _shares(count: int, ratio: float) -> Values:
    """Part of each old pixel that lies in each new one, (new, old), about the same middle."""
    coarse = max(int(count / ratio + 1e-6), 1)
    edges = count / 2 + ratio * (np.arange(coarse + 1) - coarse / 2)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(count)
    shares: Values = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0.0, None)
    return shares


def joined(parts: list[Stack], notes: list[str]) -> Stack:
    """Join images of one channel from several files: the same pixels, the same field.

    Parameters
    ----------
    parts : one for each file.
    notes : lines for people, added to.
    """
    if any(part.pixel_nm for part in parts):
        coarsest = max(parts, key=_edge)
        parts = [_on_pixels(part, coarsest, notes) for part in parts]
    # files of one series may differ by some rows; one stack has one shape
    height, width = (min(part.field[axis] for part in parts) for axis in (0, 1))
    parts = [part.cut(height, width) for part in parts]
    return replace(
        parts[0],
        images=np.concatenate([part.images for part in parts]),
        angles=tuple(a for part in parts for a in part.angles),
        off=np.concatenate([part.off for part in parts]),
    )


def registered(stacks: list[Stack], binning: int, notes: list[str]) -> tuple[list[Stack], float]:
    """Bring all channels to the largest pixel among them, and to the field that all cover.

    Parameters
    ----------
    stacks : of all channels.
    binning : pixels per edge that are added up besides.
    notes : lines for people, added to.

    Returns
    -------
    stacks, pixel_nm : of the same pixels and shape.

    Raises
    ------
    BadInput : no pixel left.
    """
    stacks = _sized(stacks, notes)
    sizes = ", ".join(f"{s.name} {s.pixel_nm:.4g} nm" for s in stacks)
    # the largest: counts add up to coarser pixels, but nothing makes them finer
    coarsest = max(stacks, key=_edge)
    pixel = _edge(coarsest)
    stacks = [_on_pixels(s, coarsest, notes) for s in stacks]
    if binning > 1:
        stacks = [s.added_up(binning) for s in stacks]
        pixel *= binning
        add_note(notes, f"binned {binning} x {binning}: counts added up")
    height, width = (min(s.field[axis] for s in stacks) for axis in (0, 1))
    if min(height, width) < 1 and binning == 1:
        finest = min(stacks, key=lambda s: min(s.field))
        raise BadInput(
            f"fields without a common part: no pixel of {finest.name} is left",
            key="pixel sizes",
            value=sizes,
            accepted="pixel sizes of one field of view",
        )
    if min(height, width) < 1:
        raise BadInput("no pixel left", key="--bin", value=binning, accepted="less than the images")
    if any(s.field != (height, width) for s in stacks):
        add_note(notes, f"cut to the middle {height} x {width} pixels, which all channels cover")
    return [s.cut(height, width) for s in stacks], pixel


def _sized(stacks: list[Stack], notes: list[str]) -> list[Stack]:
    """Give a pixel size to channels without one: the same field, or else the same pixels."""
    known = [s for s in stacks if s.pixel_nm is not None]
    if not known:
        add_note(notes, "no pixel size in the files: 1 nm assumed for the largest pixels")
        known = [replace(min(stacks, key=lambda s: s.field), pixel_nm=1.0)]
    of_field = known[0]
    sized = []
    for stack in stacks:
        if stack.pixel_nm is None:
            times = _times(stack.field, of_field.field)
            pixel = (of_field.pixel_nm or 1.0) / times
            stack = replace(stack, pixel_nm=pixel)
            if times != 1 or (len(known) < len(stacks) and known[0] in stacks):
                like = "field of view" if times != 1 else "pixels"
                add_note(
                    notes, f"{stack.name}: no pixel size, the {like} of {of_field.name} assumed"
                )
        sized.append(stack)
    return sized


def _times(field: tuple[int, int], other: tuple[int, int]) -> float:
    """How many times as many pixels a field has, if it may show the same area; else 1."""
    y, x = field[0] / other[0], field[1] / other[1]
    whole = y if y >= 1 else 1 / y
    return y if y == x and whole == round(whole) else 1.0


def _edge(stack: Stack) -> float:
    return stack.pixel_nm or 0.0


def _on_pixels(stack: Stack, coarsest: Stack, notes: list[str]) -> Stack:
    pixel = _edge(coarsest)
    ratio = pixel / (stack.pixel_nm or pixel)
    whole = round(ratio)
    # headers round the size of pixels: equal fields say more
    same_field = stack.field == (whole * coarsest.field[0], whole * coarsest.field[1])
    if abs(ratio / whole - 1) >= (SAME if same_field else NEARER):
        words = f"spread over pixels of {pixel:.4g} nm, {ratio:.3g} times its own"
        add_note(notes, f"{stack.name}: {words}")
        return replace(stack.spread(ratio), pixel_nm=pixel)
    if whole > 1:
        words = f"{whole} x {whole} pixels added up to those of {pixel:.4g} nm"
        add_note(notes, f"{stack.name}: {words}")
        stack = stack.added_up(whole)
    return replace(stack, pixel_nm=pixel)


def placement_of(off: Values, of_maps: Values) -> Placement:
    """Placement of images whose middle has moved; a move of all along the axis means nothing.

    Parameters
    ----------
    off : of the images, (angle, (y, x)), pixels.
    of_maps : of the maps, of which the first stays in its place along the axis.
    """
    y, x = off[0, 0] if len(off) else 0.0, of_maps[0, 1]
    rest = off - (y, x)
    shifts = tuple((float(dy), float(dx)) for dy, dx in rest) if np.any(rest) else ()
    return Placement(shifts, float(y))


def add_note(notes: list[str], note: str) -> None:
    """Add a line for people, once.

    Parameters
    ----------
    notes : so far.
    note : a line.
    """
    if note not in notes:
        notes.append(note)
