"""The best trials of one cell, reconstructed again: trials are reproducible, volumes are not
kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ..recon_core.errors import BadInput
from ..recon_core.methods import Method, Weights
from ..recon_core.result import History
from ..recon_core.tiltseries import TiltSeries
from ..sweep.evaluate import reconstruct_trial
from ..sweep.study import Study
from ..sweep.study.trial import Cell, Trial
from .style import METHOD_LABELS, condition_label
from .table import best_trial, trials_of_cell
from .volumes import Array, SliceSet


@dataclass(frozen=True)
class Rerun:
    """The best trials of one cell: volumes of every method, and more of the fused one.

    ``history``: how the fused trial converged; ``weights``: its weights, None without one.
    ``series``: the data of the cell.
    """

    slices: SliceSet
    history: History
    series: TiltSeries
    weights: Weights | None = None


def cells_from_middle(study: Study, wanted: Mapping[str, object] | None = None) -> list[Cell]:
    """Cells by their distance from the middle of the map, counted in steps along its axes.

    Parameters
    ----------
    study : the study.
    wanted : axis path → value that the cells must have; None for any.
    """
    places = {axis: {v: i for i, v in enumerate(vs)} for axis, vs in study.axes.items()}

    def from_middle(cell: Cell) -> int:
        return sum(abs(2 * places[a][v] - len(places[a]) + 1) for a, v in cell.values)

    asked = dict(wanted or {})
    inside = [cell for cell in study.cells() if asked.items() <= dict(cell.values).items()]
    return sorted(inside, key=from_middle)


def telling_cell(
    study: Study, trials: pd.DataFrame, wanted: Mapping[str, object] | None = None
) -> Cell:
    """The first of :func:`cells_from_middle` that has a good fused trial.

    Raises
    ------
    BadInput : no cell has one.

    """
    for cell in cells_from_middle(study, wanted):
        if best_trial(trials_of_cell(trials, dict(cell.values)), Method.FUSED) is not None:
            return cell
    if wanted:
        raise BadInput(
            "no good fused trial yet", key="cell", value=dict(wanted), accepted="another cell"
        )
    raise BadInput("no cell has a good fused trial yet", accepted="a study with results")


def rerun_best(
    study: Study,
    cell: Cell,
    trials: pd.DataFrame,
    methods: Sequence[Method] = tuple(METHOD_LABELS),
    device: str = "cpu",
) -> Rerun:
    """Run the best trial of each method in ``cell`` again; methods without one are left out.

    Parameters
    ----------
    study : of the trials.
    cell : whose trials to run.
    trials : the table of all trials, see :func:`tomoatlas.analysis.table.trials_table`.
    methods : to run, in this order.
    device : name of what to compute on.

    Raises
    ------
    BadInput : no method has a good trial in this cell.

    """
    chosen = _best_trials(study, cell, trials, methods)
    if not chosen:
        raise BadInput("no good trial", key="cell", value=dict(cell.values), accepted="another")
    volumes: dict[str, Array] = {}
    history, weights = History(), None
    for trial in chosen:
        solved, truth, series = reconstruct_trial(study, trial, device)
        volumes[trial.method] = solved.volumes
        if trial.method is Method.FUSED:
            history, weights = solved.history, trial.weights
    title = condition_label(dict(cell.values))
    shown = SliceSet(truth.volumes, volumes, truth.elements, series.voxel_size_nm, title)
    return Rerun(shown, history, series, weights)


def best_rows(
    cell: Cell, trials: pd.DataFrame, methods: Sequence[Method] = tuple(METHOD_LABELS)
) -> dict[Method, pd.Series]:
    """The best good trial of each method in a cell; methods without one are left out.

    Parameters
    ----------
    cell : the cell.
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    methods : the methods to look up.

    Returns
    -------
    Method → row of the table.
    """
    inside = trials_of_cell(trials, dict(cell.values))
    rows = {method: best_trial(inside, method) for method in methods}
    return {method: row for method, row in rows.items() if row is not None}


def _best_trials(
    study: Study, cell: Cell, trials: pd.DataFrame, methods: Sequence[Method]
) -> list[Trial]:
    return [
        study.trial(cell, method, int(row["number"]), _weights(row))
        for method, row in best_rows(cell, trials, methods).items()
    ]


def _weights(row: pd.Series) -> Weights:
    given = {name: float(row[name]) for name in ("haadf", "tv") if pd.notna(row[name])}
    return Weights(**given)
