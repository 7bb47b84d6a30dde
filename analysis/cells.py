"""Cells as a person names them, in every command: ``haadf_tilts=47,chemical_tilts=9``, or ``all``.

One grammar: pairs ``axis=value`` separated by commas, in one text or in several. An axis may be
named without its table, ``haadf_tilts`` for ``acquisition.haadf_tilts``; one that is left out may
have any value. A text that names only new axes narrows the condition of the text before it; one
that names an axis again begins another condition.
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
    """The cells that a text names, each once, in the order named.

    Parameters
    ----------
    study : the study of the cells.
    wanted : texts of the grammar, or axes and their values.

    Raises
    ------
    BadInput : no such axis, a value that the axis does not take, or not a pair.
    """
    named = conditions(wanted, study.axes)
    cells = [[c for c in study.cells() if one.items() <= dict(c.values).items()] for one in named]
    return list(dict.fromkeys(cell for found in cells for cell in found))


def conditions(wanted: Cells, axes: Mapping[str, Sequence[object]]) -> list[Condition]:
    """Every condition that a text names; an empty one for ``all``.

    Parameters
    ----------
    wanted : texts of the grammar, or axes and their values.
    axes : axis path → the values it takes.

    Raises
    ------
    BadInput : as :func:`chosen_cells`.

    Examples
    --------
    >>> axes = {"acquisition.haadf_tilts": (9, 35), "solver.gamma": (1.7, 2.0)}
    >>> conditions("haadf_tilts=9,gamma=2", axes)
    [{'acquisition.haadf_tilts': 9, 'solver.gamma': 2.0}]
    >>> conditions(["haadf_tilts=9", "haadf_tilts=35"], axes)
    [{'acquisition.haadf_tilts': 9}, {'acquisition.haadf_tilts': 35}]
    """
    found: list[Condition] = []
    for pairs in parsed(wanted):
        named = _resolved(pairs, axes)
        # Axes not named before refine the last condition; `all` is complete and is never refined.
        if found and found[-1] and named and not found[-1].keys() & named.keys():
            found[-1] |= named
        else:
            found.append(named)
    return found


def one_condition(wanted: Cells, axes: Mapping[str, Sequence[object]]) -> Condition:
    """The only condition that a text names; empty if it names none.

    Parameters
    ----------
    wanted : texts of the grammar, or axes and their values.
    axes : axis path → the values it takes.

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
    """The pairs of every text, with names and values as typed; none for ``all``.

    Parameters
    ----------
    wanted : texts of the grammar, or axes and their values.

    Raises
    ------
    BadInput : not a pair, or an axis named twice in one text.

    Examples
    --------
    >>> parsed("haadf_tilts=47,chemical_tilts=9")
    [{'haadf_tilts': '47', 'chemical_tilts': '9'}]
    """
    texts = [wanted] if isinstance(wanted, str | Mapping) else wanted
    return [_pairs(text) for text in texts]


def cell_text(cell: Cell) -> str:
    """The shortest text that names this cell alone.

    Parameters
    ----------
    cell : the cell.

    Examples
    --------
    >>> from ..sweep.study.trial import Cell
    >>> cell_text(Cell(3, (("acquisition.haadf_tilts", 47), ("acquisition.chemical_tilts", 9))))
    'haadf_tilts=47,chemical_tilts=9'
    """
    axes = [axis for axis, _ in cell.values]
    pairs = [f"{_shortest(axis, axes)}={value_label(value)}" for axis, value in cell.values]
    return ",".join(pairs) or ALL


def _shortest(axis: str, axes: Sequence[str]) -> str:
    """The shortest end of a path that is the end of no other."""
    steps = axis.split(".")
    ends = (".".join(steps[-count:]) for count in range(1, len(steps)))
    # One end may name two axes, as gamma of the data and of the solver.
    alone = (end for end in ends if sum(a.endswith(f".{end}") for a in axes) == 1)
    return next(alone, axis)


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
    """The axis that a name stands for.

    Parameters
    ----------
    name : path of the axis, or the end of it from a dot on.
    axes : paths of the study's axes.

    Raises
    ------
    BadInput : no axis matches, or several do.

    Examples
    --------
    >>> named_axis("haadf_tilts", ["acquisition.haadf_tilts", "solver.gamma"])
    'acquisition.haadf_tilts'
    """
    matching = [axis for axis in axes if axis == name or axis.endswith(f".{name}")]
    if len(matching) != 1:
        known = ", ".join(axes) or "no axis: the study has one cell"
        raise BadInput("not an axis", key=OPTION, value=name, accepted=known)
    return matching[0]


def named_value(axis: str, text: str, values: Sequence[object]) -> object:
    """The value of an axis that a text stands for.

    Parameters
    ----------
    axis : path of the axis, for the error.
    text : the value as typed; a number may be written in any way.
    values : the values of the axis.

    Raises
    ------
    BadInput : none of the values matches.

    Examples
    --------
    >>> named_value("solver.gamma", "2", [1.7, 2.0])
    2.0
    """
    for value in values:
        if text in (str(value), value_label(value)) or _same_number(text, value):
            return value
    accepted = ", ".join(value_label(value) for value in values)
    raise BadInput("no such value", key=f"{OPTION} {axis}", value=text, accepted=accepted)


def _same_number(text: str, value: object) -> bool:
    try:
        # As numbers: 2, 2.0 and 2e0 are one value, however a shell or a person writes it.
        return isinstance(value, int | float) and float(text) == float(value)
    except ValueError:
        return False
