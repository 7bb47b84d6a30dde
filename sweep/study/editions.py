"""Editions: the sets of defaults that a study can name, so that new ones do not touch old studies.

``[study] edition`` names one, and a study without it is of the first. Defaults are filled in when a
study is read, before it is validated; its identities follow from the values alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...recon_core.errors import BadInput

FIRST = 1
"""The defaults of the tables themselves, those of the release of 2026-11-22."""

EDITIONS: dict[int, dict[str, object]] = {FIRST: {}}
"""Edition → the defaults that differ from those of the first, dotted key → value as TOML has it.

An edition that was released never changes; a better default is a new edition.
"""


def newest_edition() -> int:
    """The edition that a study written today should name."""
    return max(EDITIONS)


def check_edition(edition: int, source: str | Path | None = None) -> None:
    """Refuse an edition that does not exist.

    Parameters
    ----------
    edition : the edition that a study names.
    source : the file that names it; None if unknown.

    Raises
    ------
    BadInput : lists the editions that exist.
    """
    if edition not in EDITIONS:
        known = ", ".join(map(str, sorted(EDITIONS)))
        raise BadInput(
            "unknown edition",
            source=source,
            key="study.edition",
            value=edition,
            accepted=f"{known}; or a newer version of tomoatlas",
        )


def with_defaults(data: Mapping[str, Any], source: str | Path | None = None) -> dict[str, Any]:
    """Tables of a study file with the defaults of its edition where it leaves a key out.

    Parameters
    ----------
    data : as read from TOML, not validated; what has a wrong type is left for the validation.
    source : name of the file in errors.

    Raises
    ------
    BadInput : an unknown edition.

    Examples
    --------
    >>> with_defaults({"study": {"name": "mine"}})
    {'study': {'name': 'mine'}}
    """
    filled = copy.deepcopy(dict(data))
    study = filled.get("study")
    edition = study.get("edition", FIRST) if isinstance(study, dict) else FIRST
    if type(edition) is not int:
        return filled
    check_edition(edition, source)
    for path, value in EDITIONS[edition].items():
        _put_default(filled, path, copy.deepcopy(value))
    return filled


def _put_default(tables: dict[str, Any], path: str, value: object) -> None:
    """Set a key that is not there; below a value that is no table there is nothing to set."""
    *above, last = path.split(".")
    for key in above:
        tables = tables.setdefault(key, {})
        if not isinstance(tables, dict):
            return
    tables.setdefault(last, value)
