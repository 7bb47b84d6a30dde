"""The search over all cells that one surrogate can describe, as a plan of the scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...recon_core.errors import BadInput
from ...recon_core.methods import default_weights
from ..study.identity import short_seed
from ..study.tables import SearchSettings
from ..study.trial import GAMMA, Proposal, Scalar, Trial, weights_named
from . import Search, key_of
from .choices import Cells, Choice, Results, fitted_results, next_choice
from .context import Values, columns, uses_haadf
from .contextual import Array, Indices, Parameters, fit_parameters
from .gp import one_blas_thread
from .propose import Space, at_unit, unit_of, within
from .start import EarlierResult, everything, start_of

LEAST_SCORE = 1e-4
"""Added to a score before its logarithm is taken: a score may be 0."""

LIKELY = 2.0
"""Trials per cell that a survey makes after its design, of smooth maps at the usual precision."""


@dataclass(frozen=True)
class _Made:
    """A trial that was made: the place of its cell, its weights in [0, 1], the results it knew."""

    place: int
    weights: Array
    known: int


class _Proposals:
    """The proposals of a survey in their one order, as far as they are made and have results."""

    def __init__(self) -> None:
        self.made: dict[int, _Made] = {}
        self.scores: dict[int, float] = {}
        self.next = self.settled = self.floor = 0

    def add(self, number: int, made: _Made) -> None:
        """Take the proposal with this number."""
        self.made[number] = made
        # Lines of a journal are in the order in which trials ended, so proposals come with gaps.
        while self.next in self.made:
            self.floor = max(self.floor, self.made[self.next].known)
            self.next += 1

    def score(self, number: int, score: float) -> None:
        """Take the result of the proposal with this number."""
        self.scores[number] = score
        while self.settled in self.scores:
            self.settled += 1

    def known(self, lag: int) -> int:
        """Number of results from which the next proposal is made, with so many under way."""
        # The floor keeps what is known from shrinking: after a proposal that knew everything, the
        # next one must not know less.
        return min(self.next, max(self.floor, self.next - lag + 1))

    def results(self, earlier: Results, number: int, known: int) -> Results:
        """The results that proposal ``number`` sees, behind those of another study."""
        made = [self.made[k] for k in range(number)]
        places = np.array([each.place for each in made], dtype=np.intp)
        weights = np.array([each.weights for each in made]).reshape(
            number, earlier.weights.shape[1]
        )
        scores = np.array([self.scores[k] for k in range(known)])
        return Results(
            np.concatenate([earlier.cells, places]),
            np.concatenate([earlier.weights, weights]),
            np.concatenate([earlier.scores, scores]),
        )


@dataclass(frozen=True)
class _Scope:
    """What a survey searches, and the results of another study that it begins with."""

    space: Space
    fixed: Mapping[str, float]
    cells: Cells
    earlier: Results

    @classmethod
    def of(cls, searches: Sequence[Search], most: int | None = None) -> _Scope:
        """Gather what the searches of all cells share, and the first results of another study."""
        first = searches[0]
        haadf = uses_haadf(first.method, first.study.acquisition.haadf_tilts)
        space, fixed = _acting(first, haadf)
        found = start_of(first.study, first.method)
        inside = [each for each in found if within(space, each.weights)][:most]
        # Their cells stand behind those of the study.
        cells = {place: len(searches) + i for i, place in enumerate(_places(inside))}
        earlier = Results(
            np.array([cells[each.place] for each in inside], dtype=np.intp),
            # An array of no rows has no columns either: reshape gives it those of the space.
            np.array([unit_of(space, t.weights) for t in inside]).reshape(len(inside), len(space)),
            np.log(np.array([each.score for each in inside]) + LEAST_SCORE),
        )
        others = {each.place: each.values for each in inside}
        described = _described(searches, [others[place] for place in cells], haadf, space)
        return cls(space, fixed, described, earlier)


class _Kernel:
    """The kernel of a survey's surrogate, fitted anew as the results become more."""

    def __init__(self, scope: _Scope) -> None:
        self._cells, self._before = scope.cells, len(scope.earlier.cells)
        self._fits: dict[int, Parameters] = {}

    def fitted(self, results: Results) -> Parameters | None:
        """Its parameters from some of the results; None as long as no trial has a score."""
        known = results.cells[: len(results.scores)]
        count = fitted_results(len(known), self._since(known))
        points, scores = results.points(self._cells), results.scores[:count]
        sound = np.flatnonzero(~np.isnan(scores))
        if not len(sound):
            return None
        if count not in self._fits:
            # The last fit alone: the number of known results never falls.
            self._fits = {count: fit_parameters(points.at(sound), scores[sound])}
        return self._fits[count]

    def _since(self, known: Indices) -> int:
        """Number of results when the present stage began, after others or other studies."""
        stage = self._cells.stage_of(int(known[-1])) if len(known) else 0
        if not (stage or self._before):
            return 0
        inside = np.isin(known, self._cells.wanted[stage])
        return int(np.argmax(inside)) if inside.any() else len(known)


