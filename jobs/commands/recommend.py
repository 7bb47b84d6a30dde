"""The command ``recommend``: weights and accuracy, read off an atlas.

The answer interpolates between cells that were run; nothing is reconstructed.
"""

from __future__ import annotations

import json

import click

from . import quiet_option


@click.command()
@click.argument("atlas", metavar="ATLAS")
@click.option("--haadf-tilts", type=int, required=True, metavar="N", help="Number of HAADF tilts.")
@click.option(
    "--chemical-tilts", type=int, required=True, metavar="N", help="Number of chemical tilts."
)
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet_option
def recommend(
    atlas: str,
    haadf_tilts: int,
    chemical_tilts: int,
    snr: float | None,
    haadf_snr: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Weights to use and accuracy to expect, read off ATLAS.

    ATLAS is a study folder, an atlas.csv or atlas.h5, or a shipped atlas, as fig4_nanocubes_64.
    Interpolates between the cells. The uncertainty is the error of predicting cells of the atlas
    from their neighbours. Notes name what the atlas does not vary and conditions outside its
    range; -q leaves them out.
    """
    from ...analysis.recommend import recommend as look_up
    from ..terminal.text import recommendation_facts, recommendation_text

    found = look_up(atlas, haadf_tilts, chemical_tilts, snr, haadf_snr)
    if as_json:
        click.echo(json.dumps(recommendation_facts(found)))
        return
    click.echo(recommendation_text(found))
    # Notes limit the answer; only -q, for scripts, may hide them.
    for note in () if quiet else found.notes:
        click.echo(f"note: {note}")
