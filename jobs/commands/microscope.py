"""The command ``import``: a tilt series from the files of a microscope or of another program."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...recon_core.errors import BadInput, printable
from . import Elements, FilePath, beside, force_option, out_option, quiet_option, refuse_existing

if TYPE_CHECKING:
    from ...phantoms.formats.gather import Choices, Gathered
    from ...phantoms.formats.lines import Window
    from ...phantoms.formats.microscope import Channel


@click.command("import")
@click.argument("sources", metavar="[NAME=]FILES...", nargs=-1, required=True)
@out_option
@click.option(
    "--elements",
    type=Elements(),
    metavar="Co,O",
    help="Elements to map in spectrum images.  [default: those that the files name]",
)
@click.option(
    "--window",
    "windows",
    multiple=True,
    metavar="EL=LOW:HIGH",
    help="Window of an element in the unit of the energy axis.  [default: about its X-ray line]",
)
@click.option(
    "--fit",
    is_flag=True,
    help="Fit lines to the spectra instead of windows: separates those that overlap. Name all "
    "elements that show lines nearby.",
)
@click.option(
    "--angles",
    metavar="A",
    help="Tilts in degrees: a text file, LOW:HIGH:STEP or a list with commas.  "
    "[default: those of the files, of a .rawtlt or .mdoc beside them, or their names]",
)
@click.option("--map-angles", metavar="A", help="Those of the maps, if they are others.")
@click.option(
    "--axis",
    type=click.Choice(["auto", "x", "y"]),
    default="auto",
    show_default=True,
    help="Direction of the tilt axis in the images; y is vertical.",
)
@click.option(
    "--bin",
    "binning",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Add up N x N pixels.",
)
@click.option(
    "--scale",
    "scales",
    metavar="Co=1,O=0.31",
    help="Counts of each element for an atom, relative to each other: of k-factors of "
    "Cliff and Lorimer the atomic mass over k.  [default: unknown]",
)
@click.option(
    "--sheet",
    type=FilePath,
    metavar="F.png",
    help="Where to draw all projections.  [default: beside --out]",
)
@force_option
@quiet_option
def import_series(
    sources: tuple[str, ...],
    out: Path,
    sheet: Path | None,
    force: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Make a tilt series of FILES: images, stacks, maps and spectrum images.

    Reads what RosettaSciIO reads (bcf, dm3, dm4, emd, mrc, tif, hspy, nxs …), one tilt a file or
    stacks. A file is HAADF or an element by its title or name; Co=FILE says it. Maps are made of
    spectrum images by a window about the X-ray line, less the background beside it, or by --fit.
    What was understood is printed and drawn on one sheet: look at both.
    """
    from ...analysis.figures.draw import kind_of, save_figure
    from ...analysis.tilts import contact_sheet
    from ...phantoms.formats import save_tilt_series
    from ...phantoms.formats.gather import gather

    sheet = beside(out, ".png") if sheet is None else sheet
    kind_of(sheet)
    named = [_named(source) for source in sources]
    for path in (out, sheet):
        refuse_existing(path, force, *(file for _, file in named))
    given = Given(**options)
    channels = [c for name, path in named for c in _channels(name, path, given)]
    given.check_windows({channel.name for channel in channels})
    found = gather(channels, given.choices())
    save_tilt_series(out, found.series, overwrite=force)
    save_figure(contact_sheet(found.series), sheet)
    if quiet:
        return
    notes = (*found.notes, *given.overlaps())
    for line in (*table(found), *(f"note: {printable(note)}" for note in notes)):
        click.echo(line)
    click.echo(f"{out}, {sheet}")


