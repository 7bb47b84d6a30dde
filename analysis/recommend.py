"""Weights and expected accuracy for an experiment, read off an atlas.

Inside the grid: linear interpolation of log10 weights and of <NRMSE> over log2(1 + tilts) and log2
SNR (1 + tilts, since a map may start at no HAADF tilt). Outside: the nearest edge, with a note. The
uncertainty is measured, not assumed: each inner cell is predicted from its two neighbours along an
axis, and the root mean square error of those predictions is reported.

A weight means nothing under another contrast, exponent or likelihood. So the answer names the
atlas's own, and an atlas that varies them is asked once for each: the best answer is given.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from ..recon_core.errors import BadInput
from ..recon_core.methods import Weights
from ..recon_core.settings import SolverSettings
from ..recon_core.validation import validated
from ..sweep.study.identity import FIRST, LATER
from ..sweep.study.trial import GAMMA, SCORES, Score, WeightsAndGamma
from ..sweep.versions import UNRECORDED, revision_note
from .atlas import Atlas, load_atlas
from .style import CHEMICAL_SNR, CHEMICAL_TILTS, HAADF_SNR, HAADF_TILTS, axis_label, condition_label

Array = NDArray[np.float64]

# Relative difference below which a question and a fixed value of the atlas count as equal.
_SAME = 0.05

_WITHOUT_MEANING = ("tolerance", "max_iterations", "projector")
"""Settings of the solver that weights do not depend on."""

_QUANTITIES: dict[str, Callable[[Array], Array]] = {
    "haadf": np.log10,
    "tv": np.log10,
    GAMMA: np.asarray,
    "score": np.asarray,
    "nrmse": np.asarray,
}
"""Columns to interpolate, where an atlas has them, and the scale on which that is done."""


@dataclass(frozen=True)
class Recommendation:
    """Weights to reconstruct with and the accuracy to expect.

    Parameters
    ----------
    weights : the recommended weights; with ``gamma`` where the atlas searched it.
    nrmse : expected ⟨NRMSE⟩.
    uncertainty : standard error of ``nrmse``.
    haadf_factor : factor within which neighbouring cells agree on the HAADF weight.
    tv_factor : the same for the TV weight.
    notes : limits of the answer, one sentence each.
    solver : settings that decide what a weight means, as the atlas has them, with the recommended
        ``gamma``; empty if unknown.
    gamma_error : standard error of a ``gamma`` that the atlas searched; None for a given one.
    score : what the weights are the best by.
    edition : of the defaults of the atlas's study; None if unknown.
    """

    weights: Weights
    nrmse: float
    uncertainty: float
    haadf_factor: float
    tv_factor: float
    notes: tuple[str, ...] = ()
    solver: Mapping[str, Any] = field(default_factory=dict)
    gamma_error: float | None = None
    score: Score = Score.NRMSE
    edition: int | None = None

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


@dataclass(frozen=True)
class _Grid:
    """Cells averaged over the axes that were not asked about: nodes per axis, and an array
    per quantity.
    """

    nodes: tuple[Array, ...]
    values: dict[str, Array]


def recommend(
    atlas: Atlas | str | Path,
    haadf_tilts: int,
    chemical_tilts: int,
    snr: float | None = None,
    haadf_snr: float | None = None,
) -> Recommendation:
    """The weights and ⟨NRMSE⟩ to expect at a number of tilts and SNR.

    SNR is that of definition A, 1 + mean counts per pixel. A condition that the atlas does not vary
    is taken as fixed there, with a note if the question differs.

    Parameters
    ----------
    atlas : where to look up, or its study folder, file or shipped name.
    haadf_tilts : number of HAADF tilts, >= 0.
    chemical_tilts : number of chemical tilts, >= 1.
    snr : of the chemical maps, > 1; None for any.
    haadf_snr : of the HAADF images, > 1; None for any.

    Raises
    ------
    BadInput : a question out of the physical range, or an atlas without any good cell.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> advice = ta.recommend("fig4_nanocubes_64", haadf_tilts=41, chemical_tilts=9)
    >>> f"{advice.nrmse:.2f} ± {advice.uncertainty:.2f}"
    '0.33 ± 0.01'
    >>> advice.settings.gamma
    2.0
    """
    atlas = atlas if isinstance(atlas, Atlas) else load_atlas(atlas)
    asked = _asked(haadf_tilts, chemical_tilts, snr, haadf_snr)
    parts = [part for part in _by_meaning(atlas) if np.isfinite(part.table["nrmse"]).any()]
    if not parts:
        raise BadInput("atlas has no finished cell", accepted="an atlas with results")
    found = [_answer(part, asked) for part in parts]
    return min(found, key=lambda answer: answer[0])[1]


def _by_meaning(atlas: Atlas) -> list[Atlas]:
    """Atlases in each of which a weight means one thing; their axes are conditions of the data."""
    varied = [axis for axis in atlas.axes if gives_meaning(axis)]
    if not varied:
        return [atlas]
    kept = tuple(axis for axis in atlas.axes if axis not in varied)
    parts = []
    for values, table in atlas.table.groupby(varied, sort=False):
        # Each part has settings of its own; nested tables would be shared by a plain copy.
        settings = copy.deepcopy(dict(atlas.settings))
        for axis, value in zip(varied, values, strict=True):
            settings.setdefault("solver", {})[axis.removeprefix("solver.")] = value
        chosen = condition_label(dict(zip(varied, values, strict=True)))
        note = f"the best of the atlas's settings here is {chosen}"
        parts.append(Atlas(table, kept, settings, (note, *atlas.notes)))
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


def _answer(atlas: Atlas, asked: dict[str, float]) -> tuple[float, Recommendation]:
    """What an atlas recommends, after the score by which it is the best."""
    axes = tuple(axis for axis in asked if axis in atlas.axes)
    table = atlas.with_acting_weights()
    table = table[np.isfinite(table["nrmse"])]
    grid = _grid(table, axes)
    point = np.array([_coordinate(axis, asked[axis]) for axis in axes])
    inside = _clamped(grid, point)
    found = {name: _interpolate(grid, name, inside) for name in grid.values}
    error = {name: _leave_one_out(grid, name) for name in grid.values}
    weights = Weights(haadf=10.0 ** found["haadf"], tv=10.0 ** found["tv"])
    solver = _meaning(atlas)
    if math.isfinite(gamma := found.get(GAMMA, math.nan)):
        weights = WeightsAndGamma(weights.haadf, weights.tv, gamma)
        solver |= {GAMMA: gamma}
    return found.get("score", found["nrmse"]), Recommendation(
        weights,
        found["nrmse"],
        error["nrmse"],
        10.0 ** error["haadf"],
        10.0 ** error["tv"],
        (
            *_range_notes(table, axes, asked),
            *_fixed_notes(atlas, axes, asked),
            *_revision_notes(table),
            *_score_notes(atlas, found, error),
            *_unknown_notes(atlas),
            *atlas.notes,
        ),
        solver,
        error.get(GAMMA),
        atlas.score,
        atlas.setting("study.edition") or (FIRST if atlas.settings else None),
    )


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


def _score_notes(atlas: Atlas, found: Mapping[str, float], error: Mapping[str, float]) -> list[str]:
    """On weights that are the best by another score than the one printed."""
    if "score" not in found:
        return []
    label = SCORES[atlas.score].label
    return [
        f"the weights are the best by the {label}, {found['score']:.3g} ± {error['score']:.2g} "
        "here, not by the NRMSE"
    ]


def _asked(
    haadf_tilts: int, chemical_tilts: int, snr: float | None, haadf_snr: float | None
) -> dict[str, float]:
    asked: dict[str, float] = {HAADF_TILTS: haadf_tilts, CHEMICAL_TILTS: chemical_tilts}
    asked |= {} if snr is None else {CHEMICAL_SNR: snr}
    asked |= {} if haadf_snr is None else {HAADF_SNR: haadf_snr}
    lowest = {HAADF_TILTS: 0, CHEMICAL_TILTS: 1, CHEMICAL_SNR: 1.0, HAADF_SNR: 1.0}
    for axis, value in asked.items():
        least = lowest[axis]
        if not np.isfinite(value) or value < least or (value == least and axis.endswith("snr")):
            relation = ">" if axis.endswith("snr") else ">="
            raise BadInput("out of range", key=axis, value=value, accepted=f"{relation} {least:g}")
    return asked


def _coordinate(axis: str, value: float) -> float:
    """Position on the interpolation grid: log2 SNR, or log2(1 + tilts)."""
    # Accuracy follows the logarithm of the signal; 1 + tilts admits a map that starts at none.
    return float(np.log2(value if axis.endswith("snr") else 1.0 + value))


def _grid(table: pd.DataFrame, axes: tuple[str, ...]) -> _Grid:
    numbers = _on_scales(table)
    names = [str(name) for name in numbers]
    if not axes:
        return _Grid((), {name: np.asarray(numbers[name].mean()) for name in names})
    # Weights are averaged as logarithms: their mean is a geometric one.
    mean = numbers.groupby([table[axis] for axis in axes]).mean().reset_index()
    levels = [np.unique(mean[axis]) for axis in axes]
    places = tuple(
        np.searchsorted(level, mean[axis]) for axis, level in zip(axes, levels, strict=True)
    )
    nodes = tuple(
        np.array([_coordinate(axis, v) for v in level])
        for axis, level in zip(axes, levels, strict=True)
    )
    values = {}
    for name in names:
        # A grid over the axes asked about; a cell whose trials failed stays NaN.
        sparse = np.full([len(level) for level in levels], np.nan)
        sparse[places] = mean[name]
        values[name] = _filled(nodes, sparse)
    return _Grid(nodes, values)


def _on_scales(table: pd.DataFrame) -> pd.DataFrame:
    """The quantities that an atlas has, on the scales on which they are interpolated."""
    scales = {name: scale for name, scale in _QUANTITIES.items() if name in table}
    return pd.DataFrame(
        {name: use(table[name].to_numpy()) for name, use in scales.items()}, table.index
    )


def _filled(nodes: tuple[Array, ...], values: Array) -> Array:
    """Give each empty cell the value of the nearest filled one, in units of the coordinates."""
    known = np.isfinite(values)
    if known.all() or not known.any():
        return values
    places = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
    filled = values.copy()
    for index in map(tuple, np.argwhere(~known)):
        distance = ((places[known] - places[index]) ** 2).sum(axis=-1)
        filled[index] = values[known][distance.argmin()]
    return filled


def _clamped(grid: _Grid, point: Array) -> Array:
    """The point moved to the nearest edge of the grid, if it lies outside."""
    lows, highs = [n.min() for n in grid.nodes], [n.max() for n in grid.nodes]
    # Never extrapolated: a weight beyond the map would be a guess without an error bar.
    return np.clip(point, lows, highs) if len(point) else point


def _interpolate(grid: _Grid, name: str, point: Array) -> float:
    """Interpolate linearly between the nodes; axes of a single node are ignored."""
    wide = [i for i, nodes in enumerate(grid.nodes) if len(nodes) > 1]
    values = grid.values[name].squeeze()
    if not wide:
        return float(values)
    interpolator = RegularGridInterpolator([grid.nodes[i] for i in wide], values)
    return float(interpolator(point[wide])[0])


def _leave_one_out(grid: _Grid, name: str) -> float:
    """RMS error of predicting each inner cell along an axis; half the spread on a smaller grid."""
    values = grid.values[name]
    errors: list[Array] = []
    for axis, nodes in enumerate(grid.nodes):
        if len(nodes) > 2:
            # The axis last, so that one slice expression serves every axis.
            lined = np.moveaxis(values, axis, -1)
            # Weights of linear interpolation between the two neighbours of each inner node.
            share = (nodes[1:-1] - nodes[:-2]) / (nodes[2:] - nodes[:-2])
            predicted = lined[..., :-2] * (1 - share) + lined[..., 2:] * share
            errors.append((lined[..., 1:-1] - predicted).ravel())
    if not errors:
        return float(np.ptp(values)) / 2
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def _range_notes(table: pd.DataFrame, axes: tuple[str, ...], asked: dict[str, float]) -> list[str]:
    """Notes on conditions outside the atlas."""
    notes = []
    for axis in axes:
        low, high = table[axis].min(), table[axis].max()
        if not low <= asked[axis] <= high:
            notes.append(
                f"{axis_label(axis)} {asked[axis]:g} is outside the atlas ({low:g} to {high:g}): "
                "the nearest edge is given, and the uncertainty does not cover the step"
            )
    return notes


def _fixed_notes(atlas: Atlas, axes: tuple[str, ...], asked: dict[str, float]) -> list[str]:
    """Notes on conditions that the atlas holds fixed, and on axes averaged over."""
    notes = []
    for axis in (a for a in asked if a not in axes):
        held = atlas.setting(axis)
        if held is None:
            notes.append(f"{axis_label(axis)} does not vary in this atlas")
        elif not math.isclose(_mean(held), asked[axis], rel_tol=_SAME):
            notes.append(f"{axis_label(axis)} is fixed at {_written(held)} in this atlas")
    others = [axis for axis in atlas.axes if axis not in asked]
    notes += [f"averaged over {axis_label(axis)}" for axis in others]
    return notes


def _revision_notes(table: pd.DataFrame) -> list[str]:
    """On cells that another revision of the algorithm made: its scores may not be met today."""
    made = table["revision"] if "revision" in table else pd.Series(UNRECORDED, table.index)
    numbers = pd.to_numeric(made, errors="coerce").fillna(UNRECORDED)
    note = revision_note(Counter(numbers.astype(int).tolist()), "best trials")
    return [] if note is None else [note]


def _mean(held: float | Mapping[str, float]) -> float:
    values = list(held.values()) if isinstance(held, Mapping) else [held]
    return sum(values) / len(values)


def _written(held: object) -> str:
    if isinstance(held, Mapping):
        return ", ".join(f"{element} {value:g}" for element, value in held.items())
    return f"{held:g}" if isinstance(held, int | float) else str(held)
