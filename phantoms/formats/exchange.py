"""Volumes as files that other programs open: tomviz, ImageJ, napari, HyperSpy, Chimera.

=========  ===========================  ========================================================
suffix     opened by                    holds
=========  ===========================  ========================================================
``.emd``   tomviz, HyperSpy, ncempy     all elements; NCEM's EMD, in tomviz's layout of channels
``.tif``   ImageJ, Fiji, napari         all elements, as the channels of an ImageJ hyperstack
``.mrc``   IMOD, Chimera, tomviz        one file per element: ``F.mrc`` becomes ``F_Co.mrc`` ...
=========  ===========================  ========================================================

Concentrations as float32, with the edge of a voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput, needed
from .aside import write_aside

Array = NDArray[np.float32]
KINDS = (".emd", ".tif", ".mrc")
ANGSTROM_PER_NM = 10.0


def exported_paths(out: Path, elements: tuple[str, ...]) -> list[Path]:
    """The files that :func:`export_volumes` writes.

    Raises
    ------
    BadInput : a suffix that is none of :data:`KINDS`.

    """
    if out.suffix not in KINDS:
        accepted = ", ".join(KINDS)
        raise BadInput("unknown suffix", source=out, value=out.suffix, accepted=accepted)
    if out.suffix == ".mrc":
        return [out.with_name(f"{out.stem}_{element}.mrc") for element in elements]
    return [out]


def export_volumes(
    out: Path, volumes: Array, elements: tuple[str, ...], voxel_size_nm: float
) -> list[Path]:
    """Write volumes (element, z, y, x) by the suffix of ``out``; the files written, whole.

    Raises
    ------
    BadInput : another suffix, a missing package (extra ``export``), a folder that cannot be
        written.

    """
    paths = exported_paths(out, elements)
    data = np.ascontiguousarray(volumes, dtype=np.float32)
    if out.suffix == ".mrc":
        for path, volume, element in zip(paths, data, elements, strict=True):
            write_aside(path, _mrc(volume, element, voxel_size_nm))
    elif out.suffix == ".tif":
        write_aside(out, _tif(data, elements, voxel_size_nm))
    else:
        write_aside(out, lambda aside: _write_emd(aside, data, elements, voxel_size_nm))
    return paths


def _mrc(volume: Array, element: str, voxel_size_nm: float) -> Callable[[Path], object]:
    with needed("mrcfile", "export", "MRC files"):
        import mrcfile

    def write(aside: Path) -> None:
        with mrcfile.new(aside) as file:
            file.set_data(volume)
            file.set_volume()
            file.voxel_size = ANGSTROM_PER_NM * voxel_size_nm
            file.header.nlabl = 0  # in place of mrcfile's own label, which holds the time
            file.add_label(f"tomoatlas: concentration of {element}")

    return write


def _tif(
    volumes: Array, elements: tuple[str, ...], voxel_size_nm: float
) -> Callable[[Path], object]:
    with needed("tifffile", "export", "TIFF files"):
        import tifffile
    planes = np.moveaxis(volumes, 0, 1)  # ImageJ wants (z, channel, y, x)
    labels = [f"{element} z={z}" for z in range(len(planes)) for element in elements]
    facts = {
        "axes": "ZCYX",
        "spacing": voxel_size_nm,
        "unit": "nm",
        "mode": "grayscale",
        "Labels": labels,
        "min": 0.0,
        "max": float(volumes.max(initial=0.0)),
    }
    per_nm = (1.0 / voxel_size_nm, 1.0 / voxel_size_nm)
    return lambda aside: tifffile.imwrite(
        aside, planes, imagej=True, resolution=per_nm, metadata=facts
    )


def _write_emd(path: Path, volumes: Array, elements: tuple[str, ...], voxel_size_nm: float) -> None:
    """NCEM EMD 0.2: a group per element, and ``/data/tomography`` with all of them for tomviz.

    The groups share their arrays by hard links. EMD's axes are x, y, z, the first slowest.
    """
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        # RosettaSciIO visits an array once, by the first of its names, and stacks a group on
        # another whose path its own begins: so before "data", and no C in the way of Cu.
        places = [f"concentrations/{i:02}/{e}" for i, e in enumerate(elements, start=1)]
        for element, place, volume in zip(elements, places, volumes, strict=True):
            group = file.create_group(place)
            _dimensions(group, volume.shape, voxel_size_nm)
            group["data"] = volume.T
            group["data"].attrs["name"] = np.bytes_(element)
        together = file.create_group("data/tomography")
        _dimensions(together, volumes.shape[1:], voxel_size_nm)
        together["data"] = file[f"{places[0]}/data"]
        for element, place in zip(elements[1:], places[1:], strict=True):
            together[f"tomviz_scalars/{element}"] = file[f"{place}/data"]


def _dimensions(group: h5py.Group, shape: tuple[int, ...], voxel_size_nm: float) -> None:
    group.attrs["emd_group_type"] = 1
    for number, (name, count) in enumerate(zip("xyz", reversed(shape), strict=True), start=1):
        group[f"dim{number}"] = voxel_size_nm * np.arange(count)
        group[f"dim{number}"].attrs["name"] = np.bytes_(name)
        group[f"dim{number}"].attrs["units"] = np.bytes_("[n_m]")
