"""Weights and solver settings of a single reconstruction, from options or from an atlas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from analysis.atlas import load_atlas
from analysis.recommend import recommend
from recon_core.errors import BadInput
from recon_core.settings import ACCEPTED_WEIGHT, Method, SolverSettings, Weights, is_weight
from recon_core.tiltseries import TiltSeries
from sweep.refusal import refusal

DEFAULT_WEIGHTS = Weights(haadf=0.05, tv=1.0)
"""Near the best weights of the quickstart's cells, where <NRMSE> is flat in haadf."""


@dataclass(frozen=True)
class Chosen:
    """A method with its weights, and what the person should know about the choice."""

    method: Method
    weights: Weights
    notes: tuple[str, ...] = ()


def choose_weights(
    series: TiltSeries, method: Method, haadf: float | None, tv: float | None, atlas: Path | None
) -> Chosen:
    """The weights given, or those an atlas recommends for ``series``, or the defaults.

    Raises
    ------
    BadInput : a weight that the method does not have, half of a pair, both weights and atlas.

    """
    given = {n: w for n, w in (("haadf", haadf), ("tv", tv)) if w is not None}
    for name, value in given.items():
        _check_weight(method, name, value)
    if atlas is not None:
        return _from_atlas(series, method, given, atlas)
    if given:
        if missing := [n for n in method.weight_names if n not in given]:
            raise BadInput("missing", key=f"--{missing[0]}", accepted="both weights, or neither")
        return Chosen(method, Weights(**given))
    defaults = {name: getattr(DEFAULT_WEIGHTS, name) for name in method.weight_names}
    notes = (f"weights not given: {_written(defaults)}",) if defaults else ()
    return Chosen(method, Weights(**defaults), notes)


def _check_weight(method: Method, name: str, value: float) -> None:
    if name not in method.weight_names:
        accepted = ", ".join(f"--{n}" for n in method.weight_names) or "no weights"
        raise BadInput(
            f"{method} has no such weight", key=f"--{name}", value=value, accepted=accepted
        )
    if not is_weight(value):
        raise BadInput("not a weight", key=f"--{name}", value=value, accepted=ACCEPTED_WEIGHT)


def _from_atlas(
    series: TiltSeries, method: Method, given: Mapping[str, float], atlas: Path
) -> Chosen:
    if given:
        raise BadInput(
            "given beside weights", key="--atlas", accepted="an atlas or weights, not both"
        )
    if method is not Method.FUSED:
        raise BadInput(
            "an atlas holds weights of the fused method", key="--method", value=str(method)
        )
    found = recommend(
        load_atlas(atlas),
        len(series.haadf_angles_deg),
        len(series.chemical_angles_deg),
        1.0 + float(series.chemical.mean()),
        1.0 + float(series.haadf.mean()) if series.haadf.size else None,
    )
    weights = {"haadf": found.weights.haadf, "tv": found.weights.tv}
    return Chosen(
        method, found.weights, (f"weights of the atlas: {_written(weights)}", *found.notes)
    )


def _written(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in weights.items())


def settings_of(options: Mapping[str, object]) -> SolverSettings:
    """Solver settings from options; those not given (None) keep their default.

    Raises
    ------
    BadInput : a value out of range.

    """
    data = {name: value for name, value in options.items() if value is not None}
    try:
        return SolverSettings.model_validate(data)
    except ValidationError as error:
        raise refusal(error, data, SolverSettings, "solver") from error
