"""Slices of a cell's best trials as small images for a page, cached beside it between reports.

``report/slices/<cell>_<key>.json`` holds what the page shows of one cell. The key is a digest of
the trials, the version and the algorithm's revision: once a better trial is found, the file is
stale.
"""

from __future__ import annotations

import base64
import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from ...phantoms.formats.files import write_aside
from ...recon_core.metrics import nrmse_by_element
from ...recon_core.result import History
from ...sweep.study import Study
from ...sweep.study.identity import digest
from ...sweep.study.trial import Cell
from ...sweep.versions import REVISION, package_version
from ..figures.pictures import composite, element_colours
from ..rerun import (
    Array,
    Rerun,
    SliceSet,
    best_rows,
    representative_slice,
    rerun_best,
    round_length,
)
from ..style import METHOD_LABELS
from ..volumes import NOT_KEPT, SolvedVolumes

LARGEST = 128
"""Most pixels per edge of an image; larger slices are averaged down."""

_QUALITY = 90
_POINTS = 200
_COLOURS = "inferno"


def kept_slices(folder: Path, study: Study, trials: pd.DataFrame) -> dict[int, Any]:
    """The cached slices whose trials are still the best of their cell.

    Parameters
    ----------
    folder : where :func:`make_slices` writes.
    study : the study of the cells.
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.

    Returns
    -------
    Cell index → the values of :func:`slice_facts`.
    """
    cells = {str(cell.index): cell for cell in study.cells()}
    found = {}
    for path in sorted(folder.glob("*_*.json")):
        cell = cells.get(path.name.partition("_")[0])
        # The name holds a digest of the best trials: another name means another best.
        if cell is not None and path == _file(folder, study, cell, trials):
            found[cell.index] = json.loads(path.read_text(encoding="utf-8"))
    return found


def make_slices(
    folder: Path,
    study: Study,
    cell: Cell,
    trials: pd.DataFrame,
    volumes: SolvedVolumes = NOT_KEPT,
) -> None:
    """Reconstruct the best trials of a cell again and cache their slices, unless that was done.

    Parameters
    ----------
    folder : where to write; created if missing.
    study : the study of the cell.
    cell : the cell to reconstruct.
    trials : table of trials as :func:`~tomoatlas.analysis.journal.load_trials` returns it.
    volumes : solves them, or has them.

    Raises
    ------
    BadInput : no method has a good trial in this cell, or the specimen's file is gone.
    """
    path = _file(folder, study, cell, trials)
    if path.is_file():
        return
    best = rerun_best(study, cell, trials, volumes=volumes)
    text = json.dumps(slice_facts(best), allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    # Stale slices of this cell, whose key can no longer match.
    for old in folder.glob(f"{cell.index}_*.json"):
        old.unlink()
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def _file(folder: Path, study: Study, cell: Cell, trials: pd.DataFrame) -> Path:
    """The file that caches the slices of a cell's present best trials."""
    # The version is part of the key: another solver may give other volumes.
    ids = [row["trial_id"] for row in best_rows(study, cell, trials).values()]
    key = digest([package_version("tomoatlas"), REVISION, *ids])
    return folder / f"{cell.index}_{key[:16]}.json"


def slice_facts(rerun: Rerun) -> dict[str, Any]:
    """Slices across the tilt axis as data URIs with their scores, and the fused convergence.

    Parameters
    ----------
    rerun : the best trials of one cell, reconstructed again.

    Returns
    -------
    Values that JSON can hold. ``columns``: truth and methods, each with its ``images`` and
    ``nrmse`` per element and a colour ``composite`` of all; ``bar``: length of a scale bar in nm,
    and as a fraction of the width; ``differences``: one line per trial whose score is not the
    recorded one.
    """
    slices = rerun.slices
    x = representative_slice(slices.truth)
    field = slices.truth.shape[2] * slices.voxel_size_nm
    bar = round_length(0.3 * field)
    return {
        "plane": f"x = {x} of {slices.truth.shape[3]}",
        "bar": {"nm": bar, "part": bar / field},
        "elements": element_colours(slices.elements),
        "columns": [
            {"label": slices.reference, "method": None, **_images(slices, slices.truth, x)},
            *(
                {
                    "label": METHOD_LABELS[method],
                    "method": str(method),
                    "nrmse": list(nrmse_by_element(slices.volumes[method], slices.truth)),
                    **_images(slices, slices.volumes[method], x),
                }
                for method in METHOD_LABELS
                if method in slices.volumes
            ),
        ],
        "history": _history(rerun.history),
        "differences": [str(found) for found in rerun.differences],
    }


def _images(slices: SliceSet, volumes: Array, x: int) -> dict[str, Any]:
    """One image per element and their composite, z upwards and y across, 0 to the truth's
    maximum.
    """
    # The truth's maximum for all columns, so that brightness compares between methods.
    tops = slices.truth.max(axis=(1, 2, 3)).astype(np.float64)
    # Rows are flipped: images start at the top, z points upwards.
    shares = [_averaged(v[::-1, :, x] / (t or 1.0)) for v, t in zip(volumes, tops, strict=True)]
    colours = element_colours(slices.elements)
    overlay = composite(np.stack(shares), np.ones(len(shares)), colours)
    return {
        "images": [_webp(colormaps[_COLOURS](np.clip(share, 0.0, 1.0))) for share in shares],
        "composite": _webp(overlay),
    }


def _averaged(image: Array) -> Array:
    """The image averaged down to at most :data:`LARGEST` pixels per edge."""
    step = math.ceil(max(image.shape) / LARGEST)
    rows, columns = (step * (edge // step) for edge in image.shape)
    # Averaged by whole blocks; an incomplete block at the edge is left out.
    blocks = image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    averaged: Array = blocks.mean(axis=(1, 3))
    return averaged


def _webp(colours: NDArray[Any]) -> str:
    """An image with RGB or RGBA values from 0 to 1, as a data URI."""
    buffer = BytesIO()
    pixels = np.round(255 * colours[..., :3]).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _history(history: History) -> dict[str, list[float | None]]:
    # A few hundred points draw the same curve as thousands.
    every = max(1, math.ceil(len(history.iterations) / _POINTS))
    names = ("iterations", "haadf", "chemistry", "tv", "primal", "dual", "change")
    series = {name: [_finite(v) for v in getattr(history, name)] for name in names}
    return {name: values[::every] for name, values in series.items()}


def _finite(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
