"""Batch scripts that continue, job after job, until a study is complete.

The template ``sites/job.sh`` is filled in from a site and a request. Each job submits its successor
before it starts the run, so that a job killed without warning still has one, and cancels it when
the study is complete. A chain ends by itself if jobs in a row record nothing.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import astuple, dataclass
from importlib.resources import files
from pathlib import Path

from ...recon_core.errors import BadInput
from ...sweep.study.identity import digest
from . import SCHEDULERS, SIGNALS, Scheduler, walltime_text
from .sites import Site

ENOUGH_SECONDS = 120
"""Least time left of a job, in seconds, for a lost run to be launched again."""

# One job without a record may have had bad luck with its node.
_GUARD = 2

NOTICE_SECONDS, NOTICE_PART = 300, 10
"""How long before its end a job is asked to drain, in seconds; at most a tenth of the walltime."""

TIME_IS_UP = """\
if [ -n "$next" ]; then exit 0; fi # so that accounts do not show it as failed
        exit 4"""

_ENDED = """\
ended() { # the exit code of the run; a wait that a signal cuts short is none
    local code
    while wait "$run"; code=$?; kill -0 "$run" 2>/dev/null; do :; done
    return $code
}
"""

FORWARD = f"""\
# A signal to this script is for the run, and ends both. Job control, as a run that is started
# in the background is deaf to Ctrl-C without it.
set -m
asked=''
forward() {{ asked=$1; [ -z "${{!:-}}" ] || kill -s "$1" "$!" 2>/dev/null; }}
trap 'forward TERM' TERM
trap 'forward USR1' USR1
trap 'forward INT' INT
{_ENDED}"""
"""Signals to the script of a workstation."""

WITHDRAW = f"""\
# The scheduler sends its signals to the run as well. At @by@ long before its time this job has been
# cancelled, and its successor goes with it; so it does with one that is put back into the queue and
# will submit another.
run='' asked='' next=''
withdraw() {{ [ -z "$next" ] || @cancel@ "$next"; rm -f -- "$out/job.next"; }}
cancelled() {{ [ $((@time@ - SECONDS)) -gt @notice@ ] && ! @preempted@; }}
trap 'asked=@by@; if cancelled; then withdraw; fi' @by@
trap : @others@
{_ENDED}"""
"""Signals to the script of a job."""


def notice(walltime: int) -> int:
    """Seconds before its end at which a job is asked to drain.

    Parameters
    ----------
    walltime : of the job, seconds.
    """
    return max(1, min(NOTICE_SECONDS, walltime // NOTICE_PART))


def signals(scheduler: Scheduler | None, walltime: int | None) -> str:
    """Shell lines that say what signals do.

    Parameters
    ----------
    scheduler : of the site; None for a workstation.
    walltime : of a job, seconds; None on a workstation.
    """
    if scheduler is None or walltime is None:
        return FORWARD
    parts = {
        "cancel": scheduler.cancel,
        "by": scheduler.cancelled_by,
        "others": " ".join(name for name in SIGNALS if name != scheduler.cancelled_by),
        "preempted": scheduler.preempted,
        "time": str(walltime),
        "notice": str(notice(walltime)),
    }
    return re.sub(r"@(\w+)@", lambda found: parts[found[1]], WITHDRAW)


def explanation(scheduler: Scheduler | None, job: Path, note: str | None) -> str:
    """Comment lines: what the script does, and what is special about its site.

    Parameters
    ----------
    scheduler : of the site; None for a workstation.
    job : path of the script that successors run.
    note : a remark about the site; None for none.
    """
    if scheduler is None:
        text = "# Run this file; it launches the study again after a crash, until it is complete."
    else:
        text = (
            "# Every job first submits its successor, and cancels it once the study is complete. "
            f"The\n# successors run {job}, {_WHENCE[scheduler.hides_script]}\n"
            "# To end the chain, cancel the job that runs."
        )
        if scheduler.only_after_success:
            text += "\n# A job that is killed ends it too, as does one that gives up: submit again."
    return f"{text}\n# It {note}." if note else text


_WHENCE = {
    False: "where each first job puts a copy of itself.",
    True: "so save this file under that name and submit it from there.",
}


def left(walltime: int | None) -> str:
    """A shell function that prints how much of the walltime is left.

    Parameters
    ----------
    walltime : seconds; None for no limit, and no function.
    """
    if walltime is None:
        return ""
    return (
        f"left() {{ local s=$(({walltime} - SECONDS)); [ $s -gt 0 ] || s=1\n"
        "    printf '%02d:%02d:%02d' $((s / 3600)) $((s / 60 % 60)) $((s % 60)); }"
    )


def chain(scheduler: Scheduler | None, mark: str) -> str:
    """Shell lines that submit the successor of a job.

    Parameters
    ----------
    scheduler : of the site; None for a workstation, which has no successor.
    mark : distinguishes this script from those of other requests.
    """
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
    """Shell lines that submit the successor, and report if there is none."""
    submitted = f"next=$({scheduler.successor})"
    if scheduler.hides_script:
        submitted = f'if [ -n "$mine" ]; then {submitted}; fi'
    return f"""\
