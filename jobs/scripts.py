"""Batch scripts that go on, job after job, until a study is complete."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jobs.chain import ASKED, AWAITED, FORWARD, chain, enough, explanation, left
from jobs.schedulers import SCHEDULERS, Scheduler
from jobs.sites import Site
from jobs.walltime import walltime_text
from recon_core.errors import BadInput

NOTICE_SECONDS, NOTICE_PART = 300, 10
"""Before its end a job is told to drain: the first, or this part of a short walltime."""

_NAME_LENGTH = 15


@dataclass(frozen=True)
class Request:
    """What is to be run, and with what: ``walltime`` in seconds, None for a workstation's end.

    ``tomoatlas``: the command, as the job is to find it.
    """

    study: str
    name: str
    out: Path
    nodes: int
    walltime: int | None = None
    account: str | None = None
    queue: str | None = None
    tomoatlas: str = "tomoatlas"

    @property
    def job(self) -> Path:
        """The script that the jobs of a chain run."""
        return self.out / "job.sh"


def script(site: Site, request: Request) -> str:
    """The batch script of ``request`` for ``site``.

    Raises
    ------
    BadInput : no walltime or account where the site needs one, an unknown placeholder in the site.
    """
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
        "left": left(request.walltime),
        "chain": chain(scheduler, _mark(site, request)),
        "forward": FORWARD if scheduler is None else "",
        "awaited": AWAITED if scheduler is None else "",
        "asked": ASKED if scheduler is None else "",
        "launch": _launch(site, values),
        "device": site.device,
        "options": "" if request.walltime is None else ' --walltime "$(left)"',
        "cancel": f'[ -z "$next" ] || {scheduler.cancel} "$next"' if scheduler else ":",
        "time_is_up": str(scheduler.time_is_up if scheduler else 4),
        "enough": enough(request.walltime, scheduler),
    }
    template = (files("jobs") / "sites" / "job.sh").read_text(encoding="utf-8")
    filled = re.sub(r"@(\w+)@", lambda found: parts[found[1]], template)
    return re.sub(r"\n{3,}", "\n\n", filled)


def _check(site: Site, request: Request, scheduler: Scheduler | None) -> None:
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


def _check_texts(request: Request) -> None:
    """Refuse what would break a line of the script, or leave a hole in it."""
    texts = {
        "STUDY": request.study,
        "--out": str(request.out),
        "--account": request.account,
        "--queue": request.queue,
    }
    for key, text in texts.items():
        if text is not None and (not text.strip() or not text.isprintable()):
            raise BadInput("not acceptable", key=key, value=text, accepted="one line of text")


def _check_limits(site: Site, request: Request) -> None:
    """Refuse a job that its queue does not take."""
    queue, seconds = request.queue or site.queue, request.walltime or 0
    limits = [limit for limit in site.limits if limit.queue == queue]
    if limits and not any(limit.holds(request.nodes, seconds) for limit in limits):
        others = sorted({limit.queue for limit in site.limits} - {queue})
        raise BadInput(
            f"no job for {walltime_text(seconds)} that the queue {queue} takes",
            key="--nodes",
            value=request.nodes,
            accepted="; ".join([*map(str, limits), *(f"--queue {name}" for name in others)]),
        )


def _mark(site: Site, request: Request) -> str:
    """The same for scripts of one request alone."""
    return hashlib.sha256(f"{site!r} {request!r}".encode()).hexdigest()[:16]


def _values(site: Site, request: Request) -> dict[str, str | None]:
    seconds = request.walltime or 0
    minutes = -(-seconds // 60)
    return {
        "nodes": str(request.nodes),
        "ranks": str(request.nodes * site.workers_per_node),
        "workers_per_node": str(site.workers_per_node),
        "walltime": walltime_text(seconds),
        "walltime_hhmm": f"{minutes // 60:02d}:{minutes % 60:02d}",
        "notice": str(max(1, min(NOTICE_SECONDS, seconds // NOTICE_PART))),
        "account": _quoted(request.account),
        "queue": _quoted(request.queue or site.queue),
        "name": re.sub(r"[^A-Za-z0-9_]", "_", f"ta_{request.name}")[:_NAME_LENGTH],
    }


def _quoted(text: str | None) -> str | None:
    return None if text is None else shlex.quote(text)


def _filled(text: str, key: str, values: dict[str, str | None]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise BadInput(
                "unknown placeholder",
                key=key,
                value=found[0],
                accepted=", ".join(f"{{{name}}}" for name in values),
            )
        return values[found[1]] or ""

    return re.sub(r"(?<!\$)\{(\w+)\}", value, text)


def _directives(site: Site, values: dict[str, str | None], scheduler: Scheduler | None) -> str:
    absent = {f"{{{name}}}" for name, value in values.items() if value is None}
    lines = [line for line in site.directives if not any(name in line for name in absent)]
    prefix = scheduler.prefix if scheduler else "#"
    return "\n".join(f"{prefix} {_filled(line, 'directives', values)}" for line in lines)


def _setup(site: Site, values: dict[str, str | None], scheduler: Scheduler | None) -> list[str]:
    start = [f'cd "${scheduler.folder}" || exit 1'] if scheduler else []
    hint = [f"# If it needs modules, load them here: {site.hint}"] if site.hint else []
    return [*start, *hint, *(_filled(line, "setup", values) for line in site.setup)]


def _expanded(value: str) -> str:
    """In double quotes, between which the shell fills in variables and sums and does no more."""
    return '"' + re.sub(r'(["\\`])', r"\\\1", value) + '"'


def _launch(site: Site, values: dict[str, str | None]) -> str:
    launch = _filled(site.launch, "launch", values)
    if site.rank_environment:
        pairs = " ".join(f"{name}={_expanded(v)}" for name, v in site.rank_environment.items())
        # Quoted as a whole: each rank's own shell fills in its local rank.
        inner = shlex.quote(f'export {pairs}; exec "$@"')
        launch += f" bash -c {inner} rank"
    return f"{launch} " if launch else ""
