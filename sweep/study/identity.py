"""What identifies a trial: its resolved settings, such that new keys change no old identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

LATER: dict[str, object] = {"solver.projector": "sparse"}
"""Keys newer than the release of 2026-11-22, dotted, and the value (as JSON has it) that reproduces
what was done before the key existed.

An identity holds every key of that release, and of these only those with another value: the trials,
noise and search of an older study stay as they are. A new key's default is its value here;
:data:`tomoatlas.sweep.study.editions.EDITIONS` gives new studies a better one.
"""

UNHASHED = frozenset({"study.edition"})
"""Keys that decide no result by themselves: the defaults that an edition names are all resolved."""


def identifying(tables: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The part of resolved ``tables`` that belongs in an identity; see :data:`LATER`.

    Parameters
    ----------
    tables : plain values by key, all defaults filled in; keys may hold tables.
    above : dotted path of ``tables`` with a dot at its end; empty for the whole study.

    Returns
    -------
    dict
        Without later keys at their neutral value, and without tables that hold nothing else.

    Examples
    --------
    >>> identifying({"study": {"seed": 3, "edition": 1}})
    {'study': {'seed': 3}}
    """
    found = {}
    for key, value in tables.items():
        path = f"{above}{key}"
        if path in UNHASHED or (path in LATER and value == LATER[path]):
            continue
        if isinstance(value, Mapping) and value:
            value = identifying(value, f"{path}.")
            if not value:  # a table of a later version, all of it neutral
                continue
        found[key] = value
    return found


def canonical(parameters: object) -> str:
    """JSON text of ``parameters`` that does not depend on the order of keys.

    Raises
    ------
    ValueError : a number that is not finite.
    """
    return json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(parameters: object) -> str:
    """Identity of ``parameters``: SHA-256 of their canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical(parameters).encode()).hexdigest()


def seed_from(*parts: object) -> int:
    """A seed in [0, 2**63) that depends on every part, never on time, rank or order of work."""
    return int(digest(list(parts))[:16], 16) >> 1


def short_seed(*parts: object) -> int:
    """:func:`seed_from` in [0, 2**31), for generators that take no more."""
    return seed_from(*parts) >> 32
