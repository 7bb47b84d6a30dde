"""The command ``reconstruct``: volumes from a tilt series.

What was used is printed and kept in the attributes of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...recon_core.errors import BadInput
from ...sweep.versions import package_version
from ..exits import Exit
from . import FilePath, device_option, force_option, out_option, quiet_option, refuse_existing
from .weights import MethodChoice, WeightOptions, choose_weights, found_weights, settings_for

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
    "--weights",
    metavar="auto",
    help="auto: find the weights from the series itself, by 19 reconstructions of it. Weights of "
    "one's own are --haadf and --tv.",
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
    device: str,
    out: Path,
    force: bool,
    quiet: bool,
    **solver: Any,
) -> int:
    """Reconstruct the concentrations of every element from TILTS.h5.

    Weights mean the same for every specimen and detector; without any, haadf 0.3 and tv 1.4 are
    used and printed; --weights auto looks for better ones and says what it could not decide. The
    misfit of HAADF (reduced chi-square) and of every element (deviance) is printed in units of the
    noise and kept in the file. Before that the data are checked for faults such as angles in
    radians, hot pixels or a vacuum level that was not given; each gives a warning on stderr. Exit
    code 3 if the solver diverged; nothing is written then.
    """
    from ...phantoms.formats import load_tilt_series
    from ...recon_core.methods import Method

    if solver["weights"] not in (None, "auto"):
        own = "auto; weights of your own by --haadf and --tv"
        raise BadInput("not known", key="--weights", value=solver["weights"], accepted=own)
    refuse_existing(out, force, tilts)
    series = load_tilt_series(tilts)
    # Those of the weights taken out, the other options are settings of the solver by name.
    given = {name: solver.pop(name) for name in ("haadf", "tv", "atlas")}
    options = WeightOptions(
        **given, auto=solver.pop("weights") == "auto", device=device, quiet=quiet
    )
    choice = choose_weights(series, Method(method), options, solver)
    settings, notes = settings_for(choice, solver)
    _warn(series)
    if options.auto:
        try:
            choice = found_weights(series, choice.method, settings, options)
        except BadInput as fault:
            raise fault.at(source=tilts) from fault
    code, lines = reconstruct_file(tilts, series, choice, settings, out, force, device)
    for line in () if quiet else (*choice.notes, *notes, *lines):
        click.echo(line)
    return code


def _warn(series: TiltSeries) -> None:
    """Print what is doubtful about the data, with -q too: volumes would not show it."""
    from ...recon_core.checks import check_series

    for finding in check_series(series):
        click.echo(f"warning: {finding}", err=True)


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
        lines = [f"diverged: {solved.message}; nothing was written"]
        if choice.method.weight_names[:1] == ("haadf",):
            lines.append(
                "do not trust fusion here: HAADF and maps may contradict each other; "
                "--method chemistry-tv does without HAADF"
            )
        return Exit.TRIALS_FAILED, (*lines,)
    found = _misfit(series, solved, settings, choice, device)
    facts = {"version": package_version("tomoatlas"), **choice.facts, **found.facts}
    save_reconstruction(out, solved, facts, overwrite=force)
    return Exit.DONE, (
        *_without_haadf(series, choice),
        *_terms(solved),
        *(() if solved.haadf is None else solved.haadf.lines),
        *map(str, found.channels),
        f"{out}: {', '.join(series.elements)}",
    )


def _misfit(
    series: TiltSeries,
    solved: Reconstruction,
    settings: SolverSettings,
    choice: MethodChoice,
    device: str,
) -> Misfit:
    """How far the data lie from the projected volumes, in units of their noise."""
    from ...recon_core.gpu import device_named
    from ...recon_core.metrics.misfit import misfit
    from ...recon_core.solver.normalisation import as_solved

    known, law = as_solved(series, solved, settings, device_named(device))
    # without HAADF there is no model of it: unless the file knows one, its vacuum and scale would
    # be judged alone
    if not choice.weights.haadf and series.haadf_scale is None:
        known = known.of_tilts((), range(len(known.chemical_angles_deg)))
    return misfit(known, solved.volumes, law)


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
