"""A real job under ``mpiexec``, killed as a whole and started again on other ranks."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))

from fault_runs import doubled
from fault_table import Row
from sweep_launch import Launcher, finished, launcher, lines, wait_for

STUDY = """
[study]
name = "resumed"
[specimen]
kind = "nanocubes"
size = 24
[acquisition]
chemical_snr = 3.0
[solver]
max_iterations = 60
[search]
trials = 8
initial = 3
chemistry_tv_trials = 4
[axes]
"acquisition.haadf_tilts" = [9, 18]
"acquisition.chemical_tilts" = [5, 9]
"""
TRIALS, KILLS = 4 * (8 + 4 + 1 + 1), 2
FIRST_RANKS, LAST_RANKS = 3, 5
EARLIEST, LATEST = 3, 20
"""New records after which a job is killed."""

PATIENCE_SECONDS = 600.0


def job_killed_twice(folder: Path) -> Row:
    """``mpiexec -n 3 python -m tomoatlas run`` killed twice, then ``-n 5``: the same atlas.csv."""
    study = folder / "study.toml"
    study.write_text(STUDY)
    mpi, rng = launcher(), random.Random(4)
    kept = [_killed(mpi, study, folder / "run", rng) for _ in range(KILLS)]
    codes = [_done(mpi, LAST_RANKS, study, folder / "run"), _done(mpi, 1, study, folder / "whole")]
    atlases = [(folder / name / "atlas.csv").read_bytes() for name in ("run", "whole")]
    twice, records = doubled(folder / "run"), lines(folder / "run" / "trials.jsonl")
    same = atlases[0] == atlases[1]
    return Row(
        f"job of {FIRST_RANKS} MPI ranks SIGKILLed, {KILLS} times, finished on {LAST_RANKS}",
        f"after {' and '.join(map(str, kept))} of {TRIALS} real trials (24³)",
        f"{records} recorded, {twice} of them twice; atlas.csv "
        f"{'the same, byte for byte, as' if same else 'differs from that'} of an undisturbed run",
        same and not twice and records == TRIALS and codes == [0, 0],
    )


def _command(study: Path, out: Path) -> list[object]:
    return ["-m", "tomoatlas", "run", study, "--out", out, "--device", "cpu", "-q"]


def _killed(mpi: Launcher, study: Path, out: Path, rng: random.Random) -> int:
    """Start the job and kill all of it at a random moment; the records that it leaves."""
    journal = out / "trials.jsonl"
    enough = lines(journal) + rng.randint(EARLIEST, LATEST)
    started = mpi.start(FIRST_RANKS, *_command(study, out))
    until = time.monotonic() + PATIENCE_SECONDS
    while lines(journal) < enough and started.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 0.2))
    was_running, job = started.poll() is None, [started.pid, *_descendants(started.pid)]
    for pid in job:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    said = started.communicate()
    assert was_running, said
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in job))
    return lines(journal)


def _descendants(pid: int) -> list[int]:
    """Launchers put ranks into sessions of their own, so no group or session holds them all."""
    parents: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            parents[int(parent)].append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += parents[each]
    return found[1:]


def _done(mpi: Launcher, ranks: int, study: Path, out: Path) -> int:
    ended = finished(mpi.start(ranks, *_command(study, out)), seconds=PATIENCE_SECONDS)
    print(ended.stderr, end="", file=sys.stderr)
    return ended.returncode
