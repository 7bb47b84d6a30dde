"""The best trials of one cell, reconstructed again: a run keeps no volumes.

A :class:`SliceSet` holds truth and reconstructions side by side, as pictures and scores need them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..recon_core.errors import BadInput
from ..recon_core.methods import Method, Weights
from ..recon_core.result import History
from ..sweep.study import Study
from ..sweep.study.trial import GAMMA, Cell, weights_named
from ..sweep.versions import REVISION, ROUNDING, revision_name
from .style import METHOD_LABELS, METHOD_STYLE, condition_label
from .table import best_trial, good_trials, trials_of_cell
from .volumes import NOT_KEPT, SolvedTrial, SolvedVolumes

Array = NDArray[np.float32]
OnSolve = Callable[[int, int], None]

# The colours of Okabe and Ito's set that no method uses.
_MORE_COLOURS = ("#CC79A7", "#009E73", "#D55E00", "#F0E442")


@dataclass(frozen=True)
class Shown:
    """One reconstruction as figures show it.

    Parameters
    ----------
    label : name in titles and legends.
    colour : of its curves.
    volumes : concentrations (element, z, y, x).
    """

    label: str
    colour: str
    volumes: Array


@dataclass(frozen=True)
class SliceSet:
    """Truth and reconstructions of one condition.

    Parameters
    ----------
    truth : concentrations (element, z, y, x).
    volumes : method, or any other name (of a file) → concentrations (element, z, y, x).
    elements : chemical symbols, in the order of the volumes.
    voxel_size_nm : edge of a voxel, nm.
    title : the condition; empty for none.
    reference : what ``truth`` is called in figures.
    """

    truth: Array
    volumes: Mapping[str, Array]
    elements: tuple[str, ...]
    voxel_size_nm: float
    title: str = ""
    reference: str = "Truth"

    def shown(self) -> tuple[Shown, ...]:
        """The reconstructions: methods in their usual order, then others as given."""
        methods = [
            Shown(label, METHOD_STYLE[method][0], self.volumes[method])
            for method, label in METHOD_LABELS.items()
            if method in self.volumes
        ]
        # Names that are no method, as those of files, follow in the order given.
        others = [name for name in self.volumes if name not in list(METHOD_LABELS)]
        return (
            *methods,
            *(
                Shown(n, c, self.volumes[n])
                for n, c in zip(others, cycle(_MORE_COLOURS), strict=False)
            ),
        )


def representative_slice(truth: Array) -> int:
    """The x at which the scarcest element is best represented, so that no row need be empty.

    Parameters
    ----------
    truth : concentrations (element, z, y, x).
    """
    # float64: a sum over a 512 x 512 slice loses digits in float32.
    content = truth.sum(axis=(1, 2), dtype=np.float64)
    share = content / np.maximum(content.max(axis=1, keepdims=True), 1e-30)
    # The mean only breaks ties, as between slices in which an element is absent.
    return int((share.min(axis=0) + 1e-3 * share.mean(axis=0)).argmax())


def round_length(length: float) -> float:
    """A round length for a scale bar: the largest of 1, 2, 5 × 10^n not above ``length``.

    Parameters
    ----------
    length : upper bound, > 0.

    Examples
    --------
    >>> round_length(7.3), round_length(0.24)
    (5.0, 0.2)
    """
    # The tolerance keeps an exact 5 from falling to 2 by rounding.
    decade = 10.0 ** np.floor(np.log10(length))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= length * (1 + 1e-9)))


TITLE_WIDTH = 64
"""Characters of a line of a figure's title."""

_UNBROKEN = "\u00a0"  # a space at which no line ends


@dataclass(frozen=True)
class Difference:
    """A trial that, solved again, has another mean NRMSE than its record.

    Parameters
    ----------
    method : of the trial.
    solved, recorded : mean NRMSE over the elements, now and in the journal.
    revision : of the algorithm that the record is of.
    """

    method: Method
    solved: float
    recorded: float
    revision: int

    def __str__(self) -> str:
        return (
            f"{METHOD_LABELS[self.method]}: NRMSE {self.solved:.4f} solved again by revision "
            f"{REVISION}, recorded {self.recorded:.4f} by {revision_name(self.revision)}"
        )

    @property
    def short(self) -> str:
        """For the title of a figure."""
        label = METHOD_LABELS[self.method]
        return f"{label} {self.solved:.4f} (recorded {self.recorded:.4f})"


def difference(row: pd.Series, solved: float) -> Difference | None:
    """How the record of a trial differs from its score now; None where that is rounding.

    Parameters
    ----------
    row : of the trial, as :func:`~tomoatlas.analysis.journal.load_trials` gives it.
    solved : mean NRMSE over the elements of the trial solved again.
    """
    recorded = float(row["nrmse"])
    if math.isclose(solved, recorded, rel_tol=ROUNDING):
        return None
    return Difference(Method(row["method"]), solved, recorded, int(row["revision"]))


def titled(title: str, differences: Sequence[Difference]) -> str:
    """The title of a figure of trials solved again, with the scores that differ from the recorded
    ones.

    Parameters
    ----------
    title : the first line.
    differences : from the records, on further lines.
    """
    if not differences:
        return title
    scores = ", ".join(found.short.replace(" ", _UNBROKEN) for found in differences)
    lines = textwrap.wrap(f"NRMSE solved again: {scores}", TITLE_WIDTH, break_on_hyphens=False)
    return "\n".join(filter(None, (title, *lines)))


