"""The commands of batch jobs: the ``script`` of a study, and the ``sites`` that it can be for."""

from __future__ import annotations

import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...recon_core.errors import BadInput
from . import FilePath, Walltime, force_option, quiet_option, refuse_existing

if TYPE_CHECKING:
    from ..batch.scripts import JobRequest
    from ..batch.sites import Site

COMMAND = "tomoatlas"


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--site", required=True, metavar="NAME", help="A shipped site, or a TOML file.")
@click.option("--nodes", type=click.IntRange(1, 100_000), default=1, show_default=True, metavar="N")
@click.option(
    "--walltime",
    type=Walltime(),
    metavar="HH:MM:SS",
    help="Time limit of one job of the chain; 2h and 90m do.",
)
@click.option("--account", metavar="A", help="Account to be charged.")
@click.option("--queue", metavar="Q", help="Queue or partition. Default: the site's.")
@click.option(
    "--out", type=FilePath, metavar="DIR", help="The study folder. Default: the study's name."
)
@click.option("--submit", is_flag=True, help="Write DIR/job.sh, submit it and print the job's id.")
@quiet_option
def script(
    study: str,
    site: str,
    nodes: int,
    walltime: int | None,
    account: str | None,
    queue: str | None,
    out: Path | None,
    submit: bool,
    quiet: bool,
) -> None:
    """Print the batch script that runs STUDY at a site, job after job until it is complete.

    A site is a small TOML file: copy a shipped one and change it. Each job submits its successor
    first and cancels it when the study is complete; a lost rank or manager is launched again.
    """
    from ...sweep.estimate import estimate
    from .. import load_study
    from ..batch.capacity import capacity_warnings, check_workers
    from ..batch.scripts import JobRequest
    from ..batch.scripts import script as script_of
    from ..batch.sites import find_site

    what, where = load_study(study), find_site(site)
    workers = nodes * where.workers_per_node
    check_workers(what, workers)
    # The job and the default folder carry the study's name, not that of its file.
    name = what.study.name
    request = JobRequest(
        study, name, out or Path(name), nodes, walltime, account, queue, _installed(), _launcher()
    )
    text = script_of(where, request)
    if not quiet:
        # Warnings go to stderr: stdout is the script, to be redirected into a file.
        lasting = (
            capacity_warnings(what, estimate(what), workers, walltime)
            if where.scheduler != "none"
            else []
        )
        for line in [*_notes(where, request, submit), *lasting]:
            click.echo(f"warning: {line}", err=True)
    click.echo(_submitted(where.scheduler, request.job, text) if submit else text, nl=submit)


def _installed() -> str:
    """The command of this installation, so that the job needs no activated environment."""
    beside = Path(sys.executable).with_name(COMMAND)
    # An absolute path: a compute node may have another PATH.
    return shutil.which(COMMAND) or (str(beside) if beside.is_file() else COMMAND)


def _launcher() -> str:
    """The ``mpiexec`` of this installation's MPI: that of another would start ranks apart."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.is_file() else "mpiexec"


def _notes(where: Site, request: JobRequest, submit: bool) -> list[str]:
    """Warnings to read before the script is used."""
    from ..batch import SCHEDULERS

    notes = [f"the job {where.note}"] if where.note else []
    if request.tomoatlas == COMMAND:
        notes.append(f"no {COMMAND} here: the job will look for it on its PATH")
    scheduler = SCHEDULERS.get(where.scheduler)
    if scheduler is not None and scheduler.hides_script and not submit:
        notes.append(f"save this as {request.job}, or use --submit: its successors are read there")
    return notes


def _submitted(scheduler: str, job: Path, text: str) -> str:
    """Write the script and submit it; return the job's id."""
    from ..batch import SCHEDULERS
    from ..batch import submit as submitted

    if scheduler not in SCHEDULERS:
        raise BadInput(
            "nothing to submit to", key="--submit", accepted="run the script itself with bash"
        )
    # A chain reads this file anew for every job: replacing it would change a chain that runs.
    if job.exists() and job.read_text(encoding="utf-8") != text:
        raise BadInput(
            "exists already and is another script",
            source=job,
            accepted="remove it, or submit it as it is",
        )
    # A script that is there already may belong to a running chain and is kept.
    new = not job.exists()
    job.parent.mkdir(parents=True, exist_ok=True)
    job.write_text(text, encoding="utf-8")
    # Cobalt executes the file itself instead of passing it to a shell.
    job.chmod(job.stat().st_mode | stat.S_IXUSR)
    try:
        return submitted(SCHEDULERS[scheduler], job)
    except BadInput:
        if new:
            job.unlink()
        raise


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--copy", type=FilePath, metavar="F.toml", help="Write its file, to change it.")
@force_option
@quiet_option
def sites(name: str | None, copy: Path | None, force: bool, quiet: bool) -> None:
    """List the sites, or print the file of the site NAME.

    A site is a small TOML file. Files in ~/.config/tomoatlas/sites are sites by their name, and
    hide a shipped site of the same name.
    """
    from ..batch.sites import site_file

    if name is None:
        if copy is not None:
            raise BadInput("missing", key="NAME", accepted="the site that --copy writes")
        return _print_sites()
    found = site_file(name)
    if copy is None:
        click.echo(found.text(), nl=False)
        return None
    refuse_existing(copy, force)
    copy.write_text(found.text(), encoding="utf-8")
    if not quiet:
        click.echo(copy)
    return None


def _print_sites() -> None:
    from ..batch.sites import own_folder, read_site, site_files

    for found in site_files():
        try:
            site = read_site(found)
        except BadInput as error:  # the others are still there
            click.echo(f"{found.name:<14} {error}")
            continue
        by = f", in place of {found.hides}" if found.hides else ""
        click.echo(f"{found.name:<14} {site.scheduler:<10} {site.about}  [{found.origin}{by}]")
    click.echo(f"Your own: {own_folder()}/NAME.toml")
