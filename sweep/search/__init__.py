"""The sequence of trials of one method in one cell, and the rule by which it proceeds.

The fixed lag: proposal t is always made from the results of trials 0 ... t - lag, with trials t -
lag + 1 ... t - 1 as pending, whatever has finished by then. So the trials of a study do not depend
on the number of workers, their order, or on restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...recon_core.errors import BadInput
from ...recon_core.methods import Method, Weights, default_weights
from ..study import Study, trial_id
from ..study.identity import short_seed
from ..study.tables import Strategy
from ..study.trial import Cell, Record, Scalar, Trial, is_reduced, proposal_of, weights_named
from .propose import Space, initial_point, propose

SearchKey = tuple[tuple[tuple[str, Scalar], ...], Method, bool]
"""Values of a cell, a method, and whether the trials are the cheaper ones of a search."""

CONFIRMED = 2
"""Most full trials of a cell where a search learns from cheaper ones."""


@dataclass(eq=False)
class Search:
    """One method in one cell: the trials started, and the scores of those finished.

    Parameters
    ----------
    study : the study of the cell, without axes.
    cell : the cell.
    method : the method whose weights are searched.
    reduced : whether its trials are the cheaper ones of ``search.fidelity``.
    weights : trial number → weights, of every started trial.
    scores : trial number → score of every finished trial as a proposal sees it, None for a failed
        one.
    """

    study: Study
    cell: Cell
    method: Method
    reduced: bool = False
    weights: dict[int, Weights] = field(default_factory=dict)
    scores: dict[int, float | None] = field(default_factory=dict)
    # Two marks, without gaps below them: of what has started, and of what is settled. Counting anew
    # for each proposal would cost as much as the proposal.
    _next: int = 0
    _settled: int = 0

    @cached_property
    def _parameters(self) -> dict[str, Any]:
        """Computed once: it is the slowest part of a trial's bookkeeping after its proposal."""
        return self.study.parameters(self.method)

    @property
    def searches(self) -> tuple[Search, ...]:
        """Itself: it is the plan of its cell, see :mod:`tomoatlas.sweep.search.plans`."""
        return (self,)

    @cached_property
    def space(self) -> Space:
        """Bounds of what is searched."""
        return self.study.search.space.of(self.method)

    @cached_property
    def shared(self) -> bool:
        """Whether its trials are chosen together with those of other cells."""
        return self.study.search.strategy is Strategy.CONTEXTUAL and bool(self.space)

    @cached_property
    def budget(self) -> int:
        """Trials that this search may have."""
        most = self.study.search.budget(self.method)
        confirms = self.shared and self.study.search.fidelity is not None and not self.reduced
        # The cheaper trials have found the optimum; the full ones only say what it is worth.
        return min(CONFIRMED, most) if confirms else most

    @property
    def key(self) -> SearchKey:
        """What a record of one of its trials names."""
        return self.cell.values, self.method, self.reduced

    @property
    def likely(self) -> int:
        """Trials that it will make: all that it may have."""
        return self.budget

    @property
    def designed(self) -> int:
        """Trials that need no results: all of them can run at the same time."""
        return min(self.study.search.initial, self.budget)

    @property
    def lag(self) -> int:
        """Trials that can run at the same time once the design is done."""
        return self.study.search.lag_of(1)

    @property
    def progress(self) -> float:
        """Started fraction of the budget."""
        return len(self.weights) / self.budget

    @property
    def left(self) -> int:
        """Trials that have not been started yet."""
        return self.budget - len(self.weights)

    @property
    def ready(self) -> bool:
        """Whether the next trial can be proposed now."""
        t = self._next
        # Trials settle in order: a later result that came first does not count yet.
        return t < self.budget and (self._designed(t) or self._settled >= self._known(t))

    def next_trial(self) -> Trial:
        """The next trial of a search that is ready; it counts as started from now on."""
        t = self._next
        weights = self._weights(t)
        self.weights[t] = weights
        self._advance()
        return self.trial(t, weights)

    def trial(self, number: int, weights: Weights) -> Trial:
        """Build a trial of this search.

        Parameters
        ----------
        number : place in the sequence, from 0.
        weights : its weights.
        """
        identity = trial_id(self._parameters, self.method, weights)
        scale = self.study.scale(self.reduced)
        return Trial(self.cell, self.method, number, weights, identity, scale=scale)

    def take_in(self, trial: Trial, score: float | None) -> None:
        """Learn the score of a trial, of this run or an earlier one.

        Parameters
        ----------
        trial : of this search.
        score : what ``search.score`` names; None if it failed.
        """
        digits = self.study.search.score_digits
        self.weights[trial.number] = trial.weights
        self.scores[trial.number] = score if score is None else rounded(score, digits)
        self._advance()

    def knows(self, trial: Trial) -> bool:
        """Whether the score of a trial has been taken in.

        Parameters
        ----------
        trial : of this search.
        """
        return trial.number in self.scores

    def _advance(self) -> None:
        """Move both marks over what is started, and over what is finished, without a gap."""
        while self._next in self.weights:
            self._next += 1
        while self._settled in self.scores:
            self._settled += 1

    def _weights(self, t: int) -> Weights:
        space = self.space
        if not space:
            return Weights()
        # The design depends on the seed alone, so that it can run fully in parallel.
        if self._designed(t):
            solver = self.study.solver
            usual = default_weights(solver.noise, solver.units)
            return initial_point(space, t, self._seed(), solver.gamma, usual)
        known = self._known(t)
        finished = [(self.weights[i], self.scores[i]) for i in range(known)]
        # Also those whose scores are known already: the proposal must not depend on timing.
        pending = [self.weights[i] for i in range(known, t)]
        return propose(space, finished, pending, self._seed(t), self.study.search.surrogate)

    def _designed(self, t: int) -> bool:
        """Whether trial ``t`` belongs to the initial design, which needs no results."""
        return t < self.study.search.initial

    def _known(self, t: int) -> int:
        """Number of results from which proposal ``t`` is made."""
        return max(0, t - self.lag + 1)

    def _seed(self, *parts: int) -> int:
        p = self._parameters
        return short_seed("search", p["condition"], p["solver"], p["method"], *parts)


