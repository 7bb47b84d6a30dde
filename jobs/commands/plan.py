"""The command that plans an experiment: ``plan``."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...recon_core.errors import BadInput
from . import (
    Elements,
    FilePath,
    device_option,
    force_option,
    json_option,
    parameters_of,
    print_lines,
    quiet_option,
    refuse_existing,
)

if TYPE_CHECKING:
    from ...analysis.plan import Limits, Plan
    from ...analysis.plan_atlas import AtlasPlan
    from ...sweep.study.trial import Trial, TrialResult

OPTIONS = {
    "acquisition.dose_e_per_A2": "--dose",
    "acquisition.tilt_range_deg": "--tilt-range",
    "specimen.size": "--size",
}
"""Keys of a study that options stand for."""


@click.command()
@click.option(
    "--specimen",
    type=str,
    metavar="F.toml",
    help="What will be imaged: a file that describes it, a volume, or a kind. With a table "
    "[acquisition] in it, for what is known of the microscope.",
)
@click.option(
    "--dose", type=float, metavar="D", help="Electrons per square angstrom of all images and maps."
)
@click.option("--atlas", metavar="NAME|DIR", help="Instead of --specimen: read a finished study.")
@click.option("--target-nrmse", type=float, metavar="X", help="The accuracy that is wanted.")
@click.option("--tilt-range", type=(float, float), metavar="A B", help="Degrees.")
@click.option(
    "--elements",
    type=Elements(),
    metavar="El,El",
    help="Those whose accuracy counts.  [default: all]",
)
@click.option("--max-tilts", type=int, metavar="N", help="HAADF images and maps together.")
@click.option("--max-hours", type=float, metavar="H", help="Of beam time.")
@click.option(
    "--current", type=float, default=100.0, show_default=True, metavar="PA", help="Of the probe."
)
@click.option(
    "--microscope",
    multiple=True,
    metavar="KEY=VALUE",
    help="Of [acquisition.microscope]: signal=eels, solid_angle_sr=0.7; repeatable.",
)
@click.option("--size", type=int, metavar="N", help="Voxels per edge of a trial.  [default: 64]")
@click.option("--workers", type=int, metavar="N", help="Processes.  [default: one per core or GPU]")
@device_option
@click.option("--figure", "picture", type=FilePath, metavar="F.png", help="Draw the contours too.")
@click.option("--page", type=FilePath, metavar="F.html", help="Write it all as one page too.")
@json_option
@force_option
@quiet_option
def plan(
    specimen: str | None,
    dose: float | None,
    atlas: str | None,
    picture: Path | None,
    page: Path | None,
    as_json: bool,
    force: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """How many HAADF tilts, how many maps, and how the dose is shared: the acquisition to choose.

    With --specimen and --dose about a hundred trials of that specimen are made, in some minutes:
    a small search, and the answer repeated on specimens and noise of other seeds, whose spread is
    the interval that is printed. With --atlas nothing is run.
    """
    if (specimen is None) == (atlas is None):
        what = "not given" if specimen is None else "given together"
        raise BadInput(what, key="--specimen, --atlas", accepted="one of the two")
    limits = _limits(given)
    if atlas is not None:
        _refuse_beside_atlas({**given, "figure": picture, "page": page})
        from ...analysis.plan_atlas import from_atlas

        facts = atlas_facts(from_atlas(atlas, limits, dose))
        text = atlas_text(facts)
    else:
        _check_files(picture, page, force, Path(str(specimen)))
        found = _by_trials(str(specimen), dose, limits, given, quiet or as_json)
        facts = plan_facts(found)
        text = plan_text(facts)
        _write_files(picture, page, found, text)
    if as_json:
        click.echo(json.dumps(facts))
        return
    print_lines(text)
    for written in (picture, page):
        if written is not None and not quiet:
            click.echo(written)


def _check_files(picture: Path | None, page: Path | None, force: bool, specimen: Path) -> None:
    """Refuse a picture or a page that could not be written, before the trials."""
    if picture is not None:
        from ...analysis.figures.draw import kind_of

        kind_of(picture)
        refuse_existing(picture, force, specimen)
    if page is not None:
        refuse_existing(page, force, specimen)


def _write_files(picture: Path | None, page: Path | None, found: Plan, text: str) -> None:
    if picture is not None:
        from ...analysis.figures.draw import save_figure
        from ...analysis.figures.plan import plan_figure

        save_figure(plan_figure(found), picture)
    if page is not None:
        from ...analysis.plan_page import write_plan

        write_plan(page, found, text.partition("\n\n")[0])


def _refuse_beside_atlas(given: Mapping[str, Any]) -> None:
    """Refuse options that say what trials are to be of: an atlas has its own."""
    usual = {"device": "auto", "current": 100.0}  # which ask for nothing
    for option in (
        "tilt_range",
        "elements",
        "max_hours",
        "current",
        "microscope",
        "size",
        "workers",
        "device",
        "figure",
        "page",
    ):
        # a 0 is given too: for equality with what stands where nothing is, not for truth
        if given[option] not in (None, (), usual.get(option)):
            name = f"--{option.replace('_', '-')}"
            raise BadInput("for trials", key=name, value=given[option], accepted="--specimen")


def _limits(given: Mapping[str, Any]) -> Limits:
    from ...analysis.plan import Limits

    return Limits(
        given["target_nrmse"],
        given["max_tilts"],
        given["max_hours"],
        given["current"],
        given["elements"],
    )


def _by_trials(
    specimen: str, dose: float | None, limits: Limits, given: Mapping[str, Any], quiet: bool
) -> Plan:
    from ..plan import plan as find
    from ..terminal import say

    if dose is None:
        raise BadInput("missing", key="--dose", accepted="e/Å² of all images and maps together")
    acquisition: dict[str, Any] = {}
    if given["tilt_range"] is not None:
        acquisition["tilt_range_deg"] = list(given["tilt_range"])
        if max(map(abs, given["tilt_range"])) < math.pi and not quiet:
            low, high = map(math.degrees, given["tilt_range"])
            say(
                f"note: --tilt-range is in degrees; radians would be {low:.3g} {high:.3g}", err=True
            )
    if given["microscope"]:
        acquisition["microscope"] = parameters_of(given["microscope"], "--microscope")
    started, numbers = time.monotonic(), itertools.count(1)

    def on_result(trial: Trial, result: TrialResult) -> None:  # noqa: ARG001
        if (done := next(numbers)) % 10 == 0:
            say(f"{done} trials, {time.monotonic() - started:.0f} s", err=True)

    try:
        return find(
            specimen,
            dose,
            limits,
            acquisition,
            given["size"],
            given["workers"],
            given["device"],
            None if quiet else partial(say, err=True),
            None if quiet else on_result,
        )
    except BadInput as error:
        raise _of_option(error, given) from error


def _of_option(error: BadInput, given: Mapping[str, Any]) -> BadInput:
    """The error as whoever gave an option knows it: no file holds what it says."""
    option = OPTIONS.get(error.key or "")
    if option is None or (option != "--dose" and given[option[2:].replace("-", "_")] is None):
        return error
    return BadInput(error.problem, key=option, value=error.value, accepted=error.accepted)


def plan_facts(found: Plan) -> dict[str, Any]:
    """A plan as plain values, for JSON.

    Parameters
    ----------
    found : the plan.
    """
    chosen = found.choice
    return {
        **_answer(found, (chosen.images, chosen.maps), chosen.dose, found.changes[0].what),
        "haadf_share": chosen.share,
        "edges": list(found.edges),
        "dwell_us": dict(found.dwell_us),
        "hours": found.hours,
        "snr": dict(found.snr),
        "by_element": {
            name: {"nrmse": each.nrmse, "nrmse_low": each.low, "nrmse_high": each.high}
            for name, each in found.by_element.items()
        },
        "chemistry_alone": found.chemistry_alone,
        "changes": {change.what: change.factor for change in found.changes},
        "front": [list(pair) for pair in found.front],
        "reached": found.reached,
        "trials": found.trials,
    }


ALONE = 1.05
"""Times the NRMSE of the fused reconstruction below which the maps alone will do."""


def plan_text(facts: Mapping[str, Any]) -> str:
    """A paragraph and a table for people.

    Parameters
    ----------
    facts : of :func:`plan_facts`.
    """
    from ...analysis.surface import dose_label

    front = ", ".join(f"{dose_label(dose)}: {nrmse:.3f}" for dose, nrmse in facts["front"][::2])
    return "\n".join(
        [
            _advice(facts),
            "",
            *_rows(facts),
            "",
            f"best NRMSE by dose (e/Å²)   {front}",
            f"beam time                   {facts['hours']:.1f} h",
            f"from                        {facts['trials']} trials of this specimen",
            *(f"assumed: {line}" for line in facts["assumed"]),
        ]
    )


def _advice(facts: Mapping[str, Any]) -> str:
    """What to take, what to expect of it, and what would help most."""
    from ...analysis.surface import dose_label

    low, high = facts["nrmse_low"], facts["nrmse_high"]
    factor = facts["changes"][facts["cheapest_change"]]
    sentences = [
        f"Take {facts['haadf_tilts']} HAADF images and {facts['chemical_tilts']} chemical maps, "
        f"and give HAADF {facts['haadf_share']:.0%} of {dose_label(facts['dose_e_per_A2'])} e/Å².",
        edges_text(facts["edges"]),
        f"Expect a mean NRMSE of {facts['nrmse']:.3f} ({low:.3f} to {high:.3f} in nine of ten "
        f"specimens), reconstructed with haadf {facts['haadf']:.3g} and tv {facts['tv']:.3g}.",
        _reached(facts),
        _alone(facts["chemistry_alone"]),
        f"Of what was not free to choose, {facts['cheapest_change']} would help most: "
        f"{factor - 1:+.0%}."
        if factor < 1 - 0.01
        else "Neither more dose nor a wider range of tilts would help.",
    ]
    return " ".join(filter(None, sentences))


def edges_text(edges: Sequence[str]) -> str:
    """A sentence on what of a choice is the least or the most that was tried.

    Parameters
    ----------
    edges : what is, in words; none gives no sentence.
    """
    if not edges:
        return ""
    *others, last = edges
    return f"Of what was tried, {', '.join(others)}{' and ' if others else ''}{last}."


def _rows(facts: Mapping[str, Any]) -> list[str]:
    """The table of images and maps: how each is taken, and how well each element comes out."""
    rows = [
        ("HAADF", facts["haadf_tilts"], "haadf", None),
        *((e, facts["chemical_tilts"], "chemical", row) for e, row in facts["by_element"].items()),
    ]
    lines = [f"{'':<6} {'tilts':>6} {'dwell / µs':>11} {'SNR':>8} {'NRMSE':>8}   nine of ten"]
    for name, tilts, modality, row in rows:
        line = f"{name:<6} {tilts:>6} {facts['dwell_us'][modality]:>11.4g} "
        line += f"{facts['snr'][name]:>8.4g}"
        if row is not None:
            line += f" {row['nrmse']:>8.3f}   {row['nrmse_low']:.3f} to {row['nrmse_high']:.3f}"
        lines.append(line)
    return lines


def _reached(facts: Mapping[str, Any]) -> str:
    if facts["reached"] is None:
        return ""
    if facts["reached"]:
        return "That reaches the target with the least dose of those tried."
    return "The target cannot be had with this dose."


def _alone(ratio: float) -> str:
    if ratio <= ALONE:
        return f"Chemistry alone will do: without HAADF the NRMSE is {ratio:.2f} times this."
    return f"Without HAADF the NRMSE would be {ratio:.2f} times this."


def atlas_facts(found: AtlasPlan) -> dict[str, Any]:
    """A plan out of an atlas as plain values, for JSON.

    Parameters
    ----------
    found : the plan.
    """
    tilts = (found.images, found.maps)
    return {
        **_answer(found, tilts, found.dose, found.cheapest_change),
        "reached": found.reached,
    }


def _answer(
    found: Plan | AtlasPlan, tilts: tuple[int, int], dose: float | None, change: str
) -> dict[str, Any]:
    """What both kinds of plan say."""
    return {
        "haadf_tilts": tilts[0],
        "chemical_tilts": tilts[1],
        "haadf": found.weights.haadf,
        "tv": found.weights.tv,
        "nrmse": found.expected.nrmse,
        "nrmse_low": found.expected.low,
        "nrmse_high": found.expected.high,
        "dose_e_per_A2": dose,
        "cheapest_change": change,
        "assumed": list(found.assumed),
    }


def atlas_text(facts: Mapping[str, Any]) -> str:
    """A paragraph for people, and what it rests on.

    Parameters
    ----------
    facts : of :func:`atlas_facts`.
    """
    low, high = facts["nrmse_low"], facts["nrmse_high"]
    verdict = {None: "", True: " That reaches the target.", False: " The target cannot be had."}
    return "\n".join(
        [
            f"Take {facts['haadf_tilts']} HAADF images and {facts['chemical_tilts']} maps. "
            f"Expect a mean NRMSE of {facts['nrmse']:.3f} ({low:.3f} to {high:.3f}), reconstructed "
            f"with haadf {facts['haadf']:.3g} and tv {facts['tv']:.3g}.{verdict[facts['reached']]} "
            f"The cheapest change that would help: {facts['cheapest_change']}.",
            *(f"assumed: {line}" for line in facts["assumed"]),
        ]
    )
