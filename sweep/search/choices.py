"""Which cell to try next, and with which weights: a search over all cells that share a surrogate.

First some cells spread out over the context, with a point of a Sobol sequence each; then every
other cell once, at the optimum that the surrogate predicts for it; then wherever the expected
improvement on the best of a cell is largest, until it is below the precision asked for everywhere.
A surrogate may have learnt too fast how the optimum moves from cell to cell, and be sure of it:
where doubt is asked for, one that has not learnt it has to agree, within a multiple of the
precision.

All of it is a pure function of the results: :func:`next_choice`. What is compared is rounded first,
and ties go to the first, so that the last digits of another processor change nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from .contextual import Array, Indices, Model, Parameters, Points, condition
from .gp import improvement
from .propose import DESIGN_BLOCK, sobol

DESIGNED = 8
"""Cells that start with a point of the design; fewer cells take turns."""
INNER = 0.7
"""Edge of the part of the unit cube that the design is in: the optimum is rarely near a bound."""

NEAREST = 400
"""Most results that a prediction is made of, the nearest by context."""
BLOCK = 64
"""Most cells that are compared for one proposal; those of a larger map take turns."""

BESIDE = 0.15
"""Edges of the cube to both sides of the first predicted optima of a stage; see :func:`beside`."""

STEPS = {1: 16, 2: 6, 3: 4}
"""Steps of the lattice of weights along each edge of the unit cube, by the number of weights."""
LEADERS = (6, 3, 3)
"""How many of the best points a lattice of half the step is laid around, and again."""

WORSE = 0.2
"""A failed trial counts as worse than its neighbours or its cell by this much, relative."""
HOPELESS = 3
"""A cell whose first trials, so many, have all failed is given up."""
DECIMALS = 6
"""Of logarithms of scores when they are compared."""


@dataclass(frozen=True)
class Cells:
    """The cells of a search; q columns of context.

    Parameters
    ----------
    context : (cells, q), also of cells that others have searched before.
    wanted : places of the cells to search, stage by stage.
    most : trials that a cell may have in each stage.
    seed : of the design.
    """

    context: Array
    wanted: tuple[Indices, ...]
    most: tuple[int, ...]
    seed: int

    def stage_of(self, cell: int) -> int:
        """The stage in which a cell is searched; 0 of one that others have searched.

        Parameters
        ----------
        cell : its place.
        """
        return next((stage for stage, wanted in enumerate(self.wanted) if cell in wanted), 0)

    @cached_property
    def orders(self) -> tuple[Indices, ...]:
        """The cells of each stage, spread out: every one far from those before it."""
        return tuple(spread_out(self.context, wanted) for wanted in self.wanted)

    @property
    def designed(self) -> int:
        """Trials of the design."""
        return min(DESIGNED, len(self.wanted[0]) * self.most[0])


@dataclass(frozen=True)
class Results:
    """Trials in the order of their proposals: m with a result, then the pending ones.

    Parameters
    ----------
    cells : (n,) places of their cells.
    weights : (n, d), in [0, 1].
    scores : (m,), logarithms; NaN for a failed trial.
    """

    cells: Indices
    weights: Array
    scores: Array

    def points(self, cells: Cells) -> Points:
        """All of them as points of the surrogate.

        Parameters
        ----------
        cells : what their places mean.
        """
        return Points(self.weights, cells.context[self.cells], self.cells)


@dataclass(frozen=True)
class Choice:
    """What to try.

    Parameters
    ----------
    cell : its place.
    weights : (d,), in [0, 1].
    stage : of the search.
    gain : the improvement expected, relative; None before it is asked for.
    """

    cell: int
    weights: Array
    stage: int
    gain: float | None = None


def next_choice(
    cells: Cells,
    results: Results,
    parameters: Parameters | None,
    precision: float,
    doubt: float = 0.0,
) -> Choice | None:
    """The cell and weights to try next; the same arguments always give the same answer.

    Parameters
    ----------
    cells : where.
    results : so far.
    parameters : of the surrogate; None as long as no trial has a score.
    precision : relative improvement that is worth a trial.
    doubt : multiple of it that is worth one by parameters that are doubted; 0 for none.

    Returns
    -------
    None where no cell is worth another trial.
    """
    number, dimensions = results.weights.shape
    if number < cells.designed or parameters is None:
        return _of_design(cells, dimensions, number)
    tried = np.bincount(results.cells, minlength=len(cells.context))
    # Once a stage has begun, no earlier one is gone back to: with its first results the gains
    # expected there change, and a search could go to and fro.
    begun = [stage for stage, wanted in enumerate(cells.wanted) if tried[wanted].any()]
    for stage in range(max(begun, default=0), len(cells.wanted)):
        found = _of_stage(cells, results, parameters, precision, stage, tried)
        if found is None and doubt:
            doubted, worth = parameters.doubted(), doubt * precision
            found = _of_stage(cells, results, doubted, worth, stage, tried)
        if found is not None:
            return found
    return None


def _of_design(cells: Cells, dimensions: int, number: int) -> Choice | None:
    """The next point of the design: it needs no results; None once every cell has had its trials.

    As long as all trials fail it goes on, cell after cell.
    """
    order = cells.orders[0]
    if number >= len(order) * cells.most[0]:
        return None
    return Choice(int(order[number % len(order)]), design(dimensions, cells.seed, number), 0)


def _of_stage(
    cells: Cells,
    results: Results,
    parameters: Parameters,
    precision: float,
    stage: int,
    tried: Indices,
) -> Choice | None:
    """The next choice of a stage: a cell without trials, or the largest improvement."""
    untried = [cell for cell in cells.orders[stage] if not tried[cell]]
    if untried:
        found = _at_optimum(cells, results, parameters, int(untried[0]), stage)
        # More cells than the first stage has: a cheaper stage or an atlas, whose optima may be off.
        learnt = len(cells.context) > len(cells.wanted[0])
        aside = beside(len(cells.orders[stage]) - len(untried), results.weights.shape[1])
        weights = np.clip(found.weights + aside, 0.0, 1.0)
        return replace(found, weights=weights) if learnt else found
    open_cells = cells.wanted[stage]
    open_cells = open_cells[tried[open_cells] < cells.most[stage]]
    open_cells = open_cells[~_hopeless(results, len(cells.context))[open_cells]]
    blocks = [open_cells[i : i + BLOCK] for i in range(0, len(open_cells), BLOCK)]
    # By the number of trials, not by memory of its own: the same results give the same block.
    turn = len(results.cells) % max(1, len(blocks))
    for block in blocks[turn:] + blocks[:turn]:
        found = _largest_gain(cells, results, parameters, block, stage)
        if found.gain is not None and found.gain >= precision:
            return found
    return None


def _hopeless(results: Results, count: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    known = results.cells[: len(results.scores)]
    failed = np.isnan(results.scores)
    lost = np.bincount(known[failed], minlength=count)
    sound = np.bincount(known[~failed], minlength=count)
    hopeless: np.ndarray[tuple[int], np.dtype[np.bool_]] = (lost >= HOPELESS) & (sound == 0)
    return hopeless


def spread_out(context: Array, wanted: Indices) -> Indices:
    """Cells in an order in which each is far from those before it; the first is in the middle.

    Parameters
    ----------
    context : (cells, q).
    wanted : places of the cells to order.

    Examples
    --------
    >>> spread_out(np.array([[0.0], [1.0], [2.0], [3.0], [4.0]]), np.arange(5)).tolist()
    [2, 0, 4, 1, 3]
    """
    at = context[wanted]
    middle = at.mean(axis=0) if len(at) else at
    away = np.round(-np.square(at - middle).sum(axis=1), DECIMALS)
    order: list[int] = []
    nearest = np.full(len(at), np.inf)
    for _ in range(min(len(at), BLOCK)):
        place = int(np.argmax(away if not order else nearest))
        order.append(place)
        distance = np.round(np.square(at - at[place]).sum(axis=1), DECIMALS)
        nearest = np.minimum(nearest, distance)
        # Below any distance: two cells at the same place are 0 apart, and one would be taken twice.
        nearest[order] = -1.0
    # With so many cells before them the others are near some in any order.
    rest = np.setdiff1d(np.arange(len(at)), order)
    return wanted[np.concatenate([np.array(order, dtype=np.intp), rest]).astype(np.intp)]


def beside(number: int, dimensions: int) -> Array:
    """Step from the predicted optimum to the place of an early trial of a stage.

    What was learnt at another size may be shifted: trials at the predicted optima alone would show
    another level, and not in which direction they lie off. So the first one is followed by one on
    each side along each weight.

    Parameters
    ----------
    number : of the trial in its stage, from 0.
    dimensions : number of weights.

    Examples
    --------
    >>> [beside(number, 2).tolist() for number in (0, 1, 2, 5)]
    [[0.0, 0.0], [0.15, 0.0], [-0.15, 0.0], [0.0, 0.0]]
    """
    step: Array = np.zeros(dimensions)
    if 0 < number <= 2 * dimensions:
        weight, side = divmod(number - 1, 2)
        step[weight] = -BESIDE if side else BESIDE
    return step


def design(dimensions: int, seed: int, number: int) -> Array:
    """A point of the design, in the inner part of the unit cube.

    Parameters
    ----------
    dimensions : number of weights.
    seed : of the scrambling.
    number : place in the sequence, from 0.
    """
    block = max(DESIGN_BLOCK, 1 << number.bit_length())
    point: Array = 0.5 + INNER * (sobol(dimensions, block, seed)[number] - 0.5)
    return point


@lru_cache(maxsize=16)
def lattice(dimensions: int, steps: int) -> Array:
    """A regular lattice of the unit cube (number, dimensions).

    Parameters
    ----------
    dimensions : number of weights.
    steps : along each edge.

    Examples
    --------
    >>> lattice(1, 2).tolist()
    [[0.0], [0.5], [1.0]]
    """
    along = np.arange(steps + 1) / steps
    return np.array(list(itertools.product(along, repeat=dimensions)))


def around(point: Array, step: float) -> Array:
    """The neighbours of a point of a lattice, and the point itself, within the cube.

    Parameters
    ----------
    point : (d,).
    step : to the neighbours along each edge.
    """
    shifts = 2.0 * lattice(len(point), 2) - 1.0
    near = point + step * shifts
    inside: Array = near[((near >= 0.0) & (near <= 1.0)).all(axis=1)]
    return inside


def _nearest(cells: Cells, results: Results, places: Indices) -> Results:
    """Of many results the nearest to some cells, in their order; all pending ones."""
    known = len(results.scores)
    if known <= NEAREST:
        return results
    centre, at = cells.context[places], cells.context[results.cells[:known]]
    distance = np.min([np.square(at - c).sum(axis=1) for c in centre], axis=0)
    order = np.argsort(np.round(distance, DECIMALS), kind="stable")
    failed = np.isnan(results.scores[order])
    # Never failed ones alone: a whole region may be beyond the memory.
    kept = np.sort(np.concatenate([order[~failed][:NEAREST], order[failed][: NEAREST // 4]]))
    chosen = np.concatenate([kept, np.arange(known, len(results.cells))])
    return Results(results.cells[chosen], results.weights[chosen], results.scores[kept])


def believed(cells: Cells, results: Results, parameters: Parameters) -> Model:
    """The posterior with pending trials at their mean, and failed ones worse than their like.

    Parameters
    ----------
    cells, results : of the search.
    parameters : of the kernel.
    """
    points, scores = results.points(cells), results.scores
    sound = np.flatnonzero(~np.isnan(scores))
    model = condition(parameters, points.at(sound), scores[sound])
    failed = np.flatnonzero(np.isnan(scores))
    if len(failed):
        scores = scores.copy()
        scores[failed] = model.expected(points.at(failed))
        for trial in failed:
            mine = sound[results.cells[sound] == results.cells[trial]]
            # Worse than the worst of its cell too: beside poor trials a failure would else look
            # like progress.
            scores[trial] = max([scores[trial], *results.scores[mine]]) + WORSE
        model = condition(parameters, points.at(np.arange(len(scores))), scores)
    pending = points.at(slice(len(scores), None))
    if not len(pending):
        return model
    # At their mean they take away the uncertainty where they are and leave the mean as it was: the
    # next proposal goes elsewhere, whatever they will give.
    return condition(parameters, points, np.concatenate([scores, model.expected(pending)]))


def _at_optimum(
    cells: Cells, results: Results, parameters: Parameters, cell: int, stage: int
) -> Choice:
    """A cell at the optimum that is predicted for it."""
    near = _nearest(cells, results, np.array([cell]))
    model = believed(cells, near, parameters)
    points, _ = _best(
        lambda points: -np.round(model.expected(points), DECIMALS),
        cells,
        np.array([cell]),
        results.weights.shape[1],
    )
    return Choice(cell, points.weights[0], stage)


def _best(
    value: Callable[[Points], Array], cells: Cells, places: Indices, dimensions: int
) -> tuple[Points, float]:
    """The point of the largest value in some cells: on a lattice, then on ever finer ones."""
    # Lattices instead of a gradient search: every computer compares the same points, so that a
    # choice differs only where two values are equal to the last digits.
    step = 1.0 / STEPS[dimensions]
    points = _joined(
        [_of_cell(cells, cell, lattice(dimensions, STEPS[dimensions])) for cell in places]
    )
    values = value(points)
    for count in LEADERS:
        leaders = np.argsort(-values, kind="stable")[:count]
        step /= 2.0
        near = [(points.cells[i], around(points.weights[i], step)) for i in leaders]
        points = _joined([_of_cell(cells, cell, weights) for cell, weights in near])
        values = value(points)
    place = int(np.argmax(values))
    return points.at(np.array([place])), float(values[place])


def _of_cell(cells: Cells, cell: int, weights: Array) -> Points:
    count = len(weights)
    context = np.broadcast_to(cells.context[cell], (count, cells.context.shape[1]))
    return Points(weights, context, np.full(count, cell, dtype=np.intp))


def _largest_gain(
    cells: Cells, results: Results, parameters: Parameters, block: Indices, stage: int
) -> Choice:
    """The cell and weights of the largest expected improvement in a block of cells."""
    near = _nearest(cells, results, block)
    model = believed(cells, near, parameters)
    best = np.full(len(cells.context), np.inf)
    # The best as the model sees it, not as it was scored: nothing is expected to improve on a score
    # that was low by luck, and the search would end with it.
    np.minimum.at(best, near.cells, model.expected(near.points(cells)))

    def gains(points: Points) -> Array:
        gain = improvement(*model.predict(points), best[points.cells])
        # The noise of the data is seeded by the cell: the same weights again give the same score.
        gain[_tried(points, results)] = 0.0
        return np.round(gain, DECIMALS)

    found, gain = _best(gains, cells, block, results.weights.shape[1])
    return Choice(int(found.cells[0]), found.weights[0], stage, gain)


def _joined(parts: list[Points]) -> Points:
    return Points(
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.context for part in parts]),
        np.concatenate([part.cells for part in parts]),
    )


def _tried(points: Points, results: Results) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether a point was tried in its cell."""
    mine = {cell: results.weights[results.cells == cell] for cell in np.unique(points.cells)}
    tried = np.zeros(len(points), dtype=bool)
    for cell, weights in mine.items():
        here = np.flatnonzero(points.cells == cell)
        if len(weights):
            away = np.abs(points.weights[here][:, None] - weights[None]).max(axis=2)
            # Far below the finest lattice step, far above the rounding of a logarithm and back.
            tried[here] = (away < 1e-4).any(axis=1)
    return tried


def fitted_results(known: int, since: int = 0) -> int:
    """How many of the first results the parameters are found from: all at first, later in steps.

    Parameters
    ----------
    known : number of results.
    since : number of them when the stage began: what is new about it is to be learnt at once.
    """
    # A fit costs O(n³), and one more result among many moves it little: the next one after a tenth
    # more.
    marks: Iterator[int] = itertools.accumulate(
        itertools.repeat(0), lambda n, _: max(n + 1, n * 11 // 10), initial=1
    )
    return since + max(itertools.takewhile(lambda mark: mark <= known - since, marks), default=0)
