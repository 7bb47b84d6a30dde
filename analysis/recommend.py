"""Weights and expected accuracy for an experiment, from an atlas.

The surrogate that a search learns with (:mod:`tomoatlas.analysis.forecast`) is asked for the
weights of the lowest expected score, and for the score with them, in a cell that nobody has tried.
:mod:`tomoatlas.analysis.limits` says how far that carries.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recon_core.errors import BadInput
from .advice import Part, Recommendation, by_meaning
from .atlas import Atlas, load_atlas
from .limits import SIZE, check_question, counts_of
from .style import CHEMICAL_SNR, CHEMICAL_TILTS, HAADF_SNR, HAADF_TILTS

__all__ = ["Adviser", "Reaching", "Recommendation", "recommend"]

MAP_COST = 50.0
"""HAADF images that give the dose of one chemical map: those published have 28 to 125, 24 µs per
pixel beside 0.7 to 3 ms."""


@dataclass(frozen=True)
class Reaching:
    """An acquisition of an atlas, and what to expect of it.

    Parameters
    ----------
    acquisition : path → value of the tilts, and of the SNRs that the atlas varies.
    cost : dose in that of its cheapest chemical map, HAADF images included.
    advice : what is recommended there.
    """

    acquisition: Mapping[str, float]
    cost: float
    advice: Recommendation


def recommend(
    atlas: Atlas | str | Path,
    haadf_tilts: int,
    chemical_tilts: int,
    snr: float | None = None,
    haadf_snr: float | None = None,
    size: int | None = None,
) -> Recommendation:
    """The weights and ⟨NRMSE⟩ to expect at a number of tilts and SNR.

    SNR is that of definition A, 1 + mean counts per pixel. A condition that the atlas holds fixed
    at another value moves the answer by a law that was measured, which a note names, or is refused.

    Parameters
    ----------
    atlas : where to look up, or its study folder, file or shipped name.
    haadf_tilts : number of HAADF tilts, >= 0.
    chemical_tilts : number of chemical tilts, >= 1.
    snr : of the chemical maps, > 1; None for any.
    haadf_snr : of the HAADF images, > 1; None for any.
    size : voxels per edge of the specimen; None for that of the atlas.

    Returns
    -------
    Recommendation : weights, the settings they hold for, and the ⟨NRMSE⟩ to expect with the
        interval that holds nine of ten.

    Raises
    ------
    BadInput : a question out of the physical range or far outside the atlas, or an atlas without
        any good cell.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> advice = ta.recommend("fig4_nanocubes_64", haadf_tilts=41, chemical_tilts=9)
    >>> f"{advice.nrmse:.2f}, 9 of 10 from {advice.nrmse_low:.2f} to {advice.nrmse_high:.2f}"
    '0.32, 9 of 10 from 0.32 to 0.33'
    >>> advice.settings.gamma
    2.0
    """
    return Adviser(atlas).recommend(haadf_tilts, chemical_tilts, snr, haadf_snr, size)


class Adviser:
    """Answers many questions about one atlas, whose surrogates are fitted once.

    Parameters
    ----------
    atlas : where to look up, or its study folder, file or shipped name.

    Raises
    ------
    BadInput : no such atlas, or one without any good cell.
    """

    def __init__(self, atlas: Atlas | str | Path) -> None:
        self.atlas = atlas if isinstance(atlas, Atlas) else load_atlas(atlas)
        found = [part for part in by_meaning(self.atlas) if (part.table["nrmse"] > 0).any()]
        if not found:
            raise BadInput("atlas has no finished cell", accepted="an atlas with results")
        self._parts = [Part(part) for part in found]

    def recommend(
        self,
        haadf_tilts: int,
        chemical_tilts: int,
        snr: float | None = None,
        haadf_snr: float | None = None,
        size: int | None = None,
    ) -> Recommendation:
        """The weights and ⟨NRMSE⟩ to expect; see :func:`recommend`.

        Parameters
        ----------
        haadf_tilts, chemical_tilts : numbers of tilts.
        snr, haadf_snr : of the chemical maps and the HAADF images; None for any.
        size : voxels per edge; None for that of the atlas.

        Raises
        ------
        BadInput : out of the physical range, or far outside the atlas.
        """
        given = {CHEMICAL_SNR: snr, HAADF_SNR: haadf_snr, SIZE: size}
        asked: dict[str, float] = {HAADF_TILTS: haadf_tilts, CHEMICAL_TILTS: chemical_tilts}
        asked |= {path: value for path, value in given.items() if value is not None}
        check_question(asked)
        return min((part.answer(asked) for part in self._parts), key=lambda found: found[0])[1]

    def reaching(
        self, target: float, snr: float | None = None, haadf_snr: float | None = None
    ) -> tuple[Reaching, ...]:
        """The acquisitions of the atlas that are expected to reach an accuracy, cheapest first.

        Parameters
        ----------
        target : the ⟨NRMSE⟩ to reach.
        snr, haadf_snr : of the chemical maps and the HAADF images; None for those of the atlas.

        Raises
        ------
        BadInput : not an accuracy, or none of them reaches it.
        """
        if not 0.0 < target < math.inf:
            raise BadInput("no accuracy", key="target_nrmse", value=target, accepted="> 0")
        found, refused = [], BadInput("atlas varies no tilts and no SNR")
        for acquisition, cost in self._acquisitions(snr, haadf_snr):
            # An unfinished map has levels too far from its results: those are left out.
            try:
                advice = self.recommend(*acquisition.values())
            except BadInput as error:
                refused = error
            else:
                known = {path: value for path, value in acquisition.items() if value is not None}
                found.append(Reaching(known, cost, advice))
        if not found:
            raise refused
        reached = [each for each in found if each.advice.nrmse <= target]
        if not reached:
            best = min(each.advice.nrmse for each in found)
            accepted = f">= {best:.3g}, the lowest that this atlas expects"
            raise BadInput("is not reached", key="target_nrmse", value=target, accepted=accepted)
        return tuple(sorted(reached, key=lambda each: (each.cost, each.advice.nrmse)))

    def _acquisitions(
        self, snr: float | None, haadf_snr: float | None
    ) -> Iterator[tuple[dict[str, Any], float]]:
        """Every combination of the tilts and SNRs of the atlas, and its cost."""
        given = {CHEMICAL_SNR: snr, HAADF_SNR: haadf_snr}
        levels: dict[str, list[float | None]] = {}
        for path in (HAADF_TILTS, CHEMICAL_TILTS, CHEMICAL_SNR, HAADF_SNR):
            own = sorted(self.atlas.values(path)) if path in self.atlas.axes else [None]
            levels[path] = own if given.get(path) is None else [given[path]]
        fixed = {path: self.atlas.setting(path) for path in (HAADF_TILTS, CHEMICAL_TILTS)}
        snrs = {p: own for p, own in levels.items() if p.endswith("snr") and None not in own}
        lowest = {p: min(counts_of(p, v) for v in own if v is not None) for p, own in snrs.items()}
        for values in itertools.product(*levels.values()):
            at = dict(zip(levels, values, strict=True))
            haadf, chemical = (_tilts(at[path], fixed[path], path) for path in fixed)
            dose = {p: counts_of(p, at[p] or 1.0) / lowest[p] for p in lowest}
            cost = chemical * dose.get(CHEMICAL_SNR, 1.0)
            cost += haadf * dose.get(HAADF_SNR, 1.0) / MAP_COST
            yield {**at, HAADF_TILTS: haadf, CHEMICAL_TILTS: chemical}, cost


def _tilts(value: float | None, fixed: Any, path: str) -> int:
    """Number of tilts of a level, or the atlas's own."""
    if value is None and fixed is None:
        raise BadInput("unknown in this atlas", key=path, accepted="an atlas with its study")
    return int(fixed if value is None else value)
