"""The command ``export``: volumes for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from . import FilePath, force_option, quiet_option, refuse_existing


@click.command()
@click.argument("volumes", metavar="VOLUMES.h5", type=FilePath)
@click.option("--out", type=FilePath, required=True, metavar="F", help="A .emd, .tif or .mrc file.")
@force_option
@quiet_option
def export(volumes: Path, out: Path, force: bool, quiet: bool) -> None:
    """Convert VOLUMES.h5, a specimen or a reconstruction, for other programs.

    EMD for tomviz and HyperSpy, TIFF for ImageJ and napari (elements as channels), MRC for IMOD and
    Chimera (one file per element: F.mrc becomes F_Co.mrc and so on).
    """
    from ...phantoms.formats import load_volumes
    from ...phantoms.formats.exchange import export_volumes, exported_paths

    concentrations, elements, voxel_size_nm = load_volumes(volumes)
    for path in exported_paths(out, elements):
        refuse_existing(path, force)
    for path in export_volumes(out, concentrations, elements, voxel_size_nm):
        if not quiet:
            click.echo(path)
