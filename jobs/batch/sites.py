"""Sites: small TOML files that say how a machine's scheduler and launcher want to be told."""

from __future__ import annotations

import difflib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ...recon_core.errors import BadInput
from ...recon_core.machine import DeviceName
from ...recon_core.validation import validation_error
from . import SchedulerName
from .walltime import parse_walltime


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("one line of text")
    return text


Line = Annotated[str, AfterValidator(_printable)]
Words = Annotated[Line, Field(min_length=1)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _walltime(text: str) -> str:
    try:
        parse_walltime(text)
    except BadInput as error:
        raise ValueError(error.accepted) from error
    return text


class Limit(BaseModel):
    """Jobs that a queue takes: of so many ``nodes``, first and last, for a ``walltime`` at most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: Words
    nodes: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    walltime: Annotated[str, AfterValidator(_walltime)]

    def holds(self, nodes: int, seconds: int) -> bool:
        """Whether it takes a job of these nodes and seconds."""
        return self.nodes[0] <= nodes <= self.nodes[1] and seconds <= parse_walltime(self.walltime)

    def __str__(self) -> str:
        return f"{self.nodes[0]} to {self.nodes[1]} nodes for {self.walltime}"


class Site(BaseModel):
    """A machine.

    ``about``: in a few words. ``directives``: lines for the scheduler, without its prefix; one that
    names an account or queue which is not given is left out. ``launch``: what starts the ranks.
    ``setup``: shell lines before it. ``rank_environment``: shell variables of each rank. ``note``:
    what to know before a job is submitted; ``script`` says it. ``hint``: modules that the setup may
    have to load. ``limits``: jobs that queues take; one that is not named here is not checked.

    ``directives``, ``launch`` and ``setup`` may name ``{nodes} {ranks} {workers_per_node}
    {walltime} {walltime_hhmm} {notice} {account} {queue} {name}``; ``notice`` is how many seconds
    before its end a job should be told of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: Words
    scheduler: Literal[SchedulerName, "none"]
    workers_per_node: Annotated[int, Field(ge=1, le=1024)]
    launch: Line
    directives: tuple[Line, ...] = ()
    setup: tuple[Line, ...] = ()
    rank_environment: dict[Variable, Line] = Field(default_factory=dict)
    queue: Words | None = None
    needs_account: bool = False
    device: DeviceName = "auto"
    note: Words | None = None
    hint: Words | None = None
    limits: tuple[Limit, ...] = ()


def shipped_sites() -> tuple[str, ...]:
    """Names of the sites that come with tomoatlas."""
    found = (files("tomoatlas.jobs") / "sites").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in found if f.name.endswith(".toml")))


def find_site(name: str) -> Site:
    """The site in the file ``name``, or the shipped site of that name.

    Raises
    ------
    BadInput : neither; or what is wrong with the file.
    """
    if Path(name).is_file():
        return _parsed(_text(Path(name)), name)
    if name in shipped_sites():
        text = (files("tomoatlas.jobs") / "sites" / f"{name}.toml").read_text(encoding="utf-8")
        return _parsed(text, f"{name}.toml")
    near = difflib.get_close_matches(name, shipped_sites(), n=1, cutoff=0.5)
    raise BadInput(
        f"no such site{f', did you mean {near[0]}?' if near else ''}",
        key="--site",
        value=name,
        accepted=f"{', '.join(shipped_sites())}, or the path of a TOML file",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput("not UTF-8 text", source=path, accepted="a TOML file") from error


def _parsed(text: str, source: str) -> Site:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"not TOML: {error}", source=source, accepted="a TOML file") from error
    try:
        return Site.model_validate(data)
    except ValidationError as error:
        raise validation_error(error, data, Site, source) from error