class Survey:
    """One search over many cells: an order of proposals, each from a fixed part of the results.

    Proposal k, cell and weights, is made from exactly the results 0 ... known - 1 of that order,
    and the trials between them and k are believed to give what the surrogate expects. ``known`` is
    k - lag + 1, or all k where fewer would have ended the search: before it ends, everything is
    known. So neither workers nor restarts decide what is proposed.

    Parameters
    ----------
    searches : of one method, in the order of the cells.
    """

    def __init__(self, searches: Sequence[Search]) -> None:
        # The cheaper trials first: the stages of the search are in this order.
        self.searches = tuple(sorted(searches, key=lambda search: not search.reduced))
        self.method = searches[0].method
        self._settings: SearchSettings = searches[0].study.search
        self._scope = _Scope.of(self.searches)
        self._place = {search.key: i for i, search in enumerate(self.searches)}
        self._most = sum(search.budget for search in self.searches)
        self._lag = self._settings.lag_of(len({search.cell for search in self.searches}))
        self._proposals = _Proposals()
        self._ended = False
        self._kernel = _Kernel(self._scope)

    @property
    def before(self) -> int:
        """Number of results of another study that it began with."""
        return len(self._scope.earlier.cells)

    @property
    def budget(self) -> int:
        """Trials that it may make; once it has ended, those it made."""
        made = len(self._proposals.made)
        return made if self._ended else max(self._most, made)

    @property
    def left(self) -> int:
        """Trials that it may still make."""
        return self.budget - len(self._proposals.made)

    @property
    def likely(self) -> int:
        """Trials that it will make, as far as can be said now."""
        if self._ended:
            return self.budget
        beforehand = self.designed + round(LIKELY * len(self.searches))
        return min(self.budget, max(beforehand, len(self._proposals.made) + 1))

    @property
    def over(self) -> bool:
        """Whether all its trials have their results, and nothing is worth another one."""
        made, settled = len(self._proposals.made), self._proposals.settled
        if not self._ended and settled == made >= len(self.searches):
            # It takes a fit to all results, so it is not asked with fewer trials than searches.
            self._ended = self._choice(settled, settled) is None
        return self._ended

    @property
    def designed(self) -> int:
        """Trials that need no results: all of them can run at the same time."""
        return max(0, self._scope.cells.designed - self.before)

    @property
    def lag(self) -> int:
        """Trials that can run at the same time later."""
        return self._lag

    @property
    def progress(self) -> float:
        """Made fraction of the budget."""
        return len(self._proposals.made) / max(1, self.budget)

    @property
    def ready(self) -> bool:
        """Whether the results are there from which the next trial is made."""
        return not self._ended and self._proposals.settled >= self._known()

    def _known(self) -> int:
        """Number of results from which the next trial is made."""
        return 0 if self._proposals.next < self.designed else self._proposals.known(self._lag)

    def next_trial(self) -> Trial | None:
        """The next trial; None where it has to wait for all results, or nothing is worth one."""
        number, known = self._proposals.next, self._known()
        choice = self._choice(number, known)
        if self._ends(choice, number) and known < number:
            # An end that only some of the results suggest may be chance. All of them decide, and as
            # the floor is part of every later line of the journal, a restart decides the same.
            self._proposals.floor = number
            if not self.ready:
                return None
            known, choice = number, self._choice(number, number)
        if choice is None:
            self._ended = True
            return None
        trial = self._trial(choice, Proposal(number, known, choice.gain, self.before))
        self._add(trial)
        return trial

    def _ends(self, choice: Choice | None, number: int) -> bool:
        """Whether a choice ends the search, or a stage of it: all results are to count first."""
        if choice is None or not number:
            return choice is None
        last = self._proposals.made[number - 1].place
        return choice.stage > self._scope.cells.stage_of(last)

    def take_in(self, trial: Trial, score: float | None) -> None:
        """Learn the score of a trial, of this run or an earlier one; None if it failed.

        Parameters
        ----------
        trial : with its proposal.
        score : what ``search.score`` names.
        """
        proposal = _made_by(trial)
        if proposal.before != self.before:
            self._begin_with(proposal.before)
        self._add(trial)
        search = self._search(trial)
        search.take_in(trial, score)
        found = search.scores[trial.number]
        score = np.nan if found is None else np.log(found + LEAST_SCORE)
        self._proposals.score(proposal.number, score)

    def _begin_with(self, count: int) -> None:
        """Begin with the first results of the atlas alone, which may have grown since."""
        if self._proposals.made or count > self.before:
            raise BadInput(
                f"has {self.before} results for this search by now",
                key="search.start",
                value=self._settings.start,
                accepted=f"the atlas with the {count} that it began with",
            )
        self._scope = _Scope.of(self.searches, count)
        self._kernel = _Kernel(self._scope)

    def knows(self, trial: Trial) -> bool:
        """Whether the score of a trial, or of another in its place, has been taken in.

        Parameters
        ----------
        trial : with its proposal.
        """
        return _made_by(trial).number in self._proposals.scores or self._search(trial).knows(trial)

    def _add(self, trial: Trial) -> None:
        proposal = _made_by(trial)
        place = self._place[key_of(trial)]
        weights = unit_of(self._scope.space, trial.weights)
        self._proposals.add(proposal.number, _Made(place, weights, proposal.known))
        self._search(trial).weights[trial.number] = trial.weights

    def _search(self, trial: Trial) -> Search:
        return self.searches[self._place[key_of(trial)]]

    def _trial(self, choice: Choice, proposal: Proposal) -> Trial:
        # Of the proposals before it alone: a resumed journal may hold later ones already.
        others = (self._proposals.made[k] for k in range(proposal.number))
        number = sum(made.place == choice.cell for made in others)
        space = self._scope.space
        found = at_unit(space, choice.weights)
        acting = {name: getattr(found, name) for name in space}
        weights = weights_named({**self._scope.fixed, **acting})
        trial = self.searches[choice.cell].trial(number, weights)
        return replace(trial, proposal=proposal)

    def _choice(self, number: int, known: int) -> Choice | None:
        """What proposal ``number`` is from so many results."""
        cells = self._scope.cells
        results = self._proposals.results(self._scope.earlier, number, known)
        with one_blas_thread():
            parameters = self._kernel.fitted(results)
            settings = self._settings
            return next_choice(cells, results, parameters, settings.precision, settings.doubt)


