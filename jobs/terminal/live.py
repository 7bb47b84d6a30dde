"""Following a study until it is complete: a live screen on a terminal, a line a minute in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live

from ...analysis.journal import JournalReader
from ...sweep.launchers import first_rank
from .view import StudyView, plain_line, screen, view_of

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
