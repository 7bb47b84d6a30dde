"""The commands that work on a study: ``check`` it, ``run`` it, ask for its ``status``, ``merge``
what several managers have run of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...recon_core.errors import BadInput
from . import (
    FilePath,
    ShareOfCells,
    Walltime,
    device_option,
    json_option,
    print_notes,
    quiet_option,
)

if TYPE_CHECKING:
    from ...sweep.estimate import Share
    from ...sweep.study import Study


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--nodes", type=click.IntRange(1, 100_000), metavar="N", help="Nodes of a job.")
@click.option(
    "--walltime", type=Walltime(), metavar="HH:MM:SS", help="Time limit of a job; 2h and 90m do."
)
@click.option(
    "--site", metavar="NAME", help="Site that the nodes belong to. Default: one worker per node."
)
@click.option(
    "--gpu", metavar="NAME", help="Price trials on this GPU. Default: that of the site, or a core."
)
@click.option(
    "--measured",
    type=FilePath,
    metavar="DIR",
    help="Take times from the journal of this study, run on such a device at any size.",
)
@quiet_option
def check(
    study: str,
    nodes: int | None,
    walltime: int | None,
    site: str | None,
    gpu: str | None,
    measured: Path | None,
    quiet: bool,
) -> None:
    """Validate STUDY and estimate its cost; runs nothing.

    STUDY is a TOML file or the name of a shipped study. Prints cells, trials, memory, time and
    device-hours (one device: one core, or one GPU), with --walltime how many devices are enough,
    and warns if a job of these nodes and this walltime does not fit, or, without --nodes and
    --site, if this computer's memory does not suffice. Exit code 2 if the study is
    invalid: each of its mistakes is named, on a line of its own.
    """
    from ...analysis import located
    from ...sweep.estimate import estimate
    from ...sweep.price import price_measured, price_on
    from ...sweep.record import StudyFolder
    from ..batch.capacity import capacity_warnings
    from ..batch.sites import find_site
    from ..terminal.text import estimate_text
    from ..workers import memory_warnings

    found, where = _checked(study), find_site(site) if site else None
    price = price_on(gpu or (where.gpu if where and where.gpus_per_node else None))
    if measured is not None:
        price = price_measured(price, StudyFolder(located(measured)))
    per_node = where.workers_per_node if where else 1
    workers = (nodes or 1) * per_node
    cost = estimate(found, price.seconds)
    text = estimate_text(found, cost, price, walltime, per_node)
    if quiet:
        return
    click.echo(text)
    # This computer's memory does not matter for a job on another machine.
    here = [] if site or nodes or gpu else memory_warnings(cost.memory_bytes)
    # A walltime alone asks for the number of workers.
    lasting = walltime if site or nodes else None
    for warning in [*here, *capacity_warnings(found, cost, workers, lasting, price)]:
        click.echo(f"warning: {warning}", err=True)


def _checked(name: str) -> Study:
    """The study; of one that is wrong all mistakes, a line each, of which the last is raised."""
    from .. import load_study, mistakes

    try:
        return load_study(name)
    except BadInput:
        found = list(mistakes(Path(name))) if Path(name).is_file() else []
        if len(found) < 2:
            raise
    for mistake in found[:-1]:
        click.echo(str(mistake), err=True)
    raise found[-1]


def _refuse_swapped(study: str, out: Path) -> None:
    """Refuse a study where its folder should stand, and the reverse."""
    from .. import shipped_names

    def names_study(name: str) -> bool:
        return name in shipped_names() or Path(name).is_file()

    if not names_study(study) and names_study(str(out)):
        accepted = f"tomoatlas run {out} --out {study}"
        raise BadInput("study and folder are swapped", key="STUDY", value=study, accepted=accepted)


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--out", type=FilePath, required=True, metavar="DIR", help="The study folder.")
@click.option(
    "--workers",
    "count",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes that evaluate trials. Default: all cores, or all GPUs. Under mpiexec or srun "
    "the ranks are the workers.",
)
@device_option
@click.option(
    "--share-devices",
    "share",
    is_flag=True,
    help="Allow several workers or ranks to share a GPU; refused otherwise.",
)
@click.option(
    "--walltime",
    type=Walltime(),
    metavar="HH:MM:SS",
    help="End within this time, 2h and 90m do: start no trial that cannot finish. Not needed in a "
    "Slurm, PBS or LSF job.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Evaluate on the workers of the Dask cluster with this scheduler; `local` starts one of "
    "--workers processes. Needs the extra `dask`.",
)
@click.option(
    "--executor",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Who evaluates trials: local, dask, inline, a plugin, or a Python file that defines one; "
    "auto also takes the ranks of mpiexec or srun.",
)
@click.option(
    "--cells",
    type=ShareOfCells(),
    metavar="K/N",
    help="Only the K-th of N shares of the cells, into a folder of its own: several managers "
    "divide a study, and `merge` joins their folders.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Most trials that a worker takes at a time; it solves those of a cell together, as many "
    "as its memory holds. No result depends on it. Default: 8 on a GPU, 1 on the CPU and by Dask.",
)
@click.option("--no-slices", is_flag=True, help="A report without slices of the middle cell.")
@quiet_option
def run(
    study: str,
    out: Path,
    walltime: int | None,
    cells: Share | None,
    no_slices: bool,
    quiet: bool,
    **who: Any,
) -> int:
    """Run STUDY into DIR: trials, atlas and report.

    STUDY is a TOML file or the name of a shipped study. The same command resumes a run that was
    interrupted or killed. On SIGTERM, SIGUSR1 or SIGUSR2 running trials finish and no new ones
    start; a second signal stops them.
    Exit code 3 if some trials failed, 4 if time was up before the end, 5 if the machine is in
    trouble and the same command may succeed later, 130 if interrupted.
    """
    from ..exits import Exit, SignalHandler, handling_signals

    _refuse_swapped(study, out)
    signals = SignalHandler()
    # Installed before the slow imports: a signal without a handler kills the process.
    with handling_signals(signals):
        try:
            from ..run import run_study
            from ..workers import Workers

            workers = Workers(**who)
            return run_study(study, out, workers, quiet, walltime, not no_slices, signals, cells)
        except KeyboardInterrupt:
            if not signals.draining:
                raise
            # A drained run can be resumed: for a batch script that is the walltime's case.
            return Exit.WALLTIME


@click.command()
@click.argument("folder", metavar="DIR", type=FilePath)
@json_option
@click.option(
    "--watch", is_flag=True, help="Show it live until the study is complete; Ctrl-C stops watching."
)
@click.option(
    "--every",
    type=click.FloatRange(0.1, 86400),
    metavar="S",
    help="With --watch: seconds between updates.  [default: 2 on a terminal, 60 in a log]",
)
@quiet_option
def status(folder: Path, as_json: bool, watch: bool, every: float | None, quiet: bool) -> None:
    """Show how far the study in DIR has come; safe while it runs.

    Progress, failures by class, the best trial of each cell, or a map of many cells, device-hours,
    and the device time that the missing trials will take. With --watch the map fills up on the
    terminal; in a log it is one plain line per minute.
    """
    from ...analysis import located
    from ...analysis.journal import JournalReader
    from ..terminal.text import status_facts, status_text
    from ..terminal.view import map_lines

    if watch and as_json:
        raise BadInput("given beside --watch", key="--json", accepted="one of the two")
    if every is not None and not watch:
        raise BadInput("given without --watch", key="--every", value=every, accepted="--watch too")
    folder = located(folder)
    if watch:
        from ..terminal.view import follow

        follow(folder, every, quiet)
        return
    # The same facts for people and for programs.
    reader = JournalReader(folder)
    facts = status_facts(folder, reader)
    if as_json:
        click.echo(json.dumps(facts, allow_nan=False))
    elif not quiet:
        click.echo("\n".join([status_text(facts), *map_lines(reader)]))


@click.command()
@click.argument("folders", metavar="DIR...", type=FilePath, nargs=-1, required=True)
@click.option("--out", type=FilePath, required=True, metavar="DIR", help="A new study folder.")
@quiet_option
def merge(folders: tuple[Path, ...], out: Path, quiet: bool) -> None:
    """Merge folders of one study, as of `run --cells`, into a new one.

    The new folder holds the trials of all, and `run`, `status` and `report` take it as any other;
    `run` makes what is missing. The folders may differ in the values of their axes, in numbers of
    trials and in limits; another study is refused. Of a trial with two results the first folder's
    counts, and a note names both. The folders themselves are not changed.
    """
    from ...sweep.record.merging import merge as merged

    found = merged(folders, out)
    print_notes(found.notes, err=True)
    if not quiet:
        twice = f", {found.doubles} of them in several folders" if found.doubles else ""
        click.echo(f"{found.trials} of {found.planned} trials{twice}: {out}")
