"""The axes of a map: dotted paths to scalars of a study's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...recon_core.errors import BadInput
from ...recon_core.validation import unknown_key
from .trial import Scalar

SWEPT = ("specimen", "acquisition", "disturbances", "solver")
"""Tables whose keys may be axes."""
NOISE_SEED = "study.seed"
"""The one key outside them: every condition again with other noise."""


def flattened(axes: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Axes by dotted path, whether the path was quoted in the file or written as nested tables.

    Parameters
    ----------
    axes : the table as read from TOML.
    above : dotted path of the table with a dot at its end; empty at the top.

    Examples
    --------
    >>> flattened({"solver": {"gamma": [1.7, 2.0]}, "acquisition.haadf_tilts": [9]})
    {'solver.gamma': [1.7, 2.0], 'acquisition.haadf_tilts': [9]}
    """
    flat: dict[str, Any] = {}
    for key, value in axes.items():
        path = f"{above}{key}"
        flat |= flattened(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def put(tables: dict[str, Any], path: str, value: Scalar) -> None:
    """Set the scalar at a dotted path, in place.

    Parameters
    ----------
    tables : the tables of a study; changed.
    path : dotted path of the key.
    value : its value in one cell.

    Raises
    ------
    BadInput : another axis has put a scalar where the path needs a table.
    """
    *above, last = path.split(".")
    within: Any = tables
    for key in above:
        within = within[_step(within, key)]
        if not isinstance(within, dict | list):
            raise BadInput(
                "an axis below another axis",
                key=f"axes.{path}",
                value=value,
                accepted=f"an axis over {'.'.join(above)} or over its entries, not both",
            )
    within[_step(within, last)] = value


def _step(within: dict[str, Any] | list[Any], key: str) -> Any:
    return int(key) if isinstance(within, list) else key


def scalar_paths(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Dotted paths of everything that an axis may run over.

    Parameters
    ----------
    tables : the tables of a study.
    """
    yield NOISE_SEED
    for section in SWEPT:
        yield from _paths_below(tables[section], f"{section}.")


def _paths_below(tables: object, above: str) -> Iterator[str]:
    # The entries of a table, as an SNR per element, and of a list, as the ends of a range of tilts,
    # can be swept one by one; a list itself is no scalar.
    items = tables.items() if isinstance(tables, Mapping) else ()
    for key, value in enumerate(tables) if isinstance(tables, list) else items:
        if not isinstance(value, list):
            yield f"{above}{key}"
        yield from _paths_below(value, f"{above}{key}.")


def check_axes(
    axes: Mapping[str, tuple[Scalar, ...]], tables: Mapping[str, Any], source: str | Path
) -> None:
    """Refuse axes over keys that cannot be swept, without values, or with repeated values.

    Parameters
    ----------
    axes : path → values.
    tables : the tables of the study.
    source : name of the study in errors.

    Raises
    ------
    BadInput : names the axis, with the nearest path that exists.
    """
    known = list(scalar_paths(tables))
    for path, values in axes.items():
        if path.split(".")[0] in tables and path.split(".")[0] not in SWEPT and path != NOISE_SEED:
            accepted = f"{', '.join(SWEPT)}, {NOISE_SEED}"
            raise _refused("not a condition of a cell", path, values, source, accepted)
        if path not in known:
            raise unknown_key(("axes", path), known, list(values), source)
        if not values:
            raise _refused("an axis without values", path, values, source, "one value or more")
        # A repeated value would be a second cell with the identity of the first.
        if len(set(values)) != len(values):
            raise _refused("a value is there twice", path, values, source, "different values")


def _refused(
    problem: str, path: str, values: tuple[Scalar, ...], source: str | Path, accepted: str
) -> BadInput:
    return BadInput(
        problem, source=source, key=f"axes.{path}", value=list(values), accepted=accepted
    )
