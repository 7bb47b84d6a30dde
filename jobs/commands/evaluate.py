"""The command ``evaluate``: scores of a reconstruction against the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...recon_core.errors import BadInput
from . import FilePath, quiet_option

if TYPE_CHECKING:
    from ...phantoms.specimen import Array, Specimen


@click.command()
@click.argument("recon", metavar="RECON.h5", type=FilePath)
@click.argument("specimen", metavar="SPECIMEN.h5", type=FilePath)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet_option
def evaluate(recon: Path, specimen: Path, as_json: bool, quiet: bool) -> None:
    """Score RECON.h5 against the truth SPECIMEN.h5; elements are matched by name.

    NRMSE of z-scored volumes (0 equal, 1.41 nothing in common) per element and their mean, the
    relative error (which sees a wrong scale), and the stoichiometry of every oxide. With -q only
    the mean NRMSE is printed.
    """
    scores = score_files(recon, specimen)
    if as_json:
        click.echo(json.dumps(scores, allow_nan=False))
    else:
        click.echo(f"{scores['nrmse']:.6f}" if quiet else score_text(scores))


def score_files(recon: Path, specimen: Path) -> dict[str, Any]:
    """Scores of a reconstruction file against a specimen file, as plain values.

    Raises
    ------
    BadInput : unreadable files, other elements, another shape.

    """
    from ...phantoms.formats import load_specimen, load_volumes

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

    import numpy as np

    from ...recon_core.metrics import correlation, nrmse_by_element, relative_error, stoichiometry

    by_element = nrmse_by_element(volumes, truth.volumes)
    pairs = list(zip(volumes, truth.volumes, strict=True))
    errors = [relative_error(v, t) for v, t in pairs]
    phases = stoichiometry(volumes, truth.volumes, truth.elements)
    return {
        "nrmse": float(np.mean(by_element)),
        "nrmse_by_element": dict(zip(truth.elements, by_element, strict=True)),
        "relative_error": float(np.mean(errors)),
        "relative_error_by_element": _named(truth, errors),
        "correlation_by_element": _named(truth, [correlation(v, t) for v, t in pairs]),
        "resolution_nm_by_element": _named(truth, [_resolution_nm(*p, truth) for p in pairs]),
        "ssim_by_element": _ssim(volumes, truth),
        "stoichiometry": {
            p.element: {"mean": p.mean, "sigma": p.sigma, "voxels": p.voxels} for p in phases
        },
    }


def _named(truth: Specimen, values: Sequence[float | None]) -> dict[str, float | None]:
    return dict(zip(truth.elements, values, strict=True))


def _resolution_nm(volume: Array, true: Array, truth: Specimen) -> float | None:
    """Resolution by Fourier shell correlation with the truth, None where nothing is resolved."""
    import numpy as np

    from ...recon_core.metrics.resolution import AGAINST_TRUTH, shell_correlation

    found = shell_correlation(volume, true, truth.voxel_size_nm).resolution_nm(AGAINST_TRUTH)
    return found if np.isfinite(found) else None


def _ssim(volumes: Array, truth: Specimen) -> dict[str, float | None]:
    """SSIM per element; empty without scikit-image and for volumes smaller than its window."""
    from ...recon_core.metrics import SSIM_WINDOW, ssim

    if find_spec("skimage") is None or min(truth.shape) < SSIM_WINDOW:
        return {}
    pairs = zip(volumes, truth.volumes, strict=True)
    return _named(truth, [ssim(v, t) for v, t in pairs])


def score_text(scores: Mapping[str, Any]) -> str:
    """:func:`score_files` for people."""
    lines = ["          NRMSE   relative error   correlation   resolution / nm     SSIM"]
    lines += [_element_line(scores, element) for element in scores["nrmse_by_element"]]
    lines.append(f"{'mean':<8} {scores['nrmse']:6.3f}   {scores['relative_error']:14.3f}")
    for element, phase in scores["stoichiometry"].items():
        lines.append(
            f"{element}/({element}+O) in its oxide: {phase['mean']:.3f} ± {phase['sigma']:.3f} "
            f"({phase['voxels']} voxels)"
        )
    return "\n".join(lines)


def _element_line(scores: Mapping[str, Any], element: str) -> str:
    names = ("relative_error", "correlation", "resolution_nm", "ssim")
    widths = (14, 13, 17, 8)
    line = f"{element:<8} {scores['nrmse_by_element'][element]:6.3f}   "
    numbers = [scores[f"{name}_by_element"].get(element) for name in names]
    return line + "".join(
        f"{'–' if n is None else format(n, '.3f'):>{w}}"
        for n, w in zip(numbers, widths, strict=True)
    )
