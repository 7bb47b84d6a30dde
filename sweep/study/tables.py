"""The tables of a study file that are the sweep's own.

All tables are frozen, and unknown keys refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from ...phantoms.formats.registry import reads_volumes
from ...phantoms.kinds import SIZES, SPECIMENS, SpecimenKind
from ...recon_core.errors import BadInput
from ...recon_core.methods import WEIGHT_BOUNDS, Method
from ...recon_core.registry import is_file, split_file
from .identity import FIRST, check_edition
from .trial import GAMMA, Score, takes_gamma

Bounds = tuple[float, float]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class Table(BaseModel):
    """A table of a study file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _known_edition(edition: int) -> int:
    check_edition(edition)
    return edition


NAME_LENGTH = 200


def _shown_name(name: str) -> str:
    """Refuse a name that a terminal would obey, or not show."""
    if not name.strip() or not name.isprintable() or len(name) > NAME_LENGTH:
        accepted = f"up to {NAME_LENGTH} printable characters"
        raise BadInput("not a name to be shown", value=name[:NAME_LENGTH], accepted=accepted)
    return name


class StudyTable(Table):
    """``[study]``: the study's name, and the seed from which all noise and proposals derive.

    Parameters
    ----------
    name : shown in reports and used for jobs.
    seed : of all noise and proposals.
    edition : the set of defaults for keys that the file leaves out; see
        :mod:`tomoatlas.sweep.study.identity`.
    """

    name: Annotated[str, Field(min_length=1), AfterValidator(_shown_name)]
    seed: Seed = 0
    edition: Annotated[int, AfterValidator(_known_edition)] = FIRST


class SpecimenTable(Table):
    """``[specimen]``: a specimen's name, or the path of a file that holds one.

    Further keys are the parameters of the kind (:class:`tomoatlas.phantoms.kinds.SpecimenKind`),
    and are attributes of the table like the others.

    Parameters
    ----------
    kind : name of a specimen, or path of an HDF5 volume, of a Python file that defines one or of a
        TOML file that describes one.
    size : voxels per edge; ignored for a volume from a file.
    seed : draws the objects; ignored for a volume from a file.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=SIZES[0], le=SIZES[1])] = 64
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _with_parameters(cls, data: Any) -> Any:
        """The keys of the kind's own checked and completed, before those that every kind has."""
        if not isinstance(data, dict):
            return data
        own = {key: value for key, value in data.items() if key not in cls.model_fields}
        kind = kind_of(data.get("kind"))
        if kind is not None:
            completed = kind.completed(own).model_dump(mode="json", exclude_none=True)
            # The usual size and seed of the kind first: what the study says comes after, and
            # counts.
            return {**kind.usual, **data, **completed}
        if own and not is_name(data.get("kind")):
            Table.model_validate(own)
        return data

    @classmethod
    def fields_for(cls, data: object) -> dict[str, FieldInfo]:
        """The fields of a table: those of every specimen, and the kind's own.

        Parameters
        ----------
        data : the table as read, which names the kind.
        """
        kind = kind_of(data.get("kind")) if isinstance(data, Mapping) else None
        return cls.model_fields | (kind.parameters.model_fields if kind else {})

    @property
    def from_file(self) -> bool:
        """Whether ``kind`` is the path of a volume."""
        return is_volume(self.kind)

    @property
    def parameters(self) -> dict[str, Any]:
        """The keys of the kind's own, defaults included."""
        return dict(self.__pydantic_extra__ or {})

    def set_apart(self) -> dict[str, Any]:
        """The table as plain values, without the parameters that are at the default of the kind."""
        kind = kind_of(self.kind)
        # Parameters at their default are no part of the identity, so that a kind can gain new ones.
        own = kind.apart(self.parameters) if kind else self.parameters
        return self.model_dump(mode="json", include=set(type(self).model_fields)) | own


class Surrogate(StrEnum):
    """The model that proposes weights.

    ``gp``: :mod:`tomoatlas.sweep.search.gp`, milliseconds. ``gp-hedge``: scikit-optimize's, the
    reference.
    """

    GP = "gp"
    GP_HEDGE = "gp-hedge"


CELLS_PER_LAG = 8
"""Cells for each trial that a search over all of them may have in flight: with an eighth of the
cells under way it needs no more trials than one after another, with half of them nearly twice as
many."""


class Strategy(StrEnum):
    """How the trials of a method are chosen.

    ``per-cell``: every cell is searched alone (:class:`tomoatlas.sweep.search.Search`).
    ``contextual``: all cells that one surrogate can describe, together
    (:class:`tomoatlas.sweep.search.survey.Survey`).
    """

    PER_CELL = "per-cell"
    CONTEXTUAL = "contextual"

    @property
    def alone(self) -> bool:
        """Whether cells are searched one by one, each with as many trials as the study says."""
        return self is Strategy.PER_CELL


