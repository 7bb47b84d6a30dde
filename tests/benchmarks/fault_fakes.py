"""Evaluations that misbehave, sleep or are slow; handed to the executors by name."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import signal
import time

from tomoatlas.sweep.study import Study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

KINDS = {
    "sound": 200,
    "raises": 350,
    "returns NaN": 350,
    "exhausts memory": 75,
    "hangs": 75,
    "segfaults": 75,
    "SIGKILLs itself": 75,
}
"""Trials of each kind among 1,200, in the mean."""

GREED_BYTES = 1 << 30
SLEEP_SECONDS = 1.0
SLOWNESS, SKEW = "BENCHMARK_SLOWNESS", "BENCHMARK_SKEW"
"""Variables by which an executor's places tell a worker that it is slow, or that its clock is."""


def kind_of(trial_id: str) -> str:
    """What a trial of :func:`mixed` does."""
    mark = int(hashlib.sha256(trial_id.encode()).hexdigest()[:8], 16) % sum(KINDS.values())
    for kind, count in KINDS.items():
        mark -= count
        if mark < 0:
            return kind
    raise AssertionError("the counts add up")


def score_of(trial: Trial) -> float:
    """The score of a sound trial."""
    return int(trial.trial_id[:4], 16) / 65536


def mixed(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """Any fault that a trial can have."""
    kind = kind_of(trial.trial_id)
    if kind == "raises":
        raise RuntimeError("an evaluation that raises")
    if kind == "exhausts memory":
        hoard = bytearray(GREED_BYTES)
        hoard[::4096] = bytes(len(hoard) // 4096)
    if kind in ("hangs", "exhausts memory"):
        time.sleep(600)
    if kind == "segfaults":
        ctypes.string_at(0)
    if kind == "SIGKILLs itself":
        os.kill(os.getpid(), signal.SIGKILL)
    return _ok(math.nan if kind == "returns NaN" else score_of(trial), 0.0)


def nothing(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A trial that takes no time."""
    return _ok(0.5, 0.0)


def sleeping(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A second of sleep, or more where the worker is slow; its error is who slept."""
    seconds = SLEEP_SECONDS * float(os.environ.get(SLOWNESS, "1"))
    time.sleep(seconds)
    return _ok(score_of(trial), seconds)


def _ok(nrmse: float, seconds: float) -> TrialResult:
    started = time.time() - seconds + float(os.environ.get(SKEW, "0"))
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(started))
    who = str(os.getpid())
    return TrialResult(
        TrialStatus.OK, nrmse, {"Co": nrmse}, 1.0, seconds=seconds, started=stamp, error=who
    )
