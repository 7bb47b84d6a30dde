"""Atlas → pages of at most two axes → arrays to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .atlas import Atlas
from .style import CHEMICAL_SNR, CHEMICAL_TILTS, HAADF_SNR, HAADF_TILTS

_ACROSS = (CHEMICAL_TILTS, CHEMICAL_SNR)
_UPWARDS = (HAADF_TILTS, HAADF_SNR)


@dataclass(frozen=True)
class PhaseMap:
    """A column of the atlas over two axes: ``values`` (row, column), NaN where a cell is empty.

    ``rows`` and ``cols`` are paths of axes, ``row_values`` and ``col_values`` their values.
    """

    values: NDArray[np.float64]
    rows: str
    cols: str
    row_values: tuple[Any, ...]
    col_values: tuple[Any, ...]


@dataclass(frozen=True)
class Page:
    """The cells with all axes but ``across`` and ``upwards`` held fixed."""

    atlas: Atlas
    across: str | None = None
    upwards: str | None = None
    fixed: dict[str, object] = field(default_factory=dict)

    @property
    def axes(self) -> int:
        """Number of free axes: 0, 1 or 2."""
        return sum(axis is not None for axis in (self.across, self.upwards))

    def map(self, column: str) -> PhaseMap:
        """The phase map of ``column``; for pages of two axes."""
        if self.across is None or self.upwards is None:
            raise ValueError(f"a map needs two axes, this page has {self.axes}")
        return phase_map(self.atlas, column, self.upwards, self.across)

    def curve(self, column: str) -> tuple[tuple[Any, ...], NDArray[np.float64]]:
        """Values of ``across`` and of ``column`` along it; for pages of one axis."""
        if self.across is None:
            raise ValueError("a curve needs an axis, this page has none")
        table = self.atlas.table.set_index(self.across)
        values = self.atlas.values(self.across)
        return values, table[column].reindex(list(values)).to_numpy(dtype=float)

    def range(self, columns: Sequence[str]) -> tuple[float, float]:
        """Lowest and highest finite value of ``columns``; (nan, nan) without any."""
        values = self.atlas.table[list(columns)].to_numpy(dtype=float)
        values = values[np.isfinite(values)]
        return (float(values.min()), float(values.max())) if values.size else (np.nan, np.nan)


def phase_map(atlas: Atlas, column: str, rows: str, cols: str) -> PhaseMap:
    """``column`` over the axes ``rows`` and ``cols``; the table holds each pair once at most."""
    row_values, col_values = atlas.values(rows), atlas.values(cols)
    square = atlas.table.pivot(index=rows, columns=cols, values=column)
    square = square.reindex(index=list(row_values), columns=list(col_values))
    return PhaseMap(square.to_numpy(dtype=float), rows, cols, row_values, col_values)


def pages(atlas: Atlas) -> list[Page]:
    """One page per combination of the values of all axes beyond the two shown."""
    across, upwards = shown_axes(atlas.axes)
    others = [axis for axis in atlas.axes if axis not in (across, upwards)]
    shown = atlas.table.assign(haadf=atlas.weights("haadf"), tv=atlas.weights("tv"))
    found = []
    for values in product(*(atlas.values(axis) for axis in others)):
        fixed: dict[str, object] = dict(zip(others, values, strict=True))
        inside = pd.Series(True, index=atlas.table.index)
        for axis, value in fixed.items():
            inside &= atlas.table[axis] == value
        part = Atlas(shown[inside], atlas.axes, atlas.settings)
        found.append(Page(part, across, upwards, fixed))
    return found


def shown_axes(axes: Sequence[str]) -> tuple[str | None, str | None]:
    """The axes drawn across and upwards: chemical across where possible, else as given.

    That is the layout of Fig. 4a of Schwartz et al. (2024), with few HAADF tilts at the bottom.
    """
    left = list(axes)
    across = next((a for a in _ACROSS if a in left), None)
    upwards = next((a for a in _UPWARDS if a in left), None)
    if len(left) == 1:
        return left[0], None
    rest = [a for a in left if a not in (across, upwards)]
    if across is None and rest:
        across = rest.pop(0)
    if upwards is None and rest:
        upwards = rest.pop(0)
    return across, upwards
