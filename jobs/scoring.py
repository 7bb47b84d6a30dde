"""Scores of a reconstruction file against the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phantoms.files import load_specimen, load_volumes
from phantoms.specimen import Array, Specimen
from recon_core.errors import BadInput
from recon_core.metrics import nrmse_by_element, relative_error, stoichiometry


def score_files(recon: Path, specimen: Path) -> dict[str, Any]:
    """Scores of a reconstruction file against a specimen file, as plain values.

    Raises
    ------
    BadInput : unreadable files, other elements, another shape.

    """
    volumes, elements, _ = load_volumes(recon)
    truth = load_specimen(specimen)
    if set(elements) != set(truth.elements):
        raise BadInput(
            "not the elements of the specimen",
            source=recon,
            key="elements",
            value=", ".join(elements),
            accepted=", ".join(truth.elements),
        )
    if volumes.shape[1:] != truth.shape:
        raise BadInput(
            "not the shape of the specimen",
            source=recon,
            key="volumes",
            value=volumes.shape[1:],
            accepted=f"{truth.shape}",
        )
    return _scores(volumes[[elements.index(e) for e in truth.elements]], truth)


def _scores(volumes: Array, truth: Specimen) -> dict[str, Any]:
    by_element = nrmse_by_element(volumes, truth.volumes)
    errors = [relative_error(v, t) for v, t in zip(volumes, truth.volumes, strict=True)]
    phases = stoichiometry(volumes, truth.volumes, truth.elements)
    return {
        "nrmse": float(np.mean(by_element)),
        "nrmse_by_element": dict(zip(truth.elements, by_element, strict=True)),
        "relative_error": float(np.mean(errors)),
        "relative_error_by_element": dict(zip(truth.elements, errors, strict=True)),
        "stoichiometry": {
            p.element: {"mean": p.mean, "sigma": p.sigma, "voxels": p.voxels} for p in phases
        },
    }


def score_text(scores: Mapping[str, Any]) -> str:
    """:func:`score_files` for people."""
    errors = scores["relative_error_by_element"]
    lines = ["          NRMSE   relative error"]
    lines += [f"{e:<8} {v:6.3f}   {errors[e]:6.3f}" for e, v in scores["nrmse_by_element"].items()]
    lines.append(f"{'mean':<8} {scores['nrmse']:6.3f}   {scores['relative_error']:6.3f}")
    for element, phase in scores["stoichiometry"].items():
        lines.append(
            f"{element}/({element}+O) in its oxide: {phase['mean']:.3f} ± {phase['sigma']:.3f} "
            f"({phase['voxels']} voxels)"
        )
    return "\n".join(lines)
