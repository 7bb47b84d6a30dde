"""The command ``figure``: one figure from a study folder, an atlas, or files of volumes."""

from __future__ import annotations

from pathlib import Path

import click

from ...recon_core.errors import BadInput
from ...recon_core.registry import is_file, split_file
from . import FilePath, force_option, quiet_option, refuse_existing


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.argument("paths", metavar="[DIR|FILE]...", type=FilePath, nargs=-1)
@click.option("--list", "as_list", is_flag=True, help="List the available figures and exit.")
@click.option(
    "--cell",
    multiple=True,
    metavar="CELL",
    help="The condition to show, as in haadf_tilts=47,chemical_tilts=9 or with a --cell for each; "
    "axes left out take the value nearest to the middle.",
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

    NAME is one of --list, or a Python file that defines a figure.

    Figures of a cell reconstruct its best trials again, with the same result as in the run. A cell
    without a result is hatched or labelled, never drawn as a number; a note on stderr counts the
    lines of the journal that are left out. With files of volumes the first is the truth.
    """
    from ...analysis.figures import FIGURES
    from ...analysis.figures.draw import kind_of, save_figure
    from ...analysis.figures.source import Source

    if as_list:
        return _print_figures()
    if name is None or not paths:
        raise BadInput("missing", key="NAME DIR|FILE", accepted="a figure of --list and its source")
    out = out or Path(f"{_stem(name)}.png")
    # Checked before the figure is drawn, which may take minutes.
    kind_of(out)
    entry = FIGURES.get(name)
    refuse_existing(out, force)
    source = Source(paths, cell)
    save_figure(entry.draw(source), out)
    for note in () if quiet else source.notes:
        click.echo(f"note: {note}", err=True)
    if not quiet:
        click.echo(out)
    return None


def _print_figures() -> None:
    from ...analysis.figures import FIGURES

    for name in FIGURES.names():
        try:
            entry = FIGURES.get(name)
        except BadInput as error:  # the others are still there
            click.echo(f"{name:<14} {error}")
            continue
        click.echo(f"{name:<14} {entry.shows}  [{entry.needs}]")


def _stem(name: str) -> str:
    """The name of a figure without the folder and the suffix of the file that defines it."""
    if not is_file(name):
        return name
    path, entry = split_file(name)
    return entry or path.stem