# A job that was put back into the queue has a successor already.
if [ -s "$out/job.next" ]; then read -r whose next <"$out/job.next"; fi
if [ "${{whose:-}}" != "${scheduler.job_id}" ]; then
    next=
    {submitted}
    echo "${scheduler.job_id} $next" >"$out/job.next"
fi
[ -n "$next" ] || echo "no successor: submit $job again when this job has ended" >&2
"""


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
    """A shell line that ends a job with too little time for another launch, so that its successor
    starts.

    Parameters
    ----------
    walltime : seconds; None for no limit.
    scheduler : of the site; None for a workstation.
    """
    if walltime is None:
        return ""
    code = "0" if scheduler is not None and scheduler.only_after_success else "$code"
    return f"    if [ $(({walltime} - SECONDS)) -lt {ENOUGH_SECONDS} ]; then exit {code}; fi\n"


_NAME_LENGTH = 15


@dataclass(frozen=True)
class JobRequest:
    """What is to be run, and with what.

    Parameters
    ----------
    study : path of a study file, or name of a shipped study.
    name : name of the study, used for the job.
    out : the study folder.
    nodes : number of nodes.
    walltime : limit of one job, seconds; None on a workstation.
    account : to be charged; None for none.
    queue : queue or partition; None for the site's.
    tomoatlas, mpiexec : the commands, as the job will find them.
    """

    study: str
    name: str
    out: Path
    nodes: int
    walltime: int | None = None
    account: str | None = None
    queue: str | None = None
    tomoatlas: str = "tomoatlas"
    mpiexec: str = "mpiexec"

    @property
    def job(self) -> Path:
        """The script that the jobs of a chain run."""
        return self.out / "job.sh"


def script(site: Site, request: JobRequest) -> str:
    """The batch script for a site.

    Parameters
    ----------
    site : the machine.
    request : what to run.

    Raises
    ------
    BadInput : no walltime or account although the site needs one, a job its queue does not accept,
        or an unknown placeholder in the site file.
    """
    # None for a workstation, whose script is a loop instead of a chain of jobs.
    scheduler = SCHEDULERS.get(site.scheduler)
    _check(site, request, scheduler)
    _check_texts(request)
    _check_limits(site, request)
    values = _values(site, request)
    parts = {
        "directives": _directives(site, values, scheduler),
        "about": site.about,
        "explanation": explanation(scheduler, request.job, site.note),
        "setup": "\n".join(_setup(site, values, scheduler)),
        "tomoatlas": shlex.quote(request.tomoatlas),
        "study": shlex.quote(request.study),
        "out": shlex.quote(str(request.out)),
        "left": left(_for_the_run(request.walltime, scheduler)),
        "chain": chain(scheduler, _mark(site, request)),
        "signals": signals(scheduler, request.walltime),
        "launch": _launch(site, values),
        "device": site.device,
        "options": "" if request.walltime is None else ' --walltime "$(left)"',
        "withdraw": "withdraw" if scheduler else ":",
        "time_is_up": TIME_IS_UP if scheduler else "exit 4",
        "enough": enough(request.walltime, scheduler),
    }
    template = (files("tomoatlas.jobs") / "sites" / "job.sh").read_text(encoding="utf-8")
    # The template uses @name@, as braces and dollars belong to the shell.
    filled = re.sub(r"@(\w+)@", lambda found: parts[found[1]], template)
    # Parts that are empty at this site leave no gaps.
    return re.sub(r"\n{3,}", "\n\n", filled)


def _for_the_run(walltime: int | None, scheduler: Scheduler | None) -> int | None:
    """The part of a walltime that the run is given, seconds."""
    if walltime is None or scheduler is None or not scheduler.by_clock:
        return walltime
    return walltime - notice(walltime)


def _check(site: Site, request: JobRequest, scheduler: Scheduler | None) -> None:
    """Refuse a request that lacks what the site needs."""
    if scheduler is not None and request.walltime is None:
        raise BadInput("missing", key="--walltime", accepted="HH:MM:SS")
    if site.needs_account and not request.account:
        raise BadInput("missing", key="--account", accepted=f"an account of {site.about}")
    if scheduler is None and request.nodes != 1:
        raise BadInput(
            "a site without scheduler has one node",
            key="--nodes",
            value=request.nodes,
            accepted="1",
        )


def _check_texts(request: JobRequest) -> None:
    """Refuse a text that would break a line of the script, or leave it incomplete."""
    texts = {
        "STUDY": request.study,
        "--out": str(request.out),
        "--account": request.account,
        "--queue": request.queue,
    }
    for key, text in texts.items():
        if text is not None and (not text.strip() or not text.isprintable()):
            raise BadInput("not acceptable", key=key, value=text, accepted="one line of text")


def _check_limits(site: Site, request: JobRequest) -> None:
    """Refuse a job that its queue does not accept."""
    queue, seconds = request.queue or site.queue, request.walltime or 0
    limits = [limit for limit in site.limits if limit.queue == queue]
    if limits and not any(limit.holds(request.nodes, seconds) for limit in limits):
        # Naming the other queues saves a look at the site's manual.
        others = sorted({limit.queue for limit in site.limits} - {queue})
        raise BadInput(
            f"no job for {walltime_text(seconds)} that the queue {queue} takes",
            key="--nodes",
            value=request.nodes,
            accepted="; ".join([*map(str, limits), *(f"--queue {name}" for name in others)]),
        )


def _mark(site: Site, request: JobRequest) -> str:
    """A digest that is equal only for scripts of the same site and request."""
    # Sites as well: an edited site file makes another script for the same request.
    return digest([site.model_dump(mode="json"), [str(part) for part in astuple(request)]])[:16]


def _values(site: Site, request: JobRequest) -> dict[str, str | None]:
    """Placeholder → text, for the lines of a site file; None for a value that was not given."""
    seconds = request.walltime or 0
    minutes = -(-seconds // 60)
    return {
        "nodes": str(request.nodes),
        "ranks": str(request.nodes * site.workers_per_node),
        "workers_per_node": str(site.workers_per_node),
        "gpus_per_node": str(site.gpus_per_node) if site.gpus_per_node else None,
        "cores_per_worker": str(site.cores_per_worker),
        "cores": str(request.nodes * site.workers_per_node * site.cores_per_worker),
        "cores_per_node": str(site.workers_per_node * site.cores_per_worker),
        "memory_per_node": site.memory_per_node,
        "walltime": walltime_text(seconds),
        # LSF counts in minutes; rounded up, so that the job never ends before the run.
        "walltime_hhmm": f"{minutes // 60:02d}:{minutes % 60:02d}",
        "notice": str(notice(seconds)),
        "pmi": site.pmi,
        "mpiexec": shlex.quote(request.mpiexec),
        "account": _quoted(request.account),
        "queue": _quoted(request.queue or site.queue),
        # Some schedulers accept only such characters, and 15 of them.
        "name": re.sub(r"[^A-Za-z0-9_]", "_", f"ta_{request.name}")[:_NAME_LENGTH],
    }


def _quoted(text: str | None) -> str | None:
    """Quoted for a shell; None stays None."""
    return None if text is None else shlex.quote(text)


def _filled(text: str, key: str, values: dict[str, str | None]) -> str:
    """A line of a site file with its placeholders replaced."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise BadInput(
                "unknown placeholder",
                key=key,
                value=found[0],
                accepted=", ".join(f"{{{name}}}" for name in values),
            )
        return values[found[1]] or ""

    # A brace behind a dollar belongs to the shell, which fills it in on the node.
    return re.sub(r"(?<!\$)\{(\w+)\}", value, text)


