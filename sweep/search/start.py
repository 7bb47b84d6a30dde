"""Results that a search over many cells begins with: those of an atlas, shipped or one's own.

They must be of the same specimen and of settings under which a weight means the same; what differs
otherwise, such as size, tilts or SNR, becomes context.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...phantoms.acquisition import OF_DOSE
from ...recon_core.errors import BadInput
from ...recon_core.methods import Method, Weights
from ..record import StudyFolder
from ..record.lines import TrialLines, file_lines
from ..study import Study
from ..study.axes import flattened
from ..study.specimens import exposure, outline
from ..study.trial import (
    Cell,
    Scalar,
    TrialStatus,
    is_final,
    is_reduced,
    score_of,
    weights_named,
)
from .context import is_number, uses_haadf

KEY = "search.start"
WITHOUT_MEANING = ("solver.tolerance", "solver.max_iterations", "solver.projector")
"""Settings of the solver that weights do not depend on."""

_OF_COUNTS = tuple(f"acquisition.{key}" for key in ("chemical_snr", *OF_DOSE))
"""Beginnings of the keys that set counts, beside the SNR of HAADF."""

_TABLES = ("specimen", "acquisition", "solver")


@dataclass(frozen=True)
class EarlierResult:
    """A result of another study.

    Parameters
    ----------
    place : of its cell among those of that study.
    values : of that cell, see :func:`everything`.
    weights : of the trial.
    score : what both studies minimise.
    """

    place: int
    values: tuple[tuple[str, Scalar], ...]
    weights: Weights
    score: float


def start_of(at: Study, method: Method) -> list[EarlierResult]:
    """The results that the search of a method begins with, in the order of their journal.

    Parameters
    ----------
    at : the study of one condition of the search.
    method : that is searched.

    Raises
    ------
    BadInput : no such atlas, or one of another specimen, score or meaning of the weights.
    """
    source = at.search.start
    if source is None:
        return []
    folder = _located(source)
    haadf = uses_haadf(method, at.acquisition.haadf_tilts)
    study, trials = _trials(folder, StudyFolder(folder).journal_file.stat().st_mtime_ns)
    cells = dict(study.conditions(dict.fromkeys(cell for cell, *_ in trials)))
    alike = {}
    for cell, there in cells.items():
        if uses_haadf(method, there.acquisition.haadf_tilts) == haadf:
            _check_same(at, there, source)
            alike[cell] = everything(there)
    return [
        EarlierResult(cell.index, alike[cell], weights, score)
        for cell, made_by, weights, score in trials
        if made_by is method and cell in alike
    ]


def everything(at: Study) -> tuple[tuple[str, Scalar], ...]:
    """Every number that trials of a condition depend on, by dotted path.

    Parameters
    ----------
    at : the study of one condition.
    """
    return tuple((path, value) for path, value in _settings(at).items() if is_number(value))


def _settings(at: Study) -> dict[str, Any]:
    """Everything that trials of a condition depend on; an SNR for each element."""
    found = flattened({name: getattr(at, name).model_dump(mode="json") for name in _TABLES})
    elements = outline(at.specimen).elements
    # by SNR or by dose, what counts is the SNR
    shown = exposure(at.specimen, at.acquisition)
    snr = zip(elements, shown.snr_of(elements), strict=True)
    kept = {p: v for p, v in found.items() if not p.startswith(_OF_COUNTS)}
    by_element = {f"acquisition.chemical_snr.{element}": value for element, value in snr}
    return {**kept, "acquisition.haadf_snr": shown.haadf_snr, **by_element}


def _searched(study: Study) -> str:
    """Names of what is searched beside the weights that every study has."""
    return ", ".join(study.search.space.of(Method.FUSED))


def _check_same(at: Study, there: Study, source: str) -> None:
    """Refuse results of another specimen or score, or whose weights mean something else."""
    mine, other = (
        {**_settings(s), "search.score": str(s.search.score), "search.space": _searched(s)}
        for s in (at, there)
    )
    for path, value in mine.items():
        # A number that leaves the meaning of weights alone, such as tilts, is context; text has no
        # place on a scale, so that no surrogate can bridge a difference in it.
        meant = path.startswith("specimen.") and path != "specimen.size"
        meant |= path.startswith("solver.") and path not in WITHOUT_MEANING
        if value != other.get(path) and (meant or not is_number(value)):
            raise BadInput(
                f"an atlas of another {path}, {other.get(path)}",
                key=KEY,
                value=source,
                accepted=f"an atlas with {path} = {value}",
            )


def _located(source: str) -> Path:
    """The folder of a study, or of the shipped atlas of that name."""
    shipped = Path(str(files("tomoatlas"))) / "analysis" / "atlases" / source
    for folder in (Path(source), shipped):
        if StudyFolder(folder).study_file.is_file() and StudyFolder(folder).journal_file.is_file():
            return folder
    accepted = "the folder of a study that was run, or the name of a shipped atlas"
    raise BadInput("no such atlas", key=KEY, value=source, accepted=accepted)


_Row = tuple[Cell, Method, Weights, float]


# Every method asks for the same atlas; one that has grown meanwhile has another ``changed``.
@lru_cache(maxsize=2)
def _trials(folder: Path, changed: int) -> tuple[Study, list[_Row]]:  # noqa: ARG001
    """The study of a folder and its full trials that have a score."""
    study = StudyFolder(folder).study()
    return study, list(_rows(study, StudyFolder(folder).journal_file))


def _rows(study: Study, journal: Path) -> Iterator[_Row]:
    cells = {cell.values: cell for cell in study.cells()}
    for record in filter(None, map(TrialLines(study).take, file_lines(journal))):
        if not is_final(record) or is_reduced(record):
            continue
        score = score_of(study.search.score, record)
        if record["status"] == TrialStatus.OK and not math.isnan(score):
            cell = cells[tuple(record["cell"].items())]
            yield cell, Method(record["method"]), weights_named(record["weights"]), score