@dataclass(frozen=True)
class Rerun:
    """The best trials of one cell: volumes of every method, and more of the fused one.

    Parameters
    ----------
    slices : truth and reconstructions.
    fused : the fused trial with its reconstruction; None without one.
    differences : scores that differ from the recorded ones.
    """

    slices: SliceSet
    fused: SolvedTrial | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def history(self) -> History:
        """How the fused trial converged; empty without one."""
        return History() if self.fused is None else self.fused.solved.history

    @property
    def weights(self) -> Weights | None:
        """Of the fused trial; None without one."""
        return None if self.fused is None else self.fused.trial.weights


def cells_from_middle(study: Study, wanted: Mapping[str, object] | None = None) -> list[Cell]:
    """Cells by their distance from the middle of the map, counted in steps along its axes.

    Parameters
    ----------
    study : the study.
    wanted : axis path → value that the cells must have; None for any.
    """
    # Positions, not values: an axis may be unevenly spaced or hold names.
    places = {axis: {v: i for i, v in enumerate(vs)} for axis, vs in study.axes.items()}

    def from_middle(cell: Cell) -> int:
        return sum(abs(2 * places[a][v] - len(places[a]) + 1) for a, v in cell.values)

    asked = dict(wanted or {})
    inside = [cell for cell in study.cells() if asked.items() <= dict(cell.values).items()]
    return sorted(inside, key=from_middle)


def representative_cell(
    study: Study, trials: pd.DataFrame, wanted: Mapping[str, object] | None = None, least: int = 1
) -> Cell:
    """The cell nearest to the middle of the map that has so many good fused trials.

    Parameters
    ----------
    study : the study.
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    wanted : axis path → value that the cell must have; None for any.
    least : good fused trials that the cell must have.

    Raises
    ------
    BadInput : no cell has as many.
    """
    for cell in cells_from_middle(study, wanted):
        mine = trials_of_cell(trials, dict(cell.values))
        if len(good_trials(mine, Method.FUSED)) >= least:
            return cell
    few = "no good fused trial yet" if least == 1 else f"fewer than {least} good fused trials"
    if wanted:
        raise BadInput(few, key="cell", value=dict(wanted), accepted="another cell")
    raise BadInput(f"{few} in every cell", accepted="a study with more results")


def rerun_best(
    study: Study,
    cell: Cell,
    trials: pd.DataFrame,
    methods: Sequence[Method] = tuple(METHOD_LABELS),
    volumes: SolvedVolumes = NOT_KEPT,
    on_solve: OnSolve | None = None,
) -> Rerun:
    """Run the best trial of each method in ``cell`` again; methods without one are left out.

    Scores that are not as recorded are named in the title of the slices too.

    Parameters
    ----------
    study : of the trials.
    cell : whose trials to run.
    trials : the table of all trials, see :func:`tomoatlas.analysis.table.trials_table`.
    methods : to run, in this order.
    volumes : solves them, or has them.
    on_solve : called with the number of trials solved and their total, as they end.

    Raises
    ------
    BadInput : no method has a good trial in this cell.
    """
    rows = best_rows(study, cell, trials, methods)
    if not rows:
        raise BadInput("no good trial", key="cell", value=dict(cell.values), accepted="another")
    found: dict[Method, SolvedTrial] = {}
    differences: list[Difference] = []
    places = lenders(study, cell, rows)
    for method, row in rows.items():
        trial = study.trial(places[method], method, int(row["number"]), weights_of_row(row))
        found[method] = volumes.of(study, trial)
        if on_solve is not None:
            on_solve(len(found), len(rows))
        differences += filter(None, [difference(row, found[method].nrmse)])
    truth = found[method].truth
    title = titled(condition_label(dict(cell.values)), differences)
    solved: dict[str, Array] = {name: each.solved.volumes for name, each in found.items()}
    shown = SliceSet(truth.volumes, solved, truth.elements, truth.voxel_size_nm, title)
    return Rerun(shown, found.get(Method.FUSED), tuple(differences))


def lenders(study: Study, cell: Cell, methods: Iterable[Method]) -> dict[Method, Cell]:
    """The cell whose trials of each method count in ``cell``, see ``search.baselines``.

    Parameters
    ----------
    study : the study.
    cell : one of its cells.
    methods : the methods.
    """
    cells = study.cells()
    return {method: cells[int(study.lenders(method)[cell.index])] for method in methods}


def best_rows(
    study: Study,
    cell: Cell,
    trials: pd.DataFrame,
    methods: Sequence[Method] = tuple(METHOD_LABELS),
) -> dict[Method, pd.Series]:
    """The best good trial of each method that counts in a cell; methods without one are left out.

    Parameters
    ----------
    study : the study.
    cell : the cell.
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    methods : the methods to look up.

    Returns
    -------
    Method → row of the table.
    """
    places = lenders(study, cell, methods)
    inside = {at: trials_of_cell(trials, dict(at.values)) for at in dict.fromkeys(places.values())}
    rows = {method: best_trial(inside[at], method) for method, at in places.items()}
    return {method: row for method, row in rows.items() if row is not None}


def weights_of_row(row: pd.Series) -> Weights:
    """The weights of a trial, with the exponent where that was searched.

    Parameters
    ----------
    row : of the table of trials.
    """
    names = [name for name in ("haadf", "tv", GAMMA) if pd.notna(row[name])]
    return weights_named({name: float(row[name]) for name in names})
