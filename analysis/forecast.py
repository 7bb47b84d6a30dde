"""The accuracy and the weights to expect at an acquisition that was not tried.

The surrogate is that of a search over many cells (:mod:`tomoatlas.sweep.search.contextual`), fitted
to the trials of an atlas whatever search made them, or to the best trial of each cell where no
others are known. A question is a cell of its own, with noise of its own.

Its intervals are measured, not assumed: each cell is predicted from all others, and if fewer than
nine in ten lie within their intervals, all intervals are widened until they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.stats import norm, t

from ..sweep.search.choices import around, lattice
from ..sweep.search.context import scale_of
from ..sweep.search.contextual import Model, Points, condition, covariance, fit_parameters
from ..sweep.search.gp import one_blas_thread
from ..sweep.search.propose import Space, at_unit, unit_of
from ..sweep.study.trial import GAMMA, weights_named

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

LEVEL = 0.9
"""Share of the cells that an interval is to hold."""
QUANTILE = float(norm.ppf(0.5 + LEVEL / 2))
"""Standard deviations of a normal distribution to both sides that hold so many."""

LEAST_SCORE = 1e-4
"""Added to a score before its logarithm is taken: a score may be 0."""
MOST = 1000
"""Results that a surrogate is made of: its time grows with their cube."""
STEPS = {1: 64, 2: 16, 3: 8}
"""Steps of the lattice of weights along each edge, by the number of weights."""
REFINED = 4
"""Times that the step is halved around the best point."""
DRAWS = 64
"""Functions drawn from the posterior, to see how far their best weights scatter."""
LIKE_SCORES = 0.05
"""Standard deviation to which logarithms of weights are scaled: the priors are those of scores."""
NEW = -1
"""The cell of a question."""


@dataclass(frozen=True)
class Forecast:
    """What is expected at one acquisition.

    Parameters
    ----------
    weights : those of the lowest expected score, by name.
    spread : standard deviation of the best weights: of their logarithms, of the exponent itself.
    expected : score → mean and standard deviation of its logarithm with these weights, in a new
        cell whose noise is included.
    """

    weights: dict[str, float]
    spread: dict[str, float]
    expected: dict[str, tuple[float, float]]

    def interval(self, score: str) -> tuple[float, float, float]:
        """The score expected, and the bounds that hold it in nine of ten cells.

        Parameters
        ----------
        score : its name.
        """
        mean, deviation = self.expected[score]
        off = QUANTILE * deviation
        low, middle, high = np.exp([mean - off, mean, mean + off]) - LEAST_SCORE
        return float(middle), max(0.0, float(low)), float(high)


@dataclass(frozen=True)
class Evidence:
    """Results of cells that one surrogate can describe: n results, m cells.

    Parameters
    ----------
    paths : of the columns of context (q).
    places : (m, q), what the study has there.
    cells : (n,), the place of the cell of each result.
    weights : (n, d), in [0, 1] of the space searched.
    scores : score → its logarithms (n,); the first is what the weights are the best by.
    space : bounds of the d weights.
    best_alone : whether the results are the best of their cells, and the only ones known.
    """

    paths: tuple[str, ...]
    places: Array
    cells: Indices
    weights: Array
    scores: Mapping[str, Array]
    space: Space
    best_alone: bool = False

    @property
    def points(self) -> Points:
        """The results as points of a surrogate; without weights where those are all the best."""
        weights = self.weights[:, :0] if self.best_alone else self.weights
        return Points(weights, self.context(self.places)[self.cells], self.cells)

    def context(self, places: Array) -> Array:
        """Places (any, q) on the scales on which accuracy follows them.

        Parameters
        ----------
        places : what a study has there.
        """
        found = np.empty(places.shape)
        for i, path in enumerate(self.paths):
            # The scale of the cells: one that a question alone would ask for is none of theirs.
            scale = scale_of(path, self.places[:, i])
            found[:, i] = [scale(value) for value in places[:, i].tolist()]
        return found


def evidence(
    rows: pd.DataFrame,
    axes: Sequence[str],
    paths: Sequence[str],
    space: Space,
    best_alone: bool = False,
) -> Evidence:
    """The results in a table; of more than :data:`MOST` those of every so many cells.

    Parameters
    ----------
    rows : one for each result, with the columns of axes, paths and weights, ``nrmse``, and
        ``score`` where the weights are the best by another.
    axes : columns that tell the cells apart.
    paths : columns of context.
    space : bounds of the weights.
    best_alone : whether each row is the best of a cell.
    """
    number = rows.groupby(list(axes), sort=False).ngroup() if axes else pd.Series(0, rows.index)
    every = -(-len(rows) // MOST)
    rows = rows[(number % every == 0).to_numpy()]
    number = number[rows.index]
    _, first, cells = np.unique(number.to_numpy(), return_index=True, return_inverse=True)
    units = [
        unit_of(space, weights_named({name: row[name] for name in space}))
        for row in rows[list(space)].to_dict("records")
    ]
    names = ("score", "nrmse") if "score" in rows else ("nrmse",)
    return Evidence(
        tuple(paths),
        rows[list(paths)].to_numpy(dtype=float)[first],
        cells.astype(np.intp),
        np.array(units).reshape(len(rows), len(space)),
        {name: np.log(rows[name].to_numpy(dtype=float) + LEAST_SCORE) for name in names},
        space,
        best_alone,
    )


@dataclass(frozen=True)
class Calibrated:
    """A posterior whose intervals were tried on the cells that it is made of.

    Parameters
    ----------
    model : the posterior.
    widening : factor on its standard deviations, at least 1.
    """

    model: Model
    widening: float

    def predict(self, at: Points) -> tuple[Array, Array]:
        """Mean and standard deviation (m,) of a result, its noise included.

        Parameters
        ----------
        at : m points.
        """
        mean, deviation = self.model.predict(at)
        return mean, self.widening * np.hypot(deviation, self.model.parameters.noise)


def calibrated(points: Points, scores: Array) -> Calibrated:
    """The posterior of scores, and how far its intervals have to be widened.

    Parameters
    ----------
    points : n of them.
    scores : (n,).
    """
    model = condition(fit_parameters(points, scores), points, scores)
    off = np.sort(left_out(model, scores))
    # Split-conformal rank (Vovk et al. 2005); of few cells the largest.
    rank = min(len(off), int(np.ceil(LEVEL * (len(off) + 1))))
    # Few cells say little of their own scatter, as in Student's distribution.
    few = float(t.ppf(0.5 + LEVEL / 2, max(1, len(off) - 1)))
    return Calibrated(model, max(float(off[rank - 1]), few) / QUANTILE)


def left_out(model: Model, scores: Array) -> Array:
    """Errors of predicting the best result of each cell from all other cells, in deviations.

    Parameters
    ----------
    model : the posterior of all results.
    scores : (n,) of them.
    """
    inverse = cho_solve((model.factor, True), np.eye(len(scores)), check_finite=False)
    pull, off = inverse @ (scores - model.mean), []
    for cell in np.unique(model.points.cells):
        mine = np.flatnonzero(model.points.cells == cell)
        # What all results of a block are off from their prediction by the others, and its variance.
        apart = np.linalg.inv(inverse[np.ix_(mine, mine)])
        best = int(np.argmin(scores[mine]))
        off.append(abs(apart[best] @ pull[mine]) / np.sqrt(apart[best, best]))
    return np.array(off)


class Surrogate:
    """What results let one expect at other places.

    Of trials weights and context are described together. Where only the best of each cell are
    known, scores and weights are each described over the context alone.

    Parameters
    ----------
    known : the results.
    """

    def __init__(self, known: Evidence) -> None:
        self.known, points = known, known.points
        with one_blas_thread():
            self.models = {name: calibrated(points, s) for name, s in known.scores.items()}
            columns = known.weights.T if known.best_alone else known.weights.T[:0]
            self._of_weights = [_Scaled(points, weights) for weights in columns]

    def forecast(self, places: Array) -> Forecast:
        """What is expected on average over some places, with the same weights at all of them.

        Parameters
        ----------
        places : (any, q), what the study has there.
        """
        context, space = self.known.context(places), self.known.space
        with one_blas_thread():
            alone = self.known.best_alone
            unit, scatter = (self._by_cells if alone else self._by_trials)(context)
            asked = [_asked(unit[None, : 0 if alone else None], at) for at in context]
            found = {
                name: mixture([model.predict(at) for at in asked])
                for name, model in self.models.items()
            }
        at, spread = at_unit(space, unit), dict(zip(space, scatter.tolist(), strict=True))
        return Forecast(
            {name: float(getattr(at, name)) for name in space},
            {name: s * _range(name, space[name]) for name, s in spread.items()},
            found,
        )

    def _by_trials(self, context: Array) -> tuple[Array, Array]:
        """The weights of the lowest expected score, and how far the best ones scatter."""
        model = next(iter(self.models.values())).model

        def mean(unit: Array) -> Array:
            found: Array = np.mean([model.expected(_asked(unit, at)) for at in context], axis=0)
            return found

        dimensions = len(self.known.space)
        bests = np.concatenate([_bests(model, at, dimensions) for at in context])
        # A best point is known to a step of the lattice, evenly distributed within it.
        step = 1.0 / (STEPS[dimensions] * 12.0**0.5)
        return lowest(mean, dimensions), np.hypot(np.std(bests, axis=0), step)

    def _by_cells(self, context: Array) -> tuple[Array, Array]:
        """The weights of the cells around, and their standard deviation."""
        pairs = [mixture([each.predict(c) for c in context]) for each in self._of_weights]
        unit, scatter = np.array(pairs).reshape(-1, 2).T
        return np.clip(unit, 0.0, 1.0), scatter


class _Scaled:
    """A quantity over the context, scaled to where the priors of scores make sense."""

    def __init__(self, points: Points, values: Array) -> None:
        self._scale = float(np.std(values)) / LIKE_SCORES
        if self._scale:
            self._model = calibrated(points, values / self._scale)
        self._middle = float(np.mean(values))

    def predict(self, at: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, (1,) each, at a place."""
        if not self._scale:  # a weight that never varied
            return np.array([self._middle]), np.zeros(1)
        mean, deviation = self._model.predict(_asked(np.zeros((1, 0)), at))
        return mean * self._scale, deviation * self._scale


