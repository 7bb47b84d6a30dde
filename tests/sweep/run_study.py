"""Runs a study with a fake evaluation: STUDY DIR EVALUATION inline|processes[:N]|mpi."""

from __future__ import annotations

import sys

from sweep_fakes import EVALUATIONS

from sweep.executors.base import Executor
from sweep.executors.inline import InlineExecutor
from sweep.executors.processes import ProcessExecutor
from sweep.study import load_study


def main(study: str, folder: str, evaluation: str, executor: str) -> None:
    evaluate = EVALUATIONS[evaluation]

    def manage(workers: Executor) -> None:
        from sweep.driver import run

        print(run(load_study(study), folder, workers))

    if executor == "mpi":
        from sweep.executors.mpi import run_ranks

        run_ranks(manage, evaluate)
    elif executor.startswith("processes"):
        manage(ProcessExecutor(int(executor.partition(":")[2] or 2), evaluate))
    else:
        manage(InlineExecutor(evaluate))


if __name__ == "__main__":
    main(*sys.argv[1:])
