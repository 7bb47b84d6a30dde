"""What one atlas recommends: weights, the accuracy to expect with them, and how far that carries.

A weight means nothing under another contrast, exponent or likelihood: an atlas that varies them is
taken apart into such in each of which a weight means one thing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ..recon_core.errors import BadInput
from ..recon_core.methods import Method, Weights, default_weights
from ..recon_core.settings import SolverSettings
from ..recon_core.validation import validated
from ..sweep.search.context import counts, is_number, scaled
from ..sweep.study.identity import FIRST, LATER
from ..sweep.study.trial import GAMMA, SCORES, Score, WeightsAndGamma
from .atlas import Atlas
from .forecast import QUANTILE, Evidence, Forecast, Surrogate, evidence, mixture
from .limits import (
    Question,
    Shift,
    averaged_notes,
    conditions,
    edge_notes,
    evidence_notes,
    mean_of,
    outside_notes,
    revision_notes,
    shift_of,
)
from .style import CHEMICAL_TILTS, HAADF_TILTS, condition_label
from .table import good_trials

_WITHOUT_MEANING = ("tolerance", "max_iterations", "projector")
"""Settings of the solver that weights do not depend on."""

MOST_PLACES = 32
"""Values of the axes not asked about, over which an answer is averaged."""


@dataclass(frozen=True)
class Recommendation:
    """Weights to reconstruct with and the accuracy to expect.

    Parameters
    ----------
    weights : the recommended weights; with ``gamma`` where the atlas searched it.
    nrmse : expected ⟨NRMSE⟩.
    uncertainty : standard error of ``nrmse``.
    nrmse_low, nrmse_high : what nine of ten experiments like this lie between.
    haadf_factor : factor within which the best HAADF weight lies, one standard deviation.
    tv_factor : the same for the TV weight.
    notes : limits of the answer, one sentence each.
    solver : settings that decide what a weight means, as the atlas has them, with the recommended
        ``gamma``; empty if unknown.
    gamma_error : standard error of a ``gamma`` that the atlas searched; None for a given one.
    score : what the weights are the best by.
    edition : of the defaults of the atlas's study; None if unknown.
    conditions : what the atlas is of: specimen, size, tilts and SNRs, as far as known, numbers of
        ``trials`` and ``cells`` that the answer rests on, and ``version``.
    """

    weights: Weights
    nrmse: float
    uncertainty: float
    nrmse_low: float
    nrmse_high: float
    haadf_factor: float
    tv_factor: float
    notes: tuple[str, ...] = ()
    solver: Mapping[str, Any] = field(default_factory=dict)
    gamma_error: float | None = None
    score: Score = Score.NRMSE
    edition: int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> SolverSettings:
        """Of a reconstruction that these weights are for.

        Raises
        ------
        BadInput : the atlas was made with a setting that this version does not have.
        """
        return validated(self.solver, SolverSettings, "atlas: solver")

    @property
    def note(self) -> str:
        """The notes on one line."""
        return "; ".join(self.notes)


def by_meaning(atlas: Atlas) -> list[Atlas]:
    """Atlases in each of which a weight means one thing; their axes are conditions of the data.

    Parameters
    ----------
    atlas : that may vary settings of the solver.
    """
    varied = [axis for axis in atlas.axes if gives_meaning(axis)]
    if not varied:
        return [atlas]
    kept = tuple(axis for axis in atlas.axes if axis not in varied)
    parts = []
    for values, table in atlas.table.groupby(varied, sort=False):
        # Each part has settings of its own; nested tables would be shared by a plain copy.
        settings = copy.deepcopy(dict(atlas.settings))
        chosen = dict(zip(varied, values, strict=True))
        for axis, value in chosen.items():
            settings.setdefault("solver", {})[axis.removeprefix("solver.")] = value
        trials = atlas.trials
        if trials is not None:
            trials = trials[(trials[varied] == list(values)).all(axis=1)]
        note = f"the best of the atlas's settings here is {condition_label(chosen)}"
        parts.append(Atlas(table, kept, settings, (note, *atlas.notes), trials, atlas.version))
    return parts


def gives_meaning(path: str) -> bool:
    """Whether weights mean one thing only at one value of a key of a study.

    Parameters
    ----------
    path : dotted path of the key.

    Examples
    --------
    >>> gives_meaning("solver.contrast"), gives_meaning("acquisition.haadf_tilts")
    (True, False)
    """
    table, _, key = path.partition(".")
    return table == "solver" and key not in _WITHOUT_MEANING


def _forecast(surrogate: Surrogate, asked: Question) -> Forecast:
    """What is expected where it was asked, on average over all other axes."""
    known = surrogate.known
    places = known.places.copy()
    for i, path in enumerate(known.paths):
        if path in asked:
            places[:, i] = asked[path]
    # Cells that differ only in what was asked about are one place now.
    distinct = np.unique(places, axis=0)
    return surrogate.forecast(distinct[:: -(-len(distinct) // MOST_PLACES)])


def _joined(found: Sequence[Forecast]) -> Forecast:
    """One forecast of several, equally likely."""
    if len(found) == 1:
        return found[0]
    weights = {
        name: float(np.exp(np.mean([np.log(each.weights[name]) for each in found])))
        for name in found[0].weights
    }
    expected = {}
    for name in found[0].expected:
        # One of them is true, and which is not known.
        expected[name] = mixture([each.expected[name] for each in found])
    spread = {name: max(each.spread[name] for each in found) for name in weights}
    return Forecast(weights, spread, expected)


def _moved(found: Forecast, shift: Shift) -> tuple[float, float, float]:
    """Expected NRMSE and its interval, at the size and SNR asked for."""
    middle, low, high = (value * shift.nrmse for value in found.interval("nrmse"))
    # The error of the law adds to that of the surrogate.
    off = math.exp(QUANTILE * shift.deviation)
    return middle, low / off, high * off


class Part:
    """An atlas in which a weight means one thing, and what its surrogates expect.

    Parameters
    ----------
    atlas : with a finished cell.
    """

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._fitted: dict[bool, list[Surrogate]] = {}

    def answer(self, asked: Question) -> tuple[float, Recommendation]:
        """What is recommended, after the score by which it is the best.

        Parameters
        ----------
        asked : the question.

        Raises
        ------
        BadInput : far outside the atlas.
        """
        atlas, haadf = self.atlas, self._uses_haadf(asked)
        notes = outside_notes(self._cells[haadf], asked, self.has(False))
        shift, fitted = shift_of(atlas, asked), self._of(haadf)
        found = _joined([_forecast(surrogate, asked) for surrogate in fitted])
        middle, low, high = _moved(found, shift)
        weights, solver = self._weights(found, shift), _meaning(atlas)
        if isinstance(weights, WeightsAndGamma):
            solver |= {GAMMA: weights.gamma}
        by = found.interval("score" if "score" in found.expected else "nrmse")
        spread = {"haadf": 0.0, **found.spread}
        return by[0], Recommendation(
            weights,
            middle,
            middle * math.hypot(found.expected["nrmse"][1], shift.deviation),
            low,
            high,
            math.exp(spread["haadf"]),
            math.exp(spread["tv"]),
            (
                *notes,
                *evidence_notes(atlas, asked),
                *shift.notes,
                *averaged_notes(atlas, asked),
                *edge_notes(atlas, found.weights),
                *revision_notes(self._cells[haadf]),
                *_score_notes(atlas, by),
                *([] if haadf else ["without HAADF its weight has no effect"]),
                *_unknown_notes(atlas),
                *atlas.notes,
            ),
            solver,
            found.spread.get(GAMMA),
            atlas.score,
            atlas.setting("study.edition") or (FIRST if atlas.settings else None),
            conditions(atlas, *_numbers(fitted)),
        )

    def has(self, haadf: bool) -> bool:
        """Whether there is a finished cell with HAADF, or without.

        Parameters
        ----------
        haadf : which.
        """
        return not self._cells[haadf].empty

    def _uses_haadf(self, asked: Question) -> bool:
        """Whether there is HAADF in question, of which the atlas must have cells."""
        haadf = asked[HAADF_TILTS] > 0
        if self.has(haadf):
            return haadf
        known = self._cells[not haadf]
        if HAADF_TILTS not in known:
            return not haadf
        raise BadInput(
            "the atlas has no finished cell with HAADF" if haadf else "the atlas has none without",
            key=HAADF_TILTS,
            value=asked[HAADF_TILTS],
            accepted=", ".join(f"{n:g}" for n in sorted(set(known[HAADF_TILTS]))),
        )

    @cached_property
    def _cells(self) -> dict[bool, pd.DataFrame]:
        """The finished cells with and without HAADF, with the tilts that the atlas holds fixed."""
        table = self.atlas.with_acting_weights()
        done = table[table["nrmse"] > 0]
        return {haadf: self._with_tilts(done, haadf) for haadf in (False, True)}

    def _with_tilts(self, rows: pd.DataFrame, haadf: bool) -> pd.DataFrame:
        for axis in (HAADF_TILTS, CHEMICAL_TILTS):
            held = self.atlas.setting(axis)
            if axis not in self.atlas.axes and held is not None:
                rows = rows.assign(**{axis: mean_of(held)})
        if HAADF_TILTS in rows:
            return rows[(rows[HAADF_TILTS] > 0) == haadf]
        return rows if haadf else rows[:0]

    def _of(self, haadf: bool) -> list[Surrogate]:
        if haadf not in self._fitted:
            self._fitted[haadf] = [Surrogate(known) for known in self.evidence(haadf)]
        return self._fitted[haadf]

    def evidence(self, haadf: bool) -> Iterator[Evidence]:
        """What surrogates are fitted to: one for all cells, or for each value without a scale.

        Parameters
        ----------
        haadf : whether of the cells with HAADF or of those without.
        """
        rows, space, best_alone = self._results(haadf)
        columns = dict.fromkeys((*self.atlas.axes, HAADF_TILTS, CHEMICAL_TILTS))
        acting = {p: rows[p].tolist() for p in columns if p in rows and counts(p, haadf)}
        paths = [p for p, values in acting.items() if all(scaled(p, v) for v in values)]
        # A seed has no place on a scale, but its cells differ in noise alone.
        apart = [p for p, values in acting.items() if not all(map(is_number, values))]
        for _, part in rows.groupby(apart, sort=False) if apart else [((), rows)]:
            yield evidence(part, self.atlas.axes, paths, space, best_alone)

    def _results(self, haadf: bool) -> tuple[pd.DataFrame, dict[str, tuple[float, float]], bool]:
        """Trials, or the best of each cell; the space searched; whether they are the best alone."""
        names = [name for name in self.atlas.weight_names if haadf or name == "tv"]
        bounds = self.atlas.setting("search.space")
        rows, alone = self._cells[haadf], True
        if self.atlas.trials is not None and isinstance(bounds, Mapping):
            found = self._with_tilts(good_trials(self.atlas.trials, Method.FUSED), haadf)
            rows, alone = (found, False) if len(found) else (rows, True)
        if self.atlas.score is Score.NRMSE and "score" in rows:
            rows = rows.drop(columns="score")
        rows = rows[(rows[names] > 0).all(axis=1)] if names else rows
        if alone:
            return rows, {name: _about(rows[name]) for name in names}, True
        return (
            rows,
            {name: (float(bounds[name][0]), float(bounds[name][1])) for name in names},
            False,
        )

    def _weights(self, found: Forecast, shift: Shift) -> Weights:
        """Those of a forecast, moved; the usual one where nothing depends on it."""
        solver = _meaning(self.atlas)
        usual = default_weights(solver.get("noise", "counts"), solver.get("units", "percentile"))
        known = {"haadf": usual.haadf, **found.weights}
        moved = {name: known[name] * shift.weights[name] for name in ("haadf", "tv")}
        if GAMMA in found.weights:
            return WeightsAndGamma(**moved, gamma=found.weights[GAMMA])
        return Weights(**moved)


def _numbers(fitted: Sequence[Surrogate]) -> tuple[int, int]:
    """Trials and cells that surrogates are made of."""
    known = [surrogate.known for surrogate in fitted]
    return sum(len(each.cells) for each in known), sum(len(each.places) for each in known)


def _meaning(atlas: Atlas) -> dict[str, Any]:
    """The solver's settings that decide what a weight means; later keys at their neutral value."""
    solver = atlas.setting("solver")
    if not isinstance(solver, Mapping):
        return {}
    later = {path.removeprefix("solver."): v for path, v in LATER.items() if gives_meaning(path)}
    return {key: v for key, v in {**later, **solver}.items() if key not in _WITHOUT_MEANING}


def _unknown_notes(atlas: Atlas) -> list[str]:
    """On an atlas without its study, whose weights may mean anything."""
    if atlas.settings:
        return []
    return ["the atlas does not name the settings its weights are for: the first edition's assumed"]


def _score_notes(atlas: Atlas, expected: tuple[float, float, float]) -> list[str]:
    """On weights that are the best by another score than the one printed."""
    if atlas.score is Score.NRMSE:
        return []
    middle, low, high = expected
    return [
        f"the weights are the best by the {SCORES[atlas.score].label}, {middle:.3g} "
        f"({low:.3g} to {high:.3g}) here, not by the NRMSE"
    ]


def _about(weights: pd.Series) -> tuple[float, float]:
    """A space around weights, where none is known."""
    return float(weights.min()) / 2.0, float(weights.max()) * 2.0
