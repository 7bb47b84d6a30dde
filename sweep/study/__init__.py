"""A study: what is run, read from a TOML file and rejected in one line if it makes no sense."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ...phantoms.acquisition import DOSES, SNRS, Acquisition
from ...phantoms.disturbances import Disturbances
from ...recon_core.errors import BadInput
from ...recon_core.methods import Method, Weights
from ...recon_core.settings import SolverSettings
from ...recon_core.toml import toml_tables, toml_text
from ...recon_core.validation import validation_error
from .axes import Insertion, check_axes, flattened, lenders, put
from .checks import check_cells, check_kind
from .identity import digest, identifying, seed_from, with_defaults
from .specimens import (
    exposure,
    located,
    specimen_identity,
)
from .tables import (
    Baselines,
    Fidelity,
    LimitsTable,
    SearchSettings,
    SpecimenTable,
    Strategy,
    StudyTable,
    Table,
)
from .trial import GAMMA, Cell, Scalar, Scale, Trial, weights_of

MOST_BYTES = 16 << 20
"""Of a study file."""


class Study(Table):
    """What is run: the tables of a study file.

    Parameters
    ----------
    study : name, seed and edition.
    specimen : what is imaged.
    acquisition : tilts, SNR, contrast.
    disturbances : faults of the microscope.
    solver : settings of the reconstruction.
    search : how the weights are found.
    limits : what a trial may take; not part of any identity.
    axes : dotted path of a scalar of the other tables → the values it takes; the cells of the map
        are their product.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> study = ta.load_study("quickstart")
    >>> study.search.trials, list(study.axes)
    (8, ['acquisition.haadf_tilts', 'acquisition.chemical_tilts'])
    >>> len(study.cells())
    4
    """

    study: StudyTable
    specimen: SpecimenTable
    acquisition: Acquisition = Acquisition()
    disturbances: Disturbances = Disturbances()
    solver: SolverSettings = SolverSettings()
    search: SearchSettings = SearchSettings()
    limits: LimitsTable = LimitsTable()
    axes: dict[str, tuple[Scalar, ...]] = Field(default_factory=dict)

    def cells(self) -> tuple[Cell, ...]:
        """Product of the axes, the last one varying fastest; one cell without axes."""
        product = itertools.product(*self.axes.values())
        return tuple(
            Cell(i, tuple(zip(self.axes, values, strict=True))) for i, values in enumerate(product)
        )

    def lenders(self, method: Method) -> NDArray[np.int64]:
        """The cell whose trials of a method count in each: itself, unless baselines are shared.

        Parameters
        ----------
        method : one that sees no HAADF may be run in some cells only; see ``search.baselines``.

        Returns
        -------
        Indices (cells,).
        """
        places = lenders(self.axes)
        shared = self.search.baselines is Baselines.SHARED and not method.sees_haadf
        return places if shared else np.arange(len(places))

    def at(self, cell: Cell) -> Study:
        """The study of one condition: the cell's values inserted, no axes left.

        Parameters
        ----------
        cell : one of :meth:`cells`.

        Raises
        ------
        BadInput : a value that its key does not accept.
        """
        ((_, found),) = self.conditions([cell])
        return found

    def conditions(self, cells: Iterable[Cell] | None = None) -> Iterator[tuple[Cell, Study]]:
        """Cells with their studies, as :meth:`at` returns them; faster than one by one.

        Parameters
        ----------
        cells : some of :meth:`cells`; None for all.

        Raises
        ------
        BadInput : a value that its key does not accept.
        """
        bare = self.model_copy(update={"axes": {}})
        insertions: dict[tuple[str, ...], dict[str, Insertion]] = {}
        for cell in self.cells() if cells is None else cells:
            paths = tuple([path for path, _ in cell.values])
            if paths not in insertions:
                insertions[paths] = _insertions(self, paths)
            try:
                tables = {name: each.at(cell.values) for name, each in insertions[paths].items()}
            except (ValidationError, BadInput):
                yield cell, _validated_at(self, cell)
            else:
                yield cell, bare.model_copy(update=tables)

    def reduced(self) -> Study:
        """The study of one condition as the cheaper trials of its search see it."""
        fidelity = self.search.fidelity or Fidelity()
        specimen = {"size": fidelity.size_of(self.specimen.size)}
        most = min(self.solver.max_iterations, fidelity.iterations or self.solver.max_iterations)
        return self.model_copy(
            update={
                "specimen": self.specimen.model_copy(update=specimen),
                # larger pixels would be given more electrons: the counts are those of the study
                "acquisition": exposure(self.specimen, self.acquisition),
                "solver": self.solver.model_copy(update={"max_iterations": most}),
            }
        )

    def scale(self, reduced: bool = False) -> Scale:
        """What a trial of one condition is solved on.

        Parameters
        ----------
        reduced : whether this is what :meth:`reduced` returns.
        """
        size = None if self.specimen.from_file else self.specimen.size
        return Scale(size, self.solver.max_iterations, reduced)

    def tables(self) -> dict[str, Any]:
        """All tables as plain values, defaults included."""
        return self.model_dump(mode="json", exclude_none=True)

    def toml(self) -> str:
        """The study as a TOML file that :func:`parse_study` reads back as an equal study."""
        tables = self.tables()
        if any(f"acquisition.{key}" in self.axes for key in DOSES):
            # Beside a dose that is swept an SNR would be refused, its default too.
            acquisition = tables["acquisition"]
            tables["acquisition"] = {k: v for k, v in acquisition.items() if k not in SNRS}
        return toml_text(tables)

    def solver_of(self, trial: Trial) -> SolverSettings:
        """The settings of a trial of a study without axes: with the exponent that it searches.

        Parameters
        ----------
        trial : of this condition.
        """
        gamma = trial.weights_record().get(GAMMA)
        return self.solver if gamma is None else self.solver.model_copy(update={GAMMA: gamma})

    def study_hash(self) -> str:
        """Identity of everything that decides the study's results, hence without its limits."""
        # Limits decide only whether a trial ends, not its result.
        tables = self.model_dump(mode="json", exclude={"limits"})
        return digest(identifying({**tables, "specimen": self.specimen.set_apart()}))

    def condition(self) -> dict[str, Any]:
        """What the data of a study without axes depend on: specimen, acquisition, faults, seed."""
        return {
            "specimen": specimen_identity(self.specimen),
            **self._identifying("acquisition", "disturbances"),
            "seed": self.study.seed,
        }

    def noise_seed(self) -> int:
        """Seed of the noise of a study without axes: the same for all trials of a condition."""
        return seed_from("noise", self.condition())

    def trial(self, cell: Cell, method: Method, number: int, weights: Weights) -> Trial:
        """A trial, identified by everything that decides its result.

        Its number is not part of the identity: the same weights give the same result.

        Parameters
        ----------
        cell : the condition.
        method : what to reconstruct with.
        number : place in the sequence of its search, from 0.
        weights : of the method's terms.
        """
        # Identities are those of a study of one condition: another study with the same cell shares
        # them.
        at = self.at(cell) if self.axes else self
        identity = trial_id(at.parameters(method), method, weights)
        return Trial(cell, method, number, weights, identity, scale=at.scale())

    def parameters(self, method: Method) -> dict[str, Any]:
        """Everything that decides a method's results except its weights, for a study without axes.

        Parameters
        ----------
        method : what to reconstruct with.
        """
        return {
            "condition": self.condition(),
            **self._identifying("solver"),
            "method": str(method),
        }

    def _identifying(self, *names: str) -> dict[str, Any]:
        """The tables of these names as an identity holds them."""
        parts = (_identifying(name, getattr(self, name).model_dump_json()) for name in names)
        return {name: table for part in parts for name, table in part.items()}


