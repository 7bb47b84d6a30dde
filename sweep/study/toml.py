"""Tables as TOML text."""

from __future__ import annotations

import json
from collections.abc import Mapping

BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


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
