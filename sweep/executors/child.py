"""A warm child process that evaluates trials, one or some at a time, seen from its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from ...recon_core.errors import Trouble
from ...recon_core.machine import resident_bytes
from ..study import Task
from ..study.trial import Trial, TrialResult, TrialStatus
from . import MEBIBYTE, Evaluate, EvaluateTogether, Limits
from .serve import IGNORED_SIGNALS

START_SECONDS = 900.0
"""Longest start: imports may take minutes when a thousand nodes read one file system."""

MEMORY_SECONDS = 0.05
"""Between two checks of the memory; a process fills some 0.1 GiB meanwhile."""

REAP_SECONDS = 1.0
"""Wait for a killed child to be gone; one that a driver or a file system holds is left behind."""

Message = tuple[list[tuple[int, TrialResult]], bool]
Process = subprocess.Popen[bytes]


class CannotStart(Trouble):
    """No process starts here: the machine has no room for one, or it ended before it was ready.

    Parameters
    ----------
    reason : what happened.
    may_pass : whether memory, processes or files were short, of which there may be more later.
    """

    def __init__(self, reason: str, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


class Child:
    """A process that evaluates trials, the pipe to it, and the trials that it has.

    It is started as a program of its own, never forked: a fork of a process that uses MPI, CUDA or
    threads is not safe, and ``subprocess`` uses vfork and exec, which are. Its life is: started,
    ready (it has imported everything), then some trials at a time until it has ended. One that ends
    while it has several does not say whose fault that was: they stay in :attr:`tasks`.

    Parameters
    ----------
    evaluate : evaluates a trial; a function that can be imported by its name.
    device : name of what it computes on.
    environment : all its variables, see :func:`.serve.worker_environment`.
    limits : what a trial may take, by default what its study says; :meth:`check` enforces them.
        Several trials may take as much together as one after the other.
    together : evaluates several trials; None for one after the other.

    Raises
    ------
    CannotStart : the machine has no room for a process; nothing of it is left.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        device: str,
        environment: Mapping[str, str],
        limits: Limits | None,
        together: EvaluateTogether | None = None,
    ) -> None:
        self._given, self._limits = limits, Limits()
        self._process, self.connection, self._lifeline = _connected(environment)
        self._lock = threading.Lock()
        self._tasks: dict[int, Task] = {}
        self._ready = self._ended = self._killed = False
        self._verdict: TrialResult | None = None
        self._since = time.monotonic()
        with suppress(OSError):
            self.connection.send((evaluate, together, device))

    @property
    def pid(self) -> int:
        """Id of its process."""
        return self._process.pid

    @property
    def proven(self) -> bool:
        """Whether it has started and is ready."""
        return self._ready

    @property
    def tasks(self) -> list[Task]:
        """The trials that it has and has not answered, with their studies."""
        return list(self._tasks.values())

    @property
    def alive(self) -> bool:
        """Whether it can take a trial."""
        return not self._ended and self._process.poll() is None

    def take(self, tasks: Sequence[Task]) -> bool:
        """Hand it trials; False if it has died meanwhile."""
        with self._lock:
            self._tasks = dict(enumerate(tasks))
            self._limits = Limits.together([self._given or Limits.of(s) for s, _ in tasks])
            return self._begin() if self._ready else self.alive

    def answer(self) -> list[tuple[Trial, TrialResult]]:
        """Read its pipe, once that is ready: results that have come, none when it has become ready.

        Raises
        ------
        CannotStart : it ended by itself before it was ready.
        """
        with self._lock:
            try:
                # None says once that it is ready; results follow, in any order.
                message: Message | None = self.connection.recv()
            except (EOFError, OSError):
                return self._lost()
            if message is None:
                self._ready = True
                self._begin()
                return []
            found, self._ended = message
            self._verdict = self._verdict if self._killed else None
            return [(self._tasks.pop(place)[1], result) for place, result in found]

    def check(self) -> None:
        """Kill the child if its trial exceeds a limit; the next :meth:`answer` returns the verdict.

        Thread-safe.
        """
        with self._lock:
            if not self._tasks or self._verdict is not None:
                return
            self._verdict = self._judged(time.monotonic() - self._since)
            # A result that is in the pipe already counts, though it came late.
            if self._verdict is not None and not self.connection.poll():
                self._killed = True
                self._process.kill()

    def until_check(self) -> float:
        """Seconds until it should be checked; infinite if it has no trial."""
        if not self._tasks or self._verdict is not None:
            return float("inf")
        allowed = self._limits.seconds if self._ready else START_SECONDS
        left = float("inf") if allowed is None else allowed - (time.monotonic() - self._since)
        return left if self._limits.memory_bytes is None else min(left, MEMORY_SECONDS)

    def end(self) -> None:
        """Kill it and close its pipes."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        self.connection.close()
        os.close(self._lifeline)

    def _begin(self) -> bool:
        self._verdict = None
        self._since, self._started = time.monotonic(), datetime.now(UTC)
        self._kills = _out_of_memory_kills()
        try:
            self.connection.send(self.tasks)
        except OSError:
            return False
        return True

    def _judged(self, seconds: float) -> TrialResult | None:
        if not self._ready:
            over = seconds > START_SECONDS
            return TrialResult(TrialStatus.CRASHED, error="no start in time") if over else None
        limit, room = self._limits.seconds, self._limits.memory_bytes
        if limit is not None and seconds > limit:
            return self._result(TrialStatus.TIMEOUT, f"over its limit of {limit:g} s")
        # Asked for only with a limit: it reads a file of /proc, many times a second.
        used = resident_bytes(self.pid) if room is not None else 0
        if room is not None and used > room:
            error = f"out of memory: {used // MEBIBYTE} MiB, limit {room // MEBIBYTE} MiB"
            return self._result(TrialStatus.CRASHED, error)
        return None

    def _lost(self) -> list[tuple[Trial, TrialResult]]:
        self._ended = True
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        code = self._process.returncode
        if not self._ready and (self._verdict is not None or code is None or code >= 0):
            raise CannotStart(f"a worker process cannot start, {_ending(code)}")
        # Of several nobody can say which one it was: they stay, and are evaluated singly.
        if len(self._tasks) != 1:
            return []
        ((_, trial),) = self._tasks.values()
        self._tasks = {}
        ended = f"the worker ended with {self._cause(code)}"
        return [(trial, self._verdict or self._result(TrialStatus.CRASHED, ended))]

    def _cause(self, code: int | None) -> str:
        # The kernel's count is of the whole machine: only with a SIGKILL does it say something of
        # this child.
        starved = self._ready and _out_of_memory_kills() > self._kills
        killed = code == -signal.SIGKILL
        return _ending(code) + (", the kernel was out of memory" if starved and killed else "")

    def _result(self, status: TrialStatus, error: str) -> TrialResult:
        if not self._ready:
            return TrialResult(status, error=error)
        started = self._started.isoformat(timespec="milliseconds")
        spent = time.monotonic() - self._since
        return TrialResult(status, seconds=spent, started=started, error=error)


def _connected(environment: Mapping[str, str]) -> tuple[Process, Connection, int]:
    """A child, the pipe to it and its lifeline; all of them or nothing."""
    # Only with one holder left does the pipe end when the child does.
    with ExitStack() as ours, ExitStack() as theirs:
        try:
            near, far = Pipe()
            ours.callback(near.close)
            theirs.callback(far.close)
            held, lifeline = os.pipe()
            ours.callback(os.close, lifeline)
            theirs.callback(os.close, held)
            process = start_process((far.fileno(), held), environment)
        except OSError as error:
            reason = f"a worker process cannot start: {error.strerror or error}"
            raise CannotStart(reason, may_pass=True) from error
        ours.pop_all()
    return process, near, lifeline


def start_process(pipes: Sequence[int], environment: Mapping[str, str]) -> Process:
    """Start the child's program; no signal to the whole job ends it before it ignores them.

    Parameters
    ----------
    pipes : descriptors that it inherits: its end of the pipe, and the lifeline.
    environment : all its variables.

    Raises
    ------
    OSError : the machine has no room for a process.
    """
    # -P: a file in the working folder must not stand in for a module of the child.
    command = [sys.executable, "-P", "-m", "tomoatlas.sweep.executors.serve", *map(str, pipes)]
    # The child inherits the mask.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)
    try:
        return subprocess.Popen(command, env=environment, pass_fds=pipes, stdin=subprocess.DEVNULL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _out_of_memory_kills() -> int:
    """Number of processes that the kernel has killed since boot because memory ran out."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _ending(code: int | None) -> str:
    if code is None:
        return "no end"
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
