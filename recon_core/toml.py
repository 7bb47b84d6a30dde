"""Tables out of TOML text, and TOML text of tables: numbers, texts, lists and tables in them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import BadInput

MOST_LEVELS = 32
"""Of tables and lists in each other; the tables of a study have four."""

BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
"""Characters of a key that stands without quotes."""


def toml_tables(text: str, source: str | Path) -> dict[str, Any]:
    r"""The tables of a TOML text.

    Parameters
    ----------
    text : TOML.
    source : name of the text in errors.

    Raises
    ------
    BadInput : not TOML, nested too deeply, or a date or time, which nothing here means.

    Examples
    --------
    >>> toml_tables('[study]\nname = "fig4"', "study.toml")
    {'study': {'name': 'fig4'}}
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of thousands of digits
        raise BadInput(f"not TOML: {error}", source=source, accepted="a TOML file") from error
    for key, value in _values(data, source):
        if not isinstance(value, str | bool | int | float):
            raise BadInput(
                "a date or time",
                source=source,
                key=key,
                value=str(value),
                accepted="a number, or a text in quotes",
            )
    return data


def _values(data: dict[str, Any], source: str | Path) -> Iterator[tuple[str, object]]:
    """All that is no table and no list, with its key.

    Level by level: functions that call themselves would do so too often.
    """
    level: list[tuple[str, Any]] = [("", data)]
    for _ in range(MOST_LEVELS + 1):
        below = [item for key, value in level for item in _within(key, value)]
        level = [(key, value) for key, value in below if isinstance(value, dict | list)]
        yield from ((key, value) for key, value in below if not isinstance(value, dict | list))
        if not level:
            return
    accepted = f"up to {MOST_LEVELS} levels"
    raise BadInput("tables nested too deeply", source=source, accepted=accepted)


def _within(key: str, value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    """The values of a table with their keys, those of a list with the list's."""
    if isinstance(value, list):
        return ((key, each) for each in value)
    return ((f"{key}.{name}" if key else name, each) for name, each in value.items())


def toml_text(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Tables as TOML text; reading it back gives equal values.

    Parameters
    ----------
    sections : name of a table → its scalars, lists and tables.

    Raises
    ------
    TypeError : a value that TOML cannot hold.

    Examples
    --------
    >>> print(toml_text({"study": {"name": "fig4", "seed": 0}}), end="")
    [study]
    name = "fig4"
    seed = 0
    """
    return "\n".join(_section(name, table) for name, table in sections.items())


def _section(name: str, table: Mapping[str, object]) -> str:
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in table.items()]
    return f"[{_key(name)}]\n" + "".join(lines)


def _key(key: str) -> str:
    return key if key and BARE.issuperset(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are valid TOML; only DEL, which JSON leaves as it is, must be escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    match value:
        # Before int: a bool is an int in Python.
        case bool():
            return "true" if value else "false"
        case int() | float():
            # The shortest text that reads back as the same float.
            return repr(value)
        case str():
            return _string(value)
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case Mapping():
            pairs = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
            return f"{{ {pairs} }}"
    raise TypeError(f"TOML holds no {type(value).__name__}: {value!r}")