class Baselines(StrEnum):
    """Where the methods that see no HAADF are run.

    ``per-cell``: in every cell, each with noise of its own.
    ``shared``: once for all cells that differ in nothing but HAADF, in the first of them.
    """

    PER_CELL = "per-cell"
    SHARED = "shared"


class SearchSpace(Table):
    """``search.space``: bounds of the weights, searched log-uniformly, and of the exponent.

    Parameters
    ----------
    haadf : bounds of the HAADF weight. Those of edition 1 end a little above 1, the statistical
        weight of counts: larger ones helped only data from the reconstruction's own grid.
    tv : bounds of the weight of the total variation.
    gamma : bounds of the exponent of the HAADF contrast, searched linearly; None to leave it at
        ``solver.gamma``.
    """

    haadf: Bounds = (1e-3, 3.0)
    tv: Bounds = (0.1, 6.0)
    gamma: Bounds | None = None

    @field_validator("haadf", "tv")
    @classmethod
    def _positive_and_increasing(cls, bounds: Bounds) -> Bounds:
        least, most = WEIGHT_BOUNDS
        if not least <= bounds[0] < bounds[1] <= most:
            accepted = f"[low, high], {least:g} <= low < high <= {most:g}"
            raise BadInput("not the bounds of a weight", accepted=accepted)
        return bounds

    def of(self, method: Method) -> dict[str, Bounds]:
        """Bounds of the weights that a method has, and of the exponent where it is searched.

        Parameters
        ----------
        method : the method.

        Returns
        -------
        Weight → (low, high), linear.
        """
        # In the order of the method's weights, which is that of the model's dimensions.
        space = {name: getattr(self, name) for name in method.weight_names}
        return {**space, GAMMA: self.gamma} if self.gamma and takes_gamma(method) else space


LEAST_REDUCED_SIZE = 32
"""Voxels per edge below which weights say nothing of a larger grid."""


class Fidelity(Table):
    """``search.fidelity``: cheaper trials that a search learns from before it confirms the best.

    Parameters
    ----------
    size : edge of the specimen, as a fraction of the study's; None for the same.
    iterations : limit of the solver's iterations; None for the study's.
    """

    size: Annotated[float, Field(gt=0, lt=1)] | None = None
    iterations: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    def size_of(self, size: int) -> int:
        """Edge of a cheaper specimen, voxels; even, as solvers halve it.

        Parameters
        ----------
        size : edge of the study's.

        Examples
        --------
        >>> Fidelity(size=0.5).size_of(64), Fidelity(iterations=40).size_of(64)
        (32, 64)
        """
        return size if self.size is None else 2 * round(size * self.size / 2)


