"""Files of microscopes, read by RosettaSciIO: images, stacks and spectrum images as channels.

A channel is HAADF or an element at one tilt or more. What an axis is follows from its name and
unit: energy, tilt, or a direction of the image; else the last two are the image and the one before
them the tilt. Angles come from a sidecar (``.rawtlt``, ``.tlt``, ``.mdoc``), from that axis, from
the stage in the metadata, or from the file's name, in this order.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput, needed, printable
from ...recon_core.tiltseries import SYMBOLS
from . import files
from .exchange import EMD_NM
from .lines import Window, window_of

Array = NDArray[np.float32]

HAADF = "HAADF"
NM = EMD_NM | {"μm": 1e3, "m": 1e9, "mm": 1e6, "pm": 1e-3, "angstrom": 0.1, "Angstrom": 0.1}
"""Nanometres of a unit of length."""
ENERGY = {"ev": False, "kev": True}
"""Whether a unit of energy is a thousand electronvolts."""
STAGE, NAME = "the stage", "the file's name"
SIDECARS = (".rawtlt", ".tlt", ".mdoc")
PREFERRED = {
    ".emd": "EMD",
    ".mrc": "MRC",
    ".ali": "MRC",
    ".rec": "MRC",
    ".st": "MRC",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".hspy": "HSPY",
    ".nxs": "Nexus",
    ".bcf": "Bruker",
}
"""Reader of a suffix that several have."""
ACCEPTED = "bcf, dm3, dm4, emd, mrc, tif, hspy, nxs and what else RosettaSciIO reads"


@dataclass(frozen=True)
class Channel:
    """Images of one signal, as one file holds them.

    Parameters
    ----------
    name : ``HAADF``, a chemical symbol, or empty where the file does not say.
    images : (angle, y, x), or (1, y, x).
    angles_deg : of the images as the file or a sidecar gives them; None where nothing does.
    source : of the angles, in words.
    pixel_nm : edge of a pixel; None if unknown.
    path : of the file.
    level : mean counts of a background that was taken off.
    """

    name: str
    images: Array
    angles_deg: tuple[float, ...] | None
    source: str
    pixel_nm: float | None
    path: Path
    level: float = 0.0


def read_channels(
    path: Path, elements: tuple[str, ...] = (), windows: Mapping[str, Window] | None = None
) -> list[Channel]:
    """Read what a file holds.

    Parameters
    ----------
    path : of the file.
    elements : of which maps are made from spectrum images; empty takes those that the file names.
    windows : of elements, in the unit of the energy axis; else about the X-ray line.

    Returns
    -------
    list of Channel : single spectra and what is no image left out.

    Raises
    ------
    BadInput : RosettaSciIO is not installed; no file, or one that it cannot read; no image in it.
    """
    found = []
    for signal in _signals(path):
        found += list(_channels(path, signal, elements, windows or {}))
    if not found:
        raise BadInput("no image", source=path, accepted="images, stacks or spectrum images")
    return found


def _signals(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise BadInput("no such file", source=path, accepted=ACCEPTED)
    if path.suffix.lower() in (".emd", ".h5", ".hdf5") and (found := _tomviz(path)):
        return found
    with needed("rosettasciio", "microscope", "files of microscopes"):
        import rsciio
    reason = "unknown suffix"
    for plugin in _readers(rsciio.IO_PLUGINS, path):
        try:
            module = import_module(plugin["api"])
            # the readers leave files open, and say what is not known of them
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                signals: list[dict[str, Any]] = module.file_reader(str(path))
                return [{**signal, "data": np.array(signal["data"])} for signal in signals]
        except (ImportError, *files.DAMAGE) as fault:
            reason = printable(" ".join(str(fault).split()))[:120]
    raise BadInput(f"cannot be read ({reason})", source=path, accepted=ACCEPTED)


def _tomviz(path: Path) -> list[dict[str, Any]]:
    """Signals of an EMD of tomviz that has tilts; empty for other files, which have other readers.

    RosettaSciIO reads neither its channels nor its axis of angles.
    """
    if not files.holds(path, lambda file: _tilt_group(file) is not None):
        return []
    with files.reading(path) as file:
        group = _tilt_group(file)
        if group is None:
            return []
        axes = [_dimension(group.get(f"dim{i}")) for i in (1, 2, 3)]
        scalars = group.get("tomviz_scalars") or {}
        keys = {"": "data"} | {name: f"tomviz_scalars/{name}" for name in scalars}
        return [
            {
                "data": files.floats(group, key),
                "axes": axes,
                "metadata": {"General": {"title": name}},
            }
            for name, key in keys.items()
        ]


def _tilt_group(file: h5py.File) -> h5py.Group | None:
    data = file.get("data")
    groups = data.values() if isinstance(data, h5py.Group) else ()
    return next((group for group in groups if _has_tilts(group)), None)


def _has_tilts(group: object) -> bool:
    if not isinstance(group, h5py.Group) or "data" not in group:
        return False
    dims = [_dimension(group.get(f"dim{i}")) for i in (1, 2, 3)]
    return any(_role(dim) == "angle" for dim in dims)


def _dimension(node: object) -> dict[str, Any]:
    """Axis of an EMD, as RosettaSciIO describes one; ``z`` is an angle only by its unit."""
    if not isinstance(node, h5py.Dataset):
        return {}
    name, units = (
        files.plain_text(node.attrs.get(key, "")).strip("[] ") for key in ("name", "units")
    )
    files.check_dataset(node, str(node.name))
    values = np.asarray(node[()], np.float64)
    step = float(values[1] - values[0]) if len(values) > 1 else 1.0
    plain = "" if name.lower() == "z" else name
    return {"name": plain, "units": units, "axis": values, "offset": values[0], "scale": step}


def _readers(plugins: list[Any], path: Path) -> list[Any]:
    """Readers of a suffix, the usual one first."""
    suffix = path.suffix.lower()
    able = [p for p in plugins if suffix[1:] in [e.lower() for e in p["file_extensions"]]]
    return sorted(able, key=lambda p: p["name"] != PREFERRED.get(suffix))


def _channels(
    path: Path,
    signal: Mapping[str, Any],
    elements: tuple[str, ...],
    windows: Mapping[str, Window],
) -> Iterator[Channel]:
    data, axes = np.asarray(signal["data"]), list(signal["axes"])
    if data.dtype.kind not in "fiub" or data.ndim != len(axes):
        return
    roles = _roles(axes)
    if "y" not in roles or "x" not in roles:
        return
    order = [roles.index(r) for r in ("angle", "y", "x", "energy") if r in roles]
    data = np.transpose(data, order)
    if "angle" not in roles:
        data = data[None]
    angles, source = _angles(path, signal, axes, roles, len(data))
    pixel = _pixel(axes[roles.index("x")])
    if "energy" not in roles:
        name = _name(path, signal)
        yield Channel(name, data.astype(np.float32), angles, source, pixel, path)
        return
    axis = axes[roles.index("energy")]
    energies = axis.get("offset", 0.0) + axis.get("scale", 1.0) * np.arange(data.shape[-1])
    kilo = ENERGY.get(str(axis.get("units", "keV")).lower(), True)
    named = elements or _named_elements(signal)
    if not named:
        raise BadInput(
            "a spectrum image that names no element",
            source=path,
            key="--elements",
            accepted="chemical symbols such as Co,O",
        )
    for element in named:
        window = windows.get(element) or window_of(element, kilo)
        counts, level = window.map_of(data, energies)
        yield Channel(element, counts, angles, source, pixel, path, level)


def _roles(axes: list[Mapping[str, Any]]) -> list[str]:
    """What each axis is: ``energy``, ``angle``, ``y``, ``x``, or empty."""
    roles = [_role(axis) for axis in axes]
    free = [i for i, role in enumerate(roles) if not role]
    # From the last axis on: an image is stored behind what it depends on.
    for wanted in ("x", "y", "angle"):
        if wanted not in roles and free:
            roles[free.pop()] = wanted
    return roles


def _role(axis: Mapping[str, Any]) -> str:
    name, units = (str(axis.get(key, "")).lower().strip("[] ") for key in ("name", "units"))
    if units in ENERGY or "energy" in name:
        return "energy"
    if "tilt" in name or "angle" in name or units in ("deg", "°", "degrees", "rad", "radians"):
        return "angle"
    return {"x": "x", "width": "x", "y": "y", "height": "y", "z": "angle"}.get(name, "")


def _pixel(axis: Mapping[str, Any]) -> float | None:
    factor = NM.get(str(axis.get("units", "")).strip("[] "))
    scale = float(axis.get("scale", 0.0))
    return scale * factor if factor is not None and scale > 0 else None


def _name(path: Path, signal: Mapping[str, Any]) -> str:
    """HAADF or an element, by the title of the signal, else by the name of the file."""
    title = str(signal.get("metadata", {}).get("General", {}).get("title", ""))
    for text in (title, path.stem):
        words = re.split(r"[^A-Za-z]+", text)
        # A single letter among several words is more often a label than an element.
        elements = [word for word in words if word in SYMBOLS and (len(word) > 1 or len(words) < 3)]
        if re.search(r"adf|survey", text, re.IGNORECASE):
            return HAADF
        if len(elements) == 1:
            return elements[0]
    return ""


def _named_elements(signal: Mapping[str, Any]) -> tuple[str, ...]:
    found = signal.get("metadata", {}).get("Sample", {}).get("elements", ())
    return tuple(element for element in found if element in SYMBOLS)


def _angles(
    path: Path,
    signal: Mapping[str, Any],
    axes: list[Mapping[str, Any]],
    roles: list[str],
    count: int,
) -> tuple[tuple[float, ...] | None, str]:
    """Angles of the images, and where they are from."""
    sidecar = sidecar_angles(path)
    if sidecar is not None:
        return sidecar[0], sidecar[1].name
    if "angle" in roles:
        axis = axes[roles.index("angle")]
        # An axis z of a stack numbers its images.
        if _role(axis) == "angle" and str(axis.get("name", "")).lower() != "z":
            return _of_axis(axis, count), "the file's axis"
        return None, ""
    stage = _stage(signal.get("metadata", {}))
    if stage is not None:
        return (stage,), STAGE
    from_name = angle_of_name(path)
    return (None, "") if from_name is None else ((from_name,), NAME)


def _of_axis(axis: Mapping[str, Any], count: int) -> tuple[float, ...]:
    if "axis" in axis:
        values = np.asarray(axis["axis"], np.float64)
    else:
        values = axis.get("offset", 0.0) + axis.get("scale", 1.0) * np.arange(count)
    return tuple(float(value) for value in values)


def _stage(metadata: Mapping[str, Any]) -> float | None:
    stage = metadata.get("Acquisition_instrument", {}).get("TEM", {}).get("Stage", {})
    value = stage.get("tilt_alpha")
    return None if value is None else float(value)


def sidecar_angles(path: Path) -> tuple[tuple[float, ...], Path] | None:
    """Read the angles that lie beside a stack, in degrees.

    Parameters
    ----------
    path : of the stack; ``stack.rawtlt``, ``stack.tlt``, ``stack.mdoc`` or ``stack.mrc.mdoc`` are
        looked for.

    Returns
    -------
    angles, path : or None without such a file.

    Raises
    ------
    BadInput : a sidecar without numbers.
    """
    places = [p for s in SIDECARS for p in (path.with_suffix(s), Path(f"{path}{s}"))]
    for place in places:
        if place.is_file():
            return angles_of_text(place), place
    return None


def angles_of_text(path: Path) -> tuple[float, ...]:
    """Read angles from a text file: one a line, or the ``TiltAngle`` lines of an mdoc.

    Parameters
    ----------
    path : of the file.

    Raises
    ------
    BadInput : no angle in it.
    """
    # A microscope writes its notes in any encoding; numbers are the same in all of them.
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    found = (
        re.findall(r"^TiltAngle\s*=\s*(\S+)", text, re.MULTILINE) or text.replace(",", " ").split()
    )
    try:
        angles = tuple(float(word) for word in found)
    except ValueError as fault:
        raise BadInput(f"no angle ({fault})", source=path, accepted="a number a line") from fault
    if not angles:
        raise BadInput("no angle", source=path, accepted="a number a line, or an mdoc's TiltAngle")
    return angles


def angle_of_name(path: Path) -> float | None:
    """Take the angle from a file's name: its last number, with a sign, or ``p`` and ``m`` for one.

    Parameters
    ----------
    path : of the file.

    Examples
    --------
    >>> angle_of_name(Path("-40.bcf")), angle_of_name(Path("haadf_p12.5deg.dm4"))
    (-40.0, 12.5)
    >>> angle_of_name(Path("overview.dm4")) is None
    True
    """
    found = re.findall(r"(?<![A-Za-z0-9.])([+-]|[pm])?(\d+(?:\.\d+)?)", path.stem)
    if not found:
        return None
    sign, digits = found[-1]
    return -float(digits) if sign in ("-", "m") else float(digits)
