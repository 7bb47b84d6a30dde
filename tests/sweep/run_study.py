"""Runs a study with a fake evaluation: STUDY DIR EVALUATION inline|processes|threads:N|mpi.

On MPI it first prints the number of the manager's process; interrupted, it exits with 130.
"""

from __future__ import annotations

import os
import sys

from sweep_fakes import EVALUATIONS
from sweep_threads import Threads

from tomoatlas.sweep.executors import Executor
from tomoatlas.sweep.executors.local import InlineExecutor, ProcessExecutor
from tomoatlas.sweep.study import load_study


def main(study: str, folder: str, evaluation: str, executor: str) -> None:
    evaluate = EVALUATIONS[evaluation]

    def manage(workers: Executor) -> int:
        from tomoatlas.sweep.run.driver import run

        if executor == "mpi":
            print(os.getpid(), flush=True)
        summary = run(load_study(study), folder, workers)
        print(summary)
        return 130 if summary.interrupted else 0

    if executor == "mpi":
        from tomoatlas.sweep.executors.mpi.ranks import leave, run_ranks

        sys.exit(leave(run_ranks(manage, evaluate)))
    elif executor == "processes":
        manage(ProcessExecutor(2, evaluate))
    elif executor.startswith("threads:"):
        manage(Threads(int(executor.partition(":")[2]), evaluate))
    else:
        manage(InlineExecutor(evaluate))


if __name__ == "__main__":
    main(*sys.argv[1:])
