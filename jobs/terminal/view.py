"""A study on the terminal: progress, time left, failures, the map as far as it is filled.

:func:`view_of` gathers the numbers, :func:`screen` and :func:`plain_line` draw them, and
:func:`follow` does so until the study is complete: a live screen, or in a log a line a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ...analysis.atlas import Atlas
from ...analysis.journal import JournalReader
from ...analysis.maps import Page, pages
from ...analysis.progress import (
    Progress,
    Throughput,
    duration,
    planned_trials,
    progress,
    throughput,
)
from ...analysis.style import axis_label, condition_label, value_label
from ...analysis.table import atlas_table, cell_places
from ...recon_core.methods import Method
from ...sweep.launchers import first_rank
from ...sweep.study import Study
from ...sweep.study.trial import SCORES
from .map import SIGNS, Grid, draw_grid, legend
from .text import SHOWN_CELLS

_FAILURES_SHOWN = 3
_NOTES_SHOWN = 2
_BLUE = "#56B4E9"
_ENDED, _HOPELESS = "trials ended", "fused without result"


@dataclass(frozen=True)
class StudyView:
    """The state of a study at one moment, ready to be shown.

    Parameters
    ----------
    study : the study.
    trials : its finished trials.
    state : counts and costs.
    throughput : how fast the recent trials went; None before the first one.
    atlas : one row per cell, with two more columns: trials ended, and whether no fused result can
        come.
    notes : lines of the journal that are not trials of the study, one sentence per kind.
    """

    study: Study
    trials: pd.DataFrame
    state: Progress
    throughput: Throughput | None
    atlas: Atlas
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> pd.Series | None:
        """The most accurate cell so far; None before the first result."""
        by = "score" if "score" in self.atlas.table else "nrmse"
        ranked = self.atlas.table.dropna(subset=by).sort_values(by, kind="stable")
        return None if ranked.empty else ranked.iloc[0]


def view_of(reader: JournalReader, now: datetime) -> StudyView:
    """The state of a study as far as its journal has been read.

    Parameters
    ----------
    reader : the journal.
    now : present time, timezone-aware.
    """
    study, trials = reader.study, reader.trials
    table = atlas_table(trials, study)
    places = cell_places(trials, study)
    fused = places[(trials["method"] == Method.FUSED.value).to_numpy(dtype=bool)]
    ended, tried = (np.bincount(where, minlength=len(table)) for where in (places, fused))
    # Every fused trial of the cell has ended, and none of them has a score. What a cell is to have
    # a search over many cells decides, often far less than it may have.
    planned = planned_trials(trials, study)
    none = np.zeros(len(table), dtype=np.int64)
    hopeless = (tried >= planned.get(Method.FUSED, none)) & table["nrmse"].isna()
    # As columns of the atlas they are paged together with the scores.
    table = table.assign(**{_ENDED: ended, _HOPELESS: hopeless})
    return StudyView(
        study,
        trials,
        progress(trials, study, planned),
        throughput(trials, now),
        Atlas(table, tuple(study.axes), study.tables()),
        reader.notes,
    )


def plain_line(shown: StudyView) -> str:
    """The state on one line, for a log.

    Parameters
    ----------
    shown : the state.
    """
    state, best = shown.state, shown.best
    parts = [f"{state.counted} trials", *_failed(state.failures)]
    parts += [f"{state.device_hours:.3f} device-hours", _when(shown)]
    if best is not None:
        parts.append(f"best {_scores(shown, best)}")
    return ", ".join(parts)


def _failed(failures: Mapping[str, int]) -> list[str]:
    """The number of failures, if there are any."""
    return [f"{sum(failures.values())} failed"] if failures else []


def _when(shown: StudyView) -> str:
    """When the study will be complete, or why that cannot be estimated."""
    if shown.state.complete:
        return "complete"
    if shown.throughput is None:
        return "no trial has ended yet"
    if shown.throughput.quiet:
        return f"nothing has ended for {duration(shown.throughput.idle_seconds)}: is it running?"
    left = shown.throughput.wall_seconds(shown.state.seconds_left)
    return "time left unknown" if left is None else f"about {duration(left)} left"


def screen(shown: StudyView, width: int, height: int) -> RenderableType:
    """The state for a terminal.

    Parameters
    ----------
    shown : the state.
    width, height : characters available.
    """
    above: list[RenderableType] = [_title(shown), _bar(shown.state), *_facts(shown, width)]
    page, title = _page(shown)
    if page is None:
        return Group(*above)
    # Drawn last, into the lines that the facts above have left.
    grid = _grid(page, shown)
    rows = height - len(above) - 3
    return Group(*above, title, *draw_grid(grid, width, rows), legend(grid.bounds))


def _title(shown: StudyView) -> Text:
    """Name of the study and time left."""
    text = Text(shown.study.study.name, style="bold", no_wrap=True, overflow="ellipsis")
    return text.append(f"   {_when(shown)}", style="not bold")


def _bar(state: Progress) -> Table:
    """A bar with the number of trials ended."""
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    share = 100 * state.done // max(1, state.planned)
    bar = ProgressBar(
        total=max(1, state.planned),
        completed=state.done,
        complete_style=_BLUE,
        finished_style=_BLUE,
    )
    row.add_row(bar, f"{state.counted} trials, {share} %")
    return row


def _facts(shown: StudyView, width: int) -> list[Text]:
    """Lines below the bar: cells, cost, best result, failures, notes."""
    state, best = shown.state, shown.best
    at = f", {shown.throughput.at_a_time:.1f} trials at a time" if shown.throughput else ""
    lines = [
        f"cells {state.cells_done} of {state.cells} complete, "
        f"{state.device_hours:.3f} device-hours{at}" + ("" if state.failures else ", no failures")
    ]
    if best is not None:
        lines.append(f"best {_scores(shown, best)}{_at(shown.atlas, best)}")
    kinds = list(state.failures.items())
    lines += [f"failed: {count} × {kind}" for kind, count in kinds[:_FAILURES_SHOWN]]
    if len(kinds) > _FAILURES_SHOWN:
        lines.append(f"failed: {sum(c for _, c in kinds[_FAILURES_SHOWN:])} × other classes")
    lines += shown.notes[:_NOTES_SHOWN]
    return [_one_line(line, width) for line in lines]


def _scores(shown: StudyView, best: pd.Series) -> str:
    """The NRMSE of the best cell, after the score that makes it the best where that is another."""
    label = SCORES[shown.study.search.score].label
    other = f"{label} {best['score']:.3g}, " if "score" in best else ""
    return f"{other}NRMSE {best['nrmse']:.3f}"


def _at(atlas: Atlas, best: pd.Series) -> str:
    """The condition of the best cell, in words."""
    where = condition_label({axis: best[axis] for axis in atlas.axes})
    return f" at {where}" if where else ""


def _one_line(text: str, width: int) -> Text:
    """A text cut to the width of the screen."""
    line = Text(text, no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def _page(shown: StudyView) -> tuple[Page | None, Text]:
    """The map in which the last trial ended, and its title."""
    several = pages(shown.atlas)
    # Of several maps the one in which something happens.
    page = next((p for p in several if _holds_last(p, shown.trials)), several[0])
    if page.across is None:
        return None, Text()
    axes = f"across: {axis_label(page.across)}"
    axes += f", upwards: {axis_label(page.upwards)}" if page.upwards else ""
    fixed = f"; {condition_label(page.fixed)}" if page.fixed else ""
    count = f" (one of {len(several)} maps)" if len(several) > 1 else ""
    title = Text(f"NRMSE, fused, best so far   {axes}{fixed}{count}", style="bold")
    title.no_wrap, title.overflow = True, "ellipsis"
    return page, title


def _holds_last(page: Page, trials: pd.DataFrame) -> bool:
    """Whether the last trial ended in one of the page's cells."""
    return len(trials) > 0 and all(
        # Compared as labels: the table holds floats where the study has integers.
        value_label(trials.iloc[-1][axis]) == value_label(value)
        for axis, value in page.fixed.items()
    )


