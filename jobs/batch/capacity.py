"""Whether a study and an allocation fit each other.

Searches learn from their results, so a study can keep only a certain number of workers busy: at
first the initial design of every search, later ``search.lag`` trials of each. More workers than the
first is an error, more than the second a warning, and too short a walltime a warning as well.
"""

from __future__ import annotations

import math

from ...analysis.progress import duration
from ...recon_core.errors import BadInput
from ...recon_core.methods import Method
from ...sweep.estimate import trial_seconds
from ...sweep.study import Study


def most_at_once(study: Study) -> int:
    """Most trials that can ever run at the same time: each search starts its design, later ``lag``.

    Parameters
    ----------
    study : the study.
    """
    search = study.search
    # The design needs no results, so all of it may run at once; afterwards `lag` trials may.
    at_once = max(search.initial, search.lag)
    return len(study.cells()) * sum(min(at_once, search.budget(m)) for m in search.methods)


def steadily_at_once(study: Study) -> int:
    """Trials that can run at the same time once the initial designs are done.

    Parameters
    ----------
    study : the study.
    """
    search = study.search
    # A method whose budget is its design has no later phase.
    searched = [method for method in search.methods if search.budget(method) > search.initial]
    return len(study.cells()) * search.lag * len(searched)


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
    search = study.search
    times = [
        (method, trial_seconds(study.at(cell), method))
        for cell in study.cells()
        for method in search.methods
    ]
    designed = {method: min(search.initial, search.budget(method)) for method in search.methods}
    # Two phases with different numbers of trials that may run in parallel.
    designs = sum(seconds * designed[method] for method, seconds in times)
    later = sum(seconds * (search.budget(m) - designed[m]) for m, seconds in times)
    longest = max(seconds * _rounds(study, method) for method, seconds in times)
    parallel, steady = (min(workers, most(study)) for most in (most_at_once, steadily_at_once))
    return max(designs / parallel + later / max(steady, 1), longest)


def _rounds(study: Study, method: Method) -> int:
    """Consecutive trials of one search if a worker is free for every trial that may start."""
    searched = max(0, study.search.budget(method) - study.search.initial)
    return 1 + math.ceil(searched / study.search.lag)
