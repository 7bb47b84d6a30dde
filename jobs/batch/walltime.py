"""Walltimes: as people write them, and what schedulers say is left of a job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from ...recon_core.errors import BadInput

FORMS = "HH:MM:SS or D-HH:MM:SS, above zero"
RESERVE_SECONDS, RESERVE_PART = 60.0, 0.05
"""Of a walltime, kept for the atlas and the report: the smaller of the two."""
QUESTION_SECONDS = 20.0

Ask = Callable[[Sequence[str]], str | None]


def parse_walltime(text: str) -> int:
    """Seconds of ``HH:MM:SS`` or ``D-HH:MM:SS``; hours may be more than 24.

    Raises
    ------
    BadInput : any other form, or no time at all.
    """
    found = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)", text.strip())
    days, hours, minutes, seconds = (
        (int(part or 0) for part in found.groups()) if found else [0] * 4
    )
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise BadInput("not a walltime", key="--walltime", value=text, accepted=FORMS)
    return total


def walltime_text(seconds: float) -> str:
    """``HH:MM:SS``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def for_trials(seconds: float) -> float:
    """What of a walltime trials may use."""
    return seconds - min(RESERVE_SECONDS, RESERVE_PART * seconds)


def _answer(command: Sequence[str]) -> str | None:
    """What a scheduler's command prints; None where it does not answer."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=QUESTION_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def seconds_left(
    environment: Mapping[str, str] = os.environ,
    now: Callable[[], float] = time.time,
    ask: Ask = _answer,
) -> float | None:
    """What is left of the job that this process runs in; None outside of one, or where unknown.

    Slurm says when the job ends in an environment variable; PBS and LSF are asked.
    """
    if (end := environment.get("SLURM_JOB_END_TIME", "")).isdecimal():
        return float(end) - now()
    if job := environment.get("PBS_JOBID"):
        return _pbs_left(ask(["qstat", "-f", "-F", "json", job]))
    if job := environment.get("LSB_JOBID"):
        return _lsf_left(ask(["bjobs", "-noheader", "-o", "time_left", job]))
    return None


def _pbs_left(answer: str | None) -> float | None:
    """From ``Resource_List.walltime`` and ``resources_used.walltime`` of the only job."""
    try:
        (job,) = json.loads(answer or "")["Jobs"].values()
        limit = parse_walltime(job["Resource_List"]["walltime"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    hours, minutes, seconds = _used(job.get("resources_used", {}).get("walltime"))
    return limit - ((hours * 60 + minutes) * 60 + seconds)


def _used(text: object) -> tuple[int, int, int]:
    found = re.fullmatch(r"(\d+):(\d+):(\d+)", str(text))
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def _lsf_left(answer: str | None) -> float | None:
    """From ``hours:minutes L``; LSF says E where it only guesses."""
    found = re.match(r"\s*(\d+):(\d+) L", answer or "")
    return None if found is None else 60.0 * (60 * int(found[1]) + int(found[2]))
