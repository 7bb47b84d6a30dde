"""The commands on a measured tilt series: ``show``, ``inspect``, ``align`` and ``calibrate``."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...recon_core.errors import BadInput
from ..exits import Exit
from . import FilePath, beside, force_option, json_option, out_option, quiet_option, refuse_existing

if TYPE_CHECKING:
    from ...recon_core.alignment import Alignment
    from ...recon_core.geometry import Placement
    from ...recon_core.inspection import Verdict
    from ...recon_core.tiltseries import TiltSeries


@click.command()
@click.argument("tilts", metavar="TILTS.h5", type=FilePath)
@out_option
@click.option(
    "--figure",
    "picture",
    type=FilePath,
    metavar="F.png",
    help="Where to draw before and after.  [default: beside --out]",
)
@click.option("--table", type=FilePath, metavar="F.csv", help="Write the shifts as a table too.")
@force_option
@quiet_option
def align(
    tilts: Path,
    out: Path,
    picture: Path | None,
    table: Path | None,
    force: bool,
    quiet: bool,
) -> int:
    """Find the shifts, tilt axis and rotation of TILTS.h5; images are placed, not resampled.

    By centre of mass, or by correlation of neighbours where no vacuum surrounds the specimen, then
    by matching every image to the projections of the HAADF volume; the maps are matched to those
    too. The counts stay as they are: reconstruct follows the shifts that the file holds. Exit code
    3, with the reason, if it did not converge; the file is written all the same, to be looked at.
    """
    from ...analysis.figures.draw import kind_of, save_figure
    from ...analysis.tilts import alignment_sheet
    from ...phantoms.formats import load_tilt_series, save_tilt_series
    from ...recon_core.alignment import align as find

    picture = beside(out, ".png") if picture is None else picture
    kind_of(picture)
    for path in (out, picture, *(() if table is None else (table,))):
        refuse_existing(path, force, tilts)
    series = load_tilt_series(tilts)
    try:
        found = find(series, None if quiet else _say)
    except BadInput as fault:
        raise fault.at(source=tilts) from fault
    save_tilt_series(out, found.series, overwrite=force)
    # The same tilts on both sides of the picture: one without a good pixel cannot be placed.
    recorded = series.with_seen_tilts()
    save_figure(alignment_sheet(recorded, found.series), picture)
    if table is not None:
        table.write_text(shift_table(found.series))
    for line in () if quiet else (*alignment_lines(found), f"{out}, {picture}"):
        click.echo(line)
    if found.converged:
        return Exit.DONE
    click.echo(f"did not converge: {found.reason}; look at {picture}", err=True)
    return Exit.TRIALS_FAILED


def _say(line: str) -> None:
    click.echo(f"{line} …", err=True)


def alignment_lines(found: Alignment) -> list[str]:
    """What was found, for people: the axis, a line for each tilt, and how well it fits.

    Parameters
    ----------
    found : of :func:`tomoatlas.recon_core.alignment.align`.
    """
    series = found.series
    lines = [f"note: {note}" for note in found.notes]
    lines += [
        f"tilt axis: {series.haadf_placement.axis_offset:+.2f} pixels off the middle, "
        f"turned by {series.haadf_placement.rotation_deg:+.2f}°",
        "           tilt / °   shift y   shift x   (pixels, beside the axis)",
    ]
    for name, placement, angles in _modalities(series):
        pairs = zip(angles, placement.of_each(len(angles)), strict=True)
        lines += [f"{name:<9} {angle:>9.4g} {y:>9.2f} {x:>9.2f}" for angle, (y, x) in pairs]
    lines.append(
        f"unexplained by a volume: {found.residual_before:.3g} of the HAADF signal as recorded, "
        f"{found.residual_after:.3g} as placed; last step "
        f"{max((found.steps or (0.0,))[-1], found.map_step):.3f} pixels"
    )
    return lines


def shift_table(series: TiltSeries) -> str:
    """Shifts as comma-separated values, the offset of the axis included.

    Parameters
    ----------
    series : with its placement.
    """
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["modality", "tilt_deg", "shift_y_px", "shift_x_px", "rotation_deg"])
    for name, placement, angles in _modalities(series):
        for angle, (y, x) in zip(angles, placement.of_each(len(angles)), strict=True):
            # The offset of the axis is a common shift of all images: other programs know only the
            # sum.
            offset = y + placement.axis_offset
            rows.writerow([name, angle, round(offset, 4), round(x, 4), placement.rotation_deg])
    return text.getvalue()


def _modalities(series: TiltSeries) -> list[tuple[str, Placement, tuple[float, ...]]]:
    return [
        ("HAADF", series.haadf_placement, series.haadf_angles_deg),
        ("maps", series.chemical_placement, series.chemical_angles_deg),
    ]


@click.command()
@click.argument("tilts", metavar="TILTS.h5", type=FilePath)
@click.option(
    "--out", type=FilePath, metavar="F.png", help="The picture.  [default: beside TILTS.h5]"
)
@force_option
@quiet_option
def show(tilts: Path, out: Path | None, force: bool, quiet: bool) -> None:
    """Draw all projections of TILTS.h5 on one sheet."""
    from ...analysis.figures.draw import kind_of, save_figure
    from ...analysis.tilts import contact_sheet
    from ...phantoms.formats import load_tilt_series

    out = beside(tilts, ".png") if out is None else out
    kind_of(out)
    refuse_existing(out, force, tilts)
    save_figure(contact_sheet(load_tilt_series(tilts)), out)
    if not quiet:
        click.echo(out)


@click.command()
@click.argument("tilts", metavar="TILTS.h5", type=FilePath)
@click.option("--fix", is_flag=True, help="Write a series with what is safe to mend.")
@click.option(
    "--leave-out",
    multiple=True,
    metavar="TILT",
    help="With --fix, leave out the images at this angle too: HAADF:-28, maps:88, or 14 for both.",
)
@click.option("--out", type=FilePath, metavar="F.h5", help="With --fix.  [default: TILTS_fixed.h5]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@force_option
@quiet_option
def inspect(
    tilts: Path,
    fix: bool,
    leave_out: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Judge TILTS.h5: tilts, bad pixels, exposure, vacuum, noise, totals, shifts.

    Each line is good, doubtful or bad, and ends with what mends it. --fix masks bad pixels and
    tilts, which a reconstruction then leaves out, and sets vacuum levels that are not given or that
    vacuum in view contradicts; no count is changed. The verdicts are of TILTS.h5; a last line says
    what was mended and what is still doubtful or bad. With -q only what is not good is printed.
    """
    from ...phantoms.formats import load_tilt_series, save_tilt_series
    from ...recon_core.inspection import GOOD, mended, without_tilt
    from ...recon_core.inspection import inspect as judge

    if out is not None and not fix:
        raise BadInput("needs --fix", key="--out", value=str(out), accepted="--fix --out F.h5")
    if leave_out and not fix:
        accepted = "--fix --leave-out TILT"
        raise BadInput("needs --fix", key="--leave-out", value=leave_out[0], accepted=accepted)
    meant = [_tilt_named(word) for word in leave_out]
    out = beside(tilts, ".h5").with_stem(f"{tilts.stem}_fixed") if out is None else out
    if fix:
        refuse_existing(out, force, tilts)
    series = load_tilt_series(tilts)
    verdicts = [
        replace(verdict, remedy=verdict.remedy.replace("TILTS.h5", str(tilts)))
        for verdict in judge(series)
    ]
    try:
        for modality, angle in meant:
            series = without_tilt(series, modality, angle)
    except BadInput as fault:
        raise fault.at(source=tilts) from fault
    fixed = mended(series) if fix else None
    after = None if fixed is None else judge(fixed)
    if as_json:
        click.echo(json.dumps(_rows(verdicts, after)))
    else:
        for verdict in verdicts:
            if not (quiet and verdict.verdict == GOOD):
                click.echo(verdict)
    if fixed is not None and after is not None:
        save_tilt_series(out, fixed, overwrite=force)
        if not (quiet or as_json):
            gone = f"left out: {', '.join(leave_out)}; " if leave_out else ""
            click.echo(f"{out}: {gone}{_outcome(verdicts, after)}")


