"""Cells as a person names them: ``haadf_tilts=47,chemical_tilts=9``, or ``all``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..recon_core.errors import BadInput
from ..sweep.study import Study
from ..sweep.study.trial import Cell
from .style import value_label

ALL = "all"


def chosen_cells(study: Study, text: str) -> list[Cell]:
    """The cells that ``text`` names; an axis it leaves out may have any value.

    ``text``: ``all``, or pairs ``axis=value`` with commas between. An axis may be given without its
    table, ``haadf_tilts`` for ``acquisition.haadf_tilts``.

    Raises
    ------
    BadInput : no such axis, a value that the axis does not take, not a pair.

    """
    wanted = {} if text.strip() == ALL else dict(_pair(study, pair) for pair in text.split(","))
    return [cell for cell in study.cells() if wanted.items() <= dict(cell.values).items()]


def cell_text(cell: Cell) -> str:
    """The shortest text that :func:`chosen_cells` reads back as this cell alone."""
    pairs = [f"{axis.rpartition('.')[2]}={value_label(value)}" for axis, value in cell.values]
    return ",".join(pairs) or ALL


def _pair(study: Study, pair: str) -> tuple[str, object]:
    name, _, text = (part.strip() for part in pair.partition("="))
    axis = named_axis(name, study.axes)
    return axis, named_value(axis, text, study.axes[axis])


def named_axis(name: str, axes: Iterable[str]) -> str:
    """The axis that ``name`` means: its path, or the last part of it.

    Raises
    ------
    BadInput : no axis, or several.

    """
    matching = [axis for axis in axes if name in (axis, axis.rpartition(".")[2])]
    if len(matching) != 1:
        known = ", ".join(axes) or "no axis: the study has one cell"
        raise BadInput("not an axis", key="--cell", value=name, accepted=known)
    return matching[0]


def named_value(axis: str, text: str, values: Sequence[object]) -> object:
    """The value of ``axis`` that ``text`` means.

    Raises
    ------
    BadInput : no value of the axis.

    """
    for value in values:
        if text in (str(value), value_label(value)) or _same_number(text, value):
            return value
    accepted = ", ".join(value_label(value) for value in values)
    raise BadInput("no such value", key=f"--cell {axis}", value=text, accepted=accepted)


def _same_number(text: str, value: object) -> bool:
    try:
        return isinstance(value, int | float) and float(text) == float(value)
    except ValueError:
        return False
