"""Sites: small TOML files with what a machine's scheduler and launcher need to be given."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from ...recon_core.errors import BadInput
from ...recon_core.gpu.cost import GPUS
from ...recon_core.machine import DeviceName
from ...recon_core.registry import Registry
from ...recon_core.toml import toml_tables
from ...recon_core.validation import validated
from . import SchedulerName, parse_walltime

SHIPPED = "shipped"


def _printable(text: str) -> str:
    """The text itself, if it fits on one line of a script."""
    if not text.isprintable():
        raise ValueError("one line of text")
    return text


Line = Annotated[str, AfterValidator(_printable)]
Words = Annotated[Line, Field(min_length=1)]
# Written into a shell script as it is, so that nothing else may be a name.
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _walltime(text: str) -> str:
    """The text itself, if it is a walltime."""
    try:
        parse_walltime(text)
    except BadInput as error:
        # pydantic takes ValueError alone for a wrong value, and adds the key.
        raise ValueError(error.accepted) from error
    return text


def _known_gpu(name: str) -> str:
    """The text itself, if it names a GPU with a price."""
    if name not in GPUS:
        raise ValueError(", ".join(GPUS))
    return name


class Limit(BaseModel):
    """The jobs that a queue accepts.

    Parameters
    ----------
    queue : name of the queue.
    nodes : fewest and most nodes.
    walltime : longest job, as ``HH:MM:SS`` or ``D-HH:MM:SS``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: Words
    nodes: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    walltime: Annotated[str, AfterValidator(_walltime)]

    def holds(self, nodes: int, seconds: int) -> bool:
        """Whether the queue accepts a job by this limit.

        Parameters
        ----------
        nodes : number of nodes.
        seconds : walltime.
        """
        return self.nodes[0] <= nodes <= self.nodes[1] and seconds <= parse_walltime(self.walltime)

    def __str__(self) -> str:
        return f"{self.nodes[0]} to {self.nodes[1]} nodes for {self.walltime}"


class Site(BaseModel):
    """A machine: how its jobs are submitted and its ranks are started.

    ``directives``, ``launch`` and ``setup`` may contain ``{nodes} {ranks} {workers_per_node}
    {gpus_per_node} {cores_per_worker} {cores_per_node} {cores} {memory_per_node} {walltime}
    {walltime_hhmm} {notice} {account} {queue} {name} {pmi} {mpiexec}``; ``cores`` are those of
    the whole job, ``notice`` is how many seconds before its end a job should get a signal,
    ``mpiexec`` that of this installation. A directive with an account, queue, memory or GPUs that
    are not given is left out; of one with parts in ``<angle brackets>`` only such a part is.

    Parameters
    ----------
    about : the machine in a few words.
    scheduler : a key of :data:`tomoatlas.jobs.batch.SCHEDULERS`, or none for a workstation.
    workers_per_node : ranks on a node, usually one per GPU.
    launch : command that starts the ranks; of several the first whose values are all given.
    pmi : how ``srun --mpi`` introduces the ranks to the site's MPI.
    gpus_per_node : GPUs of a node; a job that gets none is refused. 0 for nodes without.
    gpu : the kind of its GPUs, of which ``check`` knows the prices.
    cores_per_worker : cores of each rank.
    memory_per_node : as the scheduler writes it; left out if its default is meant.
    directives : lines for the scheduler, without its prefix.
    setup : shell lines before the launch.
    rank_environment : variable → shell text, set by each rank.
    queue : used if the command names none.
    needs_account : whether a job without an account is refused.
    device : what the ranks compute on; ``auto`` is ``cuda`` where nodes have GPUs.
    note : a warning shown before a job is submitted.
    hint : modules that the setup may have to load.
    limits : jobs that queues accept; a queue without any is not checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: Words
    scheduler: Literal[SchedulerName, "none"]
    workers_per_node: Annotated[int, Field(ge=1, le=1024)]
    launch: Line | tuple[Line, ...]
    pmi: Words | None = None
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] = 0
    gpu: Annotated[str, AfterValidator(_known_gpu)] | None = None
    cores_per_worker: Annotated[int, Field(ge=1, le=1024)] = 1
    memory_per_node: Words | None = None
    directives: tuple[Line, ...] = ()
    setup: tuple[Line, ...] = ()
    rank_environment: dict[Variable, Line] = Field(default_factory=dict)
    queue: Words | None = None
    needs_account: bool = False
    device: Annotated[DeviceName, Field(validate_default=True)] = "auto"
    note: Words | None = None
    hint: Words | None = None
    limits: tuple[Limit, ...] = ()

    @field_validator("device")
    @classmethod
    def _of_its_nodes(cls, device: DeviceName, given: ValidationInfo) -> DeviceName:
        """The device of the ranks: never left to what they see where a node has GPUs."""
        if not given.data.get("gpus_per_node"):
            return device
        if device == "cpu":
            raise ValueError("cuda, or gpus_per_node = 0")
        return "cuda" if device == "auto" else device


@dataclass(frozen=True)
class SiteFile:
    """A site's TOML file.

    Parameters
    ----------
    name : of the site.
    file : where its text stands; that of a plugin may lie in an archive.
    origin : its path, ``shipped``, or the distribution that it comes with.
    hides : the origin of another site of this name, which this one stands in for.
    """

    name: str
    file: Traversable
    origin: str
    hides: str | None = None

    def text(self) -> str:
        """The TOML.

        Raises
        ------
        BadInput : not UTF-8 text.
        """
        try:
            return self.file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadInput("not UTF-8 text", source=self.origin, accepted="a TOML file") from error


PACKAGES: Registry[ModuleType] = Registry("package of sites", "tomoatlas.sites", ModuleType, {})
"""Packages of other distributions whose TOML files are sites, by the name of their entry point."""


def own_folder() -> Path:
    """The folder of a person's own sites."""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "tomoatlas" / "sites"


