"""The schedulers that scripts are written for: how each is addressed, and its walltimes.

One row of :data:`SCHEDULERS` holds everything that differs between them: how a directive starts,
how a job submits its successor, cancels it, and learns how much time it has left. A new scheduler
is a new row; the scripts themselves are written in ``scripts``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...recon_core.errors import BadInput

FORMS = "HH:MM:SS, D-HH:MM:SS, or with units as 2h, 90m, 1d12h; above zero"
RESERVE_SECONDS, RESERVE_PART = 60.0, 0.05
"""Reserved at the end of a walltime for the atlas and the report: seconds, or this fraction
of it, whichever is smaller.
"""


def parse_walltime(text: str) -> int:
    """Seconds of a walltime.

    Parameters
    ----------
    text : ``HH:MM:SS`` or ``D-HH:MM:SS``; hours may exceed 24. Or days, hours, minutes and seconds
        with their units, largest first: ``1d12h``, ``90m``, ``2 h``.

    Raises
    ------
    BadInput : any other form, or zero.

    Examples
    --------
    >>> parse_walltime("00:30:00"), parse_walltime("2-12:00:00"), parse_walltime("1h30m")
    (1800, 216000, 5400)
    """
    # Slurm's form with days beside the common one; a number alone would be ambiguous, as schedulers
    # take it for minutes or for seconds.
    written = text.strip().lower()
    found = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)", written)
    found = found or re.fullmatch(
        r"(?:(\d{1,3})\s*d)?\s*(?:(\d{1,4})\s*h)?\s*(?:(\d{1,6})\s*m(?:in)?)?\s*(?:(\d{1,8})\s*s)?",
        written,
    )
    days, hours, minutes, seconds = (
        (int(part or 0) for part in found.groups()) if found else [0] * 4
    )
    # A malformed text also gives zero, which no job may have.
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise BadInput("not a walltime", key="--walltime", value=text, accepted=FORMS)
    return total


def walltime_text(seconds: float) -> str:
    """A walltime as schedulers read it.

    Parameters
    ----------
    seconds : rounded down to whole seconds.

    Returns
    -------
    ``HH:MM:SS``, with hours above 24 where needed.

    Examples
    --------
    >>> walltime_text(216000)
    '60:00:00'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def for_trials(seconds: float) -> float:
    """The part of a walltime that trials may use; the rest is kept for the atlas and the report.

    Parameters
    ----------
    seconds : the walltime.

    Examples
    --------
    >>> for_trials(3600.0), for_trials(100.0)
    (3540.0, 95.0)
    """
    return seconds - min(RESERVE_SECONDS, RESERVE_PART * seconds)


QUERY_SECONDS = 20.0
"""Most seconds to wait for a scheduler's answer."""

CARRIED = ("TOMOATLAS_RECORDED", "TOMOATLAS_FRUITLESS")
"""What a job passes to its successor: records when it started, and consecutive jobs that
added none.
"""

Query = Callable[[Sequence[str]], str | None]
"""Runs a command of a scheduler; what it prints, or None if it fails."""

SIGNALS = ("TERM", "USR1", "USR2")
"""Signals by which schedulers ask a job to end."""

SchedulerName = Literal["slurm", "pbs", "lsf", "gridengine", "cobalt"]


@dataclass(frozen=True)
class Scheduler:
    """The commands and conventions of one scheduler.

    Parameters
    ----------
    prefix : start of a directive line.
    folder : variable that holds the folder the job was submitted from.
    job_id : variable that holds the id of the job.
    submit : command that submits a script.
    successor : shell command that submits ``$job`` to run after this job and prints its id.
    cancel : command that takes the id of a job.
    answer : pattern of the id in what ``submit`` prints.
    reads_script : whether ``submit`` expects the script on its standard input.
    hides_script : whether a job cannot copy the file that it was submitted as.
    only_after_success : whether a successor starts only after an exit code of 0.
    by_clock : whether a run has to end a notice before its time by its own clock, as the signal of
        the end is one that launchers do not survive.
    cancelled_by : signal of :data:`SIGNALS` that a job gets when a person cancels it.
    preempted : shell command that succeeds in a job that makes room for another: it is asked to
        end just as one that a person cancels.
    job_end : variable that holds the Unix time of the job's end; None if there is none.
    time_left : command that, with a job's id added, prints how much time the job has left; empty
        for none.
    read_time_left : reads seconds from the output of ``time_left``.
    """

    prefix: str
    folder: str
    job_id: str
    submit: str
    successor: str
    cancel: str
    answer: str
    reads_script: bool = False
    hides_script: bool = False
    only_after_success: bool = False
    by_clock: bool = False
    cancelled_by: str = "TERM"
    preempted: str = "false"
    job_end: str | None = None
    time_left: tuple[str, ...] = ()
    read_time_left: Callable[[str], float | None] = float


