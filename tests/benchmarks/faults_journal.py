"""Faults of the journal: changed under a run, damaged, on file systems without working locks.

Every row asks the same: nothing that was reported as finished is lost, nothing is recorded twice,
and no later run on the folder is refused.

    python tests/benchmarks/faults_journal.py [ROW ...]
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))

from fault_runs import child, doubled, finished, outcomes, said_by, started, undisturbed
from fault_table import Row, Rows, main
from sweep_fakes import read_records

TIMES, RUNS, LATEST = 20, 3, 30
Fault = Callable[[Path, random.Random], None]


def replaced(journal: Path, rng: random.Random) -> None:
    """By a copy of a part of it, as by an editor or a backup."""
    text = journal.read_bytes()
    copy = journal.with_name("copy")
    copy.write_bytes(text[: rng.randrange(len(text))])
    copy.replace(journal)


def truncated(journal: Path, rng: random.Random) -> None:
    """At a random byte."""
    os.truncate(journal, rng.randrange(journal.stat().st_size))


def unlinked(journal: Path, rng: random.Random) -> None:
    """Removed."""
    journal.unlink()


def overwritten(journal: Path, rng: random.Random) -> None:
    """In place, by as many bytes."""
    with journal.open("r+b") as file:
        file.write(rng.randbytes(journal.stat().st_size))


def changed(fault: Fault) -> Callable[[Path], Row]:
    """A row: the journal suffers a fault at a random moment of a run, which is then resumed."""

    def row(folder: Path) -> Row:
        rng = random.Random(fault.__name__)
        whole = undisturbed(folder / "whole")
        lost = twice = refused = same = noticed = 0
        for i in range(TIMES):
            here = folder / str(i)
            code, said = _under(here, fault, rng)
            noticed += code == 5 and str(here / "trials.jsonl") in said[-1] and ".kept-" in said[-1]
            again, _ = finished(here, 4)
            refused += again != 0
            found = outcomes(here)
            known = {f"{identity} {number}" for identity, number in found}
            lost += len(set(said[: -1 if code else None]) - known)
            twice += doubled(here)
            same += found == whole
        return Row(
            f"journal {fault.__name__} under a run",
            f"{TIMES} runs, at a random moment",
            f"{noticed} ended with 5 and named both files; {lost} finished trials lost, {twice} "
            f"recorded twice, {refused} refused afterwards, {same} ended as undisturbed",
            noticed == same == TIMES and not (lost or twice or refused),
        )

    return row


def _under(folder: Path, fault: Fault, rng: random.Random) -> tuple[int, list[str]]:
    """Run while the journal suffers a fault: exit code, and what the run said."""
    pid, read = started(folder, rng.randint(1, 4))
    journal, least = folder / "trials.jsonl", rng.randint(1, 16)
    while not journal.exists() or journal.read_bytes().count(b"\n") < least:
        time.sleep(0.001)
    # Stopped, so that it is in the middle of its trials when it meets the fault.
    os.kill(pid, signal.SIGSTOP)
    if journal.read_bytes().count(b"\n") < LATEST:
        fault(journal, rng)
        os.kill(pid, signal.SIGCONT)
        said = said_by(read)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)
    shutil.rmtree(folder)
    return _under(folder, fault, rng)


def damaged(folder: Path) -> Row:
    """Lines that are no records, anywhere: stepped over, and their trials evaluated again."""
    rng = random.Random(0)
    whole = undisturbed(folder / "run")
    journal = folder / "run" / "trials.jsonl"
    same = 0
    for _ in range(TIMES):
        lines = journal.read_bytes().splitlines(keepends=True)
        spoilt = rng.randrange(len(lines))
        lines[spoilt] = rng.choice([b"\n", b"\0" * 99 + b"\n", lines[spoilt][:50] + b"\n"])
        text = b"".join(lines)
        journal.write_bytes(text)
        code, _ = finished(folder / "run", 4)
        kept = journal.read_bytes().startswith(text)
        same += code == 0 and kept and outcomes(folder / "run") == whole
    return Row(
        "journal damaged",
        f"{TIMES} times, any line: blank, zeros, cut",
        f"{same} resumed to the same atlas, no byte changed",
        same == TIMES and not doubled(folder / "run"),
    )


def without_locks(name: str, number: int) -> Callable[[Path], Row]:
    """A row: three runs at once on a folder where the system's lock fails, or holds nothing."""

    def row(folder: Path) -> Row:
        whole = undisturbed(folder / "whole")
        alone = lost = twice = refused = same = 0
        for i in range(TIMES):
            here = folder / str(i)
            ends = [_unlocked(here, number) for _ in range(RUNS)]
            said = [said_by(read) for _, read in ends]
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _ in ends]
            alone += 0 in codes and set(codes) <= {0, 2}
            again, _ = finished(here, 2)
            refused += again != 0
            found = outcomes(here)
            known = {f"{identity} {trial}" for identity, trial in found}
            done = [lines for lines, code in zip(said, codes, strict=True) if code == 0]
            told = {line for lines in done for line in lines}
            lost += len(told - known)
            twice += doubled(here)
            same += found == whole and len(read_records(here / "trials.jsonl")) == _lines(folder)
        return Row(
            f"{RUNS} runs at once, {name}",
            f"{TIMES} times",
            f"{alone} times one worked and the others were refused or found all done; {lost} "
            f"finished trials lost, {twice} recorded twice, {refused} refused afterwards, {same} "
            "ended as undisturbed",
            alone == same == TIMES and not (lost or twice or refused),
        )

    return row


def _lines(folder: Path) -> int:
    return len(read_records(folder / "whole" / "trials.jsonl"))


def _unlocked(folder: Path, number: int) -> tuple[int, int]:
    """A run whose calls of ``flock`` fail with an error number, or do nothing for 0."""

    def flock(file: int, how: int) -> None:
        if number:
            raise OSError(number, os.strerror(number))

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        fcntl.flock = flock
        with contextlib.suppress(OSError):
            os.close(read)
        child(folder, 2, write)
    os.close(write)
    return pid, read


ROWS: Rows = {
    **{f.__name__: changed(f) for f in (replaced, truncated, unlinked, overwritten)},
    "damaged": damaged,
    "no-locks": without_locks("a file system without locks (ENOLCK)", errno.ENOLCK),
    "node-locks": without_locks("locks of one node only", 0),
}

if __name__ == "__main__":
    sys.exit(main(ROWS))
