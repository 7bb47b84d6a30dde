"""Cells as a person names them, in every command: ``haadf_tilts=47,chemical_tilts=9``, or ``all``.

One grammar: pairs ``axis=value`` with commas between, in one text or in several. An axis may be
named without its table, ``haadf_tilts`` for ``acquisition.haadf_tilts``; one that is left out may
have any value. A text that names only axes that the text before it did not goes on with the same
condition, one that names an axis again begins another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..recon_core.errors import BadInput
from ..sweep.study import Study
from ..sweep.study.trial import Cell
from .style import value_label

ALL = "all"
OPTION = "--cell"
GRAMMAR = "AXIS=VALUE[,AXIS=VALUE...]"

CellText = str | Mapping[str, object]
Cells = CellText | Sequence[CellText]
"""A text of the grammar, a mapping of axes to values, or several of these."""

Condition = dict[str, object]
"""Axis path → value; axes left out may have any."""

_NEXT_PAIR = re.compile(r",(?=[^,=]*=)")  # a value may hold commas, as the path of a file may


def chosen_cells(study: Study, wanted: Cells) -> list[Cell]:
    """The cells that ``wanted`` names, each once, in the order named.

    Raises
    ------
    BadInput : no such axis, a value that the axis does not take, not a pair.

    """
    named = conditions(wanted, study.axes)
    cells = [[c for c in study.cells() if one.items() <= dict(c.values).items()] for one in named]
    return list(dict.fromkeys(cell for found in cells for cell in found))


def conditions(wanted: Cells, axes: Mapping[str, Sequence[object]]) -> list[Condition]:
    """Every condition that ``wanted`` names; an empty one for ``all``.

    Parameters
    ----------
    wanted : as a person names cells.
    axes : path → the values it takes.

    Raises
    ------
    BadInput : as :func:`chosen_cells`.

    """
    found: list[Condition] = []
    for pairs in parsed(wanted):
        named = _resolved(pairs, axes)
        if found and found[-1] and named and not found[-1].keys() & named.keys():
            found[-1] |= named
        else:
            found.append(named)
    return found


def one_condition(wanted: Cells, axes: Mapping[str, Sequence[object]]) -> Condition:
    """The only condition that ``wanted`` names; empty if it names none.

    Raises
    ------
    BadInput : several conditions, ``all``, or as :func:`chosen_cells`.

    """
    found = conditions(wanted, axes)
    if len(found) > 1 or found == [{}]:
        raise BadInput(
            "several conditions where one is shown", key=OPTION, value=wanted, accepted=GRAMMAR
        )
    return found[0] if found else {}


def parsed(wanted: Cells) -> list[dict[str, str]]:
    """The pairs of every text, the names as they were typed; none for ``all``.

    Raises
    ------
    BadInput : not a pair, an axis named twice in one text.

    """
    texts = [wanted] if isinstance(wanted, str | Mapping) else wanted
    return [_pairs(text) for text in texts]


def cell_text(cell: Cell) -> str:
    """The shortest text that :func:`chosen_cells` reads back as this cell alone."""
    pairs = [f"{axis.rpartition('.')[2]}={value_label(value)}" for axis, value in cell.values]
    return ",".join(pairs) or ALL


def _pairs(text: CellText) -> dict[str, str]:
    if isinstance(text, Mapping):
        return {name: str(value) for name, value in text.items()}
    if text.strip() == ALL:
        return {}
    found: dict[str, str] = {}
    for pair in _NEXT_PAIR.split(text):
        name, _, value = (part.strip() for part in pair.partition("="))
        if not (name and value):
            raise BadInput("not a condition", key=OPTION, value=text, accepted=f"{GRAMMAR}, {ALL}")
        if name in found:
            raise BadInput("names an axis twice", key=OPTION, value=text, accepted=GRAMMAR)
        found[name] = value
    return found


def _resolved(pairs: Mapping[str, str], axes: Mapping[str, Sequence[object]]) -> Condition:
    named = {named_axis(name, axes): text for name, text in pairs.items()}
    return {axis: named_value(axis, text, axes[axis]) for axis, text in named.items()}


def named_axis(name: str, axes: Iterable[str]) -> str:
    """The axis that ``name`` means: its path, or the last part of it.

    Raises
    ------
    BadInput : no axis, or several.

    """
    matching = [axis for axis in axes if name in (axis, axis.rpartition(".")[2])]
    if len(matching) != 1:
        known = ", ".join(axes) or "no axis: the study has one cell"
        raise BadInput("not an axis", key=OPTION, value=name, accepted=known)
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
    raise BadInput("no such value", key=f"{OPTION} {axis}", value=text, accepted=accepted)


def _same_number(text: str, value: object) -> bool:
    try:
        return isinstance(value, int | float) and float(text) == float(value)
    except ValueError:
        return False
