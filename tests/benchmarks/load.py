"""How long ``analysis.load_trials`` takes on a long journal.

python tests/benchmarks/load.py [--lines 100000]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from common import table

from tomoatlas.analysis import load_trials

SAMPLE = Path(__file__).parents[2] / "analysis/atlases/fig4_nanocubes_64/trials.jsonl"


def lengthened(path: Path, lines: int) -> None:
    """Write the committed study's journal over and over, each line a trial of its own."""
    sample = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            record = sample[number % len(sample)] | {"trial_id": f"{number:064x}"}
            file.write(json.dumps(record) + "\n")


def main() -> None:
    """Print a row per run: the first reads from the disk, the others from its cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    lines = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "trials.jsonl"
        lengthened(journal, lines)
        shutil.copy(SAMPLE.with_name("study.toml"), folder)
        rows = []
        for run in (1, 2, 3):
            wall, cpu = time.perf_counter(), time.process_time()
            found = len(load_trials(folder))
            spent = time.perf_counter() - wall, time.process_time() - cpu
            size = f"{journal.stat().st_size / 1e6:.0f}"
            rows.append((run, found, size, *(f"{seconds:.2f}" for seconds in spent)))
    table(("run", "trials", "MB", "s", "CPU s"), rows)


if __name__ == "__main__":
    main()
