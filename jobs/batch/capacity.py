"""Whether a study and an allocation fit each other.

Searches learn from their results, so a study can keep only a certain number of workers busy: at
first the initial design of every search, later ``search.lag`` trials of each; cells that share a
surrogate are one search. More workers than the first is an error, more than the second a warning,
and too short a walltime a warning as well.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

from ...analysis.progress import duration
from ...recon_core.errors import BadInput
from ...sweep.price import ON_A_CORE, Price
from ...sweep.search import searches
from ...sweep.search.plans import plans
from ...sweep.search.survey import Survey
from ...sweep.study import Study
from . import for_trials


def most_at_once(study: Study) -> int:
    """Most trials that can ever run at the same time: each search starts its design, later ``lag``.

    Parameters
    ----------
    study : the study.
    """
    # The design needs no results, so all of it may run at once; afterwards `lag` trials may.
    return sum(min(max(plan.designed, plan.lag), plan.budget) for plan in plans(searches(study)))


def steadily_at_once(study: Study) -> int:
    """Trials that can run at the same time once the initial designs are done.

    Parameters
    ----------
    study : the study.
    """
    # A search whose budget is its design has no later phase.
    return sum(plan.lag for plan in plans(searches(study)) if plan.likely > plan.designed)


def feeding_lines(study: Study) -> list[str]:
    """How many workers the searches over many cells keep busy, and what more of them cost.

    Parameters
    ----------
    study : the study.
    """
    lines = []
    for plan in plans(searches(study)):
        if isinstance(plan, Survey):
            cells = plan.cells
            lines.append(
                f"{plan.method} in {cells} cells: {plan.designed} trials at once, later "
                f"{plan.lag} (search.lag){_larger_lag(plan.lag, cells)}"
            )
    return lines


def _larger_lag(lag: int, cells: int) -> str:
    """What a lag of half the cells does: measured at 56 cells, 2.5 trials of each for 1.5."""
    if cells // 2 <= lag:
        return ""
    return f"; {cells // 2} would feed as many workers, for two thirds more trials"


def check_workers(study: Study, workers: int) -> None:
    """Refuse more workers than the study can ever keep busy.

    Parameters
    ----------
    study : the study.
    workers : how many are asked for.

    Raises
    ------
    BadInput : more workers than :func:`most_at_once`; names the limit.
    """
    if workers > (most := most_at_once(study)):
        raise BadInput(
            "more workers than the study can keep busy",
            key="workers",
            value=workers,
            accepted=f"<= {most}, or a larger search.lag, or more cells",
        )


def capacity_warnings(
    study: Study, workers: int, walltime: float | None, price: Price = ON_A_CORE
) -> list[str]:
    """How the study does not fit the allocation, one line each.

    Parameters
    ----------
    study : the study.
    workers : workers of a job.
    walltime : limit of one job, seconds; None if unknown.
    price : what a trial takes on the device of a worker.
    """
    lasting = _lasting(study, workers, walltime, price) if walltime else []
    return [*_feeding(study, workers), *lasting]


def _feeding(study: Study, workers: int) -> list[str]:
    """Too many workers: ever, or once the initial designs are done."""
    if workers > (most := most_at_once(study)):
        return [f"{workers} workers, but never more than {most} trials at once: raise search.lag"]
    steady = steadily_at_once(study)
    # A warning, not an error: the surplus workers help during the designs.
    if steady and workers > steady:
        return [
            f"{workers} workers, but only about {steady} trials at once after the first "
            f"{study.search.initial} of each search: raise search.lag"
        ]
    return []


def _lasting(study: Study, workers: int, walltime: float, price: Price) -> list[str]:
    """Too little time: for the longest trial, or for the whole study in one job."""
    longest = max(
        price.seconds(study.at(cell), method)
        for cell in study.cells()
        for method in study.search.methods
    )
    # A core is only the least that there may be, so this too is only a warning.
    faster = "more cores or a GPU make" if price.gpu is None else "another GPU makes"
    if longest > walltime:
        return [
            f"a trial takes {duration(longest)} on one {price.device} ({price.basis}), a job "
            f"{duration(walltime)}: it ends only where {faster} it faster"
        ]
    seconds = least_seconds(study, workers, price)
    if seconds <= walltime:
        return []
    # A chain of jobs: the number lets a person choose another walltime.
    jobs = math.ceil(seconds / walltime)
    return [
        f"{duration(seconds)} on {workers} worker{'s'[: workers > 1]} ({price.basis}) is more than "
        f"one job of {duration(walltime)}: about {jobs} jobs in a chain"
    ]


@dataclass(frozen=True)
class Work:
    """The work of a study, by how much of it can be done at once.

    Parameters
    ----------
    designs : device seconds of the trials that need no results.
    later : device seconds of the others.
    longest : seconds of the search that takes longest, as its trials depend on each other.
    most, steady : trials that can run at once at first, and later.
    """

    designs: float
    later: float
    longest: float
    most: int
    steady: int

    def seconds(self, workers: int) -> float:
        """Seconds of the study on so many workers."""
        designing, later = min(workers, self.most), max(1, min(workers, self.steady))
        return max(self.designs / designing + self.later / later, self.longest)

    def workers(self, seconds: float) -> int | None:
        """The fewest workers that do it in so many seconds; None if no number does."""
        numbers = range(1, self.most + 1)
        place = bisect.bisect_left(numbers, True, key=lambda n: self.seconds(n) <= seconds)
        return numbers[place] if place < len(numbers) else None


def work_of(study: Study, price: Price = ON_A_CORE) -> Work:
    """The work of a study.

    Parameters
    ----------
    study : the study.
    price : what a trial takes on one device.
    """
    designs = later = longest = 0.0
    for plan in plans(searches(study)):
        seconds = [price.seconds(search.study, search.method) for search in plan.searches]
        mean = sum(seconds) / len(seconds)
        designed = min(plan.designed, plan.likely)
        # Two phases with different numbers of trials that may run in parallel.
        designs += designed * mean
        later += (plan.likely - designed) * mean
        longest = max(longest, mean * (1 + math.ceil((plan.likely - designed) / plan.lag)))
    return Work(designs, later, longest, most_at_once(study), steadily_at_once(study))


def least_seconds(study: Study, workers: int, price: Price = ON_A_CORE) -> float:
    """Estimated time of the study: of its initial designs, then of searches with fewer parallel
    trials.

    Not less than the longest search alone, whose trials depend on each other.

    Parameters
    ----------
    study : the study.
    workers : devices, one worker each.
    price : what a trial takes on one device.
    """
    return work_of(study, price).seconds(workers)


def need_text(study: Study, walltime: float, price: Price, per_node: int = 1) -> str:
    """How many devices end a study within a walltime, in words.

    Parameters
    ----------
    study : the study.
    walltime : seconds.
    price : what a trial takes on one of them.
    per_node : how many a node has.
    """
    what = "cores" if price.gpu is None else "GPUs"
    work = work_of(study, price)
    workers = work.workers(for_trials(walltime))
    if workers is None:
        least, jobs = work.seconds(work.most), math.ceil(work.seconds(work.most) / walltime)
        return (
            f"no number of {what} ends it in {duration(walltime)}: {work.most}, the most that it "
            f"keeps busy, take {duration(least)}, {jobs} jobs in a chain"
        )
    nodes = math.ceil(workers / per_node)
    on = f" ({nodes} node{'s'[: nodes > 1]})" if per_node > 1 else ""
    return f"{workers} {what if workers > 1 else what[:-1]}{on} for {duration(walltime)}"
