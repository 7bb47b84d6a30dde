"""What a study will take: cells, trials, memory and time, estimated and then learned."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from ..recon_core.errors import BadInput
from ..recon_core.memory import FLOAT, SolveSize, fused_bytes, matrix_bytes
from ..recon_core.methods import Method
from ..recon_core.settings import GUIDED
from .search import Search, searches
from .search.plans import plans
from .study import Study, check_divisible
from .study.specimens import Outline, outline
from .study.trial import Cell

PROJECTIONS_PER_ITERATION = 2
"""Forward and adjoint."""

PROJECTED_VOXELS_PER_SECOND = 5.0e9
"""Voxels times tilts projected per second and core: at 64³ a pair of projections takes 5.5 ms for
47 HAADF tilts and 3.1 ms for 9 chemical tilts of 4 elements."""


@dataclass(frozen=True)
class Estimate:
    """What a study takes.

    Parameters
    ----------
    cells : number of cells.
    trials : number of trials by method; of a search that ends by itself, the usual number.
    memory_bytes : of the largest trial.
    seconds : of all trials, one after another on one core, or on one device.
    """

    cells: int
    trials: dict[Method, int]
    memory_bytes: int
    seconds: float

    @property
    def trials_in_all(self) -> int:
        """Number of trials of all methods."""
        return sum(self.trials.values())

    @property
    def device_hours(self) -> float:
        """Time of one core, or of one device, in hours."""
        return self.seconds / 3600.0


def estimate(study: Study, seconds_of: Callable[[Study, Method], float] | None = None) -> Estimate:
    """Estimate cells, trials, memory and time of a study from sizes alone; nothing is run.

    Parameters
    ----------
    study : the study.
    seconds_of : seconds of a trial on one device; None for :func:`trial_seconds`, on one core.

    Raises
    ------
    BadInput : a specimen that cannot be read.
    """
    cells, trials = study.cells(), dict.fromkeys(study.search.methods, 0)
    memory = max(trial_bytes(study.at(cell)) for cell in cells)
    seconds = 0.0
    for plan in plans(searches(study)):
        each = [(seconds_of or trial_seconds)(s.study, s.method) for s in plan.searches]
        seconds += plan.likely * sum(each) / len(each)
        trials[plan.searches[0].method] += plan.likely
    return Estimate(len(cells), trials, memory, seconds)


def trial_bytes(study: Study) -> int:
    """Upper bound of the memory of one trial of a study without axes: solve, truth and data."""
    solve = solve_size(study)
    return fused_bytes(solve) + matrix_bytes(solve) + data_bytes(study)


def data_bytes(study: Study) -> int:
    """What a trial on a GPU keeps in the computer's own memory: truth, data and the result."""
    solve, acquisition = solve_size(study), study.acquisition
    fine = acquisition.oversample**3 if acquisition.oversample > 1 else 0
    return (2 + fine) * solve.specimen_bytes + solve.haadf_bytes + solve.chemical_bytes


def solve_size(study: Study, dual_bytes: int = FLOAT) -> SolveSize:
    """The sizes that decide the memory of a solve.

    Parameters
    ----------
    study : without axes.
    dual_bytes : of one value of the TV dual.
    """
    size, acquisition = outline(study.specimen), study.acquisition
    shape = (len(size.elements), *size.shape)
    tilts = acquisition.haadf_tilts, acquisition.chemical_tilts
    kinds = study.solver.regulariser == GUIDED, study.solver.start == "series"
    return SolveSize(shape, *tilts, 1, dual_bytes, *kinds)


def trial_seconds(study: Study, method: Method) -> float:
    """Estimate the seconds of one trial on one core: work per iteration at a measured rate.

    Parameters
    ----------
    study : without axes.
    method : of the trial.
    """
    size = outline(study.specimen)
    iterations = min(method.traits.iterations, study.solver.max_iterations)
    work = math.prod(size.shape) * _work_per_voxel(study, method, size)
    return iterations * work / PROJECTED_VOXELS_PER_SECOND


