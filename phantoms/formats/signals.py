"""What RosettaSciIO reads of a file, and tomviz's EMD: arrays with their axes and facts.

What an axis is follows from its name and unit: energy, tilt, or a direction of the image; else the
last two are the image and the one before them the tilt.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...recon_core.errors import BadInput, needed, printable
from . import files
from .angles import ANGLE_UNITS

ENERGY = {"ev": False, "kev": True}
"""Whether a unit of energy is a thousand electronvolts."""
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
    name, units = (str(axis.get(key, "")).lower().strip("[] ") for key in ("name", "units"))
    if units in ENERGY or "energy" in name:
        return "energy"
    if units in ANGLE_UNITS or re.search("tilt|angle|alpha|theta", name):
        return "angle"
    return {"x": "x", "width": "x", "y": "y", "height": "y", "z": "angle"}.get(name, "")


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
                return [described(signal) for signal in signals]
        except (ImportError, *files.DAMAGE) as fault:
            reason = printable(" ".join(str(fault).split()))[:120]
    raise BadInput(f"cannot be read ({reason})", source=path, accepted=ACCEPTED)


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
        others = {name: f"tomviz_scalars/{name}" for name in scalars}
        # tomviz lists the scalars that it shows among the others too, by a link
        shown = [name for name in others if scalars[name] == group["data"]]
        own = files.plain_text(group["data"].attrs.get("name", "")) or next(iter(shown), "")
        keys = {n: k for n, k in others.items() if n not in (*shown, own)}
        keys = {own: "data"} | keys
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
    return any(role(dim) == "angle" for dim in dims)


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
