"""What a trial costs beyond its evaluation: trials that do nothing, one at a time.

    python tests/benchmarks/overhead.py

Inline, in a child process, on two MPI ranks and on a local Dask cluster, each with warm workers;
and what it costs to begin: the first trial, with a child that has to start. Then how soon a trial
over its limit is ended.
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))

from common import table
from fault_fakes import nothing
from sweep_conformance import collected, some_trials, trial_number
from sweep_fakes import EATS, HANGS, faulty, small_study
from sweep_launch import mpiexec

from tomoatlas.sweep.executors import MEBIBYTE, Executor, Limits
from tomoatlas.sweep.executors.local import InlineExecutor, ProcessExecutor
from tomoatlas.sweep.study.trial import TrialResult

TRIALS = 500
LIMITS = Limits(seconds=60.0, memory_bytes=8000 * MEBIBYTE)
LIMITS_HEADER = ("limit", "error", "ended")
HEADER = ("executor", "first trial (s)", "median (ms)", "95th percentile (ms)")


def measured(name: str, executor: Executor) -> list[str]:
    """A row: seconds of the first trial, and what later ones take."""
    study = small_study()
    trial = some_trials(study, 1)[0]
    taken = []
    with closing(executor):
        for _ in range(TRIALS):
            start = time.perf_counter()
            executor.submit(study, trial)
            collected(executor)
            taken.append(time.perf_counter() - start)
    first, *rest = taken
    median, late = statistics.median(rest), statistics.quantiles(rest, n=20)[-1]
    return [name, f"{first:.2f}", f"{1e3 * median:.2f}", f"{1e3 * late:.2f}"]


def over_time() -> list[str]:
    """The row of a trial that never ends."""
    result = _outcome(HANGS, Limits(seconds=1.0))
    return ["1 s", str(result.error), f"after {result.seconds:.2f} s"]


def over_memory() -> list[str]:
    """The row of a trial that fills memory as fast as it can."""
    result = _outcome(EATS, Limits(memory_bytes=400 * MEBIBYTE))
    return ["400 MiB", str(result.error), f"after {result.seconds:.2f} s"]


def _outcome(number: int, limits: Limits) -> TrialResult:
    study = small_study()
    with closing(ProcessExecutor(1, faulty, limits)) as executor:
        executor.submit(study, trial_number(study, number))
        return collected(executor)[1]


def on_ranks() -> int:
    """Print the row of MPI ranks, its cells on lines of their own."""
    from tomoatlas.sweep.executors.mpi.ranks import leave, run_ranks

    def manage(executor: Executor) -> int:
        print("\n".join(measured("2 MPI ranks", executor)))
        return 0

    return leave(run_ranks(manage, nothing, LIMITS))


def on_dask() -> list[str]:
    """The row of a local Dask cluster."""
    from tomoatlas.sweep.executors.dask import DaskExecutor, connected

    with connected("local", 1) as client:
        return measured("Dask, one worker", DaskExecutor(client, nothing, LIMITS))


def main() -> int:
    """Print a row per executor."""
    if sys.argv[1:] == ["ranks"]:
        return on_ranks()
    ranks = mpiexec(2, __file__, "ranks")
    ranks.check_returncode()
    rows = [
        measured("inline", InlineExecutor(nothing)),
        measured("a child process", ProcessExecutor(1, nothing)),
        measured("a child process with limits", ProcessExecutor(1, nothing, LIMITS)),
        ranks.stdout.split("\n")[:4],
        on_dask(),
    ]
    table(HEADER, rows)
    table(LIMITS_HEADER, [over_time(), over_memory()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