def _work_per_voxel(study: Study, method: Method, size: Outline) -> float:
    acquisition, elements = study.acquisition, len(size.elements)
    haadf = acquisition.haadf_tilts if method is Method.FUSED else 0
    projections = haadf + acquisition.chemical_tilts * elements
    return PROJECTIONS_PER_ITERATION * projections + method.traits.voxel_work * elements


@dataclass(frozen=True)
class Share:
    """A share of a study's cells, for one of several managers; all of them together do all cells.

    Parameters
    ----------
    number : which share, from 1.
    of : number of shares.

    Raises
    ------
    BadInput : there is no such share.

    Examples
    --------
    >>> from .study import parse_study
    >>> study = parse_study('''
    ... [study]
    ... name = "mine"
    ... [specimen]
    ... kind = "nanocubes"
    ... [axes]
    ... "acquisition.chemical_tilts" = [5, 9, 18, 35]
    ... ''')
    >>> [cell.values[0][1] for cell in Share(1, 2).cells(study)]
    [5, 18]
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise BadInput("no such share", value=str(self), accepted="K/N, 1 <= K <= N")

    def cells(self, study: Study) -> tuple[Cell, ...]:
        """The cells of this share, in their order; every share has cells of all durations.

        Parameters
        ----------
        study : with its axes.

        Raises
        ------
        BadInput : more shares than cells, or cells that are searched together.
        """
        check_divisible(study, "cells", str(self))
        cells = study.cells()
        if self.of > len(cells):
            accepted = f"up to {len(cells)} shares"
            raise BadInput("more shares than cells", value=str(self), accepted=accepted)
        seconds = [trial_seconds(study.at(cell), study.search.methods[0]) for cell in cells]
        # Of every N cells in the order of their durations each share has one.
        order = sorted(range(len(cells)), key=seconds.__getitem__)
        return tuple(cells[place] for place in sorted(order[self.number - 1 :: self.of]))


OWN_MARGIN, OTHERS_MARGIN = 1.25, 1.5
"""Factor on the slowest trial of the same cell and method; on what other cells suggest."""


class DurationModel:
    """Learns from finished trials how long the next will take.

    The a-priori estimate of a trial is right up to a factor that depends on the machine and on the
    method. The model learns that factor from all finished trials of the method, and for a cell and
    method with finished trials takes the slowest of these instead.
    """

    def __init__(self) -> None:
        self._slowest: dict[Search, float] = {}
        self._seconds: defaultdict[Method, float] = defaultdict(float)
        self._estimated: defaultdict[Method, float] = defaultdict(float)
        self._estimates: dict[Search, float] = {}

    def learn(self, search: Search, seconds: float) -> None:
        """Note that a trial of ``search`` took ``seconds``."""
        self._slowest[search] = max(seconds, self._slowest.get(search, 0.0))
        self._seconds[search.method] += seconds
        self._estimated[search.method] += self.estimate(search)

    def knows(self, method: Method) -> bool:
        """Whether a trial of ``method`` is finished."""
        return bool(self._estimated[method])

    def expected(self, search: Search) -> float:
        """Seconds within which a trial of ``search`` very likely ends, with or without success."""
        slowest = self._slowest.get(search)
        if slowest is None:
            likely = OTHERS_MARGIN * self._rate(search.method) * self.estimate(search)
        else:
            likely = OWN_MARGIN * slowest
        return min(likely, search.study.limits.trial_seconds or likely)

    def estimate(self, search: Search) -> float:
        """The a-priori estimate of the seconds of a trial of ``search``."""
        if search not in self._estimates:
            self._estimates[search] = trial_seconds(search.study, search.method)
        return self._estimates[search]

    def _rate(self, method: Method) -> float:
        """Measured time over estimate: of this method, else of all methods, else 1."""
        if self._estimated[method]:
            return self._seconds[method] / self._estimated[method]
        estimated = sum(self._estimated.values())
        return sum(self._seconds.values()) / estimated if estimated else 1.0
