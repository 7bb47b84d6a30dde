"""What the manager of a sweep survives: kills, full disks, torn journals, second runs, odd clocks.

One function a fault, all with the real driver, ledger and journal; trials are milliseconds of
sleep. Runs live in forked processes, which are killed without warning. Run:

    python tests/benchmarks/faults_manager.py [ROW ...]
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import utilisation
from common import table

from recon_core.errors import BadInput
from sweep.driver import run
from sweep.executors.base import Evaluate
from sweep.identity import short_seed
from sweep.journal import Journal, read_records
from sweep.ledger import Summary
from sweep.study import Study, parse_study
from sweep.trial import Trial, TrialResult, TrialStatus

STUDY = """
[study]
name = "faults"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 8
initial = 4
lag = 2
[limits]
retries = 2
[axes]
"acquisition.haadf_tilts" = [5, 6, 7, 8]
"""
NOBODY = 65534
Atlas = dict[tuple[str, int], tuple[object, ...]]


@dataclass(frozen=True)
class Outcome:
    """What was done, what came of it, and whether that is what must hold."""

    injected: str
    seen: str
    holds: bool


class Threads:
    """An executor of ``workers`` threads: results come in any order and often together."""

    def __init__(self, workers: int, evaluate: Evaluate) -> None:
        self.slots, self._evaluate = workers, evaluate
        self._pool = ThreadPoolExecutor(workers)
        self._landed: queue.SimpleQueue[tuple[Trial, TrialResult]] = queue.SimpleQueue()

    def submit(self, study: Study, trial: Trial) -> None:
        """Evaluate the trial in a thread."""
        self._pool.submit(lambda: self._landed.put((trial, self._evaluate(study, trial))))

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        """The next to end."""
        try:
            return self._landed.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Wait for the threads."""
        self._pool.shutdown()


def evaluate(study: Study, trial: Trial) -> TrialResult:
    """A score after 0 to 8 ms; one trial in ten crashes, always."""
    mark = short_seed(trial.trial_id, trial.number)
    time.sleep(mark % 8 / 1000.0)
    if mark % 10 == 0:
        return TrialResult(TrialStatus.CRASHED, error="injected")
    score = 0.4 + (trial.weights.haadf - 0.1) ** 2 + (trial.weights.tv - 1.0) ** 2
    return TrialResult(TrialStatus.OK, score, {"Co": score}, 10.0, mark % 8 / 1000.0)