def site_files() -> tuple[SiteFile, ...]:
    """Every site that can be named, by name; a person's own hide others of the name.

    Raises
    ------
    BadInput : two distributions declare a site of one name; a package of sites fails to load.
    """
    others: dict[str, SiteFile] = {found.name: found for found in _shipped()}
    for found in _plugins():
        # Nobody has chosen between two packages, as a person who keeps a file of that name has.
        other = others.setdefault(found.name, found)
        if other is not found:
            raise BadInput(
                f"declared twice, also by {other.origin}",
                source=found.origin,
                key="tomoatlas.sites",
                value=found.name,
                accepted="one site of a name; uninstall or rename the other",
            )
    own = {found.name: replace(found, hides=_origin(others, found.name)) for found in _own()}
    named = others | own
    return tuple(named[name] for name in sorted(named))


def site_file(name: str) -> SiteFile:
    """The TOML file of a site.

    Parameters
    ----------
    name : a path, or the name of a person's own, a shipped or a plugin's site.

    Raises
    ------
    BadInput : none of these, or plugins that collide or fail to load.
    """
    if Path(name).is_file():
        return SiteFile(Path(name).stem, Path(name), name)
    # The environment is searched only for a site that neither lies here nor ships.
    near_at_hand = {found.name: found for found in (*_shipped(), *_own())}
    if name in near_at_hand:
        return near_at_hand[name]
    named = {found.name: found for found in site_files()}
    if name in named:
        return named[name]
    near = difflib.get_close_matches(name, named, n=1, cutoff=0.5)
    raise BadInput(
        f"no such site{f', did you mean {near[0]}?' if near else ''}",
        key="--site",
        value=name,
        accepted=f"{', '.join(named)}, or the path of a TOML file",
    )


def find_site(name: str) -> Site:
    """The site of a name or in a file.

    Parameters
    ----------
    name : as for :func:`site_file`.

    Raises
    ------
    BadInput : no such site, or an error in its file.
    """
    return read_site(site_file(name))


def read_site(found: SiteFile) -> Site:
    """The site that a file describes.

    Parameters
    ----------
    found : the file.

    Raises
    ------
    BadInput : not TOML, an unknown key, or an impossible value.
    """
    source = f"{found.name}.toml" if found.origin == SHIPPED else found.origin
    return _parsed(found.text(), source)


def _shipped() -> list[SiteFile]:
    return _in_folder(files("tomoatlas.jobs") / "sites", SHIPPED)


def _own() -> list[SiteFile]:
    folder = own_folder()
    found = _in_folder(folder, "") if folder.is_dir() else []
    return [replace(each, origin=str(folder / f"{each.name}.toml")) for each in found]


def _plugins() -> Iterator[SiteFile]:
    for name in PACKAGES.names():
        yield from _in_folder(files(PACKAGES.get(name)), PACKAGES.origin(name))


def _in_folder(folder: Traversable, origin: str) -> list[SiteFile]:
    found = sorted(f.name for f in folder.iterdir() if f.name.endswith(".toml"))
    return [SiteFile(name.removesuffix(".toml"), folder / name, origin) for name in found]


def _origin(sites: Mapping[str, SiteFile], name: str) -> str | None:
    return sites[name].origin if name in sites else None


def _parsed(text: str, source: str) -> Site:
    return validated(toml_tables(text, source), Site, source)
