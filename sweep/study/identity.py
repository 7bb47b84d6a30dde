"""What may change about a study without changing its trials: new keys, and better defaults.

A trial is identified by its resolved settings; a key that came later counts only where it is not
neutral (:data:`LATER`). An edition is a set of defaults, named by ``[study] edition``; a study
without it is of the first. Defaults are filled in when a study is read, before it is validated, and
its identities follow from the values alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...phantoms.acquisition import OF_DOSE
from ...phantoms.disturbances import Disturbances
from ...recon_core.errors import BadInput
from ...recon_core.settings import SOLVER_EDITIONS

LATER: dict[str, object] = {
    # a strength of 0 is none, and that is the default of each
    **{f"disturbances.{key}": value for key, value in Disturbances().model_dump().items()},
    "acquisition.chemical_subset": False,
    "acquisition.contrast": "power",
    # counts by a dose, in place of an SNR
    **{f"acquisition.{key}": None for key in OF_DOSE},
    "acquisition.tilt_scheme": "equal-angle",
    "search.baselines": "per-cell",
    "search.doubt": 0.0,
    "search.fidelity": None,
    "search.precision": 0.005,
    "search.score": "nrmse",
    "search.score_digits": None,
    "search.space.gamma": None,
    "search.start": None,
    "search.strategy": "per-cell",
    "solver.background": "given",
    "solver.contrast": "power",
    "solver.film": False,
    "solver.noise": "counts",
    "solver.projector": "sparse",
    "solver.regulariser": "tv",
    "solver.start": "trial",
    "solver.totals": False,
    "solver.units": "percentile",
}
"""Keys newer than the release of 2026-11-22, dotted, and the value (as JSON has it) that reproduces
what was done before the key existed.

An identity holds every key of that release, and of these only those with another value: the trials,
noise and search of an older study stay as they are. A new key's default is its value here;
:data:`EDITIONS` gives new studies a better one.
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
    """JSON text that does not depend on the order of keys.

    Parameters
    ----------
    parameters : plain values.

    Raises
    ------
    ValueError : a number that is not finite.

    Examples
    --------
    >>> canonical({"b": 1, "a": [0.5, None]})
    '{"a":[0.5,null],"b":1}'
    """
    # repr of floats is exact, so that equal numbers give equal texts on every machine.
    return json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(parameters: object) -> str:
    """Identity of parameters: SHA-256 of their canonical JSON.

    Parameters
    ----------
    parameters : plain values.

    Returns
    -------
    64 hexadecimal digits.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    >>> digest({"a": 1})[:8]
    '015abd7f'
    """
    return hashlib.sha256(canonical(parameters).encode()).hexdigest()


def seed_from(*parts: object) -> int:
    """A seed that depends on every part, never on time, rank or order of work.

    Parameters
    ----------
    parts : plain values.

    Returns
    -------
    From 0 to 2**63 - 1.
    """
    # 63 bits: a signed integer in every format the seed is written to.
    return int(digest(list(parts))[:16], 16) >> 1


def short_seed(*parts: object) -> int:
    """:func:`seed_from` for generators that accept 31 bits only.

    Parameters
    ----------
    parts : plain values.

    Returns
    -------
    From 0 to 2**31 - 1.
    """
    # The upper bits: a digest is as random in any, and these change with every part too.
    return seed_from(*parts) >> 32


FIRST = 1
"""The defaults of the tables themselves, those of the release of 2026-11-22."""

EDITIONS: dict[int, dict[str, object]] = {
    edition: {f"solver.{key}": value for key, value in solver.items()}
    for edition, solver in SOLVER_EDITIONS.items()
}
for _edition in (2, 3):
    EDITIONS[_edition] |= {
        "search.space.haadf": [0.01, 10.0],
        "search.space.tv": [0.3, 6.0],
        "search.score_digits": 4,
    }
EDITIONS[3] |= {"search.strategy": "contextual"}
EDITIONS[4] = EDITIONS[3] | {"search.doubt": 5.0}
"""Edition → the defaults that differ from those of the first, dotted key → value as TOML has it.

An edition that was released never changes; a better default is a new edition.
"""

BESIDE = {
    "solver.gamma": "solver.contrast",
    "search.space.haadf": "solver.noise",
    "search.space.tv": "solver.units",
}
"""Default → the key beside whose own default alone it makes sense: where a study sets that key to
something else, it keeps the first edition's value."""


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
    # The tables of EDITIONS and of the caller are shared; what is filled in belongs to neither.
    filled = copy.deepcopy(dict(data))
    study = filled.get("study")
    edition = study.get("edition", FIRST) if isinstance(study, dict) else FIRST
    if type(edition) is not int:
        return filled
    check_edition(edition, source)
    defaults = EDITIONS[edition]
    for path, value in defaults.items():
        beside = BESIDE.get(path)
        # A default that was found beside another holds only beside it; else the first edition's
        # stays.
        if beside is None or _given(data, beside) in (None, defaults.get(beside)):
            _put_default(filled, path, copy.deepcopy(value))
    return filled


def newest_defaults(table: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A table of a study with the defaults of the newest edition where it leaves a key out.

    Parameters
    ----------
    table : its name in a study file.
    given : its keys that are set; None for none.

    Returns
    -------
    dict : what is given, and the defaults that differ from those of the first edition.

    Examples
    --------
    >>> newest_defaults("limits")
    {}
    """
    filled = with_defaults({"study": {"edition": max(EDITIONS)}, table: given or {}})
    values: dict[str, Any] = filled[table]
    return values


def _given(tables: object, path: str) -> object:
    """The value of a dotted key; None where it is not there."""
    for key in path.split("."):
        tables = tables.get(key) if isinstance(tables, Mapping) else None
    return tables


def _put_default(tables: dict[str, Any], path: str, value: object) -> None:
    """Set a key that is not there; below a value that is no table there is nothing to set."""
    *above, last = path.split(".")
    for key in above:
        tables = tables.setdefault(key, {})
        if not isinstance(tables, dict):
            return
    tables.setdefault(last, value)