def started(folder: Path, workers: int) -> tuple[int, int]:
    """A run in a process of its own: its id, and a pipe to which it writes what it has recorded.

    The process ends with 0 when the study is done, with 2 after bad input.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(folder, workers, write)
    os.close(write)
    return pid, read


def _child(folder: Path, workers: int, pipe: int) -> None:
    def said(trial: Trial, result: TrialResult) -> None:
        os.write(pipe, f"{trial.trial_id} {trial.number}\n".encode())

    code = 1
    try:
        run(parse_study(STUDY), folder, Threads(workers, evaluate), said)
        code = 0
    except BadInput as error:
        os.write(pipe, f"{error}\n".encode())
        code = 2
    finally:
        os._exit(code)


def killed(folder: Path, workers: int, after: float) -> tuple[bool, list[str]]:
    """Start a run and SIGKILL it ``after`` seconds: whether it was still running, what it said."""
    pid, read = started(folder, workers)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status), _said(read)


def finished(folder: Path, workers: int) -> tuple[int, list[str]]:
    """Run to the end: exit code, and what it said."""
    pid, read = started(folder, workers)
    said = _said(read)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def _said(read: int) -> list[str]:
    with open(read, encoding="utf-8") as pipe:
        return pipe.read().splitlines()


def outcomes(folder: Path) -> Atlas:
    """What must not depend on workers, kills or order, by trial."""
    return {
        (r["trial_id"], r["number"]): (r["status"], r["nrmse"], tuple(r["weights"].items()))
        for r in read_records(folder / "trials.jsonl")
        if r["final"]
    }


def undisturbed(folder: Path) -> tuple[Summary, Atlas]:
    """The same study in one go on one worker."""
    summary = run(parse_study(STUDY), folder, Threads(1, evaluate))
    return summary, outcomes(folder)


def doubled(folder: Path) -> int:
    """Trials with more than one outcome, and attempts recorded twice."""
    records = read_records(folder / "trials.jsonl")
    attempts = Counter((r["trial_id"], r["number"], r["attempt"]) for r in records)
    finals = Counter((r["trial_id"], r["number"]) for r in records if r["final"])
    return sum(n > 1 for n in (*attempts.values(), *finals.values()))


def manager_killed(folder: Path, times: int = 100) -> Outcome:
    """SIGKILL at random moments; resumed, and a new study whenever one is complete."""
    rng = random.Random(0)
    _, whole = undisturbed(folder / "whole")
    lost = twice = torn = kills = studies = 0
    here = folder / "0"
    while kills < times:
        was_running, said = killed(here, rng.randint(1, 9), rng.uniform(0.0, 0.25))
        kills += was_running
        journal = here / "trials.jsonl"
        text = journal.read_bytes() if journal.exists() else b""
        torn += not text.endswith(b"\n") and bool(text)
        known = {f"{identity} {number}" for identity, number in (outcomes(here) if text else ())}
        lost += len(set(said) - known)
        twice += doubled(here) if text else 0
        if not was_running:
            lost += outcomes(here) != whole
            studies += 1
            here = folder / str(studies)
    finished(here, 4)
    same = outcomes(here) == whole
    return Outcome(
        f"{kills} times, 1 to 9 workers",
        f"{lost} finished trials lost, {twice} run twice, {torn} torn last lines, no other line "
        f"unreadable; {studies + 1} studies ended as undisturbed",
        not lost and not twice and same,
    )


def started_on_three_finished_on_five(folder: Path, times: int = 10) -> Outcome:
    """A study started on 3 workers, killed twice, finished on 5."""
    rng = random.Random(1)
    _, whole = undisturbed(folder / "whole")
    same = 0
    for i in range(times):
        here = folder / str(i)
        for _ in range(2):
            killed(here, 3, rng.uniform(0.05, 0.2))
        finished(here, 5)
        same += outcomes(here) == whole and not doubled(here)
    return Outcome(f"{times} studies", f"{same} atlases as undisturbed", same == times)


def journal_truncated(folder: Path, times: int = 30) -> Outcome:
    """The journal cut at a random byte, then resumed."""
    rng = random.Random(2)
    _, whole = undisturbed(folder / "run")
    journal = folder / "run" / "trials.jsonl"
    same = 0
    for _ in range(times):
        text = journal.read_bytes()
        journal.write_bytes(text[: rng.randrange(len(text))])
        finished(folder / "run", 4)
        same += outcomes(folder / "run") == whole and not doubled(folder / "run")
    return Outcome(f"cut at {times} random bytes", f"{same} atlases as undisturbed", same == times)


def journal_damaged(folder: Path) -> Outcome:
    """A whole last line that is no record: refused by its number, nothing changed."""
    undisturbed(folder / "run")
    journal = folder / "run" / "trials.jsonl"
    damaged = journal.read_bytes()[:-20] + b"\n"
    journal.write_bytes(damaged)
    code, said = finished(folder / "run", 2)
    number = damaged.count(b"\n")
    return Outcome(
        "last line damaged but whole",
        f"exit {code}: line {number} named",
        code == 2 and f"line {number}" in said[0] and journal.read_bytes() == damaged,
    )


def disk_full(folder: Path, times: int = 20) -> Outcome:
    """A limit on file size that falls anywhere in the journal; then no limit."""
    rng = random.Random(3)
    _, whole = undisturbed(folder / "whole")
    size = (folder / "whole" / "trials.jsonl").stat().st_size
    clean = same = 0
    for i in range(times):
        here = folder / str(i)
        with _file_size(rng.randrange(2000, size - 100)):
            code, said = finished(here, 4)
        journal = (here / "trials.jsonl").read_bytes()
        clean += code == 2 and "cannot be written" in said[-1] and journal.endswith(b"\n")
        finished(here, 4)
        same += outcomes(here) == whole and not doubled(here)
    return Outcome(
        f"{times} times, at any byte",
        f"{clean} clean stops (exit 2, whole journal), {same} resumed to the same atlas",
        clean == same == times,
    )


@contextlib.contextmanager
def _file_size(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def folder_read_only(folder: Path) -> Outcome:
    """No right to write: refused in one line."""
    folder.chmod(0o555)
    pid, read = _as_nobody(folder / "run")
    said = _said(read)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    folder.chmod(0o755)
    return Outcome(
        "no right to write",
        f"exit {code}: {said[0].removeprefix(str(folder))}",
        code == 2 and len(said) == 1 and not (folder / "run").exists(),
    )


def _as_nobody(folder: Path) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        _child(folder, 1, write)
    os.close(write)
    return pid, read


def two_runs(folder: Path, times: int = 20) -> Outcome:
    """A second run is refused while the first lives, and accepted once that is killed."""
    refused = accepted = 0
    for i in range(times):
        here = folder / str(i)
        pid, read = started(here, 2)
        while not (here / "trials.jsonl").exists() or not (here / "study.toml").exists():
            time.sleep(0.001)
        code, said = finished(here, 2)
        refused += code == 2 and "another run is writing here" in said[-1]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        with contextlib.suppress(BadInput):
            Journal(here / "trials.jsonl").close()
            accepted += 1
    return Outcome(
        f"{times} pairs, then the first killed",
        f"{refused} refused while it lived, {accepted} accepted after",
        refused == accepted == times,
    )


def _simulated(name: str) -> Callable[[Path], Outcome]:
    def fault(folder: Path) -> Outcome:
        row = utilisation.rows()[name]
        used = utilisation.simulate(row).steady
        return Outcome("simulated, 64 workers", f"utilisation {used:.1%}", used >= row.least)

    return fault


ROWS: dict[str, Callable[[Path], Outcome]] = {
    "manager SIGKILLed at a random moment": manager_killed,
    "started on 3 workers, killed twice, finished on 5": started_on_three_finished_on_five,
    "journal truncated mid-line": journal_truncated,
    "journal damaged": journal_damaged,
    "disk full": disk_full,
    "folder read-only": folder_read_only,
    "two runs started on one folder": two_runs,
    **{
        name: _simulated(name)
        for name, row in utilisation.rows().items()
        if row.least == utilisation.LEAST_WITH_FAULTS
    },
}


def main(names: Sequence[str]) -> bool:
    """Print a row for each fault; whether all of them hold."""
    seen = []
    for name in names or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            seen.append((name, ROWS[name](Path(folder))))
    table(
        ("fault", "injected", "seen", "holds"),
        ((name, o.injected, o.seen, "yes" if o.holds else "**no**") for name, o in seen),
    )
    return all(outcome.holds for _, outcome in seen)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