def _insertions(study: Study, paths: Sequence[str]) -> dict[str, Insertion]:
    """What makes each table that cells change."""
    names = dict.fromkeys(path.partition(".")[0] for path in paths)
    tables: dict[str, Table] = {name: getattr(study, name) for name in names}
    data: dict[str, dict[str, Any]] = {
        name: table.model_dump(mode="json", exclude_none=True) for name, table in tables.items()
    }
    if "specimen.kind" in paths:  # another kind has other parameters
        data["specimen"] = study.specimen.set_apart()
    return {name: Insertion(name, table, data[name], paths) for name, table in tables.items()}


def _validated_at(study: Study, cell: Cell) -> Study:
    """The study of a cell from all of its tables, for an error that names its key."""
    data = study.tables()
    data["axes"] = {}
    if "specimen.kind" in study.axes:  # as above
        data["specimen"] = study.specimen.set_apart()
    for path, value in cell.values:
        put(data, path, value)
    return _validated(data, None, [path for path, _ in cell.values])


@lru_cache(maxsize=16)
def _identifying(name: str, table: str) -> dict[str, Any]:
    """Kept: most of 100,000 cells share the tables that no axis runs over."""
    return identifying({name: json.loads(table)})


Task = tuple[Study, Trial]
"""A trial and the study that it is evaluated in."""


def check_divisible(study: Study, key: str, value: str) -> None:
    """Refuse to divide cells, or to join parts, where each cell's trials follow from the others'.

    Parameters
    ----------
    study : whose cells are meant.
    key, value : what asks for it.

    Raises
    ------
    BadInput : the strategy searches all cells together.
    """
    if study.search.strategy is Strategy.CONTEXTUAL:
        raise BadInput(
            "the cells of this study are searched together, in one order",
            key=key,
            value=value,
            accepted='one run of all cells, or search.strategy = "per-cell"',
        )


