"""Files in and out: whole or not at all, and of HDF5 with errors that name file and dataset."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...recon_core.errors import BadInput, Trouble, from_os_error
from ...recon_core.machine import available_bytes

GIB = 1 << 30
Attributes = Mapping[str, object]
NONE: Attributes = MappingProxyType({})
HDF5 = "a whole HDF5 file"
OWN = "a file that holds all of its data itself"
CHUNK_RECORD = 4096
"""Bytes that HDF5 2 takes for each chunk of one read: 3.9 GiB for a million chunks of one value."""
PYTHON_FLOAT = 32
"""Bytes of a number in a tuple: four times those of its array."""
MOST_PACKED = 4096
"""Bytes read for one of a file: deflate packs 1,032 into one at most, and chunks are unpacked
beside the array. A small file that declares more was damaged, or made to fill the memory."""

DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What h5py raises, depending on where a file is damaged."""


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, without HDF5's locks: some file systems have none.

    Parameters
    ----------
    path : of a file.

    Raises
    ------
    BadInput : not a regular file, or data are in another one, which could be any that its reader
        may read.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
        raise BadInput("not a file", accepted=HDF5)
    with h5py.File(path, "r", locking=False) as file:
        _refuse_links(file)
        yield file


@contextmanager
def created(path: Path, **options: bool) -> Iterator[h5py.File]:
    """Write a new HDF5 file, packed in memory first: on a full disk HDF5 itself ends the process.

    Parameters
    ----------
    path : of the file; none is left by a block that fails.
    options : further ones of h5py.

    Raises
    ------
    OSError : as of any file that cannot be written.
    """
    packed = io.BytesIO()
    with h5py.File(packed, "w", **options) as file:
        yield file
    path.write_bytes(packed.getbuffer())


def _refuse_links(file: h5py.File) -> None:
    """Refuse external links, external storage and virtual datasets, wherever they are."""
    groups, seen = [file["/"]], set()
    while groups:
        group = groups.pop()
        for name in group:
            link, key = group.get(name, getlink=True), f"{group.name}/{name}".replace("//", "/")
            if isinstance(link, h5py.ExternalLink):
                raise BadInput("a link to another file", key=key, accepted=OWN)
            if isinstance(link, h5py.SoftLink):
                continue  # to an object that a hard link leads to as well
            found = group[name]
            if isinstance(found, h5py.Dataset) and (found.is_virtual or found.external):
                raise BadInput("its data are in another file", key=key, accepted=OWN)
            place = h5py.h5o.get_info(found.id).addr
            if isinstance(found, h5py.Group) and place not in seen:
                seen.add(place)
                groups.append(found)


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; errors inside the block are reported with its path.

    Parameters
    ----------
    path : of an HDF5 file.

    Raises
    ------
    BadInput : no file, not HDF5, truncated or damaged, and whatever the block itself rejects.
    """
    try:
        if not path.exists():
            raise BadInput("no such file", accepted=HDF5)
        if path.suffix.lower() == ".toml":
            made = f"what tomoatlas phantom {path.name} --out {path.stem}.h5 writes"
            raise BadInput("a description, not volumes", accepted=made)
        with opened(path) as file:
            yield file
    except BadInput as fault:
        raise fault.at(source=path) from fault
    except DAMAGE as fault:
        raise BadInput(
            f"unreadable or truncated HDF5 ({fault})", source=path, accepted=HDF5
        ) from fault


def holds(path: Path, condition: Callable[[h5py.File], bool]) -> bool:
    """Check whether a path is an HDF5 file that meets a condition; False for a damaged one.

    Parameters
    ----------
    path : of any file.
    condition : of the file, open for reading.

    Raises
    ------
    BadInput : not a regular file, or data are in another one.
    """
    try:
        with opened(path) as file:
            return condition(file)
    except BadInput as fault:
        raise fault.at(source=path) from fault
    except DAMAGE:
        return False


@contextmanager
def writing(path: Path, overwrite: bool) -> Iterator[h5py.File]:
    """Write a file beside its place, then move it there; a failed block leaves nothing behind.

    Parameters
    ----------
    path : of the file to be written.
    overwrite : replace a file that exists.

    Raises
    ------
    BadInput : the file exists and ``overwrite`` is false, or the folder cannot be written.
    Trouble : the disk is full or fails.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not overwrite:
            raise BadInput("exists already", source=path, accepted="another name, or overwriting")
        with created(aside) as file:
            yield file
        # whole or not at all
        aside.replace(path)
    except OSError as fault:
        raise unwritable(path, fault) from fault
    finally:
        _discard(aside)


