"""What a figure is drawn from: a study folder, an atlas, or files of volumes or tilts.

A figure asks for what it needs; if the given files cannot provide it, the error is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from ...phantoms.formats import load_specimen, load_tilt_series, load_volumes
from ...phantoms.formats.files import reading
from ...recon_core.errors import BadInput
from ...recon_core.methods import Method, Weights
from ...sweep.record import StudyFolder
from ...sweep.search.propose import Space
from ...sweep.study import Study
from ...sweep.study.specimens import voxel_size
from ...sweep.study.trial import Cell
from .. import is_shipped, located, shipped_atlas
from ..atlas import atlas_of, load_atlas
from ..cells import Cells, one_condition, parsed
from ..journal import JournalReader
from ..maps import Page, pages
from ..rerun import (
    OnSolve,
    Rerun,
    SliceSet,
    cells_from_middle,
    representative_cell,
    rerun_best,
    weights_of_row,
)
from ..style import METHOD_LABELS, condition_title, literal
from ..table import best_trial, trials_of_cell
from ..volumes import SolvedVolumes

Asked = TypeVar("Asked")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Source:
    """Files, or one study folder, and the cell that was asked for.

    Properties are computed when first used, so that a figure pays only for what it needs.

    Parameters
    ----------
    paths : one study folder, one atlas, or files of volumes or tilts, the truth first.
    wanted : the condition, in the grammar of :mod:`tomoatlas.analysis.cells`.
    on_solve : called with the number of trials solved again and their total, as they end.

    Raises
    ------
    BadInput : ``wanted`` does not follow the grammar.
    """

    paths: tuple[Path, ...]
    wanted: Cells = ()
    on_solve: OnSolve | None = None

    def __post_init__(self) -> None:
        parsed(self.wanted)
        if len(self.paths) == 1 and (shipped := shipped_atlas(self.paths[0])) is not None:
            # A frozen dataclass: only here, before anyone has seen the name that was given.
            object.__setattr__(self, "paths", (shipped,))

    @property
    def is_folder(self) -> bool:
        """Whether the source is a study folder."""
        return self.paths[0].is_dir()

    @cached_property
    def journal(self) -> JournalReader:
        """The journal of the folder, with its study."""
        self._only_one("the folder of a `run`")
        return JournalReader(self.paths[0])

    @property
    def study(self) -> Study:
        """The study of the folder."""
        return self.journal.study

    @property
    def trials(self) -> pd.DataFrame:
        """The finished trials of the folder."""
        return self.journal.trials

    @property
    def notes(self) -> tuple[str, ...]:
        """What the journal holds besides trials of its study; no figure shows it.

        And scores of the trials solved again so far that are not as recorded, and files of solved
        volumes that could not be used.
        """
        if not self.is_folder:
            return ()
        solved = [vars(self)[name] for name in ("rerun", "fused") if name in vars(self)]
        differences = {str(found) for rerun in solved for found in rerun.differences}
        return (*self.journal.notes, *self.volumes.notes, *sorted(differences))

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of the study that occur in its trials."""
        return tuple(axis for axis in self.study.axes if axis in self.trials)

    @property
    def space(self) -> Space:
        """Bounds of each weight searched for the fused method, linear; of the exponent too."""
        return self.study.search.space.of(Method.FUSED)

    @cached_property
    def page(self) -> Page:
        """The page of the map on which the wanted values are held fixed; of several, the first."""
        self._only_one("a study folder, an atlas.csv or atlas.h5")
        path = self.paths[0]
        atlas = atlas_of(path, self.trials) if self.is_folder else load_atlas(path)
        # The axes of an atlas are among its columns; a study file need not be there.
        asked = self._asked({axis: atlas.values(axis) for axis in atlas.axes})
        return next(page for page in pages(atlas) if _agree(page, asked))

    @cached_property
    def cell(self) -> Cell:
        """The wanted cell; of several, the one nearest to the middle that has a good fused
        trial.
        """
        return representative_cell(self.study, self.trials, self._asked(self.study.axes))

    @property
    def cell_trials(self) -> pd.DataFrame:
        """Trials of :attr:`cell`."""
        return trials_of_cell(self.trials, dict(self.cell.values))

    @property
    def best_fused(self) -> pd.Series:
        """The row of the best fused trial of :attr:`cell`.

        Raises
        ------
        BadInput : it has no good one.
        """
        best = best_trial(self.cell_trials, Method.FUSED)
        if best is None:
            problem = "no good fused trial"
            raise BadInput(problem, source=self.paths[0], accepted="another cell")
        return best

    @property
    def weights(self) -> Weights:
        """The weights of :attr:`best_fused`."""
        return weights_of_row(self.best_fused)

    def each(self, solve: Callable[[Asked], Found], of: Sequence[Asked]) -> list[Found]:
        """What ``solve`` makes of each, telling ``on_solve`` as they end.

        Parameters
        ----------
        solve : a reconstruction, and what is read from it.
        of : what it is called with, one after another.
        """
        found: list[Found] = []
        for asked in of:
            found.append(solve(asked))
            if self.on_solve is not None:
                self.on_solve(len(found), len(of))
        return found

    def cell_with(self, least: int) -> Cell:
        """:attr:`cell`, but with so many good fused trials.

        Parameters
        ----------
        least : their number. A search over all cells leaves many with fewer than a model needs.

        Raises
        ------
        BadInput : no wanted cell has as many.
        """
        return representative_cell(self.study, self.trials, self._asked(self.study.axes), least)

    @cached_property
    def volumes(self) -> SolvedVolumes:
        """Solves trials; a folder of one's own keeps them for the next figure."""
        own = self.is_folder and not is_shipped(self.paths[0])
        return SolvedVolumes(StudyFolder(self.paths[0]).volumes if own else None)

    @cached_property
    def rerun(self) -> Rerun:
        """The best trials of :attr:`cell`, reconstructed again."""
        asked = self.study, self.cell, self.trials, tuple(METHOD_LABELS)
        return rerun_best(*asked, self.volumes, self.on_solve)

    @cached_property
    def fused(self) -> Rerun:
        """The best fused trial of :attr:`cell` alone, reconstructed again."""
        only = (Method.FUSED,)
        return rerun_best(self.study, self.cell, self.trials, only, self.volumes)

    @cached_property
    def comparison(self) -> SliceSet:
        """Truth and reconstructions: of the cell, or of files, the truth first."""
        if self.is_folder:
            return self.rerun.slices
        if self.wanted:
            raise BadInput("files have no cells", key="--cell", accepted="a study folder")
        return _of_files(self.paths)

    @property
    def against_truth(self) -> SliceSet:
        """:attr:`comparison`, with at least one reconstruction."""
        if not self.comparison.volumes:
            raise BadInput(
                "nothing to compare with", source=self.paths[0], accepted="SPECIMEN.h5 RECON.h5 ..."
            )
        return self.comparison

    @property
    def tilts(self) -> tuple[tuple[float, ...], tuple[float, ...], float | None, str]:
        """HAADF and chemical angles in degrees, the voxel size in nm, and a title.

        For a folder they follow from the study alone: the wanted cell, or of several the one
        nearest to the middle, with or without results. The voxel size is None if the specimen's
        file is gone.
        """
        if not self.is_folder:
            series = load_tilt_series(self.paths[0])
            angles = series.haadf_angles_deg, series.chemical_angles_deg
            return *angles, series.voxel_size_nm, literal(self.paths[0].stem)
        cell = cells_from_middle(self.study, self._asked(self.study.axes))[0]
        at = self.study.at(cell)
        haadf, chemical = at.acquisition.angles_deg()
        return haadf, chemical, _voxel_size(at), condition_title(dict(cell.values))

    def _only_one(self, accepted: str) -> None:
        if len(self.paths) > 1:
            raise BadInput("more than one file", source=self.paths[1], accepted=accepted)
        located(self.paths[0])

    def _asked(self, axes: Mapping[str, tuple[Any, ...]]) -> dict[str, object]:
        return one_condition(self.wanted, axes)