def lowest(value: Callable[[Array], Array], dimensions: int) -> Array:
    """The point of the unit cube with the lowest value: on a lattice, then on ever finer ones.

    Parameters
    ----------
    value : of points (n, d).
    dimensions : d; 0 has the one point.

    Examples
    --------
    >>> lowest(lambda at: np.square(at - 0.3).sum(axis=1), 2).round(2).tolist()
    [0.3, 0.3]
    """
    if not dimensions:
        return np.zeros(0)
    steps = STEPS[dimensions]
    points = lattice(dimensions, steps)
    for halving in range(1, REFINED + 1):
        points = around(points[np.argmin(value(points))], 0.5**halving / steps)
    best: Array = points[np.argmin(value(points))]
    return best


def _bests(model: Model, context: Array, dimensions: int) -> Array:
    """The best points of functions drawn from the posterior, (:data:`DRAWS`, d)."""
    points = _asked(lattice(dimensions, STEPS[dimensions]), context)
    across = covariance(model.parameters, points, model.points)
    spread = covariance(model.parameters, points, points)
    spread -= across @ cho_solve((model.factor, True), across.T, check_finite=False)
    values, vectors = np.linalg.eigh(spread)
    # The same draws for all questions, so that answers are reproducible and smooth.
    normal = np.random.default_rng(0).standard_normal((len(points), DRAWS))
    drawn = model.expected(points)[:, None] + vectors @ (np.sqrt(values.clip(0))[:, None] * normal)
    best: Array = points.weights[drawn.argmin(axis=0)]
    return best


def _asked(unit: Array, context: Array) -> Points:
    """Points of a question: weights (n, d) at one place."""
    count = len(unit)
    return Points(unit, np.broadcast_to(context, (count, len(context))), np.full(count, NEW))


def mixture(pairs: Sequence[tuple[Array | float, Array | float]]) -> tuple[float, float]:
    """Mean and standard deviation of a quantity that is one of several, equally likely.

    Parameters
    ----------
    pairs : mean and standard deviation of each, numbers or (1,).

    Examples
    --------
    >>> mixture([(0.0, 3.0), (8.0, 3.0)])
    (4.0, 5.0)
    """
    means, deviations = np.array(pairs, dtype=float).reshape(-1, 2).T
    # Of each, and between them.
    return float(means.mean()), float(np.sqrt(np.square(deviations).mean() + means.var()))


def _range(name: str, bounds: tuple[float, float]) -> float:
    """Length of what a weight is searched over: of its logarithm, or of the exponent."""
    low, high = bounds
    return high - low if name == GAMMA else float(np.log(high / low))
