"""Drawing on one matplotlib ``Axes``, and figures as files.

Figures are plain ``matplotlib.figure.Figure`` objects: no pyplot, no global state.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from ...phantoms.formats.files import write_aside
from ...recon_core.errors import BadInput
from ...recon_core.methods import Method
from ..maps import PhaseMap
from ..style import METHOD_LABELS, METHOD_STYLE, axis_label, tick_label

KINDS = ("png", "svg", "pdf")
DPI = 160


@contextmanager
def own_look() -> Iterator[None]:
    """A block, or as ``@own_look()`` a function, whose figures look as designed, whatever a person
    has set in a matplotlibrc.
    """
    # without the keys that choose windows, which are no part of a figure
    with style.context("default"):
        yield


def figure_bytes(figure: Figure, kind: str, dpi: int = DPI) -> bytes:
    """The figure as a file; the same figure gives the same bytes.

    Parameters
    ----------
    figure : what to write.
    kind : png, svg or pdf.
    dpi : resolution of raster parts, dots per inch.
    """
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    buffer = BytesIO()
    # Text stays text in vector files, so that it can be searched and edited; a fixed salt and no
    # date make the bytes reproducible.
    fixed: Any = {"svg.hashsalt": "tomoatlas", "svg.fonttype": "none", "pdf.fonttype": 42}
    with own_look(), mpl.rc_context(fixed):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


PAGE_DPI = 110
"""Dots per inch of a picture within a page."""


def page_picture(draw: Callable[[], Figure]) -> str:
    """A figure as the data of an image element, base64 of a PNG.

    Parameters
    ----------
    draw : makes the figure; called in :func:`own_look`.
    """
    with own_look():
        return base64.b64encode(figure_bytes(draw(), "png", PAGE_DPI)).decode()


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure in the format given by the suffix of ``path``; it appears whole or not at
    all.

    Parameters
    ----------
    figure : what to write.
    path : a file that ends in .png, .svg or .pdf.

    Raises
    ------
    BadInput : another suffix, or a folder that cannot be written.
    """
    data = figure_bytes(figure, kind_of(path))
    write_aside(path, lambda aside: aside.write_bytes(data))


