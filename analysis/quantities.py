"""What a map can show of a cell: scores, gains, weights; one column of numbers each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.atlas import Atlas
from analysis.labels import METHOD_LABELS, SCORE_COLUMNS
from recon_core.settings import Method


@dataclass(frozen=True)
class Quantity:
    """A number per cell, NaN where there is none.

    ``kind``: score (lower is better), gain (percent, higher is better), weight (drawn on a log
    scale) or count. ``bounds``: the range of colours, where it does not follow from the values.
    """

    key: str
    label: str
    group: str
    kind: str
    values: NDArray[np.float64]
    bounds: tuple[float, float] | None = None


def quantities(atlas: Atlas) -> list[Quantity]:
    """All that the maps of an atlas can show, in the order of display."""
    scores = {m: atlas.table[c].to_numpy(dtype=float) for m, c in SCORE_COLUMNS.items()}
    fused = scores[Method.FUSED]
    order = list(reversed(scores))
    found = [
        Quantity(SCORE_COLUMNS[m], f"NRMSE, {_name(m)}", "NRMSE", "score", scores[m]) for m in order
    ]
    for method in order[1:]:
        gain = 100.0 * (1.0 - fused / scores[method])
        key, label = f"gain_{SCORE_COLUMNS[method]}", f"Gain over {_name(method)}"
        found.append(Quantity(key, label, "Gain of fusion", "gain", gain))
    return [*found, *_elements(atlas), *_weights(atlas), *_counts(atlas.table)]


def _name(method: Method) -> str:
    """The method's label inside a sentence."""
    label = METHOD_LABELS[method]
    return label if label.startswith("ML") else label[0].lower() + label[1:]


def _elements(atlas: Atlas) -> list[Quantity]:
    names = [element for element in atlas.elements if f"nrmse_{element}" in atlas.table]
    return [
        Quantity(
            f"nrmse_{name}",
            f"NRMSE, fused, {name} alone",
            "NRMSE of an element",
            "score",
            atlas.table[f"nrmse_{name}"].to_numpy(dtype=float),
        )
        for name in names
    ]


def _weights(atlas: Atlas) -> list[Quantity]:
    found = []
    for name, label in (("haadf", "HAADF weight"), ("tv", "TV weight")):
        bounds = atlas.setting(f"search.space.{name}")
        values = atlas.weights(name).to_numpy(dtype=float)
        limits = (float(bounds[0]), float(bounds[1])) if bounds else None
        found.append(Quantity(name, label, "Best weights, fused", "weight", values, limits))
    return found


def _counts(table: pd.DataFrame) -> list[Quantity]:
    return [
        Quantity(name, label, "Trials", "count", table[name].to_numpy(dtype=float))
        for name, label in (("trials", "Good fused trials"), ("failed", "Failed, all methods"))
    ]
