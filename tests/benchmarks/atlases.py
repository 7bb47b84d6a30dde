"""What the README of a shipped atlas says of it, from its journal and its table. Solves nothing.

Trials and core-hours by method; the range of the fused NRMSE in cells with HAADF, and how it
stands to the methods beside it; with OTHER, to the cells that another atlas has too. Where
specimens are an axis, the scatter of the cells; with an axis and a value of it, what each other
value costs on the same specimens: percent, mean and standard error over them, in every slice of the
first axis. Run:

    python tests/benchmarks/atlases.py ATLAS [OTHER]
    python tests/benchmarks/atlases.py ATLAS AXIS=VALUE [AXIS=VALUE ...]

Later pairs hold their axis at a value, as in

    python tests/benchmarks/atlases.py fixed_dose chemical_tilts=7 haadf_tilts=40
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
from common import table

from tomoatlas.analysis import located
from tomoatlas.analysis.atlas import load_atlas
from tomoatlas.analysis.journal import load_trials
from tomoatlas.analysis.style import HAADF_TILTS
from tomoatlas.sweep.search.context import SPECIMEN_SEED

METHODS = {
    "chemistry + TV": "nrmse_chemistry_tv",
    "ML, best-stopped": "nrmse_ml_stopped",
    "ML": "nrmse_ml",
}


def main(name: str, *given: str) -> None:
    """Print the tables of one atlas."""
    atlas, trials = load_atlas(name), load_trials(located(name))
    fused = atlas.table
    if HAADF_TILTS in fused:
        fused = fused[fused[HAADF_TILTS] > 0]
    if pairs := [text.split("=") for text in given if "=" in text]:
        axis, value = _axis(atlas.axes, pairs[0][0]), float(pairs[0][1])
        held = {_axis(atlas.axes, path): float(at) for path, at in pairs[1:]}
        table((atlas.axes[0], axis, "cost"), costs(fused, atlas.axes[0], axis, value, held))
        return
    header = ("method", "trials", "core-hours", "seconds of one, mean", "iterations, median")
    table(header, spent(trials))
    table(("cells with HAADF", "least", "mean", "most"), beside(fused))
    for other in given:
        table((f"over {other}", "least", "mean", "most"), against(fused, load_atlas(other).table))
    if SPECIMEN_SEED in atlas.axes:
        table(("scatter of a cell", "least", "mean", "most"), scatter(fused, atlas.axes))


def _axis(axes: tuple[str, ...], name: str) -> str:
    return next(axis for axis in axes if axis == name or axis.endswith(f".{name}"))


def spent(trials: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    """Trials of each method and of all, and what they took."""
    for method, of in [*trials.groupby("method"), ("all", trials)]:
        seconds, iterations = of["seconds"], of["iterations"].median()
        yield (
            method, len(of), f"{seconds.sum() / 3600:.2f}", f"{seconds.mean():.1f}",
            f"{iterations:.0f}",
        )  # fmt: skip


def _span(values: pd.Series, form: str) -> tuple[str, ...]:
    return tuple(form.format(v) for v in (values.min(), values.mean(), values.max()))


def beside(fused: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """The fused NRMSE, alone and beside that of each other method that was run."""
    yield "fused NRMSE", *_span(fused["nrmse"], "{:.3f}")
    for method, column in METHODS.items():
        if fused[column].notna().any():
            yield f"{method}, over fused", *_span(fused[column] / fused["nrmse"], "{:.2f}")
            yield f"fused below {method}", *_span(1 - fused["nrmse"] / fused[column], "{:.0%}")
    for column in ("haadf", "tv", "trials"):
        yield column, *_span(fused[column], "{:.3g}")


def against(fused: pd.DataFrame, other: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Ratios to the same cells of another atlas, and how their logarithms correlate."""
    axes = [c for c in fused if c in other and str(c).partition(".")[2] and c != SPECIMEN_SEED]
    both = fused.merge(other, on=axes, suffixes=("", " there"))
    for column in ("nrmse", "haadf", "tv"):
        yield column, *_span(both[column] / both[f"{column} there"], "{:.2f}")
    logs = np.log(both[["nrmse", "nrmse there"]].to_numpy())
    yield f"correlation of log NRMSE, {len(both)} cells", "", f"{np.corrcoef(logs.T)[0, 1]:.2f}", ""


def scatter(fused: pd.DataFrame, axes: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Standard deviation over specimens and their noise together, over the mean."""
    cells = fused.groupby([axis for axis in axes if axis != SPECIMEN_SEED])["nrmse"]
    yield "standard deviation over mean", *_span(cells.std() / cells.mean(), "{:.1%}")


def costs(
    fused: pd.DataFrame, first: str, axis: str, value: float, held: dict[str, float]
) -> Iterator[tuple[str, ...]]:
    """What each value of an axis costs beside ``value``, over all others or those held."""
    for path, at in held.items():
        fused = fused[fused[path] == at]
    for slice_of, part in fused.groupby(first):
        others = [c for c in part if "." in str(c) and c != axis]
        grid = part.pivot(index=others, columns=axis, values="nrmse")
        more = grid.div(grid[value], axis=0).sub(1).groupby(SPECIMEN_SEED).mean()
        for at in more:
            error = more[at].std() / np.sqrt(len(more))
            yield f"{slice_of:g}", f"{at:g}", f"{more[at].mean():+.1%} ± {error:.1%}"


if __name__ == "__main__":
    main(*sys.argv[1:])
