"""Faults of ranks with a plain MPI: frozen, lost, or each on its own; the last two need a Slurm.

python tests/benchmarks/faults_ranks.py frozen
tests/cluster/beside.sh slurm python tests/benchmarks/faults_ranks.py worlds lost
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))
sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

from fault_table import Row, Rows, came_true, main
from journeys import CLI, Login, StudyFolder, out_of
from sweep_fakes import read_records
from sweep_launch import finished, launcher, lines

HERE = Path(__file__).parent
STUDY = """
[study]
name = "ranks"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = {trials}
initial = {trials}
methods = ["fused"]
[limits]
retries = 2
[axes]
"acquisition.haadf_tilts" = [5, 6, 7, 8, 9, 10]
"""
RUNS, AT_ONCE, RANKS, TRIALS = 20, 4, 4, 20
NOTICED_SECONDS, WAIT_SECONDS = 60.0, 400.0
ELSEWHERE = "no answer from rank"


def frozen(folder: Path) -> Row:
    """One of four ranks is stopped in the middle of a trial and stays so."""
    (folder / "study.toml").write_text(STUDY.format(trials=TRIALS))
    found = _runs(lambda number: _frozen(folder / "study.toml", folder / str(number), number))
    whole = sum(run[0] for run in found)
    slowest = max(run[1] for run in found)
    return Row(
        "worker rank frozen (SIGSTOP)",
        f"{RUNS} runs of {RANKS} ranks, one frozen at a random moment until the end",
        f"{whole} of {RUNS} runs whole, exit 0, nothing recorded twice; noticed within "
        f"{slowest:.0f} s, the trial done elsewhere",
        whole == RUNS and slowest <= NOTICED_SECONDS,
    )


def _runs(run: Callable[[int], Any]) -> list[Any]:
    # Trials sleep, so that runs side by side disturb each other little.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(run, range(RUNS)))


def _frozen(study: Path, folder: Path, number: int) -> tuple[bool, float]:
    """Whether the run was whole, and the seconds until the trial was taken from the rank."""
    rng, journal = random.Random(number), folder / "trials.jsonl"
    started = launcher().start(RANKS, HERE / "on_ranks.py", study, folder, "sleeping")
    _wait(lambda: lines(journal) >= 2 * RANKS)
    time.sleep(rng.uniform(0.0, 1.0))
    victim = _rank_of(journal, str(rng.randrange(1, RANKS)))
    os.kill(victim, signal.SIGSTOP)
    begun = time.monotonic()
    noticed = _wait(lambda: any(map(_given_up, read_records(journal))))
    taken = time.monotonic() - begun
    code = finished(started, seconds=WAIT_SECONDS).returncode
    records = read_records(journal)
    final = [record["trial_id"] for record in records if record["final"]]
    lost = {record["trial_id"] for record in records if _given_up(record)}
    whole = len(final) == len(set(final)) == 6 * TRIALS and lost <= set(final)
    return noticed and whole and code == 0, taken


def _given_up(record: dict[str, Any]) -> bool:
    return ELSEWHERE in str(record["error"])


def _rank_of(journal: Path, worker: str) -> int:
    """The process of a rank: the parent of the child that wrote its number into a result."""
    child = next(r["error"] for r in read_records(journal)[::-1] if r["worker"] == worker)
    return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])


def _wait(condition: Callable[[], bool]) -> bool:
    # not as often as might be: some conditions ask Slurm
    return came_true(condition, WAIT_SECONDS, pause=0.1)


def worlds(folder: Path) -> Row:
    """Tasks of ``srun --mpi=none``, each of which is a world of its own to MPI."""
    _need_slurm()
    (folder / "study.toml").write_text(STUDY.format(trials=2))
    said = _runs(lambda number: _apart(folder / "study.toml", folder / str(number)))
    refused = sum(code == 2 and remedies == 1 and not begun for code, remedies, begun in said)
    return Row(
        "launcher mismatch: every task a world of one, real Slurm",
        f"{RUNS} steps of `srun --mpi=none -N2 -n4`",
        f"{refused} of {RUNS} ended with 2 and one line that names `--mpi`, nothing written",
        refused == RUNS,
    )


def _need_slurm() -> None:
    if not shutil.which("sbatch"):
        pytest.skip("no Slurm: tests/cluster/beside.sh slurm")


def _apart(study: Path, out: Path) -> tuple[int, int, bool]:
    """Exit code, lines with the remedy, and whether a folder was begun."""
    tasks = ["srun", "--mpi=none", "-N2", "-n4", str(CLI)]
    step = [*tasks, "run", str(study), "--out", str(out), "--device", "cpu"]
    done = subprocess.run(step, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr.count("give srun the --mpi="), out.exists()


def lost(folder: Path) -> Row:
    """A rank of a job is killed at a random moment; the job launches again."""
    _need_slurm()
    login = Login.at(folder, "slurm")
    runs = _runs(lambda number: _lost(login, number))
    return Row(
        "a rank SIGKILLed, real Slurm",
        f"{RUNS} jobs of 2 nodes × 2 ranks, any rank, at a random moment",
        f"{sum(runs)} of {RUNS} jobs COMPLETED by themselves with every trial, none recorded twice",
        all(runs),
    )


def _lost(login: Login, number: int) -> bool:
    """Whether a job that lost a rank has completed, and its study is whole."""
    rng, trials = random.Random(number), 16
    site = {"workers_per_node": 2}
    study, job = login.submit(f"lost{number}", trials, 0.5, "00:20:00", site)
    _wait(lambda: len(study.records()) >= 1)
    time.sleep(rng.uniform(0.0, 1.0))
    os.kill(rng.choice(study.ranks()), signal.SIGKILL)
    ended = _wait(lambda: _state(job) not in ("PENDING", "RUNNING", "COMPLETING"))
    return ended and _state(job) == "COMPLETED" and _whole(study, trials)


def _state(job: int) -> str:
    said = out_of("scontrol", "show", "job", "-o", job)
    return said.partition(" JobState=")[2].split()[0]


def _whole(study: StudyFolder, trials: int) -> bool:
    with contextlib.suppress(AssertionError):
        study.check_complete(trials)
        return True
    return False


ROWS: Rows = {"frozen": frozen, "worlds": worlds, "lost": lost}

if __name__ == "__main__":
    sys.exit(main(ROWS))
