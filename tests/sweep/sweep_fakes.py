"""Studies and cheap evaluations for the tests of the sweep; importable in child processes."""

from __future__ import annotations

import ctypes
import math
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

from tomoatlas.recon_core.methods import Weights
from tomoatlas.sweep.executors import Evaluate
from tomoatlas.sweep.executors.serve import THREAD_VARIABLES
from tomoatlas.sweep.record.journal import parsed
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Record, Trial, TrialResult, TrialStatus

SMALL = """
[study]
name = "small"
seed = 3
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 6
initial = 3
chemistry_tv_trials = 4
[axes]
"acquisition.haadf_tilts" = [5, 9]
"""


def small_study(**search: object) -> Study:
    lines = "".join(f"{key} = {value}\n" for key, value in search.items())
    text = SMALL if not search else SMALL.replace("trials = 6\ninitial = 3\n", lines)
    return parse_study(text)


def score(weights: Weights) -> float:
    """A smooth bowl over the logarithms of the weights, 0.4 at its bottom; a possible NRMSE."""
    haadf, tv = (math.log10(max(w, 1e-3)) for w in (weights.haadf, weights.tv))
    return min(0.4 + 0.1 * (haadf + 1.3) ** 2 + 0.2 * (tv - 0.2) ** 2, 1.5)


def bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    tilts = dict(trial.cell.values)["acquisition.haadf_tilts"]
    nrmse = score(trial.weights) + 1.0 / float(tilts)
    return TrialResult(TrialStatus.OK, nrmse, {"Co": nrmse}, iterations=7.0, seconds=0.01)


def uneven_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A bowl whose trials take 0 to 20 ms, so that several workers finish in any order."""
    time.sleep(int(trial.trial_id[:2], 16) / 256 * 0.02)
    return bowl(study, trial)


def failing_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A bowl in which every trial number 1 fails."""
    if trial.number == 1:
        return TrialResult(TrialStatus.FAILED, error="diverged")
    return bowl(study, trial)


def deadly_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A bowl in which every trial number 1 kills its process."""
    if trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(study, trial)


def worker_killing_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """Kills the process whose child this is."""
    os.kill(os.getppid(), signal.SIGKILL)
    return endless_bowl(study, trial)


def slow_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    time.sleep(0.3)
    return bowl(study, trial)


HANGING = "TOMOATLAS_HANGING"
"""Names the folder in which :func:`hanging_bowl` looks."""


def hanging_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A slow bowl, without an end for a process whose number is a file's name; it says so there."""
    called = Path(os.environ[HANGING]) / str(os.getppid())
    if called.exists():
        called.with_suffix(".hangs").touch()
        time.sleep(600)
    return slow_bowl(study, trial)


def whose_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A bowl whose error is the process it was evaluated in; slow enough for all to get some."""
    time.sleep(0.2)
    return replace(bowl(study, trial), error=str(os.getpid()))


def bulky_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """A bowl with a result too large to be sent in one piece."""
    return replace(bowl(study, trial), nrmse_by_element={f"E{i}": 0.5 for i in range(20_000)})


def endless_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """Says which process it runs in, and never ends."""
    print(os.getpid(), flush=True)
    time.sleep(600)
    return bowl(study, trial)


def raising_bowl(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    raise RuntimeError("an evaluation that raises")


def environment_seen(study: Study, trial: Trial, device: str = "cpu", *names: str) -> TrialResult:
    """Variables that the process was started with, by default its thread counts."""
    seen = ",".join(os.environ[name] for name in names or THREAD_VARIABLES)
    return TrialResult(TrialStatus.OK, 0.5, error=seen)


def device_or_death(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """The device that the process may see; trial number 1 kills it."""
    if trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return environment_seen(study, trial, device, "CUDA_VISIBLE_DEVICES")


def device_asked(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """The device that it is asked to compute on."""
    return TrialResult(TrialStatus.OK, 0.5, error=device)


def deaf_and_dumb(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """Sleeps in native code that holds the interpreter's lock, so that no thread can run."""
    print(os.getpid(), flush=True)
    ctypes.PyDLL(None).sleep(600)
    return bowl(study, trial)


RAISES, DIES, HANGS, EATS = 100, 101, 102, 103
"""Numbers of trials that misbehave in :func:`faulty`."""

GREED_BYTES = 1 << 29


def faulty(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    """An uneven bowl, and every fault a trial can have, by the trial's number."""
    if trial.number == RAISES:
        raise RuntimeError("an evaluation that raises")
    if trial.number == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.number == EATS:
        hoard = bytearray(GREED_BYTES)
        hoard[::4096] = bytes(len(hoard) // 4096)
    if trial.number in (HANGS, EATS):
        time.sleep(600)
    return uneven_bowl(study, trial)


class ShuffledExecutor:
    """Many slots, whose trials come back in any order."""

    def __init__(self, slots: int, seed: int, evaluate: Evaluate = bowl) -> None:
        self.slots, self._evaluate = slots, evaluate
        self._rng = random.Random(seed)
        self._queue: list[tuple[Study, Trial]] = []
        self.most = 0
        self.closed = False

    def submit(self, study: Study, trial: Trial) -> None:
        self._queue.append((study, trial))
        self.most = max(self.most, len(self._queue))

    def collect(self, timeout: float | None = None) -> tuple[Trial, TrialResult] | None:
        if not self._queue:
            return None
        study, trial = self._queue.pop(self._rng.randrange(len(self._queue)))
        return trial, self._evaluate(study, trial, "cpu")

    def close(self) -> None:
        self.closed = True


EVALUATIONS: dict[str, Evaluate] = {
    e.__name__: e
    for e in (
        bowl,
        uneven_bowl,
        slow_bowl,
        hanging_bowl,
        whose_bowl,
        bulky_bowl,
        failing_bowl,
        deadly_bowl,
        endless_bowl,
        raising_bowl,
        faulty,
    )
}

Atlas = set[tuple[object, ...]]


def read_records(path: Path) -> list[Record]:
    """The records of a journal; what a fault cut short is left out."""
    found = map(parsed, path.read_bytes().split(b"\n"))
    return [record for record in found if record is not None]


def atlas_of(journal: Path) -> Atlas:
    """What must not depend on workers, order or restarts."""
    return {
        (
            tuple(record["cell"].items()),
            record["method"],
            record["number"],
            tuple((record["proposal"] or {}).values()),
            tuple(record["weights"].items()),
            record["nrmse"],
            record["status"],
            record["trial_id"],
        )
        for record in read_records(journal)
    }