def trial_id(parameters: Mapping[str, Any], method: Method, weights: Weights) -> str:
    """Identity of a trial: the hash of its resolved settings.

    Parameters
    ----------
    parameters : result of :meth:`Study.parameters`.
    method : what to reconstruct with.
    weights : only those that the method has count.
    """
    return digest({**parameters, "weights": weights_of(method, weights)})


def load_study(path: str | Path) -> Study:
    """Read and check a study file; the path of a volume is relative to the file's folder.

    Parameters
    ----------
    path : the TOML file.

    Raises
    ------
    BadInput : unreadable, not TOML, an unknown key, or an impossible value in any cell.
    """
    return _checked(recorded_study(path), path)


def recorded_study(path: str | Path) -> Study:
    """Read a study that was checked when it was run; its volumes may be gone by now.

    Parameters
    ----------
    path : ``study.toml`` of a study folder.

    Raises
    ------
    BadInput : unreadable, not TOML, an unknown key, or an impossible value outside ``[axes]``.
    """
    path = Path(path)
    try:
        _refuse_huge(path)
        return _parsed(path.read_text(encoding="utf-8-sig"), path, path.parent)
    except OSError as error:
        raise BadInput(error.strerror or "unreadable", source=path) from error
    except UnicodeDecodeError as error:
        raise BadInput("not UTF-8 text", source=path, accepted="a TOML file") from error


def _refuse_huge(path: Path) -> None:
    """Refuse what would be read for ever: a device, a pipe, or gigabytes of another file."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
        accepted = f"a TOML file of up to {MOST_BYTES >> 20} MiB"
        raise BadInput("not a study file", source=path, accepted=accepted)


def parse_study(text: str, source: str | Path = "study", folder: str | Path = ".") -> Study:
    """The study that a TOML text describes, with every cell checked.

    Parameters
    ----------
    text : TOML.
    source : name of the text in errors.
    folder : where relative paths of volumes start.

    Returns
    -------
    Study : with the defaults of its edition filled in.

    Raises
    ------
    BadInput : not TOML, an unknown key, or an impossible value in any cell.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> study = ta.parse_study('''
    ... [study]
    ... name = "mine"
    ... [specimen]
    ... kind = "composite"
    ... [axes]
    ... "acquisition.chemical_tilts" = [5, 9, 18]
    ... ''')
    >>> [dict(cell.values)["acquisition.chemical_tilts"] for cell in study.cells()]
    [5, 9, 18]
    """
    return _checked(_parsed(text, source, Path(folder)), source)


def _parsed(text: str, source: str | Path, folder: Path) -> Study:
    data = toml_tables(text, source)
    if isinstance(data.get("axes"), dict):
        # TOML reads an unquoted dotted path as nested tables; both forms mean the same axis.
        data["axes"] = flattened(data["axes"])
    _refuse_snr_and_dose(data, source)
    return _validated(located(with_defaults(data, source), folder), source)


def _refuse_snr_and_dose(data: Mapping[str, Any], source: str | Path) -> None:
    """Refuse an SNR beside a dose even where it says what it would be by default."""
    given = data.get("acquisition")
    given = given if isinstance(given, Mapping) else {}
    axes = data.get("axes")
    swept = axes if isinstance(axes, Mapping) else {}
    named = {*given, *(path.removeprefix("acquisition.") for path in swept)}
    for key in SNRS:
        if key in named and not named.isdisjoint(DOSES):
            raise BadInput(
                "given beside a dose",
                source=source,
                key=f"acquisition.{key}" if key in given else f"axes.acquisition.{key}",
                value=given.get(key, swept.get(f"acquisition.{key}")),
                accepted="one of the two",
            )


def _checked(study: Study, source: str | Path) -> Study:
    check_kind(study, source)
    check_axes(study.axes, study.model_dump(mode="json"), source)
    if "solver.gamma" in study.axes and study.search.space.gamma is not None:
        raise BadInput(
            "searched in every cell, and an axis",
            source=source,
            key="axes.solver.gamma",
            value=list(study.axes["solver.gamma"]),
            accepted="search.space.gamma or this axis, not both",
        )
    check_cells(study, source)
    return study


def _validated(
    data: dict[str, Any], source: str | Path | None, axes: Collection[str] = ()
) -> Study:
    """The study of checked tables; errors name the key as the file has it."""
    # JSON mode: strict about numbers and strings, yet lists are tuples and strings are enums.
    try:
        return Study.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise validation_error(error, data, Study, source, axes) from error
