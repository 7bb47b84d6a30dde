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
from ...sweep.estimate import Estimate, most_at_once
from ...sweep.price import ON_A_CORE, Price
from ...sweep.search.plans import plans_of
from ...sweep.study import Study
from . import for_trials


def feeding_lines(cost: Estimate) -> list[str]:
    """How many workers the searches over many cells keep busy, and what more of them cost.

    Parameters
    ----------
    cost : of the study.
    """
    return [
        f"{search.method} in {search.cells} cells: keeps {_kept_busy(search.designed, search.lag)} "
        f"(search.lag = {search.lag}){_larger_lag(search.lag, search.cells)}"
        for search in cost.shared
    ]


def _kept_busy(designed: int, lag: int) -> str:
    if designed:
        return f"{_workers(designed)} busy at first and {lag} later"
    # a search that begins with another's results has nothing to design
    return f"{_workers(lag)} busy"


def _larger_lag(lag: int, cells: int) -> str:
    """What a lag of half the cells does, as far as it has been measured: on a single map."""
    if (larger := cells // 2) <= lag:
        return ""
    return (
        f"; search.lag = {larger} would keep {larger} busy, but costs trials: measured on a map of "
        "56 cells, 2.5 per cell instead of 1.5"
    )


def _workers(number: int) -> str:
    return f"{number} worker{'s'[: number != 1]}"


def check_workers(study: Study, workers: int) -> None:
    """Refuse more workers than the study can ever keep busy.

    Parameters
    ----------
    study : the study.
    workers : how many are asked for.

    Raises
    ------
    BadInput : more workers than that; names the limit.
    """
    if workers > (most := most_at_once(plans_of(study))):
        raise BadInput(
            "more workers than the study can keep busy",
            key="workers",
            value=workers,
            accepted=f"<= {most}, or a larger search.lag, or more cells",
        )


def capacity_warnings(
    study: Study, cost: Estimate, workers: int, walltime: float | None, price: Price = ON_A_CORE
) -> list[str]:
    """How the study does not fit the allocation, one line each.

    Parameters
    ----------
    study : the study.
    cost : of the study, at the price.
    workers : workers of a job.
    walltime : limit of one job, seconds; None if unknown.
    price : what a trial takes on the device of a worker.
    """
    lasting = _lasting(cost, workers, walltime, price) if walltime else []
    return [*_feeding(study, cost, workers), *lasting]


def _feeding(study: Study, cost: Estimate, workers: int) -> list[str]:
    """Too many workers: ever, or once the initial designs are done."""
    if workers > (most := cost.most):
        return [f"{workers} workers, but never more than {most} trials at once: raise search.lag"]
    # A warning, not an error: the surplus workers help during the designs.
    if cost.steady and workers > cost.steady:
        return [
            f"{workers} workers, but only about {cost.steady} trials at once after the first "
            f"{study.search.initial} of each search: raise search.lag"
        ]
    return []


def _lasting(cost: Estimate, workers: int, walltime: float, price: Price) -> list[str]:
    """Too little time: for the longest trial, or for the whole study in one job."""
    # The longest first: no chain of jobs ever ends a trial that does not fit in one of them.
    longest = cost.longest_trial
    # A core is only the least that there may be, so this too is only a warning.
    faster = "more cores or a GPU make" if price.gpu is None else "another GPU makes"
    if longest > walltime:
        return [
            f"a trial takes {duration(longest)} on one {price.device} ({price.basis}), a job "
            f"{duration(walltime)}: it ends only where {faster} it faster"
        ]
    seconds = cost.seconds_on(workers)
    if seconds <= walltime:
        return []
    # A chain of jobs: the number lets a person choose another walltime.
    jobs = math.ceil(seconds / walltime)
    return [
        f"{duration(seconds)} on {workers} worker{'s'[: workers > 1]} ({price.basis}) is more than "
        f"one job of {duration(walltime)}: about {jobs} jobs in a chain"
    ]


def need_text(cost: Estimate, walltime: float, price: Price, per_node: int = 1) -> str:
    """How many devices end a study within a walltime, in words.

    Parameters
    ----------
    cost : of the study, at the price.
    walltime : seconds.
    price : what a trial takes on one of them.
    per_node : how many a node has.
    """
    what = "cores" if price.gpu is None else "GPUs"
    workers = cost.workers_for(for_trials(walltime))
    if workers is None:
        least = cost.seconds_on(cost.most)
        return (
            f"no number of {what} ends it in {duration(walltime)}: {cost.most}, the most that it "
            f"keeps busy, take {duration(least)}, {math.ceil(least / walltime)} jobs in a chain"
        )
    nodes = math.ceil(workers / per_node)
    on = f" ({nodes} node{'s'[: nodes > 1]})" if per_node > 1 else ""
    return f"{workers} {what if workers > 1 else what[:-1]}{on} for {duration(walltime)}"
