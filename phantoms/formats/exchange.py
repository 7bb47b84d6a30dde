"""Volumes as files that other programs open: tomviz, ImageJ, napari, HyperSpy, Chimera.

=========  ===========================  ========================================================
suffix     opened by                    holds
=========  ===========================  ========================================================
``.emd``   tomviz, HyperSpy, ncempy     all elements; NCEM's EMD, in tomviz's layout of channels
``.tif``   ImageJ, Fiji, napari         all elements, as the channels of an ImageJ hyperstack
``.mrc``   IMOD, Chimera, tomviz        one file per element: ``F.mrc`` becomes ``F_Co.mrc`` ...
``.hspy``  HyperSpy                     all elements, as one signal, by RosettaSciIO's writer
=========  ===========================  ========================================================

Concentrations as float32, with the edge of a voxel, and how they were made: in EMD as attributes of
the group ``comments``, in TIFF as ImageJ's "Info", in MRC as labels, in hspy as original metadata.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput, needed
from ...recon_core.tiltseries import SYMBOLS
from . import files
from .registry import Concentrations, Format

EMD_NM = {"n_m": 1.0, "nm": 1.0, "Å": 0.1, "A": 0.1, "u_m": 1e3, "um": 1e3, "µm": 1e3}
"""Nanometres of a unit, as EMD and tomviz write it."""
IMAGEJ_NM = {"nm": 1.0, "micron": 1e3, "um": 1e3, "µm": 1e3, "\\u00B5m": 1e3}
"""Nanometres of a unit, as ImageJ writes it."""
HYPERSTACK = "an ImageJ hyperstack (z, channel, y, x) whose labels begin with elements, as exported"
ANGSTROM_PER_NM = 10.0
LABEL = "tomoatlas: concentration of "
"""Start of the label that holds the element: MRC has no field for it."""
MOST_LABELS, LABEL_LENGTH = 9, 79  # beside the element's, of the ten of 80 characters in MRC
MOST_TEXT = 1000  # characters of a fact
TELLING = ("software", "method", "haadf", "tv", "contrast", "gamma", "regulariser", "status")
"""Facts that MRC keeps at any rate."""


def write_emd(path: Path, content: Concentrations) -> None:
    """Write EMD 0.2: a group per element, and ``/data/tomography`` with all of them for tomviz.

    The groups share their arrays by hard links. EMD's axes are x, y, z, the first slowest.

    Parameters
    ----------
    path : of a file that does not exist yet.
    content : volumes, elements and voxel size.
    """
    volumes, elements = content.volumes, content.elements
    with files.created(path) as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        # RosettaSciIO reads a shared array once, under its alphabetically first name, and stacks
        # groups whose paths begin alike: hence a name before "data", and a number before C or Cu.
        places = [f"concentrations/{i:02}/{e}" for i, e in enumerate(elements, start=1)]
        for element, place, volume in zip(elements, places, volumes, strict=True):
            group = file.create_group(place)
            _dimensions(group, volume.shape, content.voxel_size_nm)
            group["data"] = volume.T
            group["data"].attrs["name"] = np.bytes_(element)
        comments = file.create_group("comments")
        for name, value in _provenance(content).items():
            comments.attrs[name] = value
        together = file.create_group("data/tomography")
        _dimensions(together, volumes.shape[1:], content.voxel_size_nm)
        # a hard link: tomviz shows the first channel as the volume, the others as scalars
        together["data"] = file[f"{places[0]}/data"]
        for element, place in zip(elements[1:], places[1:], strict=True):
            together[f"tomviz_scalars/{element}"] = file[f"{place}/data"]


def _provenance(content: Concentrations) -> dict[str, str | float]:
    """How the volumes were made, as text and numbers that every format holds."""
    known: dict[str, str | float] = {"software": f"tomoatlas {version('tomoatlas')}"}
    for name, value in content.facts.items():
        # misfits by tilt are too long for a label; a bool is written as text
        if isinstance(value, str | bool):
            known[name] = str(value)[:MOST_TEXT]
        elif isinstance(value, int | float):
            known[name] = value
    return known


def _labels(facts: dict[str, str | float]) -> list[str]:
    """Facts in as few labels as hold them; the most telling ones come first."""
    lines = [""]
    for name in sorted(facts, key=lambda name: name not in TELLING):
        value = facts[name]
        text = f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        text = text.encode("ascii", "replace").decode()[:LABEL_LENGTH]
        longer = f"{lines[-1]}, {text}" if lines[-1] else text
        if len(longer) <= LABEL_LENGTH:
            lines[-1] = longer
        else:
            lines.append(text)
    return lines[:MOST_LABELS]


def _dimensions(group: h5py.Group, shape: tuple[int, ...], voxel_size_nm: float) -> None:
    group.attrs["emd_group_type"] = 1
    for number, (name, count) in enumerate(zip("xyz", reversed(shape), strict=True), start=1):
        # EMD gives positions, not a step
        group[f"dim{number}"] = voxel_size_nm * np.arange(count)
        group[f"dim{number}"].attrs["name"] = np.bytes_(name)
        group[f"dim{number}"].attrs["units"] = np.bytes_("[n_m]")


def is_emd(path: Path) -> bool:
    """Check whether a file is HDF5 with an EMD group below ``data``.

    Parameters
    ----------
    path : of the file.
    """
    return files.holds(path, lambda file: _group(file) is not None)


def read_emd(path: Path) -> Concentrations:
    """Read the first group below ``data`` as tomviz writes it: one channel for each element.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    Concentrations : in the order of this project's own groups if there are any, else by atomic
        number.

    Raises
    ------
    BadInput : no such group; a channel without the name of an element; other than three axes.
    """
    with files.reading(path) as file:
        group = _group(file)
        if group is None:
            raise BadInput("no EMD group", key="data", accepted="data/tomography of tomviz")
        channels = _channels(group)
        elements = tuple(sorted(channels, key=lambda e: _place(file, e)))
        volumes = np.stack([channels[element] for element in elements])
        return Concentrations(volumes, elements, _voxel_size_nm(group))


def _group(file: h5py.File) -> h5py.Group | None:
    data = file.get("data")
    groups = data.values() if isinstance(data, h5py.Group) else ()
    found = (g for g in groups if isinstance(g, h5py.Group) and "emd_group_type" in g.attrs)
    return next(found, None)


def _channels(group: h5py.Group) -> dict[str, NDArray[np.float32]]:
    """Read volumes (z, y, x) by element: ``data``, named by its attribute, and tomviz's scalars."""
    scalars = group.get("tomviz_scalars")
    others = {name: f"tomviz_scalars/{name}" for name in (scalars or ())}
    name = files.plain_text(files.attribute([group.get("data")], "name"))
    found = {}
    for element, key in ({name: "data"} | others).items():
        values = files.floats(group, key)
        if element not in SYMBOLS or values.ndim != 3:
            raise BadInput(
                "no volume of an element",
                key=f"{group.name}/{key}",
                value=element,
                accepted="three axes, named by a chemical symbol such as Co",
            )
        # EMD's (x, y, z) to (z, y, x)
        found[element] = np.ascontiguousarray(values.T)
    return found


