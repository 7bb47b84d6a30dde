"""The command ``report``: the page, the figures and the atlas of a study."""

from __future__ import annotations

from pathlib import Path

import click

from ...recon_core.errors import BadInput
from . import FilePath, quiet_option


@click.command()
@click.argument("folder", metavar="DIR", type=FilePath)
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
    help="Slices of other cells: all, or haadf_tilts=47,chemical_tilts=9; an axis left out means "
    "all its values. Given several times, an axis not named before narrows the choice, one named "
    "again adds cells.",
)
@quiet_option
def report(folder: Path, slices: bool | None, cells: tuple[str, ...], quiet: bool) -> None:
    """Write DIR/report/index.html (one self-contained page), figures, atlas.csv, .h5 and .nc.

    Works on a study that is still running or was interrupted; the page then carries a notice.
    Slices stay on the page until a better trial is found.
    """
    from ...analysis.report import MIDDLE, write_report
    from ...analysis.shipped import shipped_atlas
    from ..terminal import cell_counter

    if shipped_atlas(folder) is not None:
        raise BadInput(
            "is shipped with tomoatlas, and not written to",
            source=folder,
            accepted="a study folder; tomoatlas figure, recommend and status take a shipped atlas",
        )

    # None leaves the choice to the time it takes; an option decides.
    middle = None if slices is None else (MIDDLE,) if slices else ()
    written = write_report(folder, cells or middle, None if quiet else cell_counter())
    for note in () if quiet else written.notes:
        click.echo(f"note: {note}")
    if not quiet:
        click.echo(written.index)