def _known(text: str, values: dict[str, str | None]) -> bool:
    """Whether every value that a line needs is given."""
    return not any(f"{{{name}}}" in text for name, value in values.items() if value is None)


def _directives(site: Site, values: dict[str, str | None], scheduler: Scheduler | None) -> str:
    """The scheduler's directives, without those, or their parts, whose value is not given."""
    # A directive whose value was not given, as an account, is left out whole; or a <part> of it.
    lines = (
        re.sub(r"<([^<>]*)>", lambda part: part[1] * _known(part[1], values), directive)
        for directive in site.directives
    )
    prefix = scheduler.prefix if scheduler else "#"
    known = (line for line in lines if _known(line, values))
    return "\n".join(f"{prefix} {_filled(line, 'directives', values)}" for line in known)


def _setup(site: Site, values: dict[str, str | None], scheduler: Scheduler | None) -> list[str]:
    """Shell lines before the launch."""
    # A job starts in the home folder at some sites.
    start = [f'cd "${scheduler.folder}" || exit 1'] if scheduler else []
    hint = [f"# If it needs modules, load them here: {site.hint}"] if site.hint else []
    return [*start, *hint, *(_filled(line, "setup", values) for line in site.setup)]


def _expanded(value: str) -> str:
    """In double quotes, so that the shell expands variables and arithmetic but nothing else."""
    return '"' + re.sub(r'(["\\`])', r"\\\1", value) + '"'


def _launch(site: Site, values: dict[str, str | None]) -> str:
    """The command that starts the ranks, with the variables that each rank sets for itself."""
    lines = site.launch if isinstance(site.launch, tuple) else (site.launch,)
    # The first that is complete: a site may start ranks in several ways, the best one first.
    launch = _filled(next((line for line in lines if _known(line, values)), ""), "launch", values)
    if site.rank_environment:
        pairs = " ".join(f"{name}={_expanded(v)}" for name, v in site.rank_environment.items())
        # Quoted as a whole: each rank's own shell fills in its local rank.
        inner = shlex.quote(f'export {pairs}; exec "$@"')
        launch += f" bash -c {inner} rank"
    return f"{launch} " if launch else ""
