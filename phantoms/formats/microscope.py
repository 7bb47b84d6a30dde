"""Files of microscopes, read by RosettaSciIO: images, stacks and spectrum images as channels.

A channel is HAADF or an element at one tilt or more. Angles come from a sidecar (``.rawtlt``,
``.tlt``, ``.mdoc``), from the axis of the tilts, from the stage in the metadata, or from the file's
name, in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput
from ...recon_core.tiltseries import SYMBOLS, TiltSeries
from .angles import angle_of_name, degrees_of_axis, sidecar_angles, values_of_axis
from .exchange import EMD_NM
from .files import as_float32
from .hdf5 import is_authors_file, is_own_series, read_authors_series
from .lines import Spectra, Window, window_of
from .names import HAADF, SURVEY, name_of
from .overlaps import fitted_maps
from .signals import ACCEPTED, ENERGY, at, holds_angles, read_signals, role, roles_of
from .tiffs import by_channel

Array = NDArray[np.float32]

NM = EMD_NM | {"μm": 1e3, "m": 1e9, "mm": 1e6, "pm": 1e-3, "angstrom": 0.1, "Angstrom": 0.1}
NM |= {"nanometer": 1.0, "nanometers": 1.0, "micron": 1e3, "microns": 1e3}
"""Nanometres of a unit of length."""
FRAMES = ("time", "frame", "frames")
"""Names of an axis along which one scan was repeated."""
SQUARE = 0.02  # relative: edges of a pixel that differ less are the same
MOST_KEV = 100.0  # no energy axis in keV goes farther: one without a unit is in eV
STAGE, NAME = "the stage", "the file's name"


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
    path: Path,
    elements: tuple[str, ...] = (),
    windows: Mapping[str, Window] | None = None,
    fit: bool = False,
) -> list[Channel]:
    """Read what a file holds.

    Parameters
    ----------
    path : of the file.
    elements : of which maps are made from spectrum images; empty takes those that the file names.
    windows : of elements, in the unit of the energy axis; else about the X-ray line.
    fit : lines to the spectra instead, which separates those that overlap.

    Returns
    -------
    list of Channel : single spectra and what is no image left out.

    Raises
    ------
    BadInput : RosettaSciIO is not installed; no file, or one that it cannot read; no image in it.
    """
    # zspy may be a folder
    if not path.is_file() and not (path.is_dir() and path.suffix.lower() == ".zspy"):
        problem = "not a file" if path.exists() else "no such file"
        raise BadInput(problem, source=path, accepted=ACCEPTED)
    if path.suffix.lower() in (".h5", ".hdf5"):
        if is_authors_file(path):
            return _of_series(path, read_authors_series(path))
        if is_own_series(path):
            problem = "a tilt series already, which needs no import"
            raise BadInput(problem, source=path, accepted="files of a microscope or other program")
    signals = [part for signal in read_signals(path) for part in by_channel(signal)]
    windows = None if fit else windows or {}
    found = [c for signal in signals for c in _channels(path, signal, elements, windows)]
    if not found:
        held = ", ".join(f"{np.shape(s['data'])} of {np.asarray(s['data']).dtype}" for s in signals)
        accepted = "images, stacks or spectrum images of numbers"
        problem = f"no image, but {held}" if held else "no image"
        raise BadInput(problem, source=path, accepted=accepted)
    return _without_surveys(found)


def _of_series(path: Path, series: TiltSeries) -> list[Channel]:
    """Channels of a file that holds a whole series."""
    source = "the file's angles"
    maps = zip(series.elements, series.chemical, strict=True)
    found = [Channel(e, m, series.chemical_angles_deg, source, None, path) for e, m in maps]
    if not len(series.haadf):
        return found
    return [Channel(HAADF, series.haadf, series.haadf_angles_deg, source, None, path), *found]


def _without_surveys(found: list[Channel]) -> list[Channel]:
    """Leave out overviews that a file holds beside the image of the same scan."""
    surveys = [channel for channel in found if channel.name == SURVEY]
    if any(channel.name == HAADF for channel in found):
        return [channel for channel in found if channel.name != SURVEY]
    # nothing else shows the specimen: the overview is the image
    return [replace(c, name=HAADF) if c in surveys else c for c in found]


def _channels(
    path: Path,
    signal: Mapping[str, Any],
    elements: tuple[str, ...],
    windows: Mapping[str, Window] | None,
) -> Iterator[Channel]:
    data, axes = _one_frame(np.asarray(signal["data"]), list(signal["axes"]), signal)
    if data.dtype.kind not in "fiub" or data.ndim != len(axes):
        return
    roles = roles_of(axes)
    if "y" not in roles or "x" not in roles:
        return
    if "" in roles:
        raise BadInput(
            "an axis that is no tilt, energy or direction of an image",
            source=path,
            key="axes",
            value=[str(axis.get("name", "")) for axis in axes],
            accepted="(tilt, y, x), (y, x) or these with an energy",
        )
    order = [roles.index(r) for r in ("angle", "y", "x", "energy") if r in roles]
    data = np.transpose(data, order)
    if "angle" not in roles:
        data = data[None]
    angles, source = _angles(path, signal, axes, roles, len(data))
    pixel = _pixel(path, axes[roles.index("y")], axes[roles.index("x")])
    if "energy" not in roles:
        title = str(signal.get("metadata", {}).get("General", {}).get("title", ""))
        yield Channel(name_of(title, path), as_float32(data, "data"), angles, source, pixel, path)
        return
    filled, known = _filled(data)
    spectra = Spectra(
        filled, *_energies(axes[roles.index("energy")], data.shape[-1]), _is_eels(signal)
    )
    named = elements or _named_elements(path, signal)
    for element, (counts, level) in _maps(path, spectra, named, windows):
        counts = np.where(known, counts, np.float32(np.nan))
        yield Channel(element, counts, angles, source, pixel, path, level)


def _filled(data: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Spectra with an average one where numbers are missing, and which were whole.

    Missing numbers would spoil the background of the pixels around, and its mean.
    """
    if data.dtype.kind != "f":
        return data, np.ones(data.shape[:-1], np.bool_)
    known: NDArray[np.bool_] = np.isfinite(data).all(axis=-1)
    if known.all() or not known.any():
        return data, known
    return np.where(known[..., None], data, data[known].mean(axis=0)), known