def _tilt_named(word: str) -> tuple[str | None, float]:
    """Modality, if one is named, and angle of a tilt to leave out."""
    name, colon, angle = word.rpartition(":")
    modality = {"haadf": "HAADF", "maps": "maps"}.get(name.lower()) if colon else None
    try:
        found = float(angle)
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or (colon and modality is None):
        accepted = "an angle in degrees: 14, HAADF:-28 or maps:88"
        raise BadInput("no tilt", key="--leave-out", value=word, accepted=accepted)
    return modality, found


def _rows(before: Sequence[Verdict], after: Sequence[Verdict] | None) -> list[dict[str, str]]:
    """Verdicts as plain values; of a series that is mended also what they are afterwards."""
    rows = [asdict(verdict) for verdict in before]
    if after is None:
        return rows
    became = {verdict.name: verdict.verdict for verdict in after}
    known = {verdict.name for verdict in before}
    # a check says nothing of what is good
    rows += [asdict(v) | {"verdict": "good"} for v in after if v.name not in known]
    return [row | {"after": became.get(row["name"], "good")} for row in rows]


def _outcome(before: Sequence[Verdict], after: Sequence[Verdict]) -> str:
    """What was mended, and what is still doubtful or bad."""
    left = [verdict for verdict in after if verdict.verdict != "good"]
    still = {verdict.name for verdict in left}
    was = [verdict.name for verdict in before if verdict.verdict != "good"]
    gone = dict.fromkeys(name for name in was if name not in still)
    parts = [f"mended: {', '.join(gone)}" if gone else "nothing was mended"]
    for kind in ("doubtful", "bad"):
        names = dict.fromkeys(verdict.name for verdict in left if verdict.verdict == kind)
        parts += [f"still {kind}: {', '.join(names)}"] if names else []
    return "; ".join(parts if still else [*parts, "nothing is doubtful"])


