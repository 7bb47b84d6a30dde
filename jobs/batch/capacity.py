"""Whether a study and an allocation fit each other.

Searches learn from their results, so a study can keep only a certain number of workers busy: at
first the initial design of every search, later ``search.lag`` trials of each; cells that share a
surrogate are one search. More workers than the first is an error, more than the second a warning,
and too short a walltime a warning as well.
"""

from __future__ import annotations

import math

from ...analysis.progress import duration
from ...recon_core.errors import BadInput
from ...sweep.estimate import trial_seconds
from ...sweep.search import searches
from ...sweep.search.plans import plans
from ...sweep.search.survey import Survey
from ...sweep.study import Study


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
            cells = len(plan.searches)
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


def capacity_warnings(study: Study, workers: int, walltime: float | None) -> list[str]:
    """How the study does not fit the allocation, one line each.

    Parameters
    ----------
    study : the study.
    workers : workers of a job.
    walltime : limit of one job, seconds; None if unknown.
    """
    return [*_feeding(study, workers), *(_lasting(study, workers, walltime) if walltime else [])]


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


def _lasting(study: Study, workers: int, walltime: float) -> list[str]:
    """Too little time: for the longest trial, or for the whole study in one job."""
    longest = max(
        trial_seconds(study.at(cell), method)
        for cell in study.cells()
        for method in study.search.methods
    )
    # An estimate on one core; a GPU may be far faster, so this too is only a warning.
    if longest > walltime:
        return [
            f"a trial takes {duration(longest)} on one core (estimated), a job "
            f"{duration(walltime)}: it ends only where more cores or a GPU make it faster"
        ]
    seconds = least_seconds(study, workers)
    if seconds <= walltime:
        return []
    # A chain of jobs: the number lets a person choose another walltime.
    jobs = math.ceil(seconds / walltime)
    return [
        f"{duration(seconds)} on {workers} worker{'s'[: workers > 1]} (estimated) is more than one "
        f"job of {duration(walltime)}: about {jobs} jobs in a chain"
    ]


def least_seconds(study: Study, workers: int) -> float:
    """Estimated time of the study: of its initial designs, then of searches with fewer parallel
    trials.

    Not less than the longest search alone, whose trials depend on each other.

    Parameters
    ----------
    study : the study.
    workers : cores, one worker each.
    """
    designs = later = longest = 0.0
    for plan in plans(searches(study)):
        seconds = [trial_seconds(search.study, search.method) for search in plan.searches]
        mean = sum(seconds) / len(seconds)
        designed = min(plan.designed, plan.likely)
        # Two phases with different numbers of trials that may run in parallel.
        designs += designed * mean
        later += (plan.likely - designed) * mean
        longest = max(longest, mean * (1 + math.ceil((plan.likely - designed) / plan.lag)))
    parallel, steady = (min(workers, most(study)) for most in (most_at_once, steadily_at_once))
    return max(designs / parallel + later / max(steady, 1), longest)