def _maps(
    path: Path,
    spectra: Spectra,
    elements: tuple[str, ...],
    windows: Mapping[str, Window] | None,
) -> Iterable[tuple[str, tuple[Array, float]]]:
    """Maps of elements with their levels: by windows, or by a fit where there are none."""
    try:
        if windows is None:
            return fitted_maps(spectra, elements).items()
        lines = {e: windows.get(e) or _line_of(path, e, spectra) for e in elements}
        return [(e, line.map_of(spectra)) for e, line in lines.items()]
    except BadInput as fault:
        raise fault.at(source=path) from fault


def _one_frame(
    data: NDArray[Any], axes: list[Mapping[str, Any]], signal: Mapping[str, Any]
) -> tuple[NDArray[Any], list[Mapping[str, Any]]]:
    """Leave out axes of one point, and add up the frames of a scan at one tilt."""
    if data.ndim != len(axes) or data.dtype.kind not in "fiub":
        return data, axes
    names = [str(axis.get("name", "")).lower() for axis in axes]
    tilted = "angle" in map(role, axes)
    at_one_tilt = tilted or len(_stage(signal.get("metadata", {}))) == 1
    summed = tuple(
        i
        for i, axis in enumerate(axes)
        if data.ndim - i > 2
        and not role(axis)
        and (data.shape[i] == 1 or (at_one_tilt and names[i] in FRAMES))
    )
    kept = [axis for i, axis in enumerate(axes) if i not in summed]
    return (data.sum(axis=summed, dtype=np.float64) if summed else data), kept


def _energies(axis: Mapping[str, Any], count: int) -> tuple[NDArray[np.float64], bool]:
    """Energies of the channels, and whether they are in keV."""
    energies = np.asarray(values_of_axis(axis, count))
    known = ENERGY.get(str(axis.get("units", "")).lower())
    return energies, bool(energies.max() <= MOST_KEV) if known is None else known


def _is_eels(signal: Mapping[str, Any]) -> bool:
    kind = str(signal.get("metadata", {}).get("Signal", {}).get("signal_type", ""))
    return "EELS" in kind.upper()


def _line_of(path: Path, element: str, spectra: Spectra) -> Window:
    if spectra.eels:
        raise BadInput(
            "energy losses: an edge has no window of its own",
            source=path,
            key=f"--window {element}",
            accepted=f"--window {element}=LOW:HIGH above the edge",
        )
    return window_of(element, spectra.kilo)


def _pixel(path: Path, *axes: Mapping[str, Any]) -> float | None:
    """Edge of a pixel; None where the file gives none."""
    edges = [_edge(axis) for axis in axes]
    known = [edge for edge in edges if edge is not None]
    if known and max(known) > (1 + SQUARE) * min(known):
        raise BadInput("pixels that are not square", source=path, value=edges, accepted="dy = dx")
    return known[-1] if known else None


def _edge(axis: Mapping[str, Any]) -> float | None:
    factor = NM.get(str(axis.get("units", "")).strip("[] "))
    points = values_of_axis(axis, 2) if axis.get("size", 2) != 1 else (0.0, 0.0)
    step = points[1] - points[0] if len(points) > 1 else 0.0
    return abs(step) * factor if factor is not None and step else None


def _named_elements(path: Path, signal: Mapping[str, Any]) -> tuple[str, ...]:
    found = signal.get("metadata", {}).get("Sample", {}).get("elements", ())
    named = tuple(element for element in found if element in SYMBOLS)
    if not named:
        raise BadInput(
            "a spectrum image that names no element",
            source=path,
            key="--elements",
            accepted="chemical symbols such as Co,O",
        )
    return named


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
        if holds_angles(axis):
            return degrees_of_axis(axis, count), "the file's axis"
        # of as many images as the stage has tilts, and not of one tilt written beside each
        stage = _stage(signal.get("metadata", {}))
        fits = len(stage) == count and len(set(stage)) > 1
        return (stage, STAGE) if fits else (None, "")
    stage = _stage(signal.get("metadata", {}))
    if len(stage) == 1:
        return stage, STAGE
    from_name = angle_of_name(path)
    return (None, "") if from_name is None else ((from_name,), NAME)


def _stage(metadata: Mapping[str, Any]) -> tuple[float, ...]:
    """Tilts of the stage: one, or one for each image of a stack."""
    value = at(metadata, "Acquisition_instrument.TEM.Stage.tilt_alpha")
    try:
        found = np.ravel(np.asarray([] if value is None else value, np.float64))
    except (TypeError, ValueError):
        return ()
    return tuple(float(angle) for angle in found if np.isfinite(angle))
