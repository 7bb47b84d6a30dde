"""Whether a study and an allocation fit each other."""

from __future__ import annotations

import math

from ...analysis.progress import duration
from ...recon_core.errors import BadInput
from ...recon_core.methods import Method
from ...sweep.estimate import trial_seconds
from ...sweep.study import Study


def most_at_once(study: Study) -> int:
    """Trials that can ever run at the same time: every search has its design, then its lag."""
    search = study.search
    at_once = max(search.initial, search.lag)
    return len(study.cells()) * sum(min(at_once, search.budget(m)) for m in search.methods)


def steadily_at_once(study: Study) -> int:
    """Trials that can run at the same time once the designs are done."""
    search = study.search
    searched = [method for method in search.methods if search.budget(method) > search.initial]
    return len(study.cells()) * search.lag * len(searched)


def check_workers(study: Study, workers: int) -> None:
    """Refuse more workers than the study can ever give work to.

    Raises
    ------
    BadInput : naming the most.
    """
    if workers > (most := most_at_once(study)):
        raise BadInput(
            "more workers than this study can feed",
            key="workers",
            value=workers,
            accepted=f"<= {most}, or a larger search.lag, or more cells",
        )


def capacity_warnings(study: Study, workers: int, walltime: float | None) -> list[str]:
    """What does not fit, one line each; ``walltime`` in seconds, of one job."""
    return [*_feeding(study, workers), *(_lasting(study, workers, walltime) if walltime else [])]


def _feeding(study: Study, workers: int) -> list[str]:
    if workers > (most := most_at_once(study)):
        return [f"{workers} workers, but never more than {most} trials at once: raise search.lag"]
    steady = steadily_at_once(study)
    if steady and workers > steady:
        return [
            f"{workers} workers, but only about {steady} trials at once after the first "
            f"{study.search.initial} of each search: raise search.lag"
        ]
    return []


def _lasting(study: Study, workers: int, walltime: float) -> list[str]:
    longest = max(
        trial_seconds(study.at(cell), method)
        for cell in study.cells()
        for method in study.search.methods
    )
    if longest > walltime:
        return [
            f"a trial takes {duration(longest)} on one core (estimated), a job "
            f"{duration(walltime)}: it ends only where more cores or a GPU make it faster"
        ]
    seconds = least_seconds(study, workers)
    if seconds <= walltime:
        return []
    jobs = math.ceil(seconds / walltime)
    return [
        f"{duration(seconds)} on {workers} worker{'s'[: workers > 1]} (estimated) is more than one "
        f"job of {duration(walltime)}: about {jobs} jobs in a chain"
    ]


def least_seconds(study: Study, workers: int) -> float:
    """Time of the study on ``workers`` cores: of its designs, then of searches that feed fewer.

    No less than the longest search alone, whose trials wait for each other.
    """
    search = study.search
    times = [
        (method, trial_seconds(study.at(cell), method))
        for cell in study.cells()
        for method in search.methods
    ]
    designed = {method: min(search.initial, search.budget(method)) for method in search.methods}
    designs = sum(seconds * designed[method] for method, seconds in times)
    later = sum(seconds * (search.budget(m) - designed[m]) for m, seconds in times)
    longest = max(seconds * _rounds(study, method) for method, seconds in times)
    fed, steady = (min(workers, most(study)) for most in (most_at_once, steadily_at_once))
    return max(designs / fed + later / max(steady, 1), longest)


def _rounds(study: Study, method: Method) -> int:
    """Trials of a search one after the other, where there is a worker for all that may start."""
    searched = max(0, study.search.budget(method) - study.search.initial)
    return 1 + math.ceil(searched / study.search.lag)
