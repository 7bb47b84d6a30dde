"""The search over all cells that one surrogate can describe, as a plan of the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...recon_core.errors import BadInput
from ...recon_core.methods import default_weights
from ..study.identity import short_seed
from ..study.tables import SearchSettings
from ..study.trial import GAMMA, Proposal, Scalar, Trial, weights_named
from . import Search, key_of
from .choices import Cells, Choice, Results, fitted_results, next_choice
from .context import columns, uses_haadf
from .contextual import Array, Indices, Parameters, fit_parameters
from .gp import one_blas_thread
from .propose import Space, at_unit, unit_of, within
from .start import everything, start_of

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
        first = searches[0]
        self.method = first.method
        self._settings: SearchSettings = first.study.search
        self._haadf = uses_haadf(first.method, first.study.acquisition.haadf_tilts)
        self._space, self._fixed = _acting(first, self._haadf)
        self._begin()
        self._place = {search.key: i for i, search in enumerate(self.searches)}
        self._cells = self._described()
        self._most = sum(search.budget for search in self.searches)
        self._lag = self._settings.lag_of(len({search.cell for search in self.searches}))
        self._made: dict[int, _Made] = {}
        self._scores: dict[int, float] = {}
        self._next = self._settled = self._floor = 0
        self._ended = False
        self._fits: dict[int, Parameters] = {}

    def _begin(self) -> None:
        """Take over the results of the atlas that the search starts from."""
        told = start_of(self.searches[0].study, self.method)
        inside = [each for each in told if within(self._space, each.weights)]
        # Their cells stand behind those of the study.
        cells = {place: i for i, place in enumerate(dict.fromkeys(t.place for t in inside))}
        values = {each.place: each.values for each in inside}
        self._others = [values[place] for place in cells]
        own = len(self.searches)
        self._told = Results(
            np.array([own + cells[each.place] for each in inside], dtype=np.intp),
            # An array of no rows has no columns either: reshape gives it those of the space.
            np.array([unit_of(self._space, t.weights) for t in inside]).reshape(
                len(inside), len(self._space)
            ),
            np.log(np.array([each.score for each in inside]) + LEAST_SCORE),
        )

    def _described(self) -> Cells:
        if self._others:
            mine = [list(everything(search.study)) for search in self.searches]
        else:
            mine = [_values(search) for search in self.searches]
        context = columns([*mine, *self._others], self._haadf)
        reduced = np.array([search.reduced for search in self.searches])
        stages = [np.flatnonzero(part) for part in (reduced, ~reduced) if part.any()]
        most = tuple(self.searches[int(stage[0])].budget for stage in stages)
        first = self.searches[0].study.study
        seed = short_seed("survey", first.seed, self.method, *self._space)
        return Cells(context, tuple(stages), most, seed)

    @property
    def before(self) -> int:
        """Number of results of another study that it began with."""
        return len(self._told.cells)

    @property
    def budget(self) -> int:
        """Trials that it may make; once it has ended, those it made."""
        return len(self._made) if self._ended else max(self._most, len(self._made))

    @property
    def left(self) -> int:
        """Trials that it may still make."""
        return self.budget - len(self._made)

    @property
    def likely(self) -> int:
        """Trials that it will make, as far as can be said now."""
        if self._ended:
            return self.budget
        beforehand = self.designed + round(LIKELY * len(self.searches))
        return min(self.budget, max(beforehand, len(self._made) + 1))

    @property
    def over(self) -> bool:
        """Whether all its trials have their results, and nothing is worth another one."""
        if not self._ended and self._settled == len(self._made) >= len(self.searches):
            # It takes a fit to all results, so it is not asked with fewer trials than searches.
            self._ended = self._choice(self._settled, self._settled) is None
        return self._ended

    @property
    def designed(self) -> int:
        """Trials that need no results: all of them can run at the same time."""
        return max(0, self._cells.designed - self.before)

    @property
    def lag(self) -> int:
        """Trials that can run at the same time later."""
        return self._lag

    @property
    def progress(self) -> float:
        """Made fraction of the budget."""
        return len(self._made) / max(1, self.budget)

    @property
    def ready(self) -> bool:
        """Whether the results are there from which the next trial is made."""
        return not self._ended and self._settled >= self._known()

    def _known(self) -> int:
        """Number of results from which the next trial is made."""
        number = self._next
        if number < self.designed:
            return 0
        # The floor keeps what is known from shrinking: after a proposal that knew everything, the
        # next one must not know less.
        return min(number, max(self._floor, number - self._lag + 1))

    def next_trial(self) -> Trial | None:
        """The next trial; None where it has to wait for all results, or nothing is worth one."""
        number, known = self._next, self._known()
        choice = self._choice(number, known)
        if self._ends(choice, number) and known < number:
            # An end that only some of the results suggest may be chance. All of them decide, and as
            # the floor is part of every later line of the journal, a restart decides the same.
            self._floor = number
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
        return choice.stage > self._cells.stage_of(self._made[number - 1].place)

    def take_in(self, trial: Trial, score: float | None) -> None:
        """Learn the score of a trial, of this run or an earlier one; None if it failed.

        Parameters
        ----------
        trial : with its proposal.
        score : what ``search.score`` names.
        """
        proposal = _made_by(trial)
        if proposal.before != self.before:
            raise BadInput(
                f"has {self.before} results for this search by now",
                key="search.start",
                value=self._settings.start,
                accepted=f"the atlas with the {proposal.before} that it began with",
            )
        self._add(trial)
        search = self._search(trial)
        search.take_in(trial, score)
        found = search.scores[trial.number]
        self._scores[proposal.number] = np.nan if found is None else np.log(found + LEAST_SCORE)
        while self._settled in self._scores:
            self._settled += 1

    def knows(self, trial: Trial) -> bool:
        """Whether the score of a trial, or of another in its place, has been taken in.

        Parameters
        ----------
        trial : with its proposal.
        """
        return _made_by(trial).number in self._scores or self._search(trial).knows(trial)

    def _add(self, trial: Trial) -> None:
        proposal = _made_by(trial)
        place = self._place[key_of(trial)]
        weights = unit_of(self._space, trial.weights)
        self._made[proposal.number] = _Made(place, weights, proposal.known)
        self._search(trial).weights[trial.number] = trial.weights
        # Lines of a journal are in the order in which trials ended, so proposals come with gaps.
        while self._next in self._made:
            self._floor = max(self._floor, self._made[self._next].known)
            self._next += 1

    def _search(self, trial: Trial) -> Search:
        return self.searches[self._place[key_of(trial)]]

    def _trial(self, choice: Choice, proposal: Proposal) -> Trial:
        # Of the proposals before it alone: a resumed journal may hold later ones already.
        number = sum(self._made[k].place == choice.cell for k in range(proposal.number))
        found = at_unit(self._space, choice.weights)
        acting = {name: getattr(found, name) for name in self._space}
        trial = self.searches[choice.cell].trial(number, weights_named(self._fixed | acting))
        return replace(trial, proposal=proposal)

    def _choice(self, number: int, known: int) -> Choice | None:
        """What proposal ``number`` is from so many results."""
        results = self._results(number, known)
        with one_blas_thread():
            parameters = self._parameters(results)
            return next_choice(self._cells, results, parameters, self._settings.precision)

    def _results(self, number: int, known: int) -> Results:
        made = [self._made[k] for k in range(number)]
        told, places = self._told, np.array([each.place for each in made], dtype=np.intp)
        weights = np.array([each.weights for each in made]).reshape(number, len(self._space))
        scores = np.array([self._scores[k] for k in range(known)])
        return Results(
            np.concatenate([told.cells, places]),
            np.concatenate([told.weights, weights]),
            np.concatenate([told.scores, scores]),
        )

    def _since(self, known: Indices) -> int:
        """Number of results when the present stage began, after others or other studies."""
        stage = self._cells.stage_of(int(known[-1])) if len(known) else 0
        if not (stage or self.before):
            return 0
        inside = np.isin(known, self._cells.wanted[stage])
        return int(np.argmax(inside)) if inside.any() else len(known)

    def _parameters(self, results: Results) -> Parameters | None:
        """Of the kernel, from some of the results."""
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
    if haadf or "haadf" not in search.method.weight_names:
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
