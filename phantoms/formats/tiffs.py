"""What ImageJ and OME write into a TIFF beside what RosettaSciIO reads, and axes of channels."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

CHANNELS = re.compile(r"(?<![a-z_])(channel|colou?r|element)", re.IGNORECASE)
"""Names of an axis along which an array holds several images of one tilt; ``stack_element`` is
HyperSpy's of whatever it stacks."""
MOST_CHANNELS = 32  # a longer axis of channels is one of energies
UM = "um"  # OME's unit where a file gives none


def with_pixel_size(signal: dict[str, Any]) -> dict[str, Any]:
    r"""Give axes of an image their step, where only ImageJ's or OME's description has it.

    Parameters
    ----------
    signal : as RosettaSciIO describes one.

    Examples
    --------
    >>> axes = [{"name": "height"}, {"name": "width", "units": None}]
    >>> tags = {"ImageDescription": "ImageJ=1.53\nunit=nm", "XResolution": (2, 1)}
    >>> with_pixel_size({"axes": axes, "original_metadata": tags})["axes"][1]
    {'name': 'width', 'units': 'nm', 'scale': 0.5}
    """
    tags = signal.get("original_metadata", {})
    found = _pixel(str(tags.get("ImageDescription", "")), tags)
    if found is None:
        return signal
    step, unit = found
    axes = [
        {**axis, "units": unit, "scale": step}
        if axis.get("name") in ("height", "width") and not axis.get("units")
        else axis
        for axis in signal["axes"]
    ]
    return {**signal, "axes": axes}


def _pixel(text: str, tags: Mapping[str, Any]) -> tuple[float, str] | None:
    """Edge of a pixel and its unit, by a description."""
    if text.startswith("ImageJ="):
        unit = re.search(r"^unit=(\S+)", text, re.MULTILINE)
        per_unit = np.ravel(tags.get("XResolution", ()))
        if unit is None or per_unit.size != 2 or not per_unit.all():
            return None
        return float(per_unit[1] / per_unit[0]), unit[1].replace(r"\u00B5", "µ")
    size = re.search(r'PhysicalSizeX="([\d.eE+-]+)"', text)
    if size is None:
        return None
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', text)
    return float(size[1]), UM if unit is None else html.unescape(unit[1])


def by_channel(signal: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Split an array along its axis of channels into one signal each, titled by its name.

    Parameters
    ----------
    signal : as RosettaSciIO describes one; yielded as it is if it names no channels.
    """
    axes, data = list(signal["axes"]), np.asarray(signal["data"])
    place = _channel_axis(axes, data.shape)
    names = () if place is None else channel_names(signal, data.shape[place])
    if place is None or not names:
        yield signal
        return
    rest = axes[:place] + axes[place + 1 :]
    for i, name in enumerate(names):
        facts = signal.get("metadata", {})
        titled = {**facts, "General": {**facts.get("General", {}), "title": name}}
        part = np.take(data, i, axis=place)
        yield {**signal, "data": part, "axes": rest, "metadata": titled}


def _channel_axis(axes: list[Mapping[str, Any]], shape: tuple[int, ...]) -> int | None:
    if not 2 < len(axes) == len(shape):
        return None
    # one axis that is no navigation holds spectra
    spectra = sum(axis.get("navigate") is False for axis in axes) == 1
    for i, axis in enumerate(axes):
        named = CHANNELS.search(str(axis.get("name", ""))) and not axis.get("units")
        if named and shape[i] <= MOST_CHANNELS and not (spectra and axis["navigate"] is False):
            return i
    return None


def channel_names(signal: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Names of channels: those of OME, ImageJ's labels, or the elements of the sample.

    Parameters
    ----------
    signal : with an axis of channels.
    count : of them.

    Returns
    -------
    tuple of str : empty where the file does not name as many.
    """
    tags = signal.get("original_metadata", {})
    text = str(tags.get("ImageDescription", ""))
    ome = re.findall(r'<Channel [^>]*\bName="([^"]*)"', text)
    # ImageJ labels planes, of which the channel is the fastest
    labels = dict(tags.get("IJMetadata", {}) or {}).get("Labels", ())
    elements = signal.get("metadata", {}).get("Sample", {}).get("elements", ())
    for names in (ome, list(labels)[:count], list(elements)):
        if len(names) == count and all(names):
            return tuple(map(str, names))
    return ()