def _place(file: h5py.File, element: str) -> tuple[str, int]:
    """Sort key of an element: its place when it was exported from here, else its atomic number."""
    ours = file.get("concentrations")
    places = [n for n, g in ours.items() if element in g] if isinstance(ours, h5py.Group) else []
    return (places or ["~"])[0], SYMBOLS.index(element)


def _voxel_size_nm(group: h5py.Group) -> float:
    """Return the step of the first axis that has one; 1 nm for a single plane."""
    for number in (1, 2, 3):
        places = files.numbers(group, f"dim{number}")
        text = files.plain_text(files.attribute([group[f"dim{number}"]], "units"))
        if len(places) > 1:
            if text.strip("[] ") not in EMD_NM:
                raise BadInput(
                    "unknown unit",
                    key=f"{group.name}/dim{number}.attrs[units]",
                    value=text,
                    accepted=", ".join(EMD_NM),
                )
            return (places[1] - places[0]) * EMD_NM[text.strip("[] ")]
    return 1.0


EMD = Format("EMD", (".emd",), is_emd, read_emd, write_emd)


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
        "Info": "\n".join(f"{name} = {value}" for name, value in _provenance(content).items()),
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
            series = file.series[0]
            if series.dtype is None or series.dtype.kind not in "fiu":
                raise BadInput("not numbers", value=str(series.dtype), accepted="a numeric image")
            files.check_size(series.shape, series.dtype, "TIFF")
            stored, axes = series.asarray(), series.axes
    except BadInput:
        raise
    except (tifffile.TiffFileError, *files.DAMAGE) as fault:
        raise BadInput(f"unreadable TIFF ({fault})", accepted="a whole TIFF file") from fault
    if not set(axes) <= set("ZCYX"):
        raise BadInput("wrong axes", key="axes", value=axes, accepted=HYPERSTACK)
    # ImageJ leaves out axes of length one.
    for axis in "CZ":
        if axis not in axes:
            stored, axes = stored[None], axis + axes
    volumes = np.moveaxis(stored, [axes.index(axis) for axis in "CZYX"], range(4))
    elements = _elements(facts, len(volumes))
    floats = files.as_float32(volumes, "volumes")
    return Concentrations(floats, elements, _plane_distance_nm(facts))


def _elements(facts: dict[str, Any], channels: int) -> tuple[str, ...]:
    labels = facts.get("Labels", ())
    labels = [labels] if isinstance(labels, str) else labels
    elements = tuple(str(label).split(" ")[0] for label in labels[:channels])
    if len(elements) != channels or not set(elements) <= set(SYMBOLS):
        raise BadInput("no elements", key="Labels", value=list(elements), accepted=HYPERSTACK)
    return elements