@click.command()
@click.argument("tilts", metavar="TILTS.h5", type=FilePath)
@click.option(
    "--dose",
    type=float,
    default=0.0,
    metavar="D",
    help="Electrons per square angstrom of all maps together.",
)
@click.option(
    "--haadf-dose", type=float, default=0.0, metavar="D", help="Likewise of all HAADF images."
)
@json_option
def calibrate(tilts: Path, dose: float, haadf_dose: float, as_json: bool) -> None:
    """Print the counts per electron of TILTS.h5, a line for [acquisition] of a study.

    TILTS.h5 is in counts, a series or a single map. The numbers hold for the same microscope and
    specimens of the same mean thickness; counts of the vacuum are among them.
    """
    from ...phantoms.dose import Doses, calibrated
    from ...phantoms.formats import load_tilt_series

    for option, value in (("--dose", dose), ("--haadf-dose", haadf_dose)):
        if not 0 <= value < float("inf"):
            raise BadInput("not a dose", key=option, value=value, accepted="e/Å², > 0")
    try:
        found = calibrated(load_tilt_series(tilts), Doses(haadf_dose, dose))
    except BadInput as fault:
        raise fault.at(source=tilts) from fault
    if as_json:
        rows = {name: {"counts_per_electron": c, "error": e} for name, (c, e) in found.items()}
        click.echo(json.dumps(rows))
        return
    rates = ", ".join(f"{name} = {rate:.4g}" for name, (rate, _) in found.items())
    click.echo(f"counts_per_electron = {{ {rates} }}")
    errors = ", ".join(f"{name} {error:.2g}" for name, (_, error) in found.items())
    click.echo(f"# relative error by counting: {errors}")
