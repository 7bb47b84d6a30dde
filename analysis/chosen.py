"""Cells as a person names them: ``haadf_tilts=47,chemical_tilts=9``, or ``all``."""

from __future__ import annotations

from analysis.labels import value_label
from recon_core.errors import BadInput
from sweep.study import Study
from sweep.trial import Cell

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
    name, equals, text = (part.strip() for part in pair.partition("="))
    axes = [axis for axis in study.axes if name in (axis, axis.rpartition(".")[2])]
    if not equals or len(axes) != 1:
        names = ", ".join(axis.rpartition(".")[2] for axis in study.axes) or "no axes"
        raise BadInput(
            "names no axis of the study",
            key="--cell",
            value=pair,
            accepted=f"all, or axis=value,… with axes {names}",
        )
    values = study.axes[axes[0]]
    for value in values:
        if text in (value_label(value), str(value)):
            return axes[0], value
    known = ", ".join(value_label(value) for value in values)
    raise BadInput("not a value of the axis", key="--cell", value=pair, accepted=known)
