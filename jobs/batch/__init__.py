"""The schedulers that scripts are written for: how each is spoken to."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ...recon_core.errors import BadInput

CARRIED = ("TOMOATLAS_RECORDED", "TOMOATLAS_FRUITLESS")
"""What a job tells its successor: records when it started, and jobs in a row that added none."""


@dataclass(frozen=True)
class Scheduler:
    """One scheduler.

    ``prefix``: of a directive. ``folder``: variable with the folder it was submitted from.
    ``submit``: command; ``reads_script``: it wants the script on its standard input. ``successor``:
    shell command that submits ``$job`` to follow this job and prints its id. ``cancel``: command
    that takes the id of a job. ``answer``: pattern with the id, in what ``submit`` prints.
    ``hides_script``: a job cannot copy the file that it was submitted as. ``time_is_up``: exit code
    of a job whose successor is to start.
    """

    prefix: str
    folder: str
    submit: str
    successor: str
    cancel: str
    answer: str
    reads_script: bool = False
    hides_script: bool = False
    time_is_up: int = 4

    @property
    def only_after_success(self) -> bool:
        """Whether a successor starts only after an exit code of 0."""
        return self.time_is_up == 0


_CARRY = "TOMOATLAS_RECORDED=$records,TOMOATLAS_FRUITLESS=$fruitless"

SCHEDULERS = {
    "slurm": Scheduler(
        "#SBATCH",
        "SLURM_SUBMIT_DIR",
        "sbatch --parsable",
        'sbatch --parsable --dependency=afterany:"$SLURM_JOB_ID" '
        f'--export="ALL,{_CARRY}" "$job" | cut -d";" -f1',
        "scancel",
        r"^(\d+)",
    ),
    "pbs": Scheduler(
        "#PBS",
        "PBS_O_WORKDIR",
        "qsub",
        f'qsub -W depend=afterany:"$PBS_JOBID" -v "{_CARRY}" "$job"',
        "qdel",
        r"^(\d+\S*)",
    ),
    "lsf": Scheduler(
        "#BSUB",
        "LS_SUBCWD",
        "bsub",
        f'bsub -w "ended($LSB_JOBID)" -env "all,{_CARRY}" <"$job" '
        r"| sed -n 's/^Job <\([0-9]*\)>.*/\1/p'",
        "bkill",
        r"Job <(\d+)>",
        reads_script=True,
        hides_script=True,
    ),
    # Cobalt starts a successor only after an exit code of 0.
    "cobalt": Scheduler(
        "#COBALT",
        "PWD",
        "qsub",
        f'qsub --dependencies "$COBALT_JOBID" --env "{_CARRY.replace(",", ":")}" "$job"',
        "qdel",
        r"^(\d+)",
        time_is_up=0,
    ),
}


def submit(scheduler: Scheduler, job: Path) -> str:
    """Submit the script ``job``; the id that the scheduler gave it.

    Raises
    ------
    BadInput : the scheduler is not here, refuses, or answers without an id.
    """
    command = scheduler.submit.split()
    script = [] if scheduler.reads_script else [str(job)]
    try:
        with job.open("rb") as file:
            done = subprocess.run(
                [*command, *script],
                stdin=file if scheduler.reads_script else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
    except FileNotFoundError as error:
        raise BadInput(
            "no such scheduler here", source=command[0], accepted="a login node of the site"
        ) from error
    found = re.search(scheduler.answer, done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise BadInput(f"refused the job: {said}", source=command[0])
    return found[1]
