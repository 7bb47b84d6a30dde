"""Commands about pictures and files to take along: figure, export."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.options import FilePath, force_option, quiet_option, refuse_existing
from recon_core.errors import BadInput


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.argument("paths", metavar="[DIR|FILE]...", type=FilePath, nargs=-1)
@click.option("--list", "as_list", is_flag=True, help="Print the figures there are, and stop.")
@click.option(
    "--cell",
    multiple=True,
    metavar="AXIS=VALUE",
    help="The condition to show, axis by axis, as in haadf_tilts=47; axes left out are chosen.",
)
@click.option(
    "--out", type=FilePath, metavar="F", help="A .png, .svg or .pdf file.  [default: NAME.png]"
)
@force_option
@quiet_option
def figure(
    name: str | None,
    paths: tuple[Path, ...],
    as_list: bool,
    cell: tuple[str, ...],
    out: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Draw the figure NAME from a study folder, an atlas, or files of volumes.

    Figures of a cell reconstruct its best trials again, with the same result as in the run. What
    has no result is hatched or named, never drawn as a number; lines of the journal that are left
    out are told on stderr. With files of volumes the first is the truth.
    """
    from analysis.catalogue import CATALOGUE, draw
    from analysis.save import kind_of, save_figure
    from analysis.source import Source

    if as_list:
        for known, entry in CATALOGUE.items():
            click.echo(f"{known:<14} {entry.shows}  [{entry.needs}]")
        return
    if name is None or not paths:
        raise BadInput("missing", key="NAME DIR|FILE", accepted="a figure of --list and its source")
    out = out or Path(f"{name}.png")
    kind_of(out)
    if name in CATALOGUE:
        refuse_existing(out, force)
    source = Source(paths, _pairs(cell))
    save_figure(draw(name, source), out)
    for note in () if quiet else source.notes:
        click.echo(f"note: {note}", err=True)
    if not quiet:
        click.echo(out)


def _pairs(cells: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in cells:
        axis, equals, value = text.partition("=")
        if not (axis and equals and value):
            raise BadInput("not a condition", key="--cell", value=text, accepted="AXIS=VALUE")
        pairs[axis.strip()] = value.strip()
    return pairs


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
    from analysis.export import export_volumes, exported_paths
    from phantoms.files import load_volumes

    concentrations, elements, voxel_size_nm = load_volumes(volumes)
    for path in exported_paths(out, elements):
        refuse_existing(path, force)
    for path in export_volumes(out, concentrations, elements, voxel_size_nm):
        if not quiet:
            click.echo(path)
