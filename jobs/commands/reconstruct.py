"""The command ``reconstruct``: volumes from a tilt series, and the weights to use.

Weights come from the options, from an atlas by the tilts and counts of the series, or are the
defaults; what was used is printed and kept in the attributes of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...recon_core.errors import BadInput
from ...recon_core.methods import ACCEPTED_WEIGHT, Method, Weights, default_weights, is_weight
from ...sweep.versions import package_version
from ..exits import Exit
from . import FilePath, device_option, force_option, out_option, quiet_option, refuse_existing

if TYPE_CHECKING:
    from ...recon_core.metrics.misfit import Misfit
    from ...recon_core.result import Reconstruction
    from ...recon_core.settings import SolverSettings
    from ...recon_core.tiltseries import TiltSeries


@click.command()
@click.argument("tilts", metavar="TILTS.h5", type=FilePath)
@click.option(
    "--method",
    type=click.Choice(["fused", "chemistry-tv", "ml"]),
    default="fused",
    show_default=True,
)
@click.option("--haadf", type=float, metavar="W", help="Weight of the HAADF term (fused).")
@click.option("--tv", type=float, metavar="W", help="Weight of TV (fused, chemistry-tv).")
@click.option(
    "--atlas",
    metavar="ATLAS",
    help="Take the weights, and what they are for, from an atlas: a study folder, an atlas.csv or "
    "atlas.h5, or a shipped one.",
)
@click.option(
    "--contrast",
    type=click.Choice(["power", "linear", "fitted"]),
    help="HAADF contrast: (Z x)^gamma, Z^gamma x, or k x^gamma with k and the vacuum level fitted "
    "to the data.  [default: the atlas's, else fitted]",
)
@click.option(
    "--gamma",
    type=float,
    help="Exponent of the HAADF contrast, 1.4 to 2; of linear and fitted from 1.  "
    "[default: the atlas's, else 1]",
)
@click.option(
    "--film",
    is_flag=True,
    default=None,
    help="Fit the HAADF signal of a supporting film too (contrast fitted).",
)
@click.option("--tolerance", type=float, help="Relative change at which to stop.  [default: 1e-4]")
@click.option("--max-iterations", type=int, metavar="N", help="Limit of work.  [default: 400]")
@click.option(
    "--chemistry",
    type=click.Choice(["poisson", "least-squares"]),
    help="Likelihood of the chemical counts.  [default: the atlas's, else poisson]",
)
@click.option(
    "--regulariser",
    type=click.Choice(["tv", "guided"]),
    help="What TV weighs: every edge, or those that HAADF has not found.  "
    "[default: the atlas's, else guided]",
)
@click.option(
    "--start",
    type=click.Choice(["trial", "series"]),
    help="Weights at which a fused solve begins and finds the edges that TV spares: its own, or "
    "the usual ones.  [default: the atlas's, else series]",
)
@click.option(
    "--background",
    type=click.Choice(["given", "vacuum"]),
    help="Where the data give no background of the maps: none, or what they hold where HAADF is "
    "darkest.  [default: the atlas's, else vacuum]",
)
@click.option(
    "--units",
    type=click.Choice(["percentile", "noise"]),
    help="Unit of the TV weight: concentrations, or the noise of each element.  "
    "[default: the atlas's, else noise]",
)
@click.option(
    "--noise",
    type=click.Choice(["counts", "residual"]),
    help="Unit of the HAADF weight: the variance of counts, or noise times what chemistry + TV "
    "leaves unexplained, which no gain changes.  [default: the atlas's, else residual]",
)
@click.option(
    "--totals/--no-totals",
    default=None,
    help="Hold the amount of each element at what its counts add up to.  "
    "[default: the atlas's, else yes]",
)
@device_option
@out_option
@force_option
@quiet_option
def reconstruct(
    tilts: Path,
    method: str,
    haadf: float | None,
    tv: float | None,
    atlas: str | None,
    device: str,
    out: Path,
    force: bool,
    quiet: bool,
    **solver: object,
) -> int:
    """Reconstruct the concentrations of every element from TILTS.h5.

    Weights mean the same for every specimen and detector; without any, haadf 0.3 and tv 1.4 are
    used and printed. The misfit of HAADF (reduced chi-square) and of every element (deviance) is
    printed in units of the noise and kept in the file. Before that the data are checked for faults
    such as angles in radians, hot pixels or a vacuum level that was not given; each gives a warning
    on stderr. Exit code 3 if the solver diverged; nothing is written then.
    """
    from ...phantoms.formats import load_tilt_series
    from ...recon_core.methods import Method

    refuse_existing(out, force)
    series = load_tilt_series(tilts)
    choice = choose_weights(series, Method(method), haadf, tv, atlas, solver)
    settings, notes = settings_for(choice, solver)
    _warn(series)
    code, lines = reconstruct_file(tilts, series, choice, settings, out, force, device)
    for line in () if quiet else (*choice.notes, *notes, *lines):
        click.echo(line)
    return code


def _warn(series: TiltSeries) -> None:
    """Print what is doubtful about the data, with -q too: volumes would not show it."""
    from ...recon_core.checks import check_series

    for finding in check_series(series):
        click.echo(f"warning: {finding}", err=True)


@dataclass(frozen=True)
class MethodChoice:
    """A method with its weights.

    Parameters
    ----------
    method : what to reconstruct with.
    weights : of its terms; 0 for a term the method does not have.
    notes : where the weights come from, if they were not given.
    solver : settings of the atlas, which its weights are for.
    of_atlas : whether an atlas names them.
    """

    method: Method
    weights: Weights
    notes: tuple[str, ...] = ()
    solver: Mapping[str, object] = field(default_factory=dict)
    of_atlas: bool = False


def choose_weights(
    series: TiltSeries,
    method: Method,
    haadf: float | None,
    tv: float | None,
    atlas: str | None,
    solver: Mapping[str, object] | None = None,
) -> MethodChoice:
    """The weights given, or those an atlas recommends for ``series``, or the defaults.

    Parameters
    ----------
    series : the data; its tilts and mean counts are looked up in the atlas.
    method : what to reconstruct with.
    haadf : weight of the HAADF term; None if not given.
    tv : weight of the total variation; None if not given.
    atlas : atlas.csv or atlas.h5 to take the weights from; None for none.
    solver : options of the solver, None where not given; the defaults are of its units.

    Raises
    ------
    BadInput : a weight that the method does not have, one of two weights, or weights beside an
        atlas.
    """
    given = {n: w for n, w in (("haadf", haadf), ("tv", tv)) if w is not None}
    for name, value in given.items():
        _check_weight(method, name, value)
    if atlas is not None:
        return _from_atlas(series, method, given, atlas)
    if given:
        # Half of a pair is refused: a default beside a chosen weight would surprise.
        if missing := [n for n in method.weight_names if n not in given]:
            raise BadInput("missing", key=f"--{missing[0]}", accepted="both weights, or neither")
        return MethodChoice(method, Weights(**given))
    units = settings_for(MethodChoice(method, Weights()), solver or {})[0]
    usual = default_weights(units.noise, units.units)
    defaults = {name: getattr(usual, name) for name in method.weight_names}
    notes = (f"weights not given: {_written(defaults)}",) if defaults else ()
    return MethodChoice(method, Weights(**defaults), notes)


def _check_weight(method: Method, name: str, value: float) -> None:
    """Refuse a weight that the method does not have, or a value that is no weight."""
    if name not in method.weight_names:
        accepted = ", ".join(f"--{n}" for n in method.weight_names) or "no weights"
        raise BadInput(
            f"{method} has no such weight", key=f"--{name}", value=value, accepted=accepted
        )
    if not is_weight(value):
        raise BadInput("not a weight", key=f"--{name}", value=value, accepted=ACCEPTED_WEIGHT)


def _from_atlas(
    series: TiltSeries, method: Method, given: Mapping[str, float], atlas: str
) -> MethodChoice:
    """The weights that an atlas recommends for the tilts and mean counts of a series."""
    from ...analysis.recommend import recommend

    if given:
        raise BadInput(
            "given beside weights",
            key="--atlas",
            value=atlas,
            accepted="an atlas or weights, not both",
        )
    if method is not Method.FUSED:
        raise BadInput(
            "an atlas holds weights of the fused method",
            key="--method",
            value=str(method),
            accepted=str(Method.FUSED),
        )
    found = recommend(
        atlas,
        len(series.haadf_angles_deg),
        len(series.chemical_angles_deg),
        # The SNR of definition A, measured from the counts themselves.
        1.0 + float(series.chemical.mean()),
        1.0 + float(series.haadf.mean()) if series.haadf.size else None,
    )
    notes = (f"weights of the atlas: {_written(asdict(found.weights))}", *found.notes)
    weights = Weights(found.weights.haadf, found.weights.tv)
    return MethodChoice(method, weights, notes, found.solver, of_atlas=True)


def _written(weights: Mapping[str, float]) -> str:
    """Weights as text, for a note."""
    return ", ".join(f"{name} {value:.4g}" for name, value in weights.items())


def settings_for(
    choice: MethodChoice, options: Mapping[str, object]
) -> tuple[SolverSettings, tuple[str, ...]]:
    """Solver settings from options, then from the atlas or the newest edition.

    Parameters
    ----------
    choice : method and weights, with the settings they were found with.
    options : option → value; one that is None was not given.

    Returns
    -------
    The settings, and a note on each setting of the atlas that an option overrules.

    Raises
    ------
    BadInput : a value out of range, or a setting of the atlas that this version does not have.
    """
    from ...sweep.study.identity import newest_defaults

    given = {name: value for name, value in options.items() if value is not None}
    if not choice.of_atlas:
        return settings_of(newest_defaults("solver", given)), ()
    notes = [
        f"note: {name} {given[name]} is not the atlas's, {value}, which its weights are for"
        for name, value in choice.solver.items()
        if name in given and given[name] != value
    ]
    return settings_of({**choice.solver, **given}), tuple(notes)


def settings_of(options: Mapping[str, object]) -> SolverSettings:
    """Solver settings from options.

    Parameters
    ----------
    options : option → value; one that is None keeps its default.

    Raises
    ------
    BadInput : a value out of range.
    """
    from ...recon_core.settings import SolverSettings
    from ...recon_core.validation import validated

    data = {name: value for name, value in options.items() if value is not None}
    return validated(data, SolverSettings, "solver")


def reconstruct_file(
    tilts: Path,
    series: TiltSeries,
    choice: MethodChoice,
    settings: SolverSettings,
    out: Path,
    force: bool,
    device: str = "auto",
) -> tuple[Exit, tuple[str, ...]]:
    """Reconstruct a tilt series and write the volumes; nothing is written if the solver diverged.

    Parameters
    ----------
    tilts : file that ``series`` was read from, for errors.
    series : the data.
    choice : method and weights.
    settings : of the solver.
    out : HDF5 file to write.
    force : whether an existing file may be replaced.
    device : what to compute on, as the command line names it.

    Returns
    -------
    The exit code, and lines about the result.

    Raises
    ------
    BadInput : data that cannot be reconstructed, or a file that cannot be written.
    """
    from ...phantoms.formats import save_reconstruction
    from ...recon_core.gpu import device_named
    from ...recon_core.result import Status
    from ...recon_core.solver import reconstruct

    solved = reconstruct(
        series, choice.method, choice.weights, settings, device=device_named(device)
    )
    # The command line refuses what an evaluation would record as a failed trial.
    if solved.status is Status.BAD_DATA:
        raise BadInput(solved.message or "cannot be reconstructed", source=tilts)
    # A diverged volume looks like one; not writing it is safer.
    if solved.status is Status.DIVERGED:
        return Exit.TRIALS_FAILED, (f"diverged: {solved.message}; nothing was written",)
    found = _misfit(series, solved, settings, device)
    facts = {"version": package_version("tomoatlas"), **found.facts}
    save_reconstruction(out, solved, facts, overwrite=force)
    return Exit.DONE, (
        *_without_haadf(series, choice),
        *_terms(solved),
        *(() if solved.haadf is None else solved.haadf.lines),
        *map(str, found.channels),
        f"{out}: {', '.join(series.elements)}",
    )


def _misfit(
    series: TiltSeries, solved: Reconstruction, settings: SolverSettings, device: str
) -> Misfit:
    """How far the data lie from the projected volumes, in units of their noise."""
    from ...recon_core.contrast import FITTED, LinearLaw, contrast_of
    from ...recon_core.gpu import device_named
    from ...recon_core.metrics.misfit import misfit
    from ...recon_core.solver.normalisation import with_scale

    # the solver's own scale, which its result does not carry
    known = with_scale(series, settings, device_named(device))
    if (model := solved.haadf) is not None:
        return misfit(model.applied_to(known), solved.volumes, model.coefficients.law)
    if settings.contrast == FITTED:
        # without HAADF weight nothing was fitted: any law, scaled by least squares
        return misfit(replace(known, haadf_scale=None), solved.volumes, LinearLaw(settings.gamma))
    return misfit(known, solved.volumes, contrast_of(settings))


def _without_haadf(series: TiltSeries, choice: MethodChoice) -> tuple[str, ...]:
    """A note that a series without HAADF tilts makes fused a chemistry-tv reconstruction;
    else none.
    """
    if choice.weights.haadf > 0 and not series.haadf_angles_deg:
        return ("no HAADF tilts in the series: fused is chemistry-tv here, haadf has no effect",)
    return ()


def _terms(solved: Reconstruction) -> tuple[str, ...]:
    """How the solver ended, and the terms of the objective at the end."""
    # Work is counted in projections, so that steps on coarser grids make it a fraction.
    ended = f"{solved.status} after {max(1, round(solved.iterations))} iterations"
    history = solved.history
    if not history.iterations:
        return (ended,)
    terms = f"HAADF {history.haadf[-1]:.6g}, chemistry {history.chemistry[-1]:.6g}"
    return ended, f"terms: {terms}, TV {history.tv[-1]:.6g}"
