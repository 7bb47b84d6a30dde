"""The commands that show what a study found: ``report``, ``serve``, ``figure``, ``recommend``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...recon_core.errors import BadInput
from ...recon_core.registry import is_file, split_file
from . import (
    FilePath,
    force_option,
    json_option,
    print_entries,
    print_lines,
    print_notes,
    quiet_option,
    refuse_existing,
)

if TYPE_CHECKING:
    from ...analysis.recommend import Reaching

MOST_SHOWN = 12
"""Acquisitions that are printed; the cheapest matter."""

NEAR = 1.1
"""Where no accuracy is asked for and the usual one is out of reach: times the best."""


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
    from ...analysis import shipped_atlas
    from ...analysis.report import MIDDLE, write_report
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
    if not quiet:
        print_notes(written.notes)
        click.echo(written.index)


@click.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Where to listen, on loopback alone.  [default: any free port]",
)
@click.option(
    "--open/--no-open",
    "show",
    default=None,
    help="Open it in a browser.  [default: on a desktop, from a terminal]",
)
@quiet_option
def serve(folder: str, port: int, show: bool | None, quiet: bool) -> None:
    """Serve the report of DIR to this computer, and keep it up to date while a run goes on.

    Prints the address, whose token lets nobody else in. The page keeps cell, pins and filters as it
    takes in what the run adds; nothing in DIR is written. Ctrl+C ends it. From another computer:
    ssh -L PORT:127.0.0.1:PORT HOST, and the same address there.
    """
    from ...analysis import located
    from ..server import LOOPBACK, PageServer, opened_page

    with PageServer(located(folder), port) as server:
        click.echo(server.address)
        if not quiet:
            away = f"ssh -L {server.port}:{LOOPBACK}:{server.port} HOST"
            click.echo(f"from elsewhere: {away}; Ctrl+C ends it", err=True)
        with opened_page(server.address, show), suppress(KeyboardInterrupt):
            server.serve_forever()


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

    Figures of a cell reconstruct its best trials again, with the same result as in the run, and
    keep the volumes in DIR/volumes for the next figure or report. A cell without a result is
    hatched or labelled, never drawn as a number; a note on stderr counts the lines of the journal
    that are left out. With files of volumes the first is the truth.
    """
    from ...analysis.figures import FIGURES, draw_figure
    from ...analysis.figures.draw import kind_of, save_figure
    from ...analysis.figures.source import Source
    from ..terminal import SolveProgress

    if as_list:
        return print_entries(FIGURES, lambda _, entry: f"{entry.shows}  [{entry.needs}]")
    if name is None or not paths:
        raise BadInput("missing", key="NAME DIR|FILE", accepted="a figure of --list and its source")
    if name not in FIGURES and str(paths[0]) in FIGURES:
        accepted = f"tomoatlas figure {paths[0]} {name}"
        raise BadInput("figure and source are swapped", key="NAME", value=name, accepted=accepted)
    out = out or Path(f"{_stem(name)}.png")
    # Checked before the figure is drawn, which may take minutes.
    kind_of(out)
    # An unknown name or a plugin that does not load ends here too.
    FIGURES.get(name)
    refuse_existing(out, force)
    source = Source(paths, cell, None if quiet else SolveProgress(name))
    save_figure(draw_figure(name, source), out)
    if not quiet:
        print_notes(source.notes, err=True)
        click.echo(out)
    return None


def _stem(name: str) -> str:
    """The name of a figure without the folder and the suffix of the file that defines it."""
    if not is_file(name):
        return name
    path, entry = split_file(name)
    return entry or path.stem


@click.command()
@click.argument("atlas", metavar="ATLAS")
@click.option("--haadf-tilts", type=int, metavar="N", help="Number of HAADF tilts.")
@click.option("--chemical-tilts", type=int, metavar="N", help="Number of chemical tilts.")
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
@click.option("--size", type=int, metavar="N", help="Voxels per edge of the specimen.")
@click.option(
    "--target-nrmse",
    type=float,
    metavar="X",
    help="Instead of tilts: list the acquisitions expected to reach it, cheapest first.",
)
@json_option
@quiet_option
def recommend(
    atlas: str,
    haadf_tilts: int | None,
    chemical_tilts: int | None,
    target_nrmse: float | None,
    as_json: bool,
    quiet: bool,
    **data: Any,
) -> None:
    """Weights to use and accuracy to expect, from ATLAS.

    ATLAS is a study folder, an atlas.csv or atlas.h5, or a shipped atlas, as fig4_nanocubes_64.
    Without tilts it lists the acquisitions that reach an NRMSE of 0.4, cheapest first.
    The answer is the search's own surrogate's, fitted to all trials of the atlas; nine of ten
    experiments like those of the atlas lie in its interval. Notes name what was extrapolated,
    shifted or averaged; -q leaves them out.
    """
    from ...analysis.figures.maps import ACCURACY
    from ...analysis.recommend import Adviser
    from ..terminal.advice import recommendation_facts, recommendation_text

    asked = {"--haadf-tilts": haadf_tilts, "--chemical-tilts": chemical_tilts}
    if target_nrmse is not None:
        _refuse_beside_target({**asked, "--size": data["size"]})
        reached = Adviser(atlas).reaching(target_nrmse, data["snr"], data["haadf_snr"])
        _print_reaching(reached, as_json, quiet)
        return
    if haadf_tilts is None and chemical_tilts is None and data["size"] is None:
        adviser = Adviser(atlas)
        target = max(ACCURACY, NEAR * float(adviser.atlas.table["nrmse"].min()))
        _print_reaching(
            adviser.reaching(target, data["snr"], data["haadf_snr"]), as_json, quiet, target
        )
        return
    if haadf_tilts is None or chemical_tilts is None:
        key = next(key for key, value in asked.items() if value is None)
        raise BadInput("missing", key=key, accepted="a number of tilts, or --target-nrmse")
    found = Adviser(atlas).recommend(haadf_tilts, chemical_tilts, **data)
    if as_json:
        click.echo(json.dumps(recommendation_facts(found)))
        return
    print_lines(recommendation_text(found))
    # Notes limit the answer; only -q, for scripts, may hide them.
    print_notes(() if quiet else found.notes)


def _refuse_beside_target(given: Mapping[str, object]) -> None:
    for key, value in given.items():
        if value is not None:
            accepted = "one of the two"
            raise BadInput("given beside --target-nrmse", key=key, value=value, accepted=accepted)


def _print_reaching(
    reached: Sequence[Reaching], as_json: bool, quiet: bool, assumed: float | None = None
) -> None:
    from ..terminal.advice import reaching_facts, reaching_text

    if as_json:
        click.echo(json.dumps({"acquisitions": [reaching_facts(each) for each in reached]}))
        return
    shown = reached[:MOST_SHOWN]
    print_lines(reaching_text(shown))
    # What one of them has of its own is reported where it is asked for.
    notes = [n for n in shown[0].advice.notes if all(n in each.advice.notes for each in shown)]
    if assumed is not None:
        notes.insert(0, f"no tilts were asked for: what is expected to reach NRMSE {assumed:.3g}")
    own = sum(len(each.advice.notes) > len(notes) for each in shown)
    if own:
        notes.append(f"{own} of these rest on neighbours or single trials: recommend says which")
    if len(reached) > len(shown):
        notes.append(f"{len(reached) - len(shown)} dearer ones more; --json lists all")
    print_notes(() if quiet else notes)
