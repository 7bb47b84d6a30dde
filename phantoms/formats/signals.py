"""What RosettaSciIO reads of a file, and tomviz's EMD: arrays with their axes and facts.

What an axis is follows from its name and unit: energy, tilt, or a direction of the image; else the
last two are the image and the one before them the tilt.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...recon_core.errors import BadInput, needed, printable
from . import files
from .angles import ANGLE_UNITS
from .dxchange import is_dxchange, read_dxchange
from .mrc import is_mrc, read_mrc
from .tiffs import with_pixel_size

ENERGY = {"ev": False, "kev": True}
"""Whether a unit of energy is a thousand electronvolts."""
PREFERRED = {
    ".emd": "EMD",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".hspy": "HSPY",
    ".nxs": "Nexus",
    ".bcf": "Bruker",
}
"""Reader of a suffix that several have."""
HDF5 = (".h5", ".hdf5", ".hspy", ".emd", ".nxs")
ACCEPTED = "bcf, dm3, dm4, emd, mrc, tif, hspy, nxs and what else RosettaSciIO reads"


def roles_of(axes: list[Mapping[str, Any]]) -> list[str]:
    """Say what each axis is: ``energy``, ``angle``, ``y``, ``x``, or empty.

    Parameters
    ----------
    axes : of an array, in its order.

    Examples
    --------
    >>> roles_of([{"name": "tilt"}, {"name": ""}, {"name": ""}, {"name": "Energy", "units": "eV"}])
    ['angle', 'y', 'x', 'energy']
    """
    roles = [role(axis) for axis in axes]
    # one axis that is no navigation holds spectra, whatever it is called
    signals = [i for i, axis in enumerate(axes) if axis.get("navigate") is False]
    if len(signals) == 1 and len(axes) > 2 and "energy" not in roles and not roles[signals[0]]:
        roles[signals[0]] = "energy"
    free = [i for i, role in enumerate(roles) if not role]
    # From the last axis on: an image is stored behind what it depends on.
    for wanted in ("x", "y", "angle"):
        if wanted not in roles and free:
            roles[free.pop()] = wanted
    return roles


def role(axis: Mapping[str, Any]) -> str:
    """Say what an axis is by its own name and unit; empty if they do not tell.

    Parameters
    ----------
    axis : as RosettaSciIO describes one.
    """
    name, units = _words(axis)
    if units in ENERGY or "energy" in name:
        return "energy"
    if units in ANGLE_UNITS or re.search("tilt|angle|alpha|theta", name):
        return "angle"
    return {"x": "x", "width": "x", "y": "y", "height": "y", "z": "angle"}.get(name, "")


def holds_angles(axis: Mapping[str, Any]) -> bool:
    """Whether the values of an axis are angles: an axis z in no unit of them numbers its images.

    Parameters
    ----------
    axis : as RosettaSciIO describes one.

    Examples
    --------
    >>> holds_angles({"name": "z", "units": "deg"}), holds_angles({"name": "z"})
    (True, False)
    """
    name, units = _words(axis)
    return role(axis) == "angle" and (units in ANGLE_UNITS or name != "z")


def _words(axis: Mapping[str, Any]) -> tuple[str, str]:
    """Name and unit of an axis."""
    name, units = (str(axis.get(key, "")).lower().strip("[] ") for key in ("name", "units"))
    return name, units


def read_signals(path: Path) -> list[dict[str, Any]]:
    """Read everything that a file holds.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    list of dict : ``data``, ``axes`` and ``metadata`` as RosettaSciIO describes them.

    Raises
    ------
    BadInput : RosettaSciIO is not installed; a file that no reader of its suffix can read.
    """
    if is_mrc(path):
        return read_mrc(path)
    if path.suffix.lower() in (".emd", ".h5", ".hdf5") and (found := _tomviz(path)):
        return found
    if path.suffix.lower() in HDF5 and is_dxchange(path):
        return read_dxchange(path)
    with needed("rosettasciio", "microscope", "files of microscopes"):
        import rsciio
    faults = []
    for plugin in _readers(rsciio.IO_PLUGINS, path):
        try:
            with _quiet():
                signals = import_module(plugin["api"]).file_reader(str(path))
                return [with_pixel_size(described(signal)) for signal in signals]
        # of damaged bytes a reader raises what it happens to meet
        except Exception as fault:  # noqa: BLE001
            faults.append(fault)
    raise BadInput(f"cannot be read ({_reason(path, faults)})", source=path, accepted=ACCEPTED)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep readers from saying on the terminal what they do not know of a file, or left open."""
    loggers = [logging.getLogger(name) for name in ("rsciio", "RosettaSciIO", "tifffile")]
    levels = [logger.level for logger in loggers]
    try:
        # those below them, one a reader, take their level; that a logger is disabled they do not
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(path: Path, faults: list[Exception]) -> str:
    """Why no reader could: what the usual one says, and not which packages others would need."""
    if not path.is_dir() and not path.stat().st_size:
        return "an empty file"
    if path.suffix.lower() in HDF5 and not h5py.is_hdf5(path):
        return "no HDF5 file"
    if path.suffix.lower() in (".h5", ".hdf5") and files.holds(path, lambda _: True):
        return "HDF5 of no known layout"
    able = [fault for fault in faults if not isinstance(fault, ImportError)]
    telling = [*able, *faults, ValueError("unknown suffix")][0]
    if isinstance(telling, ImportError) and telling.name:
        return f"needs the package {telling.name}"
    words = " ".join(str(telling).split()) or type(telling).__name__
    return printable(words)[:120]


