"""The commands on finished volumes: ``evaluate`` them against the truth, ``export`` them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ...recon_core.errors import BadInput
from . import FilePath, force_option, json_option, quiet_option, refuse_existing

DISPLACED = 0.25  # voxels from the truth that are said


@click.command()
@click.argument("recon", metavar="RECON.h5", type=FilePath)
@click.argument("specimen", metavar="SPECIMEN.h5", type=FilePath)
@json_option
@quiet_option
def evaluate(recon: Path, specimen: Path, as_json: bool, quiet: bool) -> None:
    """Score RECON.h5 against the truth SPECIMEN.h5; elements are matched by name.

    NRMSE of z-scored volumes (0 equal, 1.41 nothing in common) per element and their mean, the
    relative error (which sees a wrong scale), the total of each element over the true one, its
    haze (fraction away from its particles) and its level inside over the true one, and the
    stoichiometry of every oxide. With -q only the mean NRMSE is printed.
    """
    from ...analysis.scores import evaluate_files
    from ...phantoms.formats import is_swapped

    if is_swapped(recon, specimen):
        accepted = f"tomoatlas evaluate {specimen} {recon}"
        raise BadInput(
            "reconstruction and truth are swapped",
            key="RECON.h5",
            value=str(recon),
            accepted=accepted,
        )
    # All scores at once; the options choose only how they are printed.
    scores = evaluate_files(recon, specimen)
    if as_json:
        # NaN is no JSON: a score that is not known is null, and anything else is a fault here.
        click.echo(json.dumps(scores, allow_nan=False))
    else:
        click.echo(f"{scores['nrmse']:.6f}" if quiet else score_text(scores))


def score_text(scores: Mapping[str, Any]) -> str:
    """The scores of a reconstruction for people.

    Parameters
    ----------
    scores : result of the function that scores two files.
    """
    lines = ["          NRMSE   relative error   correlation   resolution / nm     SSIM"]
    lines += [_element_line(scores, element) for element in scores["nrmse_by_element"]]
    lines.append(f"{'mean':<8} {scores['nrmse']:6.3f}   {scores['relative_error']:14.3f}")
    lines.append("          total / truth   haze   level inside / truth")
    lines += [_amounts_line(scores, element) for element in scores["nrmse_by_element"]]
    for where, key in (("in its oxide", "stoichiometry"), ("inside", "stoichiometry_inside")):
        lines += [
            f"{element}/({element}+O) {where}: {phase['mean']:.3f} ± {phase['sigma']:.3f} "
            f"({phase['voxels']} voxels)"
            for element, phase in scores[key].items()
        ]
    if max(map(abs, scores.get("displacement_voxels", (0.0,)))) > DISPLACED:
        place = ", ".join(f"{d:.1f}" for d in scores["displacement_voxels"])
        lines.append(
            f"note: the volumes lie ({place}) voxels (z, y, x) from the truth, and nothing in a "
            f"series says where it lies: with the truth moved there the mean NRMSE is "
            f"{scores['nrmse_moved']:.3f}"
        )
    return "\n".join(lines)


def _amounts_line(scores: Mapping[str, Any], element: str) -> str:
    """One row of the table of amounts; a dash for one that is not known."""
    numbers = [scores[name][element] for name in ("totals", "haze", "level")]
    texts = ["–" if n is None else format(n, ".3f") for n in numbers]
    return f"{element:<8} {texts[0]:>14} {texts[1]:>6} {texts[2]:>22}"


def _element_line(scores: Mapping[str, Any], element: str) -> str:
    """One row of the table of scores; a dash for a score that is not known."""
    names = ("relative_error", "correlation", "resolution_nm", "ssim")
    widths = (14, 13, 17, 8)
    line = f"{element:<8} {scores['nrmse_by_element'][element]:6.3f}   "
    numbers = [scores[f"{name}_by_element"].get(element) for name in names]
    return line + "".join(
        f"{'–' if n is None else format(n, '.3f'):>{w}}"
        for n, w in zip(numbers, widths, strict=True)
    )


@click.command()
@click.argument("source", metavar="VOLUMES|TILTS", type=FilePath)
@click.option(
    "--out",
    type=FilePath,
    required=True,
    metavar="F",
    help="A .emd, .tif, .mrc, .hspy or .h5 file.",
)
@force_option
@quiet_option
def export(source: Path, out: Path, force: bool, quiet: bool) -> None:
    """Convert a specimen or a reconstruction for other programs.

    EMD for tomviz, hspy for HyperSpy, TIFF for ImageJ and napari (elements as channels), MRC for
    IMOD and Chimera (one file per element: F.mrc becomes F_Co.mrc and so on). Each keeps elements,
    units and how the volumes were made. Installed plugins add formats; one that holds tilt series
    alone takes a tilt series.
    """
    from ...phantoms.formats import (
        export_series,
        export_volumes,
        exported_paths,
        load_facts,
        load_tilt_series,
        load_volumes,
        takes_series_alone,
    )

    if takes_series_alone(out):
        series = load_tilt_series(source)
        refuse_existing(out, force, source)
        written = export_series(out, series)
    else:
        concentrations, elements, voxel_size_nm = load_volumes(source)
        # All of them before the first is written: half an export would look like one.
        for path in exported_paths(out, elements):
            refuse_existing(path, force, source)
        facts = load_facts(source)
        written = export_volumes(out, concentrations, elements, voxel_size_nm, facts)
    for path in () if quiet else written:
        click.echo(path)