def _pbs_left(answer: str) -> float | None:
    """Seconds left by ``Resource_List.walltime`` and ``resources_used.walltime`` of the only
    job.
    """
    try:
        (job,) = json.loads(answer)["Jobs"].values()
        # PBS reports the limit and the time used, not the end.
        limit = parse_walltime(job["Resource_List"]["walltime"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    hours, minutes, seconds = _used(job.get("resources_used", {}).get("walltime"))
    return limit - ((hours * 60 + minutes) * 60 + seconds)


def _used(text: object) -> tuple[int, int, int]:
    """Hours, minutes and seconds used, 0 for anything else: a job that has just started has
    no entry.
    """
    found = re.fullmatch(r"(\d+):(\d+):(\d+)", str(text))
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def _lsf_left(answer: str) -> float | None:
    """From ``hours:minutes L``; LSF writes E instead of L if it only guesses."""
    # Hours and minutes; a trailing E marks an estimate instead of a limit.
    found = re.match(r"\s*(\d+):(\d+) L", answer)
    return None if found is None else 60.0 * (60 * int(found[1]) + int(found[2]))


_CARRY = "TOMOATLAS_RECORDED=$records,TOMOATLAS_FRUITLESS=$fruitless"

SCHEDULERS: dict[str, Scheduler] = {
    "slurm": Scheduler(
        prefix="#SBATCH",
        folder="SLURM_SUBMIT_DIR",
        job_id="SLURM_JOB_ID",
        submit="sbatch --parsable",
        successor='sbatch --parsable --dependency=afterany:"$SLURM_JOB_ID" '
        f'--export="ALL,{_CARRY}" "$job" | cut -d";" -f1',
        cancel="scancel",
        answer=r"^(\d+)",
        preempted='scontrol show job "$SLURM_JOB_ID" | grep -q "PreemptTime=[0-9]"',
        job_end="SLURM_JOB_END_TIME",
    ),
    "pbs": Scheduler(
        prefix="#PBS",
        folder="PBS_O_WORKDIR",
        job_id="PBS_JOBID",
        submit="qsub",
        successor=f'qsub -W depend=afterany:"$PBS_JOBID" -v "{_CARRY}" "$job"',
        cancel="qdel",
        answer=r"^(\d+\S*)",
        time_left=("qstat", "-f", "-F", "json"),
        read_time_left=_pbs_left,
    ),
    "lsf": Scheduler(
        prefix="#BSUB",
        folder="LS_SUBCWD",
        job_id="LSB_JOBID",
        submit="bsub",
        successor=f'bsub -w "ended($LSB_JOBID)" -env "all,{_CARRY}" <"$job" '
        r"| sed -n 's/^Job <\([0-9]*\)>.*/\1/p'",
        cancel="bkill",
        answer=r"Job <(\d+)>",
        reads_script=True,
        hides_script=True,
        time_left=("bjobs", "-noheader", "-o", "time_left"),
        read_time_left=_lsf_left,
    ),
    # With -notify USR2 comes before SIGKILL; without, nothing does. It ends what starts the ranks.
    "gridengine": Scheduler(
        prefix="#$",
        folder="SGE_O_WORKDIR",
        job_id="JOB_ID",
        submit="qsub -terse",
        successor=f'qsub -terse -hold_jid "$JOB_ID" -v "{_CARRY}" "$job"',
        cancel="qdel",
        answer=r"^(\d+)",
        by_clock=True,
        cancelled_by="USR2",
    ),
    "cobalt": Scheduler(
        prefix="#COBALT",
        folder="PWD",
        job_id="COBALT_JOBID",
        submit="qsub",
        successor=f'qsub --dependencies "$COBALT_JOBID" --env "{_CARRY.replace(",", ":")}" "$job"',
        cancel="qdel",
        answer=r"^(\d+)",
        only_after_success=True,
    ),
}


def submit(scheduler: Scheduler, job: Path) -> str:
    """Submit a script; return the id that the scheduler assigned.

    Parameters
    ----------
    scheduler : the scheduler of this machine.
    job : path of the script.

    Raises
    ------
    BadInput : the scheduler is not installed here, refuses, or answers without an id.
    """
    command = scheduler.submit.split()
    script = [] if scheduler.reads_script else [str(job)]
    try:
        with job.open("rb") as file:
            done = subprocess.run(
                [*command, *script],
                # LSF takes the directives only from its standard input.
                stdin=file if scheduler.reads_script else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
    except FileNotFoundError as error:
        raise BadInput(
            "no such scheduler here", source=command[0], accepted="a login node of the site"
        ) from error
    # Some sites print banners before the id.
    found = re.search(scheduler.answer, done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise BadInput(f"refused the job: {reason}", source=command[0])
    return found[1]


def inside_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process runs in a job of a scheduler.

    Parameters
    ----------
    environment : variables of this process.
    """
    # Both, as a variable named JOB_ID may be of anything.
    return any({each.job_id, each.folder} <= environment.keys() for each in SCHEDULERS.values())


def _answer(command: Sequence[str]) -> str | None:
    """What a scheduler's command prints; None if it fails or does not answer in time."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=QUERY_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def seconds_left(
    environment: Mapping[str, str] = os.environ,
    now: Callable[[], float] = time.time,
    query: Query = _answer,
) -> float | None:
    """Seconds left of the job that this process runs in.

    Slurm sets a variable with the time of the job's end; PBS and LSF are queried.

    Parameters
    ----------
    environment : variables of this process.
    now : the present time, Unix seconds.
    query : runs a command of a scheduler.

    Returns
    -------
    None outside of a job, in a shell that has outlived one, or if its scheduler gives no limit.
    """
    for scheduler in SCHEDULERS.values():
        if scheduler.job_end and (end := environment.get(scheduler.job_end, "")).isdecimal():
            # A job that should have ended has: the shell that it left behind keeps the variable.
            return left if (left := float(end) - now()) > 0 else None
        if scheduler.time_left and (job := environment.get(scheduler.job_id)):
            # One question per run: schedulers throttle clients that ask often.
            answer = query([*scheduler.time_left, job])
            return None if answer is None else scheduler.read_time_left(answer)
    return None
