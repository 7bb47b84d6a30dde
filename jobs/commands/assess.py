"""The command ``assess``: how far to trust a reconstruction, without its truth."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ...recon_core.errors import BadInput
from ..exits import Exit
from . import (
    FilePath,
    beside,
    device_option,
    force_option,
    json_option,
    quiet_option,
    refuse_existing,
)


@click.command()
@click.argument("volumes", metavar="VOLUMES.h5", type=FilePath)
@click.argument("tilts", metavar="TILTS.h5", type=FilePath)
@click.option(
    "--out",
    type=FilePath,
    metavar="F.html",
    help="The page to write.  [default: beside VOLUMES.h5]",
)
@json_option
@device_option
@force_option
@quiet_option
def assess(
    volumes: Path,
    tilts: Path,
    out: Path | None,
    as_json: bool,
    device: str,
    force: bool,
    quiet: bool,
) -> int:
    """Judge VOLUMES.h5 by the counts of TILTS.h5 that it was reconstructed from.

    Seven solves: does fusion predict counts that were held out better than chemistry + TV, on what
    do two halves of the counts agree, how well are simulations of the volumes recovered. Prints
    misfit, resolution, NRMSE to expect, totals and every doubt, and writes one page with pictures.
    Exit code 3 if something speaks against the volumes. With -q only doubts are printed.
    """
    from ...analysis.assess import assess as judge
    from ...analysis.assess_page import assessment_lines, write_assessment
    from ...phantoms.formats import load_reconstruction, load_tilt_series
    from ..terminal import SolveProgress

    out = beside(volumes, ".html") if out is None else out
    refuse_existing(out, force, volumes, tilts)
    solved, series = load_reconstruction(volumes), load_tilt_series(tilts)
    try:
        found = judge(solved, series, device, None if quiet else SolveProgress("assess"))
    except BadInput as fault:
        raise fault.at(source=volumes) from fault
    write_assessment(out, found, solved, volumes.stem)
    if as_json:
        click.echo(json.dumps(found.as_dict(), allow_nan=False))
    else:
        lines = [*assessment_lines(found), str(out)]
        for line in [f"doubt: {f}" for f in found.findings] if quiet else lines:
            click.echo(line)
    return Exit.TRIALS_FAILED if found.findings else Exit.DONE
