"""Volumes as files that other programs open: tomviz, ImageJ, napari, HyperSpy, Chimera.

=========  ===========================  ========================================================
suffix     opened by                    holds
=========  ===========================  ========================================================
``.emd``   tomviz, HyperSpy, ncempy     all elements; NCEM's EMD, in tomviz's layout of channels
``.tif``   ImageJ, Fiji, napari         all elements, as the channels of an ImageJ hyperstack
``.mrc``   IMOD, Chimera, tomviz        one file per element: ``F.mrc`` becomes ``F_Co.mrc`` ...
=========  ===========================  ========================================================

Concentrations as float32, with the edge of a voxel. Other formats are added by the registry,
:data:`tomoatlas.phantoms.formats.registry.FORMATS`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...recon_core.tiltseries import TiltSeries
from .aside import write_aside
from .registry import Concentrations, Format, format_to_write, writes

Array = NDArray[np.float32]


def exported_paths(out: Path, elements: tuple[str, ...]) -> list[Path]:
    """List the files that :func:`export_volumes` writes.

    Parameters
    ----------
    out : path whose suffix names the format.
    elements : chemical symbols.

    Raises
    ------
    BadInput : a suffix that no format writes volumes to.

    Examples
    --------
    >>> [path.name for path in exported_paths(Path("F.mrc"), ("Co", "O"))]
    ['F_Co.mrc', 'F_O.mrc']
    """
    return _paths(format_to_write(out, "volumes"), out, elements)


def export_volumes(
    out: Path, volumes: Array, elements: tuple[str, ...], voxel_size_nm: float
) -> list[Path]:
    """Write volumes in the format that a path's suffix names.

    Parameters
    ----------
    out : the file, or the stem of one per element.
    volumes : concentrations, (element, z, y, x).
    elements : chemical symbols, in the order of ``volumes``.
    voxel_size_nm : edge of a voxel, nm.

    Returns
    -------
    list of Path : the files written.

    Raises
    ------
    BadInput : another suffix, a missing package (extra ``export``), a folder that cannot be
        written.
    """
    found = format_to_write(out, "volumes")
    data = np.ascontiguousarray(volumes, dtype=np.float32)
    # one file of all elements, unless the format holds a single volume
    whole = Concentrations(data, tuple(elements), voxel_size_nm)
    paths = _paths(found, out, elements)
    parts = [whole]
    if found.one_per_element:
        parts = [
            Concentrations(volume[None], (element,), voxel_size_nm)
            for volume, element in zip(data, elements, strict=True)
        ]
    for path, part in zip(paths, parts, strict=True):
        _write_volumes(found, path, part)
    return paths


def takes_series_alone(out: Path) -> bool:
    """Check whether the format of a suffix holds tilt series and no volumes.

    Parameters
    ----------
    out : path whose suffix names the format.
    """
    return not writes(out, "volumes") and writes(out, "series")


def export_series(out: Path, series: TiltSeries) -> list[Path]:
    """Write a tilt series in the format that a path's suffix names.

    Parameters
    ----------
    out : the file.
    series : counts, angles and elements.

    Returns
    -------
    list of Path : the one file written.

    Raises
    ------
    BadInput : a suffix that no format writes tilt series to, a folder that cannot be written.
    """
    write = format_to_write(out, "series").write_series
    if write is not None:
        write_aside(out, lambda aside: write(aside, series))
    return [out]


def _write_volumes(found: Format, path: Path, content: Concentrations) -> None:
    write = found.write_volumes
    if write is not None:
        write_aside(path, lambda aside: write(aside, content))


def _paths(found: Format, out: Path, elements: tuple[str, ...]) -> list[Path]:
    if found.one_per_element:
        return [out.with_name(f"{out.stem}_{element}{out.suffix}") for element in elements]
    return [out]