def _grid(page: Page, shown: StudyView) -> Grid:
    """The cells of a page as the terminal map draws them."""
    scores, ended, hopeless = (_values(page, name) for name in ("nrmse", _ENDED, _HOPELESS))
    budget = shown.state.planned // max(1, shown.state.cells)
    finite = shown.atlas.table["nrmse"].dropna()
    # Over all pages: one colour means one score while the view goes from page to page.
    bounds = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    columns = page.atlas.values(str(page.across))
    rows = page.atlas.values(page.upwards) if page.upwards else ("",)
    return Grid(scores, ended, budget, hopeless > 0, rows, columns, bounds)


def _values(page: Page, column: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """A column of a page (row, column); one row for a page of one axis."""
    if page.upwards is not None:
        return page.map(column).values
    return page.curve(column)[1][np.newaxis]


MAP_ROWS, MAP_WIDTH = 20, 80
"""Most lines and characters of the map that is printed once."""


def map_lines(reader: JournalReader) -> list[str]:
    """The map of a study of more cells than have a line each, without colours; else nothing.

    Parameters
    ----------
    reader : the journal of the folder.
    """
    if len(reader.study.cells()) <= SHOWN_CELLS:
        return []
    shown = view_of(reader, datetime.now(UTC))
    page, title = _page(shown)
    if page is None:
        return []
    title.truncate(MAP_WIDTH, overflow="ellipsis")
    grid = _grid(page, shown)
    if shown.state.complete:
        # A search over all cells gives some fewer trials than they may have: they are finished too.
        grid = replace(grid, planned=0)
    drawn = draw_grid(grid, MAP_WIDTH, MAP_ROWS)
    lines = [line.plain.rstrip() for line in (title, *drawn)]
    if not shown.state.complete:
        lines.append(SIGNS)
    return [*lines, "every cell: --json, or atlas.csv"]


SCREEN_EVERY_S, LINE_EVERY_S = 2.0, 60.0

Sleep = Callable[[float], None]


def follow(
    folder: Path,
    every: float | None,
    quiet: bool = False,
    console: Console | None = None,
    sleep: Sleep = time.sleep,
) -> None:
    """Show a study again and again until it is complete or Ctrl-C is pressed.

    Only reads the folder. Of several MPI ranks only the first shows anything.

    Parameters
    ----------
    folder : the study folder.
    every : seconds between two looks; None for 2 on a terminal and 60 in a log.
    quiet : whether to wait without printing.
    console : where to print; None for stdout.
    sleep : waits for a number of seconds.

    Raises
    ------
    BadInput : not the folder of a study.
    """
    # Ranks of one job that watch a folder would print the same lines many times over.
    if not first_rank():
        return
    console = console or Console(quiet=quiet)
    reader = JournalReader(folder)
    # A log gets whole lines: escape sequences of a live screen would fill it.
    show = _live if console.is_terminal else _lines
    pause = every or (SCREEN_EVERY_S if console.is_terminal else LINE_EVERY_S)
    try:
        show(reader, console, lambda: sleep(pause))
    except KeyboardInterrupt:
        console.print("stopped watching; the run continues")


def _live(reader: JournalReader, console: Console, pause: Callable[[], None]) -> None:
    """Redraw the screen in place until the study is complete."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            shown = _now(reader)
            width, height = console.size
            # One line is left for the cursor; a full screen would scroll by one line at every look.
            live.update(screen(shown, width, height - 1), refresh=True)
            if shown.state.complete:
                return
            pause()


def _lines(reader: JournalReader, console: Console, pause: Callable[[], None]) -> None:
    """Print a line with the time until the study is complete."""
    while True:
        shown = _now(reader)
        stamp = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        console.print(f"{stamp}  {plain_line(shown)}", soft_wrap=True, highlight=False)
        if shown.state.complete:
            return
        pause()


def _now(reader: JournalReader) -> StudyView:
    """Read what has been added to the journal, and summarise it."""
    reader.read()
    return view_of(reader, datetime.now(UTC))
