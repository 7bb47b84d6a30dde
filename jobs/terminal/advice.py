"""What ``recommend`` prints: advice, and acquisitions that reach an accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...analysis.limits import written
from ...analysis.recommend import MAP_COST, Reaching, Recommendation
from ...analysis.style import axis_label
from ...recon_core.settings import SolverSettings
from ...sweep.study.trial import GAMMA


def recommendation_text(found: Recommendation) -> str:
    """A recommendation for people: the weights, what they are for, and the accuracy.

    Parameters
    ----------
    found : what the atlas recommends.
    """
    return "\n".join(
        [
            f"haadf   {found.weights.haadf:.4g}  (within a factor {found.haadf_factor:.2g})",
            f"tv      {found.weights.tv:.4g}  (within a factor {found.tv_factor:.2g})",
            *_meaning_lines(found),
            f"NRMSE   {found.nrmse:.3f}  (9 of 10 from {found.nrmse_low:.3f} to "
            f"{found.nrmse_high:.3f})",
            *_scatter_lines(found.conditions),
            f"from    {_of_atlas(found.conditions)}",
        ]
    )


def _scatter_lines(conditions: Mapping[str, Any]) -> list[str]:
    """How far repetitions of the atlas scatter, noise and specimens apart."""
    names = {"noise_scatter": "noise", "specimen_scatter": "specimens"}
    known = [f"{word} {conditions[name]:.1%}" for name, word in names.items() if name in conditions]
    return [f"scatter {', '.join(known)}, one standard deviation"] if known else []


_CONDITIONS = {
    "specimen": "{}",
    "size": "{} voxels per edge",
    "tilt_range_deg": "tilts {} degrees",
    "haadf_tilts": "HAADF tilts {}",
    "chemical_tilts": "chemical tilts {}",
    "chemical_snr": "chemical SNR {}",
    "haadf_snr": "HAADF SNR {}",
}


def _of_atlas(conditions: Mapping[str, Any]) -> str:
    """What an answer rests on, on one line."""
    known = [
        text.format(_condition(conditions[name]))
        for name, text in _CONDITIONS.items()
        if name in conditions
    ]
    trials, cells = conditions["trials"], conditions["cells"]
    version = conditions["version"] or "not recorded"
    made = f"{trials} results in {cells} cells, version {version}"
    return ", ".join([*(known or ["an atlas without its study"]), made])


def _condition(value: object) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(f"{v:g}" for v in value)
    return written(value)


def reaching_text(found: Sequence[Reaching]) -> str:
    """Acquisitions that reach an accuracy, one line each under a header.

    Parameters
    ----------
    found : the cheapest first.
    """
    names = [axis_label(path) for path in found[0].acquisition]
    header = [*names, "cost / maps", "NRMSE", "9 of 10", "haadf", "tv"]
    rows = [
        [
            *(f"{value:g}" for value in each.acquisition.values()),
            f"{each.cost:.3g}",
            f"{each.advice.nrmse:.3f}",
            f"{each.advice.nrmse_low:.3f} to {each.advice.nrmse_high:.3f}",
            *(f"{weight:.3g}" for weight in (each.advice.weights.haadf, each.advice.weights.tv)),
        ]
        for each in found
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in (header, *rows)]
    return "\n".join(
        [
            *lines,
            f"cost    {_unit_of_cost(found[0])}",
            f"from    {_of_atlas(found[0].advice.conditions)}",
        ]
    )


def _unit_of_cost(found: Reaching) -> str:
    """What a cost is counted in; where SNRs vary, dearer maps count as several."""
    lowest = " at the lowest SNR" * any(path.endswith("snr") for path in found.acquisition)
    return (
        f"dose on the specimen, in that of one chemical map{lowest}; "
        f"{MAP_COST:g} HAADF images count as one map"
    )


def _meaning_lines(found: Recommendation) -> list[str]:
    """Lines on the exponent, the contrast and other settings that the weights are for, if known."""
    if not found.solver:
        return []
    error = "" if found.gamma_error is None else f"  (± {found.gamma_error:.2g})"
    settings, usual = found.settings, SolverSettings().model_dump()
    # The contrast and its exponent are named in any case, the others where they are unusual.
    of = {name: value for name, value in found.solver.items() if name not in ("contrast", GAMMA)}
    other = [name if value is True else f"{name} {value}" for name, value in of.items()
             if value != usual.get(name)]  # fmt: skip
    edition = [] if found.edition is None else [f"edition {found.edition}"]
    return [
        f"gamma   {settings.gamma:.4g}{error}",
        f"for     {', '.join([f'contrast {settings.contrast}', *other, *edition])}",
    ]


def recommendation_facts(found: Recommendation) -> dict[str, Any]:
    """A recommendation as plain values, for JSON.

    Parameters
    ----------
    found : what the atlas recommends.
    """
    return {
        "weights": asdict(found.weights),
        "factors": {"haadf": found.haadf_factor, "tv": found.tv_factor},
        "nrmse": found.nrmse,
        "uncertainty": found.uncertainty,
        "interval": [found.nrmse_low, found.nrmse_high],
        "gamma_error": found.gamma_error,
        "score": str(found.score),
        "edition": found.edition,
        "solver": dict(found.solver),
        "notes": list(found.notes),
        "conditions": dict(found.conditions),
    }


def reaching_facts(found: Reaching) -> dict[str, Any]:
    """An acquisition as plain values, for JSON.

    Parameters
    ----------
    found : the acquisition with its advice.
    """
    return {
        "acquisition": dict(found.acquisition),
        "cost": found.cost,
        **recommendation_facts(found.advice),
    }