class SearchSettings(Table):
    """``[search]``: how the weights of every cell are found.

    Parameters
    ----------
    trials : fused trials per cell; with the strategy ``contextual`` the most that a cell may have.
    initial : how many of them follow the fixed design of ``per-cell``.
    chemistry_tv_trials : trials of chemistry + TV per cell, likewise.
    strategy : ``per-cell`` or ``contextual``; see :class:`Strategy`.
    lag : a proposal waits for all but the ``lag - 1`` trials before it; raise it when workers
        outnumber cells. None: an eighth of the cells that are searched together.
    precision : relative improvement of a cell's score that is not worth a trial; ``contextual``
        ends where no more is expected anywhere.
    doubt : multiples of the precision that may still be expected anywhere, when ``contextual``
        ends, by a surrogate that is no surer than at its start of how the optimum moves from cell
        to cell; 0 to end without asking it.
    fidelity : cheaper trials to search with, of ``contextual``; None for none. The best weights are
        then confirmed by one or two full trials of each cell.
    start : the atlas whose results a search of ``contextual`` begins with: a shipped name, or the
        folder of a study, which must not grow meanwhile; None for none.
    methods : what is run in every cell.
    baselines : where those that see no HAADF are run, ``per-cell`` or ``shared``; see
        :class:`Baselines`. Shared ones save a map of many HAADF tilts or SNRs up to two fifths of
        its time.
    surrogate : the model that makes the proposals.
    space : bounds of the weights.
    score : what the search minimises, and by which the best trial of a cell is chosen; see
        :data:`tomoatlas.sweep.study.trial.SCORES`.
    score_digits : significant digits of a score that a proposal depends on: the last ones are
        another processor's, and far below what a solve settles to. None for all.
    """

    trials: Count = 20
    initial: Count = 6
    chemistry_tv_trials: Count = 8
    # Before the lag, whose default depends on it.
    strategy: Strategy = Strategy.PER_CELL
    lag: Annotated[Count | None, Field(validate_default=True)] = None
    methods: tuple[Method, ...] = tuple(Method)
    baselines: Baselines = Baselines.PER_CELL
    surrogate: Surrogate = Surrogate.GP
    space: SearchSpace = SearchSpace()
    score: Score = Score.NRMSE
    score_digits: Annotated[int, Field(ge=2, le=17)] | None = None
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.005
    doubt: Annotated[float, Field(ge=0, le=100)] = 0.0
    fidelity: Fidelity | None = None
    start: Annotated[str, Field(min_length=1), AfterValidator(_shown_name)] | None = None

    @field_validator("lag")
    @classmethod
    def _one_by_one(cls, lag: int | None, info: ValidationInfo) -> int | None:
        """A cell that is searched alone has one trial in flight, unless another number is set."""
        # Written out, so that the file of a study says what was done when the default is another.
        alone = info.data.get("strategy") is Strategy.PER_CELL
        return 1 if lag is None and alone else lag

    @field_validator("start", "fidelity", "baselines")
    @classmethod
    def _together(cls, value: object, info: ValidationInfo) -> object:
        alone = (None, Baselines.PER_CELL)
        if value not in alone and info.data.get("strategy") is not Strategy.CONTEXTUAL:
            raise BadInput("for searches over many cells", accepted='strategy = "contextual"')
        return value

    @field_validator("fidelity")
    @classmethod
    def _cheaper(cls, value: Fidelity | None) -> Fidelity | None:
        if value is not None and value.size is None and value.iterations is None:
            raise BadInput("nothing is cheaper", accepted="size, iterations or both")
        return value

    @field_validator("methods")
    @classmethod
    def _some_and_different(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        if not methods or len(set(methods)) != len(methods):
            raise BadInput("methods missing or doubled", accepted=", ".join(Method))
        return methods

    def budget(self, method: Method) -> int:
        """Trials of a method in one cell; a method without weights needs one.

        Parameters
        ----------
        method : the method.
        """
        # Baselines without weights have nothing to search.
        budgets = {Method.FUSED: self.trials, Method.CHEMISTRY_TV: self.chemistry_tv_trials}
        return budgets.get(method, 1)

    def lag_of(self, cells: int) -> int:
        """Trials that a search over so many cells may have in flight.

        Parameters
        ----------
        cells : number of cells that share a surrogate.

        Examples
        --------
        >>> SearchSettings().lag_of(56), SearchSettings(strategy="contextual").lag_of(56)
        (1, 7)
        """
        return self.lag if self.lag is not None else max(1, cells // CELLS_PER_LAG)


class LimitsTable(Table):
    """``[limits]``: what a trial may take, and how often it is retried; no part of the science.

    All of them may change between the runs of a study.

    Parameters
    ----------
    trial_seconds : wall time of one trial; None for 10 minutes or 20 times the estimate, whichever
        is longer.
    trial_memory_gb : memory of one trial, GiB; None for no limit.
    retries : further attempts of a trial that crashed or ran out of time.
    """

    trial_seconds: Annotated[float, Field(ge=1e-3, le=1e9)] | None = None
    trial_memory_gb: Annotated[float, Field(ge=1e-3, le=1e6)] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] = 1

    @property
    def memory_bytes(self) -> int | None:
        """Memory of one trial in bytes; None for no limit."""
        return None if self.trial_memory_gb is None else int(self.trial_memory_gb * 2**30)


def is_volume(kind: str) -> bool:
    """Whether a specimen's ``kind`` is the path of a volume.

    Parameters
    ----------
    kind : the key as written in the study.

    Examples
    --------
    >>> is_volume("nanocubes"), is_volume("data/particle.EMD")
    (False, True)
    """
    # Most kinds are plain names, and this is asked of every cell.
    suffix = Path(kind).suffix if "." in kind else ""
    return bool(suffix) and not is_file(kind) and reads_volumes(suffix)


def is_name(kind: object) -> bool:
    """Whether a specimen's ``kind`` may be a name, or a Python file that defines one.

    Parameters
    ----------
    kind : the key as written in the study.
    """
    return isinstance(kind, str) and not is_volume(kind)


def kind_of(kind: object) -> SpecimenKind | None:
    """The specimen that a study's ``kind`` names.

    A study can be read where its specimen is not installed, as when a report is made elsewhere;
    code that needs the specimen itself gets the error of
    :meth:`tomoatlas.recon_core.registry.Registry.get`.

    Parameters
    ----------
    kind : the key as written in the study.

    Returns
    -------
    None for a volume, and for a specimen that is not available.

    Raises
    ------
    BadInput : the specimen is available but fails to load.
    """
    if not isinstance(kind, str) or is_volume(kind):
        return None
    there = split_file(kind)[0].exists() if is_file(kind) else kind in SPECIMENS
    return SPECIMENS.get(kind) if there else None