def _places(results: Iterable[EarlierResult]) -> list[int]:
    """The cells of earlier results, each once, in their order."""
    return list(dict.fromkeys(each.place for each in results))


def _described(
    searches: Sequence[Search],
    others: Sequence[Values],
    haadf: bool,
    space: Space,
) -> Cells:
    """The cells of the searches, and behind them those of another study."""
    if others:
        mine = [list(everything(search.study)) for search in searches]
    else:
        mine = [_values(search) for search in searches]
    reduced = np.array([search.reduced for search in searches])
    stages = [np.flatnonzero(part) for part in (reduced, ~reduced) if part.any()]
    most = tuple(searches[int(stage[0])].budget for stage in stages)
    seed = short_seed("survey", searches[0].study.study.seed, searches[0].method, *space)
    return Cells(columns([*mine, *others], haadf), tuple(stages), most, seed)


def _values(search: Search) -> list[tuple[str, Scalar]]:
    """The cell's values, and what its trials may differ in from those of the study."""
    scale = {
        "specimen.size": search.study.specimen.size,
        "solver.max_iterations": search.study.solver.max_iterations,
    }
    return list((dict(search.cell.values) | scale).items())


def _acting(search: Search, haadf: bool) -> tuple[Space, dict[str, float]]:
    """What is searched, and what is set because nothing depends on it without HAADF."""
    space, solver = search.space, search.study.solver
    if haadf or not search.method.sees_haadf:
        return space, {}
    usual = default_weights(solver.noise, solver.units)
    unused = {"haadf": usual.haadf, GAMMA: solver.gamma}
    # Within the bounds, like all weights of the study.
    fixed = {n: min(max(unused[n], space[n][0]), space[n][1]) for n in space if n in unused}
    return {name: bounds for name, bounds in space.items() if name not in unused}, fixed


def _made_by(trial: Trial) -> Proposal:
    if trial.proposal is None:
        raise ValueError("a trial of a cell that was searched alone")
    return trial.proposal
