"""The command ``check``: validate a study and estimate its cost.

Nothing runs and nothing is written, so that a mistake is found before a job has waited in a queue.
"""

from __future__ import annotations

import click

from . import Walltime, quiet_option


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--nodes", type=click.IntRange(1, 100_000), metavar="N", help="Nodes of a job.")
@click.option("--walltime", type=Walltime(), metavar="HH:MM:SS", help="Time limit of a job.")
@click.option(
    "--site", metavar="NAME", help="Site that the nodes belong to. Default: one worker per node."
)
@quiet_option
def check(
    study: str, nodes: int | None, walltime: int | None, site: str | None, quiet: bool
) -> None:
    """Validate STUDY and estimate its cost; runs nothing.

    STUDY is a TOML file or the name of a shipped study. Prints cells, trials, memory, time and
    device-hours (one device: one worker process, or one GPU), and warns if a job of these nodes
    and this walltime does not fit, or, without --nodes and --site, if this computer's memory does
    not suffice. Exit code 2 if the study is invalid.
    """
    from ..batch.capacity import capacity_warnings
    from ..batch.sites import find_site
    from ..shipped import load_study
    from ..terminal.text import estimate_text
    from ..workers import memory_warnings

    found = load_study(study)
    text = estimate_text(found)
    workers = (nodes or 1) * (find_site(site).workers_per_node if site else 1)
    if quiet:
        return
    click.echo(text)
    # This computer's memory does not matter for a job on another machine.
    # This computer's memory does not matter for a job on another machine.
    here = [] if site or nodes else memory_warnings(found)
    for warning in [*here, *capacity_warnings(found, workers, walltime)]:
        click.echo(f"warning: {warning}", err=True)
