"""What a study will take: cells, trials, memory and time, estimated and then learned."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from ..recon_core.errors import BadInput
from ..recon_core.machine import uncollected
from ..recon_core.memory import FLOAT, SolveSize, fused_bytes, matrix_bytes
from ..recon_core.methods import Method
from ..recon_core.settings import GUIDED
from .search import Search
from .search.plans import Plan, plans_of
from .study import Study, check_divisible
from .study.specimens import Outline, outline
from .study.trial import Cell

PROJECTIONS_PER_ITERATION = 2
"""Forward and adjoint."""

PROJECTED_VOXELS_PER_SECOND = 5.0e9
"""Voxels times tilts projected per second and core: at 64³ a pair of projections takes 5.5 ms for
47 HAADF tilts and 3.1 ms for 9 chemical tilts of 4 elements."""

PROJECTING = 4
"""Volumes of the finer grid that are there besides the specimen while it is projected."""

DISTINCT = 4096
"""Sizes of solves whose costs are kept: of 100,000 cells most differ in other things."""


@dataclass(frozen=True)
class Shared:
    """A search over many cells.

    Parameters
    ----------
    method : whose weights are searched.
    cells : number of cells.
    designed, lag : trials that can run at the same time at first, and later.
    """

    method: Method
    cells: int
    designed: int
    lag: int


@dataclass(frozen=True)
class Estimate:
    """What a study takes, and how much of it can be done at once.

    Parameters
    ----------
    cells : number of cells.
    trials : number of trials by method; of a search that ends by itself, the usual number.
    memory_bytes : of the largest trial.
    designs : seconds of the trials that need no results, on one core or one device.
    later : seconds of the others.
    longest_trial, longest_search : seconds; the trials of a search depend on each other.
    most, steady : trials that can run at the same time at first, and later.
    shared : the searches over many cells.
    """

    cells: int
    trials: dict[Method, int]
    memory_bytes: int
    designs: float
    later: float
    longest_trial: float
    longest_search: float
    most: int
    steady: int
    shared: tuple[Shared, ...]

    @property
    def trials_in_all(self) -> int:
        """Number of trials of all methods."""
        return sum(self.trials.values())

    @property
    def seconds(self) -> float:
        """Of all trials, one after another on one core, or on one device."""
        return self.designs + self.later

    @property
    def device_hours(self) -> float:
        """Time of one core, or of one device, in hours."""
        return self.seconds / 3600.0

    def seconds_on(self, workers: int) -> float:
        """Seconds of the study on so many devices: of its designs, then of searches with fewer
        trials at a time, but not less than the longest search alone.

        Parameters
        ----------
        workers : devices, one worker each.
        """
        designing, later = min(workers, self.most), max(1, min(workers, self.steady))
        return max(self.designs / designing + self.later / later, self.longest_search)

    def workers_for(self, seconds: float) -> int | None:
        """The fewest workers that do the study in time; None if no number does.

        Parameters
        ----------
        seconds : the time there is.
        """
        numbers = range(1, self.most + 1)
        # More workers never take longer, so that the first that suffices is found by halving.
        place = bisect.bisect_left(numbers, True, key=lambda n: self.seconds_on(n) <= seconds)
        return numbers[place] if place < len(numbers) else None


@uncollected()
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
    found, trials = plans_of(study), dict.fromkeys(study.search.methods, 0)
    designs = later = longest_trial = longest_search = 0.0
    steady = 0
    for plan in found:
        seconds = [(seconds_of or trial_seconds)(s.study, s.method) for s in plan.searches]
        mean, likely, lag = sum(seconds) / len(seconds), plan.likely, plan.lag
        needs_none = plan.designed
        designed = min(needs_none, likely)
        trials[plan.searches[0].method] += likely
        designs += designed * mean
        later += (likely - designed) * mean
        # a search whose budget is its design has no later phase
        steady += lag if likely > needs_none else 0
        longest_trial = max(longest_trial, *seconds)
        longest_search = max(longest_search, mean * (1 + math.ceil((likely - designed) / lag)))
    at = {s.cell.index: s.study for plan in found for s in plan.searches if not s.reduced}
    return Estimate(
        len(at),
        trials,
        max(map(trial_bytes, at.values())),
        designs,
        later,
        longest_trial,
        longest_search,
        most_at_once(found),
        steady,
        tuple(_shared(plan) for plan in found if plan.searches[0].shared),
    )


def most_at_once(plans: Iterable[Plan]) -> int:
    """Most trials that can ever run at the same time: each search starts its design, later ``lag``.

    Parameters
    ----------
    plans : of a study.
    """
    return sum(min(max(plan.designed, plan.lag), plan.budget) for plan in plans)


def _shared(plan: Plan) -> Shared:
    cells = len({search.cell.index for search in plan.searches})
    return Shared(plan.searches[0].method, cells, plan.designed, plan.lag)


def trial_bytes(study: Study) -> int:
    """Upper bound of the memory of one trial of a study without axes: solve, truth and data."""
    return _trial_bytes(solve_size(study), study.acquisition.oversample)


@lru_cache(maxsize=DISTINCT)
def _trial_bytes(solve: SolveSize, oversample: int) -> int:
    solving = fused_bytes(solve) + matrix_bytes(solve)
    return _kept_bytes(solve, oversample) + max(solving, _making_bytes(solve, oversample))


def data_bytes(study: Study) -> int:
    """What a trial on a GPU needs of the computer's own memory: truth, data and the result."""
    solve, oversample = solve_size(study), study.acquisition.oversample
    return _kept_bytes(solve, oversample) + _making_bytes(solve, oversample)


