"""Tables written as TOML, which the standard library only reads."""

from __future__ import annotations

import json
from collections.abc import Mapping

BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def toml_text(sections: Mapping[str, Mapping[str, object]]) -> str:
    """TOML of ``sections``: scalars, lists and tables; reading it back gives equal values.

    Raises
    ------
    TypeError : a value that TOML cannot hold.
    """
    return "\n".join(_section(name, table) for name, table in sections.items())


def _section(name: str, table: Mapping[str, object]) -> str:
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in table.items()]
    return f"[{_key(name)}]\n" + "".join(lines)


def _key(key: str) -> str:
    return key if key and BARE.issuperset(key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case Mapping():
            pairs = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
            return f"{{ {pairs} }}"
    raise TypeError(f"TOML holds no {type(value).__name__}: {value!r}")