def _discard(path: Path) -> None:
    # Without a parent folder nothing was written.
    if path.parent.is_dir():
        path.unlink(missing_ok=True)


def write_array(
    file: h5py.File, key: str, values: NDArray[np.generic], attributes: Attributes = NONE
) -> None:
    """Write a dataset with attributes; arrays of more than one axis are compressed.

    Parameters
    ----------
    file : open for writing.
    key : path of the dataset inside the file.
    values : of any shape.
    attributes : of the dataset.
    """
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    # HDF5 cannot chunk an empty array
    options = packed if values.ndim > 1 and values.size else {}
    dataset = file.create_dataset(key, data=values, **options)
    write_attributes(dataset, attributes)


def write_attributes(node: h5py.Dataset | h5py.Group, attributes: Attributes) -> None:
    """Write attributes.

    Parameters
    ----------
    node : group or dataset.
    attributes : values by name; a sequence of strings becomes an array of strings.
    """
    for name, value in attributes.items():
        if isinstance(value, tuple | list) and value and isinstance(value[0], str):
            # h5py has no default for arrays of text
            node.attrs.create(name, list(value), dtype=h5py.string_dtype())
        else:
            node.attrs[name] = value


def array(file: h5py.Group, key: str) -> NDArray[np.generic]:
    """Read a numeric dataset.

    Parameters
    ----------
    file : open for reading.
    key : path of the dataset inside the file.

    Raises
    ------
    BadInput : missing, a group, or not numbers.
    """
    # Not file.get(): it takes what is damaged for missing.
    dataset = file[key] if key in file else None  # noqa: SIM401
    if not isinstance(dataset, h5py.Dataset):
        raise BadInput("dataset missing", key=key, accepted=f"a file with {key}")
    if dataset.dtype.kind not in "fiu" or dataset.shape is None:
        raise BadInput("not numbers", key=key, value=str(dataset.dtype), accepted="a numeric array")
    check_dataset(dataset, key)
    values: NDArray[np.generic] = dataset[()]
    return np.asarray(values)


