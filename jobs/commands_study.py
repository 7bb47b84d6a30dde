"""Commands about studies: check, run, status, report, recommend."""

from __future__ import annotations

import json
from pathlib import Path

import click

from jobs.options import FilePath, Walltime, device_option, quiet_option
from recon_core.errors import BadInput

_FOLDER = click.argument("folder", metavar="DIR", type=FilePath)
_STUDY = click.argument("study", metavar="STUDY")


@click.command()
@_STUDY
@click.option("--nodes", type=click.IntRange(1, 100_000), metavar="N", help="Of a job.")
@click.option("--walltime", type=Walltime(), metavar="HH:MM:SS", help="Of a job.")
@click.option("--site", metavar="NAME", help="Site whose nodes are meant; else one worker a node.")
@quiet_option
def check(
    study: str, nodes: int | None, walltime: int | None, site: str | None, quiet: bool
) -> None:
    """Validate STUDY and estimate its cost; runs nothing.

    STUDY is a TOML file or the name of a shipped study. Prints cells, trials, memory, time and
    device-hours (one device: one worker process, or one GPU), and warns where a job of these nodes
    and this walltime does not fit, or, without --nodes and --site, this computer's memory. Exit
    code 2 if the study is wrong.
    """
    from jobs.capacity import warnings
    from jobs.memory import memory_warnings
    from jobs.shipped import find_study
    from jobs.sites import find_site
    from jobs.text import estimate_text

    found = find_study(study)
    text = estimate_text(found)
    workers = (nodes or 1) * (find_site(site).workers_per_node if site else 1)
    if quiet:
        return
    click.echo(text)
    here = [] if site or nodes else memory_warnings(found)
    for warning in [*here, *warnings(found, workers, walltime)]:
        click.echo(f"warning: {warning}", err=True)


@click.command()
@_STUDY
@click.option("--out", type=FilePath, required=True, metavar="DIR", help="The study folder.")
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes that evaluate trials. Default: all cores, or all GPUs. Under mpiexec or srun "
    "the ranks are the workers.",
)
@device_option
@click.option(
    "--share-devices",
    is_flag=True,
    help="Let several workers or ranks share a GPU, which is refused otherwise.",
)
@click.option(
    "--walltime",
    type=Walltime(),
    metavar="HH:MM:SS",
    help="End within this time: start no trial that cannot finish. Known without it in a Slurm, "
    "PBS or LSF job.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Evaluate on the workers of the Dask cluster with this scheduler; `local` starts one of "
    "--workers processes. Needs the extra `dask`.",
)
@click.option("--no-slices", is_flag=True, help="A report without slices of the middle cell.")
@quiet_option
def run(
    study: str,
    out: Path,
    workers: int | None,
    device: str,
    share_devices: bool,
    walltime: int | None,
    dask: str | None,
    no_slices: bool,
    quiet: bool,
) -> int:
    """Run STUDY into DIR: trials, atlas and report.

    STUDY is a TOML file or the name of a shipped study. The same command resumes a run that was
    interrupted or killed. SIGTERM, SIGUSR1 or SIGUSR2 lets the trials in flight end and starts no
    more; a second one stops them.
    Exit code 3 if some trials failed, 4 if time was up before the end, 5 if the machine is in
    trouble and the same command may go well later, 130 if interrupted.
    """
    from jobs.exits import Exit
    from jobs.signals import Ears, heeded

    ears = Ears()
    # Before all that takes long to import: a signal that nobody heeds kills.
    with heeded(ears):
        try:
            from jobs.running import run_study
            from jobs.workers import Workers

            who = Workers(workers, dask, device, share_devices)
            return run_study(study, out, who, quiet, walltime, not no_slices, ears)
        except KeyboardInterrupt:
            if not ears.draining:
                raise
            return Exit.WALLTIME


@click.command()
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--watch", is_flag=True, help="Show it live until the study is complete; Ctrl-C leaves."
)
@click.option(
    "--every",
    type=click.FloatRange(0.1, 86400),
    metavar="S",
    help="With --watch: seconds between looks.  [default: 2 on a terminal, 60 in a log]",
)
@quiet_option
def status(folder: Path, as_json: bool, watch: bool, every: float | None, quiet: bool) -> None:
    """Show how far the study in DIR has come; safe while it runs.

    Progress, failures by class, the best trial of each cell, device-hours, and the device time that
    the missing trials will take. With --watch the map fills up on the terminal; in a log it is one
    plain line a minute.
    """
    from jobs.text import status_facts, status_text

    if watch and as_json:
        raise BadInput("given beside --watch", key="--json", accepted="one of the two")
    if every is not None and not watch:
        raise BadInput("given without --watch", key="--every", value=every, accepted="--watch too")
    if watch:
        from jobs.watch import watch as follow

        follow(folder, every, quiet)
        return
    facts = status_facts(folder)
    if as_json:
        click.echo(json.dumps(facts, allow_nan=False))
    elif not quiet:
        click.echo(status_text(facts))


@click.command()
@_FOLDER
@click.option(
    "--slices/--no-slices",
    default=None,
    help="Reconstruct the best trials of the middle cell again, and show slices and convergence.  "
    "[default: if it takes up to a minute]",
)
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="CELL",
    help="The same of other cells: all, or haadf_tilts=47,chemical_tilts=9; an axis left out means "
    "all its values. May be given several times.",
)
@quiet_option
def report(folder: Path, slices: bool | None, cells: tuple[str, ...], quiet: bool) -> None:
    """Write DIR/report/index.html (one self-contained page), figures, atlas.csv, .h5 and .nc.

    Works on a study that is still running or was interrupted; the page then says so. Slices once
    made stay on the page until a better trial is found.
    """
    from analysis.report import MIDDLE, write_report
    from jobs.console import cell_counter

    middle = None if slices is None else (MIDDLE,) if slices else ()
    written = write_report(folder, cells or middle, None if quiet else cell_counter())
    for note in () if quiet else written.notes:
        click.echo(f"note: {note}")
    if not quiet:
        click.echo(written.index)


@click.command()
@click.argument("atlas", metavar="ATLAS", type=FilePath)
@click.option("--haadf-tilts", type=int, required=True, metavar="N", help="Number of HAADF tilts.")
@click.option(
    "--chemical-tilts", type=int, required=True, metavar="N", help="Number of chemical tilts."
)
@click.option(
    "--snr",
    type=float,
    metavar="S",
    help="SNR of the chemical maps: 1 + mean counts per pixel, mean over the elements.",
)
@click.option(
    "--haadf-snr",
    type=float,
    metavar="S",
    help="SNR of the HAADF images: 1 + mean counts per pixel.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet_option
def recommend(
    atlas: Path,
    haadf_tilts: int,
    chemical_tilts: int,
    snr: float | None,
    haadf_snr: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Weights to use and accuracy to expect, read off ATLAS (atlas.csv or atlas.h5).

    Interpolates between the cells. The uncertainty is the error of predicting cells of the atlas
    from their neighbours. What the atlas does not vary is named, and so is a question outside its
    range. With -q the notes are left out.
    """
    from analysis.atlas import load_atlas
    from analysis.recommend import recommend as look_up
    from jobs.text import recommendation_facts, recommendation_text

    found = look_up(load_atlas(atlas), haadf_tilts, chemical_tilts, snr, haadf_snr)
    if as_json:
        click.echo(json.dumps(recommendation_facts(found)))
        return
    click.echo(recommendation_text(found))
    for note in () if quiet else found.notes:
        click.echo(f"note: {note}")
