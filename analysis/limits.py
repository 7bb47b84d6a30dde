"""How far an atlas carries: what it varies, what it holds fixed, and what was measured beyond.

A question inside the cells is answered by the surrogate alone. A little outside the answer is
extrapolated, with the wider interval that the surrogate gives there. Another SNR or size than the
one that an atlas holds fixed moves the answer by a law that was measured (:data:`LAWS`). What
neither covers is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..recon_core.errors import BadInput
from ..sweep.search.context import is_number
from ..sweep.study.trial import GAMMA
from ..sweep.versions import UNRECORDED, revision_note
from .atlas import Atlas
from .scatter import NOISE, SPECIMENS
from .style import (
    CHEMICAL_SNR,
    CHEMICAL_TILTS,
    HAADF_SNR,
    HAADF_TILTS,
    axis_label,
    condition_label,
    value_label,
)

SIZE = "specimen.size"
SAME = 0.05
"""Relative difference below which a question and a fixed value count as equal."""
OUTSIDE = 2.0
"""Factor on tilts, counts or size up to which an answer is extrapolated."""
NAMED = 3
"""Most cells that a note names."""
EDGE = 1.3
"""Factor from a bound of the search space within which a weight counts as at its edge."""

Question = Mapping[str, float]
"""Dotted path → value asked about."""


@dataclass(frozen=True)
class Law:
    """How an answer moves where a key that the atlas holds fixed has another value.

    Each is the power of the ratio of counts, or of sizes.

    Parameters
    ----------
    haadf, tv, nrmse : of the weights and the score.
    error : of the power of the score, one standard deviation.
    most : the largest ratio, up or down.
    """

    haadf: float
    tv: float
    nrmse: float
    error: float
    most: float


LAWS: dict[tuple[str, str], Law] = {
    # tests/benchmarks/RESULTS.md, "Do weights of 1 mean the same?": half and four times the counts
    ("noise", CHEMICAL_SNR): Law(0.0, 0.0, -0.17, 0.04, 4.0),
    # the same table, before the weights were in units of the noise: tv as the root of the dose
    ("percentile", CHEMICAL_SNR): Law(0.0, 0.5, -0.17, 0.04, 4.0),
    # fig4_nanocubes_64 beside fig4_nanocubes_128, 25 conditions: 0.80-0.87 per doubling
    ("percentile", SIZE): Law(-0.3, -0.51, -0.26, 0.05, 4.0),
    # the units follow the noise; the score is that of the first edition
    ("noise", SIZE): Law(0.0, 0.0, -0.26, 0.1, 4.0),
}
"""Units of the weights (``solver.units``) and key → its law. Other HAADF SNRs have none."""


@dataclass(frozen=True)
class Shift:
    """What a law does to one answer.

    Parameters
    ----------
    weights : weight → factor.
    nrmse : factor.
    deviation : standard deviation of the logarithm of ``nrmse``.
    notes : one sentence for each law.
    """

    weights: Mapping[str, float]
    nrmse: float = 1.0
    deviation: float = 0.0
    notes: tuple[str, ...] = ()


def counts_of(axis: str, value: float) -> float:
    """What a law, or the reach of an atlas, is a ratio of: mean counts, tilts and one, or size.

    Parameters
    ----------
    axis : dotted path of the key.
    value : of the key.

    Examples
    --------
    >>> counts_of("acquisition.chemical_snr", 3.0), counts_of("acquisition.haadf_tilts", 3)
    (2.0, 4.0)
    """
    if axis.endswith("snr"):
        return value - 1.0
    return value if axis == SIZE else value + 1.0


def check_question(asked: Question) -> None:
    """Refuse what cannot be.

    Parameters
    ----------
    asked : the question.

    Raises
    ------
    BadInput : a value out of its physical range.
    """
    lowest = {HAADF_TILTS: 0, CHEMICAL_TILTS: 1, CHEMICAL_SNR: 1.0, HAADF_SNR: 1.0, SIZE: 1}
    for axis, value in asked.items():
        least = lowest[axis]
        if not math.isfinite(value) or value < least or (value == least and axis.endswith("snr")):
            relation = ">" if axis.endswith("snr") else ">="
            raise BadInput("out of range", key=axis, value=value, accepted=f"{relation} {least:g}")


def outside_notes(cells: pd.DataFrame, asked: Question, below_known: bool) -> list[str]:
    """Notes on what is outside the cells.

    Parameters
    ----------
    cells : that the surrogate describes, with a column for each axis that they vary or hold.
    asked : the question.
    below_known : whether cells without HAADF bound the answer from the other side.

    Raises
    ------
    BadInput : far outside.
    """
    notes = []
    for axis in (axis for axis in asked if axis in cells):
        low, high = float(cells[axis].min()), float(cells[axis].max())
        if low <= asked[axis] <= high:
            continue
        value, least, most = (counts_of(axis, v) for v in (asked[axis], low, high))
        # Cells without HAADF stand beyond few tilts: the accuracy lies between the two.
        below = axis == HAADF_TILTS and value < least and below_known
        if not (below or least / OUTSIDE <= value <= most * OUTSIDE):
            raise BadInput(
                f"far outside the atlas, which has {_range(low, high)}",
                key=axis,
                value=asked[axis],
                accepted=_accepted(axis, least, most),
            )
        notes.append(
            f"{axis_label(axis)} {asked[axis]:g} is outside the atlas ({_range(low, high)}): "
            "extrapolated, and the interval is wider"
        )
    return notes


def _range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}" if low < high else f"{low:g}"


def _accepted(axis: str, least: float, most: float) -> str:
    off = counts_of(axis, 0.0)
    low, high = least / OUTSIDE - off, most * OUTSIDE - off
    if axis.endswith("tilts"):
        low, high = math.ceil(max(low, 0.0 if axis == HAADF_TILTS else 1.0)), math.floor(high)
    return f"{low:.4g} to {high:.4g}"


def shift_of(atlas: Atlas, asked: Question) -> Shift:
    """How far an answer moves for what the atlas holds fixed at another value.

    Parameters
    ----------
    atlas : where it was found.
    asked : the question.

    Raises
    ------
    BadInput : a value for which nothing was measured.
    """
    units = str(atlas.setting("solver.units") or "percentile")
    weights, nrmse, deviation, notes = {"haadf": 1.0, "tv": 1.0}, 0.0, 0.0, []
    for axis in (CHEMICAL_SNR, HAADF_SNR, SIZE):
        if axis not in asked or axis in atlas.axes:
            continue
        held = atlas.setting(axis)
        if held is None:
            notes.append(f"{axis_label(axis)} does not vary in this atlas")
            continue
        ratio = counts_of(axis, asked[axis]) / counts_of(axis, mean_of(held))
        if math.isclose(ratio, 1.0, rel_tol=SAME):
            continue
        law = _law(units, axis, asked[axis], held, ratio)
        # Powers multiply: two keys that differ are two factors, as measured each by itself.
        weights = {name: w * ratio ** getattr(law, name) for name, w in weights.items()}
        nrmse += law.nrmse * math.log(ratio)
        deviation = math.hypot(deviation, law.error * math.log(ratio))
        notes.append(_shift_note(axis, asked[axis], held, law, ratio))
    return Shift(weights, math.exp(nrmse), deviation, tuple(notes))


def _law(units: str, axis: str, value: float, held: object, ratio: float) -> Law:
    law = LAWS.get((units, axis))
    if law is not None and 1.0 / law.most <= ratio <= law.most:
        return law
    if law is None:
        accepted = f"{written(held)}, or an atlas that varies it"
    else:
        off = counts_of(axis, 0.0)
        ends = [counts_of(axis, mean_of(held)) * f - off for f in (1.0 / law.most, law.most)]
        accepted = f"{ends[0]:.4g} to {ends[1]:.4g}"
    raise BadInput(
        f"fixed at {written(held)} in this atlas, and nothing measured leads so far",
        key=axis,
        value=value,
        accepted=accepted,
    )


def _shift_note(axis: str, value: float, held: object, law: Law, ratio: float) -> str:
    moved = [
        f"{name} × {ratio**power:.3g}"
        for name, power in (("haadf", law.haadf), ("tv", law.tv), ("NRMSE", law.nrmse))
        if power
    ]
    return (
        f"{axis_label(axis)} is fixed at {written(held)} in this atlas: shifted to {value:g} as "
        f"measured, {', '.join(moved)}"
    )


def mean_of(held: Any) -> float:
    """A number, or the mean of one for each element.

    Parameters
    ----------
    held : value of a key.
    """
    values = list(held.values()) if isinstance(held, Mapping) else [held]
    return float(sum(values) / len(values))


def written(held: object) -> str:
    """A value of a key, or one for each element, as text.

    Parameters
    ----------
    held : value of a key.
    """
    if isinstance(held, Mapping):
        return ", ".join(f"{element} {value:g}" for element, value in held.items())
    return f"{held:g}" if isinstance(held, int | float) else str(held)


def evidence_notes(atlas: Atlas, asked: Question) -> list[str]:
    """Notes on the cells around a question: those without a result, or with a single trial.

    Parameters
    ----------
    atlas : with all its cells.
    asked : the question.
    """
    axes = [axis for axis in asked if axis in atlas.axes]
    around = atlas.table
    for axis in axes:
        around = around[around[axis].isin(_beside(atlas.table[axis], asked[axis]))]
    failed = around[~(around["nrmse"] > 0)]
    notes = []
    if len(failed):
        notes.append(f"no result yet at {_named(failed, atlas.axes)}: interpolated from the others")
    found = around[around["nrmse"] > 0]
    single = found[found["trials"] == 1] if "trials" in found else found[:0]
    if len(single):
        notes.append(f"a single trial each at {_named(single, atlas.axes)}")
    short = _unfinished(atlas, found)
    if len(short):
        notes.append(f"the search is not over at {_named(short, atlas.axes)}")
    return notes


def _beside(values: pd.Series, asked: float) -> list[float]:
    """The levels of an axis on both sides of a value, or its own."""
    levels = sorted(set(values.tolist()))
    below = [level for level in levels if level <= asked][-1:]
    above = [level for level in levels if level >= asked][:1]
    return [*below, *above]


def _unfinished(atlas: Atlas, cells: pd.DataFrame) -> pd.DataFrame:
    """Cells searched alone that have had fewer trials than they may have."""
    budget, strategy = atlas.setting("search.trials"), atlas.setting("search.strategy")
    if (
        not isinstance(budget, int)
        or strategy != "per-cell"
        or not {"trials", "failed"} <= {*cells}
    ):
        return cells[:0]
    short: pd.DataFrame = cells[
        (cells["trials"] > 1) & (cells["trials"] + cells["failed"] < budget)
    ]
    return short


def _named(cells: pd.DataFrame, axes: Sequence[str]) -> str:
    rows = [
        condition_label(dict(zip(axes, values, strict=True)))
        for values in cells[list(axes)].itertuples(index=False)
    ]
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return "; ".join(rows[:NAMED]) + more


def averaged_notes(atlas: Atlas, asked: Iterable[str]) -> list[str]:
    """Notes on axes that were not asked about.

    Parameters
    ----------
    atlas : with its axes.
    asked : paths asked about.
    """
    return [f"averaged over {axis_label(axis)}" for axis in atlas.axes if axis not in asked]


def inside(weight: str, low: float, high: float) -> tuple[float, float]:
    """Where the edges of a search space end; an exponent's at a twentieth of its range.

    Parameters
    ----------
    weight : its name.
    low, high : bounds of the search.
    """
    if weight == GAMMA:
        margin = 0.05 * (high - low)
        return low + margin, high - margin
    return EDGE * low, high / EDGE


def edge_notes(atlas: Atlas, weights: Mapping[str, float]) -> list[str]:
    """Weights at the edge of what was searched, which are bounds and not optima.

    Parameters
    ----------
    atlas : with its search space, if known.
    weights : that it recommends, by name.
    """
    notes = []
    for weight, value in weights.items():
        bounds = atlas.setting(f"search.space.{weight}")
        if bounds is None:
            continue
        least, most = inside(weight, *bounds)
        if not least <= value <= most:
            low, high = bounds
            notes.append(
                f"{weight} is at the edge of what was searched, {low:g} to {high:g}: "
                "weights beyond it may do better"
            )
    return notes


_OF_ADVICE = (
    "use the weights as they are; the NRMSE that you get may differ from the one given by more "
    "than rounding"
)


def revision_notes(cells: pd.DataFrame) -> list[str]:
    """On cells that another revision of the algorithm made: its scores may not be met today.

    Parameters
    ----------
    cells : with results.
    """
    made = cells["revision"] if "revision" in cells else pd.Series(UNRECORDED, cells.index)
    numbers = pd.to_numeric(made, errors="coerce").fillna(UNRECORDED)
    note = revision_note(Counter(numbers.astype(int).tolist()), "best trials", _OF_ADVICE)
    return [] if note is None else [note]


def conditions(atlas: Atlas, trials: int, cells: int) -> dict[str, Any]:
    """What an answer is for, as the study has it; what varies as its range.

    Where conditions are repeated, the relative scatter of the NRMSE over noise and specimens too.

    Parameters
    ----------
    atlas : that was asked.
    trials, cells : that the answer rests on.
    """
    keys = {
        "specimen": "specimen.kind",
        "size": SIZE,
        "tilt_range_deg": "acquisition.tilt_range_deg",
        "haadf_tilts": HAADF_TILTS,
        "chemical_tilts": CHEMICAL_TILTS,
        "chemical_snr": CHEMICAL_SNR,
        "haadf_snr": HAADF_SNR,
    }
    found = {name: _values(atlas, path) for name, path in keys.items()}
    known = {name: value for name, value in found.items() if value is not None}
    for name, column in (("noise_scatter", NOISE), ("specimen_scatter", SPECIMENS)):
        if column in atlas.table:
            share = (atlas.table[column] / atlas.table["nrmse"]).median()
            known |= {name: float(share)} if share >= 0 else {}
    return {**known, "trials": trials, "cells": cells, "version": atlas.version}


def _values(atlas: Atlas, path: str) -> Any:
    if path not in atlas.axes:
        return atlas.setting(path)
    values = atlas.values(path)
    if all(map(is_number, values)):
        return values[0] if len(values) == 1 else [min(values), max(values)]
    return ", ".join(map(value_label, values))
