"""Checks of every cell of a study, before any of them is run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ...recon_core.errors import BadInput
from ...recon_core.machine import uncollected
from ...recon_core.settings import EXPONENTS
from .identity import canonical
from .specimens import check_bodies, check_specimen, outline, specimen_identity
from .tables import LEAST_REDUCED_SIZE, Baselines, SpecimenTable
from .trial import SCORES, Cell, Score

if TYPE_CHECKING:
    from . import Study

MAX_CELLS = 100_000
MOST_DRAWN = 32
"""Different specimens of a study whose bodies are placed when it is read: seconds each at most."""


def check_kind(study: Study, source: str | Path) -> None:
    """Check that there is such a specimen: of an unknown one, no axis could be known.

    Parameters
    ----------
    study : with its axes.
    source : name of the study in errors.

    Raises
    ------
    BadInput : an unknown name, or a volume that cannot be read.
    """
    if "specimen.kind" in study.axes:
        return
    try:
        outline(study.specimen)
    except BadInput as error:
        raise error.at(source=error.source or source) from error


@uncollected()
def check_cells(study: Study, source: str | Path) -> None:
    """Check every cell, and that no two of them are the same condition.

    Parameters
    ----------
    study : with its axes.
    source : name of the study in errors.

    Raises
    ------
    BadInput : an impossible value in a cell, two cells of one condition, or too many cells.
    """
    count = math.prod(len(values) for values in study.axes.values())
    # Before the product is built, which could fill the memory.
    if count > MAX_CELLS:
        raise BadInput(
            "too many cells", source=source, key="axes", value=count, accepted=f"<= {MAX_CELLS}"
        )
    try:
        _check_each(study)
    except BadInput as error:
        key = f"axes.{error.key}" if error.key in study.axes else error.key
        raise error.at(source=error.source or source, key=key) from error


def _check_each(study: Study) -> None:
    swept = tuple(dict.fromkeys(path.partition(".")[0] for path in study.axes))
    # Identity of every specimen that was met: thousands of cells share one.
    specimens: dict[SpecimenTable, str] = {}
    seen: dict[tuple[str, ...], Cell] = {}
    for cell, at in study.conditions():
        check_specimen(at.specimen, at.acquisition)
        at.disturbances.check(outline(at.specimen).elements)
        if at.specimen not in specimens:
            if len(specimens) < MOST_DRAWN:
                check_bodies(at.specimen)
            specimens[at.specimen] = canonical(specimen_identity(at.specimen))
        _check_gamma(at)
        _check_score(at)
        _check_fidelity(at)
        _check_baselines(at)
        # Two cells with one identity would share trials, and each search would wait for the other.
        other = seen.setdefault(_told_apart(at, swept, specimens[at.specimen]), cell)
        if other is not cell:
            raise BadInput(
                f"the same condition as {dict(other.values)}",
                key="axes",
                value=dict(cell.values),
                accepted="axes that change something",
            )


def _told_apart(at: Study, swept: tuple[str, ...], specimen: str) -> tuple[str, ...]:
    """What tells the conditions of a study apart: equal where their identities are.

    An identity leaves out later keys that are neutral. Where two tables of one kind differ in a
    key, it is neutral in one of them at most: so their full texts do as well, and cost less.
    """
    return tuple(
        [specimen if name == "specimen" else getattr(at, name).model_dump_json() for name in swept]
    )


def _check_gamma(at: Study) -> None:
    """Refuse to search the exponent where the contrast does not allow it."""
    bounds, (low, high) = at.search.space.gamma, EXPONENTS[at.solver.contrast]
    if bounds is not None and not low <= bounds[0] < bounds[1] <= high:
        raise BadInput(
            f"not the bounds of an exponent of the contrast {at.solver.contrast}",
            key="search.space.gamma",
            value=list(bounds),
            accepted=f"[low, high], {low:g} <= low < high <= {high:g}",
        )


def _check_fidelity(at: Study) -> None:
    """Refuse cheaper trials that are too small to say anything, or no cheaper."""
    fidelity, key = at.search.fidelity, "search.fidelity"
    if fidelity is None:
        return
    size = fidelity.size_of(at.specimen.size)
    if fidelity.size is not None and (at.specimen.from_file or size < LEAST_REDUCED_SIZE):
        of_file = "a volume from a file has one size"
        problem = of_file if at.specimen.from_file else f"leaves {size} voxels per edge"
        accepted = f"a fraction that leaves {LEAST_REDUCED_SIZE} of a named specimen"
        raise BadInput(problem, key=f"{key}.size", value=fidelity.size, accepted=accepted)
    if fidelity.iterations is not None and fidelity.iterations >= at.solver.max_iterations:
        accepted = f"< solver.max_iterations, {at.solver.max_iterations}"
        raise BadInput(
            "no fewer", key=f"{key}.iterations", value=fidelity.iterations, accepted=accepted
        )


def _check_baselines(at: Study) -> None:
    """Refuse to share baselines where what they see depends on HAADF."""
    chosen = at.acquisition.chemical_subset
    if at.search.baselines is Baselines.SHARED and (chosen or at.acquisition.by_dose):
        raise BadInput(
            "the tilts of maps are among those of HAADF"
            if chosen
            else "maps and HAADF share a dose",
            key="search.baselines",
            value=str(at.search.baselines),
            accepted=str(Baselines.PER_CELL),
        )


def _check_score(at: Study) -> None:
    """Refuse a score that the specimen cannot have."""
    elements = set(outline(at.specimen).elements)
    if at.search.score is Score.STOICHIOMETRY and not ("O" in elements and len(elements) > 1):
        accepted = ", ".join(score for score in SCORES if score is not Score.STOICHIOMETRY)
        raise BadInput(
            "the specimen has no oxide",
            key="search.score",
            value=str(at.search.score),
            accepted=accepted,
        )
