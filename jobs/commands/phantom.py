"""The command ``phantom``: write a specimen, or list the kinds there are."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click

from ...recon_core.errors import BadInput
from ...recon_core.registry import SHIPPED
from . import FilePath, force_option, quiet_option, refuse_existing


@click.command()
@click.argument("kind", metavar="[KIND]", required=False)
@click.option("--list", "as_list", is_flag=True, help="Print the specimens there are, and stop.")
@click.option("--size", type=int, metavar="N", help="Voxels per edge.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the objects.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the kind's own, as --list shows them; repeatable.",
)
@click.option("--out", type=FilePath, metavar="F.h5", help="The HDF5 file to write.")
@force_option
@quiet_option
def phantom(
    kind: str | None,
    as_list: bool,
    size: int | None,
    seed: int,
    settings: tuple[str, ...],
    out: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Write a specimen: KIND is a name of --list, or a Python file that defines one.

    The seed draws the objects, the size only resolves them: the same seed is the same specimen at
    every size.
    """
    from ...phantoms.formats import save_specimen
    from ...phantoms.kinds import make_specimen

    if as_list:
        return _print_kinds()
    if kind is None or size is None or out is None:
        missing = {"KIND": kind, "--size": size, "--out": out}
        name = next(name for name, value in missing.items() if value is None)
        raise click.UsageError(f"Missing {name}.", click.get_current_context())
    refuse_existing(out, force)
    specimen = make_specimen(kind, size, seed, **_parameters(settings))
    save_specimen(out, specimen, overwrite=force)
    if not quiet:
        elements = ", ".join(specimen.elements)
        click.echo(
            f"{out}: {kind} of {elements}, {size}³ voxels of {specimen.voxel_size_nm:.4g} nm"
        )
    return None


def _print_kinds() -> None:
    """Print every kind with its own parameters and their defaults."""
    from ...phantoms.kinds import SPECIMENS

    for name in SPECIMENS.names():
        try:
            found = SPECIMENS.get(name)
        except BadInput as error:  # the others are still there
            click.echo(f"{name:<14} {error}")
            continue
        own = "".join(f"  {key} = {value}" for key, value in found.completed({}))
        by = SPECIMENS.origin(name)
        click.echo(
            f"{name:<14} {found.about}  [{', '.join(found.elements)}]{own}"
            f"{'' if by == SHIPPED else f'  (by {by})'}"
        )


def _parameters(settings: tuple[str, ...]) -> dict[str, object]:
    """The values of ``KEY=VALUE``: numbers, true, false and lists as in TOML, else text."""
    found: dict[str, object] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise BadInput("not a parameter", key="--set", value=text, accepted="KEY=VALUE")
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value.strip()
    return found