@dataclass(frozen=True)
class Given:
    """What the options say of the files, as typed.

    Parameters
    ----------
    elements : to map; None for those that the files name.
    windows : of elements, ``EL=LOW:HIGH`` each.
    fit : lines instead of windows.
    angles, map_angles : of all channels, and of the maps if theirs are others; None for the files'.
    axis : direction of the tilt axis, ``auto``, ``x`` or ``y``.
    binning : pixels per edge that are added up.
    scales : counts for an atom of each element, ``EL=NUMBER`` with commas; None if unknown.
    """

    elements: tuple[str, ...] | None
    windows: tuple[str, ...]
    fit: bool
    angles: str | None
    map_angles: str | None
    axis: str
    binning: int
    scales: str | None = None

    @cached_property
    def own(self) -> dict[str, Window]:
        """Windows by element."""
        if self.fit and self.windows:
            value = self.windows[0]
            raise BadInput("no window beside --fit", key="--window", value=value, accepted="one")
        return dict(map(_window, self.windows))

    def check_windows(self, names: set[str]) -> None:
        """Refuse the window of an element that is not mapped.

        Parameters
        ----------
        names : of the channels that were read.
        """
        for element in self.own:
            if element not in names:
                accepted = "an element of --elements, or that the files name"
                raise BadInput("not mapped", key="--window", value=element, accepted=accepted)

    def choices(self) -> Choices:
        """What the options decide about the series."""
        from ...phantoms.formats.gather import Choices

        tilts = None if self.angles is None else angles_of(self.angles, "--angles")
        maps = tilts if self.map_angles is None else angles_of(self.map_angles, "--map-angles")
        scales = None if self.scales is None else _scales(self.scales)
        return Choices(tilts, maps, self.axis, self.binning, scales)

    def overlaps(self) -> list[str]:
        """A note on each pair of elements whose windows share counts."""
        if self.fit:
            return []
        from ...phantoms.formats.lines import overlaps, window_of

        lines = [
            self.own.get(e) or window_of(e)
            for e in self.elements or ()
            if e in self.own or not self.own
        ]
        words = "overlap: their maps show the same counts (--fit separates them)"
        return [f"{pair} {words}" for pair in overlaps(tuple(lines))]


def _named(source: str) -> tuple[str, Path]:
    """Name and file of an argument ``NAME=FILE``; no name for a file alone."""
    name, equals, rest = source.partition("=")
    # A file may have = in its name: one that is there is not split.
    return (name, Path(rest)) if equals and not Path(source).exists() else ("", Path(source))


def _channels(name: str, path: Path, given: Given) -> list[Channel]:
    """Channels of a file, called by a name if there is one."""
    from ...phantoms.formats.microscope import read_channels

    channels = read_channels(path, given.elements or (), given.own, given.fit)
    if not name:
        return channels
    # of several channels the one that is called so, else those without a name
    meant = [c for c in channels if c.name == name] or [c for c in channels if not c.name]
    return [replace(channel, name=name) for channel in meant or channels]


def _window(text: str) -> tuple[str, Window]:
    from ...phantoms.formats.lines import Window

    element, _, bounds = text.partition("=")
    low, _, high = bounds.partition(":")
    try:
        return element, Window(element, float(low), float(high))
    except ValueError as fault:
        raise BadInput("no window", key="--window", value=text, accepted="Co=6.85:7.01") from fault


def _scales(text: str) -> dict[str, float]:
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        found = {element.strip(): float(number) for element, _, number in pairs}
    except ValueError:
        found = {}
    if len(found) < len(pairs):
        raise BadInput("no scales", key="--scale", value=text, accepted="Co=1,O=0.31")
    return found


def angles_of(text: str, option: str) -> tuple[float, ...]:
    """Angles from an option: a file of text, LOW:HIGH:STEP or a list.

    Parameters
    ----------
    text : of the option.
    option : its name, for the error.

    Raises
    ------
    BadInput : neither.

    Examples
    --------
    >>> angles_of("40:-40:40", "--angles"), angles_of("-1, 2.5", "--angles")
    ((40.0, 0.0, -40.0), (-1.0, 2.5))
    """
    import numpy as np

    from ...phantoms.formats.angles import angles_of_text

    # a list may be longer than a name can be, for which Path.is_file() raises
    if os.path.isfile(text):  # noqa: PTH113
        return angles_of_text(Path(text))
    try:
        if ":" not in text:
            return tuple(float(word) for word in text.split(","))
        low, high, step = (float(word) for word in text.split(":"))
        step = math.copysign(step, high - low)
        # Counted, not stepped until the end: sums of 0.1 miss it by rounding.
        count = round((high - low) / step) + 1
        return tuple(float(a) for a in low + step * np.arange(count))
    except (ValueError, ZeroDivisionError) as fault:
        raise BadInput(
            "no angles", key=option, value=text, accepted="a file, -40:35:5 or -40,-35,-30"
        ) from fault


def table(found: Gathered) -> list[str]:
    """What was understood of the files, a line for each channel.

    Parameters
    ----------
    found : of :func:`tomoatlas.phantoms.formats.gather.gather`.
    """
    header: tuple[str, ...] = ("channel", "tilts", "angles", "pixels", "mean counts")
    rows: list[Any] = [header, *found.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
