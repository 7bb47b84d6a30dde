"""Time and size of a report of many trials, from a synthetic journal; targets: 5 s, 20 MB.

Besides the figures for print, whose rendering does not depend on the number of trials.

    python tests/benchmarks/report.py [TRIALS [CELLS [COMMAND ...]]]

With commands, ``status`` or ``report``, what each takes on the same folder in a process of its own,
memory too. Without CELLS there is one for every 100 trials.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from common import table

from tomoatlas.analysis.atlas import write_atlas
from tomoatlas.analysis.journal import JournalReader
from tomoatlas.analysis.report import write_figures, write_page
from tomoatlas.sweep.record import StudyFolder
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.identity import digest

PER_CELL = 100
ELEMENTS = ("Co", "Cu", "O", "Au")

STUDY = """
[study]
name = "synthetic"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = {trials}
chemistry_tv_trials = 18
[axes]
"acquisition.haadf_tilts" = {haadf}
"acquisition.chemical_tilts" = {chemical}
"""


def main(trials: int, cells: int, commands: Sequence[str]) -> None:
    """Print the seconds of every stage and the size of the page, or what commands take."""
    edge = max(1, round(math.sqrt(cells)))
    each = trials // cells
    axes = {"haadf": list(range(5, 5 + edge)), "chemical": list(range(3, 3 + edge))}
    study = parse_study(STUDY.format(trials=each - 20, **axes))
    count = f"{edge**2 * each} in {edge**2} cells"
    with tempfile.TemporaryDirectory() as name:
        folder = StudyFolder(name)
        folder.study_file.write_text(study.toml(), encoding="utf-8")
        with folder.journal_file.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in _records(study))
        if commands:
            rows = ((count, name, *_spent(name, folder.path)) for name in commands)
            table(("trials", "command", "s", "CPU s", "GiB at most"), rows)
            return
        seconds, cpu, size = _timed(folder)
    stages = ("journal read", "atlas", "page", "all", "CPU s", "figures besides")
    read, atlas, page, figures = seconds
    row = (count, *(f"{s:.2f} s" for s in (read, atlas, page, read + atlas + page)))
    row = (*row, f"{cpu:.2f}", f"{figures:.2f} s", f"{size / 1e6:.1f}")
    table(("trials", *stages, "page / MB"), [row])


def _spent(name: str, folder: Path) -> tuple[str, str, str]:
    """Seconds, those of the CPU, and the largest memory of a command."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "tomoatlas", name, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(process.pid, 0)
    assert code == 0, f"{name} ended with wait status {code}"
    seconds, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return f"{seconds:.1f}", f"{cpu:.1f}", f"{used.ru_maxrss / 2**20:.2f}"


def _timed(folder: StudyFolder) -> tuple[list[float], float, int]:
    """Seconds of reading, atlas, page and figures, those of the CPU but for figures, and bytes."""
    clock, cpu = [time.perf_counter()], time.process_time()
    reader = JournalReader(folder.path)
    clock.append(time.perf_counter())
    atlas = write_atlas(folder.path, reader.trials)
    clock.append(time.perf_counter())
    index = write_page(folder.path, reader, atlas)
    clock.append(time.perf_counter())
    cpu = time.process_time() - cpu
    write_figures(atlas, folder.report)
    clock.append(time.perf_counter())
    return [end - begin for begin, end in pairwise(clock)], cpu, index.stat().st_size


def _records(study: Study) -> Iterator[dict[str, object]]:
    for cell in study.cells():
        for method in study.search.methods:
            for number in range(study.search.budget(method)):
                # Places that fill the square evenly, and a bowl over them.
                places = {"haadf": number * 0.7549 % 1.0, "tv": number * 0.5698 % 1.0}
                names = method.weight_names
                off = sum((places[name] - 0.4) ** 2 for name in names)
                score = 0.2 + 0.1 * math.cos(cell.index) + off
                yield {
                    "trial_id": digest([cell.index, method, number]),
                    "cell": dict(cell.values),
                    "method": str(method),
                    "number": number,
                    "weights": {name: 10.0 ** (2.0 * places[name] - 1.0) for name in names},
                    "status": "ok" if number % 50 else "timeout",
                    "nrmse": score if number % 50 else None,
                    "nrmse_by_element": dict.fromkeys(ELEMENTS, score),
                    "iterations": 100.0,
                    "seconds": 2.0,
                    "device": "cpu",
                    "started": "2026-01-01T00:00:00.000+00:00",
                    "error": None if number % 50 else "the time limit",
                    "solver_status": "converged",
                }


if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    cells = int(sys.argv[2]) if len(sys.argv) > 2 else max(1, trials // PER_CELL)
    main(trials, cells, sys.argv[3:])
