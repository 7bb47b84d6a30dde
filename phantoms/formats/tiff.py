"""Volumes as an ImageJ hyperstack, whose channels are the elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...recon_core.errors import BadInput, needed
from ...recon_core.tiltseries import SYMBOLS
from .registry import Concentrations, Format

NM = {"nm": 1.0, "micron": 1e3, "um": 1e3, "µm": 1e3, "\\u00B5m": 1e3}
"""Nanometres of a unit, as ImageJ writes it."""
ACCEPTED = "an ImageJ hyperstack (z, channel, y, x) whose labels begin with elements, as exported"


def write_tiff(path: Path, content: Concentrations) -> None:
    """Write a hyperstack with elements as channels, labelled ``Co z=0``.

    Parameters
    ----------
    path : of a file that does not exist yet.
    content : volumes, elements and voxel size.

    Raises
    ------
    BadInput : tifffile is not installed (extra ``export``).
    """
    with needed("tifffile", "export", "TIFF files"):
        import tifffile
    planes = np.moveaxis(content.volumes, 0, 1)  # ImageJ wants (z, channel, y, x)
    labels = [f"{element} z={z}" for z in range(len(planes)) for element in content.elements]
    facts = {
        "axes": "ZCYX",
        "spacing": content.voxel_size_nm,
        "unit": "nm",
        "mode": "grayscale",
        "Labels": labels,
        "min": 0.0,
        "max": float(content.volumes.max(initial=0.0)),
    }
    # resolution in pixels per unit, here nm
    per_nm = (1.0 / content.voxel_size_nm, 1.0 / content.voxel_size_nm)
    tifffile.imwrite(path, planes, imagej=True, resolution=per_nm, metadata=facts)


def read_tiff(path: Path) -> Concentrations:
    """Read a hyperstack that names the element of each channel in its labels.

    Parameters
    ----------
    path : of the file.

    Raises
    ------
    BadInput : tifffile is not installed; another TIFF; labels without elements.
    """
    with needed("tifffile", "export", "TIFF files"):
        import tifffile
    try:
        with tifffile.TiffFile(path) as file:
            facts: dict[str, Any] = file.imagej_metadata or {}
            stored, axes = file.series[0].asarray(), file.series[0].axes
    except (tifffile.TiffFileError, ValueError, IndexError) as fault:
        raise BadInput(f"unreadable TIFF ({fault})", accepted="a whole TIFF file") from fault
    if not set(axes) <= set("ZCYX"):
        raise BadInput("wrong axes", key="axes", value=axes, accepted=ACCEPTED)
    # ImageJ leaves out axes of length one.
    for axis in "CZ":
        if axis not in axes:
            stored, axes = stored[None], axis + axes
    volumes = np.moveaxis(stored, [axes.index(axis) for axis in "CZYX"], range(4))
    elements = _elements(facts, len(volumes))
    return Concentrations(
        np.ascontiguousarray(volumes, dtype=np.float32), elements, _voxel_size_nm(facts)
    )


def _elements(facts: dict[str, Any], channels: int) -> tuple[str, ...]:
    labels = facts.get("Labels", ())
    labels = [labels] if isinstance(labels, str) else labels
    elements = tuple(str(label).split(" ")[0] for label in labels[:channels])
    if len(elements) != channels or not set(elements) <= set(SYMBOLS):
        raise BadInput("no elements", key="Labels", value=list(elements), accepted=ACCEPTED)
    return elements


def _voxel_size_nm(facts: dict[str, Any]) -> float:
    """Return the distance of the planes; 1 nm if the file gives none."""
    if "spacing" not in facts:
        return 1.0
    unit = facts.get("unit", "")
    if unit not in NM:
        raise BadInput("unknown unit", key="unit", value=unit, accepted=", ".join(NM))
    return float(facts["spacing"]) * NM[unit]


TIFF = Format("TIFF", (".tif", ".tiff"), None, read_tiff, write_tiff)
