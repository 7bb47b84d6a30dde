"""The command ``export``: volumes for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from . import FilePath, force_option, quiet_option, refuse_existing


@click.command()
@click.argument("source", metavar="VOLUMES|TILTS", type=FilePath)
@click.option(
    "--out", type=FilePath, required=True, metavar="F", help="A .emd, .tif, .mrc or .h5 file."
)
@force_option
@quiet_option
def export(source: Path, out: Path, force: bool, quiet: bool) -> None:
    """Convert a specimen or a reconstruction for other programs.

    EMD for tomviz and HyperSpy, TIFF for ImageJ and napari (elements as channels), MRC for IMOD and
    Chimera (one file per element: F.mrc becomes F_Co.mrc and so on). Installed plugins add formats;
    one that holds tilt series alone takes a tilt series.
    """
    from ...phantoms.formats import load_tilt_series, load_volumes
    from ...phantoms.formats.exchange import (
        export_series,
        export_volumes,
        exported_paths,
        takes_series_alone,
    )

    if takes_series_alone(out):
        series = load_tilt_series(source)
        refuse_existing(out, force)
        written = export_series(out, series)
    else:
        concentrations, elements, voxel_size_nm = load_volumes(source)
        for path in exported_paths(out, elements):
            refuse_existing(path, force)
        written = export_volumes(out, concentrations, elements, voxel_size_nm)
    for path in () if quiet else written:
        click.echo(path)
