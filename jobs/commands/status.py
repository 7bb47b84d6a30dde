"""The command ``status``: how far a study has come, once or live."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ...recon_core.errors import BadInput
from . import FilePath, quiet_option


@click.command()
@click.argument("folder", metavar="DIR", type=FilePath)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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

    Progress, failures by class, the best trial of each cell, device-hours, and the device time that
    the missing trials will take. With --watch the map fills up on the terminal; in a log it is one
    plain line per minute.
    """
    from ...analysis.shipped import located
    from ..terminal.text import status_facts, status_text

    if watch and as_json:
        raise BadInput("given beside --watch", key="--json", accepted="one of the two")
    if every is not None and not watch:
        raise BadInput("given without --watch", key="--every", value=every, accepted="--watch too")
    folder = located(folder)
    if watch:
        from ..terminal.live import follow

        follow(folder, every, quiet)
        return
    # The same facts for people and for programs.
    facts = status_facts(folder)
    if as_json:
        click.echo(json.dumps(facts, allow_nan=False))
    elif not quiet:
        click.echo(status_text(facts))