def kind_of(path: Path) -> str:
    """The file format that a suffix asks for.

    Parameters
    ----------
    path : a file name; upper case is accepted.

    Raises
    ------
    BadInput : none of :data:`KINDS`.

    Examples
    --------
    >>> kind_of(Path("fig4.PDF"))
    'pdf'
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        accepted = ", ".join(f".{kind}" for kind in KINDS)
        raise BadInput("unknown", source=path, key="suffix", value=path.suffix, accepted=accepted)
    return kind


SEQUENTIAL = "viridis"
DIVERGING = "PuOr"
READABLE = 24
"""Most cells along an axis of a map at which each has its number and its label."""

# Ratio of the ends of a logarithmic axis from which ticks at the decades are enough.
_MANY_DECADES = 500.0
_HALF_A_DECADE = 3.0


def draw_map(
    ax: Axes,
    grid: PhaseMap,
    norm: Normalize,
    *,
    cmap: str | Colormap = SEQUENTIAL,
    text: Callable[[float], str] = "{:.2f}".format,
    error: NDArray[np.float64] | None = None,
) -> ScalarMappable:
    """Draw cells at equal spacing, labelled with their true values; empty cells are hatched.

    Beyond :data:`READABLE` cells along an axis they have colours alone: 10,000 numbers would be
    illegible, and take minutes and gigabytes.

    Parameters
    ----------
    ax : where to draw.
    grid : values (row, column), NaN for an empty cell; row 0 is at the bottom.
    norm : scale of the colours.
    cmap : the colours.
    text : value → the number written into its cell.
    error : standard deviation of each cell (row, column), written below its number; NaN for none.

    Returns
    -------
    The mappable of the colours, for a colourbar.
    """
    colours = colormaps.get_cmap(cmap)
    ax.imshow(grid.values, norm=norm, cmap=cmap, origin="lower", aspect="auto")
    if not readable(grid):
        # NaN is transparent: what lies behind the cells shows through the empty ones.
        _hatch(ax, (0, 0), grid.values.shape[::-1], zorder=-1.0)
    for (row, col), value in np.ndenumerate(grid.values) if readable(grid) else ():
        if np.isfinite(value):
            off = math.nan if error is None else float(error[row, col])
            below = f"\n±{off:.3f}".replace("±0", "± ") if math.isfinite(off) else ""
            _write_number(ax, (col, row), text(value) + below, colours(norm(value)))
        else:
            _hatch(ax, (col, row))
    _label_axis(ax, grid)
    return ScalarMappable(norm, colours)


def readable(grid: PhaseMap) -> bool:
    """Whether a map is small enough for a number in each of its cells.

    Parameters
    ----------
    grid : the map.
    """
    return int(max(grid.values.shape)) <= READABLE


def _write_number(
    ax: Axes, at: tuple[int, int], text: str, background: Sequence[float] | Any
) -> None:
    """Write a number into a cell, black or white by the luminance of its background."""
    # Relative luminance of sRGB (WCAG 2), with the transfer curve approximated by a power.
    red, green, blue = (float(channel) ** 2.2 for channel in background[:3])
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    dark = luminance < 0.18  # where black and white text have equal contrast (WCAG 2)
    written = ax.text(
        *at, text, ha="center", va="center", fontsize=8, color="white" if dark else "black"
    )
    # A line that passes through the cell must not cross its number out.
    written.set_path_effects([withStroke(linewidth=3, foreground=tuple(background[:3]))])
    written.set_zorder(4)


def _hatch(
    ax: Axes, at: tuple[int, int], size: tuple[int, ...] = (1, 1), zorder: float = 1.0
) -> None:
    """Hatch an empty cell, or several: not white, which could be the end of a scale."""
    corner = (at[0] - 0.5, at[1] - 0.5)
    area = Rectangle(corner, size[0], size[1], facecolor="white", edgecolor="0.6", hatch="////")
    area.set(linewidth=0, zorder=zorder)
    ax.add_patch(area)


def _label_axis(ax: Axes, grid: PhaseMap) -> None:
    """Ticks with the true values at equal spacing, and the names of the axes."""
    _label_places(ax.set_xticks, grid.col_values)
    _label_places(ax.set_yticks, grid.row_values)
    if max((len(tick_label(v)) for v in grid.col_values), default=0) > 5:
        ax.tick_params(axis="x", rotation=45)
    ax.set_xlabel(axis_label(grid.cols))
    ax.set_ylabel(axis_label(grid.rows))
    ax.tick_params(length=0)
    ax.set_xlim(-0.5, len(grid.col_values) - 0.5)
    ax.set_ylim(-0.5, len(grid.row_values) - 0.5)


def _label_places(set_ticks: Callable[[Sequence[int], list[str]], object], values: Any) -> None:
    """Ticks with the values; of more than can be read every second, third ... has its own."""
    shown = range(len(values))[:: max(1, -(-len(values) // READABLE))]
    set_ticks(shown, [tick_label(values[place]) for place in shown])


def draw_contour(ax: Axes, values: NDArray[np.float64], level: float) -> bool:
    """Outline the cells at or below ``level`` along cell edges, with ticks towards these cells.

    Steps, because the axes are categories: a smooth line would claim values between them.

    Parameters
    ----------
    ax : axes with a map of ``values``.
    values : (row, column), NaN for an empty cell; no edge is drawn against an empty cell.
    level : largest value inside the outline.

    Returns
    -------
    False if there is no edge to draw.
    """
    edges = _edges(values <= level, np.isfinite(values))
    # An outline alone would not say on which of its sides the better cells lie.
    ticks = [tick for edge, inwards in edges for tick in _ticks(edge, inwards)]
    # A light line on a dark one is visible on every colour of the map.
    for lines, thin in ((ticks, 0.6), ([edge for edge, _ in edges], 1.0)):
        for colour, width in (("black", 4.5 * thin), ("white", 2.0 * thin)):
            ax.add_collection(
                LineCollection(lines, colors=colour, linewidths=width, capstyle="projecting")
            )
    return bool(edges)


def draw_parting(ax: Axes, grid: PhaseMap) -> bool:
    """Draw a dashed line along cell edges, above which rows have no smaller values than columns.

    Along edges: it crosses no number out, and is true of every cell on either side, which a
    straight diagonal over values at equal steps would not be.

    Parameters
    ----------
    ax : axes with the map.
    grid : a map whose axes are numbers.

    Returns
    -------
    False if all cells lie on one side.
    """
    rows, cols = (np.asarray(v, dtype=float) for v in (grid.row_values, grid.col_values))
    above = rows[:, None] >= cols[None, :]
    edges = [edge for edge, _ in _edges(above, np.ones_like(above))]
    for colour, width, dashes in (("white", 2.4, "-"), ("black", 1.1, (0, (4, 3)))):
        ax.add_collection(
            LineCollection(edges, colors=colour, linewidths=width, linestyles=[dashes])
        )
    return bool(edges)


Line = list[tuple[float, float]]


def _edges(
    inside: NDArray[np.bool_], known: NDArray[np.bool_]
) -> list[tuple[Line, tuple[int, int]]]:
    """Edges (x, y) between cells inside and known cells outside, and the step (x, y) inwards."""
    # Padded by one cell, so that the outside of the map counts as unknown and gets no edge.
    inside, known = np.pad(inside, 1), np.pad(known, 1)
    edges = []
    for row, col in np.argwhere(inside):
        for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            if known[row + down, col + right] and not inside[row + down, col + right]:
                x, y = col - 1 + right / 2, row - 1 + down / 2
                edges.append((_edge(x, y, vertical=right != 0), (-right, -down)))
    return edges


def _edge(x: float, y: float, *, vertical: bool) -> Line:
    """Ends of one edge of a cell, centred at (x, y)."""
    half = (0.0, 0.5) if vertical else (0.5, 0.0)
    return [(x - half[0], y - half[1]), (x + half[0], y + half[1])]


def _ticks(edge: Line, inwards: tuple[int, int]) -> list[Line]:
    """Three short lines from an edge into the cell at its better side, clear of the number."""
    (x0, y0), (x1, y1) = edge
    starts = [(x0 + part * (x1 - x0), y0 + part * (y1 - y0)) for part in (0.2, 0.5, 0.8)]
    return [[(x, y), (x + 0.13 * inwards[0], y + 0.13 * inwards[1])] for x, y in starts]


def draw_curve(
    ax: Axes, axis: str, values: Sequence[object], scores: NDArray[np.float64], method: Method
) -> None:
    """Draw the scores of one method along one axis, its values at equal steps as in a map.

    The line breaks where a cell is empty.

    Parameters
    ----------
    ax : where to draw.
    axis : path of the axis.
    values : values of the axis.
    scores : one per value, NaN for an empty cell.
    method : sets colour, marker and label.
    """
    colour, marker = METHOD_STYLE[method]
    places = range(len(values))
    ax.plot(places, scores, color=colour, marker=marker, label=METHOD_LABELS[method])
    _label_places(ax.set_xticks, values)
    ax.set_xlabel(axis_label(axis))


def mark_if_empty(ax: Axes) -> None:
    """Write "no result yet" into axes without any finite value, which could otherwise mean
    anything.

    Parameters
    ----------
    ax : axes on which all lines are drawn.
    """
    values = [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]
    if not any(np.isfinite(v).any() for v in values):
        ax.text(0.5, 0.5, "no result yet", transform=ax.transAxes, ha="center", va="center")


def draw_bars(ax: Axes, scores: dict[Method, float]) -> None:
    """Draw one bar per method with its number; "no result" for a method without one.

    Parameters
    ----------
    ax : where to draw.
    scores : method → ⟨NRMSE⟩, NaN for no result.
    """
    methods = list(scores)
    for place, (method, score) in enumerate(scores.items()):
        known = np.isfinite(score)
        ax.bar(place, score if known else 0.0, color=METHOD_STYLE[method][0], width=0.65)
        note = f"{score:.3f}" if known else "no result"
        ax.annotate(
            note,
            (place, score if known else 0.0),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
        )
    labels = [METHOD_LABELS[method].replace(", ", ",\n").replace(" (", "\n(") for method in methods]
    ax.set_xticks(range(len(methods)), labels)
    ax.set_ylim(0.0, 1.12 * max([1e-3, *(s for s in scores.values() if np.isfinite(s))]))


def add_colourbar(
    figure: Figure,
    mappable: ScalarMappable,
    axes: Axes | Sequence[Axes],
    label: str,
    *,
    above: bool = False,
) -> Colorbar:
    """Add a colourbar to the right of ``axes``.

    Parameters
    ----------
    figure : the figure of the axes.
    mappable : the colours, as :func:`draw_map` returns them.
    axes : the panels that share it.
    label : name of the quantity.
    above : whether to put the label on top; at the side it could be read as the next panel's.
    """
    bar = figure.colorbar(mappable, ax=axes, pad=0.02, aspect=30)
    if above:
        # Ends with the bar: the layout reserves no room beside it, and a longer one would be cut.
        bar.ax.set_title(label, fontsize=9, x=1.0, ha="right")
    else:
        bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def plain_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Plain numbers at 1, 2, 5 of each decade of a logarithmic axis; over many decades only at 1.

    Within half a decade they are closer, or there would be one number or none.

    Parameters
    ----------
    axis : the x or y axis.
    low, high : its ends.
    """
    steps: tuple[float, ...] = (1.0,) if high > _MANY_DECADES * low else (1.0, 2.0, 5.0)
    if high < _HALF_A_DECADE * low:
        steps = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter("{x:,.12g}")
    axis.set_minor_formatter(NullFormatter())
