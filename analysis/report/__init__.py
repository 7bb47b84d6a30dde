"""The report of a study folder: one self-contained interactive page, and figures as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from matplotlib.figure import Figure
from plotly.offline import get_plotlyjs

from ...phantoms.formats.files import write_aside
from ...recon_core.errors import BadInput
from ...recon_core.methods import Method
from ...sweep.record import StudyFolder
from ...sweep.study.trial import Cell
from ..atlas import Atlas, write_atlas
from ..cells import cell_text, chosen_cells
from ..cost import method_costs
from ..figures.draw import own_look, save_figure
from ..figures.maps import baselines_figure, gain_figure, nrmse_figure, weights_figure
from ..journal import JournalReader
from ..maps import Page, pages
from ..progress import duration
from ..rerun import representative_cell
from ..table import cell_places, good_trials
from ..volumes import SolvedVolumes
from .data import page_data
from .slice_images import kept_slices, make_slices
from .text import page_text, shell_name

MIDDLE = "middle"
"""Stands for the cell nearest to the middle of the map, which ``--slices`` alone selects."""

QUICK_S = 60.0
"""Device time in seconds up to which the slices of one cell are made without being asked for."""

_NO_SLICES = "No slices"
_SCRIPTS = (
    "common.js",
    "contours.js",
    "map.js",
    "landscape.js",
    "panel.js",
    "table.js",
    "share.js",
    "trials.js",
    "live.js",
    "start.js",
)

MAPS = 24
"""Most maps of which figures are written with a report; the page shows all."""

OnCell = Callable[[int, int], None]


@dataclass(frozen=True)
class Report:
    """The page written, and remarks on how it was made.

    Parameters
    ----------
    index : path of the page.
    atlas : that it shows.
    notes : one sentence each.
    """

    index: Path
    atlas: Atlas
    notes: tuple[str, ...] = ()


def write_report(
    folder: str | Path, cells: Sequence[str] | None = (), on_cell: OnCell | None = None
) -> Report:
    """Write ``atlas.csv``, ``.h5``, ``.nc`` and ``report/`` of a study folder.

    Works on an unfinished study, and on a journal that contains lines other than its trials; the
    page names what is missing. Slices made by an earlier call are kept as long as no better trial
    is found.

    Parameters
    ----------
    folder : the study folder.
    cells : cells whose best trials to reconstruct again, for slices and convergence: texts that
        :func:`~tomoatlas.analysis.cells.chosen_cells` reads, or :data:`MIDDLE`. None means the
        middle cell, if that takes no more than :data:`QUICK_S`.
    on_cell : called with the number of cells done and the total, as their slices are made.

    Raises
    ------
    BadInput : not a study folder, it cannot be written, or a text that names no cell.
    """
    reader = JournalReader(folder)
    files = StudyFolder(folder)
    place = files.report
    # Slices are decided before the page is written, since its notes explain missing ones.
    wanted, notes = _quick(reader) if cells is None else _wanted(reader, cells)
    atlas = write_atlas(folder, reader.trials)
    _make_folder(place)
    notes += _make_slices(reader, files, wanted, on_cell)
    notes = [f"{reader.revision_note}.", *notes] if reader.revision_note else notes
    write_figures(atlas, place)
    if (maps := len(pages(atlas))) > MAPS:
        notes = [*notes, f"Figures of the first {MAPS} of {maps} maps: the page shows all."]
    return Report(write_page(folder, reader, atlas, notes), atlas, tuple(notes))


def write_page(
    folder: str | Path, reader: JournalReader, atlas: Atlas, notes: Sequence[str] = ()
) -> Path:
    """Write ``report/index.html`` alone, with the slices already made; return its path.

    Parameters
    ----------
    folder : the study folder.
    reader : its journal.
    atlas : its atlas.
    notes : remarks to show on the page.
    """
    place = StudyFolder(folder).report
    _make_folder(place)
    page = page_html(folder, reader, atlas, notes)
    index = place / "index.html"
    write_aside(index, lambda path: path.write_text(page, encoding="utf-8"))
    return index


@dataclass(frozen=True)
class Live:
    """What a page that is served knows beside its study, to take in what a run adds.

    Parameters
    ----------
    version : of what it shows; it asks whether there is another.
    study : that of the study; where this changes the page is loaded anew.
    nonce : by which a policy of the server knows the page's own scripts.
    """

    version: str
    study: int
    nonce: str


def page_html(
    folder: str | Path,
    reader: JournalReader,
    atlas: Atlas,
    notes: Sequence[str] = (),
    live: Live | None = None,
) -> str:
    """The page as text; nothing is written.

    Parameters
    ----------
    folder : the study folder.
    reader : its journal.
    atlas : its atlas.
    notes : remarks to show on the page.
    live : of a page that is served, which loads the plotting library from beside it; None for one
        that holds all it needs.
    """
    # From the cache only: a page is made quickly, whether or not slices are up to date.
    slices = kept_slices(StudyFolder(folder).report / "slices", reader.study, reader.trials)
    data = page_data(atlas, reader.trials, reader.study, slices)
    data["folder"] = shell_name(Path(folder))
    # Text: the time of a file in nanoseconds is beyond the whole numbers of JavaScript.
    data["live"] = {"version": live.version, "study": str(live.study)} if live else None
    return rendered(
        "report.html",
        **page_text(reader, atlas, Path(folder), notes),
        plotly=None if live else get_plotlyjs(),
        nonce=live.nonce if live else "",
        script="\n".join(_part(name) for name in _SCRIPTS),
        # Escaped for a script element: a specimen's name may contain "</script>".
        data=htmlsafe_json_dumps(data, json.dumps, allow_nan=False, separators=(",", ":")),
    )


def rendered(template: str, **values: Any) -> str:
    """A page as text, in the look of all pages.

    Parameters
    ----------
    template : its file, beside the style sheet.
    values : what it shows, by name; escaped.
    """
    environment = Environment(
        loader=PackageLoader("tomoatlas.analysis.report", "page"),
        autoescape=True,
        # A misspelt name in the template is an error, not an empty place on the page.
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(**values, style=_part("report.css"))


def _part(name: str) -> str:
    return (files("tomoatlas.analysis.report") / "page" / name).read_text(encoding="utf-8")


def _make_folder(place: Path) -> None:
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"cannot be written: {error.strerror}", source=place, accepted="a writable folder"
        ) from error


def _quick(reader: JournalReader) -> tuple[list[Cell], list[str]]:
    """The middle cell, or why its slices were left out."""
    if good_trials(reader.trials, Method.FUSED).empty:
        return [], []
    costs = method_costs(reader.trials, reader.study)
    # The medians of the methods add up to one reconstruction each.
    seconds = sum(cost.typical_seconds for cost in costs if cost.done)
    if seconds <= QUICK_S:
        return [representative_cell(reader.study, reader.trials)], []
    note = f"{_NO_SLICES}: those of a cell take about {duration(seconds)}; `--slices` makes them."
    return [], [note]


def _wanted(reader: JournalReader, texts: Sequence[str]) -> tuple[list[Cell], list[str]]:
    """The cells that ``texts`` name and that have a result, and a note on those without."""
    good = good_trials(reader.trials)
    fused = bool((good["method"] == Method.FUSED.value).any())
    named = _named(reader, texts, fused)
    places = set(cell_places(good, reader.study).tolist())
    cells = [cell for cell in named if cell.index in places]
    notes = [] if len(cells) == len(named) else [f"{_NO_SLICES} of cells without a good trial."]
    if texts and not named:
        notes.append(f"{_NO_SLICES}: no cell has a good fused trial yet.")
    return cells, notes


def _named(reader: JournalReader, texts: Sequence[str], fused: bool) -> list[Cell]:
    middle = MIDDLE in texts and fused
    found = [representative_cell(reader.study, reader.trials)] if middle else []
    found += chosen_cells(reader.study, [text for text in texts if text != MIDDLE])
    return list(dict.fromkeys(found))


def _make_slices(
    reader: JournalReader, files: StudyFolder, cells: Sequence[Cell], on_cell: OnCell | None
) -> list[str]:
    """Make the slices of ``cells``; return one sentence per cell whose slices could not be made."""
    notes = []
    place, volumes = files.report / "slices", SolvedVolumes(files.volumes)
    for number, cell in enumerate(cells, start=1):
        try:
            make_slices(place, reader.study, cell, reader.trials, volumes)
        # One cell whose specimen is gone must not cost the report of all others.
        except BadInput as error:
            notes.append(f"{_NO_SLICES} of {cell_text(cell)}: {error}.")
        if on_cell is not None:
            on_cell(number, len(cells))
    return [*notes, *(f"{note}." for note in volumes.notes)]


_FIGURES: dict[str, Callable[[Page], Figure | None]] = {
    "nrmse": nrmse_figure,
    "baselines": baselines_figure,
    "gain": gain_figure,
    "weights": weights_figure,
}


def write_figures(atlas: Atlas, folder: Path) -> list[str]:
    """Write every figure that an atlas allows, of up to :data:`MAPS` maps, as PNG and PDF.

    Parameters
    ----------
    atlas : one row per cell.
    folder : an existing folder.

    Returns
    -------
    Names of the figures, without suffix.
    """
    names = []
    for name, figure in _drawn(atlas):
        for kind in ("png", "pdf"):
            save_figure(figure, folder / f"{name}.{kind}")
        names.append(name)
    return names


def _drawn(atlas: Atlas) -> Iterator[tuple[str, Figure]]:
    several = pages(atlas)
    for number, page in enumerate(several[:MAPS]):
        suffix = f"_{number}" if len(several) > 1 else ""
        for name, draw in _FIGURES.items():
            if page.axes < 2 and name == "baselines":
                continue  # with fewer than two axes the first figure shows all methods
            with own_look():
                figure = draw(page)
            if figure is not None:
                yield name + suffix, figure
