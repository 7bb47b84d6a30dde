"""The weights of a reconstruction, and the settings that they are for.

Weights come from the options, from an atlas by the tilts and counts of the series, from the series
itself, or are the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ...recon_core.errors import BadInput
from ...recon_core.methods import ACCEPTED_WEIGHT, Method, Weights, default_weights, is_weight

if TYPE_CHECKING:
    from ...recon_core.settings import SolverSettings
    from ...recon_core.tiltseries import TiltSeries


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
    facts : how they were found, for the file of the volumes.
    """

    method: Method
    weights: Weights
    notes: tuple[str, ...] = ()
    solver: Mapping[str, object] = field(default_factory=dict)
    of_atlas: bool = False
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightOptions:
    """What the command line says about weights.

    Parameters
    ----------
    haadf, tv : weights; None if not given.
    atlas : a study folder, an atlas.csv or atlas.h5, or a shipped one, to take the weights from;
        None for none.
    auto : whether to find them from the series.
    device : what to compute on, as the command line names it.
    quiet : whether to show no progress.
    """

    haadf: float | None = None
    tv: float | None = None
    atlas: str | None = None
    auto: bool = False
    device: str = "auto"
    quiet: bool = True

    @property
    def given(self) -> dict[str, float]:
        """Name to weight of those given."""
        pairs = (("haadf", self.haadf), ("tv", self.tv))
        return {name: weight for name, weight in pairs if weight is not None}


def choose_weights(
    series: TiltSeries,
    method: Method,
    options: WeightOptions,
    solver: Mapping[str, object] | None = None,
) -> MethodChoice:
    """The weights given, or those an atlas recommends for ``series``, or the defaults.

    With ``options.auto`` they are the defaults, from which :func:`found_weights` goes on.

    Parameters
    ----------
    series : the data; its tilts and mean counts are looked up in an atlas.
    method : what to reconstruct with.
    options : where the weights are to come from.
    solver : options of the solver, None where not given; the defaults are of its units.

    Raises
    ------
    BadInput : a weight that the method does not have, one of two weights, or weights of two
        sources.
    """
    for name, value in options.given.items():
        _check_weight(method, name, value)
    if options.auto:
        _check_auto(method, options)
    if options.atlas is not None:
        return _from_atlas(series, method, options.given, options.atlas)
    if given := options.given:
        # Half of a pair is refused: a default beside a chosen weight would surprise.
        if missing := [n for n in method.weight_names if n not in given]:
            raise BadInput("missing", key=f"--{missing[0]}", accepted="both weights, or neither")
        return MethodChoice(method, Weights(**given))
    units = settings_for(MethodChoice(method, Weights()), solver or {})[0]
    usual = default_weights(units.noise, units.units)
    if options.auto:
        return MethodChoice(method, usual)
    defaults = {name: getattr(usual, name) for name in method.weight_names}
    notes = (f"weights not given: {_written(defaults)}",) if defaults else ()
    return MethodChoice(method, Weights(**defaults), notes)


def _check_auto(method: Method, options: WeightOptions) -> None:
    """Refuse weights from elsewhere beside ``--weights auto``, and a method without weights."""
    others = [f"--{name}" for name in options.given]
    others += ["--atlas"] if options.atlas is not None else []
    if others:
        raise BadInput("given beside --weights auto", key=others[0], accepted="one of the two")
    if not method.weight_names:
        accepted = f"{Method.FUSED}, {Method.CHEMISTRY_TV}"
        raise BadInput("no weights to find", key="--method", value=str(method), accepted=accepted)


def found_weights(
    series: TiltSeries, method: Method, settings: SolverSettings, options: WeightOptions
) -> MethodChoice:
    """The weights that the series itself suggests, with a word on how long it takes.

    Parameters
    ----------
    series : the data.
    method : what to reconstruct with.
    settings : of the solver.
    options : device, and whether to show progress.
    """
    from ...analysis.progress import duration
    from ...analysis.weights import ALL_SOLVES, auto_weights, estimated_seconds
    from ..terminal import SolveProgress, say

    if not options.quiet:
        seconds = estimated_seconds(series, method, settings)
        say(f"weights: {ALL_SOLVES} solves, about {duration(seconds)} on one core …", err=True)
    show = None if options.quiet else SolveProgress("weights")
    found = auto_weights(series, method, settings, options.device, show)
    return MethodChoice(method, found.weights, found.lines, facts=found.facts)


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
    from ...analysis.recommend import Adviser
    from ...analysis.style import HAADF_SNR

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
    adviser = Adviser(atlas)
    # Counts of a HAADF detector have a gain: they are an SNR only beside those of other cells.
    varied = series.haadf.size and HAADF_SNR in adviser.atlas.axes
    found = adviser.recommend(
        len(series.haadf_angles_deg),
        len(series.chemical_angles_deg),
        # The SNR of definition A, measured from the counts themselves.
        1.0 + float(series.chemical.mean()),
        1.0 + float(series.haadf.mean()) if varied else None,
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
    from ...recon_core.settings import SolverSettings
    from ...recon_core.validation import validated
    from ...sweep.study.identity import newest_defaults

    given = {name: value for name, value in options.items() if value is not None}
    if not choice.of_atlas:
        return validated(newest_defaults("solver", given), SolverSettings, "solver"), ()
    notes = [
        f"note: {name} {given[name]} is not the atlas's, {value}, which its weights are for"
        for name, value in choice.solver.items()
        if name in given and given[name] != value
    ]
    return validated({**choice.solver, **given}, SolverSettings, "solver"), tuple(notes)