def described(signal: dict[str, Any]) -> dict[str, Any]:
    """Read the data of a signal, and move its facts to where HyperSpy would look for them.

    Parameters
    ----------
    signal : of a reader of RosettaSciIO, whose ``mapping`` says where its own facts belong.

    Returns
    -------
    dict : the same with ``data`` in memory and more ``metadata``.
    """
    metadata = _plain(signal.get("metadata", {}))
    original = signal.get("original_metadata", {})
    for source, (target, convert) in dict(signal.get("mapping", {})).items():
        value = at(original, source)
        if value is None:
            continue
        # what a reader cannot make sense of is not known
        with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):
            place = metadata
            *groups, last = str(target).split(".")
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = value if convert is None else convert(value)
    return {**signal, "data": np.array(signal["data"]), "metadata": metadata}


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested facts as plain dictionaries."""
    return {k: _plain(v) if isinstance(v, Mapping) else v for k, v in tree.items()}


def at(tree: Any, key: str) -> Any:
    """Look up a dotted key in nested facts.

    Parameters
    ----------
    tree : of dictionaries.
    key : such as ``Acquisition_instrument.TEM.Stage``.

    Returns
    -------
    object : None where there is none.
    """
    for name in key.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree


def _tomviz(path: Path) -> list[dict[str, Any]]:
    """Signals of an EMD with tilts, or of a tomviz that says none; empty for other files.

    RosettaSciIO reads neither tomviz's channels nor an axis of angles.
    """
    if not files.holds(path, lambda file: bool(_groups(file))):
        return []
    with files.reading(path) as file:
        groups = _groups(file)
        return [s for g in groups for s in _scalars(g, named=len(groups) > 1)]


def _scalars(group: h5py.Group, named: bool) -> Iterator[dict[str, Any]]:
    """The arrays of one group, of tomviz with those beside ``data``."""
    axes = _dimensions(group)
    scalars = group.get("tomviz_scalars") or {}
    others = {name: f"tomviz_scalars/{name}" for name in scalars}
    # tomviz lists the scalars that it shows among the others too, by a link
    shown = [name for name in others if scalars[name] == group["data"]]
    own = files.plain_text(group["data"].attrs.get("name", "")) or next(iter(shown), "")
    if named and not own:
        own = str(group.name).rsplit("/", 1)[-1]
    keys = {n: k for n, k in others.items() if n not in (*shown, own)}
    for name, key in ({own: "data"} | keys).items():
        metadata = {"General": {"title": name}}
        yield {"data": files.floats(group, key), "axes": axes, "metadata": metadata}


def _groups(file: h5py.File) -> list[h5py.Group]:
    """Groups that have tilts; all with a stack where EMD's version is missing, as in tomviz's."""
    data = file.get("data")
    groups = [g for g in data.values() if _is_stack(g)] if isinstance(data, h5py.Group) else []
    tilted = [g for g in groups if "angle" in map(role, _dimensions(g))]
    return tilted or ([] if "version_major" in file.attrs else groups)


def _is_stack(group: object) -> bool:
    found = group.get("data") if isinstance(group, h5py.Group) else None
    return isinstance(found, h5py.Dataset) and found.ndim == 3 and all(_dimensions(group))


def _dimensions(group: h5py.Group) -> list[dict[str, Any]]:
    return [_dimension(group.get(f"dim{i}")) for i in (1, 2, 3)]


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
    usual = PREFERRED.get(suffix)
    able = [
        p
        for p in plugins
        if p["name"] == usual or suffix[1:] in [e.lower() for e in p["file_extensions"]]
    ]
    return sorted(able, key=lambda p: p["name"] != usual)
