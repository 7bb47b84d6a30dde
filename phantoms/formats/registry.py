"""File formats: which one reads or writes a file, by its suffix and a look at its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput, from_os_error
from ...recon_core.registry import Registry
from ...recon_core.tiltseries import TiltSeries

Content = Literal["volumes", "series"]
LAYOUT = "with haadf/projections and chemical/projections; tomoatlas import makes one"
NAMES = {"volumes": "volumes", "series": "tilt series"}


@dataclass(frozen=True)
class Concentrations:
    """The content of a file of volumes.

    Parameters
    ----------
    volumes : concentrations, (element, z, y, x), float32, >= 0.
    elements : chemical symbols, in the order of ``volumes``.
    voxel_size_nm : edge of a voxel, nm.
    name : of the specimen; None if the file has none.
    facts : provenance: how volumes were made, with which weights and settings, name to value.
    """

    volumes: NDArray[np.float32]
    elements: tuple[str, ...]
    voxel_size_nm: float
    name: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """A kind of file; what it cannot do is None.

    Parameters
    ----------
    name : for people.
    suffixes : lower case, with the dot; the first is the usual one.
    sniff : whether a file with one of the suffixes is of this format, needed if formats share a
        suffix; it raises nothing.
    read_volumes : of a file; it raises BadInput for what the file lacks, without naming the file.
    write_volumes : to a path that does not exist yet; its caller moves the file into place.
    read_series : as ``read_volumes``, the tilt series.
    write_series : as ``write_volumes``.
    one_per_element : a file holds one element: ``F.mrc`` becomes ``F_Co.mrc`` and so on.
    """

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[Path], bool] | None = None
    read_volumes: Callable[[Path], Concentrations] | None = None
    write_volumes: Callable[[Path, Concentrations], None] | None = None
    read_series: Callable[[Path], TiltSeries] | None = None
    write_series: Callable[[Path, TiltSeries], None] | None = None
    one_per_element: bool = False

    def reads(self, content: Content) -> bool:
        """Check whether this format reads some content.

        Parameters
        ----------
        content : ``volumes`` or ``series``.
        """
        return getattr(self, f"read_{content}") is not None

    def writes(self, content: Content) -> bool:
        """Check whether this format writes some content.

        Parameters
        ----------
        content : ``volumes`` or ``series``.
        """
        return getattr(self, f"write_{content}") is not None

    def is_of(self, path: Path) -> bool:
        """Check whether a file is of this format, by its suffix and a look inside.

        Parameters
        ----------
        path : of the file.
        """
        fits = path.suffix.lower() in self.suffixes
        return fits and (self.sniff is None or self.sniff(path))


FORMATS: Registry[Format] = Registry(
    "file format",
    "tomoatlas.formats",
    Format,
    {
        "emd": "tomoatlas.phantoms.formats.exchange:EMD",
        "tiff": "tomoatlas.phantoms.formats.exchange:TIFF",
        "mrc": "tomoatlas.phantoms.formats.exchange:MRC",
        "hspy": "tomoatlas.phantoms.formats.exchange:HSPY",
        "hdf5": "tomoatlas.phantoms.formats.hdf5:HDF5",
        "authors": "tomoatlas.phantoms.formats.hdf5:AUTHORS",
    },
)
"""Every file format; those that ship take precedence."""


def format_to_read(path: Path, content: Content) -> Format:
    """Find the format that reads a file.

    A file that no format of its suffix recognises goes to the first of them, whose reader reports
    what is wrong with it. A file of an unknown suffix goes to the format that recognises it, else
    to HDF5.

    Parameters
    ----------
    path : of the file.
    content : ``volumes`` or ``series``.

    Raises
    ------
    BadInput : neither a file nor a folder; the suffix is of a format that does not hold
        ``content``.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
        raise BadInput("not a file", source=path, accepted=_readable(content))
    suffix = path.suffix.lower()
    able: list[Format] = []
    unable: list[Format] = []
    for found in _formats():
        if suffix not in found.suffixes:
            continue
        if found.reads(content):
            if found.is_of(path):
                return found
            able.append(found)
        else:
            unable.append(found)
    # a suffix that is known, but for other content: the content decides the message
    if unable and not able:
        raise BadInput(
            f"{unable[0].name} files hold no {NAMES[content]}",
            source=path,
            accepted=_readable(content),
        )
    # an unknown suffix: look inside
    inside = (f for f in _formats() if f.reads(content) and f.sniff is not None and f.sniff(path))
    return able[0] if able else next(inside, FORMATS.get("hdf5"))


def format_to_write(path: Path, content: Content) -> Format:
    """Find the format that writes a file of a suffix.

    Parameters
    ----------
    path : of the file.
    content : ``volumes`` or ``series``.

    Raises
    ------
    BadInput : no format does.

    Examples
    --------
    >>> format_to_write(Path("volumes.tif"), "volumes").name
    'TIFF'
    """
    suffix = path.suffix.lower()
    for found in _formats():
        if suffix in found.suffixes and found.writes(content):
            return found
    raise BadInput(
        "unknown suffix",
        source=path,
        value=path.suffix,
        accepted=_suffixes(lambda found: found.writes(content)),
    )


def writes(path: Path, content: Content) -> bool:
    """Check whether a format writes files of a suffix.

    Parameters
    ----------
    path : whose suffix counts.
    content : ``volumes`` or ``series``.
    """
    suffix = path.suffix.lower()
    return any(suffix in found.suffixes and found.writes(content) for found in _formats())


def reads_volumes(suffix: str) -> bool:
    """Check whether a format reads volumes from files of a suffix; plugins are consulted last.

    Parameters
    ----------
    suffix : with the dot, in any case.
    """
    suffix = suffix.lower()
    return any(suffix in found.suffixes and found.reads("volumes") for found in _formats())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file's path to the errors of the block, those of the operating system included.

    Parameters
    ----------
    path : of the file.

    Raises
    ------
    BadInput : of the block, with ``path`` as its source.
    """
    try:
        yield
    except BadInput as fault:
        # a reader may name another file, such as one it refers to
        if fault.source is not None:
            raise
        raise BadInput(
            fault.problem,
            source=path,
            key=fault.key,
            value=fault.value,
            accepted=fault.accepted,
        ) from fault
    except OSError as fault:
        raise from_os_error(fault, source=path) from fault


def _formats() -> Iterator[Format]:
    """Yield shipped formats first; the environment is searched only if none of them fits."""
    # So a plugin cannot take over a suffix that files are kept under already.
    yield from map(FORMATS.get, FORMATS.shipped())
    yield from map(FORMATS.get, FORMATS.added())


def _readable(content: Content) -> str:
    suffixes = _suffixes(lambda found: found.reads(content))
    return suffixes if content == "volumes" else f"{suffixes} {LAYOUT}"


def _suffixes(able: Callable[[Format], bool]) -> str:
    found = dict.fromkeys(found.suffixes[0] for found in _formats() if able(found))
    return ", ".join(found)
