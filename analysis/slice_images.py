"""Slices of a cell's best trials as small images for a page, kept beside it between reports.

``report/slices/<cell>_<key>.json`` holds what the page shows of one cell. The key is a digest of
the trials and of the version: once a better trial is found, the file no longer counts.
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
from PIL import Image

from analysis.labels import METHOD_LABELS
from analysis.pictures import Array, SliceSet, round_length, telling_slice
from analysis.slices import Rerun, best_rows, slices_of
from analysis.versions import package_version
from recon_core.metrics import nrmse_by_element
from recon_core.result import History
from sweep.folder import write_aside
from sweep.identity import digest
from sweep.study import Study
from sweep.trial import Cell

LARGEST = 128
"""Pixels per edge of an image; larger slices are averaged down."""

_QUALITY = 90
_POINTS = 200
_COLOURS = "inferno"


def kept_slices(folder: Path, study: Study, trials: pd.DataFrame) -> dict[int, Any]:
    """What :func:`make_slices` kept in ``folder`` of trials that still are the best, by cell."""
    cells = {str(cell.index): cell for cell in study.cells()}
    found = {}
    for path in sorted(folder.glob("*_*.json")):
        cell = cells.get(path.name.partition("_")[0])
        if cell is not None and path == _file(folder, cell, trials):
            found[cell.index] = json.loads(path.read_text(encoding="utf-8"))
    return found


def make_slices(folder: Path, study: Study, cell: Cell, trials: pd.DataFrame) -> None:
    """Reconstruct the best trials of ``cell`` again, unless that was done, and keep their slices.

    Raises
    ------
    BadInput : no method has a good trial in this cell, the specimen is gone.

    """
    path = _file(folder, cell, trials)
    if path.is_file():
        return
    text = json.dumps(slice_facts(slices_of(study, cell, trials)), allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{cell.index}_*.json"):
        old.unlink()
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def _file(folder: Path, cell: Cell, trials: pd.DataFrame) -> Path:
    ids = [row["trial_id"] for row in best_rows(cell, trials).values()]
    return folder / f"{cell.index}_{digest([package_version('tomoatlas'), *ids])[:16]}.json"


def slice_facts(rerun: Rerun) -> dict[str, Any]:
    """Slices across the tilt axis as data URIs with their scores, and the fused convergence.

    ``columns``: truth and methods, each with its ``images`` and ``nrmse`` per element.
    ``bar``: length of a scale bar, nm, and its part of the width.
    """
    slices = rerun.slices
    x = telling_slice(slices.truth)
    field = slices.truth.shape[2] * slices.voxel_size_nm
    bar = round_length(0.3 * field)
    methods = [m for m in METHOD_LABELS if m in slices.volumes]
    return {
        "plane": f"x = {x} of {slices.truth.shape[3]}",
        "bar": {"nm": bar, "part": bar / field},
        "elements": list(slices.elements),
        "columns": [
            {"label": "Truth", "method": None, "images": _images(slices, slices.truth, x)},
            *(
                {
                    "label": METHOD_LABELS[method],
                    "method": str(method),
                    "images": _images(slices, slices.volumes[method], x),
                    "nrmse": list(nrmse_by_element(slices.volumes[method], slices.truth)),
                }
                for method in methods
            ),
        ],
        "history": _history(rerun.history),
    }


def _images(slices: SliceSet, volumes: Array, x: int) -> list[str]:
    """One image per element, z upwards and y across, from 0 to the truth's maximum."""
    tops = [float(truth.max()) or 1.0 for truth in slices.truth]
    return [_webp(volume[::-1, :, x] / top) for volume, top in zip(volumes, tops, strict=True)]


def _webp(values: Array) -> str:
    step = math.ceil(max(values.shape) / LARGEST)
    rows, columns = (step * (edge // step) for edge in values.shape)
    blocks = values[:rows, :columns].reshape(rows // step, step, columns // step, step)
    image = colormaps[_COLOURS](np.clip(blocks.mean(axis=(1, 3)), 0.0, 1.0), bytes=True)
    buffer = BytesIO()
    Image.fromarray(image[..., :3]).save(buffer, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _history(history: History) -> dict[str, list[float | None]]:
    every = max(1, math.ceil(len(history.iterations) / _POINTS))
    names = ("iterations", "haadf", "chemistry", "tv", "primal", "dual", "change")
    series = {name: [_finite(v) for v in getattr(history, name)] for name in names}
    return {name: values[::every] for name, values in series.items()}


def _finite(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
