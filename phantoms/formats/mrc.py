"""One element's volume as MRC, for IMOD, Chimera and tomviz."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...recon_core.errors import BadInput, needed
from .registry import Concentrations, Format

ANGSTROM_PER_NM = 10.0
LABEL = "tomoatlas: concentration of "
"""Start of the label that holds the element: MRC has no field for it."""


def write_mrc(path: Path, content: Concentrations) -> None:
    """Write the volume of one element.

    Parameters
    ----------
    path : of a file that does not exist yet.
    content : a single volume, its element and voxel size.

    Raises
    ------
    BadInput : mrcfile is not installed (extra ``export``).
    """
    with needed("mrcfile", "export", "MRC files"):
        import mrcfile
    (volume,), (element,) = content.volumes, content.elements
    with mrcfile.new(path) as file:
        file.set_data(volume)
        # mark as a volume, which MRC otherwise takes for an image stack
        file.set_volume()
        file.voxel_size = ANGSTROM_PER_NM * content.voxel_size_nm
        file.header.nlabl = 0  # in place of mrcfile's own label, which holds the time
        file.add_label(f"{LABEL}{element}")


def read_mrc(path: Path) -> Concentrations:
    """Read a volume whose label names its element, as :func:`write_mrc` writes it.

    Parameters
    ----------
    path : of the file.

    Raises
    ------
    BadInput : mrcfile is not installed; a damaged file, or one of another program, which names no
        element.
    """
    with needed("mrcfile", "export", "MRC files"):
        import mrcfile
    try:
        with mrcfile.open(path) as file:
            data = np.array(file.data, dtype=np.float32)
            labels = [label for label in file.get_labels() if label.startswith(LABEL)]
            voxel_size_nm = float(file.voxel_size.z) / ANGSTROM_PER_NM
    except ValueError as fault:
        raise BadInput(f"unreadable MRC ({fault})", accepted="a whole MRC file") from fault
    if not labels or data.ndim != 3:
        raise BadInput(
            "no volume of a named element",
            key="label",
            accepted=f"a volume with the label '{LABEL}Co', as exported; else HDF5 or EMD",
        )
    return Concentrations(data[None], (labels[0].removeprefix(LABEL).strip(),), voxel_size_nm)


MRC = Format("MRC", (".mrc",), None, read_mrc, write_mrc, one_per_element=True)
