"""A map as coloured text: numbers that fill up, legible without colour and in a narrow terminal.

The colours are those of the figures, with black or white numbers by the luminance of the cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from ...analysis.figures.draw import SEQUENTIAL
from ...analysis.style import value_label

NOT_BEGUN, NO_RESULT, HOLE, UNFINISHED = "·", "…", "×", "*"
"""Signs of a cell without any ended trial, without a result yet, without hope of one, and of
a score that may still improve.
"""
SIGNS = f"{UNFINISHED} unfinished  {NOT_BEGUN} not begun  {NO_RESULT} no result yet  {HOLE} failed"
"""What the signs mean, on a line."""
# Most characters per cell.
_WIDEST = 7
# Luminance at which black and white text have equal contrast (WCAG 2).
_DARK = 0.18
_STEPS = 7


@dataclass(frozen=True)
class Grid:
    """The cells of a map, rows upwards.

    Parameters
    ----------
    scores : ⟨NRMSE⟩ (row, column), NaN for no result.
    ended : trials that have ended (row, column).
    planned : trials planned per cell.
    hopeless : (row, column) whether all fused trials have ended without a good one.
    rows : values of the axis upwards; their labels are shown.
    columns : values of the axis across.
    bounds : lowest and highest score, the ends of the scale of colours.
    """

    scores: NDArray[np.float64]
    ended: NDArray[np.float64]
    planned: int
    hopeless: NDArray[np.bool_]
    rows: tuple[object, ...]
    columns: tuple[object, ...]
    bounds: tuple[float, float]


def draw_grid(grid: Grid, width: int, height: int) -> list[Text]:
    """The map as lines of text, labels included.

    Cells shrink from ``0.31*`` to ``.31`` to one digit; what still does not fit is cut, and a last
    line gives the part shown.

    Parameters
    ----------
    grid : the cells.
    width : most characters per line.
    height : most lines.

    Returns
    -------
    Lines from the top of the map to the labels of its columns.
    """
    labels = [value_label(row) for row in grid.rows]
    margin = max(map(len, labels), default=0) + 1
    # Width per cell: all columns share what is left beside the labels.
    each = max(1, min(_WIDEST, (width - margin) // max(1, len(grid.columns))))
    columns = min(len(grid.columns), max(1, (width - margin) // each))
    # The note on the part shown takes a line of its own.
    cut = columns < len(grid.columns) or len(labels) > height - 1
    rows = min(len(labels), height - (2 if cut else 1))
    lines = [_line(grid, row, labels[row].rjust(margin - 1), each, columns) for row in range(rows)]
    # Rows were built upwards, a terminal prints downwards.
    lines.reverse()
    lines.append(Text(" " * margin + _footing(grid.columns[:columns], each), no_wrap=True))
    if cut:
        text = f"{rows} of {len(labels)} rows, {columns} of {len(grid.columns)} columns fit here"
        lines.append(Text(text, style="dim"))
    return lines


def _line(grid: Grid, row: int, label: str, each: int, columns: int) -> Text:
    """One row of the map with its label."""
    line = Text(f"{label} ", no_wrap=True)
    low, high = grid.bounds
    # One scale for all pages, given by the bounds of the study so far.
    colours = colormaps[SEQUENTIAL]((grid.scores[row, :columns] - low) / max(high - low, 1e-9))
    for column, colour in enumerate(colours[:, :3].tolist()):
        known = math.isfinite(grid.scores[row, column])
        style = _style(colour) if known else Style(dim=True)
        line.append(cell_text(grid, row, column, each).center(each), style=style)
    return line


def cell_text(grid: Grid, row: int, column: int, width: int) -> str:
    """A cell's score, or the sign of what is there instead.

    Parameters
    ----------
    grid : the cells.
    row, column : place of the cell.
    width : most characters.
    """
    score, ended = grid.scores[row, column], grid.ended[row, column]
    if not math.isfinite(score):
        # In the order of what a person asks: can a result still come, has anything happened?
        return HOLE if grid.hopeless[row, column] else NO_RESULT if ended else NOT_BEGUN
    mark = UNFINISHED if ended < grid.planned else ""
    if width >= 6:
        return f"{score:.2f}{mark}"
    if width >= 3:
        # The leading zero carries nothing: every good score starts with it.
        short = f"{score:.2f}"[1:] if score < 1 else f"{score:.1f}"
        return (short + mark)[:width]
    return str(min(9, int(10 * score)))


def _style(colour: Sequence[float]) -> Style:
    """A background colour with the text that is readable on it."""
    # The eye's luminance is linear in light, a screen's colours are not: 2.2 is close enough for a
    # choice of two.
    red, green, blue = (channel**2.2 for channel in colour)
    dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < _DARK
    return Style(color="#ffffff" if dark else "#000000", bgcolor=_rgb(colour))


def _rgb(colour: Sequence[float]) -> str:
    """A colour as rich writes it."""
    return "rgb({},{},{})".format(*(round(255 * channel) for channel in colour))


def _footing(values: Sequence[object], each: int) -> str:
    """Labels under the columns; if they do not fit, every second, third, ... of them."""
    labels = [value_label(value) for value in values]
    step = math.ceil((max(map(len, labels), default=0) + 1) / each)
    room = each * len(labels)
    text = ""
    for i in range(0, len(labels), step):
        label = text.ljust(each * i) + labels[i].center(each).rstrip()
        text = label if len(label) <= room else text  # half a number would be another number
    return text


def legend(bounds: tuple[float, float]) -> Text:
    """The scale of colours with its ends, and the meaning of the signs.

    Parameters
    ----------
    bounds : lowest and highest score.
    """
    low, high = bounds
    text = Text(f"{low:.2f} ", no_wrap=True, overflow="ellipsis")
    for step in range(_STEPS):
        colour = colormaps[SEQUENTIAL](step / (_STEPS - 1))[:3]
        text.append("  ", style=Style(bgcolor=_rgb(colour)))
    return text.append(f" {high:.2f}  {SIGNS}")