def _kept_bytes(solve: SolveSize, oversample: int) -> int:
    fine = oversample**3 if oversample > 1 else 0
    return (2 + fine) * solve.specimen_bytes + solve.haadf_bytes + solve.chemical_bytes


def _making_bytes(solve: SolveSize, oversample: int) -> int:
    """What is there while the finest specimen is painted or projected, and gone thereafter."""
    return oversample**3 * max(solve.specimen_bytes, PROJECTING * solve.volume_bytes)


def solve_size(study: Study, dual_bytes: int = FLOAT) -> SolveSize:
    """The sizes that decide the memory of a solve.

    Parameters
    ----------
    study : without axes.
    dual_bytes : of one value of the TV dual.
    """
    tilts = study.acquisition.haadf_tilts, study.acquisition.chemical_tilts
    kinds = study.solver.regulariser == GUIDED, study.solver.start == "series"
    return _size(outline(study.specimen), tilts, dual_bytes, kinds)


@lru_cache(maxsize=DISTINCT)
def _size(
    found: Outline, tilts: tuple[int, int], dual_bytes: int, kinds: tuple[bool, bool]
) -> SolveSize:
    return SolveSize((len(found.elements), *found.shape), *tilts, 1, dual_bytes, *kinds)


def trial_seconds(study: Study, method: Method) -> float:
    """Estimate the seconds of one trial on one core: work per iteration at a measured rate.

    Parameters
    ----------
    study : without axes.
    method : of the trial.
    """
    return solve_seconds(solve_size(study), method, study.solver.max_iterations)


@lru_cache(maxsize=DISTINCT)
def solve_seconds(size: SolveSize, method: Method, max_iterations: int) -> float:
    """Estimate the seconds of a solve on one core.

    Parameters
    ----------
    size : of the solve.
    method : of the solve.
    max_iterations : limit of its work.
    """
    elements, *edges = size.shape
    haadf = size.haadf_tilts if method is Method.FUSED else 0
    projections = haadf + size.chemical_tilts * elements
    work = PROJECTIONS_PER_ITERATION * projections + method.traits.voxel_work * elements
    iterations = min(method.traits.iterations, max_iterations)
    return iterations * math.prod(edges) * work / PROJECTED_VOXELS_PER_SECOND


SHARES = "--cells"
"""What errors call a share: the option that asks for one."""


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
            accepted = "K/N, 1 <= K <= N"
            raise BadInput("no such share", key=SHARES, value=str(self), accepted=accepted)

    def cells(self, study: Study) -> tuple[Cell, ...]:
        """The cells of this share, in their order; every share has cells of all durations.

        Parameters
        ----------
        study : with its axes.

        Raises
        ------
        BadInput : more shares than cells, or cells that are searched together.
        """
        check_divisible(study, SHARES, str(self))
        cells = study.cells()
        if self.of > len(cells):
            accepted = f"up to {len(cells)} shares"
            raise BadInput("more shares than cells", key=SHARES, value=str(self), accepted=accepted)
        method = study.search.methods[0]
        seconds = [trial_seconds(at, method) for _, at in study.conditions(cells)]
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
