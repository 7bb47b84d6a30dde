"""The acquisition to choose of those that an atlas holds, without a trial."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from ..recon_core.errors import BadInput
from ..recon_core.methods import Weights
from .atlas import Atlas, load_atlas
from .plan import NEAR, Limits, check_limits
from .recommend import Adviser
from .style import CHEMICAL_TILTS, DOSE, HAADF_TILTS
from .surface import Expected


@dataclass(frozen=True)
class AtlasPlan:
    """The acquisition to choose of those that an atlas holds.

    Parameters
    ----------
    images, maps : HAADF tilts and chemical tilts.
    weights : to reconstruct with.
    expected : of the mean over the elements.
    dose : of the cells that were looked at, e/Å²; None where the atlas is one of SNRs.
    cheapest_change : in words.
    reached : whether the target is; None without one.
    assumed : limits of the answer, one sentence each.
    """

    images: int
    maps: int
    weights: Weights
    expected: Expected
    dose: float | None
    cheapest_change: str
    reached: bool | None
    assumed: tuple[str, ...]


def from_atlas(atlas: Atlas | str, limits: Limits, dose: float | None = None) -> AtlasPlan:
    """Choose among the acquisitions of an atlas: the fewest tilts that do.

    Parameters
    ----------
    atlas : or its study folder, file or shipped name.
    limits : target and most tilts; beam time and elements are not asked of an atlas.
    dose : e/Å²; the nearest that the atlas has. None for any.

    Raises
    ------
    BadInput : no such atlas, limits that leave nothing of it, or a dose that is none.
    """
    check_limits(limits, dose)
    atlas, at = _at_dose(load_atlas(atlas) if isinstance(atlas, str) else atlas, dose)
    tilts = [
        (int(h), int(m))
        for h in sorted(_levels(atlas, HAADF_TILTS))
        for m in sorted(_levels(atlas, CHEMICAL_TILTS))
        if h + m <= (limits.max_tilts or math.inf)
    ]
    if not tilts:
        raise BadInput("fewer than any in the atlas", key="--max-tilts", value=limits.max_tilts)
    adviser = Adviser(atlas)
    found = {pair: adviser.recommend(*pair) for pair in tilts}
    best = min(each.nrmse for each in found.values())
    enough = best * (1 + NEAR) if limits.target_nrmse is None else limits.target_nrmse
    as_good = [p for p in tilts if found[p].nrmse <= max(best, enough)]
    chosen = min(as_good, key=lambda pair: (sum(pair), found[pair].nrmse))
    advice = found[chosen]
    better = [p for p in tilts if found[p].nrmse < advice.nrmse * (1 - NEAR)]
    change = "none that this atlas holds"
    if better:
        more = min(better, key=lambda pair: (sum(pair), found[pair].nrmse))
        change = f"{more[0]} HAADF images and {more[1]} maps, NRMSE {found[more].nrmse:.3f}"
    return AtlasPlan(
        *chosen,
        advice.weights,
        Expected(advice.nrmse, advice.nrmse_low, advice.nrmse_high),
        at,
        change,
        None if limits.target_nrmse is None else advice.nrmse <= limits.target_nrmse,
        advice.notes,
    )


def _at_dose(atlas: Atlas, dose: float | None) -> tuple[Atlas, float | None]:
    """The cells of one dose, where an atlas has several."""
    held = atlas.setting(DOSE)
    if DOSE not in atlas.axes:
        if dose is not None and held is None:
            accepted = "an atlas of doses, or --specimen"
            raise BadInput(
                "not a quantity of this atlas", key="--dose", value=dose, accepted=accepted
            )
        return atlas, held
    levels = [float(value) for value in atlas.values(DOSE)]
    nearest = max(levels) if dose is None else min(levels, key=lambda d: abs(math.log(d / dose)))
    axes = tuple(axis for axis in atlas.axes if axis != DOSE)
    table, trials = (_rows(rows, nearest) for rows in (atlas.table, atlas.trials))
    assert table is not None
    return replace(atlas, table=table, axes=axes, trials=trials), nearest


def _rows(table: pd.DataFrame | None, dose: float) -> pd.DataFrame | None:
    return None if table is None else table[table[DOSE] == dose].reset_index(drop=True)


def _levels(atlas: Atlas, axis: str) -> list[float]:
    """Values of an axis, or the one that the atlas holds fixed."""
    held = atlas.setting(axis)
    return list(atlas.values(axis)) if axis in atlas.axes else [] if held is None else [held]
