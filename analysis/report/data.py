"""The numbers behind a report: map columns, and the interactive part as plain values for JSON."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...recon_core.methods import Method
from ...sweep.study import Study
from ...sweep.study.trial import SCORES
from ..atlas import Atlas
from ..cells import cell_text
from ..figures.maps import ACCURACY
from ..maps import shown_axes
from ..posterior import NEAR_BEST, Floats, least, posterior
from ..progress import failure_classes, planned_trials
from ..scatter import NOISE, SPECIMENS
from ..style import (
    CHEMICAL_SNR,
    CHEMICAL_TILTS,
    DOSE,
    HAADF_SNR,
    HAADF_TILTS,
    METHOD_LABELS,
    METHOD_STYLE,
    SCORE_COLUMNS,
    WEIGHT_LABELS,
    axis_label,
    value_label,
)
from ..table import are_good, cell_places


@dataclass(frozen=True)
class MapColumn:
    """A number per cell that a map can show.

    Parameters
    ----------
    key : name of the column, unique.
    label : name in words.
    group : heading under which it is offered.
    kind : score (lower is better), gain (percent, higher is better), weight (on a log scale) or
        count.
    values : one per cell, NaN for an empty cell.
    bounds : ends of the scale of colours; None to take them from the values.
    """

    key: str
    label: str
    group: str
    kind: str
    values: NDArray[np.float64]
    bounds: tuple[float, float] | None = None


def map_columns(atlas: Atlas) -> list[MapColumn]:
    """Everything the maps of an atlas can show, in the order of display.

    Parameters
    ----------
    atlas : one row per cell.
    """
    scores = {m: atlas.table[c].to_numpy(dtype=float) for m, c in SCORE_COLUMNS.items()}
    fused = scores[Method.FUSED]
    planned = (Method.FUSED, *(atlas.setting("search.methods") or scores))
    # Fused, the subject of the map, comes first; gains are over the others that were run.
    order = [m for m in reversed(scores) if m in planned or np.isfinite(scores[m]).any()]
    found = [
        MapColumn(SCORE_COLUMNS[m], f"NRMSE, {_name(m)}", "NRMSE", "score", scores[m])
        for m in order
    ]
    for method in order[1:]:
        # NaN if either is missing: a gain over nothing is none.
        gain = 100.0 * (1.0 - fused / scores[method])
        key, label = f"gain_{SCORE_COLUMNS[method]}", f"Gain over {_name(method)}"
        found.append(MapColumn(key, label, "Gain of fusion", "gain", gain))
    found += [*_score(atlas), *_elements(atlas), *_scatter(atlas.table), *_weights(atlas)]
    return [*found, *_counts(atlas.table)]


def _score(atlas: Atlas) -> list[MapColumn]:
    """The score of the best fused trials, where the study minimises another than the NRMSE."""
    if "score" not in atlas.table:
        return []
    label = SCORES[atlas.score].label
    values = atlas.table["score"].to_numpy(dtype=float)
    return [MapColumn("score", f"{label[0].upper()}{label[1:]}, fused", "Score", "score", values)]


def _name(method: Method) -> str:
    """The method's label inside a sentence."""
    label = METHOD_LABELS[method]
    return label if label.startswith("ML") else label[0].lower() + label[1:]


def _elements(atlas: Atlas) -> list[MapColumn]:
    names = [element for element in atlas.elements if f"nrmse_{element}" in atlas.table]
    return [
        MapColumn(
            f"nrmse_{name}",
            f"NRMSE, fused, {name} alone",
            "NRMSE of an element",
            "score",
            atlas.table[f"nrmse_{name}"].to_numpy(dtype=float),
        )
        for name in names
    ]


def _scatter(table: pd.DataFrame) -> list[MapColumn]:
    """Standard deviations over noise and specimens, where the study repeats its conditions."""
    labels = {NOISE: "Deviation over noise", SPECIMENS: "Deviation over specimens"}
    return [
        MapColumn(name, label, "Scatter of the NRMSE, fused", "score", table[name].to_numpy(float))
        for name, label in labels.items()
        if name in table
    ]


def _weights(atlas: Atlas) -> list[MapColumn]:
    found = []
    for name in atlas.weight_names:
        bounds = atlas.setting(f"search.space.{name}")
        values = atlas.weights(name).to_numpy(dtype=float)
        # The range searched, so that weights of different studies share a scale of colours.
        limits = (float(bounds[0]), float(bounds[1])) if bounds else None
        label = WEIGHT_LABELS[name]
        found.append(MapColumn(name, label, "Best weights, fused", "weight", values, limits))
    return found


def _counts(table: pd.DataFrame) -> list[MapColumn]:
    return [
        MapColumn(name, label, "Trials", "count", table[name].to_numpy(dtype=float))
        for name, label in (("trials", "Good fused trials"), ("failed", "Failed, all methods"))
    ]


