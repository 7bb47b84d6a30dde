"""Files made to harm their reader, or damaged: refused in one line, and no other file is read."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tomoatlas.phantoms.formats import load_specimen, load_tilt_series, load_volumes
from tomoatlas.phantoms.formats.files import opened
from tomoatlas.recon_core.errors import BadInput

SHAPE = (1, 8, 8, 8)
Make = Callable[[h5py.File, Path], None]


def external_link(file: h5py.File, secret: Path) -> None:
    file["volumes"] = h5py.ExternalLink(str(secret), "volumes")


def external_link_deep(file: h5py.File, secret: Path) -> None:
    file["volumes"] = np.ones(SHAPE, "f4")
    file["facts/deep/down"] = h5py.ExternalLink(str(secret), "volumes")


def external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("volumes", SHAPE, "u1", external=[(str(secret), 0, 512)])


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(str(secret), "volumes", SHAPE)
    file.create_virtual_dataset("volumes", layout)


def huge(file: h5py.File, secret: Path) -> None:
    chunks = (1, 64, 64, 64)
    file.create_dataset("volumes", (4, 1 << 14, 1 << 14, 1 << 14), "f4", chunks=chunks)


def chunks_of_one(file: h5py.File, secret: Path) -> None:
    # 4 MiB of values, for which HDF5 takes 3.9 GiB, in a file of 6 KiB
    file.create_dataset("volumes", (1, 1, 1 << 10, 1 << 10), "f4", chunks=(1, 1, 1, 1))


def never_written(file: h5py.File, secret: Path) -> None:
    # 64 MiB that fit any memory: the file holds none of them
    file.create_dataset("volumes", (1, 1 << 8, 1 << 8, 1 << 8), "f4", chunks=(1, 1 << 8, 64, 64))


def dataset(**options: object) -> Make:
    return lambda file, secret: file.create_dataset("volumes", **options) and None


MADE: dict[str, Make] = {
    "external link": external_link,
    "external link, deep": external_link_deep,
    "external storage": external_storage,
    "virtual dataset": virtual,
    "beyond memory": huge,
    "chunks of one value": chunks_of_one,
    "beyond its file": never_written,
    "empty": dataset(data=h5py.Empty("f4")),
    "scalar": dataset(data=1.0),
    "text": dataset(shape=SHAPE, dtype=h5py.string_dtype()),
    "references": dataset(shape=SHAPE, dtype=h5py.ref_dtype),
    "compound": dataset(shape=SHAPE, dtype=[("a", "f4"), ("b", "i4")]),
    "complex": dataset(data=np.ones(SHAPE, "c8")),
    "truth": dataset(data=np.ones(SHAPE, "?")),
    "signalling NaN": dataset(data=np.full(SHAPE, (0x7FF << 52) + 1, "u8").view("f8")),
    "soft link to itself": lambda file, _: file.__setitem__("volumes", h5py.SoftLink("/volumes")),
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["volumes"] = np.random.default_rng(0).random(SHAPE, "f4")
        file.attrs["elements"] = ["Co"]
    return tmp_path / "secret.h5"


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("load", [load_volumes, load_specimen])
def test_volumes_that_are_none_are_refused(
    tmp_path: Path, secret: Path, name: str, load: Callable[[Path], object]
) -> None:
    path = tmp_path / "made.h5"
    with h5py.File(path, "w") as file:
        MADE[name](file, secret)
        file.attrs["elements"] = ["Co"]
    with pytest.raises(BadInput) as refused:
        load(path)
    assert refused.value.source == path
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("key", ["haadf/angles_deg", "chemical/angles_deg"])
def test_what_no_file_holds_is_refused_before_it_is_read(tmp_path: Path, key: str) -> None:
    path = tmp_path / "made.h5"
    with h5py.File(path, "w") as file:
        file["haadf/projections"] = np.ones((3, 8, 8), "f4")
        file["chemical/projections"] = np.ones((1, 3, 8, 8), "f4")
        file["haadf/angles_deg"] = file["chemical/angles_deg"] = [-1.0, 0.0, 1.0]
        file["chemical"].attrs["elements"] = ["Co"]
        del file[key]
        # chunks of one value: without the check HDF5 lists a million of them
        file.create_dataset(key, (1 << 20,), "f8", chunks=(1,))
    with pytest.raises(BadInput) as refused:
        load_tilt_series(path)
    assert refused.value.key == key


def test_an_array_that_packs_well_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vacuum.h5"
    with h5py.File(path, "w") as file:
        volumes = np.zeros((1, 64, 64, 64), "f4")
        file.create_dataset("volumes", data=volumes, compression="gzip", compression_opts=9)
        file["volumes"].attrs["elements"] = ["Co"]
    assert not load_volumes(path)[0].any()


def test_groups_that_contain_themselves_are_searched_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "loop.h5", "w") as file:
        file["a/b"] = np.ones(3)
        file["a/again"] = file["a"]
    with opened(tmp_path / "loop.h5") as file:
        assert set(file["a"]) == {"again", "b"}


@pytest.mark.parametrize("load", [load_volumes, load_specimen, load_tilt_series])
@pytest.mark.parametrize("suffix", ["h5", "emd", "tif", "mrc", "raw"])
def test_a_pipe_is_no_file(tmp_path: Path, suffix: str, load: Callable[[Path], object]) -> None:
    path = tmp_path / f"pipe.{suffix}"
    os.mkfifo(path)
    with pytest.raises(BadInput) as refused:
        load(path)
    assert str(refused.value.source) == str(path)


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, secret: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(secret.read_bytes())
    if seed % 3 == 0:
        data = data[: rng.randrange(len(data))]
    for _ in range(rng.randint(1, 30)):
        data[rng.randrange(min(len(data), 4000))] = rng.randrange(256)
    path = tmp_path / "damaged.h5"
    path.write_bytes(data)
    for load in (load_volumes, load_specimen, load_tilt_series):
        with contextlib.suppress(BadInput):
            load(path)


def test_a_name_out_of_a_file_is_printable(tmp_path: Path, secret: Path) -> None:
    with h5py.File(secret, "r+") as file:
        file.attrs["name"] = "\x1b]0;owned\x07red"
    assert str(load_specimen(secret).name).isprintable()
