"""Commands about pictures and files to take along: figure, export."""

from __future__ import annotations

from pathlib import Path

import click

from ...recon_core.errors import BadInput
from . import FilePath, force_option, quiet_option, refuse_existing


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
    from ...analysis.figures import FIGURES, draw
    from ...analysis.figures.draw import kind_of, save_figure
    from ...analysis.figures.source import Source

    if as_list:
        for known, entry in FIGURES.items():
            click.echo(f"{known:<14} {entry.shows}  [{entry.needs}]")
        return
    if name is None or not paths:
        raise BadInput("missing", key="NAME DIR|FILE", accepted="a figure of --list and its source")
    out = out or Path(f"{name}.png")
    kind_of(out)
    if name in FIGURES:
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