def _plane_distance_nm(facts: dict[str, Any]) -> float:
    """Return the distance of the planes; 1 nm if the file gives none."""
    if "spacing" not in facts:
        return 1.0
    unit = facts.get("unit", "")
    if unit not in IMAGEJ_NM:
        raise BadInput("unknown unit", key="unit", value=unit, accepted=", ".join(IMAGEJ_NM))
    return float(facts["spacing"]) * IMAGEJ_NM[unit]


TIFF = Format("TIFF", (".tif", ".tiff"), None, read_tiff, write_tiff)


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
        for line in _labels(_provenance(content)):
            file.add_label(line)


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
    # A voxel has four bytes in most files.
    files.check_size((path.stat().st_size // 4,), np.dtype(np.float32), "MRC")
    try:
        with mrcfile.open(path) as file:
            if file.data is None or file.data.dtype.kind not in "fiu":
                raise BadInput("not numbers", key="mode", accepted="a volume of numbers")
            data = files.as_float32(np.array(file.data), "mode")
            labels = [label for label in file.get_labels() if label.startswith(LABEL)]
            voxel_size_nm = float(file.voxel_size.z) / ANGSTROM_PER_NM
    except BadInput:
        raise
    except files.DAMAGE as fault:
        raise BadInput(f"unreadable MRC ({fault})", accepted="a whole MRC file") from fault
    if not labels or data.ndim != 3:
        raise BadInput(
            "no volume of a named element",
            key="label",
            accepted=f"a volume with the label '{LABEL}Co', as exported; else HDF5 or EMD",
        )
    return Concentrations(data[None], (labels[0].removeprefix(LABEL).strip(),), voxel_size_nm)


MRC = Format("MRC", (".mrc",), None, read_mrc, write_mrc, one_per_element=True)


def write_hspy(path: Path, content: Concentrations) -> None:
    """Write a signal (element, z, y, x) that HyperSpy loads, with its elements in the metadata.

    Parameters
    ----------
    path : of a file that does not exist yet.
    content : volumes, elements and voxel size.

    Raises
    ------
    BadInput : RosettaSciIO is not installed (extra ``microscope``).
    """
    with needed("rosettasciio", "microscope", "hspy files"):
        from rsciio import hspy
    hspy.file_writer(str(path), _hyperspy_signal(content))


def _hyperspy_signal(content: Concentrations) -> dict[str, Any]:
    """What the writers of RosettaSciIO take: data, axes and metadata as HyperSpy has them."""
    sizes = dict(zip(("element", "z", "y", "x"), content.volumes.shape, strict=True))
    axes = [
        {
            "_type": "UniformDataAxis",
            "name": name,
            "size": size,
            "offset": 0.0,
            "scale": 1.0 if name == "element" else content.voxel_size_nm,
            "units": "" if name == "element" else "nm",
            "navigate": name in ("element", "z"),
            "is_binned": False,
        }
        for name, size in sizes.items()
    ]
    elements = list(content.elements)
    general = {"title": f"concentrations of {', '.join(elements)}", "notes": "by tomoatlas"}
    return {
        "data": content.volumes,
        "axes": axes,
        "metadata": {
            "General": general,
            "Sample": {"elements": elements},
            "Signal": {"signal_type": "", "quantity": "concentration"},
        },
        "original_metadata": {"tomoatlas": _provenance(content)},
        "tmp_parameters": {},
        "attributes": {"_lazy": False},
        "learning_results": {},
        "models": {},
        # whose class of signals it is: HyperSpy warns of any other package that it does not find
        "package_info": {"package": "hyperspy", "package_version": "2.0"},
    }


def read_hspy(path: Path) -> Concentrations:
    """Read a signal (element, z, y, x) as :func:`write_hspy` writes it.

    Parameters
    ----------
    path : of the file.

    Raises
    ------
    BadInput : RosettaSciIO is not installed; a damaged file, or a signal without elements.
    """
    with needed("rosettasciio", "microscope", "hspy files"):
        from rsciio import hspy
    files.check_datasets(path)
    try:
        signal = hspy.file_reader(str(path))[0]
        data, axes = np.asarray(signal["data"]), signal["axes"]
        elements = tuple(signal["metadata"].get("Sample", {}).get("elements", ()))
    except files.DAMAGE as fault:
        raise BadInput(f"unreadable hspy ({fault})", accepted="a whole hspy file") from fault
    if data.ndim != 4 or len(elements) != len(data) or not set(elements) <= set(SYMBOLS):
        raise BadInput(
            "no volumes of named elements",
            key="metadata.Sample.elements",
            value=list(elements),
            accepted="a signal (element, z, y, x), as exported",
        )
    floats = files.as_float32(data, "data")
    return Concentrations(floats, elements, float(axes[-1]["scale"]))


HSPY = Format("HyperSpy", (".hspy",), None, read_hspy, write_hspy)
