"""The atlas: one row per cell, as ``atlas.csv`` for people, ``atlas.h5`` and ``atlas.nc`` for
programs.

``atlas.h5`` holds one dataset per column, attribute ``axes`` (the columns that are axes), attribute
``study`` (TOML text of the study) and attribute ``version`` (of tomoatlas). ``atlas.nc`` is the
same on a grid over the axes, NetCDF-4 as xarray reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from ..phantoms.formats.files import DAMAGE, check_dataset, check_size, created, opened, write_aside
from ..recon_core.errors import BadInput, printable
from ..recon_core.toml import toml_tables, toml_text
from ..sweep.record import StudyFolder
from ..sweep.study.identity import LATER
from ..sweep.study.trial import GAMMA, SCORES, Score
from ..sweep.versions import package_version
from . import located, shipped_atlas
from .journal import JournalReader, load_trials
from .scatter import NOISE, SPECIMENS
from .style import CHEMICAL_SNR, CHEMICAL_TILTS, HAADF_SNR, HAADF_TILTS, SCORE_COLUMNS, column_label
from .table import atlas_table, element_of

SINGLE = "cell"
"""Name of the dimension of an atlas without axes, which has one cell."""

# Units by the last part of a column's name; all other columns are counts and ratios.
_UNITS = {"deg": "degree", "nm": "nm", "seconds": "s"}


def write_netcdf(
    path: Path, table: pd.DataFrame, axes: Sequence[str], facts: Mapping[str, str]
) -> None:
    """Write a table of cells as a grid over its axes, NetCDF-4 with dimension scales.

    Cells that the table lacks, and unknown values, are NaN (counts then become floats).

    Parameters
    ----------
    path : the file to write.
    table : one row per cell, with columns of numbers besides the axes.
    axes : columns that become dimensions; none for a single cell.
    facts : attributes of the file.
    """
    names = list(axes) or [SINGLE]
    # A table without axes gets a dimension of length one: NetCDF readers expect at least one.
    frame = table if axes else table.assign(**{SINGLE: range(len(table))})
    # dict.fromkeys keeps the order of first occurrence, which is the axis's own.
    levels = {name: list(dict.fromkeys(frame[name].tolist())) for name in names}
    grid = pd.MultiIndex.from_product([levels[name] for name in names], names=names)
    whole = frame.set_index(names).reindex(grid if len(names) > 1 else levels[names[0]])
    with created(path, track_order=True) as file:
        for name in names:
            file.create_dataset(name, data=_stored(levels[name]), track_order=True)
            # A dataset that is a dimension scale is how NetCDF-4, an HDF5 file, marks a coordinate.
            file[name].make_scale(name)
            _describe(file[name])
        shape = [len(levels[name]) for name in names]
        for column in whole.columns:
            # Floats for all, as NaN marks the cells of the grid that the table lacks.
            values = whole[column].to_numpy(dtype=float).reshape(shape)
            variable = file.create_dataset(str(column), data=values, track_order=True)
            for place, name in enumerate(names):
                variable.dims[place].attach_scale(file[name])
            _describe(variable)
        file.attrs.update(facts)


def _describe(variable: h5py.Dataset) -> None:
    """Give a variable its name in words and its unit, as NetCDF readers show them."""
    name = variable.name.rpartition("/")[2]
    variable.attrs["long_name"] = column_label(name)
    if variable.dtype.kind in "if":
        variable.attrs["units"] = _UNITS.get(name.rpartition("_")[2], "1")


def _stored(values: list[Any]) -> np.ndarray[Any, Any]:
    """Values of an axis as HDF5 holds them: numbers, or text."""
    # A bool is an int in Python; as a number in the file it would read 0 or 1.
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values)
    return np.array([str(value) for value in values], dtype=h5py.string_dtype())


NUMERIC_COLUMNS = ("haadf", "tv", *SCORE_COLUMNS.values(), "trials")
"""Columns every atlas has besides its axes; all of them numbers."""

# What :func:`~tomoatlas.analysis.table.atlas_table` adds; an older atlas may lack them.
_EXTRA_COLUMNS = (GAMMA, "score", "tv_chemistry_tv", "failed", "revision", NOISE, SPECIMENS)

_NUMERIC_AXES = (HAADF_TILTS, CHEMICAL_TILTS, HAADF_SNR, CHEMICAL_SNR)

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that spreadsheets evaluate."""

