"""The command ``sites``: the machines that batch scripts are written for."""

from __future__ import annotations

from pathlib import Path

import click

from ...recon_core.errors import BadInput
from . import FilePath, force_option, quiet_option, refuse_existing


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--copy", type=FilePath, metavar="F.toml", help="Write its file, to change it.")
@force_option
@quiet_option
def sites(name: str | None, copy: Path | None, force: bool, quiet: bool) -> None:
    """List the sites, or print the file of the site NAME.

    A site is a small TOML file. Files in ~/.config/tomoatlas/sites are sites by their name, and
    hide a shipped site of the same name.
    """
    from ..batch.sites import site_file

    if name is None:
        if copy is not None:
            raise BadInput("missing", key="NAME", accepted="the site that --copy writes")
        return _print_sites()
    found = site_file(name)
    if copy is None:
        click.echo(found.text(), nl=False)
        return None
    refuse_existing(copy, force)
    copy.write_text(found.text(), encoding="utf-8")
    if not quiet:
        click.echo(copy)
    return None


def _print_sites() -> None:
    from ..batch.sites import own_folder, read_site, site_files

    for found in site_files():
        try:
            site = read_site(found)
        except BadInput as error:  # the others are still there
            click.echo(f"{found.name:<14} {error}")
            continue
        by = f", in place of {found.hides}" if found.hides else ""
        click.echo(f"{found.name:<14} {site.scheduler:<7} {site.about}  [{found.origin}{by}]")
    click.echo(f"Your own: {own_folder()}/NAME.toml")
