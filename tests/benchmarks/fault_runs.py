"""Runs in forked processes, to be killed without warning; trials are milliseconds of sleep."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))

from sweep_fakes import read_records
from sweep_threads import Threads

from tomoatlas.recon_core.errors import BadInput, Trouble
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.identity import short_seed
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

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
Atlas = dict[tuple[str, int], tuple[object, ...]]


def evaluate(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A score after 0 to 8 ms; one trial in ten crashes, always."""
    mark = short_seed(trial.trial_id, trial.number)
    time.sleep(mark % 8 / 1000.0)
    if mark % 10 == 0:
        return TrialResult(TrialStatus.CRASHED, error="injected")
    far = (trial.weights.haadf - 0.1) ** 2 + (trial.weights.tv - 1.0) ** 2
    score = 0.4 + far / (1.0 + far)
    return TrialResult(TrialStatus.OK, score, {"Co": score}, 10.0, mark % 8 / 1000.0)


def started(folder: Path, workers: int) -> tuple[int, int]:
    """A run in a process of its own: its id, and a pipe to which it writes what it has recorded.

    The process ends with 0 when the study is done, with 2 after bad input.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(folder, workers, write)
    os.close(write)
    return pid, read


def child(folder: Path, workers: int, pipe: int) -> None:
    """The rest of a forked process: run, say what is recorded, end."""

    def said(trial: Trial, result: TrialResult) -> None:
        os.write(pipe, f"{trial.trial_id} {trial.number}\n".encode())

    code = 1
    try:
        run(parse_study(STUDY), folder, Threads(workers, evaluate), said)
        code = 0
    except BadInput as error:
        os.write(pipe, f"{error}\n".encode())
        code = 2
    except Trouble as error:
        os.write(pipe, f"{error}\n".encode())
        code = 5
    finally:
        os._exit(code)


def killed(folder: Path, workers: int, after: float) -> tuple[bool, list[str]]:
    """Start a run and SIGKILL it ``after`` seconds: whether it was still running, what it said."""
    pid, read = started(folder, workers)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status), said_by(read)


def finished(folder: Path, workers: int) -> tuple[int, list[str]]:
    """Run to the end: exit code, and what it said."""
    pid, read = started(folder, workers)
    said = said_by(read)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def said_by(read: int) -> list[str]:
    """What comes through a pipe until its other end is closed."""
    with open(read, encoding="utf-8") as pipe:
        return pipe.read().splitlines()


def outcomes(folder: Path) -> Atlas:
    """What must not depend on workers, kills or order, by trial."""
    return {
        (r["trial_id"], r["number"]): (r["status"], r["nrmse"], tuple(r["weights"].items()))
        for r in read_records(folder / "trials.jsonl")
        if r["final"]
    }


def undisturbed(folder: Path) -> Atlas:
    """The same study in one go on one worker."""
    run(parse_study(STUDY), folder, Threads(1, evaluate))
    return outcomes(folder)


def doubled(folder: Path) -> int:
    """Trials with more than one outcome, and attempts recorded twice."""
    records = read_records(folder / "trials.jsonl")
    attempts = Counter((r["trial_id"], r["number"], r["attempt"]) for r in records)
    finals = Counter((r["trial_id"], r["number"]) for r in records if r["final"])
    return sum(n > 1 for n in (*attempts.values(), *finals.values()))