def _voxel_size(study: Study) -> float | None:
    """Voxel size of the study's specimen, nm; None if its file cannot be read: angles do not
    need it.
    """
    try:
        return voxel_size(study.specimen)
    except BadInput:
        return None


def _agree(page: Page, asked: Mapping[str, object]) -> bool:
    return all(page.fixed.get(axis, value) == value for axis, value in asked.items())


def _of_files(paths: tuple[Path, ...]) -> SliceSet:
    """Volumes of files: the first is the truth, elements are matched by name."""
    first, *others = paths
    if not others:
        # A single file is looked at, not compared: it need not be a truth.
        volumes, elements, voxel = load_volumes(first)
        return SliceSet(volumes, {}, elements, voxel, reference=literal(first.stem))
    truth = load_specimen(first)
    found = {}
    for path in others:
        volumes, elements, _ = load_volumes(path)
        if set(elements) != set(truth.elements) or volumes.shape != truth.volumes.shape:
            raise BadInput(
                "not the elements and shape of the truth",
                source=path,
                value=(elements, volumes.shape),
                accepted=f"{truth.elements}, {truth.volumes.shape}",
            )
        # Two files of one method would share a label: the second is then called by its file name.
        name = _method_of(path) or literal(path.stem)
        if name in found:
            name = literal(path.stem)
        found[name] = volumes[[elements.index(e) for e in truth.elements]]
    return SliceSet(truth.volumes, found, truth.elements, truth.voxel_size_nm, literal(truth.name))


def _method_of(path: Path) -> str | None:
    """The method recorded in a reconstruction file; None if absent or unknown."""
    with reading(path) as file:
        name = file.attrs.get("method")
    return name if name in list(Method) else None
