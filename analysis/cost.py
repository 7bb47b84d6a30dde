"""What a search has cost, how much of that failed, and what a grid search would have cost
instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..recon_core.methods import Method
from ..sweep.study import Study
from ..sweep.study.trial import GAMMA
from .progress import Counts, failure_classes, planned_trials
from .table import are_good

GAMMA_STEP = 0.1
"""Difference between neighbours of that grid where the exponent is searched too."""

GRID_STEP = 2.0
"""Factor between neighbours of the grid compared with. Coarse: the range of a weight within
which the NRMSE stays within 2 % of its best spans a factor of 1 to 4
(tests/benchmarks/RESULTS.md).
"""

_HOUR_S = 3600.0


@dataclass(frozen=True)
class MethodCost:
    """What the trials of one method took.

    Parameters
    ----------
    method : the method.
    planned : trials planned, of all cells.
    done : trials that have ended.
    good : trials that ended with a score.
    hours : device time, hours, retried attempts included.
    typical_seconds : median time of one trial, since a worker's first trial compiles; NaN without
        any.
    """

    method: Method
    planned: int
    done: int
    good: int
    hours: float
    typical_seconds: float


@dataclass(frozen=True)
class FailureCost:
    """What the trials of one class of failure took.

    Parameters
    ----------
    kind : the class, as :func:`~tomoatlas.analysis.progress.failure_classes` names it.
    trials : how many.
    hours : device time, hours.
    """

    kind: str
    trials: int
    hours: float


@dataclass(frozen=True)
class GridCost:
    """A grid search over the same space, at the median time measured for each method.

    Parameters
    ----------
    points : method → points per cell.
    hours : device-hours of a grid over the whole map.
    search_hours : device-hours of the search as planned.
    """

    points: dict[Method, int]
    hours: float
    search_hours: float


def method_costs(
    trials: pd.DataFrame, study: Study, planned: Mapping[Method, Counts] | None = None
) -> list[MethodCost]:
    """The cost of each method of a study.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    study : the study they belong to.
    planned : result of :func:`~tomoatlas.analysis.progress.planned_trials`, if at hand.

    Returns
    -------
    One row per method, in the study's order.
    """
    good = trials["method"][are_good(trials, reduced=True)].value_counts()
    planned = planned_trials(trials, study) if planned is None else planned
    found = []
    for method in study.search.methods:
        # All attempts count: device time was spent whether the trial succeeded or not.
        of_method = trials.loc[trials["method"] == method.value, ["seconds", "device_seconds"]]
        seconds = of_method["seconds"]
        found.append(
            MethodCost(
                method,
                int(planned[method].sum()),
                len(seconds),
                int(good.get(method.value, 0)),
                float(of_method["device_seconds"].sum()) / _HOUR_S,
                float(seconds.median()) if len(seconds) else math.nan,
            )
        )
    return found


def failure_costs(trials: pd.DataFrame) -> list[FailureCost]:
    """The cost of each class of failure.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.

    Returns
    -------
    One row per class, the most frequent first.
    """
    # dropna removes the good trials, whose class is None.
    lost = trials[["device_seconds"]].assign(kind=failure_classes(trials)).dropna(subset="kind")
    groups = lost.groupby("kind")["device_seconds"].agg(["size", "sum"])
    # Stable: classes of equal size keep their alphabetical order.
    groups = groups.sort_values("size", ascending=False, kind="stable")
    return [
        FailureCost(str(kind), int(count), float(seconds) / _HOUR_S)
        for kind, count, seconds in groups.itertuples()
    ]


def grid_cost(
    trials: pd.DataFrame, study: Study, planned: Mapping[Method, Counts] | None = None
) -> GridCost | None:
    """What a grid in steps of :data:`GRID_STEP` would take.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    study : the study they belong to.
    planned : result of :func:`~tomoatlas.analysis.progress.planned_trials`, if at hand.

    Returns
    -------
    None until every method has been timed.
    """
    costs = method_costs(trials, study, planned)
    if not costs or any(math.isnan(cost.typical_seconds) for cost in costs):
        return None
    points = {cost.method: _points(study, cost.method) for cost in costs}
    # Both searches are priced at the same time per trial, so that their ratio is one of counts.
    cells = {cost.method: len(np.unique(study.lenders(cost.method))) for cost in costs}
    per_point = {m.method: cells[m.method] * m.typical_seconds / _HOUR_S for m in costs}
    return GridCost(
        points,
        sum(points[method] * hours for method, hours in per_point.items()),
        sum(cost.planned * cost.typical_seconds for cost in costs) / _HOUR_S,
    )


def _points(study: Study, method: Method) -> int:
    """Points per cell of a grid that covers the space of a method's weights, both ends included."""
    space = study.search.space.of(method)
    steps = [
        (high - low) / GAMMA_STEP if name == GAMMA else math.log(high / low, GRID_STEP)
        for name, (low, high) in space.items()
    ]
    # The subtracted 1e-9 keeps a whole number of steps from rounding up to one more.
    return math.prod(1 + math.ceil(number - 1e-9) for number in steps)