_COLUMNS_TEXT = "axes, " + ", ".join(NUMERIC_COLUMNS)


@dataclass(frozen=True)
class Atlas:
    """A table of cells, and which of its columns are axes.

    Parameters
    ----------
    table : one row per cell.
    axes : columns that are axes, by their paths.
    settings : the tables of the study it comes from, defaults included; empty if unknown. They are
        not validated: an atlas can be read without its study's specimen file.
    notes : on what was left out when it was read.
    trials : all trials that it is made of; None where only the best of each cell are known.
    version : of tomoatlas that made it; None if unknown.
    """

    table: pd.DataFrame
    axes: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trials: pd.DataFrame | None = field(default=None, compare=False, repr=False)
    version: str | None = None

    def setting(self, path: str) -> Any:
        """The study's value at a dotted path; None if unknown.

        Parameters
        ----------
        path : path of the key, as ``acquisition.haadf_snr``.
        """
        value: Any = self.settings
        for key in path.split("."):
            # A path through a value that is no table is unknown, not an error.
            value = value.get(key) if isinstance(value, Mapping) else None
        return LATER.get(path) if value is None and self.settings else value

    def values(self, axis: str) -> tuple[Any, ...]:
        """The distinct values of an axis, in the order of the table.

        Parameters
        ----------
        axis : path of the axis.
        """
        return tuple(self.table[axis].drop_duplicates().tolist())

    def weights(self, name: str) -> pd.Series:
        """The best weights per cell; NaN where a weight has no effect.

        Without HAADF tilts the best ``haadf`` is whatever the search drew: noise, not a result.

        Parameters
        ----------
        name : ``haadf``, ``tv``, or ``gamma`` where it is searched.
        """
        # A weight that is not positive has no place on a logarithmic scale.
        found = self.table[name].where(self.table[name] > 0)
        if name != "tv" and HAADF_TILTS in self.axes:
            found = found.where(self.table[HAADF_TILTS] > 0)
        return found

    @property
    def weight_names(self) -> tuple[str, ...]:
        """What was searched for the fused method: ``haadf``, ``tv``, and ``gamma`` if it was."""
        return ("haadf", "tv", GAMMA) if GAMMA in self.table else ("haadf", "tv")

    def with_acting_weights(self) -> pd.DataFrame:
        """The table with weights where they have an effect; see :meth:`weights`."""
        return self.table.assign(**{name: self.weights(name) for name in self.weight_names})

    @property
    def score(self) -> Score:
        """What the best trial of a cell is the best by."""
        named = self.setting("search.score")
        return Score(named) if named in SCORES else Score.NRMSE

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols of the columns ``nrmse_<El>``."""
        columns = [str(c) for c in self.table.columns if element_of(str(c))]
        names = [column for column in columns if column.startswith("nrmse_")]
        return tuple(name.removeprefix("nrmse_") for name in names)


def atlas_of(folder: str | Path, trials: pd.DataFrame | None = None) -> Atlas:
    """The atlas of a study folder as its journal stands now; the study may be unfinished.

    Parameters
    ----------
    folder : the study folder.
    trials : its trials, if already read; None reads the journal.

    Raises
    ------
    BadInput : not the folder of a study.
    """
    study = StudyFolder(folder).study()
    trials = load_trials(folder) if trials is None else trials
    made_by = sorted(set(trials["version"].dropna()))
    return Atlas(
        atlas_table(trials, study),
        tuple(study.axes),
        study.tables(),
        trials=trials,
        version=", ".join(made_by) or None,
    )


def write_atlas(folder: str | Path, trials: pd.DataFrame | None = None) -> Atlas:
    """Write ``atlas.csv``, ``.h5`` and ``.nc``, each whole or not at all.

    Parameters
    ----------
    folder : the study folder.
    trials : its trials, if already read; None reads the journal.

    Returns
    -------
    The atlas written, that of :func:`atlas_of`.
    """
    atlas = atlas_of(folder, trials)
    files = StudyFolder(folder)
    # Each file is complete at any moment, so that a reader during a run never sees half of one.
    write_aside(
        files.atlas_csv,
        lambda path: _texts_changed(atlas.table, _no_formula).to_csv(path, index=False),
    )
    write_aside(files.atlas_h5, lambda path: _write_h5(path, atlas))
    write_aside(
        files.atlas_nc, lambda path: write_netcdf(path, atlas.table, atlas.axes, _facts(atlas))
    )
    return atlas


def _texts_changed(table: pd.DataFrame, change: Callable[[object], object]) -> pd.DataFrame:
    """A table with a function applied to every value that is no number."""
    changed = table.copy()
    for name in table.select_dtypes(exclude="number").columns:
        changed[name] = table[name].map(change)
    return changed


def _no_formula(value: object) -> object:
    """A text that is no formula to a spreadsheet; see :func:`_from_csv`."""
    text = printable(value) if isinstance(value, str) else value
    # An apostrophe makes text of a cell, and is taken away again where an atlas is read.
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA) else text


def _from_csv(value: object) -> object:
    quoted = isinstance(value, str) and value[:1] == "'" and value[1:].startswith(FORMULA)
    return value[1:] if isinstance(value, str) and quoted else value


def _write_h5(path: Path, atlas: Atlas) -> None:
    with created(path, track_order=True) as file:
        for name, column in atlas.table.items():
            file[str(name)] = _as_stored(column)
        file.attrs["axes"] = np.array(atlas.axes, dtype=h5py.string_dtype())
        file.attrs.update(_facts(atlas))


def _facts(atlas: Atlas) -> dict[str, str]:
    return {"study": toml_text(atlas.settings), "version": package_version("tomoatlas")}


def _as_stored(column: pd.Series) -> np.ndarray[Any, Any]:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    return np.array([str(value) for value in column], dtype=h5py.string_dtype())


def load_atlas(source: str | Path) -> Atlas:
    """The atlas of a study folder, a file or a shipped name.

    Parameters
    ----------
    source : a study folder, whose journal is read as it stands; an ``atlas.csv`` or an atlas in
        HDF5; or the name of a shipped atlas.

    Returns
    -------
    Atlas : with a note on columns that this version does not read.

    Raises
    ------
    BadInput : no such source, neither format, a column missing or not numeric, or no cell.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> atlas = ta.load_atlas("fig4_nanocubes_64")
    >>> atlas.axes
    ('acquisition.haadf_tilts', 'acquisition.chemical_tilts')
    >>> len(atlas.table), atlas.elements
    (64, ('Co', 'Cu', 'O', 'Au'))
    """
    if (shipped := shipped_atlas(source)) is not None:
        trials = JournalReader(shipped).trials
        return replace(_load_file(StudyFolder(shipped).atlas_h5), trials=trials)
    path = located(source)
    return _load_file(path) if path.is_file() else _of_journal(path)


def _of_journal(folder: Path) -> Atlas:
    reader = JournalReader(folder)
    return replace(atlas_of(folder, reader.trials), notes=reader.notes)


def _load_file(path: Path) -> Atlas:
    atlas = _load_csv(path) if path.suffix == ".csv" else _load_h5(path)
    missing = [name for name in NUMERIC_COLUMNS if name not in atlas.table]
    if missing:
        raise BadInput("missing column", source=path, key=missing[0], accepted=_COLUMNS_TEXT)
    if atlas.table.empty:
        raise BadInput("holds no cell", source=path, accepted="one row per cell")
    for name in (*NUMERIC_COLUMNS, GAMMA, "score", *atlas.axes):
        if not _is_numeric(atlas, name):
            raise BadInput("column is not numeric", source=path, key=name, accepted="numbers")
    return _without_foreign(atlas)


def _is_numeric(atlas: Atlas, name: str) -> bool:
    """Whether a column holds numbers, or need not: an axis of names, or a column that is absent."""
    named = name in atlas.axes and name not in _NUMERIC_AXES
    return named or name not in atlas.table or pd.api.types.is_numeric_dtype(atlas.table[name])


def _without_foreign(atlas: Atlas) -> Atlas:
    """Without columns that an atlas of this version does not have, and a note that names them."""
    known = {*atlas.axes, *NUMERIC_COLUMNS, *_EXTRA_COLUMNS}
    foreign = [str(c) for c in atlas.table if c not in known and not element_of(str(c))]
    if not foreign:
        return atlas
    columns = printable(", ".join(foreign))
    note = f"written by another version of tomoatlas? Columns left out: {columns}"
    return replace(atlas, table=atlas.table.drop(columns=foreign), notes=(*atlas.notes, note))


def _load_csv(path: Path) -> Atlas:
    try:
        check_size((path.stat().st_size,), np.dtype(np.uint8), "size")
        table = pd.read_csv(path)
    except BadInput as error:
        raise error.at(source=path) from error
    except (ValueError, UnicodeDecodeError) as error:
        accepted = f"UTF-8 text, separated by commas: {_COLUMNS_TEXT}"
        raise BadInput("not a table", source=path, accepted=accepted) from error
    if "haadf" not in table and _saved_by_spreadsheet(list(map(str, table.columns))):
        # a spreadsheet of another country has saved it, or put its own first line there
        raise BadInput(
            "no columns, by commas",
            source=path,
            key="separator",
            accepted="a comma, and points in numbers, as CSV UTF-8 has them",
        )
    table = _texts_changed(table, _from_csv)
    columns = [str(name) for name in table.columns]
    # By convention all columns before the first weight are axes.
    axes = columns[: columns.index("haadf")] if "haadf" in columns else []
    return Atlas(table, tuple(axes), _settings_beside(path, axes))


def _saved_by_spreadsheet(columns: list[str]) -> bool:
    """Whether a header has no commas, or is a spreadsheet's own line before it."""
    return len(columns) < 2 or any(";" in c or c.lower().startswith("sep=") for c in columns)


