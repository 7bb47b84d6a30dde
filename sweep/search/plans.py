"""What makes the trials of a study: one plan for every cell and method, or one for many cells.

A plan is all that the scheduler sees of a search. The plan of a cell that is searched alone is its
:class:`~tomoatlas.sweep.search.Search`; a :class:`~tomoatlas.sweep.search.survey.Survey` proposes
for all cells that one surrogate can describe.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from ..study import Study
from ..study.trial import Trial
from . import Search
from . import searches as searches_of
from .context import surrogate_key, uses_haadf


class Plan(Protocol):
    """Makes trials one after another, and learns from their scores."""

    @property
    def searches(self) -> Sequence[Search]:
        """The searches whose trials it makes."""

    @property
    def budget(self) -> int:
        """Trials that it may make; once it has ended, those it made."""

    @property
    def left(self) -> int:
        """Trials that it may still make."""

    @property
    def likely(self) -> int:
        """Trials that it will make, as far as can be said now."""

    @property
    def designed(self) -> int:
        """Trials that need no results: all of them can run at the same time."""

    @property
    def lag(self) -> int:
        """Trials that can run at the same time later."""

    @property
    def progress(self) -> float:
        """Made fraction of the budget."""

    @property
    def ready(self) -> bool:
        """Whether it can be asked for the next trial now."""

    def next_trial(self) -> Trial | None:
        """The next trial; None if on a closer look there is none, or none yet."""

    def take_in(self, trial: Trial, score: float | None) -> None:
        """Learn the score of a trial, of this run or an earlier one; None if it failed."""

    def knows(self, trial: Trial) -> bool:
        """Whether the score of a trial has been taken in."""


def plans_of(study: Study) -> list[Plan]:
    """The plans of a study that has not begun.

    Parameters
    ----------
    study : with its axes.
    """
    return plans(searches_of(study))


def plans(searches: Sequence[Search]) -> list[Plan]:
    """The plans of a study's searches, in the order of their first searches.

    Parameters
    ----------
    searches : every method in every cell.
    """
    groups: defaultdict[tuple[object, ...], list[Search]] = defaultdict(list)
    for search in searches:
        # In the order of the cells, whatever the groups: the order of the plans decides which trial
        # starts first.
        groups[_group(search)].append(search)
    found: list[Plan] = []
    for group in groups.values():
        found += [_survey(group)] if group[0].shared else group
    return found


def _survey(group: Sequence[Search]) -> Plan:
    # Its model takes a while to import, and workers never need it.
    from .survey import Survey

    return Survey(group)


def _group(search: Search) -> tuple[object, ...]:
    """What searches of one plan have in common; a cell that is searched alone is one by itself."""
    if not search.shared:
        return (search.cell.index, search.method)
    haadf = uses_haadf(search.method, search.study.acquisition.haadf_tilts)
    return ("shared", search.method, haadf, *surrogate_key(search.cell.values, haadf))