def cost_columns(atlas: Atlas) -> list[dict[str, Any]]:
    """What every cell costs the specimen and the microscope, for lines of equal cost on a map.

    Parameters
    ----------
    atlas : one row per cell.

    Returns
    -------
    Key, name, unit and values of the dose where the study has one, or else of the counts that stand
    for it, and of the number of tilts. Those that the study does not give are left out.
    """

    def of(path: str) -> Floats:
        found = atlas.table[path] if path in atlas.axes else atlas.setting(path)
        if isinstance(found, Mapping):
            found = float(np.mean(list(found.values())))  # of the elements
        found = math.nan if found is None else found
        return np.zeros(len(atlas.table)) + pd.to_numeric(found, errors="coerce")

    maps, images, dose = of(CHEMICAL_TILTS), of(HAADF_TILTS), of(DOSE)
    # An SNR is one more than the mean counts of a pixel.
    counts = {
        "chemical": (maps * (of(CHEMICAL_SNR) - 1.0), "counts of all maps"),
        "haadf": (images * (of(HAADF_SNR) - 1.0), "counts of all HAADF images"),
    }
    found = [("dose", "dose", "e/Å²", dose)]
    if not np.isfinite(dose).any():
        found = [(key, name, "per pixel", each) for key, (each, name) in counts.items()]
    found.append(("tilts", "number of tilts", "tilts", maps + images))
    return [
        {"key": key, "label": label, "unit": unit, "values": rounded(values)}
        for key, label, unit, values in found
        if np.isfinite(values).any()
    ]


_DIGITS = 5
_LONGEST = 300

LANDSCAPES = 128
"""Most cells with a landscape of their weights, the most accurate ones: each takes time and
10 kB.
"""
# Values of each weight in a landscape, by the number of weights; the page interpolates.
_POINTS = {1: 61, 2: 23}


def page_data(
    atlas: Atlas, trials: pd.DataFrame, study: Study, slices: Mapping[int, Any]
) -> dict[str, Any]:
    """Axes, cells, map columns, trials and slices of a study; read by
    ``analysis/report/page/*.js``.

    Parameters
    ----------
    atlas : one row per cell.
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    study : the study they belong to.
    slices : cell index → images and convergence, as ``kept_slices`` returns them.

    Returns
    -------
    Values that JSON can hold; unknown numbers are None.
    """
    across, upwards = shown_axes(tuple(study.axes))
    names, places = list(study.axes), cell_places(trials, study)
    return {
        "axes": [
            {"path": path, "label": axis_label(path), "values": [value_label(v) for v in values]}
            for path, values in study.axes.items()
        ],
        "across": names.index(across) if across else None,
        "upwards": names.index(upwards) if upwards else None,
        "cells": [cell_text(cell) for cell in study.cells()],
        "accuracy": ACCURACY,
        "quantities": [
            {
                "key": q.key,
                "label": q.label,
                "group": q.group,
                "kind": q.kind,
                "bounds": q.bounds,
                # Five digits suffice for a page and halve its size.
                "values": rounded(q.values),
            }
            for q in map_columns(atlas)
        ],
        "methods": _methods(trials, study, places),
        "alone": study.search.strategy.alone,
        "elements": list(atlas.elements),
        "costs": cost_columns(atlas),
        "solver": _solver_options(study),
        "space": {name: list(ends) for name, ends in study.search.space.of(Method.FUSED).items()},
        "score": SCORES[study.search.score].label.strip("⟨⟩"),
        "near": NEAR_BEST,
        "least": {str(m): least(m, study.search.space.of(m)) for m in Method},
        "landscapes": _landscapes(atlas, trials, study, places),
        "trials": _trials(atlas, trials, places),
        "slices": {str(index): found for index, found in slices.items()},
    }


def _solver_options(study: Study) -> dict[str, Any]:
    """Settings of the study's solver, by the names of the options of ``reconstruct``."""
    # Which projector does not change what a weight means; film is a flag that can only be given.
    left_out = {"projector"} if study.solver.film else {"projector", "film"}
    return study.solver.model_dump(exclude=left_out)


def _methods(trials: pd.DataFrame, study: Study, places: NDArray[np.int64]) -> list[dict[str, Any]]:
    planned, good = planned_trials(trials, study), are_good(trials, reduced=True)
    return [
        {
            "key": str(method),
            "label": METHOD_LABELS[method],
            "colour": METHOD_STYLE[method][0],
            "column": SCORE_COLUMNS[method],
            "weights": list(method.weight_names),
            "lenders": study.lenders(method).tolist(),
            "planned": planned[method].tolist(),
            # Counted here: the page may not hold all trials.
            "ended": _counted(places[of], study),
            "failed": _counted(places[of & ~good], study),
        }
        for method in reversed(METHOD_LABELS)
        if method in study.search.methods
        for of in [(trials["method"] == method.value).to_numpy(dtype=bool)]
    ]