def _settings_beside(path: Path, axes: list[str]) -> Mapping[str, Any]:
    """The settings in ``study.toml`` beside a CSV file, which cannot name its study, if the
    axes agree.
    """
    beside = path.with_name("study.toml")
    if not beside.is_file():
        return {}
    settings = toml_tables(beside.read_text(encoding="utf-8"), beside)
    return settings if list(settings.get("axes", {})) == axes else {}


def _load_h5(path: Path) -> Atlas:
    try:
        with opened(path) as file:
            columns = {name: _as_read(file[name]) for name in file}
            axes = tuple(str(axis) for axis in file.attrs.get("axes", ()))
            text = str(file.attrs.get("study", ""))
            version = str(file.attrs.get("version", "")) or None
    except BadInput as error:
        raise error.at(source=path) from error
    except DAMAGE as error:
        raise BadInput("not an atlas", source=path, accepted="an atlas.csv or atlas.h5") from error
    # Also refuses other HDF5 files, as a specimen, whose datasets are volumes.
    shapes = {column.shape for column in columns.values()}
    if len(shapes) > 1 or any(len(s) > 1 for s in shapes) or not set(axes) <= set(columns):
        raise BadInput("columns disagree", source=path, accepted=_COLUMNS_TEXT)
    return Atlas(pd.DataFrame(columns), axes, toml_tables(text, path), version=version)


def _as_read(dataset: h5py.Dataset) -> np.ndarray[Any, Any]:
    text = h5py.check_string_dtype(dataset.dtype) is not None
    check_dataset(dataset, str(dataset.name))
    values = dataset.asstr()[()] if text else dataset[()]
    return np.atleast_1d(np.asarray(values))