def key_of(trial: Trial) -> SearchKey:
    """The key of the search that a trial belongs to, see :attr:`Search.key`.

    Parameters
    ----------
    trial : of a study with axes.
    """
    return trial.cell.values, trial.method, trial.scale.reduced


def rounded(score: float, digits: int | None) -> float:
    """A score of so many significant digits; all of them for None.

    Parameters
    ----------
    score : finite.
    digits : their number.

    Examples
    --------
    >>> rounded(0.2234567, 4), rounded(0.2234567, None)
    (0.2235, 0.2234567)
    """
    return score if digits is None else float(f"{score:.{digits}g}")


def searches(study: Study, cells: Iterable[Cell] | None = None) -> list[Search]:
    """Every method in every cell where it is run, in the order of the cells, and the cheaper trials
    of each.

    Parameters
    ----------
    study : with its axes.
    cells : some of its cells; None for all.
    """
    found = []
    lenders = {method: study.lenders(method).tolist() for method in study.search.methods}
    for cell, at in study.conditions(cells):
        # One of shared baselines is run in its first cell alone.
        methods = [method for method, by in lenders.items() if by[cell.index] == cell.index]
        found += [Search(at, cell, method) for method in methods]
        if study.search.fidelity is not None:
            cheaper = at.reduced()
            both = (Search(cheaper, cell, method, True) for method in methods)
            # A cell that is searched alone, or without weights, learns nothing from cheaper trials.
            found += [search for search in both if search.shared]
    return found


def planned_by(places: Mapping[SearchKey, Search], record: Record) -> tuple[Search, Trial]:
    """The search that a record belongs to, and its trial.

    Parameters
    ----------
    places : key of a search → search.
    record : of the journal.

    Raises
    ------
    BadInput : the trial is none of the study's.
    """
    try:
        search = places[tuple(record["cell"].items()), Method(record["method"]), is_reduced(record)]
        trial = search.trial(int(record["number"]), weights_named(record["weights"]))
        trial = replace(trial, proposal=proposal_of(record))
        known = trial.trial_id == record["trial_id"] and {"nrmse", "status"} <= record.keys()
        # Without its place in the order of the proposals nothing can be made of it.
        known &= trial.proposal is not None or not search.shared
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _foreign(record) from error
    if not known:
        raise _foreign(record)
    return search, trial


def recognised(
    places: Mapping[SearchKey, Search], records: Iterable[Record]
) -> tuple[list[tuple[Search, Trial, Record]], int]:
    """Sort out what earlier runs have done.

    A trial whose identity is wrong is damaged if others of its cell are sound, and passed over;
    otherwise the study or its data are others by now.

    Parameters
    ----------
    places : key of a search → search.
    records : of the journal.

    Returns
    -------
    The sound records with their searches and trials, in their order, and how many are damaged.

    Raises
    ------
    BadInput : a cell has trials of another study alone.
    """
    sound: list[tuple[Search, Trial, Record]] = []
    strange: list[tuple[str, BadInput]] = []
    for record in records:
        try:
            sound.append((*planned_by(places, record), record))
        except BadInput as error:
            # By its text: what a damaged line has for a cell may not be hashable.
            strange.append((repr(record.get("cell")), error))
    cells = {repr(record["cell"]) for *_, record in sound}
    for cell, foreign in strange:
        if cell not in cells:
            raise foreign
    return sound, len(strange)


def _foreign(record: Record) -> BadInput:
    return BadInput(
        "holds a trial that is not the study's",
        source="trials.jsonl",
        key="trial_id",
        value=record.get("trial_id"),
        accepted="the trials of this study and its data; otherwise a new folder",
    )
