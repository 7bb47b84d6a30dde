"""What the manager of a sweep survives: kills, full disks, torn journals, second runs, odd clocks.

One function a fault, all with the real driver, scheduler and journal. Run:

    python tests/benchmarks/faults_manager.py [ROW ...]
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import utilisation
from fault_runs import child, doubled, finished, killed, outcomes, said_by, started, undisturbed
from fault_table import Row, Rows, main

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.sweep.record.journal import Journal
from tomoatlas.sweep.record.lines import parsed

NOBODY = 65534
PAGE = 4096


def manager_killed(folder: Path, times: int = 100) -> Row:
    """SIGKILL at random moments; resumed, and a new study whenever one is complete."""
    rng = random.Random(0)
    whole = undisturbed(folder / "whole")
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
    return Row(
        "manager SIGKILLed at a random moment",
        f"{kills} times, 1 to 9 workers",
        f"{lost} finished trials lost, {twice} run twice, {torn} torn last lines, no other line "
        f"unreadable; {studies + 1} studies ended as undisturbed",
        not lost and not twice and same,
    )


def started_on_three_finished_on_five(folder: Path, times: int = 10) -> Row:
    """A study started on 3 workers, killed twice, finished on 5."""
    rng = random.Random(1)
    whole = undisturbed(folder / "whole")
    same = 0
    for i in range(times):
        here = folder / str(i)
        for _ in range(2):
            killed(here, 3, rng.uniform(0.05, 0.2))
        finished(here, 5)
        same += outcomes(here) == whole and not doubled(here)
    return Row(
        "started on 3 workers, killed twice, finished on 5",
        f"{times} studies",
        f"{same} atlases as undisturbed",
        same == times,
    )


def journal_truncated(folder: Path, times: int = 30) -> Row:
    """The journal cut at a random byte, then resumed."""
    rng = random.Random(2)
    whole = undisturbed(folder / "run")
    journal = folder / "run" / "trials.jsonl"
    same = 0
    for _ in range(times):
        text = journal.read_bytes()
        journal.write_bytes(text[: rng.randrange(len(text))])
        finished(folder / "run", 4)
        same += outcomes(folder / "run") == whole and not doubled(folder / "run")
    return Row(
        "journal truncated mid-line",
        f"cut at {times} random bytes",
        f"{same} atlases as undisturbed",
        same == times,
    )


def file_too_large(folder: Path, times: int = 20) -> Row:
    """A limit on file size that falls anywhere in the journal, as a quota does; then no limit."""
    rng = random.Random(3)
    whole = undisturbed(folder / "whole")
    size = (folder / "whole" / "trials.jsonl").stat().st_size
    clean = same = 0
    for i in range(times):
        here = folder / str(i)
        with _file_size(rng.randrange(2000, size - 100)):
            clean += _stops_clean(here)
        finished(here, 4)
        same += outcomes(here) == whole and not doubled(here)
    return _full_row(
        "no more room for the journal", f"{times} times, at any byte", clean, same, times
    )


def disk_full(folder: Path, times: int = 20) -> Row:
    """A disk of its own (tmpfs, so root only) that another file fills; then that file goes."""
    rng = random.Random(5)
    whole = undisturbed(folder / "whole")
    pages = (folder / "whole" / "trials.jsonl").stat().st_size // PAGE
    clean = same = 0
    for i in range(times):
        with _disk(folder / str(i), (2 * pages + 20) * PAGE) as disk:
            _fill(disk / "other", leave=rng.randrange(3, pages) * PAGE)
            clean += _stops_clean(disk / "run")
            (disk / "other").unlink()
            finished(disk / "run", 4)
            same += outcomes(disk / "run") == whole and not doubled(disk / "run")
    return _full_row("disk full", f"{times} disks, filled by another file", clean, same, times)


def _stops_clean(run: Path) -> bool:
    """Whether a run ends with one line, and every line but a torn last one is a record."""
    code, said = finished(run, 4)
    *lines, _ = (run / "trials.jsonl").read_bytes().split(b"\n")
    return code == 5 and "cannot be written" in said[-1] and None not in map(parsed, lines)


def _full_row(fault: str, injected: str, clean: int, same: int, times: int) -> Row:
    found = f"{clean} clean stops (exit 5, whole lines), {same} resumed to the same atlas"
    return Row(fault, injected, found, clean == same == times)


@contextlib.contextmanager
def _disk(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _fill(path: Path, leave: int) -> None:
    path.write_bytes(bytes(shutil.disk_usage(path.parent).free - leave))


@contextlib.contextmanager
def _file_size(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def folder_read_only(folder: Path) -> Row:
    """No right to write: refused in one line."""
    folder.chmod(0o555)
    pid, read = _as_nobody(folder / "run")
    said = said_by(read)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    folder.chmod(0o755)
    return Row(
        "folder read-only",
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
        child(folder, 1, write)
    os.close(write)
    return pid, read


def two_runs(folder: Path, times: int = 20) -> Row:
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
    return Row(
        "two runs started on one folder",
        f"{times} pairs, then the first killed",
        f"{refused} refused while it lived, {accepted} accepted after",
        refused == accepted == times,
    )


def _simulated(name: str) -> Callable[[Path], Row]:
    def fault(folder: Path) -> Row:
        row = utilisation.rows()[name]
        used = utilisation.simulate(row).whole
        return Row(name, "simulated", f"utilisation {used:.1%}", used >= row.least)

    return fault


ROWS: Rows = {
    "killed": manager_killed,
    "resumed": started_on_three_finished_on_five,
    "truncated": journal_truncated,
    "quota": file_too_large,
    "full": disk_full,
    "read-only": folder_read_only,
    "two": two_runs,
    "skewed": _simulated("clocks of workers an hour fast and slow"),
    "slow": _simulated("one of 64 workers ten times slower"),
    "late": _simulated("32 of 64 workers join after 10 s"),
}

if __name__ == "__main__":
    sys.exit(main(ROWS))
