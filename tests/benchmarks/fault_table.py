"""Rows of a fault table: what was injected, what came of it, and whether it is what has to hold."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from common import table

HEADER = ("fault", "injected", "found", "held")


@dataclass(frozen=True)
class Row:
    """One row; ``held`` is whether ``found`` is what the project promises."""

    fault: str
    injected: str
    found: str
    held: bool


Rows = Mapping[str, Callable[[Path], Row]]
"""By a short name, a function that injects the fault in an empty folder."""


def came_true(condition: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Whether it did in time; looked at after every pause, in seconds too."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
    return True


def main(rows: Rows) -> int:
    """Run the rows named on the command line, or all, and print their table; 1 if one failed."""
    found = [_row(rows[name]) for name in sys.argv[1:] or rows]
    shown = [(r.fault, r.injected, r.found, "yes" if r.held else "**no**") for r in found]
    table(HEADER, shown)
    return 0 if all(row.held for row in found) else 1


def _row(inject: Callable[[Path], Row]) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        try:
            row = inject(Path(folder))
        except pytest.skip.Exception as reason:
            name = inject.__name__.replace("_", " ")
            row = Row(name, "nothing", f"not run here: {reason}", held=False)
    print(row, file=sys.stderr, flush=True)
    return row
