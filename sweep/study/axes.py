"""The axes of a map: dotted paths to scalars of a study's tables."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ...recon_core.errors import BadInput
from ...recon_core.validation import unknown_key
from .trial import Scalar

SWEPT = ("specimen", "acquisition", "disturbances", "solver")
"""Tables whose keys may be axes."""
NOISE_SEED = "study.seed"
"""The one key outside them: every condition again with other noise."""
HAADF_TILTS = "acquisition.haadf_tilts"
OF_HAADF = frozenset(
    {
        HAADF_TILTS,
        "acquisition.haadf_snr",
        "acquisition.contrast",
        "acquisition.gamma",
        "solver.contrast",
        "solver.gamma",
        "solver.film",
        "solver.noise",
    }
)
"""Keys of a study without any effect where no HAADF is used."""


def lenders(axes: Mapping[str, Sequence[Scalar]]) -> NDArray[np.int64]:
    """The first of the cells that differ in nothing but HAADF, for every cell.

    Parameters
    ----------
    axes : of a study; its cells are their product, the last axis varying fastest.

    Returns
    -------
    Indices (cells,).

    Examples
    --------
    >>> lenders({"acquisition.haadf_tilts": [9, 47], "acquisition.chemical_tilts": [5, 7, 9]})
    array([0, 1, 2, 0, 1, 2])
    """
    places = np.zeros(1, dtype=np.int64)
    for path, values in axes.items():
        along = np.arange(len(values)) * (path not in OF_HAADF)
        places = (len(values) * places[:, None] + along).ravel()
    return places


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


class Insertion:
    """Makes a table of a study for one cell after another: its values put in, all of it validated.

    There may be 100,000 cells: only the text of what changes is written anew, and cells that agree
    in these values share a table.

    Parameters
    ----------
    name : of the table.
    table : as the study has it.
    data : its plain values.
    paths : dotted path of every value of a cell; those of other tables are passed over.
    """

    def __init__(
        self, name: str, table: BaseModel, data: dict[str, Any], paths: Sequence[str]
    ) -> None:
        self._kind, self._name, self._data = type(table), name, data
        self._own = [(i, path) for i, path in enumerate(paths) if path.startswith(f"{name}.")]
        keys = [path.split(".")[1:] for _, path in self._own]
        # Entries of a table or a list may be there beside it as a whole: put in one by one.
        self._flat = all(len(key) == 1 for key in keys)
        rest = {key: value for key, value in data.items() if [key] not in keys}
        self._begun = _text(rest)[:-1] + (", " if rest else "")
        self._heads = [f"{_text(key[0])}: " for key in keys]

    def at(self, cell: Sequence[tuple[str, Scalar]]) -> BaseModel:
        """The table of a cell.

        Parameters
        ----------
        cell : path and value of every axis, in the order of ``paths``.

        Raises
        ------
        ValidationError, BadInput : a value that its key does not accept.
        """
        return _validated(self._kind, self._flat_text(cell) if self._flat else self._text(cell))

    def _flat_text(self, cell: Sequence[tuple[str, Scalar]]) -> str:
        places = zip(self._heads, self._own, strict=True)
        return (
            self._begun + ", ".join([head + _scalar(cell[i][1]) for head, (i, _) in places]) + "}"
        )

    def _text(self, cell: Sequence[tuple[str, Scalar]]) -> str:
        tables = {self._name: copy.deepcopy(self._data)}
        for i, path in self._own:
            put(tables, path, cell[i][1])
        return _text(tables[self._name])


_text = json.JSONEncoder(default=str).encode


def _scalar(value: Scalar) -> str:
    # The encoder takes ten times as long for a number; what is not finite is no number in either.
    return repr(value) if type(value) in (int, float) else _text(value)


@lru_cache(maxsize=1024)
def _validated(kind: type[BaseModel], text: str) -> BaseModel:
    """A table, strict about numbers and strings; tables are frozen, so that cells may share one."""
    return kind.model_validate_json(text, strict=True)


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