def _counted(places: NDArray[np.int64], study: Study) -> list[int]:
    """Trials of every cell."""
    counts: list[int] = np.bincount(places[places >= 0], minlength=len(study.cells())).tolist()
    return counts


def _landscapes(
    atlas: Atlas, trials: pd.DataFrame, study: Study, places: NDArray[np.int64]
) -> dict[str, Any]:
    """Mean and uncertainty by cell and method, if enough trials are good; see
    :data:`LANDSCAPES`.
    """
    order = np.argsort(
        atlas.table["score" if "score" in atlas.table else "nrmse"].to_numpy(), kind="stable"
    )  # NaN, an empty cell, sorts last
    selected = order[:LANDSCAPES].tolist()
    space = study.search.space.of(Method.FUSED)
    found: dict[str, Any] = {str(cell): {} for cell in sorted(selected)}
    here = np.isin(places, selected)
    # Each group copies its columns.
    slim = trials.loc[here, ["method", "number", "status", "score", *space]]
    for (cell, name), mine in slim.groupby([places[here], "method"]):
        method = Method(str(name))
        if method.weight_names:
            landscape = posterior(mine, space, method, _POINTS[len(method.weight_names)])
            if landscape is not None:
                surfaces = {"mean": _compact(landscape.mean), "sigma": _compact(landscape.sigma)}
                found[str(cell)][str(method)] = {**surfaces, "gamma": landscape.gamma}
    return found


def _compact(values: Floats) -> Any:
    """Nested lists of numbers, rounded to four digits of the largest."""
    # The page draws colours; four digits of the largest value are beyond their resolution.
    digits = 3 - math.floor(math.log10(values.max()))
    return np.round(values, digits).tolist()


DRAWN = 50_000
"""Trials of a page that draws them all; of more it draws a part, see :func:`drawn`."""


def drawn(trials: pd.DataFrame, places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The trials that a page draws: all, or of each cell and method the best and others between.

    Parameters
    ----------
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    places : the cell of each, as :func:`~tomoatlas.analysis.table.cell_places` returns it.
    most : how many, if that leaves one for each cell and method.

    Returns
    -------
    Rows in ascending order. Cells and methods of few trials keep them all; of the others each has
    the same number: its best trial, and the others at even steps along the search.
    """
    methods = pd.factorize(trials["method"])[0]
    score = trials["score"].where(are_good(trials, reduced=True), np.inf).to_numpy()
    number = trials["number"].to_numpy()
    # By cell and method, then along the search.
    order = np.lexsort((number, methods, places))
    new = np.diff(places[order], prepend=-2) != 0
    new |= np.diff(methods[order], prepend=-2) != 0
    begin = np.flatnonzero(new)
    sizes = np.diff([*begin, len(order)])
    each = _share(sizes, most)
    size, step = np.repeat(sizes, sizes), np.arange(len(order)) - np.repeat(begin, sizes)
    # Where the number of steps so far, rounded down, is one more than before.
    kept = (size <= each) | ((step * (each - 1)) // size > ((step - 1) * (each - 1)) // size)
    best = np.lexsort((number, score, methods, places))
    found: NDArray[np.int64] = np.union1d(order[kept], best[begin])
    return found


def _share(sizes: NDArray[np.int64], most: int) -> int:
    """The largest number that each of these groups can have, up to its size, of so many in all."""
    numbers = range(1, int(sizes.max(initial=1)) + 1)
    return max(1, bisect.bisect(numbers, most, key=lambda n: int(np.minimum(sizes, n).sum())))


def _trials(atlas: Atlas, trials: pd.DataFrame, places: NDArray[np.int64]) -> dict[str, Any]:
    """The trials as columns: JSON repeats no name per trial."""
    rows = drawn(trials, places, DRAWN)
    trials, scores = trials.iloc[rows], [f"nrmse_{element}" for element in atlas.elements]
    columns: dict[str, Any] = {"cell": places[rows].tolist()}
    for name in ("number", *atlas.weight_names, "score", "nrmse", "seconds", *scores):
        columns[name] = rounded(trials[name])
    columns["method"] = trials["method"].tolist()
    columns["failure"] = failure_classes(trials).tolist()
    # Cut: a traceback of every failed trial would make the page megabytes.
    columns["error"] = _texts(trials["error"])
    columns["ended"] = _texts(trials["solver_status"])
    return columns


def _texts(values: pd.Series) -> list[str | None]:
    return [value[:_LONGEST] if isinstance(value, str) else None for value in values]


def rounded(values: Iterable[float]) -> list[float | int | None]:
    """Numbers for JSON: five significant digits, whole numbers as integers.

    Parameters
    ----------
    values : any numbers.

    Returns
    -------
    None for a value that is not finite.

    Examples
    --------
    >>> rounded([0.123456789, 3.0, float("nan")])
    [0.12346, 3, None]
    """
    numbers = np.asarray(values, dtype=float)
    return [_short(value) if math.isfinite(value) else None for value in numbers.tolist()]


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() else float(f"{value:.{_DIGITS}g}")