def check_dataset(dataset: h5py.Dataset, key: str) -> None:
    """Refuse a dataset before it is read that the memory or its own file cannot hold.

    Parameters
    ----------
    dataset : of any shape and type.
    key : what the error calls it.

    Raises
    ------
    BadInput : too large for the memory, or for the bytes of its file.
    """
    shape, chunks = dataset.shape or (), dataset.chunks
    # HDF5 lists every chunk that a read touches, and unpacks a whole one whatever part it wants.
    beside = 0
    if chunks is not None:
        count = math.prod(-(-int(n) // int(c)) for n, c in zip(shape, chunks, strict=True))
        beside = count * CHUNK_RECORD + 2 * math.prod(map(int, chunks)) * dataset.dtype.itemsize
    check_size(shape, dataset.dtype, key, beside)
    held = Path(dataset.file.filename).stat().st_size
    if math.prod(map(int, shape)) * dataset.dtype.itemsize + beside > MOST_PACKED * held:
        raise BadInput(
            f"larger than a file of {held} bytes can hold",
            key=key,
            value=tuple(map(int, shape)),
            accepted="an array whose values the file holds, in chunks of many of them",
        )


def check_datasets(path: Path) -> None:
    """Refuse a file for another library's reader: each of its datasets is checked before.

    Parameters
    ----------
    path : of an HDF5 file.

    Raises
    ------
    BadInput : unreadable, data in other files, or a dataset that :func:`check_dataset` refuses.
    """

    def check(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            check_dataset(node, name)

    with reading(path) as file:
        file.visititems(check)


def check_size(shape: tuple[int, ...], dtype: np.dtype[Any], key: str, beside: int = 0) -> None:
    """Refuse an array that the memory cannot hold, before it is read.

    Parameters
    ----------
    shape, dtype : as the file declares them, whatever it really holds.
    key : what the error calls it.
    beside : bytes that reading it takes besides.

    Raises
    ------
    BadInput : names the shape and the memory that is free.
    """
    # Python's integers: a shape may be made up to overflow.
    values = math.prod(map(int, shape))
    needed = values * (dtype.itemsize + np.dtype(np.float32).itemsize) + beside
    free = available_bytes()
    if needed > free:
        raise BadInput(
            f"needs {needed / GIB:.3g} GiB of memory; {free / GIB:.3g} GiB are free",
            key=key,
            value=tuple(map(int, shape)),
            accepted="an array that fits the memory",
        )


def floats(file: h5py.Group, key: str) -> NDArray[np.float32]:
    """Read a numeric dataset as contiguous float32, see :func:`array`.

    Parameters
    ----------
    file : open for reading.
    key : path of the dataset inside the file.
    """
    return as_float32(array(file, key), key)


def as_float32(values: NDArray[Any], key: str) -> NDArray[np.float32]:
    """Values of a file as contiguous float32; the checks of arrays then find those that are none.

    Parameters
    ----------
    values : of any shape.
    key : what the error calls them.

    Raises
    ------
    BadInput : complex numbers, texts or records.
    """
    if values.dtype.kind not in "fiub":
        raise BadInput("not numbers", key=key, value=str(values.dtype), accepted="a numeric array")
    # Beyond float32 is infinite. A signalling NaN, which damage can make, is a NaN like others.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def numbers(file: h5py.Group, key: str) -> tuple[float, ...]:
    """Read a dataset of one axis as a tuple.

    Parameters
    ----------
    file : open for reading.
    key : path of the dataset inside the file.

    Raises
    ------
    BadInput : missing, not numbers, or of more axes.
    """
    values = array(file, key)
    if values.ndim != 1:
        raise BadInput("wrong shape", key=key, value=values.shape, accepted="one axis")
    check_size(values.shape, values.dtype, key, values.size * PYTHON_FLOAT)
    return tuple(float(value) for value in values)


def attribute(nodes: Iterable[object], name: str) -> object | None:
    """Return an attribute of the first node that has it.

    Parameters
    ----------
    nodes : groups and datasets in order of precedence; those the file lacks are None.
    name : of the attribute.

    Returns
    -------
    object or None : None if no node has it.
    """
    for node in nodes:
        if isinstance(node, h5py.Group | h5py.Dataset) and name in node.attrs:
            value: object = node.attrs[name]
            return value
    return None


def plain_text(value: object) -> str:
    """Return the text of an attribute, which comes back as bytes if its length is fixed.

    Parameters
    ----------
    value : as read.

    Examples
    --------
    >>> plain_text(b"[n_m]"), plain_text(None)
    ('[n_m]', 'None')
    """
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def number(value: object, key: str) -> float:
    """Convert a scalar attribute to a float.

    Parameters
    ----------
    value : as read.
    key : what the error calls it.

    Raises
    ------
    BadInput : not one number.

    Examples
    --------
    >>> import numpy as np
    >>> number(np.array([2]), "voxel_size_nm")
    2.0
    """
    found = np.asarray(value)
    if found.size != 1 or found.dtype.kind not in "fiu":
        raise BadInput("not a number", key=key, value=value, accepted="one number")
    return float(found.reshape(()))


def symbols(value: object, key: str) -> tuple[str, ...]:
    """Convert an attribute to chemical symbols.

    Parameters
    ----------
    value : an array of strings, or one string with commas; None if the attribute is missing.
    key : what the error calls it.

    Raises
    ------
    BadInput : missing, or not text.

    Examples
    --------
    >>> symbols("Co, O", "elements")
    ('Co', 'O')
    """
    if value is None:
        raise BadInput("attribute missing", key=key, accepted="chemical symbols such as Co, O")
    texts = [_text(item, key) for item in np.atleast_1d(np.asarray(value)).tolist()]
    # "Co, O", "Co O" and ["Co", "O"] mean the same
    return tuple(part for text in texts for part in text.replace(",", " ").split())


def _text(item: object, key: str) -> str:
    # fixed-length strings, as other programs write them, come back as bytes
    text = item.decode(errors="replace") if isinstance(item, bytes) else item
    if not isinstance(text, str):
        raise BadInput("not text", key=key, value=item, accepted="chemical symbols such as Co, O")
    return text


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file beside ``path``, then move it into place in one step.

    Parameters
    ----------
    path : of the file to be written; an existing one is replaced.
    write : writes the file whose path it is given.

    Raises
    ------
    BadInput : the folder cannot be written; an existing file is left as it was.
    Trouble : the disk is full or fails; likewise.
    """
    # in the same folder: a rename is atomic within one file system only
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            write(aside)
            # data first, then the name: a crash between the two leaves the old file
            _sync(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _sync(path: Path) -> None:
    """Flush a file to the disk, so that after a crash its new name is not that of an empty file."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def unwritable(path: Path, error: OSError) -> BadInput | Trouble:
    """Describe a failed write to the person who asked for it.

    Parameters
    ----------
    path : of the file to be written.
    error : as raised by the system.

    Returns
    -------
    BadInput or Trouble : to be raised by the caller.
    """
    return from_os_error(error, "cannot be written", path, "a folder that can be written")
