"""HDF5: exact round trips, the authors' layout, files that are damaged or incomplete."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tomoatlas.phantoms.acquire import simulate
from tomoatlas.phantoms.acquisition import Acquisition
from tomoatlas.phantoms.formats import (
    load_specimen,
    load_tilt_series,
    load_volumes,
    save_specimen,
    save_tilt_series,
    save_volumes,
)
from tomoatlas.phantoms.formats.files import writing
from tomoatlas.phantoms.kinds import make_specimen
from tomoatlas.phantoms.specimen import Specimen
from tomoatlas.recon_core.errors import BadInput, Trouble
from tomoatlas.recon_core.tiltseries import TiltSeries

SPECIMEN = make_specimen("composite", 16, 0)
SERIES = simulate(SPECIMEN, Acquisition(haadf_tilts=5, chemical_tilts=3), 1)
in_one_folder = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
levels = st.floats(0, 1e6)
scales = st.floats(1e-3, 1e6)


def same_series(one: TiltSeries, other: TiltSeries) -> None:
    np.testing.assert_array_equal(one.haadf, other.haadf)
    np.testing.assert_array_equal(one.chemical, other.chemical)
    for field in fields(TiltSeries):
        if field.name not in ("haadf", "chemical"):
            assert getattr(one, field.name) == getattr(other, field.name), field.name


def test_a_specimen_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "specimen.h5"
    save_specimen(path, SPECIMEN)
    back = load_specimen(path)
    np.testing.assert_array_equal(back.volumes, SPECIMEN.volumes)
    assert (back.elements, back.name) == (SPECIMEN.elements, "composite")
    assert back.voxel_size_nm == SPECIMEN.voxel_size_nm
    assert [p.name for p in tmp_path.iterdir()] == ["specimen.h5"]


@in_one_folder
@given(
    volumes=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=4).map(lambda s: (2, s[0] + 1, *s[1:])),
        elements=st.floats(0, 2**49, width=32),
    ),
    size=st.floats(1e-3, 1e3),
)
def test_any_volumes_come_back(tmp_path: Path, volumes: np.ndarray, size: float) -> None:
    path = tmp_path / "recon.h5"
    save_volumes(path, volumes, ("O", "Au"), size, {"method": "fused"}, overwrite=True)
    back, elements, voxel_size_nm = load_volumes(path)
    np.testing.assert_array_equal(back, volumes)
    assert (elements, voxel_size_nm) == (("O", "Au"), size)


def test_attributes_stand_on_the_dataset_and_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recon.h5"
    save_volumes(path, SPECIMEN.volumes, SPECIMEN.elements, 2.5, {"tv": 0.8})
    with h5py.File(path) as file:
        for node in (file, file["volumes"]):
            assert list(node.attrs["elements"]) == ["Co", "Ni", "O"]
            assert list(node.attrs["atomic_numbers"]) == [27, 28, 8]
            assert (node.attrs["voxel_size_nm"], node.attrs["tv"]) == (2.5, 0.8)


@pytest.mark.parametrize("elements", [["Co", "O"], [b"Co", b"O"], "Co, O", np.bytes_("Co O")])
def test_a_volume_of_the_users_own(tmp_path: Path, elements: object) -> None:
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file["volumes"] = np.ones((2, 4, 4, 5), np.float64)
        file.attrs["elements"] = elements
    mine = load_specimen(path)
    assert (mine.elements, mine.shape, mine.name) == (("Co", "O"), (4, 4, 5), "mine")
    assert mine.volumes.dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "inside"),
    [((3, 6, 5), np.s_[:, 1:4]), ((7, 4, 5), np.s_[:, :, 1:5]), ((4, 4, 9), np.s_[:])],
)
def test_a_volume_that_is_not_square_gets_vacuum_around(
    tmp_path: Path, shape: tuple[int, ...], inside: tuple[slice, ...]
) -> None:
    volumes = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    save_volumes(tmp_path / "mine.h5", volumes, ("Co", "O"), 1.0)
    mine = load_specimen(tmp_path / "mine.h5")
    assert mine.shape == (max(shape[:2]), max(shape[:2]), shape[2])
    np.testing.assert_array_equal(mine.volumes[inside], volumes)
    assert mine.volumes.sum(dtype=np.float64) == pytest.approx(volumes.sum(dtype=np.float64))


def test_a_simulated_series_comes_back(tmp_path: Path) -> None:
    save_tilt_series(tmp_path / "tilts.h5", SERIES)
    same_series(load_tilt_series(tmp_path / "tilts.h5"), SERIES)


@in_one_folder
@given(
    haadf=hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(0, 2**49, width=32)),
    chemical=hnp.arrays(np.float32, (2, 1, 3, 4), elements=st.floats(0, 2**49, width=32)),
    angles=st.tuples(st.floats(-90, 90), st.floats(-90, 90)),
    level=levels,
    haadf_scale=st.none() | scales,
    scale=st.none() | st.tuples(scales, scales),
    facts=st.dictionaries(st.sampled_from(["seed", "snr_a_Co", "note"]), levels | st.just("text")),
)
def test_any_series_comes_back(
    tmp_path: Path,
    haadf: np.ndarray,
    chemical: np.ndarray,
    angles: tuple[float, float],
    level: float,
    haadf_scale: float | None,
    scale: tuple[float, float] | None,
    facts: dict[str, float | str],
) -> None:
    path = tmp_path / "tilts.h5"
    known = (level, (level, 0.3), haadf_scale, scale, 0.7, facts)
    series = TiltSeries(haadf, angles, chemical, (0.1,), ("Co", "O"), *known)
    save_tilt_series(path, series, overwrite=True)
    same_series(load_tilt_series(path), series)


def test_a_series_without_haadf_comes_back(tmp_path: Path) -> None:
    chemistry = simulate(SPECIMEN, Acquisition(haadf_tilts=0, chemical_tilts=2), 1)
    save_tilt_series(tmp_path / "tilts.h5", chemistry)
    same_series(load_tilt_series(tmp_path / "tilts.h5"), chemistry)


def authors_file(path: Path, group: str = "edx") -> None:
    with h5py.File(path, "w") as file:
        file["haadf/tiltSeries"] = SERIES.haadf.transpose(2, 1, 0)
        file["haadf/tiltAngles"] = SERIES.haadf_angles_deg
        for element, maps in zip(SERIES.elements, SERIES.chemical, strict=True):
            file[f"{group}/{element}"] = maps.transpose(2, 1, 0)
        file[f"{group}/tiltAngles"] = SERIES.chemical_angles_deg


@pytest.mark.parametrize("group", ["edx", "eels"])
def test_the_authors_layout(tmp_path: Path, group: str) -> None:
    authors_file(tmp_path / "theirs.h5", group)
    theirs = load_tilt_series(tmp_path / "theirs.h5")
    assert theirs.elements == ("O", "Co", "Ni")
    np.testing.assert_array_equal(theirs.haadf, SERIES.haadf)
    np.testing.assert_array_equal(theirs.chemical, SERIES.chemical[[2, 0, 1]])
    assert theirs.haadf_angles_deg == SERIES.haadf_angles_deg
    assert theirs.chemical_angles_deg == SERIES.chemical_angles_deg
    assert theirs.haadf_scale is None


def put(key: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if key in file:
            del file[key]
        if value is not None:
            file[key] = value

    return change


def swap_axes(key: str, *axes: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        put(key, file[key][()].transpose(axes))(file)

    return change


def rename(attribute: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file["volumes"].attrs[attribute] = value

    return change


def drop_elements(file: h5py.File) -> None:
    for node in (file, file["volumes"]):
        del node.attrs["elements"]


SPECIMEN_FAULTS = [
    (put("volumes", None), "volumes"),
    (put("volumes", "text"), "volumes"),
    (put("volumes", np.ones((3, 1, 1, 4))), "volumes"),
    (swap_axes("volumes", 1, 2, 3, 0), "volumes"),
    (put("volumes", np.full((3, 4, 4, 4), 1e300)), "volumes"),
    (drop_elements, "volumes.attrs[elements]"),
    (rename("voxel_size_nm", "big"), "voxel_size_nm"),
    (rename("voxel_size_nm", -1.0), "voxel_size_nm"),
    (rename("elements", 3), "volumes.attrs[elements]"),
]


def assert_named(error: BadInput, path: Path, key: str) -> None:
    """The error names the file and the key, and what would be accepted."""
    assert (error.source, error.key) == (path, key)
    assert error.accepted


@pytest.mark.parametrize(("change", "key"), SPECIMEN_FAULTS)
def test_damaged_specimens(tmp_path: Path, change: Callable[[h5py.File], None], key: str) -> None:
    path = tmp_path / "specimen.h5"
    save_specimen(path, SPECIMEN)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(BadInput) as caught:
        load_specimen(path)
    assert_named(caught.value, path, key)


SERIES_FAULTS = [
    (put("chemical/projections", None), "chemical/projections"),
    (put("chemical/angles_deg", None), "chemical/angles_deg"),
    (put("chemical/angles_deg", [1.0, 2.0]), "chemical/projections"),
    (put("chemical/angles_deg", [[1.0, 2.0, 3.0]]), "chemical/angles_deg"),
    (put("haadf/angles_deg", [0.0]), "haadf/projections"),
    (put("chemical/background", [0.1]), "chemical/background"),
    (swap_axes("haadf/projections", 2, 1, 0), "haadf/projections"),
    (swap_axes("chemical/projections", 1, 0, 2, 3), "chemical/projections"),
    (put("chemical", None), "chemical/projections"),
]


@pytest.mark.parametrize(("change", "key"), SERIES_FAULTS)
def test_damaged_series(tmp_path: Path, change: Callable[[h5py.File], None], key: str) -> None:
    path = tmp_path / "tilts.h5"
    save_tilt_series(path, simulate(SPECIMEN, Acquisition(haadf_tilts=5, chemical_tilts=4), 1))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(BadInput) as caught:
        load_tilt_series(path)
    assert_named(caught.value, path, key)


AUTHORS_FAULTS = [
    (swap_axes("haadf/tiltSeries", 2, 1, 0), "haadf/tiltSeries"),
    (put("haadf/tiltAngles", None), "haadf/tiltAngles"),
    (put("edx/tiltAngles", [1.0]), "edx/O"),
    (put("edx/Ni", np.ones((4, 4, 3))), "edx/Ni"),
    (put("eels/tiltAngles", [1.0]), "eels|edx"),
    (put("edx", None), "eels|edx"),
]


@pytest.mark.parametrize(("change", "key"), AUTHORS_FAULTS)
def test_damaged_authors_files(
    tmp_path: Path, change: Callable[[h5py.File], None], key: str
) -> None:
    path = tmp_path / "theirs.h5"
    authors_file(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(BadInput) as caught:
        load_tilt_series(path)
    assert_named(caught.value, path, key)


@pytest.mark.parametrize("load", [load_specimen, load_volumes, load_tilt_series])
def test_files_that_are_no_hdf5(tmp_path: Path, load: Callable[[Path], object]) -> None:
    (tmp_path / "garbage.h5").write_bytes(b"not HDF5 at all" * 100)
    (tmp_path / "empty.h5").write_bytes(b"")
    for name in ("garbage.h5", "empty.h5"):
        with pytest.raises(BadInput) as caught:
            load(tmp_path / name)
        assert (caught.value.source, caught.value.key) == (tmp_path / name, None)
    for path in (tmp_path / "absent.h5", tmp_path):
        with pytest.raises(BadInput) as caught:
            load(path)
        assert caught.value.source == path


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path, share: float) -> None:
    whole = tmp_path / "whole.h5"
    save_tilt_series(whole, SERIES, overwrite=True)
    content = whole.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput) as caught:
        load_tilt_series(cut)
    assert caught.value.source == cut
    assert "\n" not in str(caught.value)


def test_a_file_with_damaged_names_is_refused(tmp_path: Path) -> None:
    save_tilt_series(tmp_path / "tilts.h5", SERIES)
    content = (tmp_path / "tilts.h5").read_bytes()
    for signature in (b"TREE", b"HEAP", b"SNOD"):
        damaged = tmp_path / "damaged.h5"
        damaged.write_bytes(content.replace(signature, b"\0\0\0\0"))
        with pytest.raises(BadInput) as caught:
            load_tilt_series(damaged)
        assert caught.value.source == damaged


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    path.write_text("precious")
    for save in (
        lambda: save_specimen(path, SPECIMEN),
        lambda: save_tilt_series(path, SERIES),
        lambda: save_volumes(path, SPECIMEN.volumes, SPECIMEN.elements, 1.0),
    ):
        with pytest.raises(BadInput) as caught:
            save()
        assert caught.value.source == path
    assert path.read_text() == "precious"
    save_specimen(path, SPECIMEN, overwrite=True)
    assert load_specimen(path).elements == SPECIMEN.elements


@pytest.mark.parametrize("folder", ["absent", "file"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / folder / "specimen.h5"
    with pytest.raises(BadInput) as caught:
        save_specimen(path, SPECIMEN)
    assert caught.value.source == path


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "recon.h5"
    save_specimen(path, SPECIMEN)
    with pytest.raises(TypeError):
        save_volumes(
            path, SPECIMEN.volumes, SPECIMEN.elements, 1.0, {"bad": object()}, overwrite=True
        )
    assert [p.name for p in tmp_path.iterdir()] == ["recon.h5"]
    assert isinstance(load_specimen(path), Specimen)


def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "volumes.h5"

    def full(self: Path, content: object) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with (
        pytest.raises(Trouble, match=r"volumes\.h5: cannot be written: No space"),
        writing(path, overwrite=False) as file,
    ):
        file["a"] = np.zeros((9, 9))
    assert not list(tmp_path.iterdir())
