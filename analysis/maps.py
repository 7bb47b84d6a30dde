"""Atlas → pages of at most two axes → arrays to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .atlas import Atlas
from .scatter import over_seeds, seed_axes
from .style import CHEMICAL_SNR, CHEMICAL_TILTS, HAADF_SNR, HAADF_TILTS

_ACROSS = (CHEMICAL_TILTS, CHEMICAL_SNR)
_UPWARDS = (HAADF_TILTS, HAADF_SNR)


@dataclass(frozen=True)
class PhaseMap:
    """A column of the atlas over two axes.

    Parameters
    ----------
    values : the column (row, column), NaN where a cell is empty.
    rows : path of the axis that varies upwards.
    cols : path of the axis that varies across.
    row_values : values of ``rows``, one per row.
    col_values : values of ``cols``, one per column.
    """

    values: NDArray[np.float64]
    rows: str
    cols: str
    row_values: tuple[Any, ...]
    col_values: tuple[Any, ...]


@dataclass(frozen=True)
class Page:
    """The cells with all axes but ``across`` and ``upwards`` held fixed.

    Parameters
    ----------
    atlas : these cells alone.
    across : path of the horizontal axis; None for a page of one cell.
    upwards : path of the vertical axis; None for fewer than two axes.
    fixed : axis → value, of the axes held fixed.
    """

    atlas: Atlas
    across: str | None = None
    upwards: str | None = None
    fixed: dict[str, object] = field(default_factory=dict)

    @property
    def axes(self) -> int:
        """Number of free axes: 0, 1 or 2."""
        return sum(axis is not None for axis in (self.across, self.upwards))

    def map(self, column: str) -> PhaseMap:
        """The phase map of a column.

        Parameters
        ----------
        column : name of a column of the atlas.

        Raises
        ------
        ValueError : the page has fewer than two axes.
        """
        if self.across is None or self.upwards is None:
            raise ValueError(f"a map needs two axes, this page has {self.axes}")
        return phase_map(self.atlas, column, self.upwards, self.across)

    def curve(self, column: str) -> tuple[tuple[Any, ...], NDArray[np.float64]]:
        """A column along the only axis of the page.

        Parameters
        ----------
        column : name of a column of the atlas.

        Returns
        -------
        The values of ``across``, and the column at each of them, NaN where a cell is empty.

        Raises
        ------
        ValueError : the page has no axis.
        """
        if self.across is None:
            raise ValueError("a curve needs an axis, this page has none")
        table = self.atlas.table.set_index(self.across)
        values = self.atlas.values(self.across)
        return values, table[column].reindex(list(values)).to_numpy(dtype=float)

    def range(self, columns: Sequence[str]) -> tuple[float, float]:
        """Lowest and highest finite value of several columns together.

        Parameters
        ----------
        columns : names of columns of the atlas.

        Returns
        -------
        (nan, nan) if no value is finite.
        """
        values = self.atlas.table[list(columns)].to_numpy(dtype=float)
        values = values[np.isfinite(values)]
        return (float(values.min()), float(values.max())) if values.size else (np.nan, np.nan)


def phase_map(atlas: Atlas, column: str, rows: str, cols: str) -> PhaseMap:
    """Arrange a column of an atlas over two axes.

    Parameters
    ----------
    atlas : cells that hold each pair of values of the two axes at most once.
    column : name of the column.
    rows : path of the axis that varies upwards.
    cols : path of the axis that varies across.
    """
    row_values, col_values = atlas.values(rows), atlas.values(cols)
    square = atlas.table.pivot(index=rows, columns=cols, values=column)
    # Pivoting sorts and drops: the axes' own order and their empty cells are restored.
    square = square.reindex(index=list(row_values), columns=list(col_values))
    return PhaseMap(square.to_numpy(dtype=float), rows, cols, row_values, col_values)


def pages(atlas: Atlas) -> list[Page]:
    """One page per combination of the values of all axes beyond the two shown.

    Parameters
    ----------
    atlas : all cells of a study.

    Returns
    -------
    Pages in the order of the fixed values; a single one for up to two axes. Axes of seeds are no
    pages: a pixel is the mean over them.
    """
    axes = tuple(axis for axis in atlas.axes if axis not in seed_axes(atlas.axes))
    if axes != atlas.axes:
        atlas = replace(atlas, table=over_seeds(atlas.table, atlas.axes), axes=axes)
    across, upwards = shown_axes(atlas.axes)
    others = [axis for axis in atlas.axes if axis not in (across, upwards)]
    # Weights that act on nothing are blanked once, for every page.
    shown = atlas.with_acting_weights()
    found = []
    # The product, not the combinations present: an empty page shows what is still to be run.
    for values in product(*(atlas.values(axis) for axis in others)):
        fixed: dict[str, object] = dict(zip(others, values, strict=True))
        inside = pd.Series(True, index=atlas.table.index)
        for axis, value in fixed.items():
            # Compared as stored: values of the axis come from this very column.
            inside &= atlas.table[axis] == value
        part = Atlas(shown[inside], atlas.axes, atlas.settings)
        found.append(Page(part, across, upwards, fixed))
    return found


def shown_axes(axes: Sequence[str]) -> tuple[str | None, str | None]:
    """The axes drawn across and upwards: chemical axes across where possible, otherwise as given.

    That is the layout of Fig. 4a of Schwartz et al. (2024), with few HAADF tilts at the bottom.

    Parameters
    ----------
    axes : paths of the study's axes, in its order.

    Returns
    -------
    The axis across and the axis upwards, None for an axis that does not exist.

    Examples
    --------
    >>> shown_axes(["acquisition.haadf_tilts", "acquisition.chemical_tilts"])
    ('acquisition.chemical_tilts', 'acquisition.haadf_tilts')
    >>> shown_axes(["solver.gamma"])
    ('solver.gamma', None)
    """
    left = list(axes)
    # Tilts before SNR, as listed: a study that varies all four shows tilts and pages over SNR.
    across = next((a for a in _ACROSS if a in left), None)
    upwards = next((a for a in _UPWARDS if a in left), None)
    # A single axis is always horizontal: its page is a curve, whatever the axis is.
    if len(left) == 1:
        return left[0], None
    rest = [a for a in left if a not in (across, upwards)]
    if across is None and rest:
        across = rest.pop(0)
    if upwards is None and rest:
        upwards = rest.pop(0)
    return across, upwards
