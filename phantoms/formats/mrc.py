"""Stacks of MRC as other programs write them: packed, big-endian, with tilts in the header.

The file is described as RosettaSciIO describes one.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ...recon_core.errors import BadInput, needed
from . import files

SUFFIXES = (".mrc", ".mrcs", ".st", ".ali", ".rec")
PACKED = (".gz", ".bz2")
FEI_BYTES, FEI_RECORD = 131072, 128  # FEI's first extended header: 1024 records of 32 floats
SERIAL_EM = {1: 2, 2: 6, 4: 4, 8: 2, 16: 2, 32: 4}  # bytes of what a flag of SerialEM announces
HUNDREDTH = 0.01  # degrees, in which SerialEM counts
NM_PER_ANGSTROM = 0.1


def is_mrc(path: Path) -> bool:
    """Say whether a name is that of an MRC stack.

    Parameters
    ----------
    path : of the file.

    Examples
    --------
    >>> is_mrc(Path("a.MRC")), is_mrc(Path("a.st.gz")), is_mrc(Path("a.tif.gz"))
    (True, True, False)
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in SUFFIXES


def read_mrc(path: Path) -> list[dict[str, Any]]:
    """Read a stack or an image.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    list of dict : one signal; ``metadata`` holds the tilts of the extended header, if any.

    Raises
    ------
    BadInput : mrcfile is not installed; a damaged file.
    """
    with needed("mrcfile", "microscope", "MRC files"):
        import mrcfile
    try:
        # what mrcfile forgives of a header it says in warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mrcfile.open(path, permissive=True, header_only=True) as file:
                shape = tuple(int(file.header[name]) for name in ("nz", "ny", "nx"))
                files.check_size(shape, mrcfile.utils.dtype_from_mode(file.header.mode), "header")
            with mrcfile.open(path, permissive=True) as file:
                if file.data is None:
                    raise ValueError(f"less data than {shape} of mode {file.header.mode} need")
                data, step = np.array(file.data), file.voxel_size.copy()
                tilts = header_tilts(file)
    except BadInput as fault:
        raise fault.at(source=path) from fault
    except (EOFError, *files.DAMAGE) as fault:
        raise BadInput(f"damaged MRC ({fault})", source=path, accepted="a whole file") from fault
    axes: list[dict[str, Any]] = [{"name": name} for name in ("time", "z", "y", "x")[-data.ndim :]]
    for axis, angstroms in zip(axes[-2:], (step.y, step.x), strict=True):
        axis |= {"units": "nm", "scale": NM_PER_ANGSTROM * float(angstroms)}
    stage = {"Acquisition_instrument": {"TEM": {"Stage": {"tilt_alpha": tilts}}}}
    return [{"data": data, "axes": axes, "metadata": stage if tilts else {}}]


def header_tilts(file: Any) -> list[float]:
    """Tilts that FEI and SerialEM write into the extended header; empty where there are none.

    Parameters
    ----------
    file : as mrcfile opens it.
    """
    header, count = file.header, int(file.header.nz)
    if header.exttyp in (b"FEI1", b"FEI2"):
        found = file.indexed_extended_header
        return [] if found is None else [float(tilt) for tilt in found["Alpha tilt"]]
    held = b"" if file.extended_header is None else file.extended_header.tobytes()
    order = ">" if header.mode.dtype.newbyteorder(">") == header.mode.dtype else "<"
    size, flags = (int(n) for n in np.frombuffer(header.extra2.tobytes()[16:20], f"{order}i2"))
    announced = sum(length for flag, length in SERIAL_EM.items() if flags & flag)
    if flags & 1 and size == announced and count * size <= len(held):
        records = np.frombuffer(held[: count * size], f"{order}i2").reshape(count, -1)
        return [HUNDREDTH * float(tilt) for tilt in records[:, 0]]
    if len(held) == FEI_BYTES and count <= FEI_BYTES // FEI_RECORD:
        return [float(r[0]) for r in np.frombuffer(held, f"{order}f4").reshape(-1, 32)[:count]]
    return []
