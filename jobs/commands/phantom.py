"""The command ``phantom``: write a specimen."""

from __future__ import annotations

from pathlib import Path

import click

from . import force_option, out_option, quiet_option, refuse_existing


@click.command()
@click.argument("kind", metavar="KIND")
@click.option("--size", type=int, required=True, metavar="N", help="Voxels per edge.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the objects.")
@out_option
@force_option
@quiet_option
def phantom(kind: str, size: int, seed: int, out: Path, force: bool, quiet: bool) -> None:
    """Write a specimen: KIND is nanocubes or composite.

    The seed draws the objects, the size only resolves them: the same seed is the same specimen at
    every size.
    """
    from ...phantoms.formats import save_specimen
    from ...phantoms.kinds import make_specimen

    refuse_existing(out, force)
    specimen = make_specimen(kind, size, seed)
    save_specimen(out, specimen, overwrite=force)
    if not quiet:
        elements = ", ".join(specimen.elements)
        click.echo(
            f"{out}: {kind} of {elements}, {size}³ voxels of {specimen.voxel_size_nm:.4g} nm"
        )
