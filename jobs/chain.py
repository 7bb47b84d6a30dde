"""The parts of a batch script that make its jobs a chain, in shell."""

from __future__ import annotations

from pathlib import Path

from jobs.schedulers import Scheduler

ENOUGH_SECONDS = 120
"""Left of a job, below which a lost run is not launched again."""

_GUARD = 2

FORWARD = """\
# A signal to this script is for the run, and ends both. Job control, as a run that is started
# in the background is deaf to Ctrl-C without it.
set -m
run='' asked=''
forward() { asked=$1; [ -z "$run" ] || kill -s "$1" "$run" 2>/dev/null; }
trap 'forward TERM' TERM
trap 'forward USR1' USR1
trap 'forward INT' INT
ended() { # the exit code of the run; a wait that a signal cuts short is none
    local code
    while wait "$run"; code=$?; kill -0 "$run" 2>/dev/null; do :; done
    return $code
}
"""
AWAITED = " &\n    run=$!\n    ended"
ASKED = '    [ -z "$asked" ] || exit "${code:-4}"\n'


def explanation(scheduler: Scheduler | None, job: Path, note: str | None) -> str:
    """Comment lines: what the script does, and what to know of its site."""
    if scheduler is None:
        text = "# Run this file; it launches the study again after a crash, until it is complete."
    else:
        text = (
            "# Every job first submits its successor, and cancels it once the study is complete. "
            f"The\n# successors run {job}, {_WHENCE[scheduler.hides_script]}\n"
            "# To end the chain, cancel the job and its successor."
        )
        if scheduler.only_after_success:
            text += "\n# A job that is killed ends it too, as does one that gives up: submit again."
    return f"{text}\n# It {note}." if note else text


_WHENCE = {
    False: "where each first job puts a copy of itself.",
    True: "so save this file under that name and submit it from there.",
}


def left(walltime: int | None) -> str:
    """A function that prints what is left of ``walltime`` seconds."""
    if walltime is None:
        return ""
    return (
        f"left() {{ local s=$(({walltime} - SECONDS)); [ $s -gt 0 ] || s=1\n"
        "    printf '%02d:%02d:%02d' $((s / 3600)) $((s / 60 % 60)) $((s % 60)); }"
    )


def chain(scheduler: Scheduler | None, mark: str) -> str:
    """Submits the successor; ``mark`` tells scripts of other requests from this."""
    if scheduler is None:
        return ""
    return f"""\
job=$out/job.sh
{_MARKED.format(mark=mark) if scheduler.hides_script else _COPIED}
# The successor, unless jobs in a row have recorded nothing: then something else is wrong.
records=$(recorded)
fruitless=0
if [ "$records" = "${{TOMOATLAS_RECORDED:-}}" ]; then fruitless=$((TOMOATLAS_FRUITLESS + 1)); fi
if [ $fruitless -ge {_GUARD} ]; then
    echo "the chain ends: {_GUARD} jobs in a row recorded no trial" >&2
    exit 1
fi
{_next(scheduler)}"""


def _next(scheduler: Scheduler) -> str:
    lines = [f"next=$({scheduler.successor})"]
    if scheduler.hides_script:
        lines = ["next=", f'if [ -n "$mine" ]; then {lines[0]}; fi']
    missing = '[ -n "$next" ] || echo "no successor: submit $job again when this job has ended" >&2'
    return "\n".join([*lines, missing, ""])


_COPIED = """\
# A first job, submitted by hand, replaces what an earlier request has left there.
if [ ! -s "$job" ] || { [ -z "${TOMOATLAS_RECORDED:-}" ] && ! cmp -s -- "$0" "$job"; }; then
    if [ -s "$job" ]; then
        mv --backup=numbered -- "$job" "$job.old"
        echo "$job was another script, and is $job.old now" >&2
    fi
    cp -- "$0" "$job"
    chmod u+x "$job"
fi
"""

_MARKED = """\
# {mark}: the same in the file of the successors. LSF runs this one from a copy of its own making.
mine=$(grep -s '^# {mark}:' "$job")
[ -n "$mine" ] || echo "$job is missing or another script: save this one there" >&2
"""


def enough(walltime: int | None, scheduler: Scheduler | None) -> str:
    """Ends a job that has too little time left for another launch, so that its successor starts."""
    if walltime is None:
        return ""
    code = "0" if scheduler is not None and scheduler.only_after_success else "$code"
    return f"    if [ $(({walltime} - SECONDS)) -lt {ENOUGH_SECONDS} ]; then exit {code}; fi\n"
