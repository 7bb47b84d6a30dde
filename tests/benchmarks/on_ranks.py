"""Run a study on MPI ranks with an evaluation from `fault_fakes`: STUDY DIR EVALUATION.

Prints a line of JSON: trials done, workers that were seen, and how busy they were.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fault_fakes
from occupation import Occupation

from tomoatlas.sweep.executors import Executor
from tomoatlas.sweep.executors.mpi.ranks import leave, run_ranks
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import load_study


def main(study: Path, folder: Path, evaluation: str) -> int:
    """The exit code of this rank."""

    def manage(executor: Executor) -> int:
        occupation = Occupation()
        summary = run(load_study(study), folder, executor, occupation.note)
        facts = {
            "done": summary.done,
            "failed": summary.failed,
            "workers": len(occupation.intervals),
            "utilisation": occupation.utilisation(),
        }
        print(json.dumps(facts))
        return 0

    return leave(run_ranks(manage, getattr(fault_fakes, evaluation)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
